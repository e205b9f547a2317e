"""A UE stays on its path, at the speed that the sandbox makes of its speed."""

from __future__ import annotations

from itertools import pairwise
from math import hypot

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillion.sandbox.geodesy import Point
from pillion.sandbox.movement import Track, advance, point_at, track_of
from pillion.sandbox.scenario import DEFAULT_WIRELESS_TYPES, EndOfPath, Ue

# Six decimals, as scenario files have: 0.1 m.
COORDINATES = st.integers(0, 40_000).map(lambda micro: micro / 1e6)
POINTS = st.builds(lambda north, east: Point(43.72 + north, 7.40 + east), COORDINATES, COORDINATES)
PATHS = st.lists(POINTS, min_size=2, max_size=12).filter(lambda points: len(set(points)) > 1)
TRACKS = st.builds(
    lambda path, end, speed: track_of(Ue("ue", tuple(path), end, speed, DEFAULT_WIRELESS_TYPES)),
    PATHS,
    st.sampled_from(EndOfPath),
    st.floats(0.5, 60),
)
INTERVALS_S = st.lists(st.floats(0, 30), min_size=1, max_size=40)


def distance_to_path_deg(track: Track, place: Point) -> float:
    def to_segment(a: Point, b: Point) -> float:
        dx, dy = b.lat_deg - a.lat_deg, b.lon_deg - a.lon_deg
        px, py = place.lat_deg - a.lat_deg, place.lon_deg - a.lon_deg
        squared = dx * dx + dy * dy
        share = min(1.0, max(0.0, (px * dx + py * dy) / squared)) if squared else 0.0
        return hypot(px - share * dx, py - share * dy)

    return min(to_segment(a, b) for a, b in pairwise(track.points))


@given(TRACKS, INTERVALS_S)
def test_a_ue_never_leaves_its_path_and_its_fraction_stays_in_range(track: Track, intervals_s: list[float]) -> None:
    fraction = 0.0
    for dt_s in intervals_s:
        place, fraction = advance(track, fraction, dt_s)
        assert 0.0 <= fraction <= 2.0
        assert fraction == round(fraction, 6)
        assert distance_to_path_deg(track, place) < 1e-9


@given(TRACKS, INTERVALS_S)
def test_a_reversing_ue_never_jumps(track: Track, intervals_s: list[float]) -> None:
    reversing = Track(track.points, track.arc_deg, track.length_m, track.rate_per_s, EndOfPath.REVERSE)
    before, fraction = track.points[0], 0.0
    for dt_s in intervals_s:
        place, fraction = advance(reversing, fraction, dt_s)
        moved_deg = hypot(place.lat_deg - before.lat_deg, place.lon_deg - before.lon_deg)
        rounding = 1e-6
        assert moved_deg <= (dt_s * track.rate_per_s + rounding) * track.arc_deg[-1]
        before = place


@given(TRACKS, st.floats(0, 1))
def test_a_reversing_ue_comes_back_by_the_way_it_went(track: Track, there: float) -> None:
    reversing = Track(track.points, track.arc_deg, track.length_m, rate_per_s=1.0, end_of_path=EndOfPath.REVERSE)
    on_the_way_out, _ = advance(reversing, 0.0, there)
    on_the_way_back, _ = advance(reversing, 0.0, 2 - there)
    assert on_the_way_out == pytest.approx(on_the_way_back, abs=1e-12)


@given(TRACKS)
def test_a_path_starts_at_its_first_point_and_ends_at_its_last(track: Track) -> None:
    assert point_at(track, 0.0) == track.points[0]
    assert point_at(track, 1.0) == track.points[-1]


def test_a_looping_ue_jumps_from_the_last_point_of_an_open_path_to_the_first() -> None:
    track = Track((Point(0.0, 0.0), Point(0.0, 0.01)), (0.0, 0.01), 1113.0, 0.1, EndOfPath.LOOP)
    place, fraction = advance(track, 0.95, 1.0)
    assert place == pytest.approx(Point(0.0, 0.0005))
    assert fraction == 1.05


def test_the_place_comes_from_the_unrounded_fraction_and_the_next_tick_from_the_rounded_one() -> None:
    track = Track((Point(0.0, 0.0), Point(0.0, 1.0)), (0.0, 1.0), 111319.0, 0.000123, EndOfPath.LOOP)
    place, fraction = advance(track, 0.0, 0.0123)
    assert place.lon_deg == pytest.approx(0.0000015129, rel=1e-9)
    assert fraction == 0.000002


def test_eastward_a_ue_is_slower_than_its_speed_and_northward_faster() -> None:
    corner = (Point(43.73, 7.42), Point(43.73, 7.43), Point(43.74, 7.43))
    track = track_of(Ue("ue", corner, EndOfPath.LOOP, 20.0, DEFAULT_WIRELESS_TYPES))
    lap_s = track.length_m / 20.0
    eastward_s, northward_s = lap_s / 2, lap_s / 2  # as long in degrees, so as long in time
    eastward_m, northward_m = 805.6, 1111.0
    assert eastward_m / eastward_s < 20.0 < northward_m / northward_s
    assert advance(track, 0.0, eastward_s)[0] == pytest.approx(corner[1], abs=1e-5)


def test_a_ue_without_a_path_has_a_track_that_goes_nowhere() -> None:
    track = track_of(Ue("ue", (Point(43.73, 7.42),), EndOfPath.LOOP, 0.0, DEFAULT_WIRELESS_TYPES))
    assert (track.length_m, track.rate_per_s) == (0.0, 0.0)
