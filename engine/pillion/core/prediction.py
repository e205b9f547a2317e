"""Where a UE will be served next: a plain look ahead along its present course.

The UE's position is drawn out in a straight line at its present speed; where the line leads into the range of another
zone's POA, that zone is expected. This is deliberately plain: it needs no history and no map, is right about the first
border crossed, and a wrong guess costs a pre-relocation that nobody notices.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pillion.core.model import PoaId, Position, ZoneId

_METRES_PER_DEGREE = 111_320.0
_STEP_S = 1.0
_MOVING_MPS = 1.0
"""Below this a UE is taken to stand, and no course is read from it."""
_WINDOW_S = 3.0
"""Course and speed are taken over at least this long, since positions are as coarse as one second."""
_PREFERENCE = ("Wifi", "Smallcell", "Macro")
"""MEC 013 connectionType, best first: a UE takes the best technology in range, and of that the nearest POA."""


@dataclass(frozen=True, slots=True)
class Poa:
    """A POA on the map. `connection_type` is MEC 013's, `radius_m` how far it reaches."""

    id: PoaId
    zone: ZoneId
    position: Position
    connection_type: str
    radius_m: float


Layout = Mapping[PoaId, Poa]


@dataclass(frozen=True, slots=True)
class Motion:
    """The last few positions of a UE, oldest first, each with the time it was seen."""

    seen: tuple[tuple[float, Position], ...] = ()

    def moved(self, position: Position, now_s: float) -> Motion:
        """With one more position; a repeat of the last one adds nothing."""
        if self.seen and self.seen[-1][1] == position:
            return self
        kept = self.seen
        while len(kept) > 1 and now_s - kept[1][0] >= _WINDOW_S:
            kept = kept[1:]
        return replace(self, seen=(*kept, (now_s, position)))

    def velocity_mps(self) -> tuple[float, float] | None:
        """Metres per second east and north over the window, or None while too little is known or the UE stands."""
        if len(self.seen) < 2:
            return None
        (then_s, then), (now_s, now) = self.seen[0], self.seen[-1]
        if now_s - then_s < _WINDOW_S:
            return None
        east, north = _offset_m(then, now)
        velocity = east / (now_s - then_s), north / (now_s - then_s)
        return velocity if math.hypot(*velocity) >= _MOVING_MPS else None


@dataclass(frozen=True, slots=True)
class Expected:
    """The zone and POA expected, and in how many seconds."""

    zone: ZoneId
    poa: PoaId
    in_s: float


def next_zone(motion: Motion, zone: ZoneId, layout: Layout, lookahead_s: float) -> Expected | None:
    """The first zone other than `zone` on the UE's course within `lookahead_s`, or None."""
    velocity = motion.velocity_mps()
    if velocity is None:
        return None
    here = motion.seen[-1][1]
    for ahead in range(1, int(lookahead_s / _STEP_S) + 1):
        in_s = ahead * _STEP_S
        poa = _serving(_displaced(here, velocity[0] * in_s, velocity[1] * in_s), layout)
        if poa is not None and poa.zone != zone:
            return Expected(poa.zone, poa.id, in_s)
    return None


def _serving(position: Position, layout: Layout) -> Poa | None:
    reached = [
        (_PREFERENCE.index(poa.connection_type), distance_m, poa.id)
        for poa in layout.values()
        if poa.connection_type in _PREFERENCE
        and poa.radius_m > 0
        and (distance_m := math.hypot(*_offset_m(position, poa.position))) <= poa.radius_m
    ]
    return layout[min(reached)[2]] if reached else None


def _offset_m(origin: Position, point: Position) -> tuple[float, float]:
    """Metres east and north from `origin` to `point`, on a plane that is good for a few kilometres."""
    north = (point.latitude - origin.latitude) * _METRES_PER_DEGREE
    east = (point.longitude - origin.longitude) * _METRES_PER_DEGREE * math.cos(math.radians(origin.latitude))
    return east, north


def _displaced(origin: Position, east_m: float, north_m: float) -> Position:
    return Position(
        origin.latitude + north_m / _METRES_PER_DEGREE,
        origin.longitude + east_m / (_METRES_PER_DEGREE * math.cos(math.radians(origin.latitude))),
    )
