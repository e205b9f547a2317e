"""One migration's states as plays: an event, what is ordered, the answer, what is ordered next."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillion.core import migration as migrations
from pillion.core.actions import Action, Announce, CancelStep, MakePlan, PerformStep, UndoStep
from pillion.core.events import (
    LeftBehind,
    MigrationAbandoned,
    MigrationCompleted,
    MigrationFailed,
    MigrationPrepared,
    Outcome,
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
from pillion.core.migration import ENDED, LONGEST_RETRY_S, PREPARABLE, RETRY_S, Migration, Phase, StepEvent, Wish
from pillion.core.model import App, Epoch, Instance, MigrationId, StepId
from pillion.core.plan import Group, Plan, Situation
from pillion.errors import InvalidTransition
from pillion.strategies.checkpoint import CHECKPOINT
from pillion.strategies.commit_save import COMMIT_SAVE

from .examples import A2, MEC1, MEC2

ID = MigrationId("a2-2")
SOURCE, TARGET = Instance(A2.id, MEC1, Epoch(1)), Instance(A2.id, MEC2, Epoch(2))
WISH = Wish(Trigger.HANDOVER, "the UE has stayed")
BARE = replace(A2, volume=None, phase_hook=None)


def m2(app: App = A2) -> Plan:
    return COMMIT_SAVE.plan(Situation(app, SOURCE, TARGET))


def m3() -> Plan:
    return CHECKPOINT.plan(Situation(A2, SOURCE, TARGET))


class Play:
    """One migration; `told` is what its last event made it order, in the words of `words`."""

    def __init__(self, app: App = A2, plan: Plan | None = None) -> None:
        self.app, self.plan = app, plan
        self.orders: list[Action] = []
        self.migration = self._taken(migrations.begin(Migration(ID, app, SOURCE, TARGET, "M2")))

    def _taken(self, advance: migrations.Advance) -> Migration:
        self.migration, self.orders = advance
        return self.migration

    @property
    def told(self) -> list[str]:
        return [words(order) for order in self.orders]

    def comes(self, event: StepEvent) -> list[str]:
        self._taken(migrations.advance(self.migration, event))
        return self.told

    def planned(self) -> list[str]:
        return self.comes(PlanMade(ID, self.plan or m2(self.app)))

    def done(self, step: str) -> list[str]:
        return self.comes(StepDone(ID, StepId(step), Outcome(0.0, 0.1)))

    def failed(self, step: str, problem: str = "no luck") -> list[str]:
        return self.comes(StepFailed(ID, StepId(step), problem))

    def undone(self, step: str) -> list[str]:
        return self.comes(StepUndone(ID, StepId(step)))

    def wanted(self) -> list[str]:
        self._taken(migrations.want(self.migration, WISH))
        return self.told

    def abandoned(self) -> list[str]:
        self._taken(migrations.abandon(self.migration, "the UE is elsewhere"))
        return self.told

    def recovered(self) -> list[str]:
        self._taken(migrations.recover(self.migration))
        return self.told

    def until(self, phase: Phase) -> "Play":
        """Let everything succeed until a phase is reached."""
        while self.migration.phase is not phase:
            match self.migration.phase:
                case Phase.PLANNING:
                    self.planned()
                case Phase.PREPARED:
                    self.wanted()
                case _:
                    self.done(min(self.migration.running))
        return self


def words(order: Action) -> str:
    match order:
        case Announce(fact=fact):
            return type(fact).__name__
        case MakePlan(strategy=strategy):
            return f"plan {strategy}"
        case PerformStep(step=step, again=again, delay_s=delay_s):
            return f"{step.id}{' again' if again else ''}{f' in {delay_s:g} s' if delay_s else ''}"
        case CancelStep(step=step):
            return f"cancel {step.id}"
        case UndoStep(step=step):
            return f"undo {step.id}"
        case _:
            raise AssertionError(order)


def test_the_whole_way_of_a_migration_that_succeeds():
    play = Play()
    assert play.told == ["plan M2"]
    assert play.planned() == ["tell-source", "network", "open-link", "create-volume"]
    assert play.done("network") == []
    assert play.done("open-link") == []
    assert play.done("tell-source") == ["commit"]
    assert play.done("create-volume") == ["copy-volume"]
    assert play.done("commit") == []
    assert play.done("copy-volume") == ["send-image"]
    assert play.done("send-image") == ["create"]
    assert play.done("create") == ["MigrationPrepared"]
    assert play.wanted() == ["RelocationBegan", "fence"]
    assert play.done("fence") == ["last-bytes"]
    assert play.done("last-bytes") == ["start"]
    assert play.done("start") == ["prove"]
    assert not play.migration.proven
    assert play.done("prove") == ["TargetProven", "switch"]
    assert play.migration.proven
    assert play.done("switch") == ["kill"]
    assert play.done("kill") == ["tell-target", "close-link", "remove-source"]
    assert play.done("remove-source") == ["remove-image"]
    assert play.done("tell-target") == []
    assert play.done("remove-image") == []
    assert play.done("close-link") == ["MigrationCompleted"]
    assert play.migration.phase is Phase.COMPLETED
    assert not play.migration.debts


def test_a_wish_that_comes_too_early_is_remembered_and_the_first_one_stays():
    play = Play(BARE).until(Phase.PRE_RELOCATING)
    assert play.wanted() == []
    play._taken(migrations.want(play.migration, Wish(Trigger.OPERATOR, "again")))
    play.done("network")
    play.done("open-link")
    play.done("commit")
    play.done("send-image")
    assert play.done("create") == ["MigrationPrepared", "RelocationBegan", "fence"]
    assert [order.fact for order in play.orders if isinstance(order, Announce)] == [
        MigrationPrepared(ID),
        RelocationBegan(ID, WISH.trigger, WISH.reason),
    ]


def test_without_a_plan_a_migration_has_failed_and_nothing_is_to_be_undone():
    play = Play()
    assert play.comes(PlanFailed(ID, "mec2 does not answer")) == ["MigrationFailed"]
    assert play.migration.phase is Phase.FAILED
    assert play.orders == [Announce(MigrationFailed(ID, "mec2 does not answer"))]


def test_a_failure_before_relocation_cancels_what_runs_and_undoes_from_the_end():
    play = Play()
    play.planned()
    play.done("network")
    play.done("open-link")
    play.done("create-volume")
    play.done("tell-source")
    assert play.failed("commit", "disk full") == ["cancel copy-volume"]
    assert play.migration.phase is Phase.UNDOING
    assert play.failed("copy-volume", "cancelled") == ["undo commit"]
    assert play.undone("commit") == ["undo copy-volume"]
    assert play.undone("copy-volume") == ["undo create-volume"]
    assert play.undone("create-volume") == ["undo open-link"]
    assert play.undone("open-link") == ["undo network"]
    assert play.undone("network") == ["undo tell-source"]
    assert play.undone("tell-source") == ["MigrationFailed"]
    assert play.orders == [Announce(MigrationFailed(ID, "commit: disk full"))]


def test_a_step_that_ends_well_although_it_was_cancelled_is_undone_as_well():
    play = Play()
    play.planned()
    assert play.abandoned() == ["cancel create-volume", "cancel open-link", "cancel network", "cancel tell-source"]
    assert play.done("network") == []
    assert play.done("open-link") == []
    assert play.failed("tell-source", "cancelled") == []
    assert play.done("create-volume") == ["undo create-volume"]
    play.undone("create-volume")
    assert play.undone("open-link") == ["undo network"]
    assert play.undone("network") == ["undo tell-source"]


def test_a_failure_in_the_downtime_lifts_the_fence_first_and_then_undoes_from_the_end():
    play = Play().until(Phase.RELOCATING)
    play.done("fence")
    play.done("last-bytes")
    play.done("start")
    assert play.failed("prove", "old state") == ["undo fence"]
    order = ["prove", "start", "last-bytes", "create", "send-image", "commit", "copy-volume", "create-volume"]
    undoing = "fence"
    for step in [*order, "open-link", "network", "tell-source"]:
        assert play.undone(undoing) == [f"undo {step}"]
        undoing = step
    assert play.undone(undoing) == ["MigrationFailed"]


def test_a_checkpoint_that_failed_is_taken_back_before_the_fence_since_it_may_hold_the_source_too():
    play = Play(plan=m3()).until(Phase.RELOCATING)
    for step in ("fence", "last-bytes", "last-files"):
        play.done(step)
    assert play.failed("last-checkpoint", "no end after 5 s") == ["undo last-checkpoint"]
    assert play.undone("last-checkpoint") == ["undo fence"]


def test_a_checkpoint_that_was_taken_does_not_keep_the_ue_waiting():
    play = Play(plan=m3()).until(Phase.RELOCATING)
    for step in ("fence", "last-bytes", "last-files", "last-checkpoint"):
        play.done(step)
    assert play.failed("last-pages") == ["undo fence"]


def test_a_step_that_cannot_be_undone_is_a_debt_and_the_rest_is_undone_all_the_same():
    play = Play(BARE).until(Phase.PREPARED)
    assert play.abandoned() == ["undo create"]
    assert play.comes(UndoFailed(ID, StepId("create"), "mec2 is gone")) == ["LeftBehind", "undo send-image"]
    for step in ("send-image", "commit", "open-link", "network"):
        play.undone(step)
    assert play.migration.phase is Phase.ABANDONED
    (debt,) = play.migration.debts
    assert words(debt.order()) == "undo create"
    assert debt.order() == UndoStep(ID, BARE, debt.step, RETRY_S)
    assert debt.order(now=True).delay_s == 0
    assert replace(debt, tries=3).order().delay_s == 8 * RETRY_S
    assert replace(debt, tries=10_000).order().delay_s == LONGEST_RETRY_S


def test_behind_the_point_of_no_return_a_failed_step_is_tried_until_it_succeeds():
    play = Play(BARE).until(Phase.SWITCHING)
    for _ in range(3):
        assert play.failed("switch") == ["switch again in 1 s"]
        assert play.migration.phase is Phase.SWITCHING
    assert play.done("switch") == ["kill"]
    assert play.failed("kill") == ["kill again in 1 s"]


def test_a_failed_clean_up_does_not_hold_up_the_end_and_stays_a_debt_to_be_performed():
    play = Play(BARE).until(Phase.CLEANING_UP)
    play.done("close-link")
    assert play.failed("remove-source", "mec1 is gone") == ["LeftBehind", "remove-image"]
    assert play.orders[0] == Announce(LeftBehind(ID, StepId("remove-source"), "mec1 is gone"))
    assert play.done("remove-image") == ["MigrationCompleted"]
    (debt,) = play.migration.debts
    assert words(debt.order()) == "remove-source again in 1 s"


@pytest.mark.parametrize("phase", [Phase.PRE_RELOCATING, Phase.PREPARED])
def test_an_engine_that_was_gone_while_the_source_served_gives_up_what_it_had_begun(phase: Phase):
    play = Play().until(phase)
    assert play.recovered()[0].startswith("undo ")
    assert isinstance(play.migration.ending, MigrationAbandoned)


def test_an_engine_that_was_gone_in_the_downtime_lets_the_source_serve_again_first():
    play = Play().until(Phase.RELOCATING)
    assert play.recovered() == ["undo fence"]
    assert play.migration.ending == MigrationFailed(ID, "the engine stopped while it was under way")


def test_an_engine_that_was_gone_before_there_was_a_plan_has_nothing_to_take_back():
    assert Play().recovered() == ["MigrationAbandoned"]


def test_an_engine_that_was_gone_after_the_proof_goes_forward():
    play = Play(BARE).until(Phase.SWITCHING)
    assert play.recovered() == ["switch again"]
    play.until(Phase.CLEANING_UP)
    assert play.recovered() == ["close-link again", "remove-source again"]


def test_an_engine_that_was_gone_while_undoing_undoes_what_was_still_running_too():
    play = Play(BARE)
    play.planned()
    play.abandoned()
    assert play.recovered() == ["undo commit"]
    assert play.undone("commit") == ["undo open-link"]
    assert play.undone("open-link") == ["undo network"]
    assert play.undone("network") == ["MigrationAbandoned"]


def test_a_migration_is_abandoned_only_while_the_source_serves_at_no_cost():
    for phase in [Phase.RELOCATING, Phase.SWITCHING, Phase.CLEANING_UP, Phase.COMPLETED]:
        with pytest.raises(InvalidTransition, match="abandon"):
            Play(BARE).until(phase).abandoned()
    for phase in PREPARABLE:
        play = Play(BARE).until(phase)
        play.abandoned()
        assert isinstance(play.migration.ending, MigrationAbandoned)


PLAN_MADE = PlanMade(ID, m2(BARE))
IMPOSSIBLE: list[tuple[Phase, StepEvent]] = [
    (Phase.PLANNING, StepDone(ID, StepId("fence"), Outcome(0.0, 0.1))),
    (Phase.PLANNING, StepFailed(ID, StepId("fence"), "")),
    (Phase.PRE_RELOCATING, PLAN_MADE),
    (Phase.PRE_RELOCATING, PlanFailed(ID, "")),
    (Phase.PRE_RELOCATING, StepDone(ID, StepId("create"), Outcome(0.0, 0.1))),
    (Phase.PREPARED, StepDone(ID, StepId("create"), Outcome(0.0, 0.1))),
    (Phase.PREPARED, StepFailed(ID, StepId("create"), "")),
    (Phase.RELOCATING, StepUndone(ID, StepId("fence"))),
    (Phase.RELOCATING, StepDone(ID, StepId("prove"), Outcome(0.0, 0.1))),
    (Phase.SWITCHING, UndoFailed(ID, StepId("fence"), "")),
    (Phase.CLEANING_UP, PLAN_MADE),
    (Phase.COMPLETED, StepDone(ID, StepId("kill"), Outcome(0.0, 0.1))),
]


@pytest.mark.parametrize(
    ("phase", "event"), IMPOSSIBLE, ids=lambda value: value if isinstance(value, str) else type(value).__name__
)
def test_an_event_that_cannot_happen_carries_the_story(phase: Phase, event: StepEvent):
    play = Play(BARE).until(phase)
    with pytest.raises(InvalidTransition) as raised:
        play.comes(event)
    assert raised.value.event == event
    assert raised.value.state == play.migration
    assert raised.value.exit_code == 10


@given(st.lists(st.booleans(), max_size=120), st.booleans(), st.sampled_from([A2, BARE]))
def test_a_migration_always_ends_with_every_touched_step_undone_owed_or_behind_the_proof(
    fates: list[bool], wanted: bool, app: App
):
    """Whatever succeeds or fails, each order is answered once and the migration comes to an end or to rest."""
    coming = iter(fates)
    play = Play(app)
    if wanted:
        play.wanted()
        play.orders = [MakePlan(ID, app, SOURCE, TARGET, "M2")]
    orders = list(play.orders)
    undone: set[StepId] = set()
    while orders:
        order, well = orders.pop(0), next(coming, True)
        match order:
            case MakePlan():
                play.comes(PlanMade(ID, m2(app)) if well else PlanFailed(ID, "no luck"))
            case PerformStep(step=step):
                play.done(step.id) if well else play.failed(step.id)
            case UndoStep(step=step):
                undone.add(step.id)
                play.comes(StepUndone(ID, step.id) if well else UndoFailed(ID, step.id, "no luck"))
            case _:
                continue  # What is to be cancelled is answered by its own order, still in the list.
        orders += play.orders
    migration = play.migration
    assert migration.phase in ENDED or migration.phase is Phase.PREPARED
    if migration.phase is Phase.FAILED:
        begun = {*migration.done, *undone}
        assert begun <= undone, f"not undone: {begun - undone}"
        assert all(debt.undo and debt.step.id in undone for debt in migration.debts)
    else:
        assert not undone
    if migration.phase is Phase.COMPLETED:
        assert all(debt.step.group is Group.CLEAN_UP for debt in migration.debts)


def test_the_announcements_of_a_completed_migration_come_in_this_order():
    play, facts = Play(), []
    play.planned()
    play.wanted()
    while play.migration.phase is not Phase.COMPLETED:
        play.done(min(play.migration.running))
        facts += [type(order.fact) for order in play.orders if isinstance(order, Announce)]
    assert facts == [MigrationPrepared, RelocationBegan, TargetProven, MigrationCompleted]
