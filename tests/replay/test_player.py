"""Traces played through the engine's own decisions: the committed drive of 10.100.0.2, and small plays."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path

import orjson
import pytest

from pillion import config
from pillion.commands import _NOMINAL_S
from pillion.core.events import (
    Announcement,
    EngineStarted,
    Event,
    HandoverCompleted,
    MigrationAbandoned,
    MigrationCompleted,
    MigrationRequested,
    MigrationStarted,
    RelocationBegan,
    Trigger,
    UeDisconnected,
    VisitSatOut,
    ZoneChangePredicted,
)
from pillion.core.mobility import Attached, CellSeen, Located
from pillion.core.model import Epoch, PoaId, UeId, ZoneId
from pillion.core.plan import Group
from pillion.core.reports import migration_reports
from pillion.core.state import Fleet
from pillion.journal.records import encode
from pillion.replay.player import NominalWorld, Player, play_trace
from pillion.replay.trace import FIRST_FORMAT, Trace, read_trace

from ..core.examples import A2, MEC1, MEC2, PLANS, UE, engine_started
from ..data.record_drive import POLLS_A_SECOND, TRACE, TRUTH, recorded

LAB = config.load(Path(__file__).parents[2] / "lab.pillion.yml")
Story = list[tuple[float, Event | Announcement]]


def played(trace: Trace) -> Player:
    started = EngineStarted(Epoch(1), LAB.policy(), tuple(LAB.app_list()))
    return play_trace(trace, started, NominalWorld(config.all_plans(), _NOMINAL_S), LAB.tracking.lookahead_s)


@cache
def drive() -> Player:
    return played(read_trace(TRACE))


def told(story: Story, kind: type) -> list[tuple[float, object]]:
    return [(at_s, fact) for at_s, fact in story if isinstance(fact, kind)]


def test_the_replayed_drive_tells_exactly_the_true_changes_of_poa_and_zone_in_order():
    changes = orjson.loads(TRUTH.read_bytes())
    assert [
        (at_s, fact.poa, fact.zone, fact.previous_poa, fact.previous_zone)
        for at_s, fact in told(drive().story, HandoverCompleted)
    ] == [
        (float(true["tick"]), true["poa"], true["zone"], true["previous_poa"], true["previous_zone"])
        for true in changes
    ]
    assert len(changes) == 21
    zones = [true["zone"] for true in changes if true["zone"] != true["previous_zone"]]
    assert zones == ["zone02", "zone01", "zone03", "zone01", "zone02"]
    assert not told(drive().story, UeDisconnected)


def test_on_our_lab_the_drive_is_two_migrations_and_a_visit_of_two_seconds_that_is_sat_out():
    story = drive().story
    moved = [report for report in migration_reports(story) if report.started.source and report.status == "completed"]
    assert [(report.started.source.host, report.started.target.host) for report in moved] == [
        ("mec1", "mec2"),
        ("mec2", "mec1"),
    ]
    assert all(report.started.trigger is Trigger.PREDICTION for report in moved), "prepared ahead of the handover"
    assert all(report.relocation.trigger is Trigger.HANDOVER for report in moved)
    ((at_s, sat_out),) = told(story, VisitSatOut)
    assert (at_s, sat_out.zone, sat_out.host, sat_out.stayed_s) == (182.0, "zone01", "mec2", 2.0)
    assert drive().fleet.apps[A2.id].serving.host == "mec1"


def test_each_relocation_begins_when_the_visit_has_settled():
    entered = {
        fact.zone: at_s
        for at_s, fact in reversed(told(drive().story, HandoverCompleted))
        if fact.zone != fact.previous_zone and at_s < 180
    }
    began = [at_s for at_s, fact in told(drive().story, RelocationBegan) if fact.trigger is Trigger.HANDOVER]
    assert began == [entered["zone01"] + 4, entered["zone03"] + 4]


def test_each_zone_that_was_entered_had_been_expected():
    expected: set[str] = set()
    for _, fact in drive().story:
        if isinstance(fact, ZoneChangePredicted):
            expected.add(fact.zone)
        elif isinstance(fact, HandoverCompleted) and fact.previous_zone not in (None, fact.zone):
            assert fact.zone in expected
            expected.clear()


def test_the_same_trace_is_the_same_story_byte_for_byte():
    def told_again() -> bytes:
        return orjson.dumps([(at_s, encode(fact)) for at_s, fact in played(read_trace(TRACE)).story])

    assert told_again() == told_again()


def test_a_drive_of_four_minutes_is_replayed_in_a_fraction_of_a_second():
    trace = read_trace(TRACE)
    began_s = time.process_time()
    played(trace)
    assert time.process_time() - began_s < 1.0


async def test_the_committed_drive_is_what_the_sandbox_and_the_client_give_today(tmp_path: Path):
    trace, truth = await recorded()
    assert TRUTH.read_bytes() == truth
    today = tmp_path / "today.trace"
    today.write_text(trace, encoding="utf-8")
    assert read_trace(TRACE) == read_trace(today)


def test_the_committed_drive_is_of_the_first_version():
    assert orjson.loads(TRACE.read_bytes().splitlines()[0])["format"] == FIRST_FORMAT


def test_what_was_told_of_poas_and_cells_was_a_reason_to_ask_and_changes_nothing_by_itself():
    trace = read_trace(TRACE)
    reasons = (CellSeen(trace.ue, 101.0, None), Attached(trace.ue, 101.0, PoaId("4g-macro-cell-6"), ZoneId("zone03")))
    noticed = Trace(trace.ue, trace.layout, (*trace.observations[:405], *reasons, *trace.observations[405:]))
    assert played(noticed).story == drive().story


def test_positions_that_were_told_between_the_answers_are_as_good_as_asked_ones():
    trace = read_trace(TRACE)
    seldom_asked = [
        Located(seen.ue, seen.asked_s, seen.position) if index % POLLS_A_SECOND and seen.position else seen
        for index, seen in enumerate(trace.observations)
    ]
    assert played(Trace(trace.ue, trace.layout, tuple(seldom_asked))).story == drive().story


def test_the_committed_drive_is_small():
    assert TRACE.stat().st_size < 150_000


# --- the player itself ---


def nominal(**seconds: float) -> NominalWorld:
    return NominalWorld(PLANS, {Group(name.replace("_", "-")): took_s for name, took_s in seconds.items()})


WORLD = {"pre_relocation": 2.0, "relocation": 0.5, "clean_up": 0.25}


def test_steps_take_the_time_of_their_group_and_those_that_overlap_count_once():
    player = Player(Fleet.empty(), nominal(**WORLD))
    player.put(0.0, engine_started())
    player.run()
    player.put(100.0, MigrationRequested(A2.id, MEC2))
    player.run()
    (began_s, _) = told(player.story, RelocationBegan)[-1]
    (ended_s, _) = told(player.story, MigrationCompleted)[-1]
    assert began_s == 100 + 4 * 2.0, "tell, commit, send, create; links and the DV meanwhile"
    assert ended_s == began_s + 6 * 0.5 + 2 * 0.25


def test_playing_up_to_an_instant_leaves_the_rest_to_come():
    player = Player(Fleet.empty(), nominal(**WORLD))
    player.put(0.0, engine_started())
    player.put(50.0, MigrationRequested(A2.id, MEC2))
    player.run(until_s=20.0)
    assert player.pending
    assert player.now_s <= 20
    assert not [fact for _, fact in told(player.story, MigrationStarted) if fact.source]
    player.run()
    assert not player.pending
    assert player.fleet.apps[A2.id].serving.host == MEC2


def test_events_of_one_instant_happen_in_the_order_they_were_put():
    player = Player(Fleet.empty(), nominal(**WORLD))
    player.put(0.0, engine_started())
    for name in ("p1", "p2", "p3"):
        player.put(5.0, HandoverCompleted(UE, name, "zone02"))
    player.run()
    assert [fact.poa for _, fact in told(player.story, HandoverCompleted)] == ["p1", "p2", "p3"]


def test_a_migration_that_is_given_up_is_cancelled_in_the_middle_of_a_step():
    player = Player(Fleet.empty(), nominal(pre_relocation=30.0, relocation=0.5, clean_up=0.1))
    player.put(0.0, engine_started())
    player.run()
    at_s = player.now_s + 10
    player.put(at_s, HandoverCompleted(UE, "p1", "zone01"))
    player.put(at_s + 2, HandoverCompleted(UE, "p2", "zone02"))
    player.run()
    ((ended_s, _),) = told(player.story, MigrationAbandoned)
    assert ended_s == at_s + 2, "not at the end of a step of 30 s"
    assert player.fleet.apps[A2.id].serving.host == MEC1


def test_a_check_sees_the_fleet_after_every_event():
    seen: list[Fleet] = []
    player = Player(Fleet.empty(), nominal(**WORLD), seen.append)
    player.put(0.0, engine_started())
    player.run()
    assert len(seen) == sum(isinstance(fact, Event) for _, fact in player.story)
    assert seen[-1] is player.fleet


def test_an_app_is_not_moved_by_the_drive_of_a_ue_it_does_not_ride_with():
    trace = read_trace(TRACE)
    player = played(Trace(UeId("10.100.0.9"), trace.layout, trace.observations))
    assert player.fleet.apps[A2.id].serving.host == "mec1"
    assert [report.started.trigger for report in migration_reports(player.story)] == [Trigger.START]


@pytest.mark.parametrize("every", [2, 4, 8])
def test_fewer_answers_change_when_things_are_told_and_not_what_comes_of_it(every: int):
    trace = read_trace(TRACE)
    thinned = Trace(trace.ue, trace.layout, trace.observations[::every])
    statuses = [report.status for report in migration_reports(played(thinned).story) if report.started.source]
    assert statuses.count("completed") == 2
