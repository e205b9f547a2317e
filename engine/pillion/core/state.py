"""What the engine knows and must not forget: each app, who serves it, where its UE is, what is under way and owed.

All of it is frozen. `core/fleet.py` makes the next fleet from an event; the journal's events give it back after a stop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pillion.core.events import MigrationRequested, Trigger
from pillion.core.migration import Debt, Migration, Phase
from pillion.core.model import App, AppId, Epoch, HostId, Instance, MigrationId, PoaId, StepId, ZoneId
from pillion.core.placement import Placement, Policy

_FIRST_EPOCH = Epoch(1)
REMOVE_LOST = StepId("remove-lost")
"""What is owed of an instance that was lost with its host, where it may go on running unseen."""


@dataclass(frozen=True, slots=True)
class Visit:
    """A stay of the UE at places of a host that does not serve its app. `since_s` on the engine's clock."""

    host: HostId
    zone: ZoneId
    since_s: float
    settled: bool = False
    trigger: Trigger = Trigger.HANDOVER


@dataclass(frozen=True, slots=True)
class Loss:
    """The instance that was lost with its host, and the prepared copy from which the app starts again, if any."""

    instance: Instance
    copy: Instance | None


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
    """What was asked for and waits for a prepared migration to be given up."""
    retry_at_s: float = 0.0
    stopped: str | None = None
    """That the serving container does not run, and why it is to be started before the app does anything else."""
    loss: Loss | None = None
    """What happened to the instance that served, until another one does."""

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
    lost: frozenset[HostId] = frozenset()
    """Hosts that are lost: nothing goes there, and what is owed there waits until they return."""

    @staticmethod
    def empty() -> Fleet:
        """The fleet before any engine has started: `EngineStarted` brings the rules and the apps."""
        return Fleet(Policy(Placement(HostId(""), {}, {}), frozenset(), frozenset(), {}), {})

    def migration(self, migration_id: MigrationId) -> Migration | None:
        """The migration of that id, if it is under way."""
        under_way = (state.migration for state in self.apps.values())
        return next((found for found in under_way if found and found.id == migration_id), None)

    def collects(self, debt: Debt) -> bool:
        """Whether a debt can be settled now."""
        return not debt.hosts & self.lost

    def is_open(self, app: AppId, host: HostId) -> bool:
        """Whether the app may move to a host: it is there, and the app's last stay is cleared up."""
        owed = (debt for debt in self.debts if debt.app.id == app)
        return host not in self.lost and not any(host in debt.hosts or debt.holds_up for debt in owed)

    def may_run(self, app: AppId, host: HostId) -> bool:
        """Whether the app may be started on a host: it is there, and no lost instance may be running on it."""
        unseen = (debt for debt in self.debts if debt.app.id == app and debt.step.id == REMOVE_LOST)
        return host in self.policy.hosts - self.lost and not any(host in debt.hosts for debt in unseen)

    def with_app(self, state: AppState) -> Fleet:
        """The fleet with one app's state changed."""
        return replace(self, apps={**self.apps, state.app.id: state})
