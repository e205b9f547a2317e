"""All apps and their migrations: where each is served, where it should be, and what to do about the difference.

`decide` is the one door for change: an event goes in, the new fleet and a list of actions come out. It reads no clock
and does no I/O, so the fleet is the fold of `decide` over the journal. One migration per app at a time; apps do not
wait for one another.

How an app follows its UE:
- a *predicted* zone change to another host starts pre-relocation there; a wrong guess is thrown away;
- a *handover* to another host's POA starts it too, if nothing was predicted, and is remembered until the UE has stayed
  there for `settle_s`: visits of a second or two are normal and are sat out;
- once the visit has settled and the target is prepared, relocation begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pillion.core import migration as migrations
from pillion.core.actions import Action, Announce, SetAlarm
from pillion.core.events import (
    AlarmRang,
    EngineStarted,
    Event,
    HandoverCompleted,
    MigrationRequested,
    MigrationStarted,
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
from pillion.core.model import App, AppId, Epoch, HostId, Instance, MigrationId, PoaId, StepId, ZoneId
from pillion.core.placement import Placement, Policy

_FIRST_EPOCH = Epoch(1)


@dataclass(frozen=True, slots=True)
class Visit:
    """A stay of the UE at places of a host that does not serve its app. `since_s` on the engine's clock."""

    host: HostId
    zone: ZoneId
    since_s: float
    settled: bool = False


@dataclass(frozen=True, slots=True)
class AppState:
    """One app: the instance that serves it, where its UE is, and the migration under way, if any."""

    app: App
    serving: Instance | None = None
    poa: PoaId | None = None
    zone: ZoneId | None = None
    predicted: HostId | None = None
    visit: Visit | None = None
    migration: Migration | None = None
    asked: MigrationRequested | None = None
    """What was asked for by hand and waits for a prepared migration to be given up."""
    retry_at_s: float = 0.0

    @property
    def home(self) -> HostId | None:
        """The host that serves the app, or will in a moment because relocation to it has begun."""
        if self.migration and self.migration.phase is Phase.RELOCATING:
            return self.migration.target.host
        return self.serving.host if self.serving else None


@dataclass(frozen=True, slots=True)
class Fleet:
    """Everything the engine knows and must not forget."""

    policy: Policy
    apps: Mapping[AppId, AppState]
    next_epoch: Epoch = _FIRST_EPOCH
    debts: tuple[Debt, ...] = ()

    @staticmethod
    def empty() -> Fleet:
        """The fleet before any engine has started: `EngineStarted` brings the rules and the apps."""
        return Fleet(Policy(Placement(HostId(""), {}, {}), frozenset(), frozenset(), {}), {})

    def migration(self, migration_id: MigrationId) -> Migration | None:
        """The migration of that id, if it is under way."""
        under_way = (state.migration for state in self.apps.values())
        return next((found for found in under_way if found and found.id == migration_id), None)

    def _with(self, state: AppState) -> Fleet:
        return replace(self, apps={**self.apps, state.app.id: state})


Decision = tuple[Fleet, list[Action]]


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
            return _look_again(fleet, fleet.apps[app_id], now_s) if app_id in fleet.apps else (fleet, [])
        case MigrationRequested():
            return _requested(fleet, event, now_s)
        case UeDisconnected() | TrackingLost() | TrackingResumed():
            return fleet, []  # The app stays where it is until its UE is seen somewhere again.
        case _:
            return _stepped(fleet, event, now_s)


def _engine_started(fleet: Fleet, event: EngineStarted, now_s: float) -> Decision:
    """Take up what an earlier engine left: migrations, debts and visits; start what was never started."""
    known = {app.id: replace(fleet.apps.get(app.id, AppState(app)), app=app) for app in event.apps}
    fleet = Fleet(event.policy, {**fleet.apps, **known}, Epoch(event.epoch + 1), fleet.debts)
    orders: list[Action] = [debt.order(delay_s=0.0) for debt in fleet.debts]
    for state in fleet.apps.values():
        # The clock may have begun anew, so times are counted from now; and where a UE is heading was not written down.
        visit = replace(state.visit, since_s=now_s, settled=False) if state.visit else None
        state = replace(state, visit=visit, predicted=None, retry_at_s=now_s)
        fleet = fleet._with(state)
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
    if state.home is None:
        return fleet._with(state), []
    if host != state.home:
        orders: list[Action] = []
        if state.visit is None or state.visit.host != host:
            state = replace(state, visit=Visit(host, event.zone, now_s))
            orders = [SetAlarm(state.app.id, now_s + fleet.policy.settle_s)]
        fleet, more = _head_for(fleet._with(state), state, host, Trigger.HANDOVER, f"handed over to {event.poa}", now_s)
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
    return fleet._with(state), orders


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
    fleet = fleet._with(state)
    if state.visit or host == state.home or state.home is None:
        return fleet, []
    reason = f"{event.zone} expected within {event.in_s:g} s"
    return _head_for(fleet, state, host, Trigger.PREDICTION, reason, now_s)


def _head_for(fleet: Fleet, state: AppState, host: HostId, trigger: Trigger, reason: str, now_s: float) -> Decision:
    """See to it that a migration to `host` is under way, giving up one to elsewhere that is not past preparation."""
    if state.migration is None:
        return _start(fleet, state, host, trigger, reason) if now_s >= state.retry_at_s else (fleet, [])
    if state.migration.target.host != host and _may_be_given_up(state.migration):
        return _advanced(fleet, state, migrations.abandon(state.migration, f"{host} is wanted instead"), now_s)
    return fleet, []


def _may_be_given_up(moving: Migration) -> bool:
    """A first start and what was asked for by hand are seen through; other migrations follow the UE's changes."""
    return moving.phase in PREPARABLE and (moving.wish is None or moving.wish.trigger is Trigger.HANDOVER)


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
    fleet = fleet._with(state)
    if visit is None:
        if state.predicted is None or state.predicted == state.home:
            return fleet, []
        return _head_for(fleet, state, state.predicted, Trigger.PREDICTION, "another zone is still expected", now_s)
    fleet, orders = _head_for(fleet, state, visit.host, Trigger.HANDOVER, f"the UE is in {visit.zone}", now_s)
    state = fleet.apps[state.app.id]
    moving = state.migration
    if visit.settled and moving and moving.target.host == visit.host and moving.phase in PREPARABLE:
        wish = Wish(Trigger.HANDOVER, f"the UE has stayed in {visit.zone} for {now_s - visit.since_s:.1f} s")
        fleet, more = _advanced(fleet, state, migrations.want(moving, wish), now_s)
        orders = [*orders, *more]
    return fleet, orders


def _requested(fleet: Fleet, event: MigrationRequested, now_s: float) -> Decision:
    state = fleet.apps.get(event.app)
    refusal: Refusal | None = None
    if state is None:
        refusal = Refusal.UNKNOWN_APP
    elif event.target not in fleet.policy.hosts:
        refusal = Refusal.UNKNOWN_HOST
    elif event.strategy is not None and event.strategy not in fleet.policy.strategies:
        refusal = Refusal.UNKNOWN_STRATEGY
    elif state.serving is None:
        refusal = Refusal.NOT_SERVING
    elif state.serving.host == event.target:
        refusal = Refusal.ALREADY_THERE
    elif state.migration is not None and not _may_be_given_up(state.migration):
        refusal = Refusal.BUSY
    if refusal or state is None:
        return fleet, [Announce(RequestRefused(event.app, event.target, refusal or Refusal.UNKNOWN_APP))]
    if moving := state.migration:
        state = replace(state, asked=event)
        return _advanced(fleet, state, migrations.abandon(moving, "another one was asked for by hand"), now_s)
    return _start_asked(fleet, state, event)


def _start_asked(fleet: Fleet, state: AppState, event: MigrationRequested) -> Decision:
    state = replace(state, asked=None)
    return _start(fleet, state, event.target, Trigger.OPERATOR, "asked for by hand", event.strategy)


def _first_start(fleet: Fleet, state: AppState) -> Decision:
    host = fleet.policy.start.get(state.app.id)
    # An app that has left the lab file before it ever served is not started any more.
    return _start(fleet, state, host, Trigger.START, "first start") if host else (fleet, [])


def _start(
    fleet: Fleet, state: AppState, host: HostId, trigger: Trigger, reason: str, strategy: str | None = None
) -> Decision:
    epoch = fleet.next_epoch
    target = Instance(state.app.id, host, epoch)
    strategy = "deploy" if state.serving is None else strategy or state.app.strategy
    moving = Migration(MigrationId(f"{state.app.id}-{epoch}"), state.app, state.serving, target, strategy)
    if trigger in (Trigger.START, Trigger.OPERATOR):
        moving = replace(moving, wish=Wish(trigger, reason))
    moving, orders = migrations.begin(moving)
    started = MigrationStarted(moving.id, state.app.id, state.serving, target, strategy, trigger, reason)
    fleet = replace(fleet, next_epoch=Epoch(epoch + 1))._with(replace(state, migration=moving))
    return fleet, [Announce(started), *orders]


def _stepped(fleet: Fleet, event: StepEvent, now_s: float) -> Decision:
    moving = fleet.migration(event.migration)
    if moving is not None:
        return _advanced(fleet, fleet.apps[moving.app.id], migrations.advance(moving, event), now_s)
    owed = [debt for debt in fleet.debts if (debt.migration, debt.step.id) == (event.migration, _step_of(event))]
    if isinstance(event, StepDone | StepUndone):
        return replace(fleet, debts=tuple(debt for debt in fleet.debts if debt not in owed)), []
    return fleet, [debt.order() for debt in owed]


def _step_of(event: StepEvent) -> StepId | None:
    return None if isinstance(event, PlanMade | PlanFailed) else event.step


def _advanced(fleet: Fleet, state: AppState, advance: migrations.Advance, now_s: float) -> Decision:
    """Take a migration's new state into the fleet: who serves, what is owed, and what comes after its end."""
    moving, orders = advance
    if moving.proven:
        arrived = state.visit is not None and state.visit.host == moving.target.host
        state = replace(state, serving=moving.target, visit=None if arrived else state.visit)
    if moving.phase not in ENDED:
        return fleet._with(replace(state, migration=moving)), orders
    state = replace(state, migration=None)
    orders = [*orders, *(debt.order() for debt in moving.debts)]
    if moving.phase is Phase.FAILED:
        retry_at_s = now_s + fleet.policy.retry_s
        state = replace(state, retry_at_s=retry_at_s)
        orders.append(SetAlarm(state.app.id, retry_at_s))
    fleet = replace(fleet, debts=(*fleet.debts, *moving.debts))._with(state)
    if state.asked:
        fleet, more = _start_asked(fleet, state, state.asked)
        return fleet, [*orders, *more]
    if moving.phase is Phase.FAILED:
        return fleet, orders
    if moving.source is None and state.poa and state.zone:
        # Where the UE was while the app started for the first time has not been looked at yet.
        visit = Visit(fleet.policy.placement.host_for(state.poa, state.zone), state.zone, now_s)
        state = replace(state, visit=visit)
        orders.append(SetAlarm(state.app.id, now_s + fleet.policy.settle_s))
    fleet, more = _look_again(fleet._with(state), state, now_s)
    return fleet, [*orders, *more]
