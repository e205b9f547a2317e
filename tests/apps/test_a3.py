"""A3's loader as it is run: a process of its own, before a real Location API and a real memcached."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from pillion.hosts.memcached import Memcached
from pillion.sandbox.server import sandbox
from pillion.server import served_at
from tests.hosts.memcached_process import memcached, needs_memcached

LOADER = Path(__file__).parents[2] / "apps" / "a3-loader" / "loader.py"
LOOPBACK = "127.0.0.1"
DEADLINE_S = 30.0
NOBODY = f"http://{LOOPBACK}:1/location/v2"


async def load(*arguments: str) -> tuple[int, str, str]:
    """Run the loader; its exit code, and what it said on stdout and stderr."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, str(LOADER), *arguments, stdout=pipe, stderr=pipe)
    async with asyncio.timeout(DEADLINE_S):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def held(port: int, *keys: str) -> list[Any]:
    """What A3 holds under these keys, as JSON; None for a key that is not there."""
    client = await Memcached.connect("a3", LOOPBACK, port, DEADLINE_S)
    items = [await client.get(key) for key in keys]
    await client.close()
    return [None if item is None else json.loads(item.value) for item in items]


@asynccontextmanager
async def location_api(answers: dict[str, object]) -> AsyncIterator[str]:
    """The base URL of a Location API that gives these answers by path, and else 404."""

    async def answer(request: web.Request) -> web.Response:
        found = answers.get(request.path.removeprefix("/location/v2/queries/"))
        if found is None:
            raise web.HTTPNotFound
        return web.json_response(found)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with served_at(app, LOOPBACK, 0) as port:
        yield f"http://{LOOPBACK}:{port}/location/v2/"


def zones(*names: str) -> dict[str, object]:
    return {"zoneList": {"zone": [{"zoneId": name} for name in names], "resourceURL": "http://x/zones"}}


def point(name: str, status: str = "Serviceable") -> dict[str, str]:
    return {"accessPointId": name, "connectionType": "Macro", "operationStatus": status}


def points(*listed: dict[str, str]) -> dict[str, object]:
    return {"accessPointList": {"accessPoint": list(listed), "zoneId": "z"}}


@needs_memcached
async def test_each_zone_of_the_city_is_stored_with_its_access_points_and_again_the_same(tmp_path: Path) -> None:
    async with (
        memcached(tmp_path) as served,
        sandbox(port=0, control_port=0, lockstep=True) as listening,
        aiohttp.ClientSession() as http,
    ):
        queries = f"{listening.api_url}/location/v2/queries"
        truth = {}
        async with http.get(f"{queries}/zones") as answer:
            names = [zone["zoneId"] for zone in (await answer.json())["zoneList"]["zone"]]
        for name in names:
            async with http.get(f"{queries}/zones/{name}/accessPoints") as answer:
                truth[f"zone:{name}"] = (await answer.json())["accessPointList"]["accessPoint"]
        assert len(names) > 2
        for _ in range(2):
            code, out, err = await load(f"{listening.api_url}/location/v2", f"{LOOPBACK}:{served.port}")
            assert (code, err) == (0, "")
            assert json.loads(out) == {"zones": {key.removeprefix("zone:"): len(found) for key, found in truth.items()}}
            assert await held(served.port, *truth) == list(truth.values())


@needs_memcached
async def test_only_serviceable_access_points_are_usable_and_a_zone_may_have_none(tmp_path: Path) -> None:
    answers = {
        "zones": zones("z1", "z2", "z3"),
        "zones/z1/accessPoints": points(point("a"), point("b", "Unserviceable"), point("c", "Unknown"), point("d")),
        "zones/z2/accessPoints": points(),
        "zones/z3/accessPoints": {"accessPointList": {"zoneId": "z3"}},  # absent when empty
    }
    async with memcached(tmp_path) as served, location_api(answers) as url:
        code, _, err = await load(url, f"{LOOPBACK}:{served.port}")
        assert (code, err) == (0, "")
        assert await held(served.port, "zone:z1", "zone:z2", "zone:z3") == [[point("a"), point("d")], [], []]


@needs_memcached
@pytest.mark.parametrize(
    "answers",
    [
        {},
        {"zones": []},
        {"zones": {"zoneList": {"zone": "z1"}}},
        {"zones": {"zoneList": {"zone": [{"name": "z1"}]}}},
        {"zones": {"zoneList": {"zone": ["z1"]}}},
        {"zones": zones("z1")},
        {"zones": zones("z1"), "zones/z1/accessPoints": {"accessPointList": {"accessPoint": ["a"]}}},
    ],
)
async def test_an_api_that_answers_something_else_is_named_and_nothing_is_stored(
    tmp_path: Path, answers: dict[str, object]
) -> None:
    async with memcached(tmp_path) as served, location_api(answers) as url:
        code, out, err = await load(url, f"{LOOPBACK}:{served.port}")
        assert (code, out) == (4, "")
        assert err.startswith("loader: ")
        assert err.count("\n") == 1
        assert f"see that {url}" in err
        assert await held(served.port, "zone:z1") == [None]


async def test_an_a3_or_an_api_that_is_not_there_is_named() -> None:
    with socket.create_server((LOOPBACK, 0)) as unused:
        nowhere = f"{LOOPBACK}:{unused.getsockname()[1]}"
    async with location_api({"zones": zones()}) as url:
        code, _, err = await load(url, nowhere)
        assert code == 4
        assert nowhere in err
    code, _, err = await load(NOBODY, nowhere)
    assert code == 4
    assert NOBODY in err


@pytest.mark.parametrize("arguments", [(), (NOBODY,), (NOBODY, "user-plane"), (NOBODY, "a:1", "b")])
async def test_wrong_arguments_are_told_the_usage(arguments: tuple[str, ...]) -> None:
    assert await load(*arguments) == (2, "", "usage: loader.py LOCATION_URL HOST:PORT\n")
