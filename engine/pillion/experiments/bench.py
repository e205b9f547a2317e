"""The race: the study's procedure by hand and the engine, in turn on the same two MEC hosts, seen by the same probe.

The app runs three times in a lab of its own, once for each way to move it, so that every migration is of an app that
has been where it is for a while. Only the app whose round it is moves; its UE is asked about by one probe.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import click

from pillion import config
from pillion.config import LabSettings
from pillion.core.measures import ProbeSummary, Switchover, summarise
from pillion.core.model import App, AppId, Epoch, HostId, Instance
from pillion.core.plan import Group
from pillion.errors import ConfigError, MigrationError
from pillion.experiments import bench_report, manual
from pillion.experiments.bench_report import Round, Way
from pillion.experiments.conditions import conditions
from pillion.experiments.http import control_sandbox
from pillion.experiments.moving import Engine, all_serve, move, unless
from pillion.experiments.ue import Ue, asking
from pillion.lab import compose, up
from pillion.lab.assets import PACKAGE, assets
from pillion.lab.command import run
from pillion.lab.state import LabState
from pillion.runtime.driver import Driver
from pillion.userplane import HaproxySteering

log = logging.getLogger(__name__)

LAB_FILE = "bench.pillion.yml"
APPS = {Way.SHELL: AppId("a2-shell"), Way.EXEC: AppId("a2-exec"), Way.ENGINE: AppId("a2")}
RATE_HZ = 200.0
_IMAGES_S = 1200.0
_SERVES_S = 60.0
_MIGRATES_S = 120.0
_SHELL_FORM = "FROM {image}\nCMD python3 /app/a2.py\n"


async def bench(lab_file: Path | None, rounds: int, results: Path, engine: Engine, stop: asyncio.Event) -> None:
    """Make a lab, race, write the results page, remove the lab. Raises MigrationError if a state was not kept.

    A missed ratio is reported, and is no error.
    """
    path = lab_file or assets() / "compose" / LAB_FILE
    lab = config.load(path)
    if missing := set(APPS.values()) - set(lab.apps):
        problem = f"not a lab for the bench: it lacks {', '.join(sorted(missing))}"
        raise ConfigError(problem, place=str(path), remedy=f"see {LAB_FILE}; the lab is made anew and removed")
    raced = await unless(stop, "bench", _race_on_a_lab(lab, LabState.of(lab.lab), rounds, engine))
    written = results / "bench.md"
    await asyncio.to_thread(_write, written, bench_report.page(raced.rounds, raced.machine, RATE_HZ))
    bench_report.print_bench(raced.rounds)
    click.echo(f"every value: {written}")
    if lost := [one for one in raced.rounds if not one.state_kept]:
        problem = f"{len(lost)} of {len(raced.rounds)} migrations did not keep the state: {lost[0].way}"
        raise MigrationError(problem, place=f"round {lost[0].number}", remedy=f"see {written}")


@dataclass(frozen=True, slots=True)
class _Raced:
    rounds: list[Round]
    machine: Mapping[str, str]


async def _race_on_a_lab(lab: LabSettings, state: LabState, rounds: int, engine: Engine) -> _Raced:
    shell_image = lab.apps[APPS[Way.SHELL]].image
    await up.down(lab, state, purge=True)  # what an earlier run left that was killed
    try:
        folder = assets()
        words = [str(folder / "compose" / "images.sh"), str(folder), "pillion", str(PACKAGE)]
        await run(words, limit_s=_IMAGES_S, show=True)
        await _build_shell_form(lab.apps[APPS[Way.EXEC]].image, shell_image)
        await up.up(lab, state)
        async with AsyncExitStack() as closing:
            race = await _Race.begin(lab, state, engine, closing)
            before = os.getloadavg()[0]
            raced = await race.rounds(rounds)
            load = f"{before:.1f}, {os.getloadavg()[0]:.1f}"
            return _Raced(raced, {**await race.machine(), "load of the machine before, after": load})
    finally:
        await up.down(lab, state, purge=True)
        await run(["docker", "image", "rm", "--force", shell_image], limit_s=60)


async def _build_shell_form(image: str, shell_image: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        await asyncio.to_thread((Path(folder) / "Dockerfile").write_text, _SHELL_FORM.format(image=image))
        await run(["docker", "build", "--quiet", "--tag", shell_image, folder], limit_s=_IMAGES_S)


class _Race:
    """A lab with the app in it three times, and what is needed to move each."""

    def __init__(
        self, lab: LabSettings, state: LabState, driver: Driver, terminals: Mapping[HostId, manual.Terminal]
    ) -> None:
        self._lab, self._state, self._driver, self._terminals = lab, state, driver, terminals
        self._addresses = _addresses(lab)
        self._apps = {app.id: app for app in lab.app_list()}
        self._steering = HaproxySteering(state.admin_socket)
        self._serving: dict[AppId, Instance] = {}

    @classmethod
    async def begin(cls, lab: LabSettings, state: LabState, engine: Engine, closing: AsyncExitStack) -> _Race:
        """Terminals opened, keys exchanged, the vehicle driving, every app serving on its first host."""
        terminals = {}
        for host in _addresses(lab):
            terminal = manual.Terminal(host, f"{compose.project(lab)}-{host}")
            terminals[host] = await closing.enter_async_context(terminal)
        closing.push_async_callback(manual.remove_keys, terminals)
        known_hosts = await asyncio.to_thread(state.known_hosts.read_text)
        await manual.exchange_keys(terminals, _addresses(lab), known_hosts)
        mine = APPS[Way.ENGINE]
        # The engine is told of its own app only: the others are moved behind nobody's back.
        alone = lab.model_copy(update={"apps": {mine: lab.apps[mine]}})
        driver = await closing.enter_async_context(engine(alone, state))
        await all_serve(driver)
        race = cls(lab, state, driver, terminals)
        for way in (Way.SHELL, Way.EXEC):
            await race._start(APPS[way])
        # The vehicle drives, so that the app has a state to lose.
        await control_sandbox(lab, "POST", "/drive", {"running": True})
        return race

    async def rounds(self, count: int) -> list[Round]:
        """`count` rounds of every way in turn, after a first that puts the images on both hosts."""
        done = []
        for number in range(count + 1):
            for way in Way:
                one = await (self._engine_round(number) if way is Way.ENGINE else self._manual_round(number, way))
                log.info(
                    "round %d of %d, %s: UE-seen %.3f s, stop to start %.3f s, in all %.3f s, state %s",
                    *(number, count, way, one.seen.downtime_s, one.stopped_s, one.total_s),
                    "kept" if one.state_kept else "lost",
                )
                if number:
                    done.append(one)
        return done

    async def machine(self) -> dict[str, str]:
        """What the figures were taken on."""
        any_host = next(iter(self._terminals.values()))
        _, _, inner = await any_host.type("docker version --format '{{.Server.Version}}'")
        return {**await conditions(), "Docker Engine of the MEC hosts": inner}

    async def _start(self, app_id: AppId) -> None:
        app = self._apps[app_id]
        instance = Instance(app_id, HostId(self._lab.apps[app_id].start), Epoch(1))
        await manual.type_all(manual.start(app, instance, self._options(app, instance)), self._terminals)
        await self._steering.steer(app_id, instance.host)
        self._serving[app_id] = instance

    def _options(self, app: App, instance: Instance) -> str:
        return manual.run_options(app, instance, self._lab.lab, compose.INNER_NETWORK)

    async def _manual_round(self, number: int, way: Way) -> Round:
        app, source = self._apps[APPS[way]], self._serving[APPS[way]]
        target = Instance(app.id, self._other(source.host), Epoch(source.epoch + 1))
        lines = manual.procedure(app, source, target, self._addresses, self._options(app, target))
        async with self._asking(app) as ue:
            await ue.answered_by(source.epoch)
            typed = await manual.type_all(lines, self._terminals)
            await self._steering.steer(app.id, target.host)
            total_s = asyncio.get_running_loop().time() - typed[0].began_s
            await ue.answered_by(target.epoch)
        summary = summarise(await ue.samples())
        self._serving[app.id] = target
        await manual.type_all(manual.tidy(app, source, target, self._addresses), self._terminals)
        return Round(
            number=number,
            way=way,
            source=source.host,
            target=target.host,
            seen=_seen(summary, target.epoch),
            stopped_s=manual.stop_to_start_s(typed),
            total_s=total_s,
            cleaned_s=None,
            phases=manual.phases(typed),
            lines=[(each.line.text, each.seconds) for each in typed],
            failures=summary.errors,
            went_back=summary.counter_went_back + summary.seq_went_back,
            lateness_s=summary.lateness_max_s,
        )

    async def _engine_round(self, number: int) -> Round:
        app = self._apps[APPS[Way.ENGINE]]
        source = self._driver.fleet.apps[app.id].serving
        assert source is not None
        target = self._other(source.host)
        async with self._asking(app) as ue:
            await ue.answered_by(source.epoch)
            report = await move(self._driver, self._state, app.id, target, "M2")
            if report.status != "completed" or report.fenced_s is None or report.ended_s is None:
                reason = getattr(report.ending, "reason", report.status)
                raise MigrationError(reason, place=report.started.migration, remedy="see the log above")
            await ue.answered_by(report.started.target.epoch)
        summary = summarise(await ue.samples())
        moved = [each.outcome for each in report.steps if each.step.group is Group.RELOCATION]
        return Round(
            number=number,
            way=Way.ENGINE,
            source=source.host,
            target=target,
            seen=_seen(summary, report.started.target.epoch),
            stopped_s=report.fenced_s,
            total_s=max(outcome.began_s + outcome.seconds for outcome in moved) - report.began_s,
            cleaned_s=report.ended_s - report.began_s,
            phases={key: spent.seconds for key, spent in report.phases.items()},
            lines=[(each.step.id, each.outcome.seconds) for each in report.steps],
            failures=summary.errors,
            went_back=summary.counter_went_back + summary.seq_went_back,
            lateness_s=summary.lateness_max_s,
        )

    def _other(self, host: HostId) -> HostId:
        return next(other for other in self._terminals if other != host)

    def _asking(self, app: App) -> AbstractAsyncContextManager[Ue]:
        return asking(self._lab, self._state, app.port, RATE_HZ)


def _addresses(lab: LabSettings) -> dict[HostId, str]:
    return {HostId(name): str(host.address) for name, host in lab.hosts.items()}


def _seen(summary: ProbeSummary, epoch: int) -> Switchover:
    """The round's one switchover. Raises MigrationError if the UE saw none, or another."""
    if [each.to_epoch for each in summary.switchovers] != [epoch]:
        saw = ", ".join(str(each.to_epoch) for each in summary.switchovers) or "none"
        raise MigrationError(f"the UE saw switchovers to {saw}, not the one to {epoch}", place="probe")
    return summary.switchovers[0]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
