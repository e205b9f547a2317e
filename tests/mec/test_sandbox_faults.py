"""A sandbox on bad days: polling and subscribing bear each fault, see nothing that was not, and go on soon after.

The sandbox runs at speed 5 and the settings are as many times shorter, so that a test takes seconds.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import aiohttp
import pytest
from aiohttp import web

from pillion.config import TrackingSettings as Settings
from pillion.core.events import (
    Event,
    HandoverCompleted,
    NotificationsLost,
    NotificationsResumed,
    TrackingLost,
    TrackingResumed,
    UeDisconnected,
)
from pillion.core.model import UeId
from pillion.mec import wire
from pillion.mec.callbacks import serve_callbacks
from pillion.mec.location import LocationClient
from pillion.mec.polling import Polling
from pillion.mec.subscribing import Subscribing, SubscribingSettings
from pillion.mec.subscriptions import SubscriptionClient
from pillion.runtime.tracking import EventSource, TrackingSettings, track
from pillion.sandbox.faults import Fault
from pillion.sandbox.server import Listening, sandbox
from pillion.server import served_at

pytestmark = pytest.mark.lab  # minutes of true time

UE = UeId("10.100.0.2")
SPEED = 5.0
TRACKING = TrackingSettings(lookahead_s=4.0, silent_s=1.0)
SUBSCRIBING = SubscribingSettings(poll_s=0.1, check_s=2.0, deaf_s=1.0, renew_s=0.3)
FAULT_S = 2.5
BACK_S = 5.0
"""Within this of the sandbox's return the UE is seen where it is."""
ANSWERS = [Fault.ERRORS, Fault.EMPTY, Fault.TRUNCATED, Fault.NAN, Fault.SILENCE]
NOTIFICATIONS = [Fault.LOST, Fault.DUPLICATE, Fault.LATE, Fault.REORDERED]


@dataclass
class Followed:
    """A UE that is followed, what was put, and when."""

    listening: Listening
    gateway: Gateway
    source: str
    happened: list[tuple[float, Event]] = field(default_factory=list)

    async def put(self, event: Event) -> None:
        self.happened.append((asyncio.get_running_loop().time(), event))

    @property
    def events(self) -> list[Event]:
        return [event for _, event in self.happened]

    def places(self) -> list[tuple[str, str]]:
        return [(event.poa, event.zone) for event in self.events if isinstance(event, HandoverCompleted)]

    def count(self, kind: type[Event]) -> int:
        return sum(isinstance(event, kind) for event in self.events)

    async def control(self, path: str, document: object) -> None:
        async with (
            aiohttp.ClientSession() as http,
            http.post(self.listening.control_url + path, json=document) as answer,
        ):
            assert answer.status == 200, await answer.text()

    async def sees_the_truth(self) -> float:
        """Seconds until the last handover told is the true place."""
        began_s = asyncio.get_running_loop().time()
        async with asyncio.timeout(BACK_S):
            while True:
                user = self.listening.live.world.user(UE)
                if user and self.places() and self.places()[-1] == (user.poa, user.zone):
                    return asyncio.get_running_loop().time() - began_s
                await asyncio.sleep(0.02)

    def nothing_was_seen_that_was_not(self) -> None:
        """Every place told is one that the UE was at, each told once, in the order in which it was there."""
        true = [(change.poa, change.zone) for change in self.listening.live.world.changes if change.ue == UE]
        rest = iter(true)
        assert all(place in rest for place in self.places()), (self.places(), true)
        assert all(one != other for one, other in pairwise(self.places()))
        assert self.count(UeDisconnected) == 0, "no UE of this drive is ever out of coverage"


class Gateway:
    """What Apache is in the lab: one address for clients, whatever the sandbox is called now."""

    def __init__(self, listening: Listening) -> None:
        self._listening = listening
        self.name = listening.live.name
        self.requests = 0

    async def hand_on(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        url = f"http://{self._listening.host}:{self._listening.port}/{self.name}{request.rel_url}"
        body = await request.read()
        try:
            async with (
                aiohttp.ClientSession() as http,
                http.request(
                    request.method, url, data=body or None, headers={"User-Agent": request.headers["User-Agent"]}
                ) as answer,
            ):
                headers = {"Content-Type": answer.headers.get("Content-Type", "application/json")}
                return web.Response(status=answer.status, body=await answer.read(), headers=headers)
        except aiohttp.ClientError:
            return web.Response(status=502)


@asynccontextmanager
async def followed(source: str) -> AsyncIterator[Followed]:
    async with AsyncExitStack() as closing:
        listening = await closing.enter_async_context(sandbox(port=0, control_port=0, speed=SPEED))
        gateway = Gateway(listening)
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", gateway.hand_on)
        url = f"http://127.0.0.1:{await closing.enter_async_context(served_at(app, '127.0.0.1', 0))}"
        client = await closing.enter_async_context(LocationClient(f"{url}/location/v2", Settings().radius_m))
        events: EventSource = Polling(client, SUBSCRIBING.poll_s)
        if source == "subscribe":
            callbacks = await closing.enter_async_context(serve_callbacks("127.0.0.1", 0))
            subscriptions = await closing.enter_async_context(SubscriptionClient(url, wire.KINDS["v2"]))
            events = Subscribing(client, subscriptions, callbacks, SUBSCRIBING)
        made = Followed(listening, gateway, source)
        listening.live.drive(True)
        following = asyncio.create_task(track(UE, events, TRACKING, made.put), name="follow")
        try:
            await made.sees_the_truth()
            if source == "subscribe":
                await asyncio.sleep(1.0)
            yield made
            assert not following.done(), following.exception()
        finally:
            following.cancel()
            await asyncio.wait([following])


sources = pytest.mark.parametrize("source", ["poll", "subscribe"])


@sources
@pytest.mark.parametrize("fault", ANSWERS)
async def test_answers_of_no_use_are_borne_and_told_of_once(source: str, fault: Fault) -> None:
    async with followed(source) as ue:
        await ue.control("/faults", {"fault": fault, "seconds": FAULT_S})
        await asyncio.sleep(FAULT_S)
        await ue.sees_the_truth()
        await asyncio.sleep(0.5)
        ue.nothing_was_seen_that_was_not()
        told = Counter(type(event) for event in ue.events)
        if source == "poll":
            assert (told[TrackingLost], told[TrackingResumed]) == (1, 1)
        else:
            # Little is asked where notifications go on: the first question in vain may be late in the fault.
            assert told[TrackingLost] == told[TrackingResumed] <= 1


@pytest.mark.parametrize("fault", NOTIFICATIONS)
async def test_notifications_that_are_lost_repeated_late_or_reordered_make_no_handover_that_never_was(
    fault: Fault,
) -> None:
    async with followed("subscribe") as ue:
        await ue.control("/faults", {"fault": fault, "seconds": 8.0})
        await asyncio.sleep(8.0)
        await ue.sees_the_truth()
        ue.nothing_was_seen_that_was_not()
        assert ue.count(TrackingLost) == 0
        silences = 1 if fault in (Fault.LOST, Fault.LATE) else 0  # a delay begins with a silence
        await asyncio.sleep(1.5)
        assert ue.count(NotificationsLost) == ue.count(NotificationsResumed) == silences


@sources
async def test_a_sandbox_that_is_made_anew_under_another_name_is_followed_again(source: str) -> None:
    async with followed(source) as ue:
        before = ue.count(TrackingLost)
        await ue.control("/restart", {"name": "sbxother"})
        await asyncio.sleep(2.0)
        ue.gateway.name = "sbxother"  # what `pillion gateway point` does
        pointed_s = asyncio.get_running_loop().time()
        await ue.sees_the_truth()
        assert asyncio.get_running_loop().time() - pointed_s <= BACK_S
        ue.nothing_was_seen_that_was_not()
        assert ue.count(TrackingLost) == before + 1
        if source == "subscribe":
            async with asyncio.timeout(BACK_S):
                while ue.count(NotificationsResumed) < ue.count(NotificationsLost) or not ue.count(NotificationsLost):
                    await asyncio.sleep(0.05)
            asked = ue.gateway.requests
            await asyncio.sleep(2.0)
            assert ue.gateway.requests - asked < 2.0 / SUBSCRIBING.poll_s, "it polls no longer"
