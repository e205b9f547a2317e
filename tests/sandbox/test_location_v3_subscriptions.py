"""Requests about subscriptions of the Location API v3, over real ports: both forms of bodies, and what is refused."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.sandbox.location_v3 import (
    CENTRE_POINT,
    ENTERING,
    OTHER,
    PATHS,
    SUBSCRIPTIONS,
    VEHICLE,
    WHOLE,
    bare_of,
    key_of,
    subscribe,
)
from tests.sandbox.lockstep import Answer, lockstep

TYPE = "application/json; charset=UTF-8"


@pytest.mark.parametrize("kind", PATHS)
@pytest.mark.parametrize("wrapped", [True, False])
async def test_a_subscription_is_answered_in_the_form_it_came_in(kind: str, wrapped: bool) -> None:
    async with lockstep() as s:
        url = f"{s.listening.api_url}/{SUBSCRIPTIONS}/{PATHS[kind]}"
        body = bare_of(kind, s.callbacks.at("told"), clientCorrelator="c1")

        def form(body: dict[str, Any]) -> dict[str, Any]:
            return {key_of(kind): body} if wrapped else body

        made = await s.send("POST", url, form(body))
        links = {"_links": {"self": {"href": f"{url}/1"}}}
        assert made == Answer(201, form(body | links), f"{url}/1", TYPE)
        assert (await s.send("GET", f"{url}/1")).document == made.document

        put = await s.send("PUT", f"{url}/1", form(body | links | {"clientCorrelator": "c2"}))
        assert (put.status, put.document) == (200, form(body | links | {"clientCorrelator": "c2"}))
        listed = {
            "resourceURL": {"href": url},
            "subscription": [{"href": f"{url}/1", "subscriptionType": f"{kind}Subscription"}],
        }
        assert (await s.send("GET", url)).document == {"notificationSubscriptionList": listed}

        for status in (204, 404):
            assert await s.send("DELETE", f"{url}/1") == Answer(status, None, None, TYPE)
        assert await s.send("GET", f"{url}/1") == Answer(404, None, None, TYPE)


@pytest.mark.parametrize("wrapped", [True, False])
async def test_a_notification_has_the_form_of_its_subscription(wrapped: bool) -> None:
    async with lockstep() as s:
        await subscribe(s, "UserLocationEvent", "told", wrapped=wrapped, requestTestNotification=True)
        await s.live.told()
        await s.attach(VEHICLE, "4g-macro-cell-4")
        test, event = s.callbacks.documents("told")
        if wrapped:
            test, event = test["testNotification"], event["userLocationEventNotification"]
        links = {"subscription": {"href": f"{s.listening.api_url}/{SUBSCRIPTIONS}/users/1"}}
        assert test == {"notificationType": "TestNotification", "_links": links}
        assert event == {
            "notificationType": "UserLocationEventNotification",
            "timeStamp": event["timeStamp"],
            "address": VEHICLE,
            "userLocationEvent": ENTERING,
            "zoneId": "zone02",
            "accessPointId": "4g-macro-cell-4",
            "_links": links,
        }


async def test_lists_can_be_filtered_and_are_404_when_nothing_is_left_in_the_strict_manner_alone() -> None:
    for strict in (False, True):
        async with lockstep(strict=strict) as s:
            for kind in PATHS:
                await subscribe(s, kind)
            for query, ids in (
                ("users", ["1", "2"]),
                ("users?subscription_type=event", ["1"]),
                ("users?subscription_type=periodic", ["2"]),
                (f"users?address={VEHICLE}", ["1", "2"]),
                (f"users?address={OTHER}", []),
                (f"users?address={VEHICLE}&subscription_type=event", ["1"]),
                ("zones?subscription_type=status", ["2"]),
                ("zones?zoneId=zone01", []),
                ("area?subscription_type=event", ["1"]),
                ("distance", ["1"]),
            ):
                answer = await s.send("GET", f"{SUBSCRIPTIONS}/{query}")
                if strict and not ids:
                    assert answer.status == 404
                    continue
                listed = answer.document["notificationSubscriptionList"]
                assert [each["href"].rsplit("/", 1)[1] for each in listed.get("subscription", [])] == ids
                assert ("subscription" in listed) == bool(ids)
            for query in ("users?subscription_type=status", "area?address=x", "distance?subscription_type=event"):
                assert (await s.send("GET", f"{SUBSCRIPTIONS}/{query}")).status == 400


@pytest.mark.parametrize(
    ("kind", "missing"),
    [(kind, name) for kind, members in WHOLE.items() for name in members if name != "referenceAddress"]
    + [(kind, name) for kind in PATHS for name in ("callbackReference", "subscriptionType")],
)
@pytest.mark.parametrize("wrapped", [True, False])
async def test_what_is_mandatory_is_named_when_it_is_missing(kind: str, missing: str, wrapped: bool) -> None:
    async with lockstep() as s:
        body = bare_of(kind, s.callbacks.at("told"))
        del body[missing]
        answer = await s.send("POST", f"{SUBSCRIPTIONS}/{PATHS[kind]}", {key_of(kind): body} if wrapped else body)
        assert answer.status == answer.document["status"] == 400
        assert missing in answer.document["detail"]


_CORNERS = [{"latitude": 0, "longitude": 0}, {"latitude": 0, "longitude": 1}, {"latitude": 1, "longitude": 1}]


@pytest.mark.parametrize(
    ("kind", "members"),
    [
        ("UserLocationEvent", {"callbackReference": None, "websockNotifConfig": {"requestWebsocketUri": True}}),
        ("UserLocationEvent", {"subscriptionType": "ZoneStatusSubscription"}),
        ("UserLocationEvent", {"locationEventCriteria": ["Entering"]}),
        ("UserLocationEvent", {"userEventPara": {"zoneId": "zone01", "accessPointList": ["w1"]}}),
        ("UserLocationEvent", {"userEventPara": {"occurrenceInfo": "NEVER"}}),
        ("UserLocationEvent", {"expiryDeadline": {"nanoSeconds": 0}}),
        ("UserLocationPeriodic", {"periodicEventInfo": {"reportingAmount": 0, "reportingInterval": 1}}),
        ("UserLocationPeriodic", {"periodicEventInfo": {"reportingAmount": 1, "reportingInterval": 0}}),
        ("UserLocationPeriodic", {"periodicEventInfo": {"reportingAmount": 1.5, "reportingInterval": 1}}),
        ("UserLocationPeriodic", {"periodicEventInfo": {"reportingAmount": 8_640_000, "reportingInterval": 1}}),
        ("ZoneStatus", {"operationStatus": ["Serviceable", "Broken"]}),
        ("ZoneLocationEvent", {"reportingCtrl": {"minimumInterval": -1}}),
        ("UserArea", {"addressList": []}),
        ("UserArea", {"areaDefine": {"shape": 3, "points": [CENTRE_POINT], "radius": 5}}),
        ("UserArea", {"areaDefine": {"shape": 1, "points": [CENTRE_POINT]}}),
        ("UserArea", {"areaDefine": {"shape": 1, "points": _CORNERS, "radius": 5}}),
        ("UserArea", {"areaDefine": {"shape": 2, "points": _CORNERS[:2]}}),
        ("UserArea", {"areaDefine": {"shape": 2, "points": _CORNERS * 6}}),
        ("UserArea", {"areaDefine": {"shape": 2, "points": [*_CORNERS, {"latitude": 91, "longitude": 0}]}}),
        ("UserDistance", {"criteria": "Nearby"}),
        ("UserDistance", {"referenceAddress": []}),
    ],
)
async def test_what_cannot_be_had_is_refused(kind: str, members: dict[str, Any]) -> None:
    async with lockstep() as s:
        body = bare_of(kind, "http://127.0.0.1/", **members)
        answer = await s.send("POST", f"{SUBSCRIPTIONS}/{PATHS[kind]}", body)
        assert answer.status == answer.document["status"] == 400
        assert (await s.send("GET", f"{SUBSCRIPTIONS}/{PATHS[kind]}/1")).status == 404


async def test_of_a_callback_and_a_websocket_the_callback_is_taken_and_given_back_alone() -> None:
    async with lockstep() as s:
        made = await subscribe(s, "ZoneStatus", websockNotifConfig={"requestWebsocketUri": True})
        assert "websockNotifConfig" not in made.document["zoneStatusSubscription"]


async def test_a_put_cannot_make_another_type_of_a_subscription_nor_name_another_one() -> None:
    async with lockstep() as s:
        made = await subscribe(s, "UserLocationEvent")
        other = bare_of("UserLocationPeriodic", s.callbacks.at("told"))
        assert (await s.send("PUT", f"{SUBSCRIPTIONS}/users/1", other)).status == 400
        wrong = bare_of("UserLocationEvent", s.callbacks.at("told"), _links={"self": {"href": "x/2"}})
        assert (await s.send("PUT", f"{SUBSCRIPTIONS}/users/1", wrong)).status == 400
        assert (await s.send("PUT", f"{SUBSCRIPTIONS}/users/2", wrong)).status == 404
        assert (await s.send("GET", f"{SUBSCRIPTIONS}/users/1")).document == made.document


@pytest.mark.parametrize("strict", [False, True])
async def test_what_is_nested_too_deeply_to_be_answered_with_is_refused_and_not_kept(strict: bool) -> None:
    async with lockstep(strict=strict) as s:
        url = f"{SUBSCRIPTIONS}/users"
        kept = await subscribe(s, "UserLocationEvent", "told")
        for deep in (f"{'[' * 300}{']' * 300}", f"{'[' * 5000}{']' * 5000}"):
            body = bare_of("UserLocationEvent", s.callbacks.at("told"), unknown="DEEP")
            sent = orjson.dumps(body).replace(b'"DEEP"', deep.encode())
            for method, where in (("POST", url), ("PUT", f"{url}/1")):
                assert (await s.send(method, where, sent)).status == (400 if strict else 500)
        assert (await s.send("GET", f"{url}/1")).document == kept.document
        assert (await s.send("GET", f"{url}/2")).status == 404


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("body", [b"{", b"[]", b'{"userAreaSubscription": 1}', b'{"subscriptionType": 1}'])
async def test_what_cannot_be_decoded_is_a_500_and_in_the_strict_manner_a_400(strict: bool, body: bytes) -> None:
    async with lockstep(strict=strict) as s:
        answer = await s.send("POST", f"{SUBSCRIPTIONS}/area", body)
        assert answer.status == answer.document["status"] == (400 if strict else 500)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_POINTS = st.lists(
    st.fixed_dictionaries({"latitude": st.floats(-90, 90), "longitude": st.floats(-180, 180)}), max_size=16
)
_AREAS = st.fixed_dictionaries(
    {"shape": st.integers(0, 3), "points": _POINTS}, optional={"radius": st.floats(-10, 1e9)}
)
_CONTROLS = st.dictionaries(
    st.sampled_from(["minimumInterval", "maximumFrequency", "maximumCount"]), st.integers(-1, 5)
)
_OTHERS = (
    "callbackReference",
    "subscriptionType",
    "locationEventCriteria",
    "userEventPara",
    "expiryDeadline",
    "reportingCtrl",
    "operationStatus",
    "upperNumberOfUsersAPThreshold",
    "requestTestNotification",
    "_links",
)


@given(st.data())
# Each example is a whole sandbox: shrinking one would take minutes, and says little more.
@settings(deadline=None, max_examples=10, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow])
async def test_whatever_is_sent_is_answered_and_the_world_ticks_on(data: st.DataObject) -> None:
    async with lockstep() as s:
        s.live.drive(True)
        await subscribe(s, "UserLocationPeriodic", "still")
        for kind, members in WHOLE.items():
            names = st.sampled_from([*members, *_OTHERS])
            wrong = data.draw(st.dictionaries(names, _JSON, max_size=2), label=kind)
            control = data.draw(_CONTROLS, label="reportingCtrl")
            body = bare_of(kind, s.callbacks.at("told"), areaDefine=data.draw(_AREAS), reportingCtrl=control) | wrong
            answer = await s.send("POST", f"{SUBSCRIPTIONS}/{PATHS[kind]}", body)
            assert answer.status in (201, 400, 500)
            if answer.status == 500:
                assert "wrong type" in answer.document["detail"]
        drawn = data.draw(_JSON | st.binary(max_size=20), label="body")
        assert (await s.send("POST", f"{SUBSCRIPTIONS}/users", drawn)).status in (400, 500)
        await s.tick(3)
        assert len(s.callbacks.documents("still")) == 3


async def test_with_the_scenario_all_subscriptions_end_and_ids_begin_at_1_again() -> None:
    async with lockstep() as s:
        for kind in PATHS:
            await subscribe(s, kind)
        s.live.terminate()
        for path in PATHS.values():
            listed = (await s.send("GET", f"{SUBSCRIPTIONS}/{path}")).document["notificationSubscriptionList"]
            assert listed == {"resourceURL": {"href": f"{s.listening.api_url}/{SUBSCRIPTIONS}/{path}"}}
        s.live.activate("monaco")
        s.live.drive(True)
        await s.tick(2)
        assert s.callbacks.received == []
        made = await subscribe(s, "UserLocationPeriodic")
        assert made.location == f"{s.listening.api_url}/{SUBSCRIPTIONS}/users/1"
