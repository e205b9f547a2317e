"""How a UE moves along its path, one tick at a time.

The sandbox keeps for each UE a fraction of its path and adds to it what its speed makes of the path's length in metres;
the place is then found by going that fraction of the path's length in *degrees*. Eastward a vehicle is therefore slower
than its speed, northward faster, and dwell times are only right if this is done the same way.
Source: AdvantEDGE v1.9.2, go-packages/meep-gis-asset-mgr/asset-mgr.go.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import hypot

from pillion.sandbox.geodesy import Point, geodesic_m
from pillion.sandbox.scenario import EndOfPath, Ue

_STORED_DECIMALS = 6
"""The database keeps path fractions, and the fraction a UE covers in a second, as numbers of six decimals."""


@dataclass(frozen=True, slots=True)
class Track:
    """A path made ready for driving."""

    points: tuple[Point, ...]
    arc_deg: tuple[float, ...]
    """Length in degrees from the first point to each point."""
    length_m: float
    rate_per_s: float
    """Fraction of the path covered in one second."""
    end_of_path: EndOfPath


def track_of(ue: Ue) -> Track:
    """The UE's path, measured. A UE that stands still has a track of length 0 and rate 0."""
    steps_deg = [hypot(b.lat_deg - a.lat_deg, b.lon_deg - a.lon_deg) for a, b in pairwise(ue.path)]
    length_m = sum(geodesic_m(a, b) for a, b in pairwise(ue.path))
    rate_per_s = round(ue.speed_mps / length_m, _STORED_DECIMALS) if length_m > 0 else 0.0
    return Track(ue.path, tuple(accumulate(steps_deg, initial=0.0)), length_m, rate_per_s, ue.end_of_path)


def advance(track: Track, fraction: float, dt_s: float) -> tuple[Point, float]:
    """The UE's place after `dt_s` seconds, and the fraction to go on from (0 to 2; above 1 a reversing UE drives back).

    The place comes from the unrounded fraction, the next tick starts from the rounded one, as in the original.
    """
    reached = fraction + dt_s * track.rate_per_s
    return point_at(track, _arc_fraction(track.end_of_path, reached)), round(reached % 2, _STORED_DECIMALS)


def point_at(track: Track, arc_fraction: float) -> Point:
    """The point at this fraction (0 to 1) of the path, interpolated in the plane of longitude and latitude."""
    target_deg = arc_fraction * track.arc_deg[-1]
    after = bisect_right(track.arc_deg, target_deg)
    if after >= len(track.points):
        return track.points[-1]
    a, b = track.points[after - 1], track.points[after]
    share = (target_deg - track.arc_deg[after - 1]) / (track.arc_deg[after] - track.arc_deg[after - 1])
    return Point(a.lat_deg + share * (b.lat_deg - a.lat_deg), a.lon_deg + share * (b.lon_deg - a.lon_deg))


def _arc_fraction(end_of_path: EndOfPath, reached: float) -> float:
    if end_of_path is EndOfPath.LOOP:
        return reached % 1
    there_and_back = reached % 2
    return there_and_back if there_and_back <= 1 else 2 - there_and_back
