"""What the Location API tells of in either version: counts that change, areas, distances; and how often it may tell.

Pure, but for the world that is asked where UEs are.
Source: AdvantEDGE v1.9.2, meep-loc-serv, `checkNotification*`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pillion.sandbox.geodesy import POLAR_RADIUS_M, Point, geodesic_m
from pillion.sandbox.live import TICK_S
from pillion.sandbox.world import Change, User, World

DISTANCE_CRITERIA = ("AllWithinDistance", "AnyWithinDistance", "AllBeyondDistance", "AnyBeyondDistance")


@dataclass(frozen=True, slots=True)
class Count:
    """How many users a POA has, or with `poa` None its zone as a whole, before and after a handover."""

    zone: str
    poa: str | None
    before: int
    after: int


def counted(changes: Sequence[Change], world: World) -> Iterator[tuple[Change, list[Count]]]:
    """Each of the latest handovers of a world with the counts that it alone changed: POAs, then zones."""
    poas, zones = world.users_per_poa(), world.users_per_zone()
    # The world has them all behind it: go back to before the first.
    for change in changes:
        for counts, place, place_before in (
            (poas, change.poa, change.previous_poa),
            (zones, change.zone, change.previous_zone),
        ):
            if place is not None:
                counts[place] -= 1
            if place_before is not None:
                counts[place_before] += 1
    for change in changes:
        changed: list[Count] = []
        for zone, poa, step in (
            (change.previous_zone, change.previous_poa, -1),
            (change.zone, change.poa, 1),
        ):
            if zone is not None and poa is not None:
                poas[poa] += step
                changed.append(Count(zone, poa, poas[poa] - step, poas[poa]))
        if change.zone != change.previous_zone:
            for zone, step in ((change.previous_zone, -1), (change.zone, 1)):
                if zone is not None:
                    zones[zone] += step
                    changed.append(Count(zone, None, zones[zone] - step, zones[zone]))
        yield change, changed


class Pace:
    """When the next notification of a subscription is due: the first one at once, then one each `interval_s` at most.

    Simulated seconds, to the nearest tick: a tick of the wall clock is never a second to the millisecond. After `count`
    notifications none is due any more; with a count of 0 there is no such limit.
    """

    def __init__(self, interval_s: float, *, count: int = 0) -> None:
        self._interval_s = interval_s
        self._next_s = -math.inf
        self._count = count
        self.sent = 0

    def due(self, now_s: float) -> bool:
        return now_s > self._next_s - TICK_S / 2 and (self._count == 0 or self.sent < self._count)

    def told(self, now_s: float) -> None:
        """One has been sent."""
        self.sent += 1
        self.wait(now_s)

    def wait(self, now_s: float) -> None:
        """Have the seconds pass from now on, though nothing has been sent."""
        self._next_s = now_s + self._interval_s

    @property
    def is_last(self) -> bool:
        """Whether the next one is the last."""
        return self._count > 0 and self.sent + 1 >= self._count


@dataclass(frozen=True, slots=True)
class Circle:
    centre: Point
    radius_m: float

    def __contains__(self, at: Point) -> bool:
        return distance_m(self.centre, at) <= self.radius_m


@dataclass(frozen=True, slots=True)
class Polygon:
    """An area within straight lines of a map in degrees; it must not lie across the date line."""

    corners: tuple[Point, ...]

    def __contains__(self, at: Point) -> bool:
        crossed = 0
        for a, b in zip(self.corners, (*self.corners[1:], self.corners[0]), strict=True):
            if (a.lat_deg > at.lat_deg) != (b.lat_deg > at.lat_deg):
                share = (at.lat_deg - a.lat_deg) / (b.lat_deg - a.lat_deg)
                crossed += at.lon_deg < a.lon_deg + share * (b.lon_deg - a.lon_deg)
        return crossed % 2 == 1


def distance_m(a: Point, b: Point) -> float:
    """Along the geodesic, for any two points that a client may think of."""
    try:
        return geodesic_m(a, b)
    except ValueError:  # nearly antipodal
        return math.pi * POLAR_RADIUS_M


def near_or_far(
    criteria: str,
    limit_m: float,
    references: Sequence[str] | None,
    monitored: Sequence[str],
    user: Callable[[str], User | None],
) -> list[User]:
    """The monitored UEs to tell of; none if the criteria are not met, or are none of DISTANCE_CRITERIA.

    Each reference is compared with each monitored UE, and without references each monitored UE with every other. UEs
    that are not connected take no part. Distances are whole metres, as in the original.
    """
    if references is None:
        pairs = [(a, b) for i, a in enumerate(monitored) for j, b in enumerate(monitored) if i != j]
    else:
        pairs = [(a, b) for a in references for b in monitored]
    met: dict[str, User] = {}
    for a, b in pairs if criteria in DISTANCE_CRITERIA else []:
        reference, other = user(a), user(b)
        if reference is None or other is None:
            continue
        whole_m = int(distance_m(reference.at, other.at))
        if whole_m < limit_m if criteria.endswith("WithinDistance") else whole_m > limit_m:
            met[b] = other
        elif criteria.startswith("All"):
            return []
    return [met[address] for address in dict.fromkeys(monitored) if address in met]
