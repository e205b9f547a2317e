"""The Location API over a real port: the original's shapes, its empty bodies and its oddities."""

from __future__ import annotations

import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillion.sandbox.location import float32
from pillion.sandbox.server import Listening, sandbox

VEHICLE = "10.100.0.2"
TYPE = "application/json; charset=UTF-8"


class Client:
    """One client of one sandbox in lockstep."""

    def __init__(self, listening: Listening, http: aiohttp.ClientSession) -> None:
        self.listening = listening
        self.queries = f"{listening.api_url}/location/v2/queries"
        self._http = http

    async def get(self, path: str) -> Any:
        """The JSON of a query that succeeds."""
        async with self._http.get(f"{self.queries}/{path}") as response:
            assert response.status == 200
            assert response.headers["Content-Type"] == TYPE
            return await response.json()

    async def call(self, method: str, url: str) -> tuple[int, str, bytes]:
        async with self._http.request(method, url) as response:
            return response.status, response.headers.get("Content-Type", ""), await response.read()

    async def users(self, query: str = "") -> set[str]:
        answer = await self.get(f"users{query}")
        return {user["address"] for user in answer["userList"].get("user", [])}


@asynccontextmanager
async def client(ticks: int = 1) -> AsyncIterator[Client]:
    async with (
        sandbox(port=0, control_port=0, lockstep=True) as listening,
        aiohttp.ClientSession(headers={"User-Agent": "a2/1"}) as http,
    ):
        if ticks:
            listening.live.drive(True)
        for _ in range(ticks):
            listening.live.tick(1.0)
        yield Client(listening, http)


async def test_before_the_drive_the_list_of_users_is_absent_and_not_empty() -> None:
    async with client(ticks=0) as c:
        assert await c.get("users") == {"userList": {"resourceURL": f"{c.queries}/users"}}


async def test_a_user_is_told_with_its_zone_poa_position_and_whole_seconds() -> None:
    async with client(ticks=10) as c:
        answer = await c.get(f"users?address={VEHICLE}")
        known = c.listening.live.world.user(VEHICLE)
        assert known is not None
        stamp = {"nanoSeconds": 0, "seconds": answer["userList"]["user"][0]["timestamp"]["seconds"]}
        assert answer == {
            "userList": {
                "resourceURL": f"{c.queries}/users",
                "user": [
                    {
                        "address": VEHICLE,
                        "accessPointId": "4g-macro-cell-4",
                        "zoneId": "zone02",
                        "resourceURL": f"{c.queries}/users?address={VEHICLE}",
                        "timestamp": stamp,
                        "locationInfo": {
                            "latitude": [float32(known.at.lat_deg)],
                            "longitude": [float32(known.at.lon_deg)],
                            "shape": 2,
                            "timestamp": stamp,
                        },
                    }
                ],
            }
        }
        assert abs(stamp["seconds"] - time.time()) < 5


async def test_filters_are_alternatives_within_a_name_and_conditions_between_names() -> None:
    async with client() as c:
        everyone = await c.users()
        assert len(everyone) == 12
        world = c.listening.live.world
        in_zone02 = {user.ue for user in world.users() if user.zone == "zone02"}
        in_zone04 = {user.ue for user in world.users() if user.zone == "zone04"}
        on_poa = {user.ue for user in world.users() if user.poa == "5g-small-cell-9"}
        assert await c.users("?zoneId=zone02") == in_zone02
        assert await c.users("?zoneId=zone02&zoneId=zone04") == in_zone02 | in_zone04
        assert await c.users("?accessPointId=5g-small-cell-9") == on_poa
        assert VEHICLE in on_poa
        assert await c.users(f"?address={VEHICLE}&address=10.100.0.1") == {VEHICLE, "10.100.0.1"}
        assert await c.users(f"?address={VEHICLE}&address={VEHICLE}") == {VEHICLE}
        assert await c.users(f"?zoneId=zone02&address={VEHICLE}&address=10.100.0.4") == {VEHICLE}
        assert await c.users(f"?zoneId=zone04&address={VEHICLE}") == set()


async def test_nobody_matching_is_an_answer_without_users() -> None:
    async with client() as c:
        assert await c.get("users?address=10.9.9.9") == {"userList": {"resourceURL": f"{c.queries}/users"}}
        assert await c.get("users?address=") == {"userList": {"resourceURL": f"{c.queries}/users"}}


async def test_zones_count_their_points_of_access_and_users() -> None:
    async with client() as c:
        zones = (await c.get("zones"))["zoneList"]
        assert zones["resourceURL"] == f"{c.queries}/zones"
        assert [(z["zoneId"], z["numberOfAccessPoints"]) for z in zones["zone"]] == [
            ("zone01", 8),
            ("zone02", 11),
            ("zone03", 7),
            ("zone04", 15),
        ]
        assert sum(zone["numberOfUsers"] for zone in zones["zone"]) == 12
        assert await c.get("zones/zone02") == {
            "zoneInfo": {
                "zoneId": "zone02",
                "numberOfAccessPoints": 11,
                "numberOfUnserviceableAccessPoints": 0,
                "numberOfUsers": len(await c.users("?zoneId=zone02")),
                "resourceURL": f"{c.queries}/zones/zone02",
            }
        }


async def test_points_of_access_tell_technology_place_and_users() -> None:
    async with client() as c:
        answer = (await c.get("zones/zone02/accessPoints"))["accessPointList"]
        points = answer["accessPoint"]
        assert answer["zoneId"] == "zone02"
        assert answer["resourceURL"] == f"{c.queries}/zones/zone02/accessPoints"
        assert {p["connectionType"] for p in points} == {"Macro", "Smallcell", "Wifi"}
        stamp = points[0]["locationInfo"]["timestamp"]
        single = await c.get("zones/zone02/accessPoints/5g-small-cell-9")
        assert single == {
            "accessPointInfo": {
                "accessPointId": "5g-small-cell-9",
                "connectionType": "Smallcell",
                "locationInfo": {"latitude": [43.73308], "longitude": [7.427027], "shape": 2, "timestamp": stamp},
                "numberOfUsers": len(await c.users("?accessPointId=5g-small-cell-9")),
                "operationStatus": "Serviceable",
                "resourceURL": f"{c.queries}/zones/zone02/accessPoints/5g-small-cell-9",
            }
        }
        assert single["accessPointInfo"] in points


async def test_no_point_of_access_has_an_interest_realm() -> None:
    async with client() as c:
        realm = (await c.get("zones/zone02/accessPoints?interestRealm=harbour"))["accessPointList"]
        assert realm == {"zoneId": "zone02", "resourceURL": f"{c.queries}/zones/zone02/accessPoints"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "location/v2/queries/users?cacheBuster=1", 400),
        ("GET", f"location/v2/queries/users?address={VEHICLE}&zone=zone02", 400),
        ("GET", "location/v2/queries/zones/zone02/accessPoints?address=x", 400),
        ("GET", "location/v2/queries/zones/zone99", 404),
        ("GET", "location/v2/queries/zones/zone99/accessPoints", 404),
        ("GET", "location/v2/queries/zones/zone99/accessPoints/w1", 404),
        ("GET", "location/v2/queries/zones/zone02/accessPoints/w1", 404),  # it lies in zone01
        ("GET", "location/v2/nothing", 404),
        ("DELETE", "location/v2/queries/users", 405),
    ],
)
async def test_an_error_has_a_status_and_an_empty_body(method: str, path: str, status: int) -> None:
    async with client() as c:
        assert await c.call(method, f"{c.listening.api_url}/{path}") == (status, TYPE, b"")


async def test_another_sandbox_s_name_leads_nowhere() -> None:
    async with client() as c:
        url = f"http://127.0.0.1:{c.listening.port}/sbxother/location/v2/queries/users"
        assert await c.call("GET", url) == (404, TYPE, b"")


async def test_automations_are_off_until_switched_on_and_off_is_told_by_absence() -> None:
    async with client(ticks=0) as c:
        automation = f"{c.listening.api_url}/gis/v1/automation"
        assert await c.call("GET", f"{automation}/MOBILITY") == (200, TYPE, b'{"type":"MOBILITY"}')
        for run, expected in (
            ("true", b'{"type":"MOBILITY","active":true}'),
            ("nonsense", b'{"type":"MOBILITY"}'),
        ):
            assert await c.call("POST", f"{automation}/MOBILITY?run={run}") == (200, TYPE, b"")
            assert await c.call("GET", f"{automation}/MOBILITY") == (200, TYPE, expected)
        _, _, states = await c.call("GET", automation)
        assert states == (
            b'{"states":[{"type":"MOVEMENT"},{"type":"MOBILITY"},{"type":"POAS-IN-RANGE"},'
            b'{"type":"NETWORK-CHARACTERISTICS-UPDATE"}]}'
        )
        for method in ("GET", "POST"):
            status, _, body = await c.call(method, f"{automation}/FLYING?run=true")
            assert (status, body) == (500, b"Automation type not found\n")


async def test_the_active_scenario_is_named() -> None:
    async with client() as c:
        assert await c.call("GET", f"{c.listening.api_url}/sandbox-ctrl/v1/active") == (200, TYPE, b'{"name":"monaco"}')


async def test_what_is_told_over_a_whole_lap_is_the_truth() -> None:
    async with client(ticks=0) as c:
        live = c.listening.live
        live.drive(True)
        told: list[tuple[int, str, str]] = []
        for tick in range(1, 231):
            live.tick(1.0)
            (user,) = (await c.get(f"users?address={VEHICLE}"))["userList"]["user"]
            if not told or told[-1][1:] != (user["accessPointId"], user["zoneId"]):
                told.append((tick, user["accessPointId"], user["zoneId"]))
        truth = [change for change in live.world.changes if change.ue == VEHICLE]
        assert told == [(change.tick, change.poa, change.zone) for change in truth]
        assert [change.zone for change in truth if change.zone != change.previous_zone] == [
            "zone02",
            "zone01",
            "zone03",
            "zone01",
            "zone02",
        ]
        assert [q.tick for q in live.queries] == list(range(1, 231))
        assert {q.agent for q in live.queries} == {"a2/1"}


@given(st.floats(-180, 180))
def test_coordinates_are_written_as_the_shortest_number_of_single_precision(value: float) -> None:
    short = float32(value)
    assert struct.pack("f", short) == struct.pack("f", value)
    assert len(f"{short:.12g}".lstrip("-").replace(".", "").lstrip("0").split("e")[0]) <= 9


def test_coordinates_lose_what_single_precision_loses() -> None:
    assert (float32(43.73308), float32(7.4265293821)) == (43.73308, 7.4265294)
    assert float32(43.7330812345) == 43.73308
