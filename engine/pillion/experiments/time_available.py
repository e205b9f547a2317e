"""The study's table 8.2: how long a vehicle stays where one MEC host serves it, which is the time that a migration has.

No lab is needed: the embedded sandbox runs in this process in virtual time. It is driven and asked over HTTP, as any
client does it, once for each simulated second. Each run begins a little further along the lap, so that the ticks fall
on other places; its first and last dwell are cut by the run, and do not count.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

import aiohttp
import click

from pillion.core.model import PoaId, UeId
from pillion.core.prediction import Layout
from pillion.experiments.conditions import this_machine
from pillion.experiments.dwells import DwellOn, Served, complete_dwells, nearest_5g_sites
from pillion.experiments.http import ask
from pillion.experiments.moving import unless
from pillion.mec import wire
from pillion.mec.location import LocationClient
from pillion.output import markdown_table, print_table, write_page
from pillion.sandbox.live import TICK_S
from pillion.sandbox.movement import track_of
from pillion.sandbox.scenario import EndOfPath, Ue, load_scenario
from pillion.sandbox.server import sandbox

log = logging.getLogger(__name__)

SCENARIO = "monaco"
STUDY_UE = UeId("10.100.0.2")
"""The vehicle that the study followed."""
VEHICLES = (STUDY_UE, UeId("10.100.0.1"), UeId("10.100.0.3"), UeId("10.100.0.4"))
LAPS = 10
PHASES = 12
_STUDY_POA = ("12.301", "1.037")
_STUDY = {
    DwellOn.POA: _STUDY_POA,
    DwellOn.FIVE_G_POA: _STUDY_POA,
    DwellOn.FIVE_G_SITE: _STUDY_POA,
    DwellOn.ZONE: ("53.151", "1.854"),
}
"""The study's table 8.2, mean and shortest: it has one line for POAs, beside which all three readings of it are put."""
_ANSWER_S = 30.0
"""Far more than an answer within one process takes, even on a machine with much else to do."""
_COLUMNS = ("vehicle", "dwell on", "complete dwells", "mean, s", "shortest, s", "study: mean, s", "study: shortest, s")


@dataclass(frozen=True, slots=True)
class Drives:
    """What the Location API told: the layout, and for each vehicle what served it at every tick of every run."""

    laps: int
    phases: int
    layout: Layout
    lap_s: Mapping[UeId, float]
    runs: Mapping[UeId, Sequence[Sequence[Served]]]
    took_s: float


@dataclass(frozen=True, slots=True)
class Row:
    """One vehicle's complete dwells, if the MEC hosts are placed in one way."""

    ue: UeId
    on: DwellOn
    lengths_s: Sequence[float]

    def cells(self) -> list[str]:
        """The row of the table beside the study's."""
        study = _STUDY[self.on] if self.ue == STUDY_UE else ("", "")
        if not self.lengths_s:
            return [self.ue, self.on, "0", "", "", *study]
        return [
            *(self.ue, self.on, f"{len(self.lengths_s):,}"),
            *(f"{fmean(self.lengths_s):.2f}", f"{min(self.lengths_s):g}", *study),
        ]

    def every_length(self) -> list[str]:
        """Median, longest, and each length with how often it came."""
        if not self.lengths_s:
            return [self.ue, self.on, "", "", ""]
        often = ", ".join(f"{length:g} ({count})" for length, count in sorted(Counter(self.lengths_s).items()))
        return [self.ue, self.on, f"{median(self.lengths_s):g}", f"{max(self.lengths_s):g}", often]


async def time_available(results: Path, stop: asyncio.Event) -> None:
    """Drive, print the table, write the results page. Raises MachineError if stopped before the end."""
    told = await unless(stop, "time-available", drives(VEHICLES, LAPS, PHASES))
    found = rows(told)
    print_table("time available for a migration", _COLUMNS, (row.cells() for row in found))
    written = results / "time-available.md"
    await asyncio.to_thread(write_page, written, page(told, found, await this_machine()))
    click.echo(f"every value: {written}")


def rows(told: Drives) -> list[Row]:
    """The table: for each vehicle each way to place the MEC hosts."""
    return [
        Row(ue, on, [ticks * TICK_S for ticks in lengths])
        for ue, runs in told.runs.items()
        for on, lengths in complete_dwells(runs, told.layout).items()
    ]


async def drives(vehicles: Sequence[UeId], laps: int, phases: int) -> Drives:
    """Let vehicles drive that many laps, once from each phase. Raises MecError if the sandbox does not answer."""
    began_s = time.monotonic()
    ues = {UeId(ue.id): ue for ue in load_scenario(SCENARIO).ues}
    lap_s = {ue: _lap_s(ues[ue]) for ue in vehicles}
    ticks = {ue: round(laps * lap_s[ue] / TICK_S) for ue in vehicles}
    log.info("%d phases of %d s of driving, one question for each second", phases, max(ticks.values()))
    layout = await _layout()
    runs: dict[UeId, list[Sequence[Served]]] = {ue: [] for ue in vehicles}
    for phase in range(phases):
        for ue, run in (await _drive(ticks, ahead_s=phase * _lap_s(ues[STUDY_UE]) / phases)).items():
            runs[ue].append(run)
        log.info("phase %d of %d driven after %.0f s", phase + 1, phases, time.monotonic() - began_s)
    return Drives(laps, phases, layout, lap_s, runs, time.monotonic() - began_s)


async def _drive(ticks: Mapping[UeId, int], ahead_s: float) -> dict[UeId, list[Served]]:
    """What served each vehicle after each tick, for as many ticks as it has; the first tick is longer by `ahead_s`."""
    served: dict[UeId, list[Served]] = {ue: [] for ue in ticks}
    async with (
        sandbox(SCENARIO, port=0, control_port=0, lockstep=True) as listening,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ANSWER_S)) as http,
    ):
        users_url = f"{listening.api_url}/location/v2/queries/users"
        tick_url = f"{listening.control_url}/tick"
        await ask(http, "POST", f"{listening.control_url}/drive", {"running": True})
        for tick in range(max(ticks.values())):
            await ask(http, "POST", tick_url, None if tick else {"dt_s": TICK_S + ahead_s})
            # All in one answer, so that it is about one moment, and only those that are not yet done.
            driving = [ue for ue in ticks if tick < ticks[ue]]
            users = await ask(http, "GET", users_url, query=[("address", ue) for ue in driving])
            for ue in driving:
                user = wire.parse_user(users, ue, asked_s=float(tick))
                served[ue].append(Served(user.poa, user.zone))
    return served


async def _layout() -> Layout:
    async with (
        sandbox(SCENARIO, port=0, control_port=0, lockstep=True) as listening,
        LocationClient(f"{listening.api_url}/location/v2", {}) as location,
    ):
        return await location.layout()


def _lap_s(ue: Ue) -> float:
    """A UE that reverses has to come back before it has driven a lap."""
    return (2 if ue.end_of_path is EndOfPath.REVERSE else 1) / track_of(ue).rate_per_s


def page(told: Drives, found: Sequence[Row], machine: Mapping[str, str]) -> str:
    """The results page."""
    seen = {served.poa for runs in told.runs.values() for run in runs for served in run}
    parts = [
        "# Time available for a migration",
        "Written by `pillion experiment run time-available`: the study's table 8.2 beside the same of the embedded "
        "sandbox, as its Location API tells it. A vehicle's dwell where one MEC host serves it is the time that a "
        "migration has: when it ends, the next one is due.",
        markdown_table(_COLUMNS, (row.cells() for row in found)),
        _READINGS,
        "## Every dwell",
        "Lengths in seconds, each with how often it came. The mean of all is above.",
        markdown_table(
            ("vehicle", "dwell on", "median, s", "longest, s", "lengths"), (row.every_length() for row in found)
        ),
        "## The 5G site nearest to each POA",
        "From the positions in the Location API; of the 4G and WiFi POAs that served a vehicle.",
        markdown_table(("POA", "nearest 5G site", "metres"), _sites(told.layout, seen)),
        "## Conditions",
        markdown_table(("", ""), [*_conditions(told), *([name, value] for name, value in machine.items())]),
    ]
    return "\n\n".join(parts) + "\n"


_READINGS = """The study has a MEC host at each 5G POA and gives one line for that. It can be read in three ways:

- *serving POA*: a host at every POA, so every handover ends a dwell. The study's mean fits this one.
- *contiguous 5G POA*: stays on 5G POAs alone; the time on 4G and WiFi does not count.
- *nearest 5G site*: the host of the 5G POA nearest to the serving POA, so that there is one on 4G and WiFi too.

A dwell's length is a whole number of ticks, here of seconds. A vehicle that never leaves its zone has no complete dwell
in it."""


def _sites(layout: Layout, seen: set[PoaId | None]) -> list[list[str]]:
    nearest = {poa: site for poa, site in nearest_5g_sites(layout).items() if poa in seen and poa != site.poa}
    return [[poa, site.poa, f"{site.distance_m:.0f}"] for poa, site in nearest.items()]


def _conditions(told: Drives) -> list[list[str]]:
    laps = "; ".join(f"{ue}: {lap_s:.1f} s" for ue, lap_s in told.lap_s.items())
    asked = sum(len(run) for runs in told.runs.values() for run in runs)
    return [
        ["scenario", f"{SCENARIO}, in virtual time, a tick of {TICK_S:g} s"],
        ["one lap", laps],
        ["runs of each vehicle", f"{told.phases} of {told.laps} laps"],
        ["each run begins", f"1/{told.phases} of {STUDY_UE}'s lap further on than the one before"],
        ["counted", "complete dwells: the first and the last of each run are dropped"],
        ["places told", f"{asked:,}, by `location/v2/queries/users`"],
        ["time taken", f"{told.took_s:.0f} s"],
    ]
