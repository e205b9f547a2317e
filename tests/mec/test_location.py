"""The Location API's client against the embedded sandbox on loopback, and against a server that is broken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from pillion.core.model import PoaId, UeId
from pillion.errors import MecError, MecPayloadError
from pillion.mec import location
from pillion.mec.location import LocationClient
from pillion.sandbox.server import Listening, sandbox
from pillion.server import served_at

UE = UeId("10.100.0.2")
RADIUS_M = {"Macro": 400.0, "Smallcell": 100.0, "Wifi": 50.0}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


versions = pytest.mark.parametrize("version", ["v2", "v3"])


@asynccontextmanager
async def city(version: str = "v2") -> AsyncIterator[tuple[Listening, LocationClient]]:
    async with (
        sandbox(port=0, control_port=0, lockstep=True) as listening,
        LocationClient(f"{listening.api_url}/location/{version}", RADIUS_M) as client,
    ):
        yield listening, client


@asynccontextmanager
async def answering(handler: Handler) -> AsyncIterator[LocationClient]:
    """A client of a server that answers every question as told."""
    app = web.Application()
    app.router.add_get("/{path:.*}", handler)
    async with (
        served_at(app, "127.0.0.1", 0) as port,
        LocationClient(f"http://127.0.0.1:{port}/location/v2", RADIUS_M) as client,
    ):
        yield client


@versions
async def test_a_ue_is_absent_before_the_drive_and_then_where_the_truth_says(version: str):
    async with city(version) as (listening, client):
        assert (await client.user(UE)).poa is None
        listening.live.drive(True)
        for _ in range(40):
            listening.live.tick(1.0)
            seen, truth = await client.user(UE), listening.live.world.user(UE)
            assert truth is not None
            assert (seen.poa, seen.zone) == (truth.poa, truth.zone)
            assert seen.position is not None
            assert seen.position.latitude == pytest.approx(truth.at.lat_deg, abs=1e-5)
            assert seen.position.longitude == pytest.approx(truth.at.lon_deg, abs=1e-5)


async def test_an_observation_has_the_instant_of_asking_and_these_grow():
    async with city() as (_, client):
        clock = asyncio.get_running_loop().time
        before = clock()
        first, second = await client.user(UE), await client.user(UE)
        assert before <= first.asked_s < second.asked_s <= clock()


async def test_a_ue_that_does_not_exist_is_absent():
    async with city() as (listening, client):
        listening.live.drive(True)
        listening.live.tick(1.0)
        assert (await client.user(UeId("10.9.9.9"))).poa is None


async def test_the_layout_has_every_poa_of_every_zone_with_its_reach():
    async with city() as (listening, client):
        layout = await client.layout()
        poas = {PoaId(poa.id): poa for poa in listening.live.world.scenario.poas}
        assert layout.keys() == poas.keys()
        for name, poa in layout.items():
            assert poa.zone == poas[name].zone
            assert poa.radius_m == RADIUS_M[poa.connection_type]


async def test_the_sandbox_is_told_who_asks():
    async with city() as (listening, client):
        await client.user(UE)
        assert [told.agent for told in listening.live.queries] == ["pillion-engine"]


async def test_an_error_of_the_server_is_an_error_with_its_status_and_place():
    async def broken(_: web.Request) -> web.Response:
        return web.Response(status=500)

    async with answering(broken) as client:
        with pytest.raises(MecError, match=r"location/v2/queries/users: status 500 \(if the sandbox has moved: "):
            await client.user(UE)


async def test_a_sandbox_that_has_moved_is_a_404_with_the_remedy():
    async def moved(_: web.Request) -> web.Response:
        return web.Response(status=404)

    async with answering(moved) as client:
        with pytest.raises(MecError, match=r"status 404 .*pillion gateway point URL"):
            await client.user(UE)


async def test_an_empty_body_is_an_error_of_the_payload():
    async def empty(_: web.Request) -> web.Response:
        return web.Response()

    async with answering(empty) as client:
        with pytest.raises(MecPayloadError, match="body: not JSON"):
            await client.user(UE)


async def test_an_answer_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch):
    asked = asyncio.Event()

    async def stalls(_: web.Request) -> web.Response:
        asked.set()
        await asyncio.sleep(30)
        return web.Response()

    monkeypatch.setattr(LocationClient, "answer_s", 0.3)
    async with answering(stalls) as client:
        with pytest.raises(MecError, match=r"no answer: timed out \(`pillion inspect`"):
            await client.user(UE)
        assert asked.is_set()


async def test_an_answer_that_breaks_off_is_no_answer():
    async def breaks_off(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"userList": ')
        assert request.transport is not None
        request.transport.close()
        return response

    async with answering(breaks_off) as client:
        with pytest.raises(MecError, match="no answer"):
            await client.user(UE)


async def test_a_server_that_is_not_there_is_no_answer():
    async with LocationClient("http://127.0.0.1:1/location/v2", RADIUS_M) as client:
        with pytest.raises(MecError, match=r"no answer: .*`pillion inspect` shows whether gateway and sandbox run"):
            await client.user(UE)


async def test_where_a_ue_is_is_asked_once_and_the_layout_again_until_it_comes():
    asked: list[str] = []

    async def wakes_up(request: web.Request) -> web.Response:
        asked.append(request.path)
        if len(asked) < 3:
            return web.Response(status=503)
        if request.path.endswith("/zones"):
            return web.json_response({"zoneList": {"zone": [{"zoneId": "zone01"}]}})
        return web.json_response({"accessPointList": {"zoneId": "zone01"}})

    async with answering(wakes_up) as client:
        with pytest.raises(MecError, match="503"):
            await client.user(UE)
        assert len(asked) == 1
        assert await client.layout() == {}
    queries = "/location/v2/queries"
    assert asked[1:] == [f"{queries}/zones", f"{queries}/zones", f"{queries}/zones/zone01/accessPoints"]


async def test_a_layout_that_never_comes_is_given_up_with_the_reason(monkeypatch: pytest.MonkeyPatch):
    async def broken(_: web.Request) -> web.Response:
        return web.Response(status=500)

    monkeypatch.setattr(location, "_LAYOUT_S", 0.5)
    async with answering(broken) as client:
        with pytest.raises(MecError, match="status 500"):
            await client.layout()


async def test_a_question_that_is_cancelled_leaves_the_client_usable():
    answers = asyncio.Event()

    async def slow(_: web.Request) -> web.Response:
        await answers.wait()
        return web.json_response({"userList": {}})

    async with answering(slow) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.user(UE)
        answers.set()
        assert (await client.user(UE)).poa is None
