"""Sends notifications to the callbacks of those who subscribed.

The original posts one notification of an API after another, under a lock that its subscription requests need too: a
callback that does not answer holds up all that come after it, and a client that subscribes from within its callback
waits for itself. A client has to bear that, so it is so here, but for a limit: the original waits for ever. With
`--strict-etsi` nobody waits for anybody.
Source: AdvantEDGE v1.9.2, meep-loc-serv and meep-rnis, `send*Notification`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

log = logging.getLogger(__name__)

CALLBACK_S = 10.0
"""Until a callback that does not answer is given up."""
_HEADERS = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Notification:
    """A JSON document for a callback URL."""

    url: str
    document: dict[str, Any]


class Line:
    """The notifications of one API on their way, in order."""

    def __init__(self, api: str, *, strict: bool = False) -> None:
        self.api = api
        self._strict = strict
        self._waiting: asyncio.Queue[Notification] = asyncio.Queue()
        self._sending = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Line {self.api}: {self._waiting.qsize()} waiting>"

    def put(self, notifications: Iterable[Notification]) -> None:
        """Have them sent after all that came before. Without a `run` they wait."""
        for notification in notifications:
            self._waiting.put_nowait(notification)

    def clear(self) -> None:
        """Forget what has not been sent."""
        while not self._waiting.empty():
            self._waiting.get_nowait()
            self._waiting.task_done()

    async def drained(self) -> None:
        """Until all have been answered, or given up."""
        await self._waiting.join()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """What a request that changes subscriptions has to wait for: that no callback is under way."""
        if self._strict:
            yield
        else:
            async with self._sending:
                yield

    async def run(self, http: aiohttp.ClientSession) -> None:
        """Send for ever."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                notification = await self._waiting.get()
                if self._strict:
                    tasks.create_task(self._send(http, notification), name=f"notify {notification.url}")
                else:
                    async with self._sending:
                        await self._send(http, notification)

    async def _send(self, http: aiohttp.ClientSession, notification: Notification) -> None:
        try:
            body = orjson.dumps(notification.document)
            async with http.post(notification.url, data=body, headers=_HEADERS, allow_redirects=False) as answer:
                await answer.read()
        except (aiohttp.ClientError, TimeoutError, ValueError, OSError) as error:
            log.info("%s: callback %s: %s", self.api, notification.url, str(error) or "no answer")
        finally:
            self._waiting.task_done()


def callbacks_session() -> aiohttp.ClientSession:
    """What lines send with."""
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=CALLBACK_S))
