"""A drive as it is reported: a table for each migration, what the UE saw of it, and what was checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import click
import orjson

from pillion.core.events import VisitSatOut
from pillion.core.measures import ProbeSummary, Sample, Switchover
from pillion.core.reports import MigrationReport
from pillion.journal.records import Record, encode
from pillion.output import print_table


@dataclass(frozen=True, slots=True)
class Check:
    """One claim, whether it holds, and what was found."""

    claim: str
    holds: bool
    found: str


@dataclass(frozen=True, slots=True)
class DriveReport:
    """Everything that came of a drive."""

    migrations: Sequence[MigrationReport]
    records: Sequence[Record]
    probe: ProbeSummary
    checks: Sequence[Check]
    samples: Sequence[Sample]

    def switchover(self, migration: MigrationReport) -> Switchover | None:
        """What the UE saw of a migration, if it was performed."""
        performed = [each for each in self.migrations if each.status == "completed"]
        seen = dict(zip((each.started.migration for each in performed), self.probe.switchovers, strict=False))
        return seen.get(migration.started.migration)

    def state_proof(self, migration: MigrationReport) -> str:
        """What shows that the target took over the source's state: sequence number and counter on both sides."""
        seen = self.switchover(migration)
        if seen is None:
            return ""
        told = [(s.answered_s, s) for s in self.samples if s.answered_s is not None and s.counter is not None]
        before = [s for at_s, s in told if at_s <= seen.last_source_s]
        after = [s for at_s, s in told if at_s >= seen.first_target_s]
        if not before or not after:
            return f"state {migration.proven_seq}"
        last, first = before[-1], after[0]
        return f"state {last.seq}→{first.seq}, counter {last.counter}→{first.counter}"

    def as_json(self, checks: Sequence[Check]) -> dict[str, Any]:
        """The report for programs."""
        return {
            "migrations": [
                {
                    **migration.as_json(),
                    "ue": asdict(seen) if (seen := self.switchover(migration)) else None,
                    "state_proof": self.state_proof(migration),
                }
                for migration in self.migrations
            ],
            "sat_out": [encode(record.fact) for record in self.records if isinstance(record.fact, VisitSatOut)],
            "probe": asdict(self.probe),
            "checks": [asdict(check) for check in checks],
        }


def print_drive(report: DriveReport, checks: Sequence[Check], form: str) -> None:
    """Print a drive's report."""
    if form == "json":
        click.echo(orjson.dumps(report.as_json(checks)))
        return
    for migration in report.migrations:
        print_migration(migration)
        if seen := report.switchover(migration):
            click.echo(
                f"  UE-seen downtime {seen.downtime_s * 1000:.0f} ms (resolution {seen.resolution_s * 1000:.0f} ms, "
                f"at least {seen.lower_bound_s * 1000:.0f} ms); {seen.held} requests held, the longest "
                f"{seen.longest_hold_s * 1000:.0f} ms; {report.state_proof(migration)}"
            )
        click.echo("")
    for record in report.records:
        if isinstance(fact := record.fact, VisitSatOut):
            click.echo(f"Sat out: a visit of {fact.stayed_s:.1f} s to {fact.zone} ({fact.host}): {fact.reason}")
    probe = report.probe
    click.echo(
        f"The UE sent {probe.sent} requests: {probe.answered} answered, {probe.failed} failed, {probe.held} held "
        f"(the longest {probe.longest_hold_s * 1000:.0f} ms); usual latency {probe.latency_p50_s * 1000:.1f} ms, "
        f"the probe itself late by at most {probe.lateness_max_s * 1000:.0f} ms"
    )
    print_table("checks", ("", "claim", "found"), (("✓" if c.holds else "✗", c.claim, c.found) for c in checks))


def print_migration(migration: MigrationReport) -> None:
    """A migration's table: seconds and bytes by group and place, and how it came about and ended."""
    started = migration.started
    source = started.source.host if started.source else "nowhere"
    print_table(
        f"{started.migration}: {source} → {started.target.host} by {started.strategy}, {migration.status}",
        ("group", "place", "seconds", "bytes", "steps"),
        (
            (
                group,
                place,
                f"{spent.seconds:.3f}",
                f"{spent.sent_bytes:,}" if spent.sent_bytes else "",
                ", ".join(
                    f"{each.step.id} {each.outcome.seconds * 1000:.0f} ms"
                    for each in migration.steps
                    if (each.step.group, each.step.place) == (group, place)
                ),
            )
            for (group, place), spent in migration.phases.items()
        ),
    )
    click.echo(f"  trigger: {started.trigger}, {started.reason}")
    if migration.relocation:
        click.echo(f"  relocation: {migration.relocation.trigger}, {migration.relocation.reason}")
    if lost := migration.lost:
        since = f"a copy with state {migration.proven_seq}" if lost.copy else "nothing"
        click.echo(
            f"  lost with {lost.instance.host}: all after {since}; state {lost.last_seen_seq} was the last seen there"
        )
    if migration.given_up:
        click.echo(f"  forced, and lost: {'; '.join(migration.given_up)}")
    if reason := getattr(migration.ending, "reason", None):
        click.echo(f"  {migration.status}: {reason}")
    if migration.fenced_s is not None:
        expected = "" if migration.forecast_s is None else f" (expected {migration.forecast_s * 1000:.0f} ms)"
        click.echo(
            f"  fence to switch {migration.fenced_s * 1000:.0f} ms{expected}; "
            f"target proven with state {migration.proven_seq}"
        )
