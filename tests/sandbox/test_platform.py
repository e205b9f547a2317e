"""The original's control plane over a real port: scenarios, handovers by hand, instances, and the map."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pillion.sandbox.geodesy import Point, geodesic_m
from tests.sandbox.cities import monaco
from tests.sandbox.junk import is_about_decoding, spoiled
from tests.sandbox.location_v2 import KEYS, subscribe
from tests.sandbox.lockstep import Lockstep, lockstep
from tests.sandbox.mec_apps import (
    AMS,
    APPLICATIONS,
    IN_MEP1,
    IN_MEP2,
    SERVICES,
    SUPPORT,
    VEHICLE,
    device,
    make_app,
    register,
    subscribe_to_adjacent,
    subscribe_to_mobility,
    subscribe_to_termination,
)

ACTIVE, MOBILITY, GEODATA = "sandbox-ctrl/v1/active", "sandbox-ctrl/v1/events/MOBILITY", "gis/v1/geodata"
NO_SCENARIO = "No scenario is active\n"
POAS = {poa.id: poa for poa in monaco().poas}


async def call(s: Lockstep, method: str, path: str, body: object = None) -> tuple[int, str]:
    """Status and body as they are: the control plane's refusals are plain text."""
    data = body if isinstance(body, bytes) else json.dumps(body) if body is not None else None
    url = f"{s.listening.api_url}/{path}"
    async with aiohttp.ClientSession() as http, http.request(method, url, data=data) as answer:
        text = await answer.text()
        if answer.status >= 400:
            assert answer.content_type == "text/plain"
            assert text.endswith("\n")
        return answer.status, text


def handover(ue: object, dest: object) -> dict[str, Any]:
    return {"type": "MOBILITY", "eventMobility": {"elementName": ue, "dest": dest}}


async def users(s: Lockstep) -> dict[str, str]:
    """The UEs that the Location API lists, with their POAs."""
    answer = await s.send("GET", "location/v2/queries/users")
    return {user["address"]: user["accessPointId"] for user in answer.document["userList"].get("user", [])}


async def test_a_scenario_is_terminated_and_another_one_activated_at_rest() -> None:
    async with lockstep() as s:
        s.live.drive(True)
        await s.tick()
        assert len(await users(s)) == 12
        assert await call(s, "POST", f"{ACTIVE}/4g-macro") == (400, "Scenario already active\n")
        assert await call(s, "DELETE", ACTIVE) == (200, "")
        for method in ("GET", "DELETE"):
            assert await call(s, method, ACTIVE) == (404, NO_SCENARIO)
        assert await users(s) == {}
        assert (await s.send("GET", "rni/v2/queries/plmn_info")).status == 404
        assert await call(s, "POST", f"{ACTIVE}/4g-macro", {}) == (200, "")
        assert await call(s, "GET", ACTIVE) == (200, '{"name":"4g-macro"}')
        assert await users(s) == {}
        assert (await s.send("GET", "gis/v1/automation/MOVEMENT")).document == {"type": "MOVEMENT"}
        s.live.drive(True)
        await s.tick()
        served = await users(s)
        assert len(served) > 0
        assert all(poa.startswith("4g-") for poa in served.values())


async def test_a_scenario_that_does_not_exist_is_a_404_that_names_those_that_do() -> None:
    async with lockstep() as s:
        await call(s, "DELETE", ACTIVE)
        status, text = await call(s, "POST", f"{ACTIVE}/atlantis")
        assert status == 404
        assert "monaco, 4g-macro" in text
        assert await call(s, "GET", ACTIVE) == (404, NO_SCENARIO)


async def test_with_the_scenario_every_service_s_subscriptions_end_and_ids_begin_at_1_again() -> None:
    async with lockstep() as s:
        to_bearers = {
            "subscriptionType": "RabEstSubscription",
            "callbackReference": s.callbacks.at("bearers"),
            "filterCriteriaQci": {"qci": 80},
        }
        to_services = {
            "subscriptionType": "SerAvailabilityNotificationSubscription",
            "callbackReference": s.callbacks.at("services"),
        }
        kept = {"id": "kept", "name": "cam", "nodeName": "mep1", "persist": True}

        async def subscribe_everywhere() -> list[str]:
            links = []
            for kind in KEYS:
                (stored,) = (await subscribe(s, kind)).document.values()
                links.append(stored["resourceURL"])
            links.append((await s.send("POST", "rni/v2/subscriptions", to_bearers)).document["_links"]["self"]["href"])
            await make_app(s, "a1")
            links.append(str((await subscribe_to_termination(s, "a1", "end")).location))
            links.append(str((await subscribe_to_mobility(s, "a1", "moves")).location))
            links.append(str((await subscribe_to_adjacent(s, "a1", "adjacent")).location))
            made = await s.send("POST", f"{SERVICES}/applications/a1/subscriptions", to_services)
            links.append(str(made.location))
            await register(s, "a1", device())
            return links

        assert (await s.send("POST", APPLICATIONS, kept)).status == 201
        before = await subscribe_everywhere()
        for link in before:
            assert (await s.send("GET", link)).status == 200
        s.callbacks.taken()
        assert await call(s, "DELETE", ACTIVE) == (200, "")
        for link in before:
            assert (await s.send("GET", link)).status == 404
        assert (await s.send("GET", f"{AMS}/app_mobility_services")).document == []
        assert (await s.send("GET", f"{SUPPORT}/applications/a1/subscriptions")).status == 404
        assert (await s.send("GET", f"{APPLICATIONS}?type=USER")).document == [kept | {"type": "USER"}]
        assert len((await s.send("GET", f"{SERVICES}/services")).document) == 3
        assert await call(s, "POST", f"{ACTIVE}/monaco") == (200, "")
        s.live.drive(True)
        await s.tick(2)
        assert s.callbacks.taken() == []
        after = await subscribe_everywhere()
        numbered = len(KEYS) + 1
        assert after[:numbered] == before[:numbered]
        assert all(link.endswith("/1") for link in after[:numbered])
        assert set(after[numbered:]).isdisjoint(before)


async def test_a_handover_by_hand_is_told_as_any_other_though_nothing_is_automatic() -> None:
    async with lockstep() as s:
        await subscribe(s, "userTracking", "vehicle")
        for dest in (IN_MEP1, IN_MEP2, IN_MEP2, "DISCONNECTED"):
            assert await call(s, "POST", MOBILITY, handover(VEHICLE, dest)) == (200, "")
            await s.live.told()
            assert await users(s) == ({VEHICLE: dest} if dest != "DISCONNECTED" else {})
        told = [each["zonalPresenceNotification"] for each in s.callbacks.documents("vehicle")]
        assert [(each["userEventType"], each["currentAccessPointId"]) for each in told] == [
            ("Entering", IN_MEP1),
            ("Leaving", IN_MEP1),
            ("Entering", IN_MEP2),
            ("Leaving", IN_MEP2),
        ]


async def test_with_mobility_on_the_next_tick_puts_a_handover_by_hand_right() -> None:
    async with lockstep() as s:
        assert await call(s, "POST", "gis/v1/automation/MOBILITY?run=true") == (200, "")
        await s.tick()
        before = (await users(s))[VEHICLE]
        await call(s, "POST", MOBILITY, handover(VEHICLE, "w6"))
        assert (await users(s))[VEHICLE] == "w6"
        await s.tick()
        assert (await users(s))[VEHICLE] == before


@pytest.mark.parametrize(
    "body",
    [
        handover("10.9.9.9", IN_MEP1),
        handover(VEHICLE, "nowhere"),
        handover(VEHICLE, None),
        handover(None, IN_MEP1),
        handover(7, IN_MEP1),
        {"type": "MOBILITY"},
        [],
        b"{",
        b"",
    ],
)
async def test_a_handover_of_unknown_names_or_none_is_a_400_in_plain_text(body: object) -> None:
    async with lockstep() as s:
        status, text = await call(s, "POST", MOBILITY, body)
        assert (status, len(text) > 1) == (400, True)
        assert await users(s) == {}


async def test_other_events_are_not_known_and_without_a_scenario_there_are_none() -> None:
    async with lockstep() as s:
        for type_ in ("PDU-SESSION", "mobility"):
            status, text = await call(s, "POST", f"sandbox-ctrl/v1/events/{type_}", {})
            assert (status, text) == (400, "Unsupported event type\n")
        await call(s, "DELETE", ACTIVE)
        assert await call(s, "POST", MOBILITY, handover(VEHICLE, IN_MEP1)) == (404, NO_SCENARIO)


async def test_instances_are_made_with_an_id_found_listed_and_deleted() -> None:
    async with lockstep() as s:
        own = (await s.send("GET", APPLICATIONS)).document
        assert [(app["name"], app["nodeName"], app["type"]) for app in own] == [
            (name, "global", "SYSTEM") for name in ("Location", "RNI", "AMS")
        ]
        made = await s.send("POST", APPLICATIONS, {"name": "cam", "nodeName": "mep1"})
        assert made.status == 201
        id_ = made.document["id"]
        assert len(id_) == 36
        assert made.document == {"id": id_, "name": "cam", "nodeName": "mep1", "type": "USER"}
        given = {"id": "x", "name": "lidar", "nodeName": "mep2", "type": "USER", "persist": True}
        assert (await s.send("POST", APPLICATIONS, given)).document == given
        assert (await s.send("GET", f"{APPLICATIONS}/{id_}")).document == made.document
        assert (await s.send("GET", APPLICATIONS)).document == [*own, made.document, given]
        for query, found in (
            ("app=cam", [made.document]),
            ("nodeName=mep2", [given]),
            ("type=USER", [made.document, given]),
            ("type=USER&app=none", []),
        ):
            assert (await s.send("GET", f"{APPLICATIONS}?{query}")).document == found
        assert await call(s, "DELETE", f"{APPLICATIONS}/{id_}") == (204, "")
        assert await call(s, "GET", f"{APPLICATIONS}/{id_}") == (404, "App Instance not found\n")
        assert await call(s, "DELETE", f"{APPLICATIONS}/{id_}") == (204, "")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"nodeName": "mep1"}, 400),
        ({"name": "cam"}, 400),
        ({"name": "", "nodeName": "mep1"}, 400),
        ({"id": "x", "name": "cam", "nodeName": "mep1"}, 400),
        (b"{", 500),
        ({"name": 7, "nodeName": "mep1"}, 500),
    ],
)
async def test_an_instance_without_a_name_or_node_or_with_a_taken_id_is_refused(body: object, status: int) -> None:
    async with lockstep() as s:
        await make_app(s, "x", name="lidar")
        assert (await call(s, "POST", APPLICATIONS, body))[0] == status
        assert await call(s, "GET", f"{APPLICATIONS}?app=cam") == (200, "[]")


async def test_an_unknown_filter_of_instances_is_refused() -> None:
    async with lockstep() as s:
        assert await call(s, "GET", f"{APPLICATIONS}?name=cam") == (400, "Invalid query param: name\n")


async def test_the_map_has_every_ue_and_poa_and_leaves_out_paths_if_asked() -> None:
    async with lockstep() as s:
        assets = (await s.send("GET", GEODATA)).document["geoDataAssets"]
        assert [each["assetName"] for each in assets] == [each.id for each in (*monaco().ues, *monaco().poas)]
        vehicle = next(each for each in assets if each["assetName"] == VEHICLE)
        ue = next(each for each in monaco().ues if each.id == VEHICLE)
        assert (vehicle["assetType"], vehicle["subType"], vehicle["eopMode"]) == ("UE", "UE", "LOOP")
        assert (vehicle["velocity"], vehicle["path"]["type"]) == (20, "LineString")
        assert len(vehicle["path"]["coordinates"]) == len(ue.path)
        assert vehicle["location"]["type"] == "Point"
        assert vehicle["location"]["coordinates"] == pytest.approx([ue.path[0].lon_deg, ue.path[0].lat_deg], abs=1e-5)
        assert "5g-small-cell-9" in vehicle["poaInRange"]
        assert (await s.send("GET", f"{GEODATA}/{VEHICLE}")).document == vehicle
        del vehicle["path"]
        assert (await s.send("GET", f"{GEODATA}/{VEHICLE}?excludePath=true")).document == vehicle
        only = (await s.send("GET", f"{GEODATA}?assetType=POA&subType=POA-WIFI")).document["geoDataAssets"]
        assert [each["assetName"] for each in only] == [name for name in POAS if name.startswith("w")]
        assert {each["radius"] for each in only} == {50}
        assert (await s.send("GET", f"{GEODATA}/w1")).document == only[0]
        assert (await s.send("GET", f"{GEODATA}?assetType=COMPUTE")).document == {}
        assert (await call(s, "GET", f"{GEODATA}/nothing"))[0] == 404


async def test_a_ue_that_is_put_beside_a_poa_is_served_by_it_at_the_next_pass() -> None:
    async with lockstep() as s:
        await call(s, "POST", "gis/v1/automation/MOBILITY?run=true")
        await s.tick()
        asset = (await s.send("GET", f"{GEODATA}/{VEHICLE}")).document
        at = POAS["w6"].at
        asset["location"]["coordinates"] = [at.lon_deg, at.lat_deg]
        assert await call(s, "POST", f"{GEODATA}/{VEHICLE}", asset) == (200, "")
        assert (await users(s))[VEHICLE] != "w6"
        await s.tick()
        assert (await users(s))[VEHICLE] == "w6"
        placed = (await s.send("GET", f"{GEODATA}/{VEHICLE}")).document
        assert placed["location"]["coordinates"] == pytest.approx([at.lon_deg, at.lat_deg], abs=1e-5)
        assert "w6" in placed["poaInRange"]


POINT = {"type": "Point", "coordinates": [7.42, 43.73]}
PLACED = {"assetName": VEHICLE, "assetType": "UE", "location": POINT}
EAST = [[7.42, 43.73], [7.43, 43.73]]


def line(*coordinates: object) -> dict[str, object]:
    return {"type": "LineString", "coordinates": list(coordinates)}


DRIVE: dict[str, object] = {"path": line(*EAST), "eopMode": "REVERSE", "velocity": 10}
REPATHED = {"assetName": VEHICLE, "assetType": "UE"} | DRIVE


@pytest.mark.parametrize(
    ("asset", "members", "status"),
    [
        (VEHICLE, {"assetName": "10.100.0.1"}, 400),
        (VEHICLE, {"assetType": "POA"}, 400),
        (VEHICLE, {"assetType": None}, 400),
        (VEHICLE, {"location": {"type": "Point", "coordinates": [7.42]}}, 400),
        (VEHICLE, {"location": {"type": "Point", "coordinates": [7.42, True]}}, 400),
        (VEHICLE, {"location": {"type": "Point", "coordinates": [7.42, 430]}}, 400),
        (VEHICLE, {"location": {"type": "Polygon", "coordinates": [7.42, 43.73]}}, 400),
        (VEHICLE, {"location": 7}, 500),
        (VEHICLE, {"location": json.dumps(POINT)}, 500),
        (VEHICLE, {"velocity": -1}, 400),
        (VEHICLE, DRIVE | {"velocity": 1e39}, 400),
        (VEHICLE, {"eopMode": "DANCE"}, 400),
        (VEHICLE, DRIVE | {"eopMode": ""}, 400),
        (VEHICLE, DRIVE | {"path": line()}, 400),
        (VEHICLE, DRIVE | {"path": line(EAST[0])}, 400),
        (VEHICLE, DRIVE | {"path": line(EAST[0], EAST[0])}, 400),
        (VEHICLE, DRIVE | {"path": line(EAST[0], [7.42, 43.73, 0])}, 400),
        (VEHICLE, DRIVE | {"path": line(EAST[0], [-172.58, -43.73])}, 400),
        (VEHICLE, DRIVE | {"path": line([0.0, 0.0], [0.0, 1e-305])}, 400),
        (VEHICLE, DRIVE | {"path": POINT}, 400),
        (VEHICLE, DRIVE | {"path": "7.42,43.73"}, 500),
        ("nothing", {"assetName": "nothing"}, 400),
        ("w6", {"assetName": "w6", "assetType": "POA"}, 400),
    ],
)
async def test_what_cannot_be_moved_stays_where_it_is(asset: str, members: dict[str, object], status: int) -> None:
    async with lockstep() as s:
        before = (await s.send("GET", GEODATA)).document
        assert (await call(s, "POST", f"{GEODATA}/{asset}", PLACED | members))[0] == status
        assert (await s.send("GET", GEODATA)).document == before


async def place_of(s: Lockstep) -> Point:
    longitude, latitude = (await s.send("GET", f"{GEODATA}/{VEHICLE}")).document["location"]["coordinates"]
    return Point(latitude, longitude)


async def test_a_ue_on_another_path_drives_along_it_from_its_start_once_it_moves() -> None:
    async with lockstep() as s:
        before = (await s.send("GET", f"{GEODATA}/{VEHICLE}")).document
        assert await call(s, "POST", f"{GEODATA}/{VEHICLE}", REPATHED) == (200, "")
        assert (await s.send("GET", f"{GEODATA}/{VEHICLE}")).document == before | DRIVE
        s.live.drive(True)
        start = Point(43.73, 7.42)
        for seconds in range(1, 4):
            await s.tick()
            assert geodesic_m(start, await place_of(s)) == pytest.approx(10 * seconds, abs=0.5)
        assert await call(s, "POST", f"{GEODATA}/{VEHICLE}", REPATHED | {"velocity": 20}) == (200, "")
        await s.tick()
        assert geodesic_m(start, await place_of(s)) == pytest.approx(20, abs=0.5)
        assert await call(s, "POST", f"{GEODATA}/{VEHICLE}", REPATHED | {"velocity": None}) == (200, "")
        assert "velocity" not in (await s.send("GET", f"{GEODATA}/{VEHICLE}")).document
        stands = await place_of(s)
        await s.tick(3)
        assert await place_of(s) == stands


@pytest.mark.parametrize("leave_out", [(), ("path",)])
async def test_a_ue_drives_on_when_what_was_read_of_it_is_sent_back(leave_out: tuple[str, ...]) -> None:
    """Without the path its speed and the path's end do not matter."""
    async with lockstep() as s, lockstep() as other:
        for each in (s, other):
            each.live.drive(True)
            await each.tick(5)
        asset = (await s.send("GET", f"{GEODATA}/{VEHICLE}")).document
        for name in leave_out:
            del asset[name]
            asset |= {"velocity": 5, "eopMode": "REVERSE"}
        assert await call(s, "POST", f"{GEODATA}/{VEHICLE}", asset) == (200, "")
        for each in (s, other):
            await each.tick()
        assert await place_of(s) == await place_of(other)


async def test_distances_are_geodesic_between_assets_or_to_a_point() -> None:
    async with lockstep() as s:
        here, there = POAS["w1"].at, POAS["w6"].at
        metres = geodesic_m(here, there)
        point = {"latitude": there.lat_deg, "longitude": there.lon_deg}
        for target in ({"assetName": "w6"}, point, point | {"assetName": "w6", "latitude": 0}):
            answer = (await s.send("POST", f"{GEODATA}/w1/distanceTo", target)).document
            assert answer["distance"] == pytest.approx(metres, abs=0.5)
            assert [answer["srcLatitude"], answer["srcLongitude"]] == pytest.approx(list(here), abs=1e-5)
            assert [answer["dstLatitude"], answer["dstLongitude"]] == pytest.approx(list(there), abs=1e-5)
            for radius_m, within in ((metres + 1, True), (metres - 1, False)):
                asked = target | {"radius": radius_m}
                answer = (await s.send("POST", f"{GEODATA}/w1/withinRange", asked)).document
                assert answer["within"] is within


@pytest.mark.parametrize(
    ("asset", "target"),
    [
        ("nothing", {"assetName": "w6"}),
        ("w1", {"assetName": "nothing"}),
        ("w1", {"latitude": 91, "longitude": 7}),
        ("w1", {"latitude": -POAS["w1"].at.lat_deg, "longitude": POAS["w1"].at.lon_deg - 180}),
    ],
)
async def test_a_distance_to_nothing_or_nowhere_is_refused(asset: str, target: dict[str, object]) -> None:
    async with lockstep() as s:
        for question in ("distanceTo", "withinRange"):
            assert (await call(s, "POST", f"{GEODATA}/{asset}/{question}", target))[0] == 400


async def test_without_a_scenario_the_map_is_empty() -> None:
    async with lockstep() as s:
        await call(s, "DELETE", ACTIVE)
        assert (await s.send("GET", GEODATA)).document == {}
        assert await call(s, "GET", f"{GEODATA}/w1") == (404, NO_SCENARIO)
        for path in ("w1/distanceTo", "w1/withinRange", VEHICLE):
            assert await call(s, "POST", f"{GEODATA}/{path}", PLACED) == (404, NO_SCENARIO)


@given(st.data())
@settings(deadline=None, max_examples=10, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow])
async def test_whatever_is_sent_is_granted_or_refused_and_the_world_ticks_on(data: st.DataObject) -> None:
    async with lockstep() as s:
        s.live.drive(True)
        goods: list[tuple[str, dict[str, Any]]] = [
            (MOBILITY, handover(VEHICLE, IN_MEP1)),
            (APPLICATIONS, {"id": "x", "name": "cam", "nodeName": "mep1", "persist": False}),
            (f"{GEODATA}/{VEHICLE}", PLACED),
            (f"{GEODATA}/{VEHICLE}", REPATHED),
            (f"{GEODATA}/{VEHICLE}/distanceTo", {"assetName": "w1", "latitude": 43.7, "longitude": 7.4}),
            (f"{GEODATA}/{VEHICLE}/withinRange", {"latitude": 43.7, "longitude": 7.4, "radius": 10}),
        ]
        for path, good in goods:
            for body in data.draw(st.lists(spoiled(good), min_size=1, max_size=4), label=path):
                status, text = await call(s, "POST", path, body)
                assert status in (200, 201, 400, 500)
                if status == 500:
                    assert is_about_decoding(text)
        await s.tick(2)
        assert len(await users(s)) >= 11, "all but the one whose path may lead out of coverage"
