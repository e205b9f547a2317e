"""The Location API v3's queries over a real port: v2's, and what is different in them."""

from __future__ import annotations

from typing import Any

import pytest

from pillion.sandbox.location import float32
from tests.sandbox.lockstep import Lockstep, lockstep

VEHICLE = "10.100.0.2"


async def asked(s: Lockstep, path: str, version: str = "v3") -> Any:
    answer = await s.send("GET", f"location/{version}/queries/{path}")
    assert answer.status == 200
    assert answer.media_type == "application/json; charset=UTF-8"
    return answer.document


def as_v3(value: Any) -> Any:
    """An answer of v2 as v3 has it: other URLs, and no time in a position."""
    if isinstance(value, dict):
        kept = {name: as_v3(inner) for name, inner in value.items()}
        if "latitude" in kept:
            del kept["timestamp"]
        return kept
    if isinstance(value, list):
        return [as_v3(inner) for inner in value]
    return value.replace("/location/v2/", "/location/v3/") if isinstance(value, str) else value


@pytest.mark.parametrize(
    "path",
    [
        "users",
        f"users?address={VEHICLE}&address=10.100.0.1&zoneId=zone02",
        "users?accessPointId=5g-small-cell-9",
        "users?address=10.9.9.9",
        "zones",
        "zones/zone02",
        "zones/zone02/accessPoints",
        "zones/zone02/accessPoints/5g-small-cell-9",
    ],
)
async def test_what_v2_tells_v3_tells_too(path: str) -> None:
    async with lockstep() as s:
        s.live.drive(True)
        await s.tick(3)
        assert await asked(s, path) == as_v3(await asked(s, path, "v2"))


async def test_a_user_is_told_as_the_hosted_sandbox_tells_it() -> None:
    async with lockstep() as s:
        s.live.drive(True)
        await s.tick()
        (user,) = (await asked(s, f"users?address={VEHICLE}"))["userList"]["user"]
        known = s.live.world.user(VEHICLE)
        assert known is not None
        assert user == {
            "address": VEHICLE,
            "accessPointId": "5g-small-cell-9",
            "zoneId": "zone02",
            "resourceURL": f"{s.listening.api_url}/location/v3/queries/users?address={VEHICLE}",
            "timestamp": {"nanoSeconds": 0, "seconds": s.live.refreshed_s},
            "locationInfo": {
                "latitude": [float32(known.at.lat_deg)],
                "longitude": [float32(known.at.lon_deg)],
                "shape": 2,
            },
        }
        assert [(told.ue, told.poa) for told in s.live.queries] == [(VEHICLE, "5g-small-cell-9")]


async def test_zones_and_points_of_access_can_be_picked() -> None:
    async with lockstep() as s:
        zones = (await asked(s, "zones?zoneId=zone03&zoneId=zone01&zoneId=zone99"))["zoneList"]["zone"]
        assert [zone["zoneId"] for zone in zones] == ["zone01", "zone03"]
        assert "zone" not in (await asked(s, "zones?zoneId=zone99"))["zoneList"]
        url = "zones/zone02/accessPoints"
        points = (await asked(s, f"{url}?accessPointId=w3&accessPointId=w4"))["accessPointList"]["accessPoint"]
        assert [point["accessPointId"] for point in points] == ["w4", "w3"]
        assert "accessPoint" not in (await asked(s, f"{url}?accessPointId=w1"))["accessPointList"]


@pytest.mark.parametrize(
    ("strict", "words"),
    [(False, {"Macro", "Smallcell", "Wifi"}), (True, {"LTE", "5G NR", "Wifi"})],
)
async def test_connection_types_have_the_specification_s_words_in_its_manner_alone(
    strict: bool, words: set[str]
) -> None:
    async with lockstep(strict=strict) as s:
        points = (await asked(s, "zones/zone02/accessPoints"))["accessPointList"]["accessPoint"]
        assert {point["connectionType"] for point in points} == words


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("users?cacheBuster=1", 400),
        ("zones?address=x", 400),
        ("zones/zone02/accessPoints?interestRealm=x", 400),
        ("zones/zone99", 404),
        ("zones/zone99/accessPoints", 404),
        ("zones/zone02/accessPoints/w1", 404),
    ],
)
async def test_an_error_has_a_status_and_an_empty_body_or_in_the_strict_manner_problem_details(
    path: str, status: int
) -> None:
    async with lockstep() as s:
        answer = await s.send("GET", f"location/v3/queries/{path}")
        assert (answer.status, answer.document) == (status, None)
    async with lockstep(strict=True) as s:
        answer = await s.send("GET", f"location/v3/queries/{path}")
        assert (answer.status, answer.document["status"]) == (status, status)
        assert answer.media_type == "application/problem+json"


async def test_without_a_scenario_there_are_no_users_and_no_zones() -> None:
    async with lockstep() as s:
        s.live.drive(True)
        await s.tick()
        s.live.terminate()
        for path, key in (("users", "userList"), ("zones", "zoneList")):
            url = f"{s.listening.api_url}/location/v3/queries/{path}"
            assert await asked(s, path) == {key: {"resourceURL": url}}
