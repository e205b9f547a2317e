"""Subscriptions over a real port: recognised by their callback, made where they are missing, and only those removed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from pillion.core.model import UeId
from pillion.errors import MecError
from pillion.mec import wire
from pillion.mec.subscriptions import SubscriptionClient
from pillion.sandbox.server import Listening, sandbox

UE = UeId("10.100.0.2")
OURS, THEIRS = "http://127.0.0.1:9/callbacks/ours", "http://127.0.0.1:9/callbacks/theirs"


@asynccontextmanager
async def client() -> AsyncIterator[tuple[Listening, SubscriptionClient]]:
    async with (
        sandbox(port=0, control_port=0, lockstep=True) as listening,
        SubscriptionClient(listening.api_url) as made,
    ):
        yield listening, made


async def listed(listening: Listening, kind: wire.Kind) -> list[wire.Listed]:
    url = f"{listening.api_url}/{kind.api}/{kind.path}"
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        return [each for each in wire.parse_subscription_list(await answer.read()) if each.type == kind.type]


async def test_each_kind_is_made_once_however_often_it_is_ensured() -> None:
    async with client() as (listening, subscriptions):
        for _ in range(3):
            await subscriptions.ensure(UE, OURS)
        assert [len(await listed(listening, kind)) for kind in wire.KINDS] == [1] * len(wire.KINDS)
        assert await subscriptions.missing(OURS) == []
        assert await subscriptions.missing(THEIRS) == list(wire.KINDS)


async def test_what_is_missing_alone_is_made() -> None:
    async with client() as (listening, subscriptions):
        await subscriptions.ensure(UE, OURS)
        kind = wire.KINDS[0]
        async with aiohttp.ClientSession() as http, http.delete((await listed(listening, kind))[0].url) as answer:
            assert answer.status == 204
        assert await subscriptions.missing(OURS) == [kind]
        await subscriptions.ensure(UE, OURS)
        assert await subscriptions.missing(OURS) == []


async def test_only_ones_own_are_removed_though_ids_are_used_again_after_a_restart() -> None:
    async with client() as (listening, subscriptions):
        await subscriptions.ensure(UE, OURS)
        listening.live.restart(listening.live.name)
        await subscriptions.ensure(UE, THEIRS)  # these have the ids that ours had
        await subscriptions.remove(UE, OURS)
        assert await subscriptions.missing(THEIRS) == []
        await subscriptions.remove(UE, THEIRS)
        assert [await listed(listening, kind) for kind in wire.KINDS] == [[]] * len(wire.KINDS)


async def test_a_sandbox_that_has_no_such_api_or_is_gone_is_said() -> None:
    async with client() as (listening, _), SubscriptionClient(f"{listening.api_url}x") as elsewhere:
        with pytest.raises(MecError, match="status 404"):
            await elsewhere.ensure(UE, OURS)
    async with SubscriptionClient("http://127.0.0.1:1") as nowhere:
        with pytest.raises(MecError, match="no answer to GET"):
            await nowhere.remove(UE, OURS)
