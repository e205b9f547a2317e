"""All apps and their migrations: where each is served, where it should be, and what to do about the difference.

`decide` is the one door for change: an event goes in, the new fleet and a list of actions come out. It reads no clock
and does no I/O, so the fleet is the fold of `decide` over the journal. One migration per app at a time; apps do not
wait for one another.

How an app follows its UE:
- a *predicted* zone change to another host starts pre-relocation there; a wrong guess is thrown away;
- a *handover* to another host's POA starts it too, if nothing was predicted, and is remembered until the UE has stayed
  there for `settle_s`: visits of a second or two are normal and are sat out;
- once the visit has settled and the target is prepared, relocation begins; if nobody is connected to the app, before.

How it survives: an instance that stopped is started again where it is. An app whose host is lost starts on another one,
from the copy that a migration had prepared there if there is one; what the lost host still has of it is removed when
that host returns, before the app may go there again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pillion.core import migration as migrations
from pillion.core.actions import Action, Announce, SetAlarm
from pillion.core.events import (
    AlarmRang,
    Api,
    AppIdle,
    AppLost,
    EngineStarted,
    Event,
    HandoverCompleted,
    HostLost,
    HostReturned,
    InstanceStopped,
    MigrationRequested,
    MigrationStarted,
    NotificationsLost,
    NotificationsResumed,
    PlanFailed,
    PlanMade,
    Refusal,
    RequestRefused,
    StepDone,
    StepUndone,
    TrackingLost,
    TrackingResumed,
    Trigger,
    UeDisconnected,
    VisitSatOut,
    ZoneChangePredicted,
)
from pillion.core.migration import ENDED, PREPARABLE, Debt, Migration, Phase, StepEvent, Wish
from pillion.core.model import Epoch, HostId, Instance, MigrationId, StepId
from pillion.core.placement import Policy
from pillion.core.plan import Group, Place, RemoveInstance, Step
from pillion.core.state import REMOVE_LOST, AppState, Fleet, Loss, Visit

Decision = tuple[Fleet, list[Action]]

_FOLLOWS = (Trigger.HANDOVER, Trigger.RNIS, Trigger.DATA_PLANE)
"""What follows the UE, and is given up when the UE turns away."""
_ASKED = {
    Trigger.OPERATOR: "asked for by hand",
    Trigger.APP: "asked for by the app",
    Trigger.UE: "asked for by the UE's client",
}


def decide(fleet: Fleet, event: Event, now_s: float) -> Decision:
    """The fleet after an event, and what to do about it. Raises InvalidTransition if the event cannot happen."""
    match event:
        case EngineStarted():
            return _engine_started(fleet, event, now_s)
        case HandoverCompleted() | ZoneChangePredicted():
            orders: list[Action] = []
            for state in [state for state in fleet.apps.values() if state.app.ue == event.ue]:
                if isinstance(event, HandoverCompleted):
                    fleet, more = _handed_over(fleet, state, event, now_s)
                else:
                    fleet, more = _predicted(fleet, state, event, now_s)
                orders += more
            return fleet, orders
        case AlarmRang(app=app_id):
            return _next(fleet, fleet.apps[app_id], now_s) if app_id in fleet.apps else (fleet, [])
        case MigrationRequested():
            return _requested(fleet, event, now_s)
        case AppIdle(app=app_id):
            return _idle(fleet, fleet.apps[app_id], now_s) if app_id in fleet.apps else (fleet, [])
        case InstanceStopped():
            return _stopped(fleet, event, now_s)
        case HostLost():
            return _host_lost(fleet, event, now_s)
        case HostReturned():
            return _host_returned(fleet, event, now_s)
        case UeDisconnected() | TrackingLost() | TrackingResumed() | NotificationsLost() | NotificationsResumed():
            return fleet, []  # The app stays where it is until its UE is seen somewhere again.
        case _:
            return _stepped(fleet, event, now_s)


def _engine_started(fleet: Fleet, event: EngineStarted, now_s: float) -> Decision:
    """Take up what an earlier engine left: migrations, debts and visits; start what was never started."""
    known = {app.id: replace(fleet.apps.get(app.id, AppState(app)), app=app) for app in event.apps}
    fleet = replace(fleet, policy=event.policy, apps={**fleet.apps, **known}, next_epoch=Epoch(event.epoch + 1))
    orders: list[Action] = _collected(fleet, fleet.debts)
    for state in fleet.apps.values():
        # The clock may have begun anew, so times are counted from now; and where a UE is heading was not written down.
        visit = replace(state.visit, since_s=now_s, settled=False) if state.visit else None
        state = replace(state, visit=visit, predicted=None, retry_at_s=now_s)
        fleet = fleet.with_app(state)
        if state.migration:
            fleet, more = _advanced(fleet, state, migrations.recover(state.migration), now_s)
        elif state.serving is None:
            fleet, more = _first_start(fleet, state)
        else:
            more = []
        orders += [*more, SetAlarm(state.app.id, now_s + fleet.policy.settle_s)]
    return fleet, orders


def _handed_over(fleet: Fleet, state: AppState, event: HandoverCompleted, now_s: float) -> Decision:
    predicted = state.predicted if event.zone == state.zone else None
    state = replace(state, poa=event.poa, zone=event.zone, predicted=predicted)
    host = fleet.policy.placement.host_for(event.poa, event.zone)
    trigger = Trigger.RNIS if event.learned_by is Api.RNIS else Trigger.HANDOVER
    if state.home is None:
        return fleet.with_app(state), []
    if host != state.home:
        orders: list[Action] = []
        if state.visit is None or state.visit.host != host:
            state = replace(state, visit=Visit(host, event.zone, now_s, trigger=trigger))
            orders = [SetAlarm(state.app.id, now_s + fleet.policy.settle_s)]
        fleet, more = _head_for(fleet.with_app(state), state, host, trigger, f"handed over to {event.poa}", now_s)
        return fleet, [*orders, *more]
    orders = []
    if state.visit and state.visit.host != host:
        orders = [Announce(_sat_out(state, state.visit, fleet.policy, now_s))]
        state = replace(state, visit=None)
    moving = state.migration
    if moving and _may_be_given_up(moving) and moving.target.host != state.predicted:
        reason = f"the UE is at {event.poa}, which {state.home} serves"
        fleet, more = _advanced(fleet, state, migrations.abandon(moving, reason), now_s)
        return fleet, [*orders, *more]
    return fleet.with_app(state), orders


def _sat_out(state: AppState, visit: Visit, policy: Policy, now_s: float) -> VisitSatOut:
    stayed_s = now_s - visit.since_s
    reason = (
        "the target was not prepared in time"
        if visit.settled
        else f"shorter than the {policy.settle_s:g} s that a visit must last"
    )
    return VisitSatOut(state.app.id, visit.zone, visit.host, stayed_s, reason)


def _predicted(fleet: Fleet, state: AppState, event: ZoneChangePredicted, now_s: float) -> Decision:
    host = fleet.policy.placement.host_for(event.poa, event.zone)
    state = replace(state, predicted=host)
    fleet = fleet.with_app(state)
    if state.visit or host == state.home or state.home is None:
        return fleet, []
    reason = f"{event.zone} expected within {event.in_s:g} s"
    return _head_for(fleet, state, host, Trigger.PREDICTION, reason, now_s)


def _head_for(fleet: Fleet, state: AppState, host: HostId, trigger: Trigger, reason: str, now_s: float) -> Decision:
    """See to it that a migration to `host` is under way, giving up one to elsewhere that is not past preparation."""
    if state.migration is None:
        may = now_s >= state.retry_at_s and not state.stopped and fleet.is_open(state.app.id, host)
        return _start(fleet, state, host, trigger, reason) if may else (fleet, [])
    if state.migration.target.host != host and _may_be_given_up(state.migration):
        return _advanced(fleet, state, migrations.abandon(state.migration, f"{host} is wanted instead"), now_s)
    return fleet, []


def _may_be_given_up(moving: Migration) -> bool:
    """A first start and what was asked for by hand are seen through; other migrations follow the UE's changes."""
    return moving.phase in PREPARABLE and (moving.wish is None or moving.wish.trigger in _FOLLOWS)


def _look_again(fleet: Fleet, state: AppState, now_s: float) -> Decision:
    """Bring an app to where its UE is, as far as its visit has settled; called by alarms and after each migration."""
    if state.serving is None and state.migration is None:
        return _first_start(fleet, state)
    if state.serving is None:
        return fleet, []
    visit = state.visit
    if visit and visit.host == state.home:
        visit = None
    if visit and not visit.settled and now_s >= visit.since_s + fleet.policy.settle_s:
        visit = replace(visit, settled=True)
    state = replace(state, visit=visit)
    fleet = fleet.with_app(state)
    if visit is None:
        if state.predicted is None or state.predicted == state.home:
            return fleet, []
        return _head_for(fleet, state, state.predicted, Trigger.PREDICTION, "another zone is still expected", now_s)
    fleet, orders = _head_for(fleet, state, visit.host, visit.trigger, f"the UE is in {visit.zone}", now_s)
    state = fleet.apps[state.app.id]
    moving = state.migration
    if visit.settled and moving and moving.target.host == visit.host and moving.phase in PREPARABLE:
        wish = Wish(visit.trigger, f"the UE has stayed in {visit.zone} for {now_s - visit.since_s:.1f} s")
        fleet, more = _advanced(fleet, state, migrations.want(moving, wish), now_s)
        orders = [*orders, *more]
    return fleet, orders


def _idle(fleet: Fleet, state: AppState, now_s: float) -> Decision:
    """Nobody is connected: relocate at once to where the UE has already come, if that is prepared, however short its
    visit may be; else nothing."""
    moving, visit = state.migration, state.visit
    if moving is None or visit is None or moving.phase is not Phase.PREPARED or moving.target.host != visit.host:
        return fleet, []
    wish = Wish(Trigger.DATA_PLANE, f"the UE is in {visit.zone}, and nobody is connected")
    return _advanced(fleet, state, migrations.want(moving, wish), now_s)


def _requested(fleet: Fleet, event: MigrationRequested, now_s: float) -> Decision:
    state = fleet.apps.get(event.app)
    if event.target is None and state and state.poa and state.zone:
        event = replace(event, target=fleet.policy.placement.host_for(state.poa, state.zone))
    refusal: Refusal | None = None
    if state is None:
        refusal = Refusal.UNKNOWN_APP
    elif event.target is None:
        refusal = Refusal.NO_PLACE
    elif event.target not in fleet.policy.hosts:
        refusal = Refusal.UNKNOWN_HOST
    elif event.target in fleet.lost:
        refusal = Refusal.HOST_LOST
    elif event.strategy is not None and event.strategy not in fleet.policy.strategies:
        refusal = Refusal.UNKNOWN_STRATEGY
    elif state.serving is None:
        refusal = Refusal.NOT_SERVING
    elif state.serving.host == event.target:
        refusal = Refusal.ALREADY_THERE
    elif state.migration is not None and not _may_be_given_up(state.migration):
        refusal = Refusal.BUSY
    if refusal or state is None:
        refused = RequestRefused(event.app, event.target, refusal or Refusal.UNKNOWN_APP, event.trigger)
        return fleet, [Announce(refused)]
    state = replace(state, asked=event)
    if moving := state.migration:
        return _advanced(fleet, state, migrations.abandon(moving, f"another one was {_ASKED[event.trigger]}"), now_s)
    return _start_asked(fleet, state, event)


def _start_asked(fleet: Fleet, state: AppState, asked: MigrationRequested) -> Decision:
    """Begin what was asked for; while the app's last migration is still being cleared up, or it is down, that waits."""
    assert asked.target is not None
    if state.stopped or not fleet.is_open(state.app.id, asked.target):
        return fleet.with_app(state), []
    state = replace(state, asked=None)
    strategy = asked.strategy or state.app.strategy
    target = Instance(state.app.id, asked.target, fleet.next_epoch)
    reason = _ASKED[asked.trigger]
    return _begin(fleet, state, state.serving, target, strategy, asked.trigger, reason, forced=asked.forced)


def _stopped(fleet: Fleet, event: InstanceStopped, now_s: float) -> Decision:
    state = fleet.apps.get(event.app)
    if state is None or state.serving != event.instance:
        return fleet, []
    reason = f"container {event.instance.container} was {event.state}"
    state = replace(state, stopped=reason)
    if state.migration is None:
        return _begin(fleet, state, None, event.instance, "restart", Trigger.STOP, reason)
    if state.migration.phase in PREPARABLE and state.migration.source:
        return _advanced(fleet, state, migrations.abandon(state.migration, reason), now_s)
    return fleet, []


def _host_lost(fleet: Fleet, event: HostLost, now_s: float) -> Decision:
    """Start the host's apps elsewhere. Where there is no other host, their state is best kept where it is."""
    lost = fleet.lost | {event.host}
    if event.host in fleet.lost or not fleet.policy.hosts - lost:
        return fleet, []
    fleet = replace(fleet, lost=lost)
    orders: list[Action] = []
    for state in fleet.apps.values():
        moving = state.migration
        more: list[Action] = []
        if state.serving and state.serving.host == event.host:
            fleet, more = _lose(fleet, state, state.serving, event.last_seen.get(state.app.id), now_s)
        elif moving and moving.target.host == event.host and moving.phase in PREPARABLE and moving.source:
            fleet, more = _advanced(fleet, state, migrations.abandon(moving, f"{event.host} was lost"), now_s)
        orders += more
    return fleet, orders


def _lose(fleet: Fleet, state: AppState, lost: Instance, last_seen_seq: int | None, now_s: float) -> Decision:
    app, moving = state.app, state.migration
    copy = moving.target if moving and moving.has_copy and moving.target.host not in fleet.lost else None
    # On the lost host the instance may go on running, unseen; it is removed when that host returns.
    remove = Step(REMOVE_LOST, Group.CLEAN_UP, Place.SOURCE, RemoveInstance(lost))
    owed = Debt(MigrationId(f"{app.id}-{lost.epoch}-lost"), app, remove, undo=False)
    state = replace(state, serving=None, visit=None, asked=None, stopped=None, loss=Loss(lost, copy))
    fleet = replace(fleet, debts=(*fleet.debts, owed)).with_app(state)
    if moving:
        given_up = migrations.lose(moving, lost.host, keep_target=copy is not None)
        fleet, orders = _advanced(fleet, state, given_up, now_s)
    else:
        fleet, orders = _first_start(fleet, state)
    return fleet, [Announce(AppLost(app.id, lost, last_seen_seq, copy)), *orders]


def _host_returned(fleet: Fleet, event: HostReturned, now_s: float) -> Decision:
    """Settle first what is owed there; that done, apps may go there again."""
    under_way = {debt.migration for debt in fleet.debts if fleet.collects(debt)}
    fleet = replace(fleet, lost=fleet.lost - {event.host})
    orders: list[Action] = _collected(fleet, [debt for debt in fleet.debts if debt.migration not in under_way])
    for app_id in fleet.apps:
        fleet, more = _next(fleet, fleet.apps[app_id], now_s)
        orders += more
    return fleet, orders


def _first_start(fleet: Fleet, state: AppState) -> Decision:
    """Start an app that nothing serves: for the first time, or again after a loss."""
    if state.loss is None:
        host = fleet.policy.start.get(state.app.id)
        # An app that has left the lab file before it ever served is not started any more.
        return _start(fleet, state, host, Trigger.START, "first start") if host else (fleet, [])
    reason = f"{state.loss.instance.host} was lost"
    if copy := state.loss.copy:
        return _begin(fleet, state, None, copy, "restart", Trigger.LOSS, reason)
    near = fleet.policy.placement.host_for(state.poa, state.zone) if state.poa and state.zone else None
    wanted = [near, fleet.policy.start.get(state.app.id), *sorted(fleet.policy.hosts)]
    # If there is no such host now, there will be one when what is owed on one is settled, or one returns.
    host = next((host for host in wanted if host and fleet.may_run(state.app.id, host)), None)
    return _start(fleet, state, host, Trigger.LOSS, reason) if host else (fleet, [])


def _start(fleet: Fleet, state: AppState, host: HostId, trigger: Trigger, reason: str) -> Decision:
    """A migration to a new instance on a host, or the app's start there if nothing serves it."""
    strategy = "deploy" if state.serving is None else state.app.strategy
    target = Instance(state.app.id, host, fleet.next_epoch)
    return _begin(fleet, state, state.serving, target, strategy, trigger, reason)


def _begin(
    fleet: Fleet,
    state: AppState,
    source: Instance | None,
    target: Instance,
    strategy: str,
    trigger: Trigger,
    reason: str,
    *,
    forced: bool = False,
) -> Decision:
    moving_id = MigrationId(f"{state.app.id}-{fleet.next_epoch}")
    moving = Migration(moving_id, state.app, source, target, strategy, forced=forced)
    if trigger not in (Trigger.PREDICTION, *_FOLLOWS):
        moving = replace(moving, wish=Wish(trigger, reason))
    moving, orders = migrations.begin(moving)
    started = MigrationStarted(moving.id, state.app.id, source, target, strategy, trigger, reason)
    fleet = replace(fleet, next_epoch=Epoch(fleet.next_epoch + 1)).with_app(replace(state, migration=moving))
    return fleet, [Announce(started), *orders]


def _stepped(fleet: Fleet, event: StepEvent, now_s: float) -> Decision:
    moving = fleet.migration(event.migration)
    if moving is not None:
        return _advanced(fleet, fleet.apps[moving.app.id], migrations.advance(moving, event), now_s)
    owed = [debt for debt in fleet.debts if (debt.migration, debt.step.id) == (event.migration, _step_of(event))]
    others = tuple(debt for debt in fleet.debts if debt not in owed)
    if not owed:
        return fleet, []
    if not isinstance(event, StepDone | StepUndone):
        again = replace(owed[0], tries=owed[0].tries + 1)
        fleet = replace(fleet, debts=tuple(again if debt is owed[0] else debt for debt in fleet.debts))
        return fleet, [again.order()] if fleet.collects(again) else []
    fleet = replace(fleet, debts=others)
    orders = _collected(fleet, [debt for debt in others if debt.migration == event.migration])
    fleet, more = _next(fleet, fleet.apps[owed[0].app.id], now_s)
    return fleet, [*orders, *more]


def _collected(fleet: Fleet, debts: Iterable[Debt], *, now: bool = True) -> list[Action]:
    """The first debt of each migration that can be settled: the others follow one by one, in their order.

    At the same time they could not be: an image stays as long as there is a container of it.
    """
    firsts = {debt.migration: debt for debt in reversed(list(debts)) if fleet.collects(debt)}
    return [debt.order(now=now) for debt in firsts.values()]


def _step_of(event: StepEvent) -> StepId | None:
    return None if isinstance(event, PlanMade | PlanFailed) else event.step


def _advanced(fleet: Fleet, state: AppState, advance: migrations.Advance, now_s: float) -> Decision:
    """Take a migration's new state into the fleet: who serves, what is owed, and what comes after its end."""
    moving, orders = advance
    if moving.proven:
        arrived = state.visit is not None and state.visit.host == moving.target.host
        state = replace(state, serving=moving.target, visit=None if arrived else state.visit)
        state = replace(state, loss=None, stopped=None)
    if moving.phase not in ENDED:
        return fleet.with_app(replace(state, migration=moving)), orders
    state = replace(state, migration=None)
    orders = [*orders, *_collected(fleet, moving.debts, now=False)]
    # One that ended because its serving host was lost is no failure to wait after: the app starts again at once.
    failed = moving.phase is Phase.FAILED and not (state.loss and moving.source)
    if failed:
        retry_at_s = now_s + fleet.policy.retry_s
        state = replace(state, retry_at_s=retry_at_s)
        orders.append(SetAlarm(state.app.id, retry_at_s))
    fleet = replace(fleet, debts=(*fleet.debts, *moving.debts)).with_app(state)
    if failed and not state.asked:
        return fleet, orders
    if moving.source is None and state.poa and state.zone:
        # Where the UE was while the app started for the first time has not been looked at yet.
        visit = Visit(fleet.policy.placement.host_for(state.poa, state.zone), state.zone, now_s)
        state = replace(state, visit=visit)
        orders.append(SetAlarm(state.app.id, now_s + fleet.policy.settle_s))
    fleet, more = _next(fleet.with_app(state), state, now_s)
    return fleet, [*orders, *more]


def _next(fleet: Fleet, state: AppState, now_s: float) -> Decision:
    """What an app does that has come to rest: serve, then what was asked for by hand, else follow its UE."""
    if state.stopped and state.serving and state.migration is None:
        if now_s < state.retry_at_s:
            return fleet, []
        return _begin(fleet, state, None, state.serving, "restart", Trigger.STOP, state.stopped)
    if state.asked and state.migration is None:
        return _start_asked(fleet, state, state.asked)
    return _look_again(fleet, state, now_s)
