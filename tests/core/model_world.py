"""A model of the world's side of a migration, with the invariants as assertions.

It knows which containers exist and in what state, where the UE's traffic goes, and how far each copy of the state has
come, and it fails steps as it is told. It stands for no adapter: it is what the core's decisions are checked against.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from pillion.core import plan as plans
from pillion.core.actions import MakePlan, PerformStep, UndoStep
from pillion.core.events import Event, Outcome, PlanFailed, PlanMade, StepDone, StepFailed, StepUndone, UndoFailed
from pillion.core.migration import Phase
from pillion.core.model import HostId, Instance
from pillion.core.plan import Situation, Step
from pillion.core.state import Fleet

from .examples import PLANS

WELL, REFUSED, UNHEARD = "well", "refused", "unheard"
Verdict = tuple[float, str]
"""How long an order takes, in seconds, and what comes of it: success, failure without effect, or an effect whose
answer is lost, so that the engine takes it for a failure."""


@dataclass
class ModelWorld:
    verdict: Callable[[str], Verdict]
    containers: dict[Instance, str] = field(default_factory=dict)
    volumes: dict[Instance, int] = field(default_factory=dict)
    images: set[tuple[HostId, str]] = field(default_factory=set)
    links: set[tuple[Instance, Instance]] = field(default_factory=set)
    traffic: HostId | None = None
    lost: set[HostId] = field(default_factory=set)
    """Hosts that cannot be reached: what is there stays as it is."""
    gone_back: int = 0
    """How often traffic went to an instance with older state: once for each app that was lost with its host."""
    state: int = 0
    """Sequence number of the last state that the serving instance has told its UE."""

    def answer(self, order: MakePlan | PerformStep | UndoStep, now_s: float) -> tuple[float, Event]:
        match order:
            case MakePlan():
                took_s, comes = self.verdict("plan")
                if comes != WELL or {each.host for each in (order.source, order.target) if each} & self.lost:
                    return took_s, PlanFailed(order.migration, "no such luck")
                situation = Situation(order.app, order.source, order.target)
                return took_s, PlanMade(order.migration, PLANS[order.strategy].plan(situation))
            case PerformStep():
                took_s, comes = self._verdict(order.step.id, order.step)
                if comes != REFUSED:
                    self._perform(order.step)
                if comes == WELL:
                    return order.delay_s + took_s, StepDone(order.migration, order.step.id, Outcome(now_s, took_s))
                return order.delay_s + took_s, StepFailed(order.migration, order.step.id, "broken on purpose")
            case UndoStep():
                took_s, comes = self._verdict(f"undo {order.step.id}", order.step)
                if comes != REFUSED:
                    self._undo(order.step)
                if comes == WELL:
                    return order.delay_s + took_s, StepUndone(order.migration, order.step.id)
                return order.delay_s + took_s, UndoFailed(order.migration, order.step.id, "broken on purpose")

    def _verdict(self, name: str, step: Step) -> Verdict:
        took_s, comes = self.verdict(name)
        work = step.work
        needed = plans.hosts_of(work) | ({work.source.host} if isinstance(work, plans.TransferVolume) else set())
        return (took_s, REFUSED) if needed & self.lost else (took_s, comes)

    def serve(self) -> None:
        """A request of the UE: answered, with newer state, by a running instance that gets the traffic."""
        serving = [
            instance
            for instance, state in self.containers.items()
            if state == "running" and instance.host == self.traffic and instance.host not in self.lost
        ]
        assert len(serving) <= 1, f"two instances answer the UE: {serving}"
        if serving:
            assert self.volumes[serving[0]] == self.state, "an acknowledged update was lost"
            self.state += 1
            self.volumes[serving[0]] = self.state

    def _perform(self, step: Step) -> None:
        match step.work:
            case plans.CommitImage(instance=instance, image=image):
                self.images.add((instance.host, image))
            case plans.TransferImage(image=image, target=target, source=source):
                assert (source, target) in self.links
                self.images.add((target.host, image))
            case plans.OpenLink(source=source, target=target):
                self.links.add((source, target))
            case plans.CreateVolume(instance=instance):
                self.volumes.setdefault(instance, 0)
            case plans.TransferVolume(source=source, target=target):
                self.volumes[target] = self.volumes[source]
            case plans.CreateContainer(instance=instance):
                assert instance in self.volumes
                self.containers.setdefault(instance, "created")
            case plans.FenceSource(instance=instance):
                self.containers[instance] = "paused"
            case plans.StartTarget(instance=instance):
                self.containers[instance] = "running"
            case plans.ProveTarget(instance=instance):
                assert self.containers[instance] == "running"
                if self.traffic is None and self.volumes[instance] != self.state:
                    self.gone_back += 1
                    self.state = self.volumes[instance]
                assert self.volumes[instance] == self.state, "a target with old state was proven"
            case plans.HoldTraffic():
                self.traffic = None
            case plans.SwitchTraffic(instance=instance):
                assert self.volumes[instance] == self.state, "traffic was sent to old state"
                self.traffic = instance.host
            case plans.KillSource(instance=instance):
                self.containers[instance] = "exited"
            case plans.RemoveInstance(instance=instance):
                self.containers.pop(instance, None)
                self.volumes.pop(instance, None)
                self.images.discard((instance.host, instance.image))
            case plans.RemoveImage(instance=instance, image=image):
                self.images.discard((instance.host, image))
            case plans.CloseLink(source=source, target=target):
                self.links.discard((source, target))
            case plans.TellApp() | plans.CreateNetwork():
                pass

    def _undo(self, step: Step) -> None:
        match step.work:
            case plans.CommitImage(instance=instance, image=image):
                self.images.discard((instance.host, image))
            case plans.TransferImage(image=image, target=target):
                self.images.discard((target.host, image))
            case plans.OpenLink(source=source, target=target):
                self.links.discard((source, target))
            case plans.CreateVolume(instance=instance):
                self.volumes.pop(instance, None)
            case plans.CreateContainer(instance=instance):
                self.containers.pop(instance, None)
            case plans.FenceSource(instance=instance):
                assert self.traffic == instance.host, "a source was unpaused behind the point of no return"
                if self.containers[instance] == "paused":
                    self.containers[instance] = "running"
            case plans.StartTarget(instance=instance):
                if self.containers.get(instance) == "running":
                    self.containers[instance] = "exited"
            case _:
                pass

    def check_at_rest(self, fleet: Fleet) -> None:
        """What must hold once nothing more is going to happen."""
        (state,) = fleet.apps.values()
        assert state.serving is not None
        assert state.migration is None or state.migration.phase is Phase.PREPARED
        assert not fleet.debts
        prepared = {state.migration.target} if state.migration else set()
        assert self.traffic == state.serving.host
        assert self.containers == {state.serving: "running", **dict.fromkeys(prepared, "created")}
        assert self.volumes.keys() == {state.serving, *prepared}
        assert self.volumes[state.serving] == self.state
        carried = {(state.serving.host, state.serving.image)}
        if state.migration:
            target = state.migration.target
            carried |= {(state.serving.host, target.image), (target.host, target.image)}
        assert self.images <= carried, f"left behind: {self.images - carried}"
        assert len(self.links) <= len(prepared)
