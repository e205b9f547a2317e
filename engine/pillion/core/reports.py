"""Each migration as it is reported: what started it, what each phase took in each place, and how it ended.

Computed from the facts that the journal holds, so that a report can be made at any time, also of a migration that a
crash interrupted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from pillion.core.events import (
    Announcement,
    AppLost,
    Event,
    LeftBehind,
    MigrationAbandoned,
    MigrationCompleted,
    MigrationFailed,
    MigrationPrepared,
    MigrationStarted,
    Outcome,
    PlanMade,
    RelocationBegan,
    StepDone,
    StepFailed,
    TargetProven,
    Trigger,
)
from pillion.core.model import AppId, MigrationId
from pillion.core.plan import FenceSource, Group, Place, Plan, Step, SwitchTraffic


@dataclass(frozen=True, slots=True)
class StepReport:
    """One step that was performed."""

    step: Step
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class PhaseTime:
    """What one group took in one place: seconds in which at least one of its steps ran, and bytes moved."""

    seconds: float
    sent_bytes: int


@dataclass(frozen=True, slots=True)
class MigrationReport:
    """One migration. `ended_s` is None while it is under way; instants are of the engine's monotonic clock."""

    started: MigrationStarted
    began_s: float
    lost: AppLost | None = None
    """What was lost with a MEC host, where that is why the app starts here."""
    plan: Plan | None = None
    given_up: tuple[str, ...] = ()
    """What of the app this migration was forced to lose."""
    forecast_s: float | None = None
    """The time from the fence to the switch that was expected when the plan was made."""
    planning: Outcome | None = None
    relocation: RelocationBegan | None = None
    prepared_s: float | None = None
    waited_s: float = 0.0
    """How long the prepared target waited for the UE."""
    proven_s: float | None = None
    steps: tuple[StepReport, ...] = ()
    failures: tuple[StepFailed, ...] = ()
    left: tuple[LeftBehind, ...] = ()
    ended_s: float | None = None
    ending: MigrationPrepared | MigrationCompleted | MigrationAbandoned | MigrationFailed | None = None
    """The last of these that was announced; prepared is no end, but where a story may stop."""

    @property
    def status(self) -> str:
        """`completed`, `abandoned`, `failed`, `prepared` or `under way`."""
        return "under way" if self.ending is None else type(self.ending).__name__.removeprefix("Migration").lower()

    @property
    def proven_seq(self) -> int | None:
        """The state sequence number with which the target was proven."""
        proofs = [report.outcome.detail["seq"] for report in self.steps if "seq" in report.outcome.detail]
        return int(proofs[-1]) if proofs else None

    @property
    def phases(self) -> Mapping[tuple[Group, Place], PhaseTime]:
        """Time and bytes by group and place, in the plan's order; overlapping steps of one place count once."""
        grouped: dict[tuple[Group, Place], list[Outcome]] = {}
        for report in self.steps:
            grouped.setdefault((report.step.group, report.step.place), []).append(report.outcome)
        order = [(group, place) for group in Group for place in Place]
        return {
            key: PhaseTime(_union_s(grouped[key]), sum(outcome.sent_bytes for outcome in grouped[key]))
            for key in order
            if key in grouped
        }

    @property
    def coverage(self) -> float | None:
        """The share of its time that its planning, its steps and the decisions that led to them account for.

        None while it is under way.
        """
        if self.ended_s is None:
            return None
        known = [*(report.outcome for report in self.steps), *([self.planning] if self.planning else [])]
        decided = [Outcome(each.began_s - each.deciding_s, each.deciding_s) for each in known]
        return _union_s([*known, *decided], self.began_s) / (self.ended_s - self.began_s - self.waited_s)

    @property
    def fenced_s(self) -> float | None:
        """From the fence to the switch, as the engine saw it: the inner part of the UE's downtime."""
        by_work = {type(report.step.work): report.outcome for report in self.steps}
        fence, switch = by_work.get(FenceSource), by_work.get(SwitchTraffic)
        if fence is None or switch is None:
            return None
        return switch.began_s + switch.seconds - fence.began_s

    def as_json(self) -> dict[str, Any]:
        """The report for programs: seconds, bytes, places and groups by name."""
        return {
            "migration": self.started.migration,
            "app": self.started.app,
            "source": self.started.source.host if self.started.source else None,
            "target": self.started.target.host,
            "epoch": self.started.target.epoch,
            "strategy": self.started.strategy,
            "trigger": self.started.trigger,
            "reason": self.started.reason,
            "status": self.status,
            "ending_reason": getattr(self.ending, "reason", None),
            "seconds": None if self.ended_s is None else self.ended_s - self.began_s,
            "fenced_s": self.fenced_s,
            "forecast_s": self.forecast_s,
            "waited_s": self.waited_s,
            "coverage": self.coverage,
            "proven_seq": self.proven_seq,
            "lost": self._lost_as_json(),
            "given_up": self.given_up,
            "phases": [
                {"group": group, "place": place, "seconds": spent.seconds, "sent_bytes": spent.sent_bytes}
                for (group, place), spent in self.phases.items()
            ],
            "steps": [{"step": each.step.id, **asdict(each.outcome)} for each in self.steps],
            "failures": [asdict(failure) for failure in self.failures],
        }

    def _lost_as_json(self) -> dict[str, Any] | None:
        if self.lost is None:
            return None
        return {
            "host": self.lost.instance.host,
            "epoch": self.lost.instance.epoch,
            "last_seen_seq": self.lost.last_seen_seq,
            "restored_seq": self.proven_seq,
            "from_copy": self.lost.copy is not None,
        }


def migration_reports(story: Iterable[tuple[float, Event | Announcement]]) -> list[MigrationReport]:
    """A report of each migration in a story of `(seconds, fact)`, in order of their start."""
    reports: dict[MigrationId, MigrationReport] = {}
    losses: dict[AppId, AppLost] = {}
    for at_s, fact in story:
        if isinstance(fact, AppLost):
            losses[fact.app] = fact
        elif isinstance(fact, MigrationStarted):
            lost = losses.get(fact.app) if fact.trigger is Trigger.LOSS else None
            reports[fact.migration] = MigrationReport(fact, at_s, lost)
        elif (migration := getattr(fact, "migration", None)) in reports:
            reports[migration] = _with(reports[migration], at_s, fact)
    return list(reports.values())


def _with(report: MigrationReport, at_s: float, fact: Event | Announcement) -> MigrationReport:
    match fact:
        case PlanMade():
            return replace(
                report, plan=fact.plan, given_up=fact.lost, forecast_s=fact.forecast_s, planning=fact.outcome
            )
        case StepDone(step=step, outcome=outcome) if report.plan:
            return replace(report, steps=(*report.steps, StepReport(report.plan.step(step), outcome)))
        case StepFailed():
            return replace(report, failures=(*report.failures, fact))
        case LeftBehind():
            return replace(report, left=(*report.left, fact))
        case RelocationBegan():
            waited_s = at_s - report.prepared_s if report.prepared_s is not None else 0.0
            return replace(report, relocation=fact, waited_s=waited_s)
        case TargetProven():
            return replace(report, proven_s=at_s)
        case MigrationPrepared():
            return replace(report, ending=fact, prepared_s=at_s)
        case MigrationCompleted() | MigrationAbandoned() | MigrationFailed():
            return replace(report, ended_s=at_s, ending=fact)
        case _:
            return report


def _union_s(outcomes: Iterable[Outcome], from_s: float = float("-inf")) -> float:
    """Seconds from then on in which at least one of them ran."""
    total_s, until_s = 0.0, from_s
    for began_s, ended_s in sorted((outcome.began_s, outcome.began_s + outcome.seconds) for outcome in outcomes):
        total_s += max(0.0, ended_s - max(began_s, until_s))
        until_s = max(until_s, ended_s)
    return total_s
