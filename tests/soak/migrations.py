"""200 migrations of A2 in a row by one strategy, back and forth between two MEC hosts: does anything grow?

The engine is a process of its own and follows nobody; the vehicle drives meanwhile, so that the app's state grows as
it does in use. Each migration is asked for over the control socket and seen by the UE's probe. After every block of
20, with the app at rest on the host where the block began, everything that could leak is counted.

A trend needs one lab from the first block to the last. A block that comes to a lab which has not run the one before it
is left out, and the page says that the campaign has to be started over (`--fresh`).
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import nan
from pathlib import Path
from statistics import median

from pillion.config import LabSettings
from pillion.core.measures import summarise
from pillion.core.model import HostId
from pillion.core.plan import Group
from pillion.core.reports import MigrationReport
from pillion.experiments.drive import zone_changes_at_request_times
from pillion.experiments.http import ask_json, control_sandbox
from pillion.experiments.ue import asking
from pillion.lab import compose
from pillion.lab.command import run
from pillion.lab.state import LabState
from tests.soak.campaign import Facts, Result, RunCase, table
from tests.soak.campaign_lab import Engine, engine, fresh_lab

POLLS, TOLD = "a2", "a2-told"
"""A2 in its two forms."""
BLOCKS, SIZE = 10, 20
RATE_HZ = 200.0
_IN_THE_MIDST = (Group.PRE_RELOCATION, Group.RELOCATION)
_STILL_S = 1.0
"""Several of A2's polling intervals: what it has asked for has been answered and written down."""
_ANSWERS_S = 0.5
"""After a migration, so that the UE has had answers from where the app is now."""
MOST_RATIO = 1.15
"""Median downtime of the last block to that of the first, at most."""


class Migrations:
    """The campaigns `migrations-m1` to `migrations-m3`, and `migrations-told-m1` to `-m3` with A2 being told."""

    def __init__(self, strategy: str, app: str = POLLS) -> None:
        told = app == TOLD
        self.name = f"migrations-{'told-' if told else ''}{strategy.lower()}"
        self.title = f"{BLOCKS * SIZE} {strategy} migrations in a row{' of an app that is told' if told else ''}"
        self._strategy, self._app = strategy, app

    def cases(self) -> Sequence[str]:
        """The blocks."""
        return [f"migrations {first + 1} to {first + SIZE}" for first in range(0, BLOCKS * SIZE, SIZE)]

    @asynccontextmanager
    async def open(self) -> AsyncIterator[RunCase]:
        """A lab with A2 alone in it, an engine, and a vehicle that drives."""
        lab_id, done = uuid.uuid4().hex, 0
        async with fresh_lab(self._app) as (lab, state), engine(lab, state) as running:
            await control_sandbox(lab, "POST", "/drive", {"running": True})

            async def run_case(case: str) -> Facts:
                nonlocal done
                if self.cases().index(case) != done:
                    return {"lab": lab_id, "left_out": True}
                facts = await _block(lab, state, running, self._app, self._strategy)
                done += 1
                return {"lab": lab_id, **facts}

            yield run_case

    def page(self, results: Sequence[Result]) -> str:
        """The results as Markdown."""
        return page(results)

    def failures(self, results: Sequence[Result]) -> Sequence[str]:
        """What does not hold."""
        return failures(results)


async def _block(lab: LabSettings, state: LabState, running: Engine, app: str, strategy: str) -> Facts:
    """`SIZE` migrations, each to the other host; then everything is counted."""
    host, epoch = await running.serving(app)
    url = f"http://{lab.user_plane_address}:{lab.apps[app].port}/"
    moved = []
    async with asking(lab, state, lab.apps[app].port, RATE_HZ) as ue:
        await ue.answered_from(HostId(host))
        for _ in range(SIZE):
            report = await running.move(app, next(other for other in lab.hosts if other != host), strategy)
            host, epoch = await running.serving(app)
            await asyncio.sleep(_ANSWERS_S)
            moved.append(report)
    await control_sandbox(lab, "POST", "/drive", {"running": False})
    await asyncio.sleep(_STILL_S)
    truth = await control_sandbox(lab, "GET", f"/truth?ue={lab.apps[app].ue}")
    counter = (await ask_json("GET", url))["counter"]
    await control_sandbox(lab, "POST", "/drive", {"running": True})
    seen = summarise(await ue.samples())
    # A restored process keeps its epoch: switchovers are told by their order, if the UE saw all that were performed.
    done = [report for report in moved if report.status == "completed"]
    whole = [switch.to_host for switch in seen.switchovers] == [report.started.target.host for report in done]
    switches = dict(zip((report.started.migration for report in done), seen.switchovers if whole else [], strict=False))
    rows = []
    for report in moved:
        switch = switches.get(report.started.migration)
        rows.append(
            {
                "migration": report.started.migration,
                "status": report.status,
                "seconds": report.ended_s - report.began_s if report.ended_s else None,
                "downtime_s": switch.downtime_s if switch else None,
                "held": switch.held if switch else None,
                "lost": switch.held - switch.taken_over if switch else None,
                "stale": switch.stale if switch else None,
                "steps_s": {
                    each.step.id: each.outcome.seconds for each in report.steps if each.step.group is Group.RELOCATION
                },
            }
        )
    return {
        "migrations": rows,
        "failed": seen.failed,
        "stale": seen.stale,
        "went_back": seen.counter_went_back + seen.seq_went_back,
        "counter_off": counter - zone_changes_at_request_times(truth) if not any(truth["dropped"].values()) else None,
        "zone_changes": {group.value: changes_in(truth, spans(moved, group)) for group in _IN_THE_MIDST},
        "log_gaps": log_gaps(await ask_json("GET", f"{url}state")),
        "late_s": seen.lateness_max_s,
        "counted": await _counted(lab, state, running.pid, host, f"{app}.{epoch}"),
    }


def spans(moved: Sequence[MigrationReport], group: Group) -> list[tuple[float, float]]:
    """When each migration's steps of a group ran: from the first one's begin to the last one's end."""
    of_group = [[step.outcome for step in report.steps if step.step.group is group] for report in moved]
    return [
        (min(each.began_s for each in outcomes), max(each.began_s + each.seconds for each in outcomes))
        for outcomes in of_group
        if outcomes
    ]


def changes_in(truth: Facts, within: Sequence[tuple[float, float]]) -> int:
    """How many true zone changes fall into these spans; the sandbox's clock is the machine's, as the engine's."""
    zone, count = None, 0
    for change in truth["changes"]:
        if change["zone"] is not None and change["zone"] != zone:
            count += any(begin_s < change["monotonic_s"] < end_s for begin_s, end_s in within)
            zone = change["zone"]
    return count


def log_gaps(told: Facts) -> int:
    """Changes that A2's run-time log lacks, by its own sequence number and its counter: must be 0."""
    seq, counter, log = int(told["seq"]), int(told["counter"]), told["log"]
    missing = set(range(1, seq + 1)) - {entry["seq"] for entry in log}
    zones: int = sum(entry["event"] == "zone" for entry in log)
    return len(missing) + abs(counter - zones)


_COUNT_PROCESS = """
for process in /proc/[0-9]*; do
    if [ "$(cat $process/comm 2>/dev/null)" = NAME ]; then
        echo NAME files $(ls $process/fd | wc -l)
        echo NAME kB $(awk '/^VmRSS/ { print $2 }' $process/status)
    fi
done
"""
_COUNT_HOST = f"""
{_COUNT_PROCESS.replace("NAME", "dockerd")}
echo /var/lib/docker kB $(du -sxk /var/lib/docker | cut -f 1)
echo containers $(docker ps --all --quiet | wc -l)
echo images $(docker images --all --quiet | sort -u | wc -l)
echo volumes $(docker volume ls --quiet | wc -l)
echo networks $(docker network ls --quiet | wc -l)
echo processes $(ls -d /proc/[0-9]* | wc -l)
"""
"""Run in the lab's own containers, with what a MEC host has. The shell that counts is among the processes."""


async def _counted(lab: LabSettings, state: LabState, engine_pid: int, serving: str, container: str) -> dict[str, int]:
    """All that could grow, by name; `container` serves on host `serving`."""
    found: dict[str, int] = {}
    for host in lab.hosts:
        said = await _exec(lab, host, "sh", "-c", _COUNT_HOST)
        found |= {f"{host}: {what}": number for what, number in sums(said).items()}
    image = await _exec(lab, serving, "docker", "inspect", "--format", "{{.Image}}", container)
    layers = await _exec(
        lab, serving, "docker", "image", "inspect", "--format", "{{len .RootFS.Layers}}", image.strip()
    )
    found["layers of the app's image"] = int(layers)
    user_plane = await _exec(lab, "user-plane", "sh", "-c", _COUNT_PROCESS.replace("NAME", "haproxy"))
    found |= {f"user plane: {what}": number for what, number in sums(user_plane).items()}
    found |= await asyncio.to_thread(_count_engine, engine_pid)
    found["journal: bytes"] = await asyncio.to_thread(_journal_bytes, state.journal)
    return found


def _count_engine(pid: int) -> dict[str, int]:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    return {"engine files": len(list(Path(f"/proc/{pid}/fd").iterdir())), "engine kB": resident}


def _journal_bytes(journal: Path) -> int:
    return sum(part.stat().st_size for part in journal.parent.glob(f"{journal.name}*"))


async def _exec(lab: LabSettings, service: str, *words: str) -> str:
    return await run(["docker", "exec", f"{compose.project(lab)}-{service}", *words], limit_s=60)


def sums(said: str) -> dict[str, int]:
    """Lines of `what number`, those of one name added up, as of a program that is several processes."""
    found: dict[str, int] = {}
    for line in said.splitlines():
        what, _, number = line.rpartition(" ")
        found[what] = found.get(what, 0) + int(number)
    return found


@dataclass(frozen=True)
class Tolerance:
    """By how much a count may grow from the second block to the last: the larger of the two; 0: it stays the same."""

    share: float
    slack: int

    def flat(self, second: int, last: int) -> bool:
        """Whether it has not grown."""
        allowed = max(self.share * second, self.slack)
        return last - second <= allowed and (allowed > 0 or last == second)

    def __str__(self) -> str:
        share = f"+{self.share:.0%} or " if self.share else ""
        return f"{share}+{self.slack:,}" if self.slack else "the same"


_SAME = Tolerance(0, 0)
_TOLERANCES = {
    "files": Tolerance(0.10, 2),
    # A kept connection to a host's engine is two files, and there are as many as there ever were calls at once.
    "engine files": Tolerance(0.10, 4),
    "kB": Tolerance(0.15, 10_000),
    "/var/lib/docker kB": Tolerance(0, 2_000),  # A2's own log grows; one layer left by each migration would be more
    "processes": Tolerance(0.10, 2),  # a health check or an ending shell may be among them
}


def tolerance(what: str) -> Tolerance:
    """What is allowed of a count, by the end of its name."""
    return next((kept for end, kept in reversed(_TOLERANCES.items()) if what.endswith(end)), _SAME)


@dataclass(frozen=True)
class Grown:
    """One count after the first, the second and the last block."""

    what: str
    first: int
    second: int
    last: int

    @property
    def flat(self) -> bool:
        """Whether it has not grown since the second block; the first one warms up."""
        return tolerance(self.what).flat(self.second, self.last)

    def row(self) -> list[str]:
        """The counts as the page shows them."""
        counts = [f"{count:,}" for count in (self.first, self.second, self.last)]
        return [self.what, *counts, str(tolerance(self.what)), "flat" if self.flat else "**grows**"]


def trends(blocks: Sequence[Facts]) -> list[Grown]:
    """Every count but the journal's, which grows by design."""
    first, second, last = (blocks[index]["counted"] for index in (0, 1, -1))
    return [Grown(what, first[what], second[what], last[what]) for what in last if not what.startswith("journal")]


def downtimes_s(block: Facts) -> list[float]:
    """What the UE saw of each migration that it saw."""
    return [each["downtime_s"] for each in block["migrations"] if each["downtime_s"] is not None]


def ratio(blocks: Sequence[Facts]) -> float:
    """Median downtime of the last block to that of the first; NaN if the UE saw none of either."""
    first_s, last_s = downtimes_s(blocks[0]), downtimes_s(blocks[-1])
    return median(last_s) / median(first_s) if first_s and last_s else nan


def whole(results: Sequence[Result]) -> list[Facts] | None:
    """The blocks, if all of them ran on one lab; else there is no trend."""
    blocks = [result.facts for result in results]
    if len(blocks) == BLOCKS and len({block.get("lab") for block in blocks}) == 1 and "migrations" in blocks[0]:
        return blocks
    return None


def failures(results: Sequence[Result]) -> list[str]:
    """What does not hold of all blocks together."""
    blocks = whole(results)
    if blocks is None:
        return ["interrupted: a trend needs one lab from the first block to the last; start over with --fresh"]
    wrong = []
    for result, block in zip(results, blocks, strict=True):
        ended = [f"{each['migration']} {each['status']}" for each in block["migrations"] if not _went_well(each)]
        zeros = ("failed", "stale", "went_back", "log_gaps", "counter_off")
        counts = {what: block[what] for what in zeros if block[what] != 0}
        wrong += [f"{result.case}: {each}" for each in ended]
        wrong += [f"{result.case}: {what} is {count}, not 0" for what, count in counts.items()]
    for group in _IN_THE_MIDST:
        if not sum(block["zone_changes"][group] for block in blocks):
            wrong.append(f"no zone change fell into the midst of {group}")
    if not ratio(blocks) <= MOST_RATIO:
        wrong.append(f"the downtime grew: last block to first {ratio(blocks):.3f}, not at most {MOST_RATIO}")
    wrong += [f"{each.what} grew from {each.second:,} to {each.last:,}" for each in trends(blocks) if not each.flat]
    return wrong


def _went_well(migration: Facts) -> bool:
    return migration["status"] == "completed" and migration["downtime_s"] is not None


_STEPS = ("fence", "last-bytes", "last-checkpoint", "last-files", "last-pages", "start", "prove", "switch", "kill")
"""Of whichever strategy; those that it has not stay empty."""
_HEAD = [
    "",
    "completed",
    "downtime ms: median (least to most)",
    "whole migration s",
    "requests held",
    "failed",
    "stale",
    "went back",
    "log gaps",
    "counter off",
    "probe late ms",
]


def page(results: Sequence[Result]) -> str:
    """The results as Markdown."""
    blocks = whole(results)
    if blocks is None:
        return "Interrupted: to be started over with `--fresh`."
    moved = [each for block in blocks for each in block["migrations"]]
    completed = sum(map(_went_well, moved))
    journal = [block["counted"]["journal: bytes"] for block in blocks]
    seen_s = [downtime_s for block in blocks for downtime_s in downtimes_s(block)] or [nan]
    lines = [
        f"{completed} of {len(moved)} completed. UE-seen downtime: median {median(seen_s) * 1000:.0f} ms "
        f"({min(seen_s) * 1000:.0f} to {max(seen_s) * 1000:.0f}); the UE asks {RATE_HZ:g} times a second.",
        "",
        f"Median downtime of the last {SIZE} to that of the first {SIZE}: **{ratio(blocks):.3f}** "
        f"(at most {MOST_RATIO}).",
        "",
        "Zone changes in the midst of "
        + ", ".join(f"{group}: {sum(block['zone_changes'][group] for block in blocks)}" for group in _IN_THE_MIDST)
        + "; the counter is compared with the truth at A2's request times after each block.",
        "",
        f"The journal grew by {(journal[-1] - journal[1]) / (len(blocks) - 2) / SIZE:,.0f} bytes a migration.",
        "",
        "## Blocks",
        "",
        table(
            _HEAD,
            [_row(result.case, block) for result, block in zip(results, blocks, strict=True)],
        ),
        "",
        "## The downtime by step",
        "",
        "Median ms, by the engine's clock; the kill follows the switch and is no part of the downtime.",
        "",
        table(["", *_STEPS], list(map(_step_row, results))),
        "",
        "## What could grow",
        "",
        "After the first, the second and the last block, at rest; the second is compared with the last.",
        "",
        table(
            ["", "first", "second", "last", "allowed", ""],
            [each.row() for each in trends(blocks)],
        ),
        "",
        "## Every migration",
        "",
        "UE-seen downtime in ms.",
        "",
        table(
            ["", *(str(number + 1) for number in range(SIZE))],
            [[result.case, *_cells(block)] for result, block in zip(results, blocks, strict=True)],
        ),
    ]
    return "\n".join(lines)


def _row(case: str, block: Facts) -> list[object]:
    seen_ms = [downtime_s * 1000 for downtime_s in downtimes_s(block)] or [nan]
    took_s = [each["seconds"] for each in block["migrations"]]
    return [
        case,
        sum(map(_went_well, block["migrations"])),
        f"{median(seen_ms):.0f} ({min(seen_ms):.0f} to {max(seen_ms):.0f})",
        f"{median(took_s):.2f}",
        sum(each["held"] or 0 for each in block["migrations"]),
        *(block[what] for what in ("failed", "stale", "went_back", "log_gaps", "counter_off")),
        f"{block['late_s'] * 1000:.0f}",
    ]


def _step_row(result: Result) -> list[str]:
    rows = [each["steps_s"] for each in result.facts["migrations"] if _went_well(each)]
    has = [step for step in _STEPS if rows and step in rows[0]]
    spent = {step: f"{median(row[step] for row in rows) * 1000:.1f}" for step in has}
    return [result.case, *(spent.get(step, "") for step in _STEPS)]


def _cells(block: Facts) -> list[str]:
    return [
        each["status"] if each["downtime_s"] is None else f"{each['downtime_s'] * 1000:.0f}"
        for each in block["migrations"]
    ]
