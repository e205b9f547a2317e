"""Application mobility (MEC 021) over a real port: who owns a device's context, and who is told that it moves."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pillion.sandbox.applications import mep_of
from tests.sandbox.junk import is_about_decoding, spoiled
from tests.sandbox.lockstep import Lockstep, lockstep
from tests.sandbox.mec_apps import (
    AMS,
    APPLICATIONS,
    IN_MEP1,
    IN_MEP2,
    IN_MEP3,
    OTHER_IN_MEP2,
    UNKNOWN,
    VEHICLE,
    device,
    make_app,
    register,
    subscribe_to_adjacent,
    subscribe_to_mobility,
    without_time,
)

MOBILITY_SERVICES, SUBSCRIPTIONS = f"{AMS}/app_mobility_services", f"{AMS}/subscriptions"
OTHER = "10.100.0.1"
NOT_ALLOWED = {"appMobilityServiceLevel": "APP_MOBILITY_NOT_ALLOWED"}
COMPLETED = {"contextTransferState": "USER_CONTEXT_TRANSFER_COMPLETED"}
REGISTRATION = {"serviceConsumerId": {"appInstanceId": "a1"}, "deviceInformation": [device()], "expiryTime": 60}
SUBSCRIPTION = {
    "subscriptionType": "MobilityProcedureSubscription",
    "callbackReference": "http://127.0.0.1:9/moves?at=100%25",
    "filterCriteria": {
        "appInstanceId": "a1",
        "associateId": [{"type": "UE_IPv4_ADDRESS", "value": VEHICLE}],
        "mobilityStatus": ["INTERHOST_MOVEOUT_TRIGGERED"],
    },
    "expiryDeadline": {"nanoSeconds": 0, "seconds": 2_000_000_000},
}


def moved(target: str, ue: str = VEHICLE) -> dict[str, Any]:
    """What the old owner is told, but for its time."""
    return {
        "notificationType": "MobilityProcedureNotification",
        "associateId": [{"type": "UE_IPv4_ADDRESS", "value": ue}],
        "mobilityStatus": "INTERHOST_MOVEOUT_TRIGGERED",
        "targetAppInfo": {"appInstanceId": target},
        "_links": None,
    }


async def two_apps(s: Lockstep, **more: object) -> dict[str, Any]:
    """`a1` in mep1 follows the vehicle, `a2` in mep2 is where it may go; moves of both are told. a1's registration."""
    await make_app(s, "a1", "mep1")
    await make_app(s, "a2", "mep2")
    for id_ in ("a1", "a2"):
        await subscribe_to_mobility(s, id_, id_)
    first = await register(s, "a1", device(**more))
    await register(s, "a2", device(**more))
    return first


def told(s: Lockstep) -> list[tuple[str, dict[str, Any]]]:
    """What has been told since the last time, with the callback's path."""
    return [(each.path, without_time(each.document)) for each in s.callbacks.taken()]


def test_meps_are_the_scenario_s_zones_in_their_order() -> None:
    assert [mep_of(("zone01", "zone02", "zone09"), zone) for zone in ("zone01", "zone09")] == ["mep1", "mep3"]


async def test_the_first_assignment_is_silent_and_each_change_of_zone_is_told_to_the_old_owner_alone() -> None:
    async with lockstep() as s:
        await two_apps(s)
        await s.attach(VEHICLE, IN_MEP1)
        assert told(s) == []
        await s.attach(VEHICLE, IN_MEP2)
        assert told(s) == [("a1", moved("a2"))]
        await s.attach(VEHICLE, OTHER_IN_MEP2)
        assert told(s) == [], "another POA in the same zone"
        await s.attach(VEHICLE, IN_MEP1)
        assert told(s) == [("a2", moved("a1"))]


async def test_a_device_that_is_served_already_is_assigned_when_it_is_registered() -> None:
    async with lockstep() as s:
        await s.attach(VEHICLE, IN_MEP1)
        await two_apps(s)
        await s.attach(VEHICLE, IN_MEP2)
        assert told(s) == [("a1", moved("a2"))]


async def test_the_drive_has_a_lap_s_changes_of_zone_told() -> None:
    async with lockstep() as s:
        for zone in (1, 2, 3):
            await make_app(s, f"a{zone}", f"mep{zone}")
            await subscribe_to_mobility(s, f"a{zone}", f"a{zone}")
            await register(s, f"a{zone}", device())
        s.live.drive(True)
        await s.tick(230)
        zones = [c.zone for c in s.live.world.changes if c.ue == VEHICLE and c.zone != c.previous_zone]
        owners = [f"a{zone[-1]}" for zone in zones if zone]
        assert len(owners) == 5
        expected = [(old, moved(new)) for old, new in pairwise(owners)]
        assert told(s) == expected


async def test_where_no_instance_of_the_app_is_registered_the_context_stays() -> None:
    async with lockstep() as s:
        await two_apps(s)
        await make_app(s, "b3", "mep3", name="another app")
        await register(s, "b3", device())
        await make_app(s, "a3", "mep3")
        await s.attach(VEHICLE, IN_MEP1)
        await s.attach(VEHICLE, IN_MEP3)
        assert told(s) == []
        await register(s, "a3")
        await s.live.told()
        assert told(s) == [("a1", moved("a3"))], "as soon as there is one"


async def test_of_several_targets_the_first_in_the_alphabet_is_taken_and_a_valid_owner_is_kept() -> None:
    async with lockstep() as s:
        await two_apps(s)
        await s.attach(VEHICLE, IN_MEP1)
        await make_app(s, "a0", "mep2")
        await register(s, "a0")
        await s.attach(VEHICLE, IN_MEP2)
        assert told(s) == [("a1", moved("a0"))]
        await make_app(s, "9", "mep2")
        await register(s, "9")
        await s.live.told()
        assert told(s) == []


async def test_only_an_owner_that_tracks_the_device_itself_is_told() -> None:
    async with lockstep() as s:
        await make_app(s, "a1", "mep1")
        await make_app(s, "a2", "mep2")
        await subscribe_to_mobility(s, "a1", "a1")
        await register(s, "a1")
        await register(s, "a2", device())
        await s.attach(VEHICLE, IN_MEP1)
        await s.attach(VEHICLE, IN_MEP2)
        assert told(s) == []


async def test_out_of_coverage_nothing_is_told_until_the_device_is_back_in_another_zone() -> None:
    async with lockstep() as s:
        await two_apps(s)
        await s.attach(VEHICLE, IN_MEP1)
        await s.attach(VEHICLE, None)
        await s.attach(VEHICLE, IN_MEP1)
        await s.attach(VEHICLE, None)
        assert told(s) == []
        await s.attach(VEHICLE, IN_MEP2)
        assert told(s) == [("a1", moved("a2"))]


async def test_what_is_not_allowed_or_already_transferred_is_not_moved() -> None:
    for blocked in (NOT_ALLOWED, COMPLETED):
        async with lockstep() as s:
            await two_apps(s, **blocked)
            await s.attach(VEHICLE, IN_MEP1)
            await s.attach(VEHICLE, IN_MEP2)
            assert told(s) == []


async def test_a_client_that_writes_not_transferred_again_is_moved_again() -> None:
    async with lockstep() as s:
        first = await two_apps(s)
        await s.attach(VEHICLE, IN_MEP1)
        url = f"{MOBILITY_SERVICES}/{first['appMobilityServiceId']}"
        for state, expected in ((COMPLETED, []), ({}, [("a1", moved("a2"))])):
            assert (await s.send("PUT", url, first | {"deviceInformation": [device(**state)]})).status == 200
            await s.attach(VEHICLE, IN_MEP2)
            assert [each for each in told(s) if each[0] == "a1"] == expected
            await s.attach(VEHICLE, IN_MEP1)
            s.callbacks.taken()


async def test_a_subscriber_is_told_of_the_devices_it_names() -> None:
    async with lockstep() as s:
        await make_app(s, "a1", "mep1")
        await make_app(s, "a2", "mep2")
        ids = {
            "all": [],
            "vehicle": [{"type": "UE_IPv4_ADDRESS", "value": VEHICLE}],
            "other-type": [{"type": "GTP_TEID", "value": VEHICLE}],
        }
        for path, named in ids.items():
            await subscribe_to_mobility(s, "a1", path, associateId=named)
        await register(s, "a1", device(), device(OTHER))
        await register(s, "a2")
        for ue in (VEHICLE, OTHER):
            await s.attach(ue, IN_MEP1)
            await s.attach(ue, IN_MEP2)
        assert told(s) == [("all", moved("a2")), ("vehicle", moved("a2")), ("all", moved("a2", OTHER))]


async def test_by_specification_a_notification_says_to_which_subscription_it_belongs() -> None:
    async with lockstep(strict=True) as s:
        await make_app(s, "a1", "mep1")
        await make_app(s, "a2", "mep2")
        moves = await subscribe_to_mobility(s, "a1", "moves")
        adjacent = await subscribe_to_adjacent(s, "a1", "adjacent")
        await register(s, "a1", device())
        await register(s, "a2")
        await s.attach(VEHICLE, IN_MEP1)
        await s.attach(VEHICLE, IN_MEP2)
        (told_of_move,) = s.callbacks.documents("moves")
        assert told_of_move["_links"] == {"subscription": {"href": moves.location}}
        assert told_of_move["targetAppInfo"] == {"appInstanceId": "a2"}
        await make_app(s, "a3", "mep3")
        await s.live.told()
        (told_of_apps,) = s.callbacks.documents("adjacent")
        assert told_of_apps["_links"] == {"subscription": {"href": adjacent.location}}
        assert told_of_apps["adjacentAppInfo"] == [
            {"appInstanceId": "a2", "commInterface": []},
            {"appInstanceId": "a3", "commInterface": []},
        ]
        links = (await s.send("GET", SUBSCRIPTIONS)).document["_links"]
        assert links["self"] == {"href": f"{s.listening.api_url}/{SUBSCRIPTIONS}"}


async def test_instances_of_the_same_app_are_told_when_one_comes_or_goes() -> None:
    async with lockstep() as s:
        await make_app(s, "a1", "mep1")
        await subscribe_to_adjacent(s, "a1", "a1")
        await make_app(s, "b1", "mep1", name="another app")
        await subscribe_to_adjacent(s, "b1", "b1")
        await make_app(s, "a2", "mep2")
        await s.send("DELETE", f"{APPLICATIONS}/a2")
        await s.live.told()
        head = {"notificationType": "AdjacentAppInfoNotification", "_links": None}
        assert told(s) == [
            ("a1", head | {"adjacentAppInfo": [{"appInstanceId": "a2", "commInterface": None}]}),
            ("a1", head),
        ]


async def test_an_app_that_is_deleted_has_no_registration_or_subscription_left_and_its_context_moves_in_silence() -> (
    None
):
    async with lockstep() as s:
        await two_apps(s)
        await subscribe_to_adjacent(s, "a1", "adjacent")
        await s.attach(VEHICLE, IN_MEP1)
        await s.send("DELETE", f"{APPLICATIONS}/a1")
        await s.live.told()
        assert told(s) == []
        (left,) = (await s.send("GET", MOBILITY_SERVICES)).document
        assert left["serviceConsumerId"] == {"appInstanceId": "a2"}
        assert len((await s.send("GET", SUBSCRIPTIONS)).document["_links"]["subscription"]) == 1
        await s.attach(VEHICLE, IN_MEP2)
        assert told(s) == []


async def test_a_registration_is_made_without_a_location_found_replaced_listed_and_ended() -> None:
    async with lockstep() as s:
        assert (await s.send("GET", MOBILITY_SERVICES)).document == []
        await make_app(s, "a1", ready=False)
        made = await s.send("POST", MOBILITY_SERVICES, REGISTRATION)
        assert (made.status, made.location) == (201, None)
        id_ = made.document["appMobilityServiceId"]
        assert len(id_) == 16
        assert made.document == REGISTRATION | {"appMobilityServiceId": id_}
        url = f"{MOBILITY_SERVICES}/{id_}"
        assert (await s.send("GET", url)).document == made.document
        changed = {"appMobilityServiceId": id_, "serviceConsumerId": {"mepId": "a1"}}
        assert (await s.send("PUT", url, changed)).document == changed
        assert (await s.send("GET", MOBILITY_SERVICES)).document == [changed]
        assert (await s.send("DELETE", url)).status == 204
        gone = await s.send("GET", url)
        assert (gone.status, gone.document) == (404, None)
        for method in ("PUT", "DELETE"):
            assert (await s.send(method, url, changed)).status == 404


@pytest.mark.parametrize(
    "members",
    [
        {"serviceConsumerId": None},
        {"serviceConsumerId": {}},
        {"serviceConsumerId": {"appInstanceId": "a1", "mepId": "a1"}},
        {"serviceConsumerId": {"appInstanceId": "a9"}},
        {"serviceConsumerId": {"mepId": "mep1"}},
        {"deviceInformation": [device(associateId=None)]},
        {"deviceInformation": [device(associateId={"type": "UE_IPv4_ADDRESS"})]},
        {"deviceInformation": [device(associateId={"type": "NAME", "value": "x"})]},
        {"deviceInformation": [device(appMobilityServiceLevel=None)]},
        {"deviceInformation": [device(contextTransferState=None)]},
        {"deviceInformation": [device(contextTransferState="SOON")]},
        {"appMobilityServiceId": "another"},
    ],
)
async def test_a_registration_that_lacks_something_is_refused(members: dict[str, object]) -> None:
    async with lockstep() as s:
        await make_app(s, "a1")
        made = await register(s, "a1", device())
        url = f"{MOBILITY_SERVICES}/{made['appMobilityServiceId']}"
        for method, path in (("POST", MOBILITY_SERVICES), ("PUT", url)):
            if method == "PUT" or "appMobilityServiceId" not in members:
                answer = await s.send(method, path, made | members)
                assert (answer.status, answer.document["status"]) == (400, 400)
        assert (await s.send("GET", MOBILITY_SERVICES)).document == [made]


async def test_a_subscription_has_a_location_and_is_listed_changed_and_ended() -> None:
    async with lockstep() as s:
        await make_app(s, "a1", ready=False)
        assert (await s.send("GET", SUBSCRIPTIONS)).document == {"_links": {"self": None}}
        made = await s.send("POST", SUBSCRIPTIONS, SUBSCRIPTION)
        assert made.location is not None
        id_ = made.location.removeprefix(f"{s.listening.api_url}/{SUBSCRIPTIONS}/")
        assert id_.startswith("sub-")
        assert len(id_) == 20
        assert made.document == SUBSCRIPTION | {"_links": {"self": {"href": made.location}}}
        assert (await s.send("GET", made.location)).document == made.document
        await subscribe_to_adjacent(s, "a1", "adjacent")
        for query, types in (
            ("", ["MobilityProcedureSubscription", "AdjacentAppInfoSubscription"]),
            ("?subscriptionType=mobility_proc", ["MobilityProcedureSubscription"]),
            ("?subscriptionType=adj_app_info", ["AdjacentAppInfoSubscription"]),
        ):
            listed = (await s.send("GET", f"{SUBSCRIPTIONS}{query}")).document["_links"]["subscription"]
            assert [each["subscriptionType"] for each in listed] == types
        for query in ("?subscriptionType=everything", "?cache=1"):
            answer = await s.send("GET", f"{SUBSCRIPTIONS}{query}")
            assert (answer.status, answer.document) == (400, None)
        seen_from_outside = made.document | {"_links": {"self": {"href": f"proxy/{id_}"}}, "filterCriteria": {}}
        changed = await s.send("PUT", made.location, seen_from_outside | {"filterCriteria": {"appInstanceId": "a1"}})
        assert changed.document["_links"] == {"self": {"href": f"proxy/{id_}"}}
        assert changed.document["filterCriteria"]["mobilityStatus"] == ["INTERHOST_MOVEOUT_TRIGGERED"]
        assert (await s.send("GET", made.location)).document == changed.document
        assert (await s.send("DELETE", made.location)).status == 204
        for method in ("GET", "PUT", "DELETE"):
            assert (await s.send(method, made.location, made.document)).status == 404


@pytest.mark.parametrize("type_", [None, "", "ExpirySubscription"])
async def test_a_type_that_is_not_known_is_a_400_without_a_word(type_: str | None) -> None:
    async with lockstep() as s:
        await make_app(s, "a1")
        answer = await s.send("POST", SUBSCRIPTIONS, SUBSCRIPTION | {"subscriptionType": type_})
        assert (answer.status, answer.document) == (400, None)


@pytest.mark.parametrize(
    "members",
    [
        {"callbackReference": None},
        {"filterCriteria": None},
        {"filterCriteria": {}},
        {"filterCriteria": {"appInstanceId": "a1", "mobilityStatus": ["SOON"]}},
        {"filterCriteria": {"appInstanceId": "a1", "associateId": [{"type": "GTP_TEID"}]}},
    ],
)
async def test_a_subscription_that_lacks_something_is_refused(members: dict[str, object]) -> None:
    async with lockstep() as s:
        await make_app(s, "a1")
        answer = await s.send("POST", SUBSCRIPTIONS, SUBSCRIPTION | members)
        assert (answer.status, answer.document["status"]) == (400, 400)


async def test_a_subscription_for_an_unknown_app_is_a_404_and_cannot_be_changed_to_another_app_or_link() -> None:
    async with lockstep() as s:
        answer = await s.send("POST", SUBSCRIPTIONS, SUBSCRIPTION)
        assert (answer.status, answer.document) == (404, UNKNOWN)
        await make_app(s, "a1")
        await make_app(s, "a2")
        made = await s.send("POST", SUBSCRIPTIONS, SUBSCRIPTION)
        wrong: list[dict[str, object]] = [
            {"_links": None},
            {"_links": {"self": {}}},
            {"_links": {"self": {"href": "sub-another"}}},
            {"filterCriteria": {"appInstanceId": "a2"}},
        ]
        for members in wrong:
            answer = await s.send("PUT", str(made.location), made.document | members)
            assert (answer.status, answer.document["status"]) == (400, 400)
        assert (await s.send("GET", str(made.location))).document == made.document


@pytest.mark.parametrize(("strict", "type_"), [(False, ""), (True, "ExpiryNotification")])
async def test_a_subscription_whose_deadline_has_come_is_told_so_and_is_gone(strict: bool, type_: str) -> None:
    async with lockstep(strict=strict) as s:
        await make_app(s, "a1")
        body = SUBSCRIPTION | {"callbackReference": s.callbacks.at("end")}
        kept = await s.send("POST", SUBSCRIPTIONS, body)
        deadline = {"nanoSeconds": 0, "seconds": int(time.time()) - 1}
        made = await s.send("POST", SUBSCRIPTIONS, body | {"expiryDeadline": deadline})
        await s.tick(2)
        last = {
            "notificationType": type_,
            "expiryDeadline": deadline,
            "_links": {"subscription": {"href": made.location}},
        }
        assert told(s) == [("end", last)]
        assert (await s.send("GET", str(made.location))).status == 404
        assert (await s.send("GET", str(kept.location))).status == 200


async def test_what_the_original_has_not_is_not_implemented() -> None:
    async with lockstep() as s:
        for method, path in (
            ("GET", "queries/adjacent_app_instances"),
            ("POST", "app_mobility_services/x/deregister_task"),
        ):
            answer = await s.send(method, f"{AMS}/{path}")
            assert (answer.status, answer.document) == (501, None)


@given(st.data())
@settings(deadline=None, max_examples=10, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow])
async def test_whatever_is_sent_is_granted_or_refused_and_the_world_ticks_on(data: st.DataObject) -> None:
    async with lockstep() as s:
        await two_apps(s)
        made = await register(s, "a1", device())
        subscribed = await s.send("POST", SUBSCRIPTIONS, SUBSCRIPTION)
        calls: list[tuple[str, str, dict[str, Any]]] = [
            ("POST", MOBILITY_SERVICES, REGISTRATION),
            ("PUT", f"{MOBILITY_SERVICES}/{made['appMobilityServiceId']}", made),
            ("POST", SUBSCRIPTIONS, SUBSCRIPTION),
            ("PUT", str(subscribed.location), subscribed.document),
        ]
        for method, path, good in calls:
            for body in data.draw(st.lists(spoiled(good), min_size=1, max_size=4), label=path):
                answer = await s.send(method, path, body)
                assert answer.status in (200, 201, 400, 404, 500)
                if answer.status == 500:
                    assert is_about_decoding(answer.document["detail"])
        await s.tick()
        await s.attach(VEHICLE, IN_MEP1)
        await s.attach(VEHICLE, IN_MEP2)
        assert ("a1", moved("a2")) in [
            (path, document) for path, document in told(s) if document.get("targetAppInfo") == {"appInstanceId": "a2"}
        ]
