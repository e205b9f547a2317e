"""The fleet's decisions, as plays: what happens, and what comes of it; then every order of events under hypothesis."""

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillion.core.events import (
    Api,
    AppIdle,
    AppLost,
    Event,
    HandoverCompleted,
    HostLost,
    HostReturned,
    InstanceStopped,
    LeftBehind,
    MigrationAbandoned,
    MigrationCompleted,
    MigrationFailed,
    MigrationRequested,
    MigrationStarted,
    Refusal,
    RelocationBegan,
    RequestRefused,
    StepDone,
    StepUndone,
    Trigger,
    UeDisconnected,
    VisitSatOut,
    ZoneChangePredicted,
)
from pillion.core.migration import PREPARABLE, Phase
from pillion.core.model import AppId, Epoch, HostId, Instance, PoaId, ZoneId
from pillion.core.state import Fleet
from pillion.replay.player import Player

from .examples import A2, MEC1, MEC2, MEC3, POLICY, UE, engine_started
from .model_world import REFUSED, UNHEARD, WELL, ModelWorld, Verdict


def handover(zone: str, poa: str = "") -> HandoverCompleted:
    return HandoverCompleted(UE, PoaId(poa or f"poa-{zone}"), ZoneId(zone))


def predicted(zone: str) -> ZoneChangePredicted:
    return ZoneChangePredicted(UE, ZoneId(zone), PoaId(f"poa-{zone}"), 8.0)


def always_well(_: str) -> Verdict:
    return 0.1, WELL


class Play:
    """A2 serves on mec1; the UE is in zone02, which mec1 serves."""

    def __init__(self, verdict=always_well) -> None:
        self.verdict = always_well
        self.world = ModelWorld(lambda name: self.verdict(name))
        self.player = Player(Fleet.empty(), self.world, lambda _: self.world.serve())
        self.player.put(0.0, engine_started())
        self.player.put(5.0, handover("zone02"))
        self.player.run()
        self.player.story.clear()
        self.verdict = verdict

    def at(self, at_s: float, event: Event) -> "Play":
        self.player.put(at_s, event)
        return self

    def end(self, until_s: float = 1000.0) -> "Play":
        self.player.run(until_s)
        return self

    def told(self, kind: type) -> list:
        return [fact for _, fact in self.player.story if isinstance(fact, kind)]

    @property
    def state(self):
        return self.player.fleet.apps[A2.id]


def test_an_app_is_started_where_the_lab_file_says():
    play = Play()
    assert play.state.serving.host == MEC1
    play.world.check_at_rest(play.player.fleet)


def test_a_predicted_zone_change_prepares_the_target_and_the_handover_relocates_after_the_visit_has_settled():
    play = Play().at(100, predicted("zone01")).end(103)
    assert play.state.migration.phase is Phase.PREPARED
    play.at(110, handover("zone01")).end()
    (began,) = play.told(RelocationBegan)
    assert began.trigger is Trigger.HANDOVER
    assert next(at for at, fact in play.player.story if fact is began) == 114
    assert play.state.serving.host == MEC2
    play.world.check_at_rest(play.player.fleet)


def test_a_handover_that_comes_before_the_target_is_prepared_is_remembered():
    play = Play(lambda name: (30.0 if name == "send-image" else 0.1, WELL))
    play.at(100, predicted("zone01")).at(101, handover("zone01")).end()
    assert play.told(MigrationCompleted)
    assert len(play.told(MigrationStarted)) == 1
    assert play.state.serving.host == MEC2


def test_a_visit_shorter_than_the_settling_time_is_sat_out_with_its_reason():
    play = Play().at(100, predicted("zone01")).at(110, handover("zone01")).at(112.3, handover("zone02")).end()
    (sat_out,) = play.told(VisitSatOut)
    assert round(sat_out.stayed_s, 1) == 2.3
    assert "4 s" in sat_out.reason
    assert play.told(MigrationAbandoned)
    assert not play.told(RelocationBegan)
    play.world.check_at_rest(play.player.fleet)


def test_handovers_inside_the_target_s_area_do_not_begin_the_visit_anew():
    play = Play().at(100, predicted("zone01")).at(110, handover("zone01")).at(112, handover("zone01", "other")).end()
    (began,) = play.told(RelocationBegan)
    assert next(at for at, fact in play.player.story if fact is began) == 114


def test_a_repeated_handover_changes_nothing():
    play = Play().at(100, handover("zone01")).at(120, handover("zone01")).at(121, handover("zone01")).end()
    assert len(play.told(MigrationStarted)) == 1
    assert play.state.serving.host == MEC2


def test_a_wrong_guess_is_given_up_for_the_host_where_the_ue_really_is():
    play = Play().at(100, predicted("zone04")).at(105, handover("zone01")).end()
    (abandoned,) = play.told(MigrationAbandoned)
    assert "mec2 is wanted instead" in abandoned.reason
    assert play.state.serving.host == MEC2
    play.world.check_at_rest(play.player.fleet)


def test_a_disconnected_ue_leaves_its_app_where_it_is():
    play = Play().at(100, UeDisconnected(UE, PoaId("p"), ZoneId("zone02"))).end()
    assert play.state.serving.host == MEC1
    assert not play.told(MigrationStarted)


def test_a_failed_step_leaves_the_source_serving_and_is_tried_again_after_a_pause():
    failures = iter([REFUSED])
    play = Play(lambda name: (0.1, next(failures, WELL) if name == "start" else WELL))
    play.at(100, handover("zone01")).end()
    (failed,) = play.told(MigrationFailed)
    assert failed.reason.startswith("start: ")
    assert len(play.told(MigrationStarted)) == 2
    assert play.state.serving.host == MEC2
    play.world.check_at_rest(play.player.fleet)


def test_what_cannot_be_undone_now_is_undone_later_and_does_not_hold_up_the_app():
    verdicts = {"start": iter([REFUSED]), "undo create": iter([REFUSED] * 5)}
    play = Play(lambda name: (0.1, next(verdicts[name], WELL) if name in verdicts else WELL))
    play.at(100, handover("zone01")).end()
    assert play.told(LeftBehind)
    play.world.check_at_rest(play.player.fleet)


def test_a_request_by_hand_is_carried_out_at_once():
    play = Play().at(100, MigrationRequested(A2.id, MEC3)).end()
    assert play.state.serving.host == MEC3
    assert play.told(MigrationStarted)[0].trigger is Trigger.OPERATOR


def test_a_request_by_hand_takes_the_place_of_a_target_that_was_prepared_on_a_guess():
    play = Play().at(100, predicted("zone01")).at(105, MigrationRequested(A2.id, MEC3)).end()
    assert [started.trigger for started in play.told(MigrationStarted)][:2] == [Trigger.PREDICTION, Trigger.OPERATOR]
    assert play.state.serving.host == MEC3


def test_a_target_that_was_prepared_is_given_up_when_the_engine_starts_anew():
    play = Play().at(100, predicted("zone01")).end(103)
    restart(play)
    play.end()
    (abandoned,) = play.told(MigrationAbandoned)
    assert abandoned.reason == "the engine was started anew"
    assert not play.told(MigrationFailed)
    play.world.check_at_rest(play.player.fleet)


def test_a_visit_is_counted_from_the_start_of_an_engine_whose_clock_began_anew():
    play = Play().at(100, predicted("zone01")).at(110, handover("zone01")).end(111)
    restart(play, now_s=1.0)
    play.end()
    assert play.state.serving.host == MEC2


def test_an_app_that_left_the_lab_file_before_it_ever_served_is_not_started():
    play = Play(lambda name: (0.1, REFUSED if name == "plan" else WELL))
    fleet = Player(Fleet.empty(), play.world)
    fleet.put(0.0, engine_started())
    fleet.put(0.05, replace(engine_started(5), apps=(), policy=replace(POLICY, start={})))
    fleet.run(50.0)
    assert fleet.fleet.apps[A2.id].serving is None
    assert fleet.fleet.apps[A2.id].migration is None


def test_a_request_by_hand_is_seen_through_although_the_ue_changes_its_poa():
    play = Play().at(100, MigrationRequested(A2.id, MEC3)).at(100.1, handover("zone02", "other")).end()
    assert play.told(MigrationCompleted)


@pytest.mark.parametrize(("who", "why"), [(Trigger.APP, "by the app"), (Trigger.UE, "by the UE's client")])
def test_the_app_and_its_ue_may_ask_as_well_and_the_journal_says_who_it_was(who, why):
    play = Play().at(100, MigrationRequested(A2.id, MEC3, trigger=who)).end()
    (started,) = play.told(MigrationStarted)
    assert (started.trigger, started.reason) == (who, f"asked for {why}")
    assert play.told(RelocationBegan)[0].trigger is who
    assert play.state.serving.host == MEC3


def test_who_asks_without_a_host_means_the_one_where_the_ue_is():
    play = Play().at(100, handover("zone01")).at(100.1, MigrationRequested(A2.id, None, trigger=Trigger.APP)).end()
    assert play.state.serving.host == MEC2
    assert Trigger.APP in [began.trigger for began in play.told(RelocationBegan)]
    play = Play().at(100, MigrationRequested(A2.id, None, trigger=Trigger.APP)).end()
    assert play.told(RequestRefused) == [RequestRefused(A2.id, MEC1, Refusal.ALREADY_THERE, Trigger.APP)]


def test_where_the_ue_is_has_to_be_known_to_move_there():
    world = ModelWorld(always_well)
    player = Player(Fleet.empty(), world, lambda _: world.serve())
    player.put(0.0, engine_started())
    player.put(100.0, MigrationRequested(A2.id, None, trigger=Trigger.UE))
    player.run()
    assert [fact for _, fact in player.story if isinstance(fact, RequestRefused)] == [
        RequestRefused(A2.id, None, Refusal.NO_PLACE, Trigger.UE)
    ]


def test_a_handover_that_the_rnis_told_of_is_recorded_as_such():
    told = replace(handover("zone01"), learned_by=Api.RNIS)
    assert told == handover("zone01"), "however it was learned, it is the same event"
    play = Play().at(100, told).end()
    assert [fact.trigger for fact in play.told(MigrationStarted)] == [Trigger.RNIS]
    assert [fact.trigger for fact in play.told(RelocationBegan)] == [Trigger.RNIS]
    assert play.state.serving.host == MEC2


def test_a_visit_is_not_waited_out_while_nobody_is_connected():
    play = Play().at(100, predicted("zone01")).at(110, handover("zone01")).at(110.5, AppIdle(A2.id)).end(111.5)
    (began,) = play.told(RelocationBegan)
    assert (began.trigger, "nobody is connected" in began.reason) == (Trigger.DATA_PLANE, True)
    assert play.end().state.serving.host == MEC2


def test_that_nobody_is_connected_moves_no_app_whose_ue_is_not_there_or_whose_target_is_not_prepared():
    for happens in ([], [(100, predicted("zone01"))], [(109.95, handover("zone01"))]):
        play = Play()
        for at_s, event in happens:
            play.at(at_s, event)
        play.at(110, AppIdle(A2.id)).at(110, AppIdle(AppId("nobody"))).end(111)
        assert not play.told(RelocationBegan)


def test_requests_that_make_no_sense_are_refused_with_the_reason():
    def refusal(event: MigrationRequested) -> Refusal:
        (refused,) = Play().at(100, event).end().told(RequestRefused)
        return refused.refusal

    assert refusal(MigrationRequested(AppId("nobody"), MEC2)) is Refusal.UNKNOWN_APP
    assert refusal(MigrationRequested(A2.id, HostId("mec9"))) is Refusal.UNKNOWN_HOST
    assert refusal(MigrationRequested(A2.id, MEC2, "M9")) is Refusal.UNKNOWN_STRATEGY
    assert refusal(MigrationRequested(A2.id, MEC1)) is Refusal.ALREADY_THERE


def test_a_ue_that_turns_back_during_relocation_is_followed_back():
    play = Play(lambda name: (1.0 if name == "start" else 0.1, WELL))
    play.at(100, predicted("zone01")).at(110, handover("zone01")).at(114.5, handover("zone02")).end()
    assert len(play.told(MigrationCompleted)) == 2
    assert play.state.serving.host == MEC1
    play.world.check_at_rest(play.player.fleet)


ZONES = st.sampled_from(["zone01", "zone02", "zone03", "zone04"])
HAPPENINGS = st.one_of(
    st.builds(handover, ZONES),
    st.builds(handover, ZONES, st.sampled_from(["p1", "p2"])),
    st.builds(predicted, ZONES),
    st.builds(lambda host: MigrationRequested(A2.id, host), st.sampled_from([MEC1, MEC2, MEC3, None])),
    st.just(AppIdle(A2.id)),
    st.just(UeDisconnected(UE, PoaId("p"), ZoneId("zone02"))),
)
HOSTS = st.sampled_from([MEC1, MEC2, MEC3])
LOSSES = st.one_of(st.builds(lambda host: HostLost(host, 10.0, {}), HOSTS), st.builds(HostReturned, HOSTS))


@given(
    happenings=st.lists(st.tuples(st.floats(0, 30), HAPPENINGS | LOSSES), min_size=1, max_size=12),
    verdicts=st.lists(
        st.tuples(st.sampled_from([0.0, 0.01, 0.4, 3.0, 12.0]), st.sampled_from([WELL, WELL, WELL, REFUSED, UNHEARD])),
        max_size=80,
    ),
    crashes=st.sets(st.integers(0, 60), max_size=4),
    stops=st.sets(st.integers(0, 60), max_size=2),
)
@settings(max_examples=300, deadline=None)
def test_whatever_happens_in_whatever_order_one_host_serves_with_all_state_and_nothing_is_left(
    happenings, verdicts, crashes, stops
):
    coming = iter(verdicts)
    play = Play(lambda _: next(coming, (0.1, WELL)))
    at_s = 100.0
    for pause_s, event in happenings:
        at_s += pause_s
        play.at(at_s, event)
    for host in (MEC1, MEC2, MEC3):
        play.at(at_s + 200, HostReturned(host))
    for played in itertools.count():
        if played in crashes:
            restart(play)
        serving = play.state.serving
        if played in stops and play.world.containers.get(serving) == "running" and may_start(play):
            play.world.containers[serving] = "exited"
        watch(play)
        if not play.player.pending:
            break
        assert played < 2000, "it never comes to rest"
        match play.player.coming[0]:
            case HostLost(host=host):
                play.world.lost.add(host)
            case HostReturned(host=host):
                play.world.lost.discard(host)
        play.player.step()
    play.world.check_at_rest(play.player.fleet)
    assert play.world.gone_back <= len(play.told(AppLost)), "state was lost though no host was"


def may_start(play: Play) -> bool:
    return play.state.migration is None or play.state.migration.phase in PREPARABLE


def watch(play: Play) -> None:
    """Tell of the serving container if it does not run, as the engine's watch does again and again."""
    state, player = play.state, play.player
    running = state.serving is None or play.world.containers.get(state.serving) == "running"
    told = any(isinstance(event, InstanceStopped) for event in player.coming)
    if not running and not told and not state.stopped and may_start(play) and state.serving.host not in play.world.lost:
        player.put(player.now_s + 1, InstanceStopped(A2.id, state.serving, "exited"))


def restart(play: Play, now_s: float | None = None) -> None:
    """Kill the engine: answers under way are lost; what they did to the world and what the journal holds is not."""
    play.player.forget_answers()
    play.world.links.clear()
    now_s = play.player.now_s if now_s is None else now_s
    # Ahead of all that is still to come: no event is taken in between two engines.
    play.player.put(math.nextafter(now_s, 0.0), engine_started(play.player.fleet.next_epoch))


def losing(play: Play, at_s: float, host: HostId, last_seen: int) -> Play:
    """The host is gone from then on, and found to be lost 10 s later."""
    play.end(at_s)
    play.world.lost.add(host)
    return play.at(at_s + 10, HostLost(host, 10.0, {A2.id: last_seen}))


def test_an_app_whose_host_is_lost_goes_on_from_the_copy_that_was_prepared_elsewhere():
    play = Play().at(100, predicted("zone01")).end(103)
    target, copied = play.state.migration.target, play.world.volumes[play.state.migration.target]
    losing(play, 105, MEC1, last_seen=40).end(116)
    assert play.told(AppLost) == [AppLost(A2.id, Instance(A2.id, MEC1, Epoch(2)), 40, target)]
    assert [fact.reason for fact in play.told(MigrationFailed)] == ["mec1 was lost"]
    assert play.state.serving == target
    assert play.world.volumes[target] >= copied > 0
    assert play.player.fleet.debts, "what the lost host still has is owed"
    play.end()
    play.world.lost.clear()
    play.at(play.player.now_s + 1, HostReturned(MEC1)).end()
    play.world.check_at_rest(play.player.fleet)


def test_without_a_copy_it_starts_anew_where_its_ue_is_and_else_on_any_host_that_is_left():
    for zone, expected in (("zone04", MEC3), ("zone02", MEC2)):
        play = Play(lambda name: (0.1, WELL)).at(101, handover(zone)).end(101.1)
        losing(play, 101.1, MEC1, last_seen=7).end(115)
        (lost,) = play.told(AppLost)
        assert lost.copy is None
        assert play.state.serving.host == expected


def test_traffic_leaves_the_lost_host_before_the_app_starts_elsewhere():
    play = losing(Play(), 100, MEC1, last_seen=1)
    traffic_at_start = []
    play.verdict = lambda name: (traffic_at_start.append((name, play.world.traffic)) or 0.1, WELL)
    play.end(120)
    assert [traffic for name, traffic in traffic_at_start if name in ("create", "start", "prove")] == [None] * 3
    assert play.world.traffic == MEC2


def test_a_lost_host_gets_no_app_until_it_has_returned_and_is_cleared_up():
    play = losing(Play(), 100, MEC1, last_seen=1).at(150, handover("zone02")).end(200)
    assert play.state.serving.host == MEC2
    assert not [fact for fact in play.told(MigrationStarted) if fact.target.host == MEC1]
    play.at(201, MigrationRequested(A2.id, MEC1)).end(202)
    assert play.told(RequestRefused)[0].refusal is Refusal.HOST_LOST
    play.world.lost.clear()
    play.verdict = lambda name: (5.0 if name == "remove-lost" else 0.1, WELL)
    play.at(210, HostReturned(MEC1)).end()
    (back,) = [fact for fact in play.told(MigrationStarted) if fact.target.host == MEC1]
    assert next(at for at, fact in play.player.story if fact is back) == 215
    assert play.state.serving.host == MEC1
    play.world.check_at_rest(play.player.fleet)


def test_the_only_host_is_not_given_up():
    play = Play()
    play.player.fleet = replace(play.player.fleet, policy=replace(POLICY, hosts=frozenset({MEC1})))
    losing(play, 100, MEC1, last_seen=1).end(130)
    assert not play.told(AppLost)
    assert play.state.serving.host == MEC1


def test_a_host_lost_in_the_downtime_leaves_the_fenced_copy_to_take_over():
    play = Play(lambda name: (30.0 if name == "undo fence" else 0.1, WELL)).at(100, handover("zone01")).end(104.15)
    assert play.state.migration.phase is Phase.RELOCATING
    state = play.world.state
    play.verdict = lambda name: (0.1, REFUSED if name == "start" else WELL)
    losing(play, 104.15, MEC1, last_seen=state).end(112)
    assert play.state.migration.phase is Phase.UNDOING, (
        "the source cannot be unpaused, and the copy is kept until it is"
    )
    play.verdict = always_well
    play.end(130)
    (lost,) = play.told(AppLost)
    assert lost.copy == play.state.serving
    assert play.world.gone_back == 0, "the last bytes had been copied: nothing is lost"


def test_a_host_that_is_lost_after_the_proof_is_left_for_good_with_all_it_had():
    play = Play(lambda name: (60.0 if name == "remove-source" else 0.1, WELL)).at(100, handover("zone01")).end(106)
    assert play.state.migration.phase is Phase.CLEANING_UP
    losing(play, 106, MEC2, last_seen=9).end(300)
    assert play.state.serving.host == MEC1
    assert play.told(AppLost)[0].copy is None
    play.world.lost.clear()
    play.at(301, HostReturned(MEC2)).end()
    play.world.check_at_rest(play.player.fleet)


def test_a_host_that_returns_is_no_place_to_start_at_while_the_lost_instance_may_run_there():
    failing, removals = list[str](), iter([REFUSED] * 6)

    def verdict(name: str) -> Verdict:
        if name in failing:
            failing.remove(name)
            return 12.0, REFUSED
        return 0.1, next(removals, WELL) if name == "remove-lost" else WELL

    play = Play(verdict).end(100)
    lost = play.state.serving
    failing.append("create")
    losing(play, 100, lost.host, last_seen=0).end(112)
    play.world.lost.clear()
    play.at(115, HostReturned(lost.host)).end(400)
    removed_s = next(at for at, fact in play.player.story if isinstance(fact, StepDone) and fact.step == "remove-lost")
    begun = [
        (at, fact.target.host) for at, fact in play.player.story if isinstance(fact, MigrationStarted) and at >= 100
    ]
    assert all(host != lost.host or at >= removed_s for at, host in begun), begun
    assert len(begun) >= 2, begun
    play.end()
    play.world.check_at_rest(play.player.fleet)


def test_an_instance_that_stopped_is_started_again_where_it_is_and_what_was_prepared_is_given_up_first():
    play = Play().at(100, predicted("zone01")).end(103)
    serving, state = play.state.serving, play.world.state
    play.world.containers[serving] = "exited"
    play.at(104, InstanceStopped(A2.id, serving, "exited")).end(105)
    assert play.told(MigrationAbandoned)[0].reason == f"container {serving.container} was exited"
    restarted = [fact for fact in play.told(MigrationStarted) if fact.strategy == "restart"]
    assert [(fact.target, fact.trigger) for fact in restarted] == [(serving, Trigger.STOP)]
    assert play.world.containers[serving] == "running"
    assert play.state.serving == serving
    assert play.world.state >= state
    play.end()
    play.world.check_at_rest(play.player.fleet)


def test_what_is_owed_to_the_serving_instance_holds_up_its_next_migration_and_a_wish_waits():
    failing = itertools.chain([REFUSED] * 3, itertools.repeat(WELL))
    play = Play(lambda name: (0.1, next(failing) if name == "undo tell-source" else WELL))
    play.at(100, predicted("zone01")).at(105, handover("zone02")).at(106, MigrationRequested(A2.id, MEC3)).end()
    abandoned, settled = (
        next(at for at, fact in play.player.story if isinstance(fact, kind) and getattr(fact, "step", step) == step)
        for kind, step in ((MigrationAbandoned, None), (StepUndone, "tell-source"))
    )
    (asked,) = [fact for fact in play.told(MigrationStarted) if fact.trigger is Trigger.OPERATOR]
    began = next(at for at, fact in play.player.story if fact is asked)
    assert abandoned < settled <= began
    assert settled - abandoned > 2, "it was tried again and again, with growing pauses"
    assert play.state.serving.host == MEC3
