"""What both versions of the Location API tell of, without a port: counts, paces, areas and distances."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillion.sandbox.geodesy import Point
from pillion.sandbox.live import LiveWorld
from pillion.sandbox.location_events import Circle, Count, Pace, Polygon, counted, distance_m, near_or_far
from pillion.sandbox.notifications import Line, Notification
from pillion.sandbox.world import Automation, Change, User, World
from tests.sandbox.cities import METRE_EAST_DEG, monaco, street

UES = ("10.0.0.1", "10.0.0.2")


def test_of_two_ues_that_change_places_each_changes_the_counts_though_the_sums_stay() -> None:
    world = World(street())
    west, east = world.scenario.poas
    world.hand_over(UES[0], west)
    world.hand_over(UES[1], east)
    there, back = world.hand_over(UES[0], east), world.hand_over(UES[1], west)
    assert there is not None
    assert back is not None
    assert [counts for _, counts in counted([there, back], world)] == [
        [
            Count("left", "west", 1, 0),
            Count("right", "east", 1, 2),
            Count("left", None, 1, 0),
            Count("right", None, 1, 2),
        ],
        [
            Count("right", "east", 2, 1),
            Count("left", "west", 0, 1),
            Count("right", None, 2, 1),
            Count("left", None, 0, 1),
        ],
    ]


def test_coming_and_going_change_one_count_each_and_a_handover_within_a_zone_changes_none_of_the_zone() -> None:
    world = World(monaco())
    here, other = (poa for poa in world.scenario.poas if poa.id in ("5g-small-cell-8", "5g-small-cell-9"))
    ue = world.scenario.ues[0].id
    for poa, expected in (
        (here, [Count("zone02", here.id, 0, 1), Count("zone02", None, 0, 1)]),
        (other, [Count("zone02", here.id, 1, 0), Count("zone02", other.id, 0, 1)]),
        (None, [Count("zone02", other.id, 1, 0), Count("zone02", None, 1, 0)]),
    ):
        change = world.hand_over(ue, poa)
        assert change is not None
        assert [counts for _, counts in counted([change], world)] == [expected]


def test_the_counts_of_a_whole_drive_add_up_to_where_users_are() -> None:
    world = World(monaco())
    world.automation[Automation.MOVEMENT] = world.automation[Automation.MOBILITY] = True
    poas, zones = Counter[str](), Counter[str]()
    for _ in range(120):
        for _, counts in counted(world.tick(1.0), world):
            for count in counts:
                kept, place = (zones, count.zone) if count.poa is None else (poas, count.poa)
                assert kept[place] == count.before
                kept[place] = count.after
        assert +poas == world.users_per_poa()
        assert +zones == world.users_per_zone()


def told_at(pace: Pace, ticks_s: list[float]) -> list[float]:
    told: list[float] = []
    for now_s in ticks_s:
        if pace.due(now_s):
            pace.told(now_s)
            told.append(now_s)
    return told


def test_a_pace_of_one_second_lets_each_tick_tell_also_when_ticks_are_not_quite_a_second() -> None:
    late = [1.004, 2.001, 3.0, 3.998, 4.999, 6.02]
    assert told_at(Pace(1), late) == late


def test_a_pace_counts_seconds_and_not_ticks() -> None:
    halves = [tick / 2 for tick in range(1, 13)]
    assert told_at(Pace(2), halves) == [0.5, 2.5, 4.5]
    waiting = Pace(3)
    waiting.wait(1.0)
    assert told_at(waiting, [float(tick) for tick in range(2, 11)]) == [4.0, 7.0, 10.0]
    assert told_at(Pace(3), [10.0, 20.0, 30.0]) == [10.0, 20.0, 30.0]


def test_a_pace_with_a_count_ends() -> None:
    pace = Pace(0, count=2)
    assert not pace.is_last
    assert told_at(pace, [1.0]) == [1.0]
    assert pace.is_last
    assert told_at(pace, [2.0, 3.0, 4.0]) == [2.0]
    assert not Pace(0).is_last


class Metronome:
    """A service that tells nothing, and keeps when it could have."""

    def __init__(self, live: LiveWorld, pace: Pace) -> None:
        self.line = Line("metronome")
        self.beats_s: list[float] = []
        self._live = live
        self._pace = pace

    def changed(self, changes: Sequence[Change]) -> Iterable[Notification]:
        return ()

    def refreshed(self) -> Iterable[Notification]:
        self.beats_s += told_at(self._pace, [self._live.elapsed_s])
        return ()

    def forget(self) -> None:
        """It has nothing to forget."""


@pytest.mark.looptime
@pytest.mark.parametrize(("interval_s", "beats"), [(1, 12), (3, 4)])
async def test_at_speed_1_the_ticker_gives_a_pace_its_seconds_whether_ues_move_or_not(
    interval_s: int, beats: int
) -> None:
    live = LiveWorld(street(), name="sbxtest", clock=asyncio.get_running_loop().time)
    metronome = Metronome(live, Pace(interval_s))
    live.services.append(metronome)
    ticker = asyncio.create_task(live.run(), name="tick sbxtest")
    live.automate(Automation.MOBILITY, True)
    await asyncio.sleep(12.5)
    ticker.cancel()
    await asyncio.wait([ticker])
    assert live.world.simulated_s == 0
    assert live.elapsed_s == pytest.approx(12)
    assert metronome.beats_s == pytest.approx([1.0 + beat * interval_s for beat in range(beats)])


def east_of(metres: float) -> Point:
    return Point(43.73, 7.42 + metres * METRE_EAST_DEG)


def test_a_circle_ends_at_its_radius() -> None:
    circle = Circle(east_of(0), 100)
    assert east_of(99) in circle
    assert east_of(-99) in circle
    assert east_of(101) not in circle


def test_a_polygon_has_what_lies_within_its_lines_also_where_it_is_not_convex() -> None:
    arrow = Polygon((Point(0, 0), Point(2, 2), Point(4, 0), Point(2, 6)))
    assert Point(2, 3) in arrow
    assert Point(0.5, 0.7) in arrow
    assert Point(2, 1) not in arrow, "between the two barbs"
    assert Point(5, 3) not in arrow
    assert Point(2, 7) not in arrow


@given(st.floats(-90, 90), st.floats(-180, 180), st.floats(-1e9, 1e9), st.floats(-1e9, 1e9))
@settings(deadline=None)
def test_there_is_a_distance_between_any_two_points(a: float, b: float, c: float, d: float) -> None:
    assert 0 <= distance_m(Point(a, b), Point(c, d)) < 20_010_000


def test_the_far_side_of_the_earth_is_half_a_turn_away() -> None:
    assert distance_m(Point(0, 0), Point(0.5, 179.7)) == pytest.approx(20_000_000, rel=0.01)


def people(**places_m: float) -> dict[str, User]:
    return {name: User(name, "poa", "zone", east_of(metres)) for name, metres in places_m.items()}


@pytest.mark.parametrize(
    ("criteria", "limit_m", "told"),
    [
        ("AnyWithinDistance", 50, ["b"]),
        ("AnyWithinDistance", 500, ["b", "c"]),
        ("AllWithinDistance", 50, []),
        ("AllWithinDistance", 500, ["b", "c"]),
        ("AnyBeyondDistance", 50, ["c"]),
        ("AllBeyondDistance", 50, []),
        ("AllBeyondDistance", 20, ["b", "c"]),
        ("AnyBeyondDistance", 500, []),
        ("Nearby", 500, []),
    ],
)
def test_criteria_say_which_of_the_monitored_ues_are_told_of(criteria: str, limit_m: float, told: list[str]) -> None:
    around = people(a=0, b=40, c=200)
    met = near_or_far(criteria, limit_m, ["a"], ["b", "c"], around.get)
    assert [user.ue for user in met] == told


def test_without_references_each_is_compared_with_every_other_and_with_an_empty_list_nobody() -> None:
    around = people(a=0, b=40, c=200)
    assert [user.ue for user in near_or_far("AnyWithinDistance", 50, None, ["a", "b", "c"], around.get)] == ["a", "b"]
    assert near_or_far("AnyWithinDistance", 50, [], ["a", "b", "c"], around.get) == []
    assert near_or_far("AnyWithinDistance", 50, None, ["a"], around.get) == []


def test_those_who_are_not_connected_take_no_part() -> None:
    around = people(a=0, b=40)
    met = near_or_far("AllWithinDistance", 50, ["a", "gone"], ["b", "gone"], around.get)
    assert [user.ue for user in met] == ["b"]


def test_a_limit_is_strict_and_distances_are_whole_metres() -> None:
    around = people(a=0, b=40.6)
    assert near_or_far("AnyWithinDistance", 40, ["a"], ["b"], around.get) == []
    assert near_or_far("AnyBeyondDistance", 40, ["a"], ["b"], around.get) == []
    assert near_or_far("AnyWithinDistance", 41, ["a"], ["b"], around.get) != []
