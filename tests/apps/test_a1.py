"""A1 as its UE, its RNIS and the engine meet it: a real process, real sockets."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from statistics import median

import pytest
from aiohttp import web

from pillion.sandbox.scenario import Technology
from pillion.sandbox.server import sandbox

from .processes import APPS, UE, Answer, AppProcess, MecApi

QOS: Answer = {"qci": 80}


def rab_info(*cells: Answer) -> Answer:
    """An answer as the sandbox gives it: without `cellUserInfo` where nobody has a bearer."""
    head = {"appInstanceId": "", "requestId": "1", "timeStamp": {"nanoSeconds": 0, "seconds": 1}}
    return head | ({"cellUserInfo": list(cells)} if cells else {})


def cell(name: str, *ues: tuple[str, int]) -> Answer:
    """A cell with UEs and their bearers."""
    about = [
        {"associateId": [{"type": 1, "value": ue}], "erabInfo": [{"erabId": erab, "erabQosParameters": QOS}]}
        for ue, erab in ues
    ]
    return {"ecgi": {"cellId": name, "plmn": {"mcc": "001", "mnc": "001"}}, "ueInfo": about}


class Rnis(MecApi):
    """An RNIS that lists `cells`."""

    def __init__(self) -> None:
        super().__init__("/rni/v2/queries/rab_info", "ue_ipv4_address")
        self.cells = [cell("1010101", (UE, 7))]

    def told(self, ue: str) -> Answer:
        return rab_info(*self.cells)


@pytest.fixture
async def rnis() -> AsyncIterator[Rnis]:
    api = Rnis()
    async with api.serving():
        yield api


def a1_process(url: str) -> AppProcess:
    return AppProcess("a1", A1_RNIS_URL=url, A1_POLL_S="0.02")


@pytest.fixture
async def a1(rnis: Rnis) -> AsyncIterator[AppProcess]:
    app = a1_process(rnis.url)
    await app.start()
    yield app
    if app.process.returncode is None:
        await app.stop(signal.SIGKILL)


async def has_read(a1: AppProcess, readings: int) -> Answer:
    return await a1.until(lambda answer: bool(answer["readings"] >= readings))


async def next_reading(a1: AppProcess) -> Answer:
    """The answer once a request that began after this call has been read."""
    return await has_read(a1, (await a1.get())["readings"] + 2)


async def test_each_reading_is_counted_logged_and_the_last_one_told(a1: AppProcess, rnis: Rnis) -> None:
    first = await has_read(a1, 3)
    bearer = {"cellId": "1010101", "erabId": 7, "qci": 80}
    counts = {"asked", "told", "ignored"}
    assert set(first) == {"instance", "epoch", "seq", "readings", "failures", "last"} | counts
    assert (first["instance"], first["epoch"], first["failures"]) == ("a1.7", 7, 0)
    assert first["last"]["bearers"] == [bearer]
    rnis.cells = [cell("2020202", ("10.1.0.9", 8), (UE, 9))]
    last = await next_reading(a1)
    assert last["last"]["bearers"] == [{"cellId": "2020202", "erabId": 9, "qci": 80}], "another UE's bearer is not ours"
    assert last["last"]["at"] > first["last"]["at"]
    assert await a1.stop() == 0
    logged = a1.said("rab_info")
    assert [line["readings"] for line in logged] == list(range(1, len(logged) + 1))
    assert len(rnis.asked) - 1 <= len(logged) <= len(rnis.asked), "the last request can be under way at the end"
    assert logged[0]["bearers"] == [bearer]


@pytest.mark.parametrize("empty", [{}, {"cellUserInfo": []}], ids=["left-out", "empty"])
async def test_a_ue_without_a_bearer_is_a_reading_and_no_failure(
    a1: AppProcess, rnis: Rnis, empty: dict[str, object]
) -> None:
    await has_read(a1, 1)
    rnis.answer = lambda: web.json_response(rab_info() | empty)
    answer = await next_reading(a1)
    assert (answer["last"]["bearers"], answer["failures"]) == ([], 0)


@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.Response(status=404),
        lambda: web.Response(status=500),
        lambda: web.Response(status=302, headers={"Location": "/elsewhere"}),
        lambda: web.Response(body=b""),
        lambda: web.Response(text='{"requestId": "1", "cellUser'),
        lambda: web.Response(body=b"\xff\xfe\x00"),
        lambda: web.json_response(None),
        lambda: web.json_response([]),
        lambda: web.json_response({}),
        lambda: web.json_response(rab_info() | {"cellUserInfo": None}),
        lambda: web.json_response(rab_info() | {"cellUserInfo": cell("1", (UE, 7))}),
        lambda: web.json_response(rab_info({"ecgi": {"cellId": "1"}})),
        lambda: web.json_response(rab_info(cell("1") | {"ueInfo": ["nobody"]})),
        lambda: web.json_response(rab_info(cell("1") | {"ueInfo": [{"associateId": [{"type": 1, "value": UE}]}]})),
        lambda: web.json_response(rab_info(cell("1", (UE, "7")))),  # type: ignore[arg-type]
    ],
    ids=[
        *("404", "500", "302", "empty", "cut", "no-text", "null", "array", "no-rab-info"),
        *("cells-null", "cells-no-array", "no-ues", "ue-no-object", "ue-without-bearers", "id-no-number"),
    ],
)
async def test_an_rnis_that_answers_nonsense_is_counted_said_once_and_outlived(
    a1: AppProcess, rnis: Rnis, answer: Callable[[], web.Response]
) -> None:
    await has_read(a1, 1)
    rnis.answer = answer
    failed = await a1.until(lambda a: bool(a["failures"] >= 4))
    assert failed["last"]["bearers"] == [{"cellId": "1010101", "erabId": 7, "qci": 80}], "the last one it could read"
    rnis.answer = None
    assert (await next_reading(a1))["readings"] >= failed["readings"] + 2
    await a1.stop()
    assert len(a1.said("poll failed")) == 1


async def test_an_outage_is_outlived_and_said_again_only_after_it_had_ended(rnis: Rnis) -> None:
    api = Rnis()
    async with api.serving():
        a1 = a1_process(api.url)
        await a1.start()
        await has_read(a1, 1)
    for outage in (1, 2):
        failures = (await a1.get())["failures"]
        await a1.until(lambda answer, before=failures: bool(answer["failures"] >= before + 4))  # type: ignore[misc]
        refused = [line for line in a1.said("poll failed") if "ClientConnectorError" in line["problem"]]
        assert len(refused) == outage
        async with api.serving(int(api.url.split(":")[2].split("/")[0])):
            await next_reading(a1)
    assert await a1.stop() == 0


async def test_kinds_of_failure_that_take_turns_are_said_once_each(a1: AppProcess, rnis: Rnis) -> None:
    await has_read(a1, 1)
    rnis.answer = lambda: web.Response(status=500 if len(rnis.asked) % 2 else 404)
    await a1.until(lambda answer: bool(answer["failures"] >= 6))
    await a1.stop()
    assert sorted(line["problem"][-3:] for line in a1.said("poll failed")) == ["404", "500"]


async def test_without_a_setting_it_reads_every_100_ms_for_its_ue(rnis: Rnis) -> None:
    a1 = a1_process(rnis.url)
    del a1.env["A1_POLL_S"]
    await a1.start()
    await rnis.polled(20)
    await a1.stop()
    assert {(agent, ue) for _, agent, ue in rnis.asked} == {("a1/a1.7", UE)}
    instants = [at for at, _, _ in rnis.asked]
    # Late ones are a busy machine's; a late one and the next are as much too far apart as too close.
    assert median(later - earlier for earlier, later in pairwise(instants)) == pytest.approx(0.1, abs=0.02)


async def test_it_reads_what_the_sandbox_tells_of_its_ue() -> None:
    async with sandbox(port=0, control_port=0, lockstep=True) as listening:
        live = listening.live
        live.drive(True)
        live.tick(1.0)
        poas = {poa.id: poa for poa in live.world.scenario.poas}
        on_4g, elsewhere = (
            next(user for user in live.world.users() if (poas[user.poa].technology is Technology.FOUR_G) is wanted)
            for wanted in (True, False)
        )
        for user, bearers in (
            (on_4g, [{"cellId": poas[on_4g.poa].cell_id, "erabId": on_4g.erab_id, "qci": 80}]),
            (elsewhere, []),
        ):
            a1 = a1_process(f"{listening.api_url}/rni/v2")
            await a1.start(PILLION_UE=user.ue)
            answer = await has_read(a1, 1)
            assert await a1.stop() == 0
            assert (answer["last"]["bearers"], answer["failures"]) == (bearers, 0)


async def test_it_is_ready_with_number_0_and_a_start_begins_anew(a1: AppProcess, rnis: Rnis) -> None:
    assert await a1.get("/ready") == {"instance": "a1.7", "epoch": 7, "seq": 0}
    await has_read(a1, 2)
    assert (await a1.get("/ready"))["seq"] == 0
    assert await a1.stop() == 0
    assert a1.lines[-1]["event"] == "end"
    rnis.delay_s = 1.0
    await a1.start(PILLION_INSTANCE="a1.8", PILLION_EPOCH="8")
    answer = await a1.get()
    assert answer.pop("asked") <= 1
    nothing = {"readings": 0, "failures": 0, "told": 0, "ignored": 0, "last": None}
    assert answer == {"instance": "a1.8", "epoch": 8, "seq": 0} | nothing


async def test_anything_else_is_not_found(a1: AppProcess) -> None:
    for path in ("/nothing", "/ready/", "/state"):
        async with a1.client.get(a1.url + path) as answer:
            assert answer.status == 404
    async with a1.client.post(a1.url + "/", json={}) as answer:
        assert answer.status == 404
    assert (await a1.get("/ready"))["epoch"] == 7


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"PILLION_INSTANCE": ""}, "PILLION_INSTANCE"),
        ({"PILLION_PORT": "70000"}, "PILLION_PORT"),
        ({"A1_POLL_S": "0"}, "A1_POLL_S"),
        ({"A1_CHECK_S": "inf"}, "A1_CHECK_S"),
        ({"A1_SOURCE": "told"}, "A1_SOURCE"),
        ({"A1_SOURCE": "subscribe"}, "PILLION_CALLBACK_URL"),
        ({"A1_RNIS_URL": "gateway-app"}, "A1_RNIS_URL"),
    ],
)
async def test_a_wrong_environment_is_named_and_refused(changes: dict[str, str], names: str) -> None:
    code, said = await a1_process("http://127.0.0.1:9/").refused(**changes)
    assert code == 2
    assert names in said["problem"]


@pytest.mark.parametrize("app", ["a1", "a2"])
async def test_what_an_app_imports_at_its_start_is_little(app: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-c",
            f"import sys; before = set(sys.modules); import {app}; print(*set(sys.modules) - before)",
        ),
        stdout=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": f"{APPS / app}:{APPS / 'common'}"},
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    assert not {"aiohttp", "asyncio", "typing", "logging", "http"} & set(output.decode().split())


async def test_an_empty_400_is_outlived(a1: AppProcess, rnis: Rnis) -> None:
    await has_read(a1, 1)
    rnis.answer = lambda: web.Response(status=400)
    await a1.until(lambda answer: bool(answer["failures"] >= 4))
    rnis.answer = None
    await next_reading(a1)


async def test_a_service_that_hangs_is_given_up_and_asked_again(a1: AppProcess, rnis: Rnis) -> None:
    await has_read(a1, 1)
    rnis.delay_s = 3.0  # longer than A1 waits for an answer
    await a1.until(lambda answer: bool(answer["failures"] >= 1))
    rnis.delay_s = 0.0
    await next_reading(a1)
    assert await a1.stop() == 0
    assert [line["problem"].partition(":")[0] for line in a1.said("poll failed")] == ["TimeoutError"]


async def test_sigterm_ends_it_at_once_in_the_midst_of_a_reading(a1: AppProcess, rnis: Rnis) -> None:
    await has_read(a1, 1)
    rnis.delay_s = 1.0
    await rnis.polled(len(rnis.asked) + 1)
    begun = time.monotonic()
    assert await a1.stop(signal.SIGTERM) == 0
    assert time.monotonic() - begun < 0.5, "the reading under way takes a second"


async def test_a_port_that_is_taken_is_said(a1: AppProcess) -> None:
    code, said = await a1_process("http://127.0.0.1:9/").refused(PILLION_PORT=a1.url.rpartition(":")[2])
    assert (code, said["event"]) == (1, "cannot listen")
