"""Everything that can happen: past facts that enter `fleet.decide`, and the announcements that come out of it.

All of these are journaled. Positions are not events: `core/mobility.py` turns observations into events and keeps the
positions to itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pillion.core.model import App, AppId, Epoch, HostId, Instance, MigrationId, PoaId, StepId, UeId, ZoneId
from pillion.core.placement import Policy
from pillion.core.plan import Plan

# --- what happens to the engine and to UEs ---


@dataclass(frozen=True, slots=True)
class EngineStarted:
    """An engine took the lab's lock, with the epoch it drew; the rules and apps that are in force from now on."""

    epoch: Epoch
    policy: Policy
    apps: tuple[App, ...]


class Api(StrEnum):
    """The MEC API that something was learned by."""

    LOCATION = "location"
    RNIS = "rnis"


@dataclass(frozen=True, slots=True)
class HandoverCompleted:
    """A UE is served by another POA (MEC 012 hoStatus 3, COMPLETED), or by its first.

    `learned_by`: whose notification led to it, or the API that was asked. However it was learned, it is the same event.
    """

    ue: UeId
    poa: PoaId
    zone: ZoneId
    previous_poa: PoaId | None = None
    previous_zone: ZoneId | None = None
    learned_by: Api = field(default=Api.LOCATION, compare=False)


@dataclass(frozen=True, slots=True)
class UeDisconnected:
    """No POA serves the UE any more; where it was last."""

    ue: UeId
    previous_poa: PoaId
    previous_zone: ZoneId


@dataclass(frozen=True, slots=True)
class ZoneChangePredicted:
    """The UE is expected to be served by another zone within `in_s` seconds."""

    ue: UeId
    zone: ZoneId
    poa: PoaId
    in_s: float


@dataclass(frozen=True, slots=True)
class TrackingLost:
    """The Location API has not answered for `silent_s` seconds; the last answers stay in force."""

    silent_s: float
    problem: str


@dataclass(frozen=True, slots=True)
class TrackingResumed:
    """The Location API answers again."""


@dataclass(frozen=True, slots=True)
class NotificationsLost:
    """No notification about the UE has come for `silent_s` seconds; it is polled until one does."""

    ue: UeId
    silent_s: float


@dataclass(frozen=True, slots=True)
class NotificationsResumed:
    """Notifications about the UE come again."""

    ue: UeId


@dataclass(frozen=True, slots=True)
class AlarmRang:
    """The time that a `SetAlarm` asked for has come."""

    app: AppId


class Trigger(StrEnum):
    """What started a migration. Source: ETSI GR MEC 018 names five places; see docs/decisions/0015-triggers.md."""

    START = "start"
    PREDICTION = "prediction"
    HANDOVER = "handover"
    RNIS = "rnis"
    """A handover, learned by an event of the MEC platform's RNIS."""
    DATA_PLANE = "data-plane"
    """Nobody is connected to the app: the change-over costs its UE nothing now."""
    OPERATOR = "operator"
    APP = "app"
    """The app itself asked for it."""
    UE = "ue"
    """The client on the UE asked for it."""
    STOP = "stop"
    """Its container had ended."""
    LOSS = "loss"
    """Its MEC host was lost."""


@dataclass(frozen=True, slots=True)
class MigrationRequested:
    """Someone asked for an app to be moved: an operator, the app itself, or the client on its UE (`trigger`)."""

    app: AppId
    target: HostId | None
    """None: to where the UE is."""
    strategy: str | None = None
    forced: bool = False
    """Move it although the strategy loses something that the app needs."""
    trigger: Trigger = Trigger.OPERATOR


@dataclass(frozen=True, slots=True)
class AppIdle:
    """The user plane has had no connection to the app for a while, though its UE may have one at any moment."""

    app: AppId


@dataclass(frozen=True, slots=True)
class InstanceStopped:
    """The container that serves an app does not run, though no migration stopped it; its `state` in Docker's word."""

    app: AppId
    instance: Instance
    state: str


@dataclass(frozen=True, slots=True)
class HostLost:
    """Neither the engine nor the user plane has reached a serving MEC host for `silent_s` seconds.

    `last_seen`: the state sequence number that each app there last told of.
    """

    host: HostId
    silent_s: float
    last_seen: Mapping[AppId, int]


@dataclass(frozen=True, slots=True)
class HostReturned:
    """A MEC host that was lost answers again."""

    host: HostId


# --- what comes back from the world ---


@dataclass(frozen=True, slots=True)
class Outcome:
    """What performing a step took, by the engine's monotonic clock, and what it moved."""

    began_s: float
    seconds: float
    sent_bytes: int = 0
    detail: Mapping[str, float] = field(default_factory=dict)
    deciding_s: float = 0.0
    """From when the engine heard of its cause until it began: the decision, and the journal's commit where it waits."""


@dataclass(frozen=True, slots=True)
class PlanMade:
    """A strategy made the plan of a migration, and its hosts were found fit.

    `lost`: what it loses of the app, which was forced. `forecast_s`: the expected time from the fence to the switch.
    """

    migration: MigrationId
    plan: Plan
    lost: tuple[str, ...] = ()
    forecast_s: float | None = None
    outcome: Outcome | None = None
    """What planning took."""


@dataclass(frozen=True, slots=True)
class PlanFailed:
    """No plan could be made."""

    migration: MigrationId
    problem: str


@dataclass(frozen=True, slots=True)
class StepDone:
    """A step has been performed, or was found to be done."""

    migration: MigrationId
    step: StepId
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class StepFailed:
    """A step could not be performed, or was cancelled."""

    migration: MigrationId
    step: StepId
    problem: str


@dataclass(frozen=True, slots=True)
class StepUndone:
    """A step's effect is gone from the world."""

    migration: MigrationId
    step: StepId


@dataclass(frozen=True, slots=True)
class UndoFailed:
    """A step's effect could not be taken back now; it stays a debt and is tried again."""

    migration: MigrationId
    step: StepId
    problem: str


Event = (
    EngineStarted
    | HandoverCompleted
    | UeDisconnected
    | ZoneChangePredicted
    | TrackingLost
    | TrackingResumed
    | NotificationsLost
    | NotificationsResumed
    | AlarmRang
    | MigrationRequested
    | AppIdle
    | InstanceStopped
    | HostLost
    | HostReturned
    | PlanMade
    | PlanFailed
    | StepDone
    | StepFailed
    | StepUndone
    | UndoFailed
)
MobilityEvent = HandoverCompleted | UeDisconnected | ZoneChangePredicted

# --- what the core makes known; journaled, but never an input ---


class Refusal(StrEnum):
    """Why a request is not carried out."""

    UNKNOWN_APP = "no such app in the lab file"
    UNKNOWN_HOST = "no such MEC host in the lab file"
    UNKNOWN_STRATEGY = "no such strategy"
    ALREADY_THERE = "the app is already served by that host"
    BUSY = "another migration of the app is under way"
    NOT_SERVING = "the app is not serving yet"
    HOST_LOST = "that MEC host is lost"
    NO_PLACE = "where its UE is has not been told"


@dataclass(frozen=True, slots=True)
class MigrationStarted:
    """A migration exists from now on; its source keeps serving."""

    migration: MigrationId
    app: AppId
    source: Instance | None
    target: Instance
    strategy: str
    trigger: Trigger
    reason: str


@dataclass(frozen=True, slots=True)
class MigrationPrepared:
    """Pre-relocation is done; the target waits."""

    migration: MigrationId


@dataclass(frozen=True, slots=True)
class RelocationBegan:
    """The change-over begins."""

    migration: MigrationId
    trigger: Trigger
    reason: str


@dataclass(frozen=True, slots=True)
class TargetProven:
    """The target serves with the state it should have. Point of no return."""

    migration: MigrationId


@dataclass(frozen=True, slots=True)
class MigrationCompleted:
    """The target serves the UE, and the source keeps nothing of the app."""

    migration: MigrationId


@dataclass(frozen=True, slots=True)
class MigrationAbandoned:
    """A migration was not wanted any more; the source serves and the target keeps nothing."""

    migration: MigrationId
    reason: str


@dataclass(frozen=True, slots=True)
class MigrationFailed:
    """A migration did not succeed; the source serves and the target keeps nothing."""

    migration: MigrationId
    reason: str


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """Something could not be removed yet; it is tried again until it is."""

    migration: MigrationId
    step: StepId
    problem: str


@dataclass(frozen=True, slots=True)
class AppLost:
    """An app was lost with its MEC host. It starts again from `copy`, or from nothing if there is none.

    What was lost: every update after the copy was made. `last_seen_seq` was the app's state sequence number when it was
    last asked; the proof of the start that follows tells the copy's.
    """

    app: AppId
    instance: Instance
    last_seen_seq: int | None
    copy: Instance | None


@dataclass(frozen=True, slots=True)
class VisitSatOut:
    """The UE came back before a visit was long enough to be worth a migration."""

    app: AppId
    zone: ZoneId
    host: HostId
    stayed_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class RequestRefused:
    """A request is not carried out."""

    app: AppId
    target: HostId | None
    refusal: Refusal
    trigger: Trigger = Trigger.OPERATOR


Announcement = (
    MigrationStarted
    | MigrationPrepared
    | RelocationBegan
    | TargetProven
    | MigrationCompleted
    | MigrationAbandoned
    | MigrationFailed
    | LeftBehind
    | AppLost
    | VisitSatOut
    | RequestRefused
)
