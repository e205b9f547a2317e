"""What subscribers of the Location API v3 are told, over real ports: six types, and how often each may tell."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from pillion.sandbox.faults import Fault
from pillion.sandbox.location import float32
from tests.sandbox.cities import METRE_EAST_DEG
from tests.sandbox.location_v3 import (
    CENTRE,
    ENTERING,
    LEAVING,
    OTHER,
    SUBSCRIPTIONS,
    VEHICLE,
    WHOLE,
    bare_of,
    east_of_centre,
    subscribe,
    told,
)
from tests.sandbox.lockstep import lockstep


async def test_a_ue_leaves_the_old_zone_and_enters_the_new_one_and_a_poa_within_a_zone_is_no_event() -> None:
    async with lockstep() as s:
        await subscribe(s, "UserLocationEvent")
        await subscribe(s, "ZoneLocationEvent")
        for poa in ("4g-macro-cell-4", "5g-small-cell-9", "4g-macro-cell-3", None):
            await s.attach(VEHICLE, poa)
        assert [(n["userLocationEvent"], n["zoneId"], n["accessPointId"]) for n in told(s, "UserLocationEvent")] == [
            (ENTERING, "zone02", "4g-macro-cell-4"),
            (LEAVING, "zone02", "5g-small-cell-9"),
            (ENTERING, "zone01", "4g-macro-cell-3"),
            (LEAVING, "zone01", "4g-macro-cell-3"),
        ]
        assert told(s, "ZoneLocationEvent") == [
            {"address": VEHICLE, "userLocationEvent": ENTERING, "zoneId": "zone02"},
            {"address": VEHICLE, "userLocationEvent": LEAVING, "zoneId": "zone02"},
        ]


async def test_what_is_told_of_a_ue_over_a_whole_lap_is_the_truth() -> None:
    async with lockstep() as s:
        await subscribe(s, "UserLocationEvent")
        s.live.drive(True)
        await s.tick(230)
        truth: list[tuple[str, str | None, str | None]] = []
        for change in s.live.world.changes:
            if change.ue == VEHICLE and change.zone != change.previous_zone:
                if change.previous_zone is not None:
                    truth.append((LEAVING, change.previous_zone, change.previous_poa))
                truth.append((ENTERING, change.zone, change.poa))
        assert [
            (n["userLocationEvent"], n["zoneId"], n["accessPointId"]) for n in told(s, "UserLocationEvent")
        ] == truth
        assert len(truth) == 9


async def test_a_set_of_poas_is_entered_and_left_and_what_happens_within_is_no_event() -> None:
    async with lockstep() as s:
        await subscribe(
            s, "UserLocationEvent", userEventPara={"accessPointList": ["4g-macro-cell-3", "4g-macro-cell-4"]}
        )
        for poa in ("5g-small-cell-9", "4g-macro-cell-4", "4g-macro-cell-3", "5g-small-cell-1", None):
            await s.attach(VEHICLE, poa)
        assert [(n["userLocationEvent"], n["accessPointId"]) for n in told(s, "UserLocationEvent")] == [
            (ENTERING, "4g-macro-cell-4"),
            (LEAVING, "4g-macro-cell-3"),
        ]


async def test_one_zone_of_a_ue_can_be_watched_with_positions_or_for_one_event_alone() -> None:
    async with lockstep() as s:
        where: dict[str, object] = {"zoneId": "zone01"}
        await subscribe(s, "UserLocationEvent", "position", userEventPara=where | {"reportingLocationReq": True})
        await subscribe(s, "UserLocationEvent", "once", userEventPara=where | {"occurrenceInfo": "ONE_TIME_EVENT"})
        for poa in ("4g-macro-cell-4", "4g-macro-cell-3", "4g-macro-cell-4"):
            await s.attach(VEHICLE, poa, CENTRE)
        position = {"latitude": [float32(CENTRE.lat_deg)], "longitude": [float32(CENTRE.lon_deg)], "shape": 2}
        assert [(n["userLocationEvent"], n["locationInfo"]) for n in told(s, "UserLocationEvent", "position")] == [
            (ENTERING, position),
            (LEAVING, position),
        ]
        assert [n["userLocationEvent"] for n in told(s, "UserLocationEvent", "once")] == [ENTERING]
        assert "locationInfo" not in told(s, "UserLocationEvent", "once")[0]


@pytest.mark.parametrize("kind", ["UserLocationEvent", "ZoneLocationEvent", "UserArea"])
@pytest.mark.parametrize(
    ("criteria", "events"),
    [(None, [ENTERING, LEAVING]), ([], [ENTERING, LEAVING]), ([LEAVING], [LEAVING]), ([ENTERING], [ENTERING])],
)
async def test_criteria_say_which_events_are_told(kind: str, criteria: list[str] | None, events: list[str]) -> None:
    async with lockstep() as s:
        await subscribe(s, kind, locationEventCriteria=criteria)
        await s.attach(VEHICLE, "4g-macro-cell-4", CENTRE)
        await s.tick()
        s.live.world.place(VEHICLE, east_of_centre(500))
        await s.tick()
        await s.attach(VEHICLE, None)
        assert [n["userLocationEvent"] for n in told(s, kind)] == events


async def test_a_zone_can_be_watched_for_some_ues_or_for_all() -> None:
    async with lockstep() as s:
        for path, addresses in (("all", None), ("empty", []), ("some", [OTHER, "10.9.9.9"])):
            await subscribe(s, "ZoneLocationEvent", path, addressList=addresses)
        for ue in (VEHICLE, OTHER):
            await s.attach(ue, "4g-macro-cell-4")
        for path, addresses in (("all", [VEHICLE, OTHER]), ("empty", [VEHICLE, OTHER]), ("some", [OTHER])):
            assert [n["address"] for n in told(s, "ZoneLocationEvent", path)] == addresses


async def test_counts_are_told_when_they_cross_a_threshold_and_no_earlier() -> None:
    async with lockstep() as s:
        await subscribe(
            s,
            "ZoneStatus",
            upperNumberOfUsersZoneThreshold=2,
            lowerNumberOfUsersZoneThreshold=2,
            upperNumberOfUsersAPThreshold=1,
            lowerNumberOfUsersAPThreshold=1,
        )
        await subscribe(s, "ZoneStatus", "none")
        over_poa = {"zoneId": "zone02", "accessPointId": "4g-macro-cell-4", "userNumEvent": 3}
        under_poa = over_poa | {"userNumEvent": 4}
        for ue, poa, events in (
            (VEHICLE, "4g-macro-cell-4", []),
            (OTHER, "4g-macro-cell-4", [over_poa]),
            ("10.100.0.3", "4g-macro-cell-5", [{"zoneId": "zone02", "userNumEvent": 1}]),
            (OTHER, None, []),
            (VEHICLE, None, [under_poa, {"zoneId": "zone02", "userNumEvent": 2}]),
        ):
            await s.attach(ue, poa)
            assert told(s, "ZoneStatus") == events
            assert s.callbacks.documents("none") == []
            s.callbacks.taken()


_SQUARE = {
    "shape": 2,
    "points": [
        {"latitude": CENTRE.lat_deg + north, "longitude": CENTRE.lon_deg + east * METRE_EAST_DEG}
        for north, east in ((-0.001, -100), (0.001, -100), (0.001, 100), (-0.001, 100))
    ],
}


@pytest.mark.parametrize("area", [WHOLE["UserArea"]["areaDefine"], _SQUARE])
async def test_a_circle_or_a_polygon_is_entered_and_left_and_who_is_inside_at_first_enters(
    area: dict[str, Any],
) -> None:
    async with lockstep() as s:
        await s.attach(VEHICLE, "4g-macro-cell-4", CENTRE)
        await subscribe(s, "UserArea", areaDefine=area, reportingLocationReq=True)
        happened: list[tuple[int, str, float]] = []
        for tick, metres in enumerate((0, 95, 105, 300, -95, -105)):
            s.live.world.place(VEHICLE, east_of_centre(metres))
            await s.tick()
            for n in told(s, "UserArea"):
                happened.append((tick, n["userLocationEvent"], n["locationInfo"]["longitude"][0]))
            s.callbacks.taken()
        assert happened == [
            (tick, event, float32(east_of_centre(metres).lon_deg))
            for tick, event, metres in ((0, ENTERING, 0), (2, LEAVING, 105), (4, ENTERING, -95), (5, LEAVING, -105))
        ]


async def test_positions_come_so_many_times_and_the_last_one_says_so() -> None:
    async with lockstep() as s:
        await subscribe(s, "UserLocationPeriodic", periodicEventInfo={"reportingAmount": 3, "reportingInterval": 2})
        await s.tick(3)
        await s.attach(VEHICLE, "4g-macro-cell-4", CENTRE)
        await s.tick(7)
        here = {
            "address": VEHICLE,
            "result": "SUCCESS",
            "zoneId": "zone02",
            "accessPointId": "4g-macro-cell-4",
            "locationInfo": {"latitude": [float32(CENTRE.lat_deg)], "longitude": [float32(CENTRE.lon_deg)], "shape": 2},
        }
        assert told(s, "UserLocationPeriodic") == [
            {"address": VEHICLE, "result": "ABNORMAL"},
            here,
            here | {"isFinalNotification": True},
        ]


async def test_distances_are_told_with_the_users_that_are_monitored() -> None:
    async with lockstep() as s:
        await subscribe(s, "UserDistance", reportingCtrl={"minimumInterval": 2, "maximumCount": 2})
        await s.attach(OTHER, "4g-macro-cell-4", CENTRE)
        await s.attach(VEHICLE, "4g-macro-cell-4", east_of_centre(150))
        await s.tick()
        assert s.callbacks.received == []
        s.live.world.place(VEHICLE, east_of_centre(50))
        happened = []
        for tick in range(1, 8):
            await s.tick()
            happened += [tick for _ in s.callbacks.documents()]
            for n in told(s, "UserDistance"):
                assert n["distanceEvent"] == "AllWithinDistance"
                queries = f"{s.listening.api_url}/location/v3/queries"
                assert n["monitoredUsers"]["resourceURL"] == f"{queries}/users"
                (user,) = n["monitoredUsers"]["user"]
                assert (user["address"], user["zoneId"]) == (VEHICLE, "zone02")
                assert user["resourceURL"] == f"{queries}/users?address={VEHICLE}"
            s.callbacks.taken()
        assert happened == [1, 3]


@pytest.mark.parametrize(
    ("control", "at"),
    [
        (None, [1, 2, 3, 4, 5, 6]),
        ({"maximumCount": 2}, [1, 2]),
        ({"minimumInterval": 3}, [1, 4]),
        ({"maximumFrequency": 2, "maximumCount": 0}, [1, 3, 5]),
        ({"maximumFrequency": 2, "minimumInterval": 3}, [1, 4]),
    ],
)
async def test_reporting_control_says_how_often_and_how_many_times(
    control: dict[str, int] | None, at: list[int]
) -> None:
    async with lockstep() as s:
        await s.attach(VEHICLE, "4g-macro-cell-4")
        await subscribe(s, "ZoneLocationEvent", reportingCtrl=control, locationEventCriteria=[ENTERING])
        happened = []
        for tick in range(1, 7):
            await s.tick()
            await s.attach(VEHICLE, None)
            await s.attach(VEHICLE, "4g-macro-cell-4")
            happened += [tick for _ in s.callbacks.taken()]
        assert happened == at


async def test_a_put_keeps_how_often_was_told_and_who_is_inside_and_tests_the_callback_if_asked() -> None:
    async with lockstep() as s:
        control = {"maximumCount": 2}
        await s.attach(VEHICLE, "4g-macro-cell-4", CENTRE)
        await subscribe(s, "UserArea", "before", reportingCtrl=control)
        await s.tick()
        body = bare_of("UserArea", s.callbacks.at("after"), reportingCtrl=control, requestTestNotification=True)
        assert (await s.send("PUT", f"{SUBSCRIPTIONS}/area/1", body)).status == 200
        for metres in (0, 500, 0):
            s.live.world.place(VEHICLE, east_of_centre(metres))
            await s.tick()
        assert [received.path for received in s.callbacks.received] == ["before", "after", "after"]
        test, left = s.callbacks.documents("after")
        assert test["notificationType"] == "TestNotification"
        assert left["userLocationEvent"] == LEAVING


async def test_a_test_notification_goes_wrong_on_demand_as_well() -> None:
    async with lockstep() as s:
        s.live.faults.begin(Fault.LOST, 60)
        await subscribe(s, "UserArea", "lost", requestTestNotification=True)
        await s.live.told()
        assert s.callbacks.received == []


async def test_a_subscription_ends_with_its_deadline() -> None:
    async with lockstep() as s:
        await s.attach(VEHICLE, "4g-macro-cell-4", CENTRE)
        deadline = {"nanoSeconds": 0, "seconds": int(time.time())}
        later = deadline | {"seconds": deadline["seconds"] + 3600}
        info = {"reportingAmount": 9, "reportingInterval": 1}
        await subscribe(s, "UserLocationPeriodic", "past", expiryDeadline=deadline, periodicEventInfo=info)
        await subscribe(s, "UserLocationPeriodic", "future", expiryDeadline=later, periodicEventInfo=info)
        await subscribe(s, "ZoneLocationEvent", "past", expiryDeadline=deadline)
        s.live.drive(True)
        await s.tick()
        assert "future" in {received.path for received in s.callbacks.received}
        assert s.callbacks.documents("past") == []
        assert (await s.send("GET", f"{SUBSCRIPTIONS}/users/1")).status == 404
        assert (await s.send("GET", f"{SUBSCRIPTIONS}/users/2")).status == 200
        assert (await s.send("GET", f"{SUBSCRIPTIONS}/zones/1")).status == 404


async def test_v2_is_told_before_v3_and_a_slow_callback_of_one_does_not_hold_up_the_other() -> None:
    async with lockstep() as s:
        v2 = {"callbackReference": {"notifyURL": s.callbacks.at("v2")}, "address": VEHICLE}
        await s.send("POST", "location/v2/subscriptions/userTracking", {"userTrackingSubscription": v2})
        await subscribe(s, "UserLocationEvent", "v3")
        await subscribe(s, "UserLocationEvent", "v3 too")
        s.callbacks.hold()
        attaching = asyncio.create_task(s.attach(VEHICLE, "4g-macro-cell-4"))
        await s.callbacks.arrived(2)
        late = asyncio.create_task(subscribe(s, "ZoneStatus"))
        assert (await s.send("GET", f"{SUBSCRIPTIONS}/zones")).status == 200
        assert not late.done()
        assert {received.path for received in s.callbacks.received} == {"v2", "v3"}
        s.callbacks.release()
        await attaching
        await late
        assert s.callbacks.received[-1].path == "v3 too"
