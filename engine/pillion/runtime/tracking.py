"""Follows one UE by whatever source there is, hands on what happened, and says when the source falls silent."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from pillion.core.events import Event, NotificationsLost, NotificationsResumed, TrackingLost, TrackingResumed
from pillion.core.mobility import Observation, Seen, Track, Unanswered
from pillion.core.model import UeId
from pillion.core.prediction import Layout
from pillion.errors import MecError
from pillion.runtime import clock


class EventSource(Protocol):
    """Where sightings come from: asking, being told, or a recording."""

    async def layout(self) -> Layout:
        """Every POA with its position. Raises MecError."""
        ...

    def follow(self, ue: UeId) -> AsyncGenerator[Seen, None]:
        """What is seen of a UE, as it is seen. A recording ends; the others go on until they are closed."""
        ...


@dataclass(frozen=True, slots=True)
class TrackingSettings:
    """`lookahead_s` along a UE's course; `silent_s` without an answer until tracking counts as lost."""

    lookahead_s: float = 20.0
    silent_s: float = 5.0


async def track(
    ue: UeId, source: EventSource, settings: TrackingSettings, put: Callable[[Event], Awaitable[None]]
) -> None:
    """Follow a UE to the source's end. Handovers are put in order and never dropped; positions stay here.

    Positions alone that are told while questions are in vain do not say where the UE is served: tracking is lost then.
    """
    following = Track(ue)
    layout: Layout = {}
    heard_s = clock.now_s()
    in_vain = lost = False
    async with aclosing(source.follow(ue)) as sightings:
        async for seen in sightings:
            if isinstance(seen, NotificationsLost | NotificationsResumed):
                await put(seen)
                continue
            if not isinstance(seen, Unanswered) and (not layout or (lost and isinstance(seen, Observation))):
                try:
                    layout = await source.layout()
                except MecError as error:
                    seen = Unanswered(str(error))
            if isinstance(seen, Unanswered):
                in_vain, silent_s = True, clock.now_s() - heard_s
                if not lost and silent_s >= settings.silent_s:
                    lost = True
                    await put(TrackingLost(round(silent_s, 1), seen.problem))
                continue
            if isinstance(seen, Observation) or not in_vain:
                heard_s, in_vain = clock.now_s(), False
                if lost:
                    lost = False
                    await put(TrackingResumed())
            following, events = following.saw(seen, layout, settings.lookahead_s)
            for event in events:
                await put(event)
