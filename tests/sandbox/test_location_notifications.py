"""What subscribers of the Location API v2 are told of handovers, over real ports: to whom, in which order, and how."""

from __future__ import annotations

import asyncio

import pytest

from tests.sandbox.callbacks import callbacks
from tests.sandbox.location_v2 import OTHER, SUBSCRIPTIONS, VEHICLE, body_of, events, expected_of, stamped, subscribe
from tests.sandbox.lockstep import lockstep


async def test_what_is_told_of_a_ue_over_a_whole_lap_is_the_truth() -> None:
    async with lockstep() as s:
        await subscribe(s, "userTracking", callbackReference={"notifyURL": s.callbacks.at("ue"), "callbackData": "x"})
        s.live.drive(True)
        await s.tick(230)
        truth = [change for change in s.live.world.changes if change.ue == VEHICLE]
        assert events(s, "ue") == expected_of(truth)
        assert {event for event, *_ in expected_of(truth)} == {"Entering", "Leaving", "Transferring"}
        assert s.callbacks.documents("ue")[0]["zonalPresenceNotification"] == {
            "address": VEHICLE,
            "callbackData": "x",
            "currentAccessPointId": "5g-small-cell-9",
            "userEventType": "Entering",
            "zoneId": "zone02",
        }
        assert {received.content_type for received in s.callbacks.received} == {"application/json"}


async def test_what_is_told_of_a_zone_over_a_drive_is_the_truth() -> None:
    async with lockstep() as s:
        await subscribe(s, "zonalTraffic", "zone")
        s.live.drive(True)
        await s.tick(120)
        truth = [
            (change.ue, told)
            for change in s.live.world.changes
            for told in expected_of([change])
            if told[1] == "zone02"
        ]
        addresses = [n["zonalPresenceNotification"]["address"] for n in s.callbacks.documents("zone")]
        assert list(zip(addresses, events(s, "zone"), strict=True)) == truth
        assert len(set(addresses)) > 1


async def test_a_change_of_zone_is_leaving_and_then_entering_and_each_has_the_poa_it_is_about() -> None:
    async with lockstep() as s:
        await s.attach(VEHICLE, "4g-macro-cell-4")
        await subscribe(s, "userTracking", "ue")
        await subscribe(s, "zonalTraffic", "from")
        await subscribe(s, "zonalTraffic", "to", zoneId="zone01")
        await s.attach(VEHICLE, "4g-macro-cell-3")
        leaving, entering = (
            ("Leaving", "zone02", "4g-macro-cell-4", None),
            ("Entering", "zone01", "4g-macro-cell-3", None),
        )
        assert events(s, "ue") == [leaving, entering]
        assert events(s, "from") == [leaving]
        assert events(s, "to") == [entering]
        assert [received.path for received in s.callbacks.received] == ["ue", "ue", "from", "to"]


async def test_of_each_change_the_ue_s_subscribers_are_told_before_the_zone_s() -> None:
    async with lockstep() as s:
        await subscribe(s, "zonalTraffic", "zone")
        await subscribe(s, "userTracking", "ue")
        await subscribe(s, "userTracking", "other", address=OTHER)
        await s.attach(VEHICLE, "4g-macro-cell-4")
        await s.attach(OTHER, "4g-macro-cell-5")
        await s.attach(VEHICLE, "5g-small-cell-9")
        assert [received.path for received in s.callbacks.received] == ["ue", "zone", "other", "zone", "ue", "zone"]
        assert events(s, "ue")[-1] == ("Transferring", "zone02", "5g-small-cell-9", "4g-macro-cell-4")


async def test_a_disconnection_is_leaving_alone_and_coming_back_into_the_same_zone_is_entering() -> None:
    async with lockstep() as s:
        await s.attach(VEHICLE, "4g-macro-cell-4")
        for kind in ("userTracking", "zonalTraffic"):
            await subscribe(s, kind)
        await s.attach(VEHICLE, None)
        await s.attach(VEHICLE, "5g-small-cell-9")
        for kind in ("userTracking", "zonalTraffic"):
            assert events(s, kind) == [
                ("Leaving", "zone02", "4g-macro-cell-4", None),
                ("Entering", "zone02", "5g-small-cell-9", None),
            ]


@pytest.mark.parametrize("kind", ["userTracking", "zonalTraffic"])
@pytest.mark.parametrize(
    ("criteria", "told"),
    [
        (None, ["Entering", "Transferring", "Leaving"]),
        ([], []),
        (["Transferring"], ["Transferring"]),
        (["Leaving", "Entering"], ["Entering", "Leaving"]),
        (["ENTERING_AREA_EVENT"], []),
    ],
)
async def test_criteria_say_which_events_are_told(kind: str, criteria: list[str] | None, told: list[str]) -> None:
    async with lockstep() as s:
        await subscribe(s, kind, userEventCriteria=criteria)
        for poa in ("4g-macro-cell-4", "5g-small-cell-9", "4g-macro-cell-3"):
            await s.attach(VEHICLE, poa)
        assert [event for event, zone, *_ in events(s, kind) if zone == "zone02"] == told


async def test_a_put_changes_what_is_told_and_to_whom_and_a_removed_subscription_tells_nothing() -> None:
    async with lockstep() as s:
        await subscribe(s, "userTracking", "before")
        body = body_of("userTracking", s.callbacks.at("after"), {"address": OTHER, "resourceURL": "x/1"})
        assert (await s.send("PUT", f"{SUBSCRIPTIONS}/userTracking/1", body)).status == 200
        await s.attach(VEHICLE, "4g-macro-cell-4")
        await s.attach(OTHER, "4g-macro-cell-4")
        assert [received.path for received in s.callbacks.taken()] == ["after"]
        await s.send("DELETE", f"{SUBSCRIPTIONS}/userTracking/1")
        await s.attach(OTHER, None)
        assert s.callbacks.received == []


async def test_counts_of_a_zone_are_told_when_they_change_and_a_zero_is_absent() -> None:
    async with lockstep() as s:
        await subscribe(s, "zoneStatus")
        await s.attach(VEHICLE, "4g-macro-cell-4")
        await s.attach(VEHICLE, "5g-small-cell-9")
        await s.attach(VEHICLE, "4g-macro-cell-3")
        notifications = [stamped(n["zoneStatusNotification"]) for n in s.callbacks.documents()]
        assert notifications == [
            {"zoneId": "zone02", "accessPointId": "4g-macro-cell-4", "numberOfUsersInAP": 1},
            {"zoneId": "zone02", "numberOfUsersInZone": 1},
            {"zoneId": "zone02", "accessPointId": "4g-macro-cell-4"},
            {"zoneId": "zone02", "accessPointId": "5g-small-cell-9", "numberOfUsersInAP": 1},
            {"zoneId": "zone02", "accessPointId": "5g-small-cell-9"},
            {"zoneId": "zone02"},
        ]


async def test_thresholds_keep_counts_below_them_untold() -> None:
    async with lockstep() as s:
        await subscribe(s, "zoneStatus", numberOfUsersZoneThreshold=2, numberOfUsersAPThreshold=3)
        for ue in (VEHICLE, OTHER, "10.100.0.3"):
            await s.attach(ue, "4g-macro-cell-4")
        told = [n["zoneStatusNotification"] for n in s.callbacks.documents()]
        assert [(n.get("numberOfUsersInZone"), n.get("numberOfUsersInAP")) for n in told] == [
            (2, None),
            (None, 3),
            (3, None),
        ]


async def test_a_slow_callback_lets_a_request_for_a_subscription_wait_and_the_rest_of_the_notifications_too() -> None:
    async with lockstep() as s:
        await subscribe(s, "userTracking", "first")
        await subscribe(s, "userTracking", "never", address=OTHER)
        await subscribe(s, "zonalTraffic", "second")
        s.callbacks.hold()
        attaching = asyncio.create_task(s.attach(VEHICLE, "4g-macro-cell-4"))
        await s.callbacks.arrived(1)
        requests = [
            asyncio.create_task(s.send(method, f"{SUBSCRIPTIONS}/userTracking{id_}", body))
            for method, id_, body in (
                ("POST", "", body_of("userTracking", s.callbacks.at("late"))),
                ("PUT", "/1", body_of("userTracking", s.callbacks.at("late"), {"resourceURL": "x/1"})),
                ("DELETE", "/2", None),
            )
        ]
        assert (await s.send("GET", f"{SUBSCRIPTIONS}/userTracking/1")).status == 200, "who only asks need not wait"
        assert (await s.send("GET", "location/v2/queries/users")).status == 200
        assert not any(request.done() for request in requests)
        assert [received.path for received in s.callbacks.received] == ["first"]
        s.callbacks.release()
        await attaching
        assert [(await request).status for request in requests] == [201, 200, 204]
        assert [received.path for received in s.callbacks.received] == ["first", "second"]


async def test_in_the_strict_manner_nobody_waits_for_a_slow_callback() -> None:
    async with lockstep(strict=True) as s:
        await subscribe(s, "userTracking", "first")
        await subscribe(s, "zonalTraffic", "second")
        s.callbacks.hold()
        attaching = asyncio.create_task(s.attach(VEHICLE, "4g-macro-cell-4"))
        await s.callbacks.arrived(2)
        await subscribe(s, "userTracking")
        s.callbacks.release()
        await attaching


async def test_a_callback_that_is_gone_or_answers_with_an_error_hurts_nobody() -> None:
    async with lockstep() as s:
        async with callbacks() as gone:
            await subscribe(s, "userTracking", callbackReference={"notifyURL": gone.at("x")})
        await subscribe(s, "userTracking", "there")
        s.callbacks.status = 503
        await s.attach(VEHICLE, "4g-macro-cell-4")
        await s.attach(VEHICLE, None)
        assert [event for event, *_ in events(s, "there")] == ["Entering", "Leaving"], "told once each, and both"
        listed = (await s.send("GET", f"{SUBSCRIPTIONS}/userTracking")).document["notificationSubscriptionList"]
        assert len(listed["userTrackingSubscription"]) == 2, "the subscription stays"
