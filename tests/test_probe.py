"""The probe against a real server on loopback that answers, stalls, refuses and breaks off as told."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from pillion.core.measures import ProbeSummary, summarise
from pillion.probe import main, probe, read_samples
from pillion.server import served_at

ENGINE = Path(__file__).parents[1] / "engine"


@pytest.fixture(autouse=True)
def no_pause_of_others_making() -> Iterator[None]:
    """A full collection over all that a whole run of tests has left takes some 0.4 s, just when time is measured."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


class App:
    """An app that serves as epoch 1, can be held and released as epoch 2, or be told to answer otherwise."""

    def __init__(self) -> None:
        self.epoch, self.requests = 1, 0
        self.serves, self.arrived = asyncio.Event(), asyncio.Event()
        self.serves.set()
        self.response: web.Response | None = None
        self.url = ""

    async def asked(self, times: int) -> None:
        """Return when it has had `times` requests."""
        while self.requests < times:
            self.arrived.clear()
            await self.arrived.wait()

    async def answer(self, request: web.Request) -> web.Response:
        self.requests += 1
        self.arrived.set()
        await self.serves.wait()
        told = {"instance": f"a2.{self.epoch}", "epoch": self.epoch, "seq": self.requests, "counter": self.epoch}
        return web.json_response(told) if self.response is None else self.response

    async def move(self, after_s: float, outage_s: float) -> float:
        """Stop answering for a while, then go on as the next epoch; gives how long it was away."""
        await asyncio.sleep(after_s)
        self.serves.clear()
        begun = time.monotonic()
        await asyncio.sleep(outage_s)
        self.epoch += 1
        self.serves.set()
        return time.monotonic() - begun


@pytest.fixture
async def app() -> AsyncIterator[App]:
    served = App()
    site = web.Application()
    site.router.add_get("/", served.answer)
    async with served_at(site, "127.0.0.1", 0) as port:
        served.url = f"http://127.0.0.1:{port}/"
        yield served


async def run(url: str, duration_s: float, **options: Any) -> tuple[ProbeSummary, list[dict[str, Any]]]:
    """A probe's summary and the lines of its file."""
    file = io.BytesIO()
    summary = await probe(url, file, duration_s=duration_s, **options)
    assert summary == summarise(read_samples(file.getvalue())), "the file tells the same as the summary"
    return summary, [json.loads(line) for line in file.getvalue().splitlines()]


async def test_requests_go_out_at_planned_instants(app: App) -> None:
    summary, lines = await run(app.url, 2.0, rate_hz=100)
    assert (summary.sent, summary.answered, summary.failed, app.requests) == (200, 200, 0, 200)
    samples = sorted(lines[1:-1], key=lambda line: int(line["n"]))
    for n, line in enumerate(samples):
        assert line["n"] == n
        assert line["planned_s"] == pytest.approx(samples[0]["planned_s"] + n / 100)
        assert 0 <= line["sent_s"] - line["planned_s"] <= summary.lateness_max_s
    assert samples[-1]["sent_s"] - samples[0]["sent_s"] == pytest.approx(1.99, abs=0.1 + summary.lateness_max_s)
    assert lines[0]["probe"]["monotonic_s"] == pytest.approx(samples[0]["planned_s"], abs=0.5)
    assert lines[-1]["summary"]["sent"] == 200


async def test_a_stalled_service_does_not_slow_the_sending_and_its_outage_is_measured(app: App) -> None:
    async with asyncio.TaskGroup() as group:
        moving = group.create_task(app.move(after_s=0.4, outage_s=0.5))
        probing = group.create_task(run(app.url, 1.5, rate_hz=200))
    away_s, (summary, _) = moving.result(), probing.result()
    assert (summary.sent, summary.failed, summary.stale, summary.counter_went_back) == (300, 0, 0, 0)
    [change] = summary.switchovers
    assert (change.from_instance, change.to_instance) == ("a2.1", "a2.2")
    assert change.resolution_s == pytest.approx(0.005)
    slack_s = 0.1 + summary.lateness_max_s  # what a busy machine adds; the probe says so itself
    assert away_s <= change.downtime_s <= away_s + slack_s
    assert change.lower_bound_s == pytest.approx(away_s, abs=slack_s)
    assert summary.longest_hold_s == pytest.approx(away_s, abs=slack_s)
    assert change.held == change.taken_over
    assert change.held / 200 == pytest.approx(away_s, abs=slack_s), "a request is held at each interval of the outage"
    assert summary.latency_p50_s < away_s / 2


async def test_answers_that_are_no_good_answer_are_failed_requests_told_apart(app: App) -> None:
    for response, error in [
        (web.Response(status=503, text="no server"), "status 503"),
        (web.Response(status=302, headers={"Location": "/"}), "status 302"),
        (web.Response(text="it works"), "the answer is no JSON object"),
        (web.json_response([1, 2]), "the answer is no JSON object"),
    ]:
        app.response = response
        summary, lines = await run(app.url, 0.01, rate_hz=100)
        assert (summary.sent, summary.answered, summary.errors) == (1, 0, {error: 1})
        assert lines[1]["status"] == response.status


async def test_a_refused_connection_is_a_failed_request_and_no_more(unused_tcp_port: int) -> None:
    summary, lines = await run(f"http://127.0.0.1:{unused_tcp_port}/", 0.1, rate_hz=100)
    assert (summary.sent, summary.failed) == (10, 10)
    assert all("Connect call failed" in error for error in summary.errors)
    assert lines[1]["answered_s"] is None


async def test_a_request_not_answered_in_time_is_given_up(app: App) -> None:
    app.serves.clear()
    summary, _ = await run(app.url, 0.1, rate_hz=100, give_up_s=0.2)
    assert (summary.sent, summary.errors) == (10, {"given up": 10})


@pytest.mark.parametrize("cut", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", b"HTTP/1.1 200 OK\r\n\r\n{}"])
async def test_a_request_whose_connection_dies_is_failed_and_never_sent_again(cut: bytes) -> None:
    good = b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{"epoch": 1}'
    seen = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        for answer in (good[:50], cut):  # the first is whole but for its last bytes, which come later
            await reader.readuntil(b"\r\n\r\n")
            seen += 1
            writer.write(answer)
            if answer != cut:
                await asyncio.sleep(0.01)
                writer.write(good[50:])
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        summary, _ = await run(f"http://127.0.0.1:{port}/", 0.2, rate_hz=10)
    assert (summary.sent, summary.answered, summary.failed, seen) == (2, 1, 1, 2)


async def test_a_connection_that_the_server_closes_between_requests_costs_none(app: App) -> None:
    closing = web.json_response({"epoch": 1})
    closing.force_close()
    app.response = closing
    summary, _ = await run(app.url, 0.01, rate_hz=100)
    app.response = None
    again, _ = await run(app.url, 0.1, rate_hz=100)
    assert (summary.failed, again.failed) == (0, 0)


async def start(*arguments: str) -> asyncio.subprocess.Process:
    """The probe as the lab runs it."""
    command = (sys.executable, "-m", "pillion.probe", *arguments)
    env = os.environ | {"PYTHONPATH": str(ENGINE)}
    return await asyncio.create_subprocess_exec(*command, env=env, stdout=asyncio.subprocess.PIPE)


async def test_sigterm_lets_open_requests_finish_and_tells_the_summary(app: App, tmp_path: Path) -> None:
    file = tmp_path / "samples.jsonl"
    process = await start(app.url, "--samples", str(file))
    async with asyncio.timeout(20):
        await app.asked(60)  # more than half a second of them: the file has been flushed
        written = read_samples(file.read_bytes())
        assert {sample.epoch for sample in written} == {1}
        app.serves.clear()
        await app.asked(app.requests + 5)
        process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.1)
        app.epoch = 2
        app.serves.set()
        output, _ = await process.communicate()
    assert process.returncode == 0
    summary, lines = json.loads(output), [json.loads(line) for line in file.read_text().splitlines()]
    assert lines[-1] == {"summary": summary}
    assert (summary["sent"], summary["failed"]) == (len(lines) - 2, 0)
    assert summary["switchovers"][0]["held"] >= 5
    assert summary["sent"] == app.requests


async def test_the_command_tells_of_failed_requests_by_its_exit_code(unused_tcp_port: int, tmp_path: Path) -> None:
    url, file = f"http://127.0.0.1:{unused_tcp_port}/", tmp_path / "samples.jsonl"
    process = await start(url, "--duration", "0.05", "--samples", str(file))
    output, _ = await process.communicate()
    assert process.returncode == 1
    assert json.loads(output)["failed"] == 5


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["ftp://127.0.0.1/", "--samples", "{}/s"], "not an http URL"),
        (["http://127.0.0.1:port/", "--samples", "{}/s"], "127.0.0.1:port"),
        (["http://127.0.0.1/", "--samples", "{}/missing/s"], "cannot write the samples"),
        (["http://127.0.0.1/", "--samples", "{}/s", "--rate", "0"], "--rate"),
        (["http://127.0.0.1/"], "--samples"),
    ],
)
def test_a_wrong_command_line_is_named_and_ends_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], named: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([argument.format(tmp_path) for argument in arguments])
    assert ended.value.code == 2
    assert named in capsys.readouterr().err
