"""The study's table 8.1: which strategy carries which app, each cell a real migration and a proof of the app's state.

Every app is moved by every strategy, also by those that would lose something it needs: that is forced, and what was
lost shows in the proof. A2 goes through M1 twice: with what M1 itself carries, and with command and environment given
by hand. A1 and A2 are moved in their subscribing form too, which the study left to the future.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from pillion import config
from pillion.config import LabSettings
from pillion.core.model import App, AppId, HostId
from pillion.core.preflight import losses
from pillion.core.reports import MigrationReport
from pillion.errors import MigrationError
from pillion.experiments import labs
from pillion.experiments.conditions import conditions
from pillion.experiments.http import control_sandbox
from pillion.experiments.moving import Engine, all_serve, move, serving_host, unless
from pillion.experiments.network import MeasuredCondition, measure
from pillion.experiments.proofs import StateProof, proof_of, verdict
from pillion.lab.hosts import connect_hosts
from pillion.lab.state import LabState
from pillion.output import markdown_table, print_table, write_page
from pillion.runtime.driver import Driver

log = logging.getLogger(__name__)

LAB_FILE = "viability.pillion.yml"
APPS = ("a1", "a1-told", "a2", "a2-given", "a2-told", "a3")
_ONCE_MORE = "a2-given"
"""A2 as it is, but for what M1 does not carry: another way to go through M1, and through nothing else."""
_STUDY = {
    ("a1", "M1"): "yes, with the command given by hand",
    ("a1", "M2"): "yes",
    ("a1", "M3"): "yes",
    ("a2", "M1"): "no",
    ("a2", "M2"): "yes",
    ("a2", "M3"): "yes",
    ("a3", "M1"): "no",
    ("a3", "M2"): "no",
    ("a3", "M3"): "yes",
}
"""The study's table 8.1, printed beside what is found here."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One app moved by one strategy: whether that carried it, and why."""

    app: AppId
    strategy: str
    report: MigrationReport
    holds: bool
    found: str
    foretold: Sequence[str]
    """What the preflight said would be lost."""

    @property
    def viable(self) -> bool:
        """Whether the migration was completed and the state is whole."""
        return self.report.status == "completed" and self.holds

    @property
    def reason(self) -> str:
        """What the verdict rests on."""
        if self.report.status != "completed":
            return f"{self.report.status}: {getattr(self.report.ending, 'reason', '')}"
        return self.found

    def row(self) -> list[str]:
        """App, strategy, verdict, reason, the study's verdict, what had been foretold."""
        study = _STUDY.get((self.app, self.strategy), "")
        return [
            *(self.app, self.strategy, "yes" if self.viable else "no", self.reason, study),
            "; ".join(self.foretold) or "nothing",
        ]


_COLUMNS = ("app", "strategy", "viable", "state proof of the migration", "study", "foretold loss")


async def viability(lab_file: Path | None, results: Path, engine: Engine, stop: asyncio.Event) -> None:
    """Make a lab, perform every cell, print the table, write the results page, remove the lab.

    Raises MigrationError if a strategy lost what the preflight does not foretell, or the condition does not hold.
    """
    lab = labs.load(APPS, lab_file, LAB_FILE)
    cells, measured = await unless(stop, "viability", _on_a_lab(lab, LabState.of(lab.lab), engine))
    print_table(f"viability under {measured or 'no condition'}", _COLUMNS, (cell.row() for cell in cells))
    written = results / "viability.md"
    await asyncio.to_thread(write_page, written, _page(cells, measured, await conditions()))
    click.echo(f"every value: {written}")
    if measured is not None and not measured.holds:
        raise MigrationError(str(measured), place="viability", remedy="run it where the network gives what is asked")
    if wrong := [cell for cell in cells if cell.viable == bool(cell.foretold)]:
        problem = f"{wrong[0].app} by {wrong[0].strategy}: {wrong[0].reason}"
        raise MigrationError(problem, place="viability", remedy=f"see {written}")


async def _on_a_lab(lab: LabSettings, state: LabState, engine: Engine) -> tuple[list[Cell], MeasuredCondition | None]:
    async with labs.fresh(lab, state):
        measured = await _measured(lab, state)
        async with engine(lab, state) as driver:
            await all_serve(driver)
            await control_sandbox(lab, "POST", "/drive", {"running": True})
            cells = [
                await _cell(lab, state, driver, app, strategy)
                for app in lab.app_list()
                for strategy in (("M1",) if app.id == _ONCE_MORE else ("M1", "M2", "M3"))
            ]
        return cells, measured


async def _measured(lab: LabSettings, state: LabState) -> MeasuredCondition | None:
    """The lab's network condition, measured before it is used."""
    if lab.condition is None:
        return None
    async with connect_hosts(lab, state) as hosts:
        found = await measure(list(hosts.values()), lab.condition)
    log.info("network condition %s", found)
    return found


async def _cell(lab: LabSettings, state: LabState, driver: Driver, app: App, strategy: str) -> Cell:
    proof: StateProof = proof_of(lab, app)
    await proof.prepare()
    before = await verdict(proof)
    if not before.holds:
        raise MigrationError(f"its state is not right before it is moved: {before.found}", place=app.id)
    target = next(HostId(name) for name in lab.hosts if name != serving_host(driver, app.id))
    report = await move(driver, state, app.id, target, strategy, forced=True)
    after = await verdict(proof)
    foretold = losses(app, config.strategies()[strategy].carries)
    cell = Cell(app.id, strategy, report, after.holds, after.found, foretold)
    log.info("%s by %s: %s, %s", app.id, strategy, "viable" if cell.viable else "not viable", cell.reason)
    return cell


def _page(cells: Sequence[Cell], measured: MeasuredCondition | None, machine: Mapping[str, str]) -> str:
    moved = [
        [
            *(cell.app, cell.strategy, cell.report.status),
            *("" if value is None else f"{value:.3f}" for value in (cell.report.fenced_s, _seconds(cell.report))),
            f"{sum(each.outcome.sent_bytes for each in cell.report.steps):,}",
        ]
        for cell in cells
    ]
    parts = [
        "# Viability",
        "Written by `pillion experiment run viability`: the study's table 8.1, each verdict from the state proof of a "
        f"real migration. Network condition: {measured or 'none'}.",
        markdown_table(_COLUMNS, (cell.row() for cell in cells)),
        "## The migrations",
        markdown_table(("app", "strategy", "ended", "fence to switch, s", "in all, s", "bytes sent"), moved),
        "## Machine",
        markdown_table(("", ""), ([name, value] for name, value in machine.items())),
    ]
    return "\n\n".join(parts) + "\n"


def _seconds(report: MigrationReport) -> float | None:
    return None if report.ended_s is None else report.ended_s - report.began_s
