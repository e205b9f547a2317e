"""A server that takes notifications, for the tests: it keeps them in order, and answers as it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from pillion.server import served_at

ARRIVAL_S = 5.0
"""Until a notification that was waited for is missing."""


@dataclass(frozen=True, slots=True)
class Received:
    """One notification: the path it was posted to, without its slash, and its JSON."""

    path: str
    document: Any
    content_type: str = "application/json"


class Callbacks:
    """What has arrived, and how to answer. `hold` lets callbacks wait for their answer, `release` gives it."""

    def __init__(self) -> None:
        self.url = ""
        self.received: list[Received] = []
        self.status = 204
        self._answering = asyncio.Event()
        self._answering.set()
        self._news = asyncio.Condition()

    def at(self, path: str) -> str:
        """The URL of one callback; any path will do."""
        return f"{self.url}/{path}"

    def documents(self, path: str | None = None) -> list[Any]:
        """What was posted to one path, or to all, in order of arrival."""
        return [received.document for received in self.received if path in (None, received.path)]

    def taken(self) -> list[Received]:
        """What has arrived since the last time this was asked."""
        taken, self.received = self.received, []
        return taken

    def hold(self) -> None:
        """Answer no more, until `release`."""
        self._answering.clear()

    def release(self) -> None:
        self._answering.set()

    async def arrived(self, count: int) -> list[Received]:
        """All of them, once there are `count`. Raises TimeoutError."""
        async with asyncio.timeout(ARRIVAL_S), self._news:
            await self._news.wait_for(lambda: len(self.received) >= count)
        return self.received

    async def take(self, request: web.Request) -> web.Response:
        """The handler: an answer without a body."""
        received = Received(request.match_info["path"], await request.json(), request.content_type)
        async with self._news:
            self.received.append(received)
            self._news.notify_all()
        await self._answering.wait()
        return web.Response(status=self.status)


@asynccontextmanager
async def callbacks() -> AsyncIterator[Callbacks]:
    """A server on a port of its own while the block runs."""
    taking = Callbacks()
    app = web.Application()
    app.router.add_post("/{path:.*}", taking.take)
    async with served_at(app, "127.0.0.1", 0) as port:
        taking.url = f"http://127.0.0.1:{port}"
        try:
            yield taking
        finally:
            taking.release()
