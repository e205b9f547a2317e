"""The race: the study's procedure by hand and the engine, in turn on the same two MEC hosts, seen by the same UE.

Each app of the study runs twice in a lab of its own, once for each way to move it, so that every migration is of an app
that has been where it is for a while. In a round each app is moved by each strategy both ways: nine cells. Only the app
whose turn it is moves. A strategy that loses an app's state is raced all the same, forced, and the loss is reported.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import click

from pillion import config
from pillion.config import LabSettings
from pillion.core.model import App, AppId, Epoch, HostId, Instance
from pillion.core.plan import Group
from pillion.core.preflight import losses
from pillion.core.reports import MigrationReport
from pillion.errors import ConfigError, HostRefused, MachineError, MigrationError
from pillion.experiments import bench_report, labs, manual
from pillion.experiments.bench_report import Cell, Failed, Round, Way
from pillion.experiments.conditions import conditions
from pillion.experiments.http import control_sandbox
from pillion.experiments.moving import Engine, all_serve, move, serving_host, unless
from pillion.experiments.observed import RATE_HZ, observed
from pillion.lab import compose
from pillion.lab.assets import PACKAGE, assets
from pillion.lab.command import run
from pillion.lab.state import LabState
from pillion.output import write_page
from pillion.runtime.driver import Driver
from pillion.userplane import HaproxySteering

log = logging.getLogger(__name__)

LAB_FILE = "bench.pillion.yml"
APPS = ("a1", "a2", "a3")
STRATEGIES = ("M2", "M3", "M1")
"""M1 comes last: what it has flattened shares no layer with the original, and would be sent whole by the others."""
_BY_HAND = "-manual"
_IMAGES_S = 1200.0
_ATTEMPTS = 5
"""How often a migration by hand is begun in all."""


async def bench(
    lab_file: Path | None, rounds: int, only: str | None, results: Path, engine: Engine, stop: asyncio.Event
) -> None:
    """Make a lab, race, write the results page, remove the lab. Raises MigrationError if a state was lost that the
    strategy promises to carry.

    `only`: one cell, as `a2-M3`, and no page. A missed ratio is reported, and is no error.
    """
    cells = [Cell(app, strategy) for strategy in STRATEGIES for app in APPS]
    wanted = [cell for cell in cells if only in (None, str(cell))]
    if not wanted:
        raise ConfigError(f"no cell {only}", place="--only", remedy=f"one of {', '.join(map(str, cells))}")
    lab = labs.load((name for app in APPS for name in (app, app + _BY_HAND)), lab_file, LAB_FILE)
    raced = await unless(stop, "bench", _race_on_a_lab(lab, LabState.of(lab.lab), rounds, wanted, engine))
    bench_report.print_bench(raced.rounds, raced.failed)
    where = "the table above"
    if only is None:
        where = str(results / "bench.md")
        page = bench_report.page(raced.rounds, raced.failed, raced.machine, RATE_HZ)
        await asyncio.to_thread(write_page, Path(where), page)
        click.echo(f"every value: {where}")
    performed = [one for one in raced.rounds if one.way is Way.ENGINE]
    if lost := [one for one in performed if not one.seen.state_kept and not one.foretold]:
        problem = f"{len(lost)} of the engine's {len(performed)} migrations did not keep the state: {lost[0].cell}"
        raise MigrationError(problem, place=f"round {lost[0].number}", remedy=f"see {where}")


@dataclass(frozen=True, slots=True)
class _Raced:
    rounds: list[Round]
    failed: list[Failed]
    machine: Mapping[str, str]


async def _race_on_a_lab(lab: LabSettings, state: LabState, rounds: int, cells: list[Cell], engine: Engine) -> _Raced:
    images = {app: lab.apps[app + _BY_HAND].image for app in APPS}
    try:
        folder = assets()
        words = [str(folder / "compose" / "images.sh"), str(folder), "pillion", str(PACKAGE)]
        await run(words, limit_s=_IMAGES_S, show=True)
        for app, image in images.items():
            # The study's own images start A1 and A2 by a shell, A3 by itself.
            command = json.dumps(lab.apps[app + _BY_HAND].command)
            await _build(image, lab.apps[app].image, f"CMD {command}")
        async with labs.fresh(lab, state), AsyncExitStack() as closing:
            race = await _Race.begin(lab, state, engine, closing)
            before = os.getloadavg()[0]
            raced = await race.rounds(rounds, cells)
            load = f"{before:.1f}, {os.getloadavg()[0]:.1f}"
            return _Raced(raced, race.failed, {**await race.machine(), "load of the machine before, after": load})
    finally:
        for image in images.values():
            await run(["docker", "image", "rm", "--force", image], limit_s=60)


async def _build(image: str, parent: str, command: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        await asyncio.to_thread((Path(folder) / "Dockerfile").write_text, f"FROM {parent}\n{command}\n")
        await run(["docker", "build", "--quiet", "--tag", image, folder], limit_s=_IMAGES_S)


class _Race:
    """A lab with each app in it twice, and what is needed to move them."""

    def __init__(
        self, lab: LabSettings, state: LabState, driver: Driver, terminals: Mapping[HostId, manual.Terminal]
    ) -> None:
        self._lab, self._state, self._driver, self._terminals = lab, state, driver, terminals
        self._addresses = _addresses(lab)
        self._apps = {app.id: app for app in lab.app_list()}
        self._steering = HaproxySteering(state.admin_socket)
        self._serving: dict[AppId, Instance] = {}
        self.failed: list[Failed] = []

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
        # The engine is told of its own apps only: the others are moved behind nobody's back.
        alone = lab.model_copy(update={"apps": {name: lab.apps[name] for name in APPS}})
        driver = await closing.enter_async_context(engine(alone, state))
        await all_serve(driver)
        race = cls(lab, state, driver, terminals)
        for app in APPS:
            await race._start(Instance(AppId(app + _BY_HAND), HostId(lab.apps[app].start), Epoch(1)))
        # The vehicle drives, so that the app has a state to lose.
        await control_sandbox(lab, "POST", "/drive", {"running": True})
        return race

    async def rounds(self, count: int, cells: list[Cell]) -> list[Round]:
        """`count` rounds of every cell both ways, after a first that puts the images on both hosts.

        Strategy by strategy, so that none starts from what another has made of the app.
        """
        done = []
        for strategy in STRATEGIES:
            for number in range(count + 1):
                for cell in (cell for cell in cells if cell.strategy == strategy):
                    for move_it in (self._manual_round, self._engine_round):
                        await self._flush()
                        one = await move_it(number, cell)
                        log.info(
                            "%s, round %d of %d, %s: UE-seen %.3f s, pre-relocation %.3f s, state %s",
                            *(cell, number, count, one.way, one.seen.downtime_s, one.pre_s, one.seen.state),
                        )
                        if number:
                            done.append(one)
        return done

    async def machine(self) -> dict[str, str]:
        """What the figures were taken on."""
        any_host = next(iter(self._terminals.values()))
        _, _, inner = await any_host.type("docker version --format '{{.Server.Version}}'")
        return {**await conditions(), "Docker Engine of the MEC hosts": inner}

    async def _flush(self) -> None:
        """Let the hosts write out what earlier migrations left in memory, so that the next one does not wait for it."""
        for terminal in self._terminals.values():
            await terminal.type("sync")

    async def _start(self, instance: Instance) -> None:
        app = self._apps[instance.app]
        await manual.type_all(manual.start(app, instance, self._options(app, instance)), self._terminals)
        await self._steering.steer(app.id, instance.host)
        self._serving[app.id] = instance

    def _options(self, app: App, instance: Instance) -> str:
        return manual.run_options(app, instance, self._lab.lab, compose.INNER_NETWORK)

    async def _manual_round(self, number: int, cell: Cell) -> Round:
        """One migration by hand. If a host refuses a line (CRIU does, now and then), or what was restored answers
        nobody, the app is started anew where it was, and moved once more; raises what came last if it goes on so."""
        app = self._apps[AppId(cell.app + _BY_HAND)]
        for _ in range(_ATTEMPTS):
            source = self._serving[app.id]
            target = Instance(app.id, self._other(source.host), Epoch(source.epoch + 1))
            try:
                return await self._by_hand(number, cell, app, source, target)
            except (HostRefused, MachineError) as failed:
                log.warning("%s, round %d, by hand: %s", cell, number, failed)
                self.failed.append(Failed(cell, number, failed.problem))
                await manual.type_all(manual.clear(app, source, target), self._terminals)
                await self._start(Instance(app.id, source.host, Epoch(target.epoch + 1)))
                last = failed
        raise last

    async def _by_hand(self, number: int, cell: Cell, app: App, source: Instance, target: Instance) -> Round:
        lines = manual.procedure(cell.strategy, app, source, target, self._addresses, self._options(app, target))

        async def migrate() -> list[manual.Typed]:
            typed = await manual.type_all(lines, self._terminals)
            await self._steering.steer(app.id, target.host)
            return typed

        typed, seen = await observed(self._lab, self._state, app, source.host, target.host, migrate)
        self._serving[app.id] = target
        await manual.type_all(manual.tidy(cell.strategy, app, source, target, self._addresses), self._terminals)
        return Round(
            number=number,
            cell=cell,
            way=Way.MANUAL,
            source=source.host,
            seen=seen,
            foretold=self._foretold(app, cell.strategy),
            stopped_s=manual.stop_to_start_s(typed),
            pre_s=sum(each.seconds for each in typed if each.line.group is Group.PRE_RELOCATION),
            total_s=typed[-1].ended_s - typed[0].began_s,
            phases=manual.phases(typed),
            lines=[(each.line.text, each.seconds) for each in typed],
        )

    async def _engine_round(self, number: int, cell: Cell) -> Round:
        app = self._apps[AppId(cell.app)]
        source = serving_host(self._driver, app.id)
        target = self._other(source)

        async def migrate() -> MigrationReport:
            return await move(self._driver, self._state, app.id, target, cell.strategy, forced=True)

        report, seen = await observed(self._lab, self._state, app, source, target, migrate)
        if report.status != "completed" or report.fenced_s is None:
            reason = getattr(report.ending, "reason", report.status)
            raise MigrationError(reason, place=report.started.migration, remedy="see the log above")
        moved = [each.outcome for each in report.steps if each.step.group is Group.RELOCATION]
        prepared = [each.outcome for each in report.steps if each.step.group is Group.PRE_RELOCATION]
        return Round(
            number=number,
            cell=cell,
            way=Way.ENGINE,
            source=source,
            seen=seen,
            foretold=self._foretold(app, cell.strategy),
            stopped_s=report.fenced_s,
            pre_s=max(outcome.began_s + outcome.seconds for outcome in prepared) - report.began_s,
            total_s=max(outcome.began_s + outcome.seconds for outcome in moved) - report.began_s,
            phases={key: spent.seconds for key, spent in report.phases.items()},
            lines=[(each.step.id, each.outcome.seconds) for each in report.steps],
        )

    def _foretold(self, app: App, strategy: str) -> bool:
        return bool(losses(app, config.strategies()[strategy].carries))

    def _other(self, host: HostId) -> HostId:
        return next(other for other in self._terminals if other != host)


def _addresses(lab: LabSettings) -> dict[HostId, str]:
    return {HostId(name): str(host.address) for name, host in lab.hosts.items()}
