"""A UE followed by being told: subscriptions to Location and RNIS, and a question where a notification gives reason.

What a notification says of POAs, zones and cells is a reason to ask, unless it is what the last answer said; positions
are taken as told. A question in vain is asked again after `poll_s`, until there is an answer. Every `check_s` the UE is
asked for all the same, which finds what nobody told of. When nothing at all has come for `deaf_s` (the periodic
subscription tells something each second), the UE is polled as if nobody had subscribed, until something comes again;
meanwhile whatever subscription is missing is made anew. A sandbox that was restarted, or has another URL, has forgotten
them all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from pillion.core.events import Api, NotificationsLost, NotificationsResumed
from pillion.core.mobility import Attached, CellSeen, Heard, Left, Located, Notice, Observation, Seen
from pillion.core.model import UeId
from pillion.core.prediction import Layout
from pillion.errors import MecError, MecPayloadError
from pillion.mec import wire
from pillion.mec.callbacks import Box, Callbacks
from pillion.mec.polling import Location, answer

log = logging.getLogger(__name__)

_REMOVE_S = 3.0
_REVIEW_S = 30.0
"""Between two looks whether a single subscription has been forgotten."""


class Subscriptions(Protocol):
    """The subscriptions of one UE. Both raise MecError."""

    async def ensure(self, ue: UeId, callback_url: str) -> None:
        """Make those that are not there for this callback."""
        ...

    async def remove(self, ue: UeId, callback_url: str) -> None:
        """Remove those that are there for this callback, and no others."""
        ...


@dataclass(frozen=True, slots=True)
class SubscribingSettings:
    """`poll_s` between questions while deaf or in vain, `check_s` else; `deaf_s` without any notification; `renew_s`
    between two tries to subscribe anew."""

    poll_s: float = 0.25
    check_s: float = 5.0
    deaf_s: float = 3.0
    renew_s: float = 1.0


class Subscribing:
    """An EventSource that is told. `heard` takes each notice."""

    def __init__(
        self,
        location: Location,
        subscriptions: Subscriptions,
        callbacks: Callbacks,
        settings: SubscribingSettings,
        heard: Heard | None = None,
    ) -> None:
        self._location = location
        self._subscriptions = subscriptions
        self._callbacks = callbacks
        self._settings = settings
        self._heard = heard

    async def layout(self) -> Layout:
        """Every POA with its position. Raises MecError."""
        return await self._location.layout()

    async def follow(self, ue: UeId) -> AsyncGenerator[Seen, None]:
        """What is told and asked, until it is closed; then the subscriptions are removed."""
        with self._callbacks.box() as box:
            following = _Following(ue, box, self._location, self._subscriptions, self._settings, self._heard)
            renewing = asyncio.create_task(following.keep_subscribed(), name=f"subscribe for {ue}")
            try:
                async for seen in following.seen():
                    yield seen
            finally:
                renewing.cancel()
                await asyncio.wait([renewing])
                with suppress(MecError, TimeoutError):
                    async with asyncio.timeout(_REMOVE_S):
                        await self._subscriptions.remove(ue, box.url)


class _Following:
    def __init__(
        self,
        ue: UeId,
        box: Box,
        location: Location,
        subscriptions: Subscriptions,
        settings: SubscribingSettings,
        heard: Heard | None,
    ) -> None:
        self._heard = heard
        self._ue = ue
        self._box = box
        self._location = location
        self._subscriptions = subscriptions
        self._settings = settings
        self._now_s = asyncio.get_running_loop().time
        self._heard_s = self._asked_s = self._now_s()
        self._deaf = asyncio.Event()
        self._deaf.set()  # nothing is subscribed to yet
        self._in_vain: Api | None = None
        """What gave reason for the last question, if that was not answered."""
        self._last: Observation | None = None
        self._cell: str | None = None

    async def keep_subscribed(self) -> None:
        """Make what subscriptions are missing: at once where nothing comes, else now and then."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_REVIEW_S):
                    await self._deaf.wait()
            try:
                await self._subscriptions.ensure(self._ue, self._box.url)
            except MecError as error:
                log.debug("no subscriptions for %s: %s", self._ue, error)
            await asyncio.sleep(self._settings.renew_s)

    async def seen(self) -> AsyncGenerator[Seen, None]:
        """Sightings, and when notifications stopped and came again."""
        yield await self._ask()
        is_lost = False
        while True:
            try:
                async with asyncio.timeout_at(self._wake_s()):
                    arrived_s, body = await self._box.get()
            except TimeoutError:
                silent_s = self._now_s() - self._heard_s
                if silent_s >= self._settings.deaf_s and not is_lost:
                    is_lost = True
                    self._deaf.set()
                    yield NotificationsLost(self._ue, round(silent_s, 1))
                yield await self._ask(self._in_vain or Api.LOCATION)
                continue
            self._heard_s = self._now_s()
            self._deaf.clear()
            if is_lost:
                is_lost = False
                yield NotificationsResumed(self._ue)
            for notice in self._read(body, arrived_s):
                if self._heard:
                    self._heard(notice, "callbacks", body)
                if isinstance(notice, Located):
                    yield notice
                elif self._is_news(notice):
                    yield await self._ask(Api.RNIS if isinstance(notice, CellSeen) else Api.LOCATION)

    def _wake_s(self) -> float:
        """When to ask next if nothing comes; sooner, if by then the silence has lasted long enough to be one."""
        if self._deaf.is_set() or self._in_vain:
            return self._asked_s + self._settings.poll_s
        return min(self._asked_s + self._settings.check_s, self._heard_s + self._settings.deaf_s)

    async def _ask(self, reason: Api = Api.LOCATION) -> Seen:
        self._asked_s = self._now_s()
        seen = await answer(self._location, self._ue, reason)
        if isinstance(seen, Observation):
            self._last, self._in_vain = seen, None
        else:
            self._in_vain = reason
        return seen

    def _read(self, body: bytes, arrived_s: float) -> list[Notice]:
        try:
            notices = wire.parse_notification(body, arrived_s)
        except MecPayloadError as error:
            log.warning("notification for %s: %s", self._ue, error)
            return []
        return [notice for notice in notices if notice.ue == self._ue]

    def _is_news(self, notice: Attached | Left | CellSeen) -> bool:
        """Whether a notification tells of something else than the last answer."""
        if isinstance(notice, CellSeen):
            before, self._cell = self._cell, notice.cell
            return notice.cell != before
        poa, zone = (self._last.poa, self._last.zone) if self._last else (None, None)
        is_there = notice.zone == zone and notice.poa in (None, poa)
        return is_there == isinstance(notice, Left)
