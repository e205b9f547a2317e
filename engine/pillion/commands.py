"""What the commands that look at or talk to an engine do and print; the engine itself is `app.py`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import click
import orjson

from pillion import app
from pillion.config import LabSettings, all_plans
from pillion.core import forecast
from pillion.core.events import (
    EngineStarted,
    MigrationAbandoned,
    MigrationCompleted,
    MigrationFailed,
    MigrationStarted,
    PlanMade,
    RequestRefused,
    StepDone,
    Trigger,
    VisitSatOut,
)
from pillion.core.mobility import Notice, Observation, Unanswered
from pillion.core.model import AppId, Epoch, HostId, Instance, UeId
from pillion.core.plan import Group, Situation, Step
from pillion.core.preflight import Part, losses
from pillion.core.reports import MigrationReport, migration_reports
from pillion.errors import ConfigError, EngineError, MigrationError
from pillion.experiments.report import print_migration
from pillion.journal import store
from pillion.journal.records import Record, encode
from pillion.lab.hosts import connect_hosts
from pillion.lab.state import LabState
from pillion.output import print_table, words
from pillion.replay.player import NominalWorld, play_trace
from pillion.replay.trace import Raw, TraceWriter, read_trace, when_s
from pillion.runtime.control import ask, snapshot

_LOOK_AGAIN_S = 0.1
_NOMINAL_S = {Group.PRE_RELOCATION: 0.5, Group.RELOCATION: 0.1, Group.CLEAN_UP: 0.1}


async def events(state: LabState, form: str, initial_state: bool, follow: bool, stop: asyncio.Event) -> None:
    """Print the journal's records, and with `follow` those that come."""
    if initial_state:
        for at in snapshot(await asyncio.to_thread(app.restored, state)):
            click.echo(orjson.dumps(at) if form == "json" else words(at))
    async for record in _records(state, 0, follow, stop):
        click.echo(orjson.dumps(record.as_json()) if form == "json" else record.line())


def _read(state: LabState, after: int) -> list[Record]:
    return list(store.read(state.journal, after))


async def _records(state: LabState, after: int, follow: bool, stop: asyncio.Event) -> AsyncIterator[Record]:
    while True:
        for record in await asyncio.to_thread(_read, state, after):
            after = record.seq
            yield record
        if not follow or stop.is_set():
            return
        await asyncio.sleep(_LOOK_AGAIN_S)


async def show_plan(
    lab: LabSettings, state: LabState, name: str, target: str, strategy: str | None, force: bool, form: str
) -> None:
    """Print the plan that a migration to `target` would follow from where the app is, and the downtime to expect."""
    found = [each for each in lab.app_list() if each.id == name]
    if not found or target not in lab.hosts:
        raise ConfigError(f"no app {name}" if not found else f"no MEC host {target}", remedy="see the lab file")
    strategies = all_plans()
    chosen = strategy or found[0].strategy
    if chosen not in strategies:
        raise ConfigError(f"no strategy {chosen}", remedy=f"there are {', '.join(strategies)}")
    fleet = app.restored(state)
    serving = fleet.apps[AppId(name)].serving if AppId(name) in fleet.apps else None
    source = serving or Instance(AppId(name), HostId(lab.apps[name].start), Epoch(0))
    if source.host == target:
        raise MigrationError(f"{name} is served by {target} already", remedy="name another host")
    to = Instance(AppId(name), HostId(target), fleet.next_epoch)
    plan = strategies[chosen].plan(Situation(found[0], source, to, force))
    carries_memory = Part.MEMORY in strategies[chosen].carries
    memory_bytes = await _memory_bytes(lab, state, source) if carries_memory else 0
    rate_bytes_s = lab.link_rate_bytes_s
    expected_s = None if memory_bytes is None else forecast.downtime_s(plan, memory_bytes, rate_bytes_s)
    if form == "json":
        click.echo(orjson.dumps({**encode(plan), "forecast_s": expected_s, "memory_bytes": memory_bytes}))
        return

    def expected(step: Step) -> str:
        if step.group is not Group.RELOCATION or memory_bytes is None:
            return ""
        return f"{forecast.step_s(step, memory_bytes, rate_bytes_s) * 1000:.0f}"

    rows = (
        (step.group, step.id, step.place, ", ".join(sorted(step.after)), type(step.work).__name__, expected(step))
        for step in plan.steps
    )
    title = f"{chosen}: {name} {source.host} → {target}"
    print_table(title, ("group", "step", "place", "after", "work", "expected, ms"), rows)
    click.echo(
        "Steps that wait for none of each other overlap. The downtime is relocation, from the fence to the switch."
    )
    if lost := losses(found[0], strategies[chosen].carries):
        click.echo(f"Forced, and lost: {'; '.join(lost)}")
    if expected_s is None:
        click.echo("The downtime cannot be told: it depends on the app's memory, and its MEC host does not say.")
        return
    sizes = f"{memory_bytes / 1e6:.0f} MB of memory, " if memory_bytes else ""
    click.echo(
        f"Expected downtime {expected_s * 1000:.0f} ms ({sizes}{rate_bytes_s / 125_000:.0f} Mbit/s between hosts)"
    )


async def _memory_bytes(lab: LabSettings, state: LabState, source: Instance) -> int | None:
    """Resident memory of an app; None if it cannot be asked for."""
    async with connect_hosts(lab, state) as hosts:
        try:
            return (await hosts[source.host].processes(source.container)).memory_bytes
        except EngineError:
            return None


async def migrate(
    lab: LabSettings, state: LabState, name: str, target: str, strategy: str | None, force: bool, form: str
) -> None:
    """Move an app, through the running engine or with one of our own, and print the report of the migration."""
    after = await asyncio.to_thread(store.last_seq, state.journal)
    order = {"app": name, "to": target, "strategy": strategy, "force": force}
    if await ask(state.control_socket, "POST", "/migrate", order) is not None:
        report = await _ended(state, after, name)
    else:
        async with app.engine(lab, state, follow=False) as driver:
            await driver.until(lambda fleet: all(each.serving and not each.migration for each in fleet.apps.values()))
            await ask(state.control_socket, "POST", "/migrate", order)
            report = await _ended(state, after, name)
    click.echo(orjson.dumps(report.as_json())) if form == "json" else print_migration(report)
    if report.status != "completed":
        raise MigrationError(getattr(report.ending, "reason", "failed"), place=report.started.migration)


async def _ended(state: LabState, after: int, name: str) -> MigrationReport:
    """The report of the migration that was asked for by hand, once it has ended. Raises MigrationError if refused."""
    story: list[Record] = []
    mine = None
    async for record in _records(state, after, follow=True, stop=asyncio.Event()):
        story.append(record)
        match record.fact:
            case RequestRefused(app=refused, refusal=refusal) if refused == name:
                raise MigrationError(refusal, place=name)
            case MigrationStarted(app=moved, trigger=Trigger.OPERATOR, migration=migration) if moved == name:
                mine = migration
            case MigrationCompleted() | MigrationAbandoned() | MigrationFailed() if record.fact.migration == mine:
                reports = migration_reports((each.now_s, each.fact) for each in story)
                return next(report for report in reports if report.started.migration == mine)
            case _:
                pass
    raise MigrationError("the engine stopped before the migration had ended", place=name)


async def record(lab: LabSettings, ue: str, file: Path, duration_s: float | None, stop: asyncio.Event) -> None:
    """Follow a UE as the lab file says until told to stop, and write each answer and notice down, with its message."""
    followed = UeId(ue)
    with await asyncio.to_thread(file.open, "w", encoding="utf-8") as opened:
        writer: TraceWriter | None = None

        def heard(seen: Observation | Notice, source: str, body: bytes) -> None:
            if writer is not None:
                writer.add(seen, Raw(source, body.decode(errors="replace")))

        async with app.event_source(lab, heard) as source:
            writer = TraceWriter(opened, followed, await source.layout())

            async def follow() -> None:
                async for seen in source.follow(followed):
                    if isinstance(seen, Unanswered):  # a gap in the answers is part of what was observed
                        click.echo(f"pillion: {seen.problem}", err=True)

            following = asyncio.create_task(follow(), name=f"record {ue}")
            stopping = asyncio.create_task(stop.wait(), name="wait to stop")
            await asyncio.wait([following, stopping], timeout=duration_s, return_when=asyncio.FIRST_COMPLETED)
            for task in (following, stopping):
                task.cancel()
            await asyncio.wait([following, stopping])
            if not following.cancelled():
                following.result()


def replay(lab: LabSettings, file: Path, form: str) -> None:
    """Play a trace through the core in virtual time and print what the engine would have done."""
    trace = read_trace(file)
    apps = tuple(each for each in lab.app_list() if each.ue == trace.ue)
    if not apps:
        raise ConfigError(
            f"no app of this lab rides with {trace.ue}", place=str(file), remedy="see the lab file's apps"
        )
    started = EngineStarted(Epoch(1), lab.policy(), apps)
    player = play_trace(trace, started, NominalWorld(all_plans(), _NOMINAL_S), lab.tracking.lookahead_s)
    if form == "json":
        for at_s, fact in player.story:
            click.echo(orjson.dumps({"t": round(at_s, 3), **encode(fact)}))
        return
    for at_s, fact in _worth_telling(player.story):
        click.echo(
            f"{at_s:8.2f} s  {type(fact).__name__}  {words({k: v for k, v in encode(fact).items() if k != 'is'})}"
        )
    ended = [report.status for report in migration_reports(player.story) if report.started.source]
    sat_out = sum(isinstance(fact, VisitSatOut) for _, fact in player.story)
    counted = {status: ended.count(status) for status in sorted(set(ended))}
    click.echo(f"{when_s(trace.observations[-1]) if trace.observations else 0:.0f} s of {trace.ue}: ", nl=False)
    click.echo(f"migrations {words(counted) or 'none'}; visits sat out {sat_out}")


def _worth_telling(story: Iterable[tuple[float, Any]]) -> Iterable[tuple[float, Any]]:
    dull = (StepDone, PlanMade, EngineStarted)
    return [(at_s, fact) for at_s, fact in story if not isinstance(fact, dull)]
