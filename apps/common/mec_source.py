"""Where A1 and A2 learn of their UE, and by polling: a thread that asks a MEC API.

Being told is in `mec_subscriber`.
"""

from __future__ import annotations

import json
import os

from mec_app import NOT_FOUND, Answer, Settings, say

TYPE_CHECKING = False  # typing and collections.abc would add to every start
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import Any

REQUEST_TIMEOUT_S = 1.5


class Unusable(ValueError):
    """A MEC API told what cannot be used. Its words are one of few: by them failures are told apart."""


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body. Raises Unusable if there is none."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Unusable("the API told no JSON") from error
    if not isinstance(found, dict):
        raise Unusable("the API told no JSON object")
    return found


class Source:
    """Asks a MEC API in a thread of its own, one question at a time, whatever comes back.

    `take` gets each JSON object that is answered with 200, and gives whether it was news; what it raises is a failure
    like an outage. `begin` is called once before, in the same thread. `asked` is the number of requests of any kind,
    `told` that of notifications taken, `ignored` that of those that could not be used.
    """

    def __init__(
        self,
        settings: Settings,
        path: str,
        query: Mapping[str, str],
        take: Callable[[dict[str, Any]], bool],
        begin: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings, self._take, self._begin = settings, take, begin
        self._path, self._query = path, query
        self.asked = self.failures = self.told = self.ignored = 0
        self._was_news = False
        self._said: dict[str, set[str]] = {}  # kinds of failure since the last success, by what failed

    def run(self) -> None:
        """Follow the UE until the process ends."""
        try:
            try:
                self._begin()
            except OSError as error:
                self._failed("poll failed", error)
            import asyncio  # here and not above: by now the UE is being answered

            asyncio.run(self._connect())
        except BaseException as error:  # a bug; an app that answers but no longer asks would go unnoticed
            say("polling broke", problem=repr(error))
            os._exit(1)

    def notified(self, body: bytes) -> Answer:
        """The answer to a notification; here nobody has asked for any."""
        return NOT_FOUND

    def ask(self) -> None:
        """Ask soon; from any thread."""

    def renew(self) -> None:
        """Look at the subscriptions soon, since others are wanted; from any thread."""

    def counts(self) -> dict[str, object]:
        """What the UE is told of it."""
        return {"asked": self.asked, "told": self.told, "ignored": self.ignored}

    async def _connect(self) -> None:
        import aiohttp

        limit = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
        async with aiohttp.ClientSession(headers={"User-Agent": self._settings.agent}, timeout=limit) as self._session:
            await self._follow()

    async def _follow(self) -> None:
        raise NotImplementedError

    async def _question(self) -> None:
        """Ask once, and take the answer. Raises whatever the API or the disk does."""
        self._was_news = self._take(json_object(await self._call("GET", self._path, params=self._query)))

    async def _call(self, method: str, path: str, expected: int = 200, **about: Any) -> bytes:
        self.asked += 1
        url = f"{self._settings.api_url}/{path}"
        async with self._session.request(method, url, allow_redirects=False, **about) as answer:
            body: bytes = await answer.read()
            if answer.status != expected:
                raise Unusable(f"the API answered {answer.status}")
            return body

    async def _tried(self, failed: str, work: Awaitable[None]) -> bool:
        """Whether it went well; else it is counted, and `failed` said."""
        try:
            await work
        except Exception as error:  # the one place that has to outlive whatever the API or the disk does
            self._failed(failed, error)
            return False
        self._said.pop(failed, None)
        return True

    def _failed(self, failed: str, error: Exception) -> None:
        """Count it, and say it if it is the first of its kind since a success: an outage has many a second."""
        self.failures += 1
        kind = str(error) if isinstance(error, Unusable) else type(error).__name__
        if kind not in (said := self._said.setdefault(failed, set())):
            said.add(kind)
            say(failed, problem=f"{type(error).__name__}: {error}", failures=self.failures)


class Poller(Source):
    """Asks at planned instants."""

    async def _follow(self) -> None:
        import asyncio

        loop, poll_s = asyncio.get_running_loop(), self._settings.poll_s
        planned = loop.time()
        while True:
            await self._tried("poll failed", self._question())
            # The next planned instant still ahead: a slow answer skips some and shifts none.
            planned += poll_s * (1 + (loop.time() - planned) // poll_s)
            await asyncio.sleep(planned - loop.time())
