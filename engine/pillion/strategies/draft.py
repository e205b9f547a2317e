"""What the strategies share: the steps around the ones that make them different.

Every strategy that moves an app opens a link, copies the DV ahead of time, fences the source, sends the DV's last
bytes, starts and proves the target, switches, kills and removes the source. They differ in what goes ahead, and in
what else moves behind the fence.
"""

from __future__ import annotations

from pillion.core.model import Instance, StepId
from pillion.core.plan import (
    CloseLink,
    CreateContainer,
    CreateNetwork,
    CreateVolume,
    FenceSource,
    Group,
    KillSource,
    OpenLink,
    Place,
    Plan,
    ProveTarget,
    RemoveInstance,
    Situation,
    StartTarget,
    Step,
    SwitchTraffic,
    TellApp,
    TransferVolume,
    Work,
)
from pillion.core.preflight import Part, losses
from pillion.errors import PlanError

PRE, MOVE, CLEAN = Group.PRE_RELOCATION, Group.RELOCATION, Group.CLEAN_UP


class Draft:
    """A plan while it is being made. Each method adds steps and gives the ids that later ones wait for."""

    def __init__(self, strategy: str, carries: frozenset[Part], situation: Situation, *, tells_app: bool) -> None:
        if situation.source is None:
            raise PlanError(f"{strategy} moves an app that runs somewhere; it cannot start one", place=situation.app.id)
        self.strategy = strategy
        self.app = situation.app
        self.source: Instance = situation.source
        self.target = situation.target
        self._lossy = bool(losses(situation.app, carries))
        self._tells_app = tells_app and situation.app.phase_hook is not None
        self._steps: list[Step] = []

    def add(self, name: str, group: Group, place: Place, work: Work, *after: str) -> str:
        """One step; its name."""
        self._steps.append(Step(StepId(name), group, place, work, frozenset(map(StepId, after))))
        return name

    def tell_source(self) -> tuple[str, ...]:
        """The app learns that a migration has begun, if it wants to."""
        if not self._tells_app:
            return ()
        return (self.add("tell-source", PRE, Place.SOURCE, TellApp(self.source, in_migration=True)),)

    def copy_volume(self, *told: str) -> tuple[str, ...]:
        """The target's network; the link, and over it the DV's first copy.

        A link carries one transfer at a time: the next waits for it.
        """
        self.add("network", PRE, Place.TARGET, CreateNetwork(self.target))
        self.add("open-link", PRE, Place.TRANSFER, OpenLink(self.source, self.target))
        if self.app.volume is None:
            return ("open-link",)
        self.add("create-volume", PRE, Place.TARGET, CreateVolume(self.target))
        copy = TransferVolume(self.source, self.target)
        return (self.add("copy-volume", PRE, Place.TRANSFER, copy, "create-volume", "open-link", *told),)

    def create(self, *arrived: str) -> str:
        """The target's container, from the image that has arrived."""
        made = CreateContainer(self.target, self.target.image)
        return self.add("create", PRE, Place.TARGET, made, "network", *arrived)

    def fence(self) -> tuple[str, ...]:
        """Pause, and the DV's last bytes."""
        self.add("fence", MOVE, Place.SOURCE, FenceSource(self.source))
        if self.app.volume is None:
            return ("fence",)
        return (self.add("last-bytes", MOVE, Place.TRANSFER, TransferVolume(self.source, self.target), "fence"),)

    def take_over(self, *arrived: str, restored: bool = False) -> None:
        """Start, proof, switch, kill."""
        self.add("start", MOVE, Place.TARGET, StartTarget(self.target, restored), *arrived)
        self.add("prove", MOVE, Place.TARGET, ProveTarget(self.target, restored, self._lossy), "start")
        self.add("switch", MOVE, Place.TARGET, SwitchTraffic(self.target), "prove")
        self.add("kill", MOVE, Place.SOURCE, KillSource(self.source), "switch")

    def clean_up(self) -> None:
        """The app learns of the end; the link and the source go."""
        if self._tells_app:
            self.add("tell-target", CLEAN, Place.TARGET, TellApp(self.target, in_migration=False))
        self.add("close-link", CLEAN, Place.TRANSFER, CloseLink(self.source, self.target))
        self.add("remove-source", CLEAN, Place.SOURCE, RemoveInstance(self.source))

    def plan(self) -> Plan:
        """The plan as far as it has come."""
        return Plan(self.strategy, tuple(self._steps))
