"""A2 told of its UE by a sandbox: the counter is what a client that polls would count, for a tenth of the requests."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from pillion.experiments.drive import zone_changes_at_request_times
from pillion.sandbox.scenario import Poa

from .city import City, city
from .processes import DEADLINE_S, UE
from .test_a2 import A2Process

TRACKING = "location/v2/subscriptions/userTracking"
AT = {"v2": TRACKING, "v3": "location/v3/subscriptions/users"}
"""Where each version of the Location API keeps A2's subscription."""
LAP_TICKS = 225
POLL_S = 0.02


@pytest.fixture
async def monaco() -> AsyncIterator[City]:
    async with city() as made:
        yield made


def subscribing(monaco: City, folder: Path, version: str = "v2", **env: str) -> A2Process:
    """An A2 that subscribes: all ten times as quick as it is by default."""
    folder.mkdir(exist_ok=True)
    a2 = A2Process(folder, f"{monaco.url}/location/{version}")
    callback = {"A2_SOURCE": "subscribe", "PILLION_CALLBACK_URL": monaco.callback_url("app-a2")}
    a2.env |= {"A2_POLL_S": str(POLL_S), "A2_CHECK_S": str(25 * POLL_S)} | callback | env
    monaco.reach("app-a2", a2)
    return a2


@pytest.fixture
async def a2(monaco: City, tmp_path: Path) -> A2Process:
    """One that has subscribed, with its UE in the first zone and no question due for long."""
    app = subscribing(monaco, tmp_path, A2_CHECK_S="60")
    await monaco.attach(poa_of(monaco, 0))
    await app.start()
    await monaco.settled(app)
    return app


def zones(monaco: City) -> list[str]:
    return list(monaco.live.world.scenario.zones)


def poa_of(monaco: City, zone: int) -> str:
    """A POA of the zone with that number."""
    found: Poa = next(poa for poa in monaco.live.world.scenario.poas if poa.zone == zones(monaco)[zone])
    return found.id


def truth(monaco: City, agent: str) -> int:
    """What A2 must have counted: the zones at the instants when it asked."""
    queries = [told for told in monaco.live.queries if told.agent == agent]
    changes = [change for change in monaco.live.world.changes if change.ue == UE]
    return zone_changes_at_request_times(
        {
            "changes": [{"monotonic_s": each.monotonic_s, "zone": each.zone} for each in changes],
            "queries": [{"monotonic_s": each.monotonic_s, "agent": each.agent} for each in queries],
        }
    )


def entering(zone: str, ue: str = UE, event: str = "Entering") -> bytes:
    told = {"address": ue, "currentAccessPointId": "p", "userEventType": event, "zoneId": zone}
    return json.dumps({"zonalPresenceNotification": told}).encode()


@pytest.mark.parametrize("version", AT)
async def test_a_lap_told_gives_the_same_counter_as_a_lap_asked_for_a_tenth_of_the_requests(
    monaco: City, tmp_path: Path, version: str
) -> None:
    told = subscribing(monaco, tmp_path / "told", version, PILLION_INSTANCE="a2.told")
    (tmp_path / "asking").mkdir()
    asking = A2Process(tmp_path / "asking", f"{monaco.url}/location/v2")
    asking.env |= {"A2_POLL_S": str(POLL_S), "PILLION_INSTANCE": "a2.asking"}
    monaco.reach("app-asking", asking)
    await asyncio.gather(told.start(), asking.start())
    await monaco.settled(told)
    monaco.live.drive(True)
    begun, before = time.monotonic(), monaco.asked["a2/a2.told"]
    for _ in range(LAP_TICKS):
        await monaco.tick()
        seen = monaco.asked["a2/a2.asking"]
        while monaco.asked["a2/a2.asking"] < seen + 2:  # the first of which began after the tick, and was counted
            await asyncio.sleep(POLL_S / 4)
    lap_s, sent = time.monotonic() - begun, monaco.asked["a2/a2.told"] - before
    true = 1 + sum(
        each.zone != each.previous_zone for each in monaco.live.world.changes if each.ue == UE and each.tick > 1
    )
    least = monaco.asked["a2/a2.told"]
    answers = [await app.get() for app in (told, asking)]
    assert [answer["counter"] for answer in answers] == [true, true]
    assert true >= 4
    assert [truth(monaco, f"a2/{app}") for app in ("a2.told", "a2.asking")] == [true, true]
    assert 10 * sent <= lap_s / POLL_S, "a tenth of what is asked by polling in that time"
    assert least <= answers[0]["asked"] <= monaco.asked["a2/a2.told"] + 2, "two can be under way"
    assert answers[0]["told"] == true
    failed = told.said("poll failed") + told.said("subscribing failed")
    assert {line["problem"] for line in failed} <= {"TimeoutError: "}, "which a busy machine may cause"
    assert (answers[0]["ignored"], set(monaco.statuses)) == (0, {204})
    for app in (told, asking):
        assert await app.stop() == 0


async def test_a_zone_is_counted_and_on_disk_when_its_notification_has_been_answered(
    monaco: City, a2: A2Process
) -> None:
    for number, zone in enumerate([1, 2, 0], start=2):
        await monaco.attach(poa_of(monaco, zone))
        assert monaco.statuses[-1] == 204
        assert a2.state(a2.own)["counter"] == number
        assert (await a2.get())["zone"] == zones(monaco)[zone]


@pytest.mark.parametrize("version", AT)
async def test_the_next_instance_finds_the_subscription_of_the_one_before_and_keeps_it(
    monaco: City, tmp_path: Path, version: str
) -> None:
    a2 = subscribing(monaco, tmp_path, version, A2_CHECK_S="60")
    await monaco.attach(poa_of(monaco, 0))
    await a2.start()
    await monaco.settled(a2)
    before = await monaco.subscriptions(AT[version])
    assert len(before) == 1
    await monaco.attach(poa_of(monaco, 1))
    await a2.stop(signal.SIGKILL)
    await monaco.attach(poa_of(monaco, 2))
    await a2.start(PILLION_INSTANCE="a2.8", PILLION_EPOCH="8")
    await a2.counted(3)
    await monaco.settled(a2)
    assert await monaco.subscriptions(AT[version]) == before
    await monaco.attach(poa_of(monaco, 0))
    assert (await a2.get())["counter"] == 4
    assert await a2.stop() == 0
    assert (await monaco.subscriptions(AT[version]), monaco.deleted) == (before, 0)


async def test_a_subscription_of_the_same_name_for_another_ue_is_changed_and_those_of_others_are_not(
    monaco: City, tmp_path: Path
) -> None:
    def tracking(ue: str, callback: str) -> dict[str, Any]:
        return {"userTrackingSubscription": {"address": ue, "callbackReference": {"notifyURL": callback}}}

    mine = f"{monaco.callback_url('app-a2')}/location"
    for ue, callback in ((UE, "http://127.0.0.1:9/engine"), ("10.100.0.3", mine)):
        await monaco.api("POST", TRACKING, tracking(ue, callback))
    a2 = subscribing(monaco, tmp_path)
    await a2.start()
    await monaco.settled(a2)
    there = [(each["address"], each["callbackReference"]["notifyURL"]) for each in await monaco.subscriptions(TRACKING)]
    assert there == [(UE, "http://127.0.0.1:9/engine"), (UE, mine)]
    assert await a2.stop() == 0


async def test_a_sandbox_that_has_forgotten_everything_is_tracked_again_within_five_seconds(
    monaco: City, tmp_path: Path
) -> None:
    a2 = subscribing(monaco, tmp_path, A2_CHECK_S="5")
    await monaco.attach(poa_of(monaco, 0))
    await a2.start()
    await a2.counted(1)
    await monaco.settled(a2)
    monaco.live.terminate()
    monaco.live.activate("monaco")
    forgotten = time.monotonic()
    # Somebody else is quicker, and has the id that was A2's.
    other = {"address": "10.100.0.3", "callbackReference": {"notifyURL": "http://127.0.0.1:9/other"}}
    await monaco.api("POST", TRACKING, {"userTrackingSubscription": other})
    await monaco.attach(poa_of(monaco, 1))
    await a2.counted(2)
    async with asyncio.timeout(DEADLINE_S):
        while len(await monaco.subscriptions(TRACKING)) < 2:
            await asyncio.sleep(0.02)
    assert time.monotonic() - forgotten < 6.0, "five seconds, and what a busy machine adds"
    await monaco.settled(a2)
    await monaco.attach(poa_of(monaco, 2))
    assert (await a2.get())["counter"] == 3
    first, second = await monaco.subscriptions(TRACKING)
    assert [first["address"], second["address"]] == ["10.100.0.3", UE]
    assert await a2.stop() == 0


async def test_notifications_late_repeated_and_in_another_order_count_nothing_that_was_not(
    monaco: City, a2: A2Process
) -> None:
    monaco.held = []
    for zone in (1, 2, 0, 2):
        await monaco.attach(poa_of(monaco, zone))
    late, monaco.held = monaco.held, None
    assert len(late) == 4
    for path, body in [*reversed(late), *late, *late]:
        assert await monaco.tell("app-a2", path, body) == 204
    answer = await a2.get()
    assert (answer["counter"], answer["zone"]) == (2, zones(monaco)[2])
    assert answer["counter"] == truth(monaco, "a2/a2.7")
    assert answer["told"] == 12
    asked = answer["asked"]
    await monaco.tell("app-a2", "location", entering(zones(monaco)[2]))
    assert (await a2.get())["asked"] == asked, "the zone that is counted is no reason to ask"


async def test_where_notifications_do_not_arrive_it_polls_until_one_does(monaco: City, tmp_path: Path) -> None:
    a2 = subscribing(monaco, tmp_path)
    await monaco.attach(poa_of(monaco, 0))
    await a2.start()
    await a2.counted(1)
    await settled_by_check(monaco, a2)
    monaco.held = []
    await monaco.attach(poa_of(monaco, 1))
    await a2.counted(2)  # by the slow poll, which finds that nobody told of it
    asked, begun = (await a2.get())["asked"], time.monotonic()
    await a2.until(lambda answer: bool(answer["asked"] >= asked + 25))
    assert time.monotonic() - begun < 25 * 25 * POLL_S / 4, "25 questions, far sooner than by slow polls"
    monaco.held = None
    await monaco.attach(poa_of(monaco, 2))
    await a2.counted(3)
    await settled_by_check(monaco, a2)
    assert await a2.stop() == 0


async def settled_by_check(monaco: City, a2: A2Process) -> None:
    """Wait until no more than the slow poll and the slow look come, for twice their interval."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            before = monaco.asked["a2/a2.7"]
            await asyncio.sleep(50 * POLL_S)
            if monaco.asked["a2/a2.7"] - before <= 5:
                return


async def test_a_zone_that_cannot_be_written_is_not_acknowledged_and_counted_once_it_can(
    monaco: City, a2: A2Process
) -> None:
    await a2.get("/changePhase?inMigration=1")
    away = a2.dv.rename(a2.dv.with_name("away"))
    await monaco.attach(poa_of(monaco, 1))
    assert monaco.statuses[-1] == 503
    answer = await a2.get()
    assert (answer["counter"], answer["told"]) == (1, 0)
    away.rename(a2.dv)
    await a2.counted(2)  # it asks again by itself
    assert a2.state(a2.dv)["counter"] == 2


async def test_a_question_that_fails_is_not_acknowledged_and_asked_again(monaco: City, a2: A2Process) -> None:
    monaco.refuses = lambda request: "queries" in request.path
    await monaco.attach(poa_of(monaco, 1))
    assert monaco.statuses[-1] == 503
    monaco.refuses = lambda _: False
    await a2.counted(2)
    await a2.stop()
    assert len(a2.said("poll failed")) == 1


async def test_a_location_api_without_subscriptions_is_polled_and_said_once(monaco: City, tmp_path: Path) -> None:
    monaco.refuses = lambda request: "subscriptions" in request.path
    a2 = subscribing(monaco, tmp_path, A2_CHECK_S="60")
    await a2.start()
    for number, zone in enumerate([0, 1, 0], start=1):
        await monaco.attach(poa_of(monaco, zone))
        await a2.counted(number)
    await a2.until(lambda answer: bool(answer["errors"] >= 2))
    monaco.refuses = lambda _: False
    await monaco.settled(a2)
    assert len(await monaco.subscriptions(TRACKING)) == 1
    assert await a2.stop() == 0
    assert len(a2.said("subscribing failed")) == 1


async def test_a_callback_under_way_holds_up_no_question_and_a_subscription_waits_for_it(
    monaco: City, a2: A2Process
) -> None:
    """As in the original, a request that subscribes waits until no callback is under way; the question must not."""
    release = asyncio.Event()

    def later(request: web.Request) -> asyncio.Event | None:
        return release if "queries" in request.path else None

    monaco.before_answering = later
    handing_over = asyncio.create_task(monaco.attach(poa_of(monaco, 1)))
    await a2.until(lambda answer: bool(answer["asked"] >= 1))
    other = {"address": UE, "callbackReference": {"notifyURL": "http://127.0.0.1:9/other"}}
    subscribed = asyncio.create_task(monaco.api("POST", TRACKING, {"userTrackingSubscription": other}))
    await asyncio.sleep(0.1)
    assert not subscribed.done()
    release.set()
    await handing_over
    await subscribed
    assert (await a2.get())["counter"] == 2


async def test_what_is_not_for_it_is_answered_and_counted(monaco: City, a2: A2Process) -> None:
    zone = zones(monaco)[1]
    for body, status in (
        (entering(zone, ue="10.100.0.3"), 204),
        (entering(zone, event="Leaving"), 204),
        (entering(""), 400),
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"[" * 60_000, 400),
        (b'{"zonalPresenceNotification": []}', 400),
        (b'{"notificationType": "RabEstNotification"}', 400),
        (b'{"userLocationEventNotification": []}', 400),
    ):
        assert await monaco.tell("app-a2", "location", body) == status, body[:80]
    answer = await a2.get()
    assert (answer["counter"], answer["told"], answer["ignored"]) == (1, 0, 10)


async def test_a_notification_of_v3_is_read_with_its_name_around_it_and_without(monaco: City, tmp_path: Path) -> None:
    a2 = subscribing(monaco, tmp_path, "v3", A2_CHECK_S="60")
    await monaco.attach(poa_of(monaco, 0))
    await a2.start()
    await monaco.settled(a2)
    (subscription,) = await monaco.subscriptions(AT["v3"])
    assert subscription["userLocationEventSubscription"]["address"] == UE
    zone = zones(monaco)[1]
    type_ = {"notificationType": "UserLocationEventNotification"}
    bare = type_ | {"address": UE, "zoneId": zone, "userLocationEvent": "ENTERING_AREA_EVENT"}
    asked = (await a2.get())["asked"]
    for number, told in enumerate((bare, {"userLocationEventNotification": bare}), start=1):
        assert await monaco.tell("app-a2", "location", json.dumps(told).encode()) == 204
        answer = await a2.get()
        assert (answer["told"], answer["asked"]) == (number, asked + number)
    left = bare | {"userLocationEvent": "LEAVING_AREA_EVENT"}
    assert await monaco.tell("app-a2", "location", json.dumps(left).encode()) == 204
    assert (await a2.get())["ignored"] == 1


async def test_an_a2_that_polls_takes_no_notifications(monaco: City, tmp_path: Path) -> None:
    a2 = subscribing(monaco, tmp_path, A2_SOURCE="poll")
    await monaco.attach(poa_of(monaco, 0))
    await a2.start()
    await a2.counted(1)
    assert await monaco.tell("app-a2", "location", entering(zones(monaco)[1])) == 404
    assert await monaco.subscriptions(TRACKING) == []
    assert (await a2.get())["told"] == 0
    assert await a2.stop() == 0
