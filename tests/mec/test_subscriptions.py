"""Subscriptions over a real port: recognised by their callback, made where they are missing, and only those removed."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

import aiohttp
import pytest

from pillion.app import event_source
from pillion.config import LabSettings
from pillion.core.model import UeId
from pillion.errors import MecError
from pillion.mec import wire
from pillion.mec.subscriptions import SubscriptionClient
from pillion.sandbox.server import Listening, sandbox

UE = UeId("10.100.0.2")
KINDS = wire.KINDS["v2"]
OURS, THEIRS = "http://127.0.0.1:9/callbacks/ours", "http://127.0.0.1:9/callbacks/theirs"


manners = pytest.mark.parametrize(
    ("kinds", "strict"), [(KINDS, False), (wire.KINDS["v3"], False), (wire.KINDS["v3"], True)]
)
"""Strict, Location v3 has 404 for a list without subscriptions."""


@asynccontextmanager
async def client(
    kinds: Sequence[wire.Kind] = KINDS, strict: bool = False
) -> AsyncIterator[tuple[Listening, SubscriptionClient]]:
    async with (
        sandbox(port=0, control_port=0, lockstep=True, strict=strict) as listening,
        SubscriptionClient(listening.api_url, kinds) as made,
    ):
        yield listening, made


async def listed(listening: Listening, kind: wire.Kind) -> list[wire.Listed]:
    url = f"{listening.api_url}/{kind.api}/{kind.path}"
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        there = wire.parse_subscription_list(await answer.read()) if answer.status != 404 else []
    return [each for each in there if each.type == kind.type]


@manners
async def test_each_kind_is_made_once_however_often_it_is_ensured(kinds: Sequence[wire.Kind], strict: bool) -> None:
    async with client(kinds, strict) as (listening, subscriptions):
        for _ in range(3):
            await subscriptions.ensure(UE, OURS)
        assert [len(await listed(listening, kind)) for kind in kinds] == [1] * len(kinds)
        assert await subscriptions.missing(OURS) == []
        assert await subscriptions.missing(THEIRS) == list(kinds)


@manners
async def test_what_is_missing_alone_is_made(kinds: Sequence[wire.Kind], strict: bool) -> None:
    async with client(kinds, strict) as (listening, subscriptions):
        await subscriptions.ensure(UE, OURS)
        async with aiohttp.ClientSession() as http, http.delete((await listed(listening, kinds[0]))[0].url) as answer:
            assert answer.status == 204
        assert await subscriptions.missing(OURS) == [kinds[0]]
        await subscriptions.ensure(UE, OURS)
        assert await subscriptions.missing(OURS) == []


@manners
async def test_only_ones_own_are_removed_though_ids_are_used_again_after_a_restart(
    kinds: Sequence[wire.Kind], strict: bool
) -> None:
    async with client(kinds, strict) as (listening, subscriptions):
        await subscriptions.ensure(UE, OURS)
        listening.live.restart(listening.live.name)
        await subscriptions.ensure(UE, THEIRS)  # these have the ids that ours had
        await subscriptions.remove(UE, OURS)
        assert await subscriptions.missing(THEIRS) == []
        await subscriptions.remove(UE, THEIRS)
        assert [await listed(listening, kind) for kind in kinds] == [[]] * len(kinds)


@pytest.mark.parametrize("version", wire.KINDS)
async def test_what_is_subscribed_to_is_of_the_lab_file_s_version(version: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with client() as (listening, _):
        lab = LabSettings.model_validate(
            {
                "lab": "test",
                "hosts": {"mec1": {"address": "10.77.0.11"}},
                "placement": {"default": "mec1"},
                "gateway": listening.api_url,
                "sandbox": {"location": version},
                "tracking": {"source": "subscribe"},
                "callbacks": {"listen": "127.0.0.1", "port": port, "url": f"http://127.0.0.1:{port}/callbacks"},
            }
        )
        async with event_source(lab) as source, aclosing(source.follow(UE)) as sightings, asyncio.timeout(20):
            await anext(sightings)
            while not all([await listed(listening, kind) for kind in wire.KINDS[version]]):
                await asyncio.sleep(0.05)


async def test_a_sandbox_that_has_no_such_api_or_is_gone_is_said() -> None:
    async with client() as (listening, _), SubscriptionClient(f"{listening.api_url}x", KINDS) as elsewhere:
        with pytest.raises(MecError, match="status 404"):
            await elsewhere.ensure(UE, OURS)
    async with SubscriptionClient("http://127.0.0.1:1", KINDS) as nowhere:
        with pytest.raises(MecError, match="no answer to GET"):
            await nowhere.remove(UE, OURS)
