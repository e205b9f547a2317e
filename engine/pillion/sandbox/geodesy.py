"""Distances on the WGS84 ellipsoid.

The radius of a point of access decides every handover, and the length of a path decides a vehicle's lap time, so both
are measured as the sandbox's database measures them: along the geodesic, not on a sphere or a plane.
"""

from __future__ import annotations

from math import atan, atan2, cos, hypot, radians, sin, sqrt, tan
from typing import NamedTuple

EQUATORIAL_RADIUS_M = 6378137.0
FLATTENING = 1 / 298.257223563
POLAR_RADIUS_M = EQUATORIAL_RADIUS_M * (1 - FLATTENING)

_ITERATIONS = 200
_CONVERGED_RAD = 1e-13  # 0.6 micrometres on the ground


class Point(NamedTuple):
    """A place on WGS84, degrees."""

    lat_deg: float
    lon_deg: float


class Xyz(NamedTuple):
    """A place in the earth-centred, earth-fixed frame, metres."""

    x_m: float
    y_m: float
    z_m: float


def geodesic_m(a: Point, b: Point) -> float:
    """Length of the shortest line on the ellipsoid from `a` to `b`, metres, good to 0.1 mm.

    Raises ValueError for points that are nearly antipodal, where the iteration does not converge.
    Source: T. Vincenty, Survey Review XXIII (176), 1975, the inverse formula.
    """
    reduced_a = atan((1 - FLATTENING) * tan(radians(a.lat_deg)))
    reduced_b = atan((1 - FLATTENING) * tan(radians(b.lat_deg)))
    sin_a, cos_a, sin_b, cos_b = sin(reduced_a), cos(reduced_a), sin(reduced_b), cos(reduced_b)
    longitude = radians(b.lon_deg - a.lon_deg)
    lam = longitude
    for _ in range(_ITERATIONS):
        sin_lam, cos_lam = sin(lam), cos(lam)
        sin_sigma = hypot(cos_b * sin_lam, cos_a * sin_b - sin_a * cos_b * cos_lam)
        if sin_sigma == 0.0:
            return 0.0
        cos_sigma = sin_a * sin_b + cos_a * cos_b * cos_lam
        sigma = atan2(sin_sigma, cos_sigma)
        sin_alpha = cos_a * cos_b * sin_lam / sin_sigma
        cos2_alpha = 1 - sin_alpha * sin_alpha
        # Along the equator cos2_alpha is 0 and the term has no meaning and no weight.
        cos_2m = cos_sigma - 2 * sin_a * sin_b / cos2_alpha if cos2_alpha > 1e-15 else 0.0
        c = FLATTENING / 16 * cos2_alpha * (4 + FLATTENING * (4 - 3 * cos2_alpha))
        before = lam
        lam = longitude + (1 - c) * FLATTENING * sin_alpha * (
            sigma + c * sin_sigma * (cos_2m + c * cos_sigma * (2 * cos_2m * cos_2m - 1))
        )
        if abs(lam - before) < _CONVERGED_RAD:
            break
    else:
        raise ValueError(f"no geodesic between nearly antipodal points {a} and {b}")
    u2 = cos2_alpha * ((EQUATORIAL_RADIUS_M / POLAR_RADIUS_M) ** 2 - 1)
    big_a = 1 + u2 / 16384 * (4096 + u2 * (-768 + u2 * (320 - 175 * u2)))
    big_b = u2 / 1024 * (256 + u2 * (-128 + u2 * (74 - 47 * u2)))
    quartic = big_b / 6 * cos_2m * (4 * sin_sigma**2 - 3) * (4 * cos_2m**2 - 3)
    delta = big_b * sin_sigma * (cos_2m + big_b / 4 * (cos_sigma * (2 * cos_2m**2 - 1) - quartic))
    return POLAR_RADIUS_M * big_a * (sigma - delta)


def xyz(point: Point) -> Xyz:
    """The point at height zero in the earth-centred frame, metres."""
    lat, lon = radians(point.lat_deg), radians(point.lon_deg)
    squared_eccentricity = FLATTENING * (2 - FLATTENING)
    normal_m = EQUATORIAL_RADIUS_M / sqrt(1 - squared_eccentricity * sin(lat) ** 2)
    return Xyz(
        normal_m * cos(lat) * cos(lon),
        normal_m * cos(lat) * sin(lon),
        normal_m * (1 - squared_eccentricity) * sin(lat),
    )


def squared_chord_m2(a: Xyz, b: Xyz) -> float:
    """Square of the straight line through the earth, which is never longer than the geodesic."""
    dx, dy, dz = a.x_m - b.x_m, a.y_m - b.y_m, a.z_m - b.z_m
    return dx * dx + dy * dy + dz * dz
