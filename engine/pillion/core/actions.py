"""Everything the engine can ask of the world: orders that leave `fleet.decide` and are carried out by the driver."""

from __future__ import annotations

from dataclasses import dataclass

from pillion.core.events import Announcement
from pillion.core.model import App, AppId, Instance, MigrationId
from pillion.core.plan import Step


@dataclass(frozen=True, slots=True)
class Announce:
    """Make a decision known: to the journal, the log and whoever watches."""

    fact: Announcement


@dataclass(frozen=True, slots=True)
class SetAlarm:
    """Send `AlarmRang` for the app at `at_s` on the engine's clock. A later alarm does not replace an earlier one."""

    app: AppId
    at_s: float


@dataclass(frozen=True, slots=True)
class MakePlan:
    """Ask the strategy for the plan of a migration. Answer: `PlanMade` or `PlanFailed`."""

    migration: MigrationId
    app: App
    source: Instance | None
    target: Instance
    strategy: str
    forced: bool = False


@dataclass(frozen=True, slots=True)
class PerformStep:
    """Perform a step. Answer: `StepDone` or `StepFailed`.

    `again`: it may have been performed before, so the world is asked first. `delay_s`: wait that long before.
    """

    migration: MigrationId
    app: App
    step: Step
    again: bool = False
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class CancelStep:
    """Stop performing a step. Answer: whichever of `StepDone` and `StepFailed` was first."""

    migration: MigrationId
    step: Step


@dataclass(frozen=True, slots=True)
class UndoStep:
    """Take a step back, done or half done. Answer: `StepUndone` or `UndoFailed`."""

    migration: MigrationId
    app: App
    step: Step
    delay_s: float = 0.0


Action = Announce | SetAlarm | MakePlan | PerformStep | CancelStep | UndoStep
