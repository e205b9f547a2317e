"""How far apart UEs are, asked of the Location API over a real port."""

from __future__ import annotations

import pytest

from pillion.sandbox.geodesy import Point, geodesic_m
from tests.sandbox.lockstep import lockstep

VEHICLE, OTHER = "10.100.0.2", "10.100.0.1"
HERE, THERE = Point(43.73, 7.42), Point(43.735, 7.43)


@pytest.mark.parametrize("version", ["v2", "v3"])
@pytest.mark.parametrize(
    "query", [f"address={VEHICLE}&address={OTHER}", f"address={VEHICLE}&latitude=43.735&longitude=7.43"]
)
async def test_a_distance_is_in_whole_metres_along_the_geodesic(version: str, query: str) -> None:
    async with lockstep() as s:
        await s.attach(VEHICLE, "4g-macro-cell-4", HERE)
        await s.attach(OTHER, "4g-macro-cell-5", THERE)
        answer = await s.send("GET", f"location/{version}/queries/distance?{query}")
        stamp = answer.document["terminalDistance"]["timestamp"]
        assert answer.document == {"terminalDistance": {"distance": int(geodesic_m(HERE, THERE)), "timestamp": stamp}}
        assert set(stamp) == {"seconds", "nanoSeconds"}


async def test_only_v2_lets_a_requester_be_named() -> None:
    async with lockstep() as s:
        await s.attach(VEHICLE, "4g-macro-cell-4", HERE)
        query = f"address={VEHICLE}&latitude=43.735&longitude=7.43&requester=x"
        assert (await s.send("GET", f"location/v2/queries/distance?{query}")).status == 200
        assert (await s.send("GET", f"location/v3/queries/distance?{query}")).status == 400


@pytest.mark.parametrize("version", ["v2", "v3"])
@pytest.mark.parametrize(
    ("query", "status", "has_body"),
    [
        ("", 400, True),
        (f"address={VEHICLE}", 400, True),
        (f"address={VEHICLE}&latitude=43.7", 400, True),
        (f"address={VEHICLE}&longitude=7.4", 400, True),
        ("latitude=43.7&longitude=7.4", 400, True),
        (f"address={VEHICLE}&address={OTHER}&latitude=43.7&longitude=7.4", 400, True),
        (f"address={VEHICLE}&address={OTHER}&address={OTHER}", 400, True),
        (f"address={VEHICLE}&address=10.9.9.9", 400, False),
        (f"address={VEHICLE}&address=10.100.0.3", 400, False),  # it is not attached
        (f"address={VEHICLE}&address={OTHER}&cacheBuster=1", 400, False),
        (f"address={VEHICLE}&latitude=north&longitude=7.4", 500, True),
        (f"address={VEHICLE}&latitude=nan&longitude=7.4", 500, True),
        (f"address={VEHICLE}&latitude=43.7&longitude=inf", 500, True),
    ],
)
async def test_what_cannot_be_measured_is_refused(version: str, query: str, status: int, has_body: bool) -> None:
    async with lockstep() as s:
        for ue in (VEHICLE, OTHER):
            await s.attach(ue, "4g-macro-cell-4", HERE)
        answer = await s.send("GET", f"location/{version}/queries/distance?{query}")
        assert (answer.status, answer.document is not None) == (status, has_body)


async def test_a_point_anywhere_on_earth_is_an_answer() -> None:
    async with lockstep() as s:
        await s.attach(VEHICLE, "4g-macro-cell-4", HERE)
        for latitude, longitude in ((-43.73, -172.58), (1e15, -1e15), (0, 0)):
            query = f"address={VEHICLE}&latitude={latitude}&longitude={longitude}"
            assert (await s.send("GET", f"location/v2/queries/distance?{query}")).status == 200
