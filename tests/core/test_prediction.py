"""The look ahead along a UE's course: which zone it is expected in next, and when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillion.core.model import PoaId, Position, ZoneId
from pillion.core.prediction import Layout, Motion, Poa, next_zone

HERE = Position(43.7384, 7.4246)
ZONE01, ZONE02 = ZoneId("zone01"), ZoneId("zone02")
METRES_EAST = 1 / (111_320.0 * 0.72255)
"""One metre in degrees of longitude at Monaco."""
METRES_NORTH = 1 / 111_320.0


def at(east_m: float, north_m: float = 0.0) -> Position:
    return Position(HERE.latitude + north_m * METRES_NORTH, HERE.longitude + east_m * METRES_EAST)


def poa(name: str, zone: ZoneId, east_m: float, kind: str = "Macro", radius_m: float = 400.0) -> Poa:
    return Poa(PoaId(name), zone, at(east_m), kind, radius_m)


def layout(*poas: Poa) -> Layout:
    return {each.id: each for each in poas}


def driven(east_mps: float, north_mps: float = 0.0, seconds: int = 5, polls: int = 4) -> Motion:
    """A UE that arrives HERE; its position is renewed once a second and asked for more often."""
    motion = Motion()
    for poll in range(seconds * polls + 1):
        before_s = seconds - poll // polls
        motion = motion.moved(at(-east_mps * before_s, -north_mps * before_s), poll / polls)
    return motion


def test_course_and_speed_come_from_the_positions_and_not_from_how_often_they_are_asked_for():
    for polls in (1, 4, 10):
        east, north = driven(12.0, -5.0, polls=polls).velocity_mps() or (0.0, 0.0)
        assert east == pytest.approx(12.0, rel=0.01)
        assert north == pytest.approx(-5.0, rel=0.01)


@pytest.mark.parametrize("seconds", [0, 1, 2])
def test_no_course_is_read_from_too_short_a_time(seconds: int):
    assert driven(20.0, seconds=seconds).velocity_mps() is None


@given(st.floats(-0.6, 0.6), st.floats(-0.6, 0.6))
def test_a_ue_that_stands_or_creeps_predicts_nothing(east_mps: float, north_mps: float):
    everywhere = layout(poa("near", ZONE01, 0.0))
    assert next_zone(driven(east_mps, north_mps), ZONE02, everywhere, 20.0) is None


def test_a_straight_line_into_the_range_of_another_zone_s_poa_expects_that_zone_when_the_line_gets_there():
    city = layout(poa("home", ZONE02, 0.0), poa("next", ZONE01, 700.0))
    expected = next_zone(driven(20.0), ZONE02, city, 30.0)
    assert expected is not None
    assert (expected.zone, expected.poa) == (ZONE01, PoaId("next"))
    assert expected.in_s == 18.0, "350 m are nearer to the next POA, and at home until 400 m: of two Macro the nearer"


def test_what_lies_beyond_the_look_ahead_or_behind_the_ue_is_not_expected():
    city = layout(poa("home", ZONE02, 0.0), poa("next", ZONE01, 700.0))
    assert next_zone(driven(20.0), ZONE02, city, 15.0) is None
    assert next_zone(driven(-20.0), ZONE02, city, 60.0) is None


def test_the_ue_s_own_zone_is_never_expected():
    city = layout(poa("home", ZONE02, 0.0), poa("next", ZONE02, 700.0))
    assert next_zone(driven(20.0), ZONE02, city, 60.0) is None


def test_a_better_technology_is_expected_although_a_worse_one_is_nearer():
    near_macro, far_small = poa("macro", ZONE02, 200.0), poa("small", ZONE01, 280.0, "Smallcell", 100.0)
    expected = next_zone(driven(20.0), ZONE02, layout(near_macro, far_small), 20.0)
    assert expected is not None
    assert expected.poa == "small"
    wifi = poa("wifi", ZONE02, 250.0, "Wifi", 150.0)
    assert next_zone(driven(20.0), ZONE02, layout(near_macro, far_small, wifi), 12.0) is None, "WiFi is better still"


def test_a_course_through_a_gap_in_the_coverage_expects_what_lies_behind_it():
    city = layout(poa("home", ZONE02, 0.0, radius_m=50.0), poa("next", ZONE01, 300.0, radius_m=50.0))
    expected = next_zone(driven(20.0), ZONE02, city, 20.0)
    assert expected is not None
    assert expected.in_s == 13.0


def test_a_poa_of_no_range_or_of_unknown_technology_serves_nobody():
    city = layout(poa("none", ZONE01, 100.0, radius_m=0.0), poa("odd", ZONE01, 100.0, "Unknown"))
    assert next_zone(driven(20.0), ZONE02, city, 20.0) is None


def test_without_positions_or_a_layout_nothing_is_expected():
    assert next_zone(Motion(), ZONE02, layout(poa("next", ZONE01, 100.0)), 20.0) is None
    assert next_zone(driven(20.0), ZONE02, {}, 20.0) is None


@given(st.floats(-30, 30), st.floats(-30, 30), st.lists(st.floats(-900, 900), max_size=6))
def test_whatever_the_course_another_zone_is_expected_within_the_look_ahead_or_none(
    east_mps: float, north_mps: float, easts_m: list[float]
):
    poas = [poa(f"p{i}", ZoneId(f"zone{i % 3}"), east_m, "Smallcell", 100.0) for i, east_m in enumerate(easts_m)]
    expected = next_zone(driven(east_mps, north_mps), ZoneId("zone0"), layout(*poas), 20.0)
    assert expected is None or (
        expected.zone != "zone0" and 1 <= expected.in_s <= 20 and layout(*poas)[expected.poa].zone == expected.zone
    )


def test_only_the_last_few_seconds_are_kept():
    motion = Motion()
    for second in range(1000):
        motion = motion.moved(at(second), float(second))
    assert len(motion.seen) <= 5
