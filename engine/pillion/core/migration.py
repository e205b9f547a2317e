"""One migration's states: what may happen in each, and what is ordered next.

```
PLANNING ─► PRE_RELOCATING ─► PREPARED ─► RELOCATING ─┬► SWITCHING ─► CLEANING_UP ─► COMPLETED
    │              │              │            │      │
    │              └──────────────┴────────────┘      └ the target is proven: POINT OF NO RETURN
    │                     ▼
    └────────────────► UNDOING ─► ABANDONED or FAILED
```

A plan without a source (a first start, a start after a stop or a loss) has nothing to go back to: a restarted engine
goes on with it.

Left of the point of no return every failure, and every change of mind, is undone from the end and leaves the source
serving. Right of it the migration only goes forward: what fails is tried again until it succeeds, in the clean-up as
a debt that does not hold up the app.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from pillion.core.actions import Action, Announce, CancelStep, MakePlan, PerformStep, UndoStep
from pillion.core.events import (
    LeftBehind,
    MigrationAbandoned,
    MigrationCompleted,
    MigrationFailed,
    MigrationPrepared,
    PlanFailed,
    PlanMade,
    RelocationBegan,
    StepDone,
    StepFailed,
    StepUndone,
    TargetProven,
    Trigger,
    UndoFailed,
)
from pillion.core.model import App, HostId, Instance, MigrationId, StepId
from pillion.core.plan import FenceSource, Group, Plan, Step, SwitchTraffic, TakeCheckpoint, TellApp, hosts_of
from pillion.errors import InvalidTransition

RETRY_S = 1.0
"""Pause before a step that must succeed, or must be undone, is tried again."""
LONGEST_RETRY_S = 30.0
"""What the pause before a debt is tried again grows to: a host may be away for a day."""


class Phase(StrEnum):
    """Where a migration stands; the picture is in the module's docstring."""

    PLANNING = "planning"
    PRE_RELOCATING = "pre-relocating"
    PREPARED = "prepared"
    RELOCATING = "relocating"
    SWITCHING = "switching"
    CLEANING_UP = "cleaning-up"
    UNDOING = "undoing"
    COMPLETED = "completed"
    ABANDONED = "abandoned"
    FAILED = "failed"


_GROUP_OF = {
    Phase.PRE_RELOCATING: Group.PRE_RELOCATION,
    Phase.RELOCATING: Group.RELOCATION,
    Phase.SWITCHING: Group.RELOCATION,
    Phase.CLEANING_UP: Group.CLEAN_UP,
}
ENDED = frozenset({Phase.COMPLETED, Phase.ABANDONED, Phase.FAILED})
PREPARABLE = frozenset({Phase.PLANNING, Phase.PRE_RELOCATING, Phase.PREPARED})
"""The source serves and the migration may still be given up at no cost to the UE."""

StepEvent = PlanMade | PlanFailed | StepDone | StepFailed | StepUndone | UndoFailed


@dataclass(frozen=True, slots=True)
class Wish:
    """That relocation is wanted as soon as the target is prepared, and why."""

    trigger: Trigger
    reason: str


@dataclass(frozen=True, slots=True)
class Debt:
    """A step of an ended migration that still has to be undone (or, in the clean-up, performed)."""

    migration: MigrationId
    app: App
    step: Step
    undo: bool
    tries: int = 0

    @property
    def hosts(self) -> frozenset[HostId]:
        """The hosts on which something is owed."""
        return hosts_of(self.step.work)

    @property
    def holds_up(self) -> bool:
        """Whether it concerns the serving instance itself: settled late, it would cut into the app's next migration."""
        return isinstance(self.step.work, TellApp | TakeCheckpoint)

    def order(self, *, now: bool = False) -> Action:
        """The action that tries once more to settle it, after a pause that doubles with each try."""
        delay_s = 0.0 if now else min(RETRY_S * 2.0 ** min(self.tries, 10), LONGEST_RETRY_S)
        if self.undo:
            return UndoStep(self.migration, self.app, self.step, delay_s)
        return PerformStep(self.migration, self.app, self.step, again=True, delay_s=delay_s)


@dataclass(frozen=True, slots=True)
class Migration:
    """One app, one source (None at its first start), one target, one plan."""

    id: MigrationId
    app: App
    source: Instance | None
    target: Instance
    strategy: str
    phase: Phase = Phase.PLANNING
    plan: Plan | None = None
    running: frozenset[StepId] = frozenset()
    done: frozenset[StepId] = frozenset()
    touched: frozenset[StepId] = frozenset()
    """Steps that were ever begun and not yet undone."""
    wish: Wish | None = None
    ending: MigrationAbandoned | MigrationFailed | None = None
    debts: tuple[Debt, ...] = ()
    forced: bool = False

    @property
    def proven(self) -> bool:
        """Whether the point of no return is passed."""
        return self.phase in (Phase.SWITCHING, Phase.CLEANING_UP, Phase.COMPLETED)

    @property
    def has_copy(self) -> bool:
        """Whether the target holds all that the source had when it was prepared, or fenced."""
        fenced = any(isinstance(step.work, FenceSource) for step in _steps(self, self.touched))
        return self.phase in (Phase.PREPARED, Phase.RELOCATING) or (self.phase is Phase.UNDOING and fenced)


Advance = tuple[Migration, list[Action]]


def begin(migration: Migration) -> Advance:
    """A new migration's first order: its plan."""
    moving = migration
    return moving, [MakePlan(moving.id, moving.app, moving.source, moving.target, moving.strategy, moving.forced)]


def want(migration: Migration, wish: Wish) -> Advance:
    """Relocate: now if the target is prepared, else as soon as it is. Never is an unprepared target rushed."""
    migration = replace(migration, wish=migration.wish or wish)
    return _relocate(migration) if migration.phase is Phase.PREPARED else (migration, [])


def abandon(migration: Migration, reason: str) -> Advance:
    """Give up a migration that is not wanted any more, which is possible only while the source serves."""
    if migration.phase not in PREPARABLE:
        raise InvalidTransition(migration, f"abandon: {reason}")
    return _undo(migration, MigrationAbandoned(migration.id, reason))


def lose(migration: Migration, host: HostId, *, keep_target: bool) -> Advance:
    """Give up a migration whose serving host is lost. What it left there, or still had to do, is owed.

    `keep_target`: another instance's start goes on from the target as it was prepared, so that stays.
    """
    plan_steps = migration.plan.steps if migration.plan else ()
    if migration.proven:
        # The target was lost after the proof: the source, which never serves again, is still to be removed.
        left = [step for step in plan_steps if step.group is Group.CLEAN_UP or step.id in migration.running]
        left = [s for s in left if s.id not in migration.done and not isinstance(s.work, SwitchTraffic | TellApp)]
        touched, undo = frozenset[StepId](), False
    else:
        # On a source that is lost nothing is taken back: when it returns, the instance there is removed.
        there = [s for s in plan_steps if s.id in migration.touched and host in hosts_of(s.work)]
        left = [step for step in there if not isinstance(step.work, FenceSource | TellApp | TakeCheckpoint)]
        touched, undo = migration.touched - {step.id for step in there}, True
        if keep_target:
            touched = frozenset()
    owed = tuple(Debt(migration.id, migration.app, step, undo) for step in left)
    migration = replace(migration, touched=touched, debts=(*migration.debts, *owed))
    return _undo(migration, MigrationFailed(migration.id, f"{host} was lost"))


def recover(migration: Migration) -> Advance:
    """Take a migration up again after the engine was gone: back if the target is not proven, else forward."""
    no_way_back = migration.plan is not None and not migration.plan.has_source and migration.phase is not Phase.UNDOING
    if migration.proven or no_way_back:
        return migration, [_perform(migration, step_id, again=True) for step_id in sorted(migration.running)]
    match migration.phase:
        case Phase.UNDOING:
            migration = replace(migration, touched=migration.touched | migration.running, running=frozenset())
            return _undo_next(migration)
        case Phase.RELOCATING:
            migration = replace(migration, running=frozenset())
            return _undo(migration, MigrationFailed(migration.id, "the engine stopped while it was under way"))
        case _:
            migration = replace(migration, running=frozenset())
            return _undo(migration, MigrationAbandoned(migration.id, "the engine was started anew"))


def advance(migration: Migration, event: StepEvent) -> Advance:
    """The migration after an event from the world, and what to do next. Raises InvalidTransition."""
    match migration.phase, event:
        case Phase.PLANNING, PlanMade(plan=plan):
            return _go_on(replace(migration, phase=Phase.PRE_RELOCATING, plan=plan))
        case Phase.PLANNING, PlanFailed(problem=problem):
            return _undo(migration, MigrationFailed(migration.id, problem))
        case Phase.UNDOING, StepDone(step=step) | StepFailed(step=step):
            # Begun before the change of mind: now it stands still, and what it did can be undone.
            migration = replace(migration, running=migration.running - {step})
            return _undo_next(migration) if not migration.running else (migration, [])
        case Phase.UNDOING, StepUndone(step=step) | UndoFailed(step=step) if step not in migration.touched:
            return migration, []  # Ordered before its host was lost; what is left of it is owed already.
        case Phase.UNDOING, StepUndone(step=step):
            return _undo_next(replace(migration, touched=migration.touched - {step}))
        case Phase.UNDOING, UndoFailed(step=step) if isinstance(_plan(migration).step(step).work, FenceSource):
            # Until the source serves again nothing is taken from the target: it may hold the only copy within reach.
            return migration, [UndoStep(migration.id, migration.app, _plan(migration).step(step), RETRY_S)]
        case Phase.UNDOING, UndoFailed(step=step, problem=problem):
            migration = _owing(replace(migration, touched=migration.touched - {step}), step, undo=True)
            migration, orders = _undo_next(migration)
            return migration, [Announce(LeftBehind(migration.id, step, problem)), *orders]
        case _, StepDone(step=step) if step in migration.running:
            migration = replace(migration, running=migration.running - {step}, done=migration.done | {step})
            return _go_on(migration)
        case Phase.PRE_RELOCATING | Phase.RELOCATING, StepFailed(step=step, problem=problem):
            migration = replace(migration, running=migration.running - {step})
            return _undo(migration, MigrationFailed(migration.id, f"{step}: {problem}"))
        case Phase.SWITCHING, StepFailed(step=step):
            return migration, [_perform(migration, step, again=True, delay_s=RETRY_S)]
        case Phase.CLEANING_UP, StepFailed(step=step, problem=problem):
            migration = replace(migration, running=migration.running - {step}, done=migration.done | {step})
            migration, orders = _go_on(_owing(migration, step, undo=False))
            return migration, [Announce(LeftBehind(migration.id, step, problem)), *orders]
        case _:
            raise InvalidTransition(migration, event)


def _go_on(migration: Migration) -> Advance:
    """Perform what is ready in this phase, or enter the next phase when it is complete."""
    plan = _plan(migration)
    if migration.phase is Phase.RELOCATING and plan.proof.id in migration.done:
        # Point of no return: the target has the state. From here on we only go forward.
        migration, orders = _go_on(replace(migration, phase=Phase.SWITCHING))
        return migration, [Announce(TargetProven(migration.id)), *orders]
    steps = plan.of(_GROUP_OF[migration.phase])
    if all(step.id in migration.done for step in steps):
        match migration.phase:
            case Phase.PRE_RELOCATING:
                migration = replace(migration, phase=Phase.PREPARED)
                migration, orders = _relocate(migration) if migration.wish else (migration, [])
                return migration, [Announce(MigrationPrepared(migration.id)), *orders]
            case Phase.SWITCHING:
                return _go_on(replace(migration, phase=Phase.CLEANING_UP))
            case _:
                return replace(migration, phase=Phase.COMPLETED), [Announce(MigrationCompleted(migration.id))]
    ready = [
        step.id
        for step in steps
        if step.id not in migration.done and step.id not in migration.running and step.after <= migration.done
    ]
    migration = replace(migration, running=migration.running.union(ready), touched=migration.touched.union(ready))
    return migration, [_perform(migration, step_id) for step_id in ready]


def _relocate(migration: Migration) -> Advance:
    assert migration.wish is not None
    began = Announce(RelocationBegan(migration.id, migration.wish.trigger, migration.wish.reason))
    migration, orders = _go_on(replace(migration, phase=Phase.RELOCATING))
    return migration, [began, *orders]


def _undo(migration: Migration, ending: MigrationAbandoned | MigrationFailed) -> Advance:
    migration = replace(migration, phase=Phase.UNDOING, ending=ending)
    if migration.running:
        return migration, [CancelStep(migration.id, step) for step in _steps(migration, migration.running)]
    return _undo_next(migration)


def _undo_next(migration: Migration) -> Advance:
    """Undo from the end, one by one; but the fence first, since the UE is waiting behind it.

    That the source serves again while the target is still being removed is safe: no traffic was steered to the target.
    Before the fence comes only a checkpoint that has not ended well: what takes it may hold the source as well.
    """

    def is_later(step: Step) -> tuple[bool, bool]:
        holds = isinstance(step.work, TakeCheckpoint) and step.id not in migration.done
        return not holds, not isinstance(step.work, FenceSource)

    left = sorted(_steps(migration, migration.touched), key=is_later)
    if left:
        return migration, [UndoStep(migration.id, migration.app, left[0])]
    assert migration.ending is not None
    phase = Phase.FAILED if isinstance(migration.ending, MigrationFailed) else Phase.ABANDONED
    return replace(migration, phase=phase), [Announce(migration.ending)]


def _plan(migration: Migration) -> Plan:
    assert migration.plan is not None
    return migration.plan


def _steps(migration: Migration, ids: Iterable[StepId]) -> list[Step]:
    """The plan's steps with these ids, last first."""
    wanted = set(ids)
    return [step for step in reversed(migration.plan.steps if migration.plan else ()) if step.id in wanted]


def _perform(migration: Migration, step_id: StepId, *, again: bool = False, delay_s: float = 0.0) -> PerformStep:
    return PerformStep(migration.id, migration.app, _plan(migration).step(step_id), again, delay_s)


def _owing(migration: Migration, step_id: StepId, *, undo: bool) -> Migration:
    debt = Debt(migration.id, migration.app, _plan(migration).step(step_id), undo)
    return replace(migration, debts=(*migration.debts, debt))
