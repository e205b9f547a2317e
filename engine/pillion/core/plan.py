"""A migration as data: which pieces of work, where, after what, and how each is taken back.

A strategy returns a `Plan`; the migration (`core/migration.py`) orders its steps; the driver performs them. Because a
plan is data, the same plan is shown before it runs, journaled, measured step by step, undone from the end, and checked
here against the invariants:

- before relocation nothing stops the source from serving, and every step can be taken back;
- the target is proven before any traffic goes to it, and that proof is the point of no return;
- a source that serves has its traffic until then: only a plan without one has the user plane hold it;
- the target starts from the fenced source's last bytes, so that no acknowledged update is lost;
- a target that is restored from a checkpoint is restored from one that was taken behind the fence;
- the source is killed only after the switch, and removed only in the clean-up;
- bulk work (images, volumes' first copies) lies outside the downtime.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from types import UnionType

from pillion.core.model import App, HostId, Instance, StepId
from pillion.core.preflight import Part, losses
from pillion.errors import PlanError


class Place(StrEnum):
    """Where a step runs: the study's three places of measurement."""

    SOURCE = "source"
    TRANSFER = "transfer"
    TARGET = "target"


class Group(StrEnum):
    """When a step runs: while the source serves, in the change-over, or after it."""

    PRE_RELOCATION = "pre-relocation"
    RELOCATION = "relocation"
    CLEAN_UP = "clean-up"


@dataclass(frozen=True, slots=True)
class TellApp:
    """Tell the app through its phase hook that a migration begins or has ended. Undo: tell it the opposite."""

    instance: Instance
    in_migration: bool


@dataclass(frozen=True, slots=True)
class OpenLink:
    """Connect the transfer helpers of two hosts. Undo: close the link."""

    source: Instance
    target: Instance


@dataclass(frozen=True, slots=True)
class CommitImage:
    """Write the instance's filesystem and configuration to an image on its host. Undo: remove the image."""

    instance: Instance
    image: str


@dataclass(frozen=True, slots=True)
class TransferImage:
    """Move an image, only the layers that the target lacks. Undo: remove it from the target."""

    image: str
    original: str
    source: Instance
    target: Instance


@dataclass(frozen=True, slots=True)
class TransferFilesystem:
    """Move the source's whole filesystem, flattened once, without configuration. Undo: remove the target's image."""

    source: Instance
    target: Instance


@dataclass(frozen=True, slots=True)
class TransferOwnImage:
    """Move the image that the source runs from, under the target's name. Undo: remove it from the target."""

    original: str
    source: Instance
    target: Instance


@dataclass(frozen=True, slots=True)
class CreateVolume:
    """Make the instance's empty DV on its host. Undo: remove it."""

    instance: Instance


@dataclass(frozen=True, slots=True)
class TransferVolume:
    """Make the target's DV the same as the source's, sending what changed since the last time. Undo: none needed."""

    source: Instance
    target: Instance


@dataclass(frozen=True, slots=True)
class TransferFiles:
    """Make what the target's container has on top of its image the same as the source's. Undo: none needed."""

    source: Instance
    target: Instance


class Round(StrEnum):
    """Which of a migration's two checkpoints: the one that goes ahead, or the one that the target is restored from."""

    FIRST = "first"
    LAST = "last"


@dataclass(frozen=True, slots=True)
class TakeCheckpoint:
    """Write the instance's processes to its host's memory; it goes on as it was, running or paused. Undo: remove it."""

    instance: Instance
    round: Round


@dataclass(frozen=True, slots=True)
class TransferCheckpoint:
    """Move a checkpoint: the first whole, of the last what differs from the first. Undo: remove it from the target."""

    source: Instance
    target: Instance
    round: Round


@dataclass(frozen=True, slots=True)
class RemoveCheckpoints:
    """Remove what the instance's host keeps of checkpoints for it."""

    instance: Instance


@dataclass(frozen=True, slots=True)
class CreateNetwork:
    """Make the network that the instance's container will join, and its published port. Undo: remove it."""

    instance: Instance


@dataclass(frozen=True, slots=True)
class CreateContainer:
    """Create the instance's container from an image, without starting it. Undo: remove it."""

    instance: Instance
    image: str


@dataclass(frozen=True, slots=True)
class FenceSource:
    """Pause the source, so that it neither answers nor writes. Undo: unpause it."""

    instance: Instance


@dataclass(frozen=True, slots=True)
class StartTarget:
    """Start the instance's container, or restore it from the last checkpoint that arrived. Undo: kill it."""

    instance: Instance
    restored: bool = False


@dataclass(frozen=True, slots=True)
class ProveTarget:
    """One readiness answer asked of the target directly, with a state at least as new as the fenced source's.

    POINT OF NO RETURN: once this has succeeded the source never serves again. `lossy`: the move was forced although it
    loses the state, so the target has only to serve. `restored`: the process tells the instance that it was born as.
    """

    instance: Instance
    restored: bool = False
    lossy: bool = False


@dataclass(frozen=True, slots=True)
class HoldTraffic:
    """Take the app's traffic from every host and hold it until the instance is proven. Undo: none needed."""

    instance: Instance


@dataclass(frozen=True, slots=True)
class SwitchTraffic:
    """Steer the app's traffic to the instance's host."""

    instance: Instance


@dataclass(frozen=True, slots=True)
class KillSource:
    """SIGKILL the fenced source, so that what it had taken in is retried on the target."""

    instance: Instance


@dataclass(frozen=True, slots=True)
class RemoveInstance:
    """Remove the instance's container, DV and, unless it is the app's original image, its image."""

    instance: Instance


@dataclass(frozen=True, slots=True)
class RemoveImage:
    """Remove an image's name from the instance's host."""

    instance: Instance
    image: str


@dataclass(frozen=True, slots=True)
class CloseLink:
    """Close the way between two hosts."""

    source: Instance
    target: Instance


Work = (
    TellApp
    | OpenLink
    | CommitImage
    | TransferImage
    | TransferOwnImage
    | TransferFilesystem
    | CreateVolume
    | TransferVolume
    | TransferFiles
    | TakeCheckpoint
    | TransferCheckpoint
    | CreateNetwork
    | CreateContainer
    | FenceSource
    | StartTarget
    | ProveTarget
    | HoldTraffic
    | SwitchTraffic
    | KillSource
    | RemoveInstance
    | RemoveImage
    | RemoveCheckpoints
    | CloseLink
)


@dataclass(frozen=True, slots=True)
class Step:
    """One piece of work, where it runs, and which steps it waits for; steps that wait for nothing open overlap."""

    id: StepId
    group: Group
    place: Place
    work: Work
    after: frozenset[StepId] = frozenset()


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of one migration, in an order in which they may also be performed one by one."""

    strategy: str
    steps: tuple[Step, ...]

    def step(self, step_id: StepId) -> Step:
        """The step of that id; KeyError if there is none."""
        for step in self.steps:
            if step.id == step_id:
                return step
        raise KeyError(step_id)

    @property
    def has_source(self) -> bool:
        """Whether there is an instance to go back to, which the plan fences."""
        return any(isinstance(step.work, FenceSource) for step in self.steps)

    def of(self, group: Group) -> tuple[Step, ...]:
        """The steps of one group, in order."""
        return tuple(step for step in self.steps if step.group is group)

    @property
    def proof(self) -> Step:
        """The step that is the point of no return."""
        return next(step for step in self.steps if isinstance(step.work, ProveTarget))

    def commits_before_acting(self, step: Step) -> bool:
        """Whether the step's outcome must be on disk before anything follows from it.

        In the downtime only the fence and the proof are; the world can be asked about the rest.
        """
        return step.group is not Group.RELOCATION or isinstance(step.work, FenceSource | ProveTarget)


@dataclass(frozen=True, slots=True)
class Situation:
    """What a strategy knows when it plans: the app, where it is, and where it goes. `source` is None at first start.

    `forced`: what the strategy does not carry may be lost.
    """

    app: App
    source: Instance | None
    target: Instance
    forced: bool = False


@dataclass(frozen=True, slots=True)
class Strategy:
    """A way to move: its name in the lab file, what it does in one line, how it plans, what of an app it carries."""

    name: str
    summary: str
    build: Callable[[Situation], Plan]
    carries: frozenset[Part] = frozenset(Part)

    def plan(self, situation: Situation) -> Plan:
        """The checked plan for a situation.

        Raises PlanError if it breaks an invariant, or, unless it is forced, would lose something that the app needs.
        """
        lost = losses(situation.app, self.carries) if situation.source else []
        if lost and not situation.forced:
            raise PlanError(
                f"{self.name} would lose {'; '.join(lost)}", place=situation.app.id, remedy="add --force to lose it"
            )
        plan = self.build(situation)
        check(plan)
        return plan


def hosts_of(work: Work) -> frozenset[HostId]:
    """The MEC hosts that a piece of work changes."""
    match work:
        case OpenLink() | CloseLink():
            return frozenset({work.source.host, work.target.host})
        case TransferImage() | TransferOwnImage() | TransferFilesystem() | TransferVolume() | TransferFiles():
            return frozenset({work.target.host})
        case TransferCheckpoint():
            return frozenset({work.target.host})
        case HoldTraffic() | SwitchTraffic():
            return frozenset()
        case _:
            return frozenset({work.instance.host})


_STOPS_THE_SOURCE = FenceSource | KillSource
_REMOVES = RemoveInstance | RemoveImage | RemoveCheckpoints
_BULK = (
    CommitImage
    | TransferImage
    | TransferOwnImage
    | TransferFilesystem
    | CreateNetwork
    | CreateContainer
    | CreateVolume
    | OpenLink
    | TellApp
)
_MOVES_STATE = TransferVolume | TransferFiles | TransferCheckpoint


def check(plan: Plan) -> None:
    """Raise PlanError, naming the step and the rule, if the plan breaks an invariant of this module's docstring."""
    _check_order(plan.steps)
    proofs = [step for step in plan.steps if isinstance(step.work, ProveTarget)]
    if len(proofs) != 1:
        raise PlanError(f"a plan proves its target exactly once, this one {len(proofs)} times")
    proof = proofs[0]
    downtime = plan.of(Group.RELOCATION)
    fences = _ids(downtime, FenceSource)
    last_bytes = _ids(downtime, _MOVES_STATE)
    last_checkpoints = _ids(downtime, TakeCheckpoint)
    starts = _ids(downtime, StartTarget)
    for step in plan.steps:
        before = ancestors(plan, step)
        proven = proof.id in before or step.group is Group.CLEAN_UP
        work = step.work
        if isinstance(work, _REMOVES) and step.group is not Group.CLEAN_UP:
            raise _broken(step, "what the source has is removed only in the clean-up")
        if step.group is Group.PRE_RELOCATION and isinstance(work, _STOPS_THE_SOURCE | SwitchTraffic | ProveTarget):
            raise _broken(step, "the source serves throughout pre-relocation")
        if step.group is Group.RELOCATION and isinstance(work, _BULK) and fences:
            raise _broken(step, "nothing in the downtime that could be done before or after")
        if isinstance(work, HoldTraffic) and (fences or proven):
            raise _broken(step, "traffic is held only where no source serves, and until the target is proven")
        if isinstance(work, SwitchTraffic | KillSource) and not proven:
            raise _broken(step, "no traffic is steered and no source killed before the target is proven")
        if isinstance(work, KillSource) and not any(isinstance(plan.step(id_).work, SwitchTraffic) for id_ in before):
            raise _broken(step, "the source is killed only after the switch")
        if isinstance(work, KillSource) and not fences & before:
            raise _broken(step, "a source that is killed was fenced before")
        if step.id in last_bytes | last_checkpoints and not (fences and fences <= before):
            raise _broken(step, "the last bytes are read behind the fence")
        if isinstance(work, StartTarget) and work.restored and not (last_checkpoints and last_checkpoints <= before):
            raise _broken(step, "a target is restored from a checkpoint that was taken behind the fence")
        if step.id in starts and not fences | last_bytes <= before:
            raise _broken(step, "the target starts from the fenced source's last bytes")
        if step is proof and not starts <= before:
            raise _broken(step, "a target is proven after its start")
        if isinstance(work, _MOVES_STATE | StartTarget | FenceSource | ProveTarget) and proven:
            raise _broken(step, "state moves and the target starts and is proven before the point of no return")


def _ids(steps: Iterable[Step], kind: type | UnionType) -> frozenset[StepId]:
    return frozenset(step.id for step in steps if isinstance(step.work, kind))


def ancestors(plan: Plan, step: Step) -> frozenset[StepId]:
    """Every step that is surely done before this one, by its own order alone (groups not counted)."""
    found: set[StepId] = set()
    waiting = list(step.after)
    while waiting:
        before = waiting.pop()
        if before not in found:
            found.add(before)
            waiting.extend(plan.step(before).after)
    return frozenset(found)


def _check_order(steps: Iterable[Step]) -> None:
    groups = list(Group)
    seen: dict[StepId, Step] = {}
    last = Group.PRE_RELOCATION
    for step in steps:
        if step.id in seen:
            raise _broken(step, "step ids are unique")
        if not step.after <= seen.keys():
            raise _broken(step, "a step waits only for steps before it")
        if groups.index(step.group) < groups.index(last):
            raise _broken(step, "groups follow one another")
        last = step.group
        seen[step.id] = step


def _broken(step: Step, rule: str) -> PlanError:
    return PlanError(f"step breaks a rule: {rule}", place=step.id)
