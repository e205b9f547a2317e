"""Where notifications arrive: each follower has a callback URL of its own, and a box that they are put into.

A sandbox posts one notification of an API after another, and the next only when this one is answered. So it is
answered at once, whatever it says, and read afterwards. Only a URL that was given out is known here, and nobody can
guess one; what is too long is not read. Source: ETSI GS MEC 009 V3.1.1, clause 6.12 (subscribe-notify).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus

from aiohttp import web

from pillion.server import served_at

log = logging.getLogger(__name__)

LONGEST_BYTES = 256 * 1024
MOST_WAITING = 1000
"""In one box; the oldest go first. A follower reads them at once: more than a few mean that it hangs."""


class Box:
    """What has arrived at one callback URL: bodies, each with the time of its arrival."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.dropped = 0
        self._waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(MOST_WAITING)

    def put(self, arrived_s: float, body: bytes) -> None:
        """Keep one for who reads."""
        if self._waiting.full():
            self._waiting.get_nowait()
            self.dropped += 1
        self._waiting.put_nowait((arrived_s, body))

    async def get(self) -> tuple[float, bytes]:
        """The next one, when it is there."""
        return await self._waiting.get()


class Callbacks:
    """The callback endpoint. `clock` tells when something arrived; by default the loop's."""

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock
        self.public_url = ""
        """Where the sandbox reaches it, by way of a gateway or not; a box's token follows."""
        self._boxes: dict[str, Box] = {}

    @contextmanager
    def box(self) -> Iterator[Box]:
        """A box with a URL that nobody else has, for as long as the block runs."""
        token = secrets.token_urlsafe(24)
        box = self._boxes[token] = Box(f"{self.public_url}/{token}")
        try:
            yield box
        finally:
            del self._boxes[token]

    async def take(self, request: web.Request) -> web.Response:
        """One notification: 204, or 404 for a URL that was not given out, or 413."""
        box = self._boxes.get(request.match_info["token"])
        if box is None:
            return web.Response(status=HTTPStatus.NOT_FOUND)
        body = await request.read()  # more than `client_max_size` is refused by aiohttp
        box.put((self._clock or asyncio.get_running_loop().time)(), body)
        return web.Response(status=HTTPStatus.NO_CONTENT)

    def app(self, routes: Sequence[web.RouteDef] = ()) -> web.Application:
        """The endpoint, to be served, with what else is to be found there."""
        app = web.Application(client_max_size=LONGEST_BYTES)
        app.router.add_post("/callbacks/{token}", self.take)
        app.router.add_routes(routes)
        return app


@asynccontextmanager
async def serve_callbacks(
    host: str,
    port: int,
    public_url: str | None = None,
    clock: Callable[[], float] | None = None,
    routes: Sequence[web.RouteDef] = (),
) -> AsyncIterator[Callbacks]:
    """An endpoint that listens while the block runs. Without a `public_url` it is reached where it listens.

    Raises MachineError if the port cannot be had.
    """
    callbacks = Callbacks(clock)
    async with served_at(callbacks.app(routes), host, port) as bound:
        callbacks.public_url = (public_url or f"http://{host}:{bound}/callbacks").rstrip("/")
        yield callbacks
