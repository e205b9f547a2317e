"""Runs Docker's command line, which is how Compose is spoken to; a list of words in, never a shell."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from pillion.errors import MachineError

_CHUNK = 1 << 20


async def run(words: Sequence[str], *, limit_s: float, show: bool = False) -> str:
    """What the command printed on its standard output. `show`: let its messages through to ours as they come.

    Raises MachineError with its last words if it fails, is missing, or takes longer than `limit_s`.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=None if show else asyncio.subprocess.PIPE,
        )
    except FileNotFoundError as error:
        raise MachineError(
            f"{words[0]} is missing", place="this machine", remedy="`make setup` installs what a lab needs"
        ) from error
    try:
        async with asyncio.timeout(limit_s):
            out, said = await process.communicate()
    except TimeoutError as error:
        raise MachineError(f"no end after {limit_s:g} s", place=" ".join(words[:4])) from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        last = (said or out).decode(errors="replace").strip().splitlines()[-3:]
        raise MachineError(" / ".join(last) or f"exit {process.returncode}", place=" ".join(words[:4]))
    return out.decode(errors="replace")


async def stream(words: Sequence[str]) -> AsyncIterator[bytes]:
    """The command's standard output in chunks. Raises MachineError at its end if it failed."""
    process = await asyncio.create_subprocess_exec(
        *words, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        while chunk := await process.stdout.read(_CHUNK):
            yield chunk
        said = (await process.stderr.read()).decode(errors="replace").strip()
        if await process.wait():
            raise MachineError(said or "failed", place=" ".join(words[:4]))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
