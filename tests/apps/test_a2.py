"""A2 as its UE, its Location API and the engine meet it: a real process, real sockets, real files."""

from __future__ import annotations

import asyncio
import functools
import json
import random
import signal
import time
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest
from aiohttp import web

from .processes import UE, Answer, AppProcess, MecApi


class LocationApi(MecApi):
    """A Location API that lists the UE in `zone`."""

    def __init__(self) -> None:
        super().__init__("/location/v2/queries/users", "address")
        self.zone: str | None = "zone01"

    def told(self, ue: str) -> Answer:
        listing: dict[str, object] = {"resourceURL": "http://x/queries/users"}
        if self.zone is not None:
            listing["user"] = [{"address": ue, "zoneId": self.zone, "accessPointId": "4g-1"}]
        return {"userList": listing}


@pytest.fixture
async def api() -> AsyncIterator[LocationApi]:
    location = LocationApi()
    async with location.serving():
        yield location


class A2Process(AppProcess):
    """One instance of A2 with its two folders."""

    def __init__(self, folder: Path, location_url: str) -> None:
        self.own, self.dv = folder / "own", folder / "dv"
        self.dv.mkdir(exist_ok=True)
        folders = {"A2_OWN_DIR": str(self.own), "A2_DV_DIR": str(self.dv)}
        super().__init__("a2", A2_POLL_S="0.02", A2_LOCATION_URL=location_url, **folders)

    async def counted(self, zones: int) -> Answer:
        return await self.until(lambda answer: bool(answer["counter"] == zones))

    def state(self, folder: Path) -> Answer:
        read = json.loads((folder / "state.json").read_bytes())
        assert isinstance(read, dict)
        return read


@pytest.fixture
async def a2(tmp_path: Path, api: LocationApi) -> AsyncIterator[A2Process]:
    app = A2Process(tmp_path, api.url)
    await app.start()
    yield app
    if app.process.returncode is None:
        await app.stop(signal.SIGKILL)


def state(seq: int, counter: int, *, in_migration: bool, ue: str = UE, zone: str = "zone01") -> str:
    """A state file, valid but not laid out as A2 does it."""
    entry = {
        "seq": seq,
        "at": "2026-01-01T00:00:00.000Z",
        "event": "zone",
        "zone": zone,
        "instance": "a2.1",
        "epoch": 1,
    }
    head = {"app": "a2", "ue": ue, "seq": seq, "counter": counter, "zone": zone, "inMigration": in_migration}
    return json.dumps(head | {"log": [entry]}, indent=1)


async def test_the_first_zone_counts_as_one_and_each_change_counts_once(a2: A2Process, api: LocationApi) -> None:
    answer = await a2.counted(1)
    assert (answer["app"], answer["ue"], answer["zone"]) == ("a2", UE, "zone01")
    assert (answer["instance"], answer["epoch"], answer["inMigration"], answer["errors"]) == ("a2.7", 7, False, 0)
    for number, zone in enumerate(["zone02", "zone01", "zone04"], start=2):
        api.zone = zone
        assert (await a2.counted(number))["zone"] == zone
    await asyncio.sleep(0.2)
    last = await a2.get()
    assert (last["counter"], last["seq"]) == (4, 5)


async def test_the_log_tells_each_change_of_the_state_in_order(a2: A2Process, api: LocationApi) -> None:
    await a2.counted(1)
    await a2.get("/changePhase?inMigration=1")
    api.zone = "zone02"
    await a2.counted(2)
    everything = await a2.get("/state")
    log = everything["log"]
    assert [entry["event"] for entry in log] == ["start", "zone", "phase", "zone"]
    assert [entry["seq"] for entry in log] == [1, 2, 3, 4]
    assert [entry.get("zone") for entry in log] == [None, "zone01", None, "zone02"]
    assert all((entry["instance"], entry["epoch"]) == ("a2.7", 7) for entry in log)
    assert all(len(entry["at"]) == len("2026-11-24T22:00:00.000Z") and entry["at"].endswith("Z") for entry in log)
    assert everything["seq"] == 4
    assert a2.state(a2.dv)["log"] == log


async def test_an_unlisted_ue_has_not_changed_its_zone(a2: A2Process, api: LocationApi) -> None:
    await a2.counted(1)
    listings: list[Answer] = [{"resourceURL": "x"}, {"user": []}]
    for listing in listings:
        api.answer = functools.partial(web.json_response, {"userList": listing})
        await api.polled(len(api.asked) + 3)
    api.answer = None
    await asyncio.sleep(0.1)
    last = await a2.get()
    assert (last["counter"], last["zone"], last["errors"]) == (1, "zone01", 0)


@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.Response(status=404),
        lambda: web.Response(status=500),
        lambda: web.Response(status=302, headers={"Location": "/elsewhere"}),
        lambda: web.Response(body=b""),
        lambda: web.Response(text='{"userList": {"user": [{"addr'),
        lambda: web.Response(body=b"\xff\xfe\x00"),
        lambda: web.json_response(None),
        lambda: web.json_response({"userList": None}),
        lambda: web.json_response({"userList": {"user": {"address": UE}}}),
        lambda: web.json_response({"userList": {"user": [{"address": UE}]}}),
    ],
    ids=["404", "500", "302", "empty", "cut", "no-text", "null", "no-list", "no-array", "no-zone"],
)
async def test_a_location_api_that_answers_nonsense_is_counted_and_outlived(
    a2: A2Process, api: LocationApi, answer: Callable[[], web.Response]
) -> None:
    await a2.counted(1)
    api.answer = answer
    await a2.until(lambda a: bool(a["errors"] >= 2))
    api.answer, api.zone = None, "zone02"
    assert (await a2.counted(2))["zone"] == "zone02"


async def test_a_location_api_that_is_not_there_is_outlived(tmp_path: Path) -> None:
    a2 = A2Process(tmp_path, "http://127.0.0.1:9/location/v2")
    await a2.start()
    assert (await a2.until(lambda a: bool(a["errors"] >= 3)))["counter"] == 0
    assert await a2.stop() == 0
    assert len(a2.said("poll failed")) == 1, "a lasting error is said once, not at every poll"


async def test_polls_go_out_at_planned_instants_one_at_a_time(tmp_path: Path, api: LocationApi) -> None:
    a2 = A2Process(tmp_path, api.url)
    await a2.start(A2_POLL_S="0.1")
    api.delay_s = 0.03  # a client that waits 100 ms after each answer would drift by this much at each poll
    await api.polled(25)
    api.delay_s = 0.25  # longer than two intervals: those instants are skipped, and the next keeps its place
    await api.polled(30)
    await a2.stop()
    assert {(agent, address) for _, agent, address in api.asked} == {("a2/a2.7", UE)}
    instants = [at for at, _, _ in api.asked]
    assert all(later - earlier >= 0.25 for earlier, later in pairwise(instants[26:]))
    # A busy machine makes some of them late, not most: all fall on one grid of 100 ms.
    off_grid_s = min(median(abs((at - origin + 0.05) % 0.1 - 0.05) for at in instants) for origin in instants)
    assert off_grid_s < 0.012
    assert instants[24] - instants[0] == pytest.approx(2.4, abs=0.3)


async def test_a_restart_goes_on_where_it_was_and_does_not_count_the_zone_again(a2: A2Process) -> None:
    before = await a2.counted(1)
    assert await a2.stop() == 0
    await a2.start(PILLION_EPOCH="8", PILLION_INSTANCE="a2.8")
    ready = await a2.get("/ready")
    assert (ready["instance"], ready["epoch"]) == ("a2.8", 8)
    assert ready["seq"] >= before["seq"]
    after = await a2.until(lambda a: bool(a["seq"] == before["seq"] + 1))
    assert (after["counter"], after["zone"], after["epoch"]) == (1, "zone01", 8)


async def test_in_migration_everything_new_goes_to_the_dv_and_comes_back_after_it(
    a2: A2Process, api: LocationApi
) -> None:
    before = await a2.counted(1)
    assert a2.state(a2.own)["counter"] == 1
    assert not (a2.dv / "state.json").exists()

    begun = await a2.get("/changePhase?inMigration=1")
    assert a2.state(a2.dv)["seq"] == begun["seq"] == before["seq"] + 1
    assert (await a2.get("/changePhase?inMigration=1"))["seq"] == begun["seq"], "a repeat changes nothing"
    image = (a2.own / "state.json").read_bytes()
    api.zone = "zone02"
    assert (await a2.counted(2))["inMigration"] is True
    assert a2.state(a2.dv)["counter"] == 2
    assert (a2.own / "state.json").read_bytes() == image
    assert [path.name for path in a2.own.iterdir()] == ["state.json"]

    ended = await a2.get("/changePhase")
    assert a2.state(a2.own)["seq"] == ended["seq"]
    assert a2.state(a2.own)["counter"] == 2
    assert (await a2.get("/changePhase"))["seq"] == ended["seq"]
    left = (a2.dv / "state.json").read_bytes()
    api.zone = "zone03"
    await a2.counted(3)
    assert (a2.dv / "state.json").read_bytes() == left


async def test_an_app_moved_in_mid_migration_goes_on_in_the_dv_until_told_of_the_end(
    tmp_path: Path, a2: A2Process, api: LocationApi
) -> None:
    await a2.counted(1)
    await a2.get("/changePhase?inMigration=1")
    image = (a2.own / "state.json").read_bytes()
    api.zone = "zone02"
    await a2.counted(2)
    await a2.stop(signal.SIGKILL)

    (tmp_path / "target").mkdir()
    target = A2Process(tmp_path / "target", api.url)
    target.own.mkdir()
    (target.own / "state.json").write_bytes(image)
    (target.dv / "state.json").write_bytes((a2.dv / "state.json").read_bytes())
    await target.start(PILLION_EPOCH="8", PILLION_INSTANCE="a2.8")
    answer = await target.get()
    assert (answer["counter"], answer["inMigration"], answer["epoch"]) == (2, True, 8)
    api.zone = "zone03"
    await target.counted(3)
    assert target.state(target.dv)["counter"] == 3
    assert (target.own / "state.json").read_bytes() == image
    await target.get("/changePhase")
    assert target.state(target.own)["counter"] == 3
    assert await target.stop() == 0


@pytest.mark.parametrize(
    ("own", "dv", "counter", "in_migration", "ignored"),
    [
        (state(9, 4, in_migration=False), state(8, 3, in_migration=True), 4, False, []),
        (state(8, 3, in_migration=False), state(9, 4, in_migration=True), 4, True, []),
        (state(9, 4, in_migration=False), state(30, 9, in_migration=True)[:-20], 4, False, ["dv"]),
        ("", state(9, 4, in_migration=True), 4, True, ["own"]),
        (state(9, 4, in_migration=False), state(30, 9, in_migration=True, ue="10.1.0.9"), 4, False, ["dv"]),
        (state(9, 4, in_migration=False), '{"ue": "10.100.0.2", "seq": "30"}', 4, False, ["dv"]),
        ("\x00" * 512, "[1, 2]", 1, False, ["own", "dv"]),
    ],
    ids=["own-newer", "dv-newer", "dv-torn", "own-empty", "dv-of-another-ue", "dv-without-fields", "both-broken"],
)
async def test_a_start_goes_on_from_the_valid_state_with_the_highest_number(
    tmp_path: Path, api: LocationApi, own: str, dv: str, counter: int, in_migration: bool, ignored: list[str]
) -> None:
    a2 = A2Process(tmp_path, api.url)
    a2.own.mkdir()
    (a2.own / "state.json").write_text(own)
    (a2.dv / "state.json").write_text(dv)
    (a2.dv / ".state.json.new").write_text("left by a write that was cut")
    await a2.start()
    answer = await a2.counted(counter)
    await asyncio.sleep(0.1)
    assert (await a2.get())["counter"] == counter, "zone01 is where it was: not counted again"
    assert answer["inMigration"] is in_migration
    assert await a2.stop() == 0
    paths = [Path(line["path"]) for line in a2.said("state ignored")]
    assert [path.parent.name for path in paths] == ignored


async def test_a_dv_that_cannot_be_written_refuses_the_phase_and_the_app_goes_on(
    a2: A2Process, api: LocationApi
) -> None:
    await a2.counted(1)
    a2.dv.rmdir()
    async with a2.client.get(a2.url + "/changePhase?inMigration=1") as answer:
        assert answer.status == 503
        assert "No such file" in (await answer.json())["error"]
    api.zone = "zone02"
    assert (await a2.counted(2))["inMigration"] is False
    a2.dv.mkdir()
    await a2.get("/changePhase?inMigration=1")
    assert a2.state(a2.dv)["counter"] == 2


async def test_a_zone_that_cannot_be_written_is_told_to_nobody_and_counted_once_it_can(
    a2: A2Process, api: LocationApi
) -> None:
    await a2.counted(1)
    await a2.get("/changePhase?inMigration=1")
    away = a2.dv.rename(a2.dv.with_name("away"))
    api.zone = "zone02"
    assert (await a2.until(lambda a: bool(a["errors"] >= 2)))["counter"] == 1
    away.rename(a2.dv)
    await a2.counted(2)
    assert a2.state(a2.dv)["counter"] == 2


async def test_no_kill_at_any_moment_loses_an_acknowledged_counter(tmp_path: Path, api: LocationApi) -> None:
    chance = random.Random(20)
    a2 = A2Process(tmp_path, api.url)
    acknowledged = {"counter": 0, "seq": 0}
    served: list[str] = []

    def next_zone() -> web.Response:
        served.append(f"zone{len(served):05d}")
        return web.json_response({"userList": {"user": [{"address": UE, "zoneId": served[-1]}]}})

    api.answer = next_zone  # never the same zone twice: the counter may not pass the number of zones served
    for turn in range(20):
        await a2.start(A2_POLL_S="0.01")
        ready = await a2.get("/ready")
        assert ready["seq"] >= acknowledged["seq"]
        # The kill falls into the start, or somewhere into the writes of zones and changes of phase.
        until = acknowledged["counter"] + (chance.randint(1, 8) if turn % 2 else 0)
        kill_at = time.monotonic() + chance.uniform(0.0, 0.03 if turn % 2 else 0.3)
        while time.monotonic() < kill_at or acknowledged["counter"] < until:
            answer = await a2.get()
            for name, before in acknowledged.items():
                assert answer[name] >= before
                acknowledged[name] = answer[name]
            if chance.random() < 0.05:
                await a2.get(chance.choice(["/changePhase?inMigration=1", "/changePhase"]))
        await a2.stop(signal.SIGKILL)
        assert acknowledged["counter"] <= len(served)
    assert acknowledged["counter"] >= 10


async def test_sigterm_ends_it_at_once_with_the_state_on_disk(a2: A2Process, api: LocationApi) -> None:
    last = await a2.counted(1)
    api.delay_s = 1.0  # a poll under way must not hold it up
    await asyncio.sleep(0.1)
    begun = time.monotonic()
    assert await a2.stop() == 0
    assert time.monotonic() - begun < 0.5, "the poll under way takes a second"
    assert a2.state(a2.own)["seq"] == last["seq"]
    assert a2.lines[-1]["event"] == "end"


async def test_sigterm_while_it_is_still_starting_to_poll_ends_it_within_100_ms(
    tmp_path: Path, api: LocationApi
) -> None:
    a2, took_s = A2Process(tmp_path, api.url), []
    for _ in range(4):
        await a2.start()
        begun = time.monotonic()
        assert await a2.stop() == 0
        took_s.append(time.monotonic() - begun)
    assert min(took_s) < 0.1, took_s


async def test_many_requests_at_once_are_all_answered_while_the_phase_changes(a2: A2Process, api: LocationApi) -> None:
    await a2.counted(1)
    paths = ["/", "/ready", "/state", "/changePhase?inMigration=1", "/changePhase"] * 40
    api.zone = "zone02"
    answers = await asyncio.gather(*(a2.get(path) for path in paths))
    assert {answer["epoch"] for answer in answers} == {7}
    served = [answer["served"] for answer in answers if "served" in answer]
    assert len(set(served)) == len(served) == 40
    assert (await a2.counted(2))["served"] == max(served) + 1


async def test_anything_else_is_not_found_and_ends_no_connection_it_need_not(a2: A2Process) -> None:
    for path in ("/nothing", "/changePhase?inMigration=maybe", "/changePhase/"):
        async with a2.client.get(a2.url + path) as answer:
            assert answer.status == 404
    async with a2.client.post(a2.url + "/", json={"counter": 99}) as answer:
        assert answer.status == 404
    host, port = a2.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n" * 2 + b"GET /ready HTTP/1.0\r\n\r\n")
    assert (await reader.read()).count(b"200 OK") == 3
    writer.write(b"\x16\x03nonsense\r\n\r\n")
    writer.close()
    assert (await a2.get("/ready"))["epoch"] == 7


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"PILLION_UE": ""}, "PILLION_UE"),
        ({"PILLION_EPOCH": "seven"}, "PILLION_EPOCH"),
        ({"PILLION_EPOCH": "-1"}, "PILLION_EPOCH"),
        ({"PILLION_PORT": "70000"}, "PILLION_PORT"),
        ({"A2_POLL_S": "nan"}, "A2_POLL_S"),
        ({"A2_CHECK_S": "often"}, "A2_CHECK_S"),
        ({"A2_SOURCE": ""}, "A2_SOURCE"),
        ({"A2_SOURCE": "subscribe", "PILLION_CALLBACK_URL": "callbacks/app-a2"}, "PILLION_CALLBACK_URL"),
        ({"A2_LOCATION_URL": "gateway-app"}, "A2_LOCATION_URL"),
    ],
)
async def test_a_wrong_environment_is_named_and_refused(tmp_path: Path, changes: dict[str, str], names: str) -> None:
    code, said = await A2Process(tmp_path, "http://127.0.0.1:9/").refused(**changes)
    assert code == 2
    assert names in said["problem"]


async def test_a_write_with_a_full_log_stays_quick_and_the_log_stays_bounded(tmp_path: Path, api: LocationApi) -> None:
    a2 = A2Process(tmp_path, api.url)
    a2.own.mkdir()
    full = json.loads(state(10_000, 9000, in_migration=False, zone="zone09"))
    full["log"] = [full["log"][0] | {"seq": number} for number in range(1, 10_001)]
    (a2.own / "state.json").write_text(json.dumps(full))
    await a2.start()
    assert (await a2.counted(9001))["seq"] == 10_002
    log = a2.state(a2.own)["log"]
    assert [log[0]["seq"], log[-1]["seq"], len(log)] == [3, 10_002, 10_000]
    begun = time.monotonic()
    for path in ["/changePhase?inMigration=1", "/changePhase"] * 5:
        await a2.get(path)
    assert (time.monotonic() - begun) / 10 < 0.25, "seconds for one durable write of 1.3 MB"
    assert await a2.stop() == 0
