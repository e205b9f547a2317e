"""A1 told of its UE by a sandbox: what it reads is true, for a tenth of the requests."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from pillion.sandbox.scenario import Technology

from .city import City, city
from .processes import UE, Answer, AppProcess

SUBSCRIPTIONS = "rni/v2/subscriptions"
LAP_TICKS = 225
POLL_S = 0.02
NAME = "app-a1"


@pytest.fixture
async def monaco() -> AsyncIterator[City]:
    async with city() as made:
        yield made


def a1_process(monaco: City, name: str = NAME, **env: str) -> AppProcess:
    """An A1 that subscribes, if it is not told to poll: it checks as rarely as it does by default beside its polls."""
    a1 = AppProcess("a1", A1_RNIS_URL=f"{monaco.url}/rni/v2", A1_POLL_S=str(POLL_S), A1_CHECK_S=str(50 * POLL_S))
    a1.env |= {"A1_SOURCE": "subscribe", "PILLION_CALLBACK_URL": monaco.callback_url(name)} | env
    monaco.reach(name, a1)
    return a1


@pytest.fixture
async def a1(monaco: City) -> AppProcess:
    """One that has subscribed, with its UE on WiFi and no question due for long."""
    await monaco.attach(poa_of(monaco, Technology.WIFI))
    app = a1_process(monaco, A1_CHECK_S="60")
    await app.start()
    await monaco.settled(app)
    return app


def poa_of(monaco: City, technology: Technology, number: int = 0) -> str:
    return [poa.id for poa in monaco.live.world.scenario.poas if poa.technology is technology][number]


def true_bearers(monaco: City) -> list[Answer]:
    user = monaco.live.world.user(UE)
    if user is None or user.erab_id is None:
        return []
    cells = {poa.id: poa.cell_id for poa in monaco.live.world.scenario.poas}
    return [{"cellId": cells[user.poa], "erabId": user.erab_id, "qci": 80}]


async def bearers_read(a1: AppProcess) -> Any:
    return (await a1.get())["last"]["bearers"]


async def release_subscribed(monaco: City, erab: int) -> list[Answer]:
    """Wait until a RabRel is subscribed to for that bearer; gives all subscriptions."""
    while True:
        there = await monaco.subscriptions(SUBSCRIPTIONS)
        if any(each["filterCriteriaQci"].get("erabId") == erab for each in there if "filterCriteriaQci" in each):
            return there
        await asyncio.sleep(0.01)


def types(subscriptions: list[Answer]) -> list[str]:
    return [each["subscriptionType"].removesuffix("Subscription") for each in subscriptions]


def established(erab: int, cell: str = "1010101", ue: str = UE) -> Answer:
    about = {"notificationType": "RabEstNotification", "associateId": [{"type": 1, "value": ue}]}
    return about | {"ecgi": {"cellId": cell}, "erabId": erab, "erabQosParameters": {"qci": 80}}


def changed(source: str, target: str) -> Answer:
    about = {"notificationType": "CellChangeNotification", "associateId": [{"type": 1, "value": UE}]}
    return about | {"srcEcgi": {"cellId": source}, "trgEcgi": [{"cellId": target}]}


def released(erab: int) -> Answer:
    about = {"notificationType": "RabRelNotification", "associateId": [{"type": 1, "value": UE}]}
    return about | {"ecgi": {"cellId": "1"}, "erabReleaseInfo": {"erabId": erab}}


async def test_a_lap_told_reads_what_a_lap_asked_reads_for_a_tenth_of_the_requests(monaco: City) -> None:
    told = a1_process(monaco, PILLION_INSTANCE="a1.told")
    asking = a1_process(monaco, "app-asking", PILLION_INSTANCE="a1.asking", A1_SOURCE="poll")
    await asyncio.gather(told.start(), asking.start())
    await monaco.settled(told)
    monaco.live.drive(True)
    begun, before = time.monotonic(), monaco.asked["a1/a1.told"]
    for _ in range(LAP_TICKS):
        await monaco.tick()
        seen = monaco.asked["a1/a1.asking"]
        while monaco.asked["a1/a1.asking"] < seen + 2:  # the first of which began after the tick, and was read
            await asyncio.sleep(POLL_S / 4)
        assert await bearers_read(asking) == true_bearers(monaco)
        await told.until(lambda answer: bool(answer["last"]["bearers"] == true_bearers(monaco)))
    lap_s, sent = time.monotonic() - begun, monaco.asked["a1/a1.told"] - before
    radio = [each for each in monaco.live.world.changes if each.ue == UE and (each.erab_id or each.previous_erab_id)]
    least = monaco.asked["a1/a1.told"]
    answers = [await app.get() for app in (told, asking)]
    # A release can come before it has been subscribed to; then it is asked for.
    assert len(radio) - 2 <= answers[0]["told"] <= len(radio)
    assert len(radio) > 10
    assert answers[0]["ignored"] > 0, "bearers of others cannot be filtered out"
    assert 10 * sent <= lap_s / POLL_S, "a tenth of what is asked by polling in that time"
    assert least <= answers[0]["asked"] <= monaco.asked["a1/a1.told"] + 2, "two can be under way"
    failed = told.said("poll failed") + told.said("subscribing failed")
    assert {line["problem"] for line in failed} <= {"TimeoutError: "}, "which a busy machine may cause"
    assert (answers[0]["seq"], set(monaco.statuses)) == (0, {204})
    assert monaco.deleted == 0
    assert len(await monaco.subscriptions(SUBSCRIPTIONS)) == 3
    for app in (told, asking):
        assert await app.stop() == 0


async def test_each_notification_is_a_reading_and_asks_nothing_but_for_the_release(
    monaco: City, a1: AppProcess
) -> None:
    assert types(await monaco.subscriptions(SUBSCRIPTIONS)) == ["CellChange", "RabEst"]
    for technology, number in (
        (Technology.FOUR_G, 0),
        (Technology.FOUR_G, 1),
        (Technology.FIVE_G, 0),
        (Technology.FOUR_G, 2),
        (Technology.WIFI, 0),
    ):
        before = await a1.get()
        await monaco.attach(poa_of(monaco, technology, number))
        after = await a1.get()
        assert after["last"]["bearers"] == true_bearers(monaco)
        assert (after["readings"] > before["readings"], after["told"] - before["told"]) == (True, 1)
        if true_bearers(monaco):
            there = await release_subscribed(monaco, true_bearers(monaco)[0]["erabId"])
            assert types(there) == ["CellChange", "RabEst", "RabRel"], "one for the release, changed for each bearer"
            await monaco.settled(a1)
    assert monaco.deleted == 0
    assert await a1.stop() == 0
    assert [line["bearers"] for line in a1.said("rab_info")][-1] == []


async def test_the_next_instance_keeps_the_subscriptions_and_one_that_was_forgotten_brings_all_back(
    monaco: City, a1: AppProcess
) -> None:
    await monaco.attach(poa_of(monaco, Technology.FOUR_G))
    before = await release_subscribed(monaco, true_bearers(monaco)[0]["erabId"])
    await a1.stop()
    await a1.start(PILLION_INSTANCE="a1.8", PILLION_EPOCH="8", A1_CHECK_S="0.2")
    await a1.until(lambda answer: bool(answer["readings"] >= 3))
    assert await monaco.subscriptions(SUBSCRIPTIONS) == before
    monaco.live.terminate()
    monaco.live.activate("monaco")
    await monaco.attach(poa_of(monaco, Technology.FOUR_G, 1))
    there = await release_subscribed(monaco, true_bearers(monaco)[0]["erabId"])
    assert sorted(types(there)) == ["CellChange", "RabEst", "RabRel"]
    await a1.until(lambda answer: bool(answer["last"]["bearers"] == true_bearers(monaco)))
    assert await a1.stop() == 0


async def test_what_does_not_follow_from_the_last_reading_is_a_reason_to_ask(monaco: City, a1: AppProcess) -> None:
    await monaco.attach(poa_of(monaco, Technology.FOUR_G))
    (bearer,) = true_bearers(monaco)
    erab, cell = bearer["erabId"], bearer["cellId"]
    await release_subscribed(monaco, erab)
    await monaco.settled(a1)
    for late in (established(erab), established(erab + 9), changed("x", "y"), released(erab + 1), released(0)):
        before = await a1.get()
        assert await monaco.tell(NAME, "rni", json.dumps(late).encode()) == 204
        after = await a1.until(lambda answer, n=before["readings"]: bool(answer["readings"] > n))  # type: ignore[misc]
        assert after["last"]["bearers"] == [bearer]
        assert after["asked"] > before["asked"]
    await monaco.attach(poa_of(monaco, Technology.WIFI))
    await monaco.tell(NAME, "rni", json.dumps(established(erab, cell)).encode())
    assert await bearers_read(a1) == [], "a bearer that was released does not come back"


async def test_an_answer_that_is_older_than_a_notification_is_not_read(monaco: City, a1: AppProcess) -> None:
    release = asyncio.Event()

    def later(request: web.Request) -> asyncio.Event | None:
        return release if "queries" in request.path else None

    monaco.before_answering = later
    asked = (await a1.get())["asked"]
    # It asks, the answer is on its way without a bearer, and then it is told of one.
    await monaco.tell(NAME, "rni", json.dumps(released(99)).encode())
    await a1.until(lambda answer: bool(answer["asked"] > asked))
    await monaco.attach(poa_of(monaco, Technology.FOUR_G))
    assert await bearers_read(a1) == true_bearers(monaco)
    release.set()
    await monaco.settled(a1)
    assert await a1.stop() == 0
    read = [line["bearers"] for line in a1.said("rab_info")]
    assert read[-1] == true_bearers(monaco)
    assert [] not in read[read.index(true_bearers(monaco)) :]


async def test_what_is_not_for_it_is_answered_and_counted(monaco: City, a1: AppProcess) -> None:
    readings = (await a1.get())["readings"]
    for told, status in (
        (established(1, ue="10.100.0.3"), 204),
        ({"notificationType": "MeasRepUeNotification"}, 400),
        ({"notificationType": "RabEstNotification"}, 400),
        ({"notificationType": ["RabEstNotification"]}, 400),
        (established(1) | {"ecgi": None}, 400),
        (established(1) | {"erabId": "1"}, 400),
        (changed("1", "2") | {"trgEcgi": []}, 400),
        (released(1) | {"erabReleaseInfo": 1}, 400),
        (released(1) | {"associateId": {"value": UE}}, 400),
        ([], 400),
    ):
        assert await monaco.tell(NAME, "rni", json.dumps(told).encode()) == status, told
    answer = await a1.get()
    assert (answer["readings"], answer["told"], answer["ignored"], answer["failures"]) == (readings, 0, 10, 0)
