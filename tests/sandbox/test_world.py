"""What the network knows of the UEs, and the truth that only the world knows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillion.sandbox.world import Automation, World, drive
from tests.sandbox.cities import monaco, street

VEHICLE = "10.0.0.1"
BYSTANDER = "10.0.0.2"


def started(world: World) -> World:
    world.automation[Automation.MOVEMENT] = world.automation[Automation.MOBILITY] = True
    return world


def test_there_are_no_users_until_mobility_has_run_once() -> None:
    world = World(street())
    world.automation[Automation.MOVEMENT] = True
    world.tick(1.0)
    assert world.users() == []
    world.automation[Automation.MOBILITY] = True
    assert world.users() == []
    world.tick(1.0)
    assert [(user.ue, user.poa, user.zone) for user in world.users()] == [
        (VEHICLE, "west", "left"),
        (BYSTANDER, "east", "right"),
    ]


def test_mobility_alone_attaches_ues_where_they_stand_and_nothing_moves() -> None:
    world = World(street())
    world.automation[Automation.MOBILITY] = True
    for _ in range(50):
        world.tick(1.0)
    assert world.simulated_s == 0.0
    assert {(user.ue, user.at) for user in world.users()} == {(ue.id, ue.path[0]) for ue in street().ues}


def test_a_vehicle_leaving_coverage_is_gone_and_comes_back_as_an_entry() -> None:
    world = started(World(street()))
    for tick in range(1, 101):
        world.tick(1.0, monotonic_s=1000.0 + tick)
    told = [
        (change.tick, change.simulated_s, change.monotonic_s, change.previous_poa, change.poa)
        for change in world.changes
        if change.ue == VEHICLE
    ]
    # 20 m a tick: west reaches to 90 m, east from 310 m to 490 m; the street turns at 1000 m.
    assert told == [
        (1, 1.0, 1001.0, None, "west"),
        (5, 5.0, 1005.0, "west", None),
        (16, 16.0, 1016.0, None, "east"),
        (25, 25.0, 1025.0, "east", None),
        (76, 76.0, 1076.0, None, "east"),
        (85, 85.0, 1085.0, "east", None),
        (96, 96.0, 1096.0, None, "west"),
    ]
    assert [(c.previous_zone, c.zone) for c in world.changes if c.ue == VEHICLE][1:3] == [
        ("left", None),
        (None, "right"),
    ]


def test_a_vehicle_out_of_coverage_is_no_user() -> None:
    world = started(World(street()))
    for _ in range(10):
        world.tick(1.0)
    assert world.user(VEHICLE) is None
    assert [user.ue for user in world.users()] == [BYSTANDER]


def test_users_are_counted_where_they_are_served() -> None:
    world = started(World(street()))
    for _ in range(20):
        world.tick(1.0)
    assert world.users_per_poa() == {"east": 2}
    assert world.users_per_zone() == {"right": 2}
    assert world.users_per_zone()["empty"] == 0


def test_a_paused_drive_goes_on_from_where_it_was() -> None:
    world, undisturbed = started(World(street())), started(World(street()))
    for tick in range(12):
        if tick == 6:
            world.automation[Automation.MOVEMENT] = False
            before = list(world.samples())
            for _ in range(5):
                world.tick(1.0)
            assert [s[1:] for s in world.samples()] == [s[1:] for s in before]
            world.automation[Automation.MOVEMENT] = True
        world.tick(1.0)
        undisturbed.tick(1.0)
    assert world.simulated_s == undisturbed.simulated_s == 12.0
    assert [s[1:] for s in world.samples()] == [s[1:] for s in undisturbed.samples()]


def test_handovers_stay_unknown_while_mobility_is_off() -> None:
    world = started(World(street()))
    world.tick(1.0)
    world.automation[Automation.MOBILITY] = False
    for _ in range(20):
        world.tick(1.0)
    user = world.user(VEHICLE)
    assert user is not None
    assert user.poa == "west"
    assert user.at != street().ues[0].path[0], "its position is known all the same"


def test_time_cannot_go_backward() -> None:
    with pytest.raises(ValueError, match="cannot take"):
        World(street()).tick(-0.1)


@given(st.lists(st.floats(0.05, 3.0), min_size=1, max_size=60))
def test_the_truth_is_exactly_what_the_samples_show(intervals_s: list[float]) -> None:
    world = started(World(monaco()))
    shown: dict[str, tuple[str | None, str | None]] = {ue.id: (None, None) for ue in monaco().ues}
    seen = []
    for dt_s in intervals_s:
        world.tick(dt_s)
        for sample in world.samples():
            if (sample.poa, sample.zone) != shown[sample.ue]:
                seen.append((sample.tick, sample.ue, *shown[sample.ue], sample.poa, sample.zone))
                shown[sample.ue] = (sample.poa, sample.zone)
    truth = [(c.tick, c.ue, c.previous_poa, c.previous_zone, c.poa, c.zone) for c in world.changes]
    assert truth == seen
    assert world.changes_dropped == 0


def test_a_driven_world_gives_one_sample_per_ue_and_tick() -> None:
    samples = list(drive(World(street()), 30))
    assert [(s.tick, s.ue) for s in samples] == [(tick, ue) for tick in range(1, 31) for ue in (VEHICLE, BYSTANDER)]
    assert [s.poa for s in samples if s.ue == VEHICLE and s.tick in (4, 5, 16)] == ["west", None, "east"]
