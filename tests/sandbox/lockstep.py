"""A sandbox in lockstep with a client and a server for callbacks: once a tick has passed, all has been told of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from pillion.sandbox.geodesy import Point
from pillion.sandbox.live import LiveWorld
from pillion.sandbox.server import Listening, sandbox
from tests.sandbox.callbacks import Callbacks, callbacks


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, JSON or plain text (None for an empty body), Location header and media type."""

    status: int
    document: Any
    location: str | None
    media_type: str


class Lockstep:
    """One sandbox, its client and its callbacks."""

    def __init__(self, listening: Listening, http: aiohttp.ClientSession, callbacks: Callbacks) -> None:
        self.listening = listening
        self.callbacks = callbacks
        self._http = http

    @property
    def live(self) -> LiveWorld:
        return self.listening.live

    async def send(self, method: str, path: str, body: object = None) -> Answer:
        """Ask an API, by a path under the sandbox's name or a whole URL; bytes are sent as they are."""
        url = path if path.startswith("http") else f"{self.listening.api_url}/{path}"
        # Not orjson: a client may send numbers of any size.
        data = body if isinstance(body, bytes) else json.dumps(body) if body is not None else None
        async with self._http.request(method, url, data=data) as answer:
            raw = await answer.read()
            is_text = answer.content_type == "text/plain"
            return Answer(
                answer.status,
                (raw.decode() if is_text else orjson.loads(raw)) if raw else None,
                answer.headers.get("Location"),
                answer.headers.get("Content-Type", ""),
            )

    async def tick(self, count: int = 1, dt_s: float = 1.0) -> None:
        """Let ticks pass, as a test from outside does: until every callback has been answered."""
        body = {"count": count, "dt_s": dt_s}
        async with self._http.post(f"{self.listening.control_url}/tick", json=body) as answer:
            assert answer.status == 200

    async def attach(self, ue: str, poa: str | None, at: Point | None = None) -> None:
        """Let a POA serve a UE from now on, by hand, and put the UE somewhere; until all have been told."""
        if at is not None:
            self.live.world.place(ue, at)
        poas = {each.id: each for each in self.live.world.scenario.poas}
        self.live.hand_over(ue, poas[poa] if poa else None)
        await self.live.told()


@asynccontextmanager
async def lockstep(*, strict: bool = False) -> AsyncIterator[Lockstep]:
    """Monaco in lockstep; nobody moves or is attached until the test says so."""
    async with (
        callbacks() as taking,
        sandbox(port=0, control_port=0, lockstep=True, strict=strict) as listening,
        aiohttp.ClientSession() as http,
    ):
        yield Lockstep(listening, http, taking)
