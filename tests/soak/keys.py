"""20 M3 migrations of A3 in a row, with 10,000 keys in its memory, while the UE reads and writes 200 times a second.

One case is one migration: the UE's four connections ask before, while and after it, then the UE is silent and every key
is read. What must hold: no acknowledged write is lost, no key is missing or has another value, other flags or another
time to live, nothing was evicted, and no connection was cut more than once.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from statistics import median

from pillion.config import LabSettings
from pillion.core.plan import TakeCheckpoint
from pillion.core.reports import MigrationReport
from pillion.experiments.keys import Address, Traffic, Truth, fill, make_items, prove
from tests.soak.campaign import Facts, Result, RunCase, Violation, table
from tests.soak.campaign_lab import Engine, engine, fresh_lab

A3 = "a3"
MIGRATIONS = 20
KEYS, KEYS_BYTES = 10_000, 40_000_000
RATE_HZ, CONNECTIONS = 200.0, 4
_AROUND_S = 1.0
"""How long the UE asks before the migration is asked for, and after it has ended."""


@dataclass
class _Ue:
    """What the UE knows, and for how long the app stood still in all."""

    address: Address
    truth: Truth
    frozen_s: float = 0.0


class Keys:
    """The campaign `keys`."""

    name = "keys"
    title = f"{MIGRATIONS} M3 migrations of A3 in a row, with {KEYS:,} keys and a UE that writes"

    def cases(self) -> Sequence[str]:
        """The migrations."""
        return [f"migration {number}" for number in range(1, MIGRATIONS + 1)]

    @asynccontextmanager
    async def open(self) -> AsyncIterator[RunCase]:
        """A lab with A3 alone in it, filled, and an engine."""
        async with fresh_lab(A3) as (lab, state), engine(lab, state) as running:
            address = Address(str(lab.user_plane_address), lab.apps[A3].port)
            ue = _Ue(address, await fill(address, make_items(KEYS, KEYS_BYTES)))
            lab_id = uuid.uuid4().hex
            yield lambda _: _migration(lab, lab_id, running, ue)

    def page(self, results: Sequence[Result]) -> str:
        """The results as Markdown."""
        return page(results)

    def failures(self, results: Sequence[Result]) -> Sequence[str]:
        """What does not hold of all together."""
        labs = {result.facts["lab"] for result in results if not result.violation}
        return [] if len(labs) == 1 else ["they were not in a row on one lab; start over with --fresh"]


async def _migration(lab: LabSettings, lab_id: str, running: Engine, ue: _Ue) -> Facts:
    """One migration to the other host under traffic, and the proof. Raises Violation."""
    host, _ = await running.serving(A3)
    target = next(other for other in lab.hosts if other != host)
    traffic, stop = Traffic(ue.address, ue.truth, RATE_HZ, CONNECTIONS), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(traffic.run(stop))
        await asyncio.sleep(_AROUND_S)
        began_s = time.monotonic()
        report = await running.move(A3, target, "M3")
        await asyncio.sleep(_AROUND_S)
        ended_s = time.monotonic()
        stop.set()
    if report.status != "completed":
        raise Violation(f"the migration {report.status}: {getattr(report.ending, 'reason', '')}")
    ue.frozen_s += _frozen_s(report)
    proof = await prove(ue.address, ue.truth, ue.frozen_s)
    problems = [*traffic.wrong[:1], *([] if proof.holds else [str(proof)])]
    if (most := max(len(cuts) for cuts in traffic.cuts)) > 1:
        problems.append(f"a connection was cut {most} times")
    if problems:
        raise Violation("; ".join(problems))
    return {
        "lab": lab_id,
        "downtime_s": traffic.longest_gap_s(began_s, ended_s),
        "fenced_s": report.fenced_s,
        "forecast_s": report.forecast_s,
        "seconds": (report.ended_s or 0.0) - report.began_s,
        "sent_bytes": {each.step.id: each.outcome.sent_bytes for each in report.steps if each.outcome.sent_bytes},
        "tries": sum(each.outcome.detail.get("tries", 0) for each in report.steps),
        "reads": traffic.reads,
        "writes": traffic.writes,
        "cuts": [len(cuts) for cuts in traffic.cuts],
        "keys": proof.keys,
    }


def _frozen_s(report: MigrationReport) -> float:
    """For how long the migration stopped the app, at most: in the downtime, and for the first checkpoint."""
    checkpoints = [each.outcome.seconds for each in report.steps if isinstance(each.step.work, TakeCheckpoint)]
    return (report.fenced_s or 0.0) + sum(checkpoints)


def page(results: Sequence[Result]) -> str:
    """Every migration, and the medians."""
    held = [result for result in results if not result.violation]
    rows = [
        [
            result.case,
            f"{facts['downtime_s'] * 1e3:.0f}",
            f"{facts['fenced_s'] * 1e3:.0f}",
            f"{facts['forecast_s'] * 1e3:.0f}",
            f"{facts['seconds']:.1f}",
            f"{facts['sent_bytes'].get('send-checkpoint', 0) / 1e6:.1f}",
            f"{facts['sent_bytes'].get('last-pages', 0) / 1e6:.1f}",
            f"{facts['tries']:.0f}",
            f"{facts['reads']:,}",
            f"{facts['writes']:,}",
            ", ".join(map(str, facts["cuts"])),
            f"{facts['keys']:,}",
        ]
        for result in held
        for facts in [result.facts]
    ]
    head = ["", "downtime ms", "fence to switch ms", "forecast ms", "whole migration s", "first checkpoint MB"]
    head += ["last pages MB", "checkpoints tried", "reads", "writes", "cuts of each connection", "keys right"]
    downtimes_ms = [result.facts["downtime_s"] * 1e3 for result in held]
    middle = f"{median(downtimes_ms):.0f} ({min(downtimes_ms):.0f} to {max(downtimes_ms):.0f})" if held else "none"
    return "\n\n".join(
        [
            f"{KEYS:,} keys of 1 B to 100 kB, {KEYS_BYTES / 1e6:.0f} MB in all, `memcached -m 256`: a third with a TTL,"
            f" half of random bytes, a fifth with flags. The UE reads and writes {RATE_HZ:.0f} times a second over"
            f" {CONNECTIONS} connections; after each migration every key is read.",
            f"**{len(held)} of {len(results)} succeeded**, with every acknowledged write.",
            f"Downtime as the UE saw it, ms, median (least to most): **{middle}**.",
            table(head, rows),
            "A migration takes two checkpoints; more tries mean that CRIU met a request in flight and was asked again.",
        ]
    )
