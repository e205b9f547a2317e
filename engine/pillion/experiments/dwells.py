"""How long one MEC host would serve a vehicle: the time that a migration has before the next one is due.

Sequences of what served a vehicle go in, one entry a tick; lengths of complete dwells come out. The study puts its MEC
hosts at the 5G POAs, or one in each zone. The first leaves open which host serves on a 4G POA, so it is read in three
ways.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import groupby
from typing import NamedTuple, TypeVar

from pillion.core.model import PoaId, Position, ZoneId
from pillion.core.prediction import Layout, Poa
from pillion.sandbox.geodesy import Point, geodesic_m

FIVE_G = "Smallcell"
"""The connectionType that the MEC Sandbox gives a 5G POA. Source: ETSI GS MEC 013 V2.2.1, clause 6."""

T = TypeVar("T")


class DwellOn(StrEnum):
    """What a vehicle stays on while one MEC host serves it."""

    POA = "serving POA"
    """A host at every POA."""
    FIVE_G_POA = "contiguous 5G POA"
    """A host at every 5G POA; none serves on 4G and WiFi, and that time does not count."""
    FIVE_G_SITE = "nearest 5G site"
    """A host at every 5G POA; on any POA the one nearest to it serves."""
    ZONE = "zone"
    """A host in every zone."""


class Served(NamedTuple):
    """What served a vehicle at one tick; None out of coverage."""

    poa: PoaId | None
    zone: ZoneId | None


class Site(NamedTuple):
    """A 5G POA, seen from another POA."""

    poa: PoaId
    distance_m: float


def dwells(states: Iterable[T]) -> list[tuple[T, int]]:
    """Each state with its length in ticks, in order, without the first and the last, which the run cuts."""
    return [(state, sum(1 for _ in group)) for state, group in groupby(states)][1:-1]


def complete_dwells(runs: Sequence[Sequence[Served]], layout: Layout) -> dict[DwellOn, list[int]]:
    """The length in ticks of every complete dwell in a vehicle's runs, for each way to place the hosts."""
    five_g, sites = five_g_poas(layout), nearest_5g_sites(layout)
    places: Mapping[DwellOn, Callable[[Served], str | None]] = {
        DwellOn.POA: lambda served: served.poa,
        DwellOn.FIVE_G_POA: lambda served: served.poa if served.poa in five_g else None,
        DwellOn.FIVE_G_SITE: lambda served: None if served.poa is None else sites[served.poa].poa,
        DwellOn.ZONE: lambda served: served.zone,
    }
    return {
        on: [ticks for run in runs for place, ticks in dwells(map(place_of, run)) if place is not None]
        for on, place_of in places.items()
    }


def nearest_5g_sites(layout: Layout) -> dict[PoaId, Site]:
    """For each POA the 5G POA nearest to it, which is itself if it is one. Raises ValueError if there is none."""
    five_g = five_g_poas(layout)
    return {
        poa.id: min((_site(poa, each) for each in five_g.values()), key=lambda site: site.distance_m)
        for poa in layout.values()
    }


def five_g_poas(layout: Layout) -> Layout:
    """The POAs that are 5G."""
    return {poa.id: poa for poa in layout.values() if poa.connection_type == FIVE_G}


def _site(poa: Poa, five_g: Poa) -> Site:
    return Site(five_g.id, geodesic_m(_point(poa.position), _point(five_g.position)))


def _point(position: Position) -> Point:
    return Point(position.latitude, position.longitude)
