"""The main job from end to end: a vehicle drives, its service follows it, and what the UE saw of it is reported.

The engine and the probe run as processes of their own, as they do for users. What is claimed at the end is checked
against the probe (which knows only the app's one address) and the sandbox's truth (which no gateway exposes).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tenacity import RetryError, retry, retry_if_result, stop_after_delay, wait_fixed

from pillion import config
from pillion.config import LabSettings
from pillion.core.events import MigrationCompleted
from pillion.core.measures import ProbeSummary, summarise
from pillion.core.model import App
from pillion.core.reports import MigrationReport, migration_reports
from pillion.errors import MachineError, MigrationError
from pillion.experiments.http import answers, ask_json, control_sandbox
from pillion.experiments.report import Check, DriveReport, print_drive
from pillion.experiments.ue import asking
from pillion.journal import store
from pillion.journal.records import Record
from pillion.lab import up
from pillion.lab.command import run
from pillion.lab.state import LabState
from pillion.runtime.control import ask

log = logging.getLogger(__name__)

RATE_HZ = 100
_SERVES_S = 60.0
_ENDS_S = 60.0
_LOOK_S = 0.5
_STATUS_S = 15.0


async def demo(lab_file: Path, ue: str, lap_s: float, keep: bool, form: str, stop: asyncio.Event) -> None:
    """Make the lab, drive, report, remove the lab. Raises MigrationError if a check of the report fails."""
    lab = config.load(lab_file)
    state = LabState.of(lab.lab)
    try:
        await up.up(lab, state)
        report = await drive(lab_file, lab, state, ue, lap_s, stop)
    finally:
        if not keep:
            await up.down(lab, state, purge=True)
    checks = [*report.checks, *([] if keep else [await _nothing_left(lab, state)])]
    print_drive(report, checks, form)
    if wrong := [check for check in checks if not check.holds]:
        raise MigrationError(f"{wrong[0].claim}: {wrong[0].found}", place="report", remedy="see the events above")


async def drive(
    lab_file: Path, lab: LabSettings, state: LabState, ue: str, lap_s: float, stop: asyncio.Event
) -> DriveReport:
    """Drive a lap on a lab that is up, with an engine and a probe of our own; what came of it."""
    apps = [app for app in lab.app_list() if app.ue == ue]
    if not apps:
        raise MachineError(f"no app of this lab rides with {ue}", place=str(lab_file), remedy="see its apps")
    app = apps[0]
    written = await asyncio.to_thread(store.last_seq, state.journal)
    async with _engine(lab_file, state):
        await _until(_SERVES_S, f"{app.id} serves", lambda: _serves(state, app.id))
        async with asking(lab, state, app.port, RATE_HZ) as probe:
            await _until(_SERVES_S, "the probe is answered", probe.samples)
            log.info("the vehicle %s drives for %g s at speed %g", ue, lap_s, lab.sandbox.speed)
            await control_sandbox(lab, "POST", "/drive", {"running": True})
            answering = await _watch(lab, state, app, written, lap_s, stop)
            await _until(_ENDS_S, "no migration is under way", lambda: _at_rest(state))
            await control_sandbox(lab, "POST", "/drive", {"running": False})
            await asyncio.sleep(1.0)  # the app's last request of the drive has been answered well before
            served = await ask_json("GET", f"http://{lab.user_plane_address}:{app.port}/")
        samples = await probe.samples()
    truth = await control_sandbox(lab, "GET", f"/truth?ue={ue}")
    records = await asyncio.to_thread(_since, state, written)
    told = migration_reports((record.now_s, record.fact) for record in records)
    reports = [report for report in told if report.started.source or report.lost]
    summary = summarise(samples)
    return DriveReport(
        reports, records, summary, _checks(reports, summary, served["counter"], truth, answering), samples
    )


def _checks(
    reports: list[MigrationReport],
    summary: ProbeSummary,
    counter: int,
    truth: dict[str, Any],
    answering: list[list[str]],
) -> list[Check]:
    done = sum(report.status == "completed" for report in reports)
    true_changes = zone_changes_at_request_times(truth)
    return [
        Check("at least two migrations were performed", done >= 2, str(done)),
        Check("no request of the UE failed", summary.failed == 0, f"{summary.failed} of {summary.sent}"),
        Check("after the target's first answer none came from the source", summary.stale == 0, str(summary.stale)),
        Check(
            "asked directly, one host answers after each migration",
            all(len(hosts) == 1 for hosts in answering) and len(answering) >= done,
            "; ".join(", ".join(hosts) or "none" for hosts in answering),
        ),
        Check("each migration was seen by the UE", len(summary.switchovers) == done, str(len(summary.switchovers))),
        Check("the counter never went back", summary.counter_went_back == 0, str(summary.counter_went_back)),
        Check(
            "the counter is the true number of zone changes",
            counter == true_changes,
            f"{counter} counted, {true_changes} true",
        ),
    ]


def zone_changes_at_request_times(truth: dict[str, Any]) -> int:
    """How many zone changes, the first zone included, the truth shows at the instants when the app asked.

    `truth` is the sandbox's record: `changes` of the true zone and `queries` with who asked when, on one clock.
    """
    changes = [(change["monotonic_s"], change["zone"]) for change in truth["changes"]]
    count, seen = 0, None
    for query in truth["queries"]:
        if not query["agent"].startswith("a2/"):
            continue
        zone = None
        for changed_s, to_zone in changes:
            if changed_s > query["monotonic_s"]:
                break
            zone = to_zone
        if zone is not None and zone != seen:
            count, seen = count + 1, zone
    return count


@asynccontextmanager
async def _engine(lab_file: Path, state: LabState) -> AsyncIterator[None]:
    """`pillion run` as a process of its own; ended by SIGTERM, which it must survive in good order."""
    with await asyncio.to_thread((state.root / "engine.log").open, "wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "pillion", "run", "-t", str(lab_file), stdout=output, stderr=output
        )
        try:
            yield
        finally:
            code = await _end(process, signal.SIGTERM)
    if code:
        log.error("%s", (state.root / "engine.log").read_text()[-3000:])
        raise MachineError(f"the engine ended with exit code {code}", place="pillion run", remedy="its log is above")


async def _end(process: asyncio.subprocess.Process, number: signal.Signals) -> int:
    if process.returncode is None:
        process.send_signal(number)
        try:
            await asyncio.wait_for(process.wait(), 40)
        except TimeoutError:
            process.kill()
            await process.wait()
    return process.returncode or 0


async def _watch(
    lab: LabSettings, state: LabState, app: App, written: int, lap_s: float, stop: asyncio.Event
) -> list[list[str]]:
    """Show what happens until the lap is driven; after each migration, which hosts' own ports answered."""
    answering: list[list[str]] = []
    told_s = 0.0
    while not stop.is_set():
        progress = await control_sandbox(lab, "GET", "/drive")
        for record in await asyncio.to_thread(_since, state, written):
            written = record.seq
            if record.role == "decision" or record.kind == "HandoverCompleted":
                log.info("%6.1f s  %s", progress["simulated_s"], record.line().partition(" ")[2])
            if isinstance(record.fact, MigrationCompleted) and record.fact.migration.startswith(f"{app.id}-"):
                hosts = lab.hosts.items()
                answering.append([name for name, host in hosts if await answers(str(host.address), app.port)])
        if progress["simulated_s"] >= lap_s:
            return answering
        if progress["simulated_s"] - told_s >= _STATUS_S * lab.sandbox.speed:
            told_s = progress["simulated_s"]
            log.info("%6.1f s of %g s driven", told_s, lap_s)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _LOOK_S)
    raise MachineError("interrupted", place="the drive", remedy="run it again")


def _since(state: LabState, written: int) -> list[Record]:
    return list(store.read(state.journal, written))


async def _until(limit_s: float, what: str, holds: Callable[[], Awaitable[object]]) -> None:
    """Ask again and again until it holds, for at most `limit_s`."""
    again = retry(
        retry=retry_if_result(lambda held: not held), wait=wait_fixed(_LOOK_S), stop=stop_after_delay(limit_s)
    )
    try:
        await again(holds)()
    except RetryError:
        problem = f"not so after {limit_s:g} s: {what}"
        raise MachineError(problem, place="the drive", remedy="see the engine's log") from None


async def _serves(state: LabState, app: str) -> bool:
    fleet = await ask(state.control_socket, "GET", "/fleet") or []
    return any(each["app"] == app and each["host"] and not each["migration"] for each in fleet)


async def _at_rest(state: LabState) -> bool:
    fleet = await ask(state.control_socket, "GET", "/fleet") or []
    return all(each["phase"] in (None, "prepared") for each in fleet)


async def _nothing_left(lab: LabSettings, state: LabState) -> Check:
    """That no container, volume, network or state of the lab is left on this machine."""
    label = f"label=pillion.lab={lab.lab}"
    left = []
    for words in (["ps", "--all"], ["volume", "ls"], ["network", "ls"]):
        left += (await run(["docker", *words, "--quiet", "--filter", label], limit_s=30)).split()
    if await asyncio.to_thread(state.root.exists):
        left.append(str(state.root))
    return Check("nothing of the lab is left", not left, ", ".join(left) or "nothing")
