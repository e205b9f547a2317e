"""Subscriptions of the Location API v2 over real ports: requests, and the notifications of a drive in lockstep."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pillion.sandbox.geodesy import Point
from pillion.sandbox.location import float32
from pillion.sandbox.world import Change
from tests.sandbox.callbacks import callbacks
from tests.sandbox.cities import METRE_EAST_DEG
from tests.sandbox.lockstep import Answer, Lockstep, lockstep

VEHICLE, OTHER = "10.100.0.2", "10.100.0.1"
TYPE = "application/json; charset=UTF-8"
SUBSCRIPTIONS = "location/v2/subscriptions"
KEYS = {
    "userTracking": "userTrackingSubscription",
    "zonalTraffic": "zonalTrafficSubscription",
    "zoneStatus": "zoneStatusSubscription",
    "area/circle": "circleNotificationSubscription",
    "distance": "distanceNotificationSubscription",
    "periodic": "periodicNotificationSubscription",
}
CENTRE = Point(43.73, 7.42)
WHOLE: dict[str, dict[str, Any]] = {
    "userTracking": {"address": VEHICLE},
    "zonalTraffic": {"zoneId": "zone02"},
    "zoneStatus": {"zoneId": "zone02"},
    "area/circle": {
        "address": [VEHICLE],
        "latitude": CENTRE.lat_deg,
        "longitude": CENTRE.lon_deg,
        "radius": 100,
        "enteringLeavingCriteria": "Entering",
        "frequency": 1,
    },
    "distance": {
        "monitoredAddress": [VEHICLE],
        "referenceAddress": [OTHER],
        "criteria": "AllWithinDistance",
        "distance": 100,
        "frequency": 1,
    },
    "periodic": {"address": [VEHICLE], "frequency": 1},
}
"""What each kind cannot do without, but for the callback, and a distance that makes it tell."""


def east_of_centre(metres: float) -> Point:
    return Point(CENTRE.lat_deg, CENTRE.lon_deg + metres * METRE_EAST_DEG)


def body_of(kind: str, url: str, more: Mapping[str, object] = {}) -> dict[str, dict[str, Any]]:
    return {KEYS[kind]: {"callbackReference": {"notifyURL": url}} | WHOLE[kind] | dict(more)}


async def subscribe(s: Lockstep, kind: str, path: str = "", **more: object) -> Answer:
    """Subscribe with what is needed and more; notifications go to `path`, or to the kind's name."""
    answer = await s.send("POST", f"{SUBSCRIPTIONS}/{kind}", body_of(kind, s.callbacks.at(path or kind), more))
    assert answer.status == 201, answer
    return answer


def stamped(document: dict[str, Any]) -> dict[str, Any]:
    """A zonal notification without its time, which has to be a second of now."""
    stamp = document.pop("timestamp")
    assert stamp == {"nanoSeconds": 0, "seconds": stamp["seconds"]}
    assert abs(stamp["seconds"] - time.time()) < 60
    return document


def told_of(s: Lockstep, path: str) -> list[dict[str, Any]]:
    """The zonal presence notifications of one callback."""
    return [stamped(document["zonalPresenceNotification"]) for document in s.callbacks.documents(path)]


def events(s: Lockstep, path: str) -> list[tuple[str, str, str, str | None]]:
    """Of each zonal presence notification: event, zone, POA, and the POA before."""
    return [
        (n["userEventType"], n["zoneId"], n["currentAccessPointId"], n.get("previousAccessPointId"))
        for n in told_of(s, path)
    ]


def expected_of(changes: list[Change]) -> list[tuple[str, str | None, str | None, str | None]]:
    """The truth as zonal presence notifications should tell of it."""
    told: list[tuple[str, str | None, str | None, str | None]] = []
    for change in changes:
        if change.zone == change.previous_zone:
            told.append(("Transferring", change.zone, change.poa, change.previous_poa))
            continue
        if change.previous_zone is not None:
            told.append(("Leaving", change.previous_zone, change.previous_poa, None))
        if change.zone is not None:
            told.append(("Entering", change.zone, change.poa, None))
    return told


# Requests


@pytest.mark.parametrize("kind", KEYS)
async def test_a_subscription_is_answered_as_it_is_kept_changed_and_removed(kind: str) -> None:
    async with lockstep() as s:
        url = f"{s.listening.api_url}/{SUBSCRIPTIONS}/{kind}"
        made = await subscribe(s, kind, clientCorrelator="c1")
        (stored,) = made.document.values()
        assert made.location is None, "the original sends none"
        assert made.media_type == TYPE
        assert stored["resourceURL"] == f"{url}/1"
        assert stored["clientCorrelator"] == "c1"
        assert stored.items() >= WHOLE[kind].items()
        assert (await s.send("GET", f"{url}/1")).document == made.document == {KEYS[kind]: stored}

        changed = stored | {"clientCorrelator": "c2", "resourceURL": "any/1"}
        put = await s.send("PUT", f"{url}/1", {KEYS[kind]: changed})
        assert (put.status, put.document) == (200, {KEYS[kind]: stored | {"clientCorrelator": "c2"}})

        await subscribe(s, kind)
        listed = (await s.send("GET", url)).document["notificationSubscriptionList"]
        assert listed["resourceURL"] == url
        assert [each["resourceURL"] for each in listed[KEYS[kind]]] == [f"{url}/1", f"{url}/2"]
        assert listed[KEYS[kind]][0] == put.document[KEYS[kind]]

        for id_, status in (("1", 204), ("1", 404), ("2", 204)):
            assert await s.send("DELETE", f"{url}/{id_}") == Answer(status, None, None, TYPE)
        assert await s.send("GET", f"{url}/1") == Answer(404, None, None, TYPE)
        assert (await s.send("GET", url)).document == {"notificationSubscriptionList": {"resourceURL": url}}


async def test_ids_are_counted_for_each_kind_and_not_used_again() -> None:
    async with lockstep() as s:
        for kind in KEYS:
            (stored,) = (await subscribe(s, kind)).document.values()
            assert stored["resourceURL"].endswith(f"/{kind}/1")
        await s.send("DELETE", f"{SUBSCRIPTIONS}/periodic/1")
        (stored,) = (await subscribe(s, "periodic")).document.values()
        assert stored["resourceURL"].endswith("/periodic/2")


async def test_one_platform_s_subscription_is_seen_by_all_with_the_path_it_was_made_by() -> None:
    async with lockstep() as s:
        made = await s.send(
            "POST", f"mep1/{SUBSCRIPTIONS}/userTracking", body_of("userTracking", s.callbacks.at("told"))
        )
        url = made.document["userTrackingSubscription"]["resourceURL"]
        assert url == f"{s.listening.api_url}/mep1/{SUBSCRIPTIONS}/userTracking/1"
        assert (await s.send("GET", f"{SUBSCRIPTIONS}/userTracking/1")).document == made.document


@pytest.mark.parametrize(
    ("kind", "missing"),
    [
        (kind, name)
        for kind, members in WHOLE.items()
        for name in members
        if name not in ("referenceAddress", "distance")
    ]
    + [(kind, "callbackReference") for kind in KEYS],
)
@pytest.mark.parametrize("nothing", ["absent", "null"])
async def test_what_is_mandatory_is_named_when_it_is_missing(kind: str, missing: str, nothing: str) -> None:
    async with lockstep() as s:
        body = body_of(kind, s.callbacks.at("told"))
        if nothing == "null":
            body[KEYS[kind]][missing] = None
        else:
            del body[KEYS[kind]][missing]
        answer = await s.send("POST", f"{SUBSCRIPTIONS}/{kind}", body)
        assert answer.status == 400
        assert missing in answer.document["detail"]
        assert answer.document["status"] == 400
        assert (await s.send("GET", f"{SUBSCRIPTIONS}/{kind}/1")).status == 404


@pytest.mark.parametrize(
    ("kind", "members"),
    [
        ("area/circle", {"latitude": 0}),
        ("area/circle", {"longitude": 0.0}),
        ("area/circle", {"radius": 0}),
        ("area/circle", {"frequency": 0}),
        ("area/circle", {"enteringLeavingCriteria": "Transferring"}),
        ("distance", {"frequency": -1}),
        ("periodic", {"frequency": 0}),
        ("userTracking", {"address": ""}),
        ("zonalTraffic", {"callbackReference": {"callbackData": "x"}}),
        ("zoneStatus", {"callbackReference": {"notifyURL": ""}}),
    ],
)
async def test_a_zero_or_a_word_that_means_nothing_is_refused(kind: str, members: dict[str, object]) -> None:
    async with lockstep() as s:
        answer = await s.send("POST", f"{SUBSCRIPTIONS}/{kind}", body_of(kind, "http://127.0.0.1/", members))
        assert answer.status == 400
        assert next(iter(members)) in answer.document["detail"]


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 500),
        (b"[]", 500),
        (b"", 500),
        (b'{"%s": []}', 500),
        (b'{"%s": {"callbackReference": "http://127.0.0.1/"}}', 500),
        (b'{"%s": {"callbackReference": {"notifyURL": 1}}}', 500),
        (b"{}", 400),
        (b'{"%s": null}', 400),
        (b'{"notifyURL": "http://127.0.0.1/"}', 400),
    ],
)
async def test_what_cannot_be_decoded_is_a_500_and_what_is_not_there_a_400(kind: str, body: bytes, status: int) -> None:
    async with lockstep() as s:
        answer = await s.send("POST", f"{SUBSCRIPTIONS}/{kind}", body.replace(b"%s", KEYS[kind].encode()))
        assert answer.status == answer.document["status"] == status
        assert answer.media_type == TYPE


async def test_a_member_that_is_ignored_has_to_be_of_its_type_all_the_same() -> None:
    async with lockstep() as s:
        body = body_of("zonalTraffic", "http://127.0.0.1/", {"duration": "60"})
        assert (await s.send("POST", f"{SUBSCRIPTIONS}/zonalTraffic", body)).status == 500


@pytest.mark.parametrize(
    ("url", "id_", "status"),
    [("x/2", "1", 400), (None, "1", 400), ("", "1", 400), ("x/9", "9", 404), ("x/one", "one", 404)],
)
async def test_a_put_has_to_name_the_subscription_in_its_body_too(url: str | None, id_: str, status: int) -> None:
    async with lockstep() as s:
        made = await subscribe(s, "userTracking")
        body = body_of("userTracking", s.callbacks.at("other"), {"resourceURL": url} if url is not None else {})
        answer = await s.send("PUT", f"{SUBSCRIPTIONS}/userTracking/{id_}", body)
        assert answer.status == status
        assert (answer.document is None) == (status == 404)
        assert (await s.send("GET", f"{SUBSCRIPTIONS}/userTracking/1")).document == made.document


async def test_strict_answers_have_a_location_and_problem_details() -> None:
    async with lockstep(strict=True) as s:
        made = await subscribe(s, "userTracking")
        assert made.location == made.document["userTrackingSubscription"]["resourceURL"]
        for body, status in ((b"{", 400), (b"{}", 400)):
            answer = await s.send("POST", f"{SUBSCRIPTIONS}/userTracking", body)
            assert (answer.status, answer.document["status"]) == (status, status)
            assert answer.media_type == "application/problem+json"
        assert (await s.send("DELETE", f"{SUBSCRIPTIONS}/userTracking/7")).document["title"] == "Not Found"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.data())
@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow])
async def test_whatever_is_sent_is_answered_and_the_world_ticks_on(data: st.DataObject) -> None:
    async with lockstep() as s:
        s.live.drive(True)
        await subscribe(s, "periodic", "still")
        for kind, members in WHOLE.items():
            names = st.sampled_from(
                [*members, "callbackReference", "count", "duration", "userEventCriteria", "distance"]
            )
            wrong = data.draw(st.dictionaries(names, _JSON | st.floats(-1e308, 1e308), max_size=3), label=kind)
            url = data.draw(st.just(s.callbacks.at("told")) | st.text(min_size=1, max_size=20), label="notifyURL")
            answer = await s.send("POST", f"{SUBSCRIPTIONS}/{kind}", body_of(kind, url, wrong))
            assert answer.status in (201, 400, 500)
            if answer.status == 500:
                assert "wrong type" in answer.document["detail"] or "not JSON" in answer.document["detail"]
        for body in (_JSON, st.binary(max_size=20)):
            drawn = data.draw(body, label="body")
            assert (await s.send("POST", f"{SUBSCRIPTIONS}/distance", drawn)).status in (201, 400, 500)
        await s.tick(3)
        assert len(s.callbacks.documents("still")) == 3


# Events of zones


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


# Positions


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
        for metres in (0, 500, 0, 500, 0):
            s.live.world.place(VEHICLE, east_of_centre(metres))
            await s.tick()
        assert [received.path for received in s.callbacks.received] == ["area/circle", "put"]


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


# Delivery


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


async def test_with_the_scenario_all_subscriptions_end_and_ids_begin_at_1_again() -> None:
    async with lockstep() as s:
        for kind in KEYS:
            await subscribe(s, kind)
        s.live.drive(True)
        await s.tick()
        s.callbacks.taken()
        s.live.terminate()
        for path, key in (("users", "userList"), ("zones", "zoneList")):
            url = f"{s.listening.api_url}/location/v2/queries/{path}"
            assert (await s.send("GET", url)).document == {key: {"resourceURL": url}}
        for kind in KEYS:
            url = f"{s.listening.api_url}/{SUBSCRIPTIONS}/{kind}"
            assert (await s.send("GET", url)).document == {"notificationSubscriptionList": {"resourceURL": url}}
        s.live.activate("monaco")
        s.live.drive(True)
        await s.tick(2)
        assert s.callbacks.received == []
        for kind in KEYS:
            (stored,) = (await subscribe(s, kind)).document.values()
            assert stored["resourceURL"].endswith("/1")
