"""Follows one UE: asks at planned instants, hands on what happened, and says when the Location API falls silent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from pillion.core.events import Event, TrackingLost, TrackingResumed
from pillion.core.mobility import Observation, Track
from pillion.core.model import UeId
from pillion.core.prediction import Layout
from pillion.errors import MecError
from pillion.runtime import clock


class LocationSource(Protocol):
    """Where observations come from: the Location API, or a test's stand-in."""

    async def user(self, ue: UeId) -> Observation: ...

    async def layout(self) -> Layout: ...


@dataclass(frozen=True, slots=True)
class TrackingSettings:
    """`poll_s` between questions; `lookahead_s` along a UE's course; `silent_s` until tracking counts as lost."""

    poll_s: float = 0.25
    lookahead_s: float = 20.0
    silent_s: float = 5.0


async def track(
    ue: UeId, source: LocationSource, settings: TrackingSettings, put: Callable[[Event], Awaitable[None]]
) -> None:
    """Follow a UE until cancelled. Handovers are put in order and never dropped; positions stay here."""
    following = Track(ue)
    layout: Layout = {}
    answered_s = clock.now_s()
    lost = False
    planned_s = answered_s
    while True:
        try:
            if lost or not layout:
                layout = await source.layout()
            seen = await source.user(ue)
        except MecError as error:
            silent_s = clock.now_s() - answered_s
            if not lost and silent_s >= settings.silent_s:
                lost = True
                await put(TrackingLost(round(silent_s, 1), str(error)))
        else:
            answered_s = clock.now_s()
            if lost:
                lost = False
                await put(TrackingResumed())
            following, events = following.observe(seen, layout, settings.lookahead_s)
            for event in events:
                await put(event)
        # Planned instants do not drift; those that were missed are not made up for.
        planned_s = max(planned_s + settings.poll_s, clock.now_s())
        await asyncio.sleep(planned_s - clock.now_s())
