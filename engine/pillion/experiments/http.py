"""One question to a lab's HTTP servers, as an experiment asks it: the sandbox's control plane, an app's own port."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import aiohttp
import orjson

from pillion.config import LabSettings
from pillion.errors import MecError


async def control_sandbox(lab: LabSettings, method: str, path: str, body: object = None) -> Any:
    """What the sandbox's control plane answers. Raises MecError."""
    return await ask_json(method, lab.sandbox_control_url + path, body)


async def ask_json(method: str, url: str, body: object = None, limit_s: float = 30.0) -> Any:
    """The JSON answer to one request. Raises MecError unless there is a good one."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=limit_s)) as session:
        answer = await ask(session, method, url, body)
    try:
        return orjson.loads(answer)
    except orjson.JSONDecodeError as error:
        raise MecError(f"no good answer: {error}", place=url) from error


async def ask(
    session: aiohttp.ClientSession, method: str, url: str, body: object = None, query: Sequence[tuple[str, str]] = ()
) -> bytes:
    """The answer to one request of many, over connections that are kept. Raises MecError unless there is a good one."""
    data = None if body is None else orjson.dumps(body)
    try:
        async with session.request(method, url, data=data, params=query) as answer:
            answer.raise_for_status()
            return await answer.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise MecError(f"no good answer: {error}", place=url) from error


async def answers(address: str, port: int) -> bool:
    """Whether an app answers on a host's own port, past the user plane."""
    try:
        await ask_json("GET", f"http://{address}:{port}/", limit_s=0.5)
    except MecError:
        return False
    return True
