"""Another sandbox behind the gateways: nobody who asks through one loses a request by it."""

import asyncio
import time
from importlib.resources import files
from pathlib import Path

import aiohttp
import orjson
import pytest

from pillion.experiments.http import ask_json
from pillion.lab import up
from pillion.sandbox.server import sandbox

from .conftest import Lab
from .test_migrations import A2, MEC1, home

pytestmark = pytest.mark.lab

THERE_AND_BACK = 3
RATE_HZ = 50
WITHIN_S = 1.0
_OTHER = "sbxother"
_LIMIT_S = 10.0


def without_our_vehicle(folder: Path) -> str:
    """Monaco, but for A2's vehicle, which so changes its zone in the lab's own sandbox alone."""
    file = folder / "elsewhere.json"
    scenario = (files("pillion.sandbox") / "scenarios" / "monaco.json").read_text()
    assert '"10.100.0.2"' in scenario
    file.write_text(scenario.replace('"10.100.0.2"', '"10.100.9.2"'))
    return str(file)


async def ask_on(url: str, answered: list[bool]) -> None:
    """Ask the engine's gateway, each time over a connection of its own; whether the other sandbox answered."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as http:
        while True:
            async with http.get(url) as answer:
                assert answer.status == 200
                answered.append(_OTHER in orjson.loads(await answer.read())["zoneList"]["resourceURL"])
            await asyncio.sleep(1 / RATE_HZ)


async def asked_by_a2(control_url: str) -> int:
    """How often A2 has asked the sandbox with this control plane."""
    told = await ask_json("GET", f"{control_url}/truth")
    return sum(query["agent"].startswith(f"a2/{A2}.") for query in told["queries"])


async def test_pointing_at_another_sandbox_and_back_costs_no_request(lab: Lab, tmp_path: Path) -> None:
    async with lab.engine() as driver:
        await home(lab, driver, A2, MEC1)
    app_url = f"http://{lab.settings.user_plane_address}:{lab.settings.apps[A2].port}/"
    failed = (await ask_json("GET", app_url))["errors"]
    answered: list[bool] = []
    took_s = []
    other = sandbox(
        without_our_vehicle(tmp_path), host=str(lab.settings.callback_address), port=0, control_port=0, name=_OTHER
    )
    async with other as listening:
        asking = asyncio.create_task(ask_on(f"{lab.settings.gateway_url}/location/v2/queries/zones", answered))
        try:
            for round_ in range(2 * THERE_AND_BACK):
                is_there = round_ % 2 == 0
                control = listening.control_url if is_there else lab.settings.sandbox_control_url
                asked, began_s = await asked_by_a2(control), time.monotonic()
                await up.point_gateways(
                    lab.settings, lab.state, listening.api_url if is_there else lab.settings.sandbox_url
                )
                async with asyncio.timeout(_LIMIT_S):
                    while not asking.done() and (answered[-1:] != [is_there] or await asked_by_a2(control) == asked):
                        await asyncio.sleep(0.02)
                took_s.append(time.monotonic() - began_s)
                await asyncio.sleep(0.5)
            assert not asking.done(), asking.exception()
        finally:
            asking.cancel()
            await asyncio.wait([asking])
            await up.point_gateways(lab.settings, lab.state, lab.settings.sandbox_url)
    assert (await ask_json("GET", app_url))["errors"] == failed
    assert min(took_s) <= WITHIN_S, took_s
