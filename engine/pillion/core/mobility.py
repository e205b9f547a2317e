"""From what the Location API answers to what happened: ordered, de-duplicated handovers of one UE.

Polling sees a UE again and again; answers can be late, repeated, overtaken by newer ones, or missing. The API's own
time stamps have a resolution of one second, so order is that of asking: an answer to an earlier question than the last
one understood is dropped. A UE that is absent from the answer is disconnected, not gone. Positions stay here.

Notifications are late, repeated and reordered as well, and nothing in them tells. So what they say of POAs and zones is
a reason to ask, and no more; only a position is taken as it comes, since nothing but a forecast follows from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from pillion.core.events import (
    Api,
    HandoverCompleted,
    MobilityEvent,
    NotificationsLost,
    NotificationsResumed,
    UeDisconnected,
    ZoneChangePredicted,
)
from pillion.core.model import PoaId, Position, UeId, ZoneId
from pillion.core.prediction import Layout, Motion, next_zone


@dataclass(frozen=True, slots=True)
class Observation:
    """One answer about one UE. `asked_s`: when it was asked for, on the engine's clock."""

    ue: UeId
    asked_s: float
    poa: PoaId | None
    zone: ZoneId | None
    position: Position | None
    prompted_by: Api = field(default=Api.LOCATION, compare=False)
    """Whose notification gave reason to ask."""


@dataclass(frozen=True, slots=True)
class Attached:
    """Told, not asked: the UE has entered a zone, or changed its POA within one. `seen_s`: when it was told.

    `poa`: None where the zone alone is told.
    """

    ue: UeId
    seen_s: float
    poa: PoaId | None
    zone: ZoneId


@dataclass(frozen=True, slots=True)
class Left:
    """Told: the UE has left a zone, for another one or for none. `poa` as in Attached."""

    ue: UeId
    seen_s: float
    poa: PoaId | None
    zone: ZoneId


@dataclass(frozen=True, slots=True)
class Located:
    """Told: where the UE is, and not by what it is served."""

    ue: UeId
    seen_s: float
    position: Position


@dataclass(frozen=True, slots=True)
class CellSeen:
    """Told by the RNIS: the cell that serves the UE, which is no POA of the Location API; None: none of those it knows.

    `cell`: MEC 012 `cellId` or `nrcellId`.
    """

    ue: UeId
    seen_s: float
    cell: str | None


Notice = Attached | Left | Located | CellSeen
"""One thing that a notification tells of a UE."""

Heard = Callable[[Observation | Notice, str, bytes], None]
"""Who keeps messages takes what was read from each, where it came from, and the message."""

Sighting = Observation | Located
"""What a track is made of."""


@dataclass(frozen=True, slots=True)
class Unanswered:
    """The APIs were asked in vain, and will be asked again."""

    problem: str


Seen = Sighting | Unanswered | NotificationsLost | NotificationsResumed
"""What a source of events gives."""


@dataclass(frozen=True, slots=True)
class Track:
    """What is known of one UE."""

    ue: UeId
    poa: PoaId | None = None
    zone: ZoneId | None = None
    asked_s: float = float("-inf")
    located_s: float = float("-inf")
    """When the last position was seen."""
    motion: Motion = field(default_factory=Motion)
    predicted: ZoneId | None = None

    def saw(self, sighting: Sighting, layout: Layout, lookahead_s: float) -> tuple[Track, list[MobilityEvent]]:
        """The track after a sighting, and what it shows to have happened; nothing if it is late or a repeat."""
        if isinstance(sighting, Observation):
            return self._observed(sighting, layout, lookahead_s)
        return self._located(sighting.position, sighting.seen_s, layout, lookahead_s)

    def _observed(self, seen: Observation, layout: Layout, lookahead_s: float) -> tuple[Track, list[MobilityEvent]]:
        if seen.asked_s <= self.asked_s:
            return self, []
        track = replace(self, asked_s=seen.asked_s)
        if seen.poa is None or seen.zone is None:
            if track.poa is None or track.zone is None:
                return track, []
            lost = UeDisconnected(self.ue, track.poa, track.zone)
            return replace(track, poa=None, zone=None, predicted=None, motion=Motion()), [lost]
        events: list[MobilityEvent] = []
        if (seen.poa, seen.zone) != (track.poa, track.zone):
            where = (seen.poa, seen.zone, track.poa, track.zone)
            events.append(HandoverCompleted(self.ue, *where, learned_by=seen.prompted_by))
            if seen.zone != track.zone:
                track = replace(track, predicted=None)
            track = replace(track, poa=seen.poa, zone=seen.zone)
        if seen.position is not None:
            # After a handover the same position leads elsewhere.
            track, expected = track._located(seen.position, seen.asked_s, layout, lookahead_s, anew=bool(events))
            events += expected
        return track, events

    def _located(
        self, position: Position, at_s: float, layout: Layout, lookahead_s: float, *, anew: bool = False
    ) -> tuple[Track, list[MobilityEvent]]:
        if at_s < self.located_s or self.zone is None:
            return self, []
        motion = self.motion.moved(position, at_s)
        # Positions are renewed more rarely than they are asked for: from the same one the same would be expected.
        unchanged = motion is self.motion and not anew
        expected = None if unchanged else next_zone(motion, self.zone, layout, lookahead_s)
        track = replace(self, motion=motion, located_s=at_s)
        if expected is None or expected.zone == track.predicted:
            return track, []
        track = replace(track, predicted=expected.zone)
        return track, [ZoneChangePredicted(self.ue, expected.zone, expected.poa, expected.in_s)]
