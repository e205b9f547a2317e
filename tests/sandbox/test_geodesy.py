"""Distances against published lines."""

from __future__ import annotations

from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillion.sandbox.geodesy import Point, geodesic_m, squared_chord_m2, xyz

# Flinders Peak to Buninyong: the worked example of Vincenty's formulas in the GDA94 Technical Manual. Its ellipsoid is
# GRS80, which differs from WGS84 by 0.1 mm in the polar radius. The other long lines are examples of GeographicLib.
KNOWN_LINES = [
    (Point(-(37 + 57 / 60 + 3.72030 / 3600), 144 + 25 / 60 + 29.52440 / 3600),
     Point(-(37 + 39 / 60 + 10.15610 / 3600), 143 + 55 / 60 + 35.38390 / 3600), 54972.271),
    (Point(40.6, -73.8), Point(51.6, -0.5), 5551759.400),
    (Point(-41.32, 174.81), Point(40.96, -5.50), 19959679.267),
    (Point(0.0, 0.0), Point(90.0, 0.0), 10001965.729),
    (Point(0.0, 0.0), Point(1.0, 0.0), 110574.389),
    (Point(0.0, 0.0), Point(0.0, 1.0), 111319.491),
]  # fmt: skip

CITY = st.builds(Point, st.floats(43.70, 43.78), st.floats(7.38, 7.46))
ANYWHERE = st.builds(Point, st.floats(-80, 80), st.floats(-80, 80))


@pytest.mark.parametrize(("a", "b", "length_m"), KNOWN_LINES)
def test_known_lines_have_their_published_length(a: Point, b: Point, length_m: float) -> None:
    assert geodesic_m(a, b) == pytest.approx(length_m, abs=0.001)


def test_nearly_antipodal_points_are_refused_and_not_measured_wrongly() -> None:
    with pytest.raises(ValueError, match="antipodal"):
        geodesic_m(Point(0.0, 0.0), Point(0.5, 179.7))


@given(CITY, CITY)
def test_the_way_back_is_as_long_and_no_way_is_no_length(a: Point, b: Point) -> None:
    assert geodesic_m(a, b) == pytest.approx(geodesic_m(b, a), abs=1e-6)
    assert geodesic_m(a, a) == 0.0


@given(ANYWHERE, ANYWHERE)
def test_the_chord_is_never_longer_than_the_geodesic(a: Point, b: Point) -> None:
    assert sqrt(squared_chord_m2(xyz(a), xyz(b))) <= geodesic_m(a, b) + 1e-6


@given(CITY, CITY)
def test_in_a_city_chord_and_geodesic_are_the_same_to_two_millimetres(a: Point, b: Point) -> None:
    assert sqrt(squared_chord_m2(xyz(a), xyz(b))) == pytest.approx(geodesic_m(a, b), abs=0.002)
