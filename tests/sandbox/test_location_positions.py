"""What subscribers of the Location API v2 are told of positions, over real ports: circles, distances, periods."""

from __future__ import annotations

from typing import Any

from pillion.sandbox.location import float32
from tests.sandbox.location_v2 import (
    CENTRE,
    KEYS,
    OTHER,
    SUBSCRIPTIONS,
    VEHICLE,
    body_of,
    east_of_centre,
    subscribe,
)
from tests.sandbox.lockstep import lockstep


async def test_a_circle_tells_who_comes_in_with_the_position_and_takes_everyone_as_outside_at_first() -> None:
    async with lockstep() as s:
        callback = {"notifyURL": s.callbacks.at("in"), "callbackData": "x"}
        await s.attach(VEHICLE, "4g-macro-cell-4", CENTRE)
        await subscribe(s, "area/circle", callbackReference=callback)
        await subscribe(s, "area/circle", "out", enteringLeavingCriteria="Leaving")
        await s.tick()
        (told,) = s.callbacks.documents("in")
        (terminal,) = told["subscriptionNotification"]["terminalLocation"]
        stamp = {"nanoSeconds": 0, "seconds": s.live.refreshed_s}
        assert told == {
            "subscriptionNotification": {
                "callbackData": "x",
                "enteringLeavingCriteria": "Entering",
                "terminalLocation": [terminal],
            }
        }
        assert terminal == {
            "address": VEHICLE,
            "currentLocation": {
                "latitude": [float32(CENTRE.lat_deg)],
                "longitude": [float32(CENTRE.lon_deg)],
                "shape": 2,
                "timestamp": stamp,
            },
            "locationRetrievalStatus": "Retrieved",
        }
        s.callbacks.taken()
        for metres, paths in ((90, []), (110, ["out"]), (500, []), (0, ["in"])):
            s.live.world.place(VEHICLE, east_of_centre(metres))
            await s.tick()
            assert [received.path for received in s.callbacks.taken()] == paths


async def test_a_circle_does_not_look_until_its_seconds_have_passed_and_ends_with_its_count() -> None:
    async with lockstep() as s:
        await s.attach(VEHICLE, "4g-macro-cell-4", CENTRE)
        await s.attach(OTHER, "4g-macro-cell-4", CENTRE)
        third = "10.100.0.3"
        await s.attach(third, "4g-macro-cell-4", CENTRE)
        await subscribe(s, "area/circle", address=[VEHICLE, OTHER, third], frequency=3, count=2)
        told: list[tuple[int, str]] = []
        for tick in range(1, 11):
            await s.tick()
            for received in s.callbacks.taken():
                (terminal,) = received.document["subscriptionNotification"]["terminalLocation"]
                told.append((tick, terminal["address"]))
        assert told == [(1, VEHICLE), (4, OTHER)]


async def test_a_ue_that_loses_coverage_within_a_circle_has_not_left_it() -> None:
    async with lockstep() as s:
        await s.attach(VEHICLE, "4g-macro-cell-4", CENTRE)
        await subscribe(s, "area/circle", "out", enteringLeavingCriteria="Leaving")
        await s.tick()
        await s.attach(VEHICLE, None)
        await s.tick(3)
        await s.attach(VEHICLE, "4g-macro-cell-4")
        await s.tick(3)
        assert s.callbacks.received == []


async def test_a_put_keeps_who_is_inside_a_circle_and_how_often_it_has_told() -> None:
    async with lockstep() as s:
        await s.attach(VEHICLE, "4g-macro-cell-4", CENTRE)
        await subscribe(s, "area/circle", count=2)
        await s.tick()
        body = body_of("area/circle", s.callbacks.at("put"), {"count": 2, "resourceURL": "x/1"})
        assert (await s.send("PUT", f"{SUBSCRIPTIONS}/area/circle/1", body)).status == 200
        assert [received.path for received in s.callbacks.taken()] == ["area/circle"]
        for metres, paths in ((0, []), (500, []), (0, ["put"]), (500, []), (0, [])):
            s.live.world.place(VEHICLE, east_of_centre(metres))
            await s.tick()
            assert [received.path for received in s.callbacks.taken()] == paths


async def test_distances_are_told_every_so_many_seconds_while_they_last() -> None:
    async with lockstep() as s:
        await s.attach(VEHICLE, "4g-macro-cell-4", east_of_centre(60))
        await subscribe(s, "distance", frequency=2)
        await s.tick()
        assert s.callbacks.taken() == [], "the other UE is not connected"
        await s.attach(OTHER, "4g-macro-cell-4", CENTRE)
        told: list[int] = []
        for tick in range(1, 9):
            s.live.world.place(VEHICLE, east_of_centre(60 if tick < 6 else 600))
            await s.tick()
            told += [tick for _ in s.callbacks.documents()]
            for received in s.callbacks.taken():
                notification = received.document["subscriptionNotification"]
                assert notification["distanceCriteria"] == "AllWithinDistance"
                (terminal,) = notification["terminalLocation"]
                assert terminal["address"] == VEHICLE, "the monitored one, not the reference"
                assert terminal["currentLocation"]["longitude"] == [float32(east_of_centre(60).lon_deg)]
        assert told == [1, 3, 5]


async def test_a_put_does_not_let_a_distance_tell_more_often_than_its_count() -> None:
    async with lockstep() as s:
        for ue in (VEHICLE, OTHER):
            await s.attach(ue, "4g-macro-cell-4", CENTRE)
        await subscribe(s, "distance", count=2)
        await s.tick()
        body = body_of("distance", s.callbacks.at("put"), {"count": 2, "resourceURL": "x/1"})
        await s.send("PUT", f"{SUBSCRIPTIONS}/distance/1", body)
        await s.tick(3)
        assert [received.path for received in s.callbacks.received] == ["distance", "put"]


async def test_positions_come_every_so_many_seconds_and_null_when_nobody_is_connected() -> None:
    async with lockstep() as s:
        await subscribe(s, "periodic", address=[VEHICLE, OTHER], frequency=3)
        told: dict[int, Any] = {}
        for tick in range(1, 10):
            if tick == 4:
                await s.attach(OTHER, "4g-macro-cell-4", CENTRE)
            await s.tick()
            for received in s.callbacks.taken():
                told[tick] = received.document["subscriptionNotification"]["terminalLocation"]
        assert list(told) == [3, 6, 9]
        assert told[3] is None
        assert [terminal["address"] for terminal in told[6]] == [OTHER]


async def test_each_tick_tells_of_handovers_first_and_then_once_of_positions() -> None:
    async with lockstep() as s:
        for kind in reversed(KEYS):
            wide = {"area/circle": {"radius": 1e5}, "distance": {"distance": 1e5}}
            await subscribe(s, kind, **wide.get(kind, {}))
        s.live.drive(True)
        await s.tick()
        paths = [received.path for received in s.callbacks.taken()]
        assert paths[-3:] == ["area/circle", "distance", "periodic"]
        assert set(paths[:-3]) == {"userTracking", "zonalTraffic", "zoneStatus"}
        await s.tick(5)
        assert len(s.callbacks.documents("distance")) == len(s.callbacks.documents("periodic")) == 5


async def test_seconds_are_those_that_pass_and_not_those_for_which_ues_move() -> None:
    async with lockstep() as s:
        await subscribe(s, "periodic", frequency=2)
        await s.tick(count=4, dt_s=0.5)
        assert len(s.callbacks.taken()) == 1
        await s.tick(count=4, dt_s=0.5)
        assert len(s.callbacks.taken()) == 1
        assert s.live.world.simulated_s == 0
