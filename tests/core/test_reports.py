"""Migration reports: phase times and bytes by place, how it ended, and what is left of a story that was cut off."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillion.core.events import (
    AppLost,
    LeftBehind,
    MigrationAbandoned,
    MigrationCompleted,
    MigrationFailed,
    MigrationPrepared,
    MigrationRequested,
    MigrationStarted,
    Outcome,
    PlanMade,
    RelocationBegan,
    StepDone,
    StepFailed,
    TargetProven,
    TrackingResumed,
    Trigger,
)
from pillion.core.model import Epoch, Instance, MigrationId, StepId
from pillion.core.plan import Group, Place, Situation
from pillion.core.reports import MigrationReport, migration_reports
from pillion.core.state import Fleet
from pillion.replay.player import NominalWorld, Player
from pillion.strategies.commit_save import COMMIT_SAVE

from .examples import A2, MEC1, MEC2, PLANS, engine_started

ID = MigrationId("a2-2")
SOURCE, TARGET = Instance(A2.id, MEC1, Epoch(1)), Instance(A2.id, MEC2, Epoch(2))
STARTED = MigrationStarted(ID, A2.id, SOURCE, TARGET, "M2", Trigger.HANDOVER, "handed over to p3")
PLAN = COMMIT_SAVE.plan(Situation(A2, SOURCE, TARGET))


def done(step: str, began_s: float, seconds: float, sent_bytes: int = 0, **detail: float) -> StepDone:
    return StepDone(ID, StepId(step), Outcome(began_s, seconds, sent_bytes, detail))


def told(*facts) -> MigrationReport:
    """The report of a migration whose facts come one second apart."""
    (report,) = migration_reports(zip(itertools.count(100.0), (STARTED, PlanMade(ID, PLAN), *facts), strict=False))
    return report


def test_steps_of_one_place_that_overlap_count_once_and_their_bytes_add_up():
    report = told(
        done("copy-volume", 10.0, 4.0, 300),
        done("send-image", 12.0, 5.0, 7000),
        done("open-link", 20.0, 0.5, 0),
        done("commit", 11.0, 1.0),
    )
    transfer = report.phases[Group.PRE_RELOCATION, Place.TRANSFER]
    assert transfer.seconds == pytest.approx(7.5)
    assert transfer.sent_bytes == 7300
    assert report.phases[Group.PRE_RELOCATION, Place.SOURCE].seconds == 1.0


def test_phases_are_in_the_order_of_the_plan_and_leave_out_where_nothing_ran():
    report = told(done("remove-source", 9.0, 1.0), done("fence", 5.0, 0.1), done("commit", 1.0, 1.0))
    assert list(report.phases) == [
        (Group.PRE_RELOCATION, Place.SOURCE),
        (Group.RELOCATION, Place.SOURCE),
        (Group.CLEAN_UP, Place.SOURCE),
    ]


SPANS = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), min_size=1, max_size=10)


@given(SPANS)
def test_a_phase_takes_the_seconds_in_which_at_least_one_of_its_steps_ran(spans: list[tuple[int, int]]):
    report = told(*(done("send-image", float(began), float(took)) for began, took in spans))
    running = {second for began, took in spans for second in range(began, began + took)}
    assert report.phases[Group.PRE_RELOCATION, Place.TRANSFER].seconds == len(running)


def test_steps_and_the_decisions_before_them_account_for_a_migration_and_what_lies_between_shows():
    story = [
        (100.0, STARTED),
        (103.0, PlanMade(ID, PLAN, outcome=Outcome(101.0, 2.0, deciding_s=1.0))),
        (107.0, StepDone(ID, StepId("commit"), Outcome(105.0, 2.0, deciding_s=1.0))),
        (110.0, MigrationFailed(ID, "the disk is full")),
    ]
    (report,) = migration_reports(story)
    assert report.coverage == pytest.approx(0.6)  # of 100 to 110, that is 100 to 103 and 104 to 107


def test_the_fence_lasts_from_its_beginning_to_the_end_of_the_switch():
    report = told(done("fence", 50.0, 0.02), done("prove", 50.3, 0.01, seq=41.0), done("switch", 50.4, 0.05))
    assert report.fenced_s == pytest.approx(0.45)
    assert report.proven_seq == 41
    assert told(done("fence", 50.0, 0.02)).fenced_s is None
    assert told().proven_seq is None


ENDINGS = {
    "under way": (),
    "prepared": (MigrationPrepared(ID),),
    "completed": (MigrationPrepared(ID), MigrationCompleted(ID)),
    "abandoned": (MigrationPrepared(ID), MigrationAbandoned(ID, "elsewhere")),
    "failed": (MigrationFailed(ID, "start: no luck"),),
}


@pytest.mark.parametrize(("status", "facts"), ENDINGS.items(), ids=ENDINGS)
def test_the_status_says_how_a_migration_ended_and_only_an_end_has_a_time(status: str, facts: tuple):
    report = told(*facts)
    assert report.status == status
    assert (report.ended_s is None) == (status in ("under way", "prepared"))
    assert report.as_json()["status"] == status
    assert report.as_json()["ending_reason"] == getattr(facts[-1] if facts else None, "reason", None)


def test_what_went_wrong_and_what_was_left_is_told():
    failed = StepFailed(ID, StepId("start"), "it ended by itself")
    left = LeftBehind(ID, StepId("create"), "mec2 is gone")
    report = told(RelocationBegan(ID, Trigger.HANDOVER, "settled"), failed, left, MigrationFailed(ID, "start"))
    assert report.failures == (failed,)
    assert report.left == (left,)
    assert report.relocation is not None
    assert report.relocation.reason == "settled"
    assert report.as_json()["failures"][0]["problem"] == "it ended by itself"


def test_facts_of_other_migrations_and_of_nobody_are_not_mixed_in():
    other = MigrationStarted(MigrationId("a2-9"), A2.id, SOURCE, TARGET, "M2", Trigger.OPERATOR, "by hand")
    story = [
        STARTED,
        other,
        PlanMade(ID, PLAN),
        TrackingResumed(),
        MigrationRequested(A2.id, MEC2),
        TargetProven(other.migration),
        done("fence", 3.0, 0.1),
        MigrationCompleted(other.migration),
    ]
    one, two = migration_reports(enumerate(story))
    assert (one.status, one.proven_s, len(one.steps)) == ("under way", None, 1)
    assert (two.status, two.proven_s, two.ended_s, len(two.steps)) == ("completed", 5, 7, 0)


def whole_story() -> list:
    player = Player(Fleet.empty(), NominalWorld(PLANS, dict.fromkeys(Group, 0.5)))
    player.put(0.0, engine_started())
    player.put(30.0, MigrationRequested(A2.id, MEC2))
    player.run()
    return player.story


def test_the_report_of_a_whole_migration_has_every_step_of_its_plan():
    first, moved = migration_reports(whole_story())
    assert (first.started.trigger, first.started.source, first.status) == (Trigger.START, None, "completed")
    assert {report.step for report in moved.steps} == set(moved.plan.steps)
    assert moved.status == "completed"
    assert json.loads(json.dumps(moved.as_json()))["phases"][0]["group"] == "pre-relocation"


@given(st.integers(0, 200), st.integers(0, 200))
def test_a_story_cut_off_anywhere_still_gives_its_reports(start: int, end: int):
    story = whole_story()
    for report in migration_reports(story[start:end]):
        assert json.dumps(report.as_json())
        assert sum(phase.seconds for phase in report.phases.values()) >= 0


def test_no_story_no_reports():
    assert migration_reports([]) == []
    assert migration_reports([(1.0, MigrationCompleted(ID))]) == []


def test_the_report_of_a_start_after_a_loss_says_what_was_lost():
    loss = AppLost(A2.id, SOURCE, 40, TARGET)
    start = replace(STARTED, source=None, strategy="restart", trigger=Trigger.LOSS, migration=MigrationId("a2-3"))
    plan = PLANS["restart"].plan(Situation(A2, None, TARGET))
    proof = StepDone(start.migration, StepId("prove"), Outcome(5.0, 0.1, 0, {"seq": 37.0}))
    first, second = migration_reports(
        [(1.0, STARTED), (2.0, loss), (2.0, start), (3.0, PlanMade(start.migration, plan)), (5.1, proof)]
    )
    assert first.lost is None
    assert first.as_json()["lost"] is None
    assert second.lost == loss
    assert second.as_json()["lost"] == {
        "host": MEC1,
        "epoch": 1,
        "last_seen_seq": 40,
        "restored_seq": 37,
        "from_copy": True,
    }
