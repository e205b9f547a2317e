"""The control plane: start the drive, tick in lockstep, tell the truth."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from pillion.sandbox.server import Listening, sandbox

VEHICLE = "10.100.0.2"


@asynccontextmanager
async def control(lockstep: bool = True) -> AsyncIterator[tuple[Listening, aiohttp.ClientSession]]:
    async with (
        sandbox(port=0, control_port=0, lockstep=lockstep) as listening,
        aiohttp.ClientSession(listening.control_url) as http,
    ):
        yield listening, http


async def post(http: aiohttp.ClientSession, path: str, body: object = None) -> Any:
    async with http.post(path, json=body) if body is not None else http.post(path) as response:
        assert response.status == 200, await response.text()
        return await response.json()


async def get(http: aiohttp.ClientSession, path: str) -> Any:
    async with http.get(path) as response:
        assert response.status == 200
        return await response.json()


async def ask(listening: Listening, query: str, agent: str) -> None:
    url = f"{listening.api_url}/location/v2/queries/users?{query}"
    async with aiohttp.ClientSession() as http, http.get(url, headers={"User-Agent": agent}) as response:
        assert response.status == 200


async def test_a_sandbox_says_that_it_is_healthy_and_which_it_is() -> None:
    async with control() as (_, http):
        assert await get(http, "/health") == {"status": "ok", "sandbox": "sbxpillion", "scenario": "monaco"}


async def test_a_drive_is_started_paused_and_goes_on() -> None:
    async with control() as (_, http):
        assert await get(http, "/drive") == {"running": False, "tick": 0, "simulated_s": 0.0, "speed": 1.0}
        assert (await post(http, "/drive"))["running"] is True
        assert (await post(http, "/tick", {"dt_s": 0.5, "count": 4}))["simulated_s"] == 2.0
        assert (await post(http, "/drive", {"running": False}))["running"] is False
        assert (await post(http, "/tick"))["simulated_s"] == 2.0
        assert (await post(http, "/drive", {"running": True}))["running"] is True
        assert await post(http, "/tick") == {"running": True, "tick": 6, "simulated_s": 3.0, "speed": 1.0}


async def test_the_truth_has_every_handover_and_can_be_asked_of_one_ue() -> None:
    async with control() as (listening, http):
        await post(http, "/drive")
        await post(http, "/tick", {"count": 40})
        truth = await get(http, "/truth")
        assert {change["ue"] for change in truth["changes"]} == {ue.id for ue in listening.live.world.scenario.ues}
        assert truth["dropped"] == {"changes": 0, "queries": 0}
        of_one = (await get(http, f"/truth?ue={VEHICLE}"))["changes"]
        assert of_one == [change for change in truth["changes"] if change["ue"] == VEHICLE]
        first = of_one[0]
        assert first == {
            "tick": 1,
            "simulated_s": 1.0,
            "monotonic_s": first["monotonic_s"],
            "ue": VEHICLE,
            "poa": "5g-small-cell-9",
            "zone": "zone02",
            "previous_poa": None,
            "previous_zone": None,
            "erab_id": None,
            "previous_erab_id": None,
        }


async def test_the_truth_says_what_each_app_was_told_when_it_asked_for_one_ue() -> None:
    async with control() as (listening, http):
        await ask(listening, f"address={VEHICLE}", "early/1")
        await post(http, "/drive")
        await post(http, "/tick")
        await ask(listening, f"address={VEHICLE}", "a2/1")
        await ask(listening, f"address={VEHICLE}&address=10.100.0.1", "two/1")
        await ask(listening, "zoneId=zone02", "none/1")
        await ask(listening, "address=10.100.0.1", "a2/1")
        queries = (await get(http, f"/truth?ue={VEHICLE}"))["queries"]
        assert [(q["tick"], q["agent"], q["ue"], q["zone"], q["poa"]) for q in queries] == [
            (0, "early/1", VEHICLE, None, None),
            (1, "a2/1", VEHICLE, "zone02", "5g-small-cell-9"),
        ]
        assert len((await get(http, "/truth"))["queries"]) == 3


async def test_the_api_s_port_does_not_tell_the_truth() -> None:
    async with control() as (listening, _), aiohttp.ClientSession() as http:
        for path in ("truth", "drive", "health", f"{listening.live.name}/truth"):
            async with http.get(f"http://127.0.0.1:{listening.port}/{path}") as response:
                assert response.status == 404


async def test_only_a_sandbox_in_lockstep_can_be_ticked() -> None:
    async with control(lockstep=False) as (_, http), http.post("/tick") as response:
        assert response.status == 404


@pytest.mark.parametrize(
    ("path", "body", "remedy"),
    [
        ("/drive", b'{"running": "yes"}', "true or false"),
        ("/drive", b"[]", "JSON object"),
        ("/drive", b"{", "JSON object"),
        ("/tick", b'{"dt_s": -1}', "0 or more"),
        ("/tick", b'{"dt_s": true}', "0 or more"),
        ("/tick", b'{"count": 0}', "from 1 to"),
        ("/tick", b'{"count": 1.5}', "from 1 to"),
    ],
)
async def test_a_wrong_order_is_refused_with_what_it_should_be(path: str, body: bytes, remedy: str) -> None:
    async with control() as (listening, http), http.post(path, data=body) as response:
        assert response.status == 400
        assert remedy in await response.text()
        assert listening.live.world.ticks == 0
