"""What a sandbox does wrong on bad days, on demand: so that a client can be seen to bear it.

A fault lasts for some seconds, and any number may last at the same time. Those of answers hit every API but the control
port; those of notifications hit all that are put in line meanwhile; silence is both.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterable
from enum import StrEnum
from http import HTTPStatus

from aiohttp import web

from pillion.sandbox.notifications import Line, Notification


class Fault(StrEnum):
    """A way to go wrong."""

    ERRORS = "errors"
    """Each answer is a 500 without a word."""
    EMPTY = "empty"
    """Each answer has the right status and no body."""
    TRUNCATED = "truncated"
    """Each answer is cut off in its midst, with a length that fits."""
    NAN = "nan"
    """Coordinates are NaN, which is no JSON but what some encoders write."""
    SILENCE = "silence"
    """Each connection is closed without an answer, and nobody is notified."""
    LOST = "lost"
    """No notification is sent."""
    DUPLICATE = "duplicate"
    """Each notification is sent twice."""
    LATE = "late"
    """Each notification is sent three seconds late."""
    REORDERED = "reordered"
    """Those that are put in line one after another are sent in the opposite order, two times at once."""


_LATE_S = 3.0
_COORDINATES = re.compile(rb'("(?:latitude|longitude)":\[?)-?[0-9.]+')


class Faults:
    """The faults that last now."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until_s: dict[Fault, float] = {}
        self._kept: dict[str, list[Notification]] = {}

    def begin(self, fault: Fault, seconds: float) -> None:
        """Let a fault last for so long from now; 0 ends it."""
        self._until_s[fault] = self._clock() + seconds

    def lasts(self, fault: Fault) -> bool:
        return self._clock() < self._until_s.get(fault, 0.0)

    def spoil(self, request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
        """The answer as it is given, with what lasts now."""
        if self.lasts(Fault.SILENCE):
            if request.transport is not None:
                request.transport.abort()
            return answer
        if self.lasts(Fault.ERRORS):
            return web.Response(status=HTTPStatus.INTERNAL_SERVER_ERROR)
        if not isinstance(answer, web.Response) or not isinstance(answer.body, bytes) or not answer.body:
            return answer
        if self.lasts(Fault.EMPTY):
            answer.body = b""
        if self.lasts(Fault.NAN):
            answer.body = _COORDINATES.sub(rb"\1NaN", answer.body)
        if self.lasts(Fault.TRUNCATED):
            answer.body = answer.body[: len(answer.body) // 2]
        return answer

    def deliver(self, line: Line, notifications: Iterable[Notification]) -> None:
        """Put notifications in line, with what lasts now."""
        sent, kept = list(notifications), self._kept.pop(line.api, [])
        if self.lasts(Fault.LOST) or self.lasts(Fault.SILENCE):
            return
        if self.lasts(Fault.DUPLICATE):
            sent = [each for notification in sent for each in (notification, notification)]
        if self.lasts(Fault.REORDERED) and not kept:
            self._kept[line.api] = sent
            return
        sent = [*reversed(sent), *reversed(kept)] if kept else sent
        if self.lasts(Fault.LATE):
            asyncio.get_running_loop().call_later(_LATE_S, line.put, sent)
        else:
            line.put(sent)
