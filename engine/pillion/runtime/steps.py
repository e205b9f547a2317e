"""How each kind of step is performed, asked for, and undone: the only place where a plan's data meets the hosts.

`perform`, `is_done` and `undo` are safe to repeat. A failure of the world leaves as a StepFailed or UndoFailed event;
everything else is a bug and ends the engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from pillion.core import forecast
from pillion.core import plan as plans
from pillion.core.actions import MakePlan, PerformStep, UndoStep
from pillion.core.events import Event, Outcome, PlanFailed, PlanMade, StepDone, StepFailed, StepUndone, UndoFailed
from pillion.core.host_facts import unfit_for_checkpoint, unfit_for_images
from pillion.core.model import App, AppId, Epoch, HostId, Instance, MigrationId
from pillion.core.plan import Group, Situation, Step, Strategy
from pillion.core.preflight import Part, losses
from pillion.errors import EngineError, HostRefused, HostUnreachable, MigrationError, PlanError, StaleEpoch
from pillion.hosts.base import ContainerSpec, ContainerState, MecHost, TransferLink
from pillion.runtime import clock
from pillion.userplane import Steering

_ASK_AGAIN_S = 0.005
"""Pause between readiness questions to a target that does not listen yet. A refused connection is the only sign there
is, so this is the resolution at which the downtime ends."""

_IMAGE_BYTES = 1_000_000_000
"""Disk that each host must have free for an app's image."""

Done = tuple[int, Mapping[str, float]]
"""Bytes moved, and parts worth showing."""
_NOTHING: Done = (0, {})


@dataclass(frozen=True, slots=True)
class StepTimeouts:
    """Seconds a step may take before it has failed, by when it runs; `undo_s` also bounds each undo."""

    pre_relocation_s: float = 180.0
    relocation_s: float = 10.0
    clean_up_s: float = 30.0
    undo_s: float = 10.0

    def of(self, group: Group) -> float:
        """The bound for a step of this group."""
        return {
            Group.PRE_RELOCATION: self.pre_relocation_s,
            Group.RELOCATION: self.relocation_s,
            Group.CLEAN_UP: self.clean_up_s,
        }[group]


class Steps:
    """Carries out the driver's orders against MEC hosts and the user plane."""

    def __init__(
        self,
        hosts: Mapping[HostId, MecHost],
        steering: Steering,
        strategies: Mapping[str, Strategy],
        epoch: Epoch,
        timeouts: StepTimeouts,
        rate_bytes_s: float = 125e6,
        environment: Mapping[AppId, Mapping[str, str]] | None = None,
    ) -> None:
        """`rate_bytes_s`: of the network between MEC hosts, for forecasts; `environment`: what apps are told beside
        what the journal keeps of them."""
        self._hosts = hosts
        self._steering = steering
        self._strategies = strategies
        self._epoch = epoch
        self._timeouts = timeouts
        self._rate_bytes_s = rate_bytes_s
        self._environment = environment or {}
        self._links: dict[tuple[str, str], TransferLink] = {}
        self._fenced: dict[AppId, tuple[MigrationId, int]] = {}
        """How far each app's state had come when it was last fenced, and by which migration."""

    async def plan(self, order: MakePlan) -> Event:
        """The plan, after both hosts have accepted this engine's epoch."""
        began_s = clock.now_s()
        try:
            await asyncio.gather(*(self._claim(each) for each in (order.source, order.target) if each))
            strategy = self._strategies[order.strategy]
            plan = strategy.plan(Situation(order.app, order.source, order.target, order.forced))
            lost = losses(order.app, strategy.carries) if order.source else []
            memory_bytes = 0
            if order.source and Part.MEMORY in strategy.carries:
                memory_bytes = await self._require_fit(order.source, order.target)
            forecast_s = forecast.downtime_s(plan, memory_bytes, self._rate_bytes_s)
            outcome = Outcome(began_s, clock.now_s() - began_s)
            return PlanMade(order.migration, plan, tuple(lost), forecast_s, outcome)
        except StaleEpoch:
            raise
        except (EngineError, TimeoutError) as error:
            return PlanFailed(order.migration, _said(error, "the hosts did not tell in time what they are"))

    async def perform(self, order: PerformStep) -> Event:
        """Perform a step; one that may have been performed before is first asked for."""
        await asyncio.sleep(order.delay_s)
        began_s = clock.now_s()
        try:
            async with asyncio.timeout(self._timeouts.of(order.step.group)):
                done = order.again and await self._is_done(order.step, order.app)
                sent_bytes, detail = _NOTHING if done else await self._perform(order)
        except StaleEpoch:
            raise
        except (EngineError, TimeoutError) as error:
            return StepFailed(
                order.migration, order.step.id, _said(error, f"no end after {clock.now_s() - began_s:.0f} s")
            )
        return StepDone(
            order.migration, order.step.id, Outcome(began_s, clock.now_s() - began_s, sent_bytes, dict(detail))
        )

    async def undo(self, order: UndoStep) -> Event:
        """Take a step back, whether it was done, half done or not begun."""
        await asyncio.sleep(order.delay_s)
        try:
            async with asyncio.timeout(self._timeouts.undo_s):
                await self._undo(order.step, order.app)
        except StaleEpoch:
            raise
        except (EngineError, TimeoutError) as error:
            said = _said(error, f"no end after {self._timeouts.undo_s:g} s")
            return UndoFailed(order.migration, order.step.id, said)
        return StepUndone(order.migration, order.step.id)

    async def _perform(self, order: PerformStep) -> Done:
        app = order.app
        match order.step.work:
            case plans.TellApp(instance=instance, in_migration=in_migration):
                await self._tell(instance, app, in_migration=in_migration)
            case plans.OpenLink(source=source, target=target):
                await self._open_link(source, target)
            case plans.CommitImage(instance=instance, image=image):
                await self._host(instance).commit(instance.container, image, _image_labels(app, image))
            case plans.TransferImage(image=image, original=original, source=source, target=target):
                moved = await (await self._open_link(source, target)).send_image(image, original)
                return moved.sent_bytes, moved.detail
            case plans.TransferOwnImage(original=original, source=source, target=target):
                link = await self._open_link(source, target)
                moved = await link.send_own_image(source.container, original, target.image, _labels(target, app))
                return moved.sent_bytes, moved.detail
            case plans.TransferFilesystem(source=source, target=target):
                link = await self._open_link(source, target)
                moved = await link.send_filesystem(source.container, target.image, target.base, _labels(target, app))
                return moved.sent_bytes, moved.detail
            case plans.CreateVolume(instance=instance):
                await self._host(instance).ensure_volume(instance.volume, _labels(instance, app))
            case plans.TransferVolume(source=source, target=target):
                moved = await self._opened(source, target).send_volume(source.volume, target.volume)
                return moved.sent_bytes, moved.detail
            case plans.TransferFiles(source=source, target=target):
                moved = await self._opened(source, target).send_files(source.container, target.container)
                return moved.sent_bytes, moved.detail
            case plans.TakeCheckpoint(instance=instance, round=round_):
                return 0, await self._host(instance).take_checkpoint(instance.container, round_)
            case plans.TransferCheckpoint(source=source, target=target, round=round_):
                link = self._opened(source, target)
                moved = await link.send_checkpoint(source.container, target.container, round_)
                return moved.sent_bytes, moved.detail
            case plans.CreateNetwork(instance=instance):
                await self._host(instance).ensure_network_of(self._container(instance, app, app.image))
            case plans.CreateContainer(instance=instance, image=image):
                await self._host(instance).ensure_container(self._container(instance, app, image))
            case plans.FenceSource(instance=instance):
                await self._fence(order.migration, instance, app)
            case plans.StartTarget(instance=instance, restored=True):
                await self._host(instance).ensure_restored(instance.container)
            case plans.StartTarget(instance=instance):
                await self._host(instance).ensure_started(instance.container)
            case plans.ProveTarget() as proof:
                return 0, {"seq": float(await self._prove(order.migration, proof, app))}
            case plans.HoldTraffic():
                await self._steering.hold(app.id)
            case plans.SwitchTraffic(instance=instance):
                await self._steering.steer(app.id, instance.host)
            case plans.KillSource(instance=instance):
                await self._host(instance).ensure_killed(instance.container)
            case plans.RemoveInstance(instance=instance):
                await self._remove(instance)
            case plans.RemoveImage(instance=instance, image=image):
                await self._host(instance).remove_image(image)
            case plans.RemoveCheckpoints(instance=instance):
                await self._host(instance).remove_checkpoints(instance.container)
            case plans.CloseLink(source=source, target=target):
                await self._close_link(source, target)
        return _NOTHING

    async def _is_done(self, step: Step, app: App) -> bool:
        """Whether the world shows the step as done; False where the world cannot tell, since repeating is safe."""
        match step.work:
            case plans.OpenLink(source=source, target=target):
                return (source.container, target.container) in self._links
            case plans.CommitImage(instance=instance, image=image):
                return await self._host(instance).image(image) is not None
            case plans.TransferImage(image=image, target=target):
                return await self._host(target).image(image) is not None
            case plans.TransferOwnImage(target=target) | plans.TransferFilesystem(target=target):
                return await self._host(target).image(target.image) is not None
            case plans.CreateVolume(instance=instance):
                return await self._host(instance).has_volume(instance.volume)
            case plans.CreateContainer(instance=instance):
                return await self._state(instance) is not None
            case plans.FenceSource(instance=instance):
                return await self._state(instance) is ContainerState.PAUSED
            case plans.StartTarget(instance=instance):
                return await self._state(instance) is ContainerState.RUNNING
            case plans.SwitchTraffic(instance=instance):
                return await self._steering.serving(app.id) == instance.host
            case plans.KillSource(instance=instance):
                return await self._state(instance) not in (ContainerState.RUNNING, ContainerState.PAUSED)
            case plans.RemoveImage(instance=instance, image=image):
                return await self._host(instance).image(image) is None
            case plans.TellApp() | plans.TransferVolume() | plans.TransferFiles() | plans.ProveTarget():
                return False  # The world keeps no sign of it.
            case plans.TakeCheckpoint() | plans.TransferCheckpoint() | plans.CloseLink() | plans.CreateNetwork():
                return False  # Nor of whether all of it is there.
            case plans.RemoveInstance() | plans.RemoveCheckpoints() | plans.HoldTraffic():
                return False  # More than one thing in the world: made sure of by doing it again.

    async def _undo(self, step: Step, app: App) -> None:
        match step.work:
            case plans.TellApp(instance=instance, in_migration=in_migration):
                await self._tell(instance, app, in_migration=not in_migration)
            case plans.OpenLink(source=source, target=target):
                await self._close_link(source, target)
            case plans.CommitImage(instance=instance, image=image):
                await self._host(instance).remove_image(image)
            case plans.TransferImage(image=image, target=target):
                await self._host(target).remove_image(image)
            case plans.TransferOwnImage(target=target) | plans.TransferFilesystem(target=target):
                await self._host(target).remove_image(target.image)
            case plans.TakeCheckpoint(instance=instance):
                await self._host(instance).remove_checkpoints(instance.container, resume=True)
            case plans.TransferCheckpoint(target=instance):
                await self._host(instance).remove_checkpoints(instance.container)
            case plans.CreateVolume(instance=instance):
                await self._host(instance).remove_volume(instance.volume)
            case plans.CreateContainer(instance=instance) | plans.CreateNetwork(instance=instance):
                await self._host(instance).remove_container(instance.container)
            case plans.FenceSource(instance=instance):
                await self._host(instance).ensure_unpaused(instance.container)
            case plans.StartTarget(instance=instance, restored=restored):
                if restored:  # CRIU may be at it still, for which the Docker Engine would wait
                    await self._host(instance).remove_checkpoints(instance.container)
                await self._host(instance).ensure_killed(instance.container)
            case plans.TransferVolume() | plans.TransferFiles() | plans.ProveTarget() | plans.CloseLink():
                pass  # Nothing of it is left in the world.
            case plans.HoldTraffic():
                pass  # What is held has no source to be sent back to.
            case plans.SwitchTraffic() | plans.KillSource() | plans.RemoveInstance() | plans.RemoveImage():
                raise PlanError("this step lies beyond the point of no return", place=step.id)
            case plans.RemoveCheckpoints():
                raise PlanError("this step lies beyond the point of no return", place=step.id)

    def _container(self, instance: Instance, app: App, image: str) -> ContainerSpec:
        return ContainerSpec(
            name=instance.container,
            image=image,
            port=app.port,
            volumes={instance.volume: app.volume.mount} if app.volume else {},
            command=app.command,
            environment={
                **self._environment.get(app.id, {}),
                **app.environment,
                "PILLION_APP": app.id,
                "PILLION_UE": app.ue,
                "PILLION_INSTANCE": instance.container,
                "PILLION_EPOCH": str(instance.epoch),
                "PILLION_PORT": str(app.port),
            },
            labels=_labels(instance, app),
        )

    def _host(self, instance: Instance) -> MecHost:
        if instance.host not in self._hosts:
            raise HostRefused(
                f"{instance.container} is on a host that the lab file does not know any more",
                place=instance.host,
                remedy="put the host back into the lab file until its apps have moved",
            )
        return self._hosts[instance.host]

    async def _claim(self, instance: Instance) -> None:
        try:
            async with asyncio.timeout(self._timeouts.relocation_s):
                await self._host(instance).claim(self._epoch)
        except TimeoutError:
            problem = f"no answer in {self._timeouts.relocation_s:g} s"
            raise HostUnreachable(problem, place=instance.host, remedy="see that the host is up") from None

    async def _require_fit(self, source: Instance, target: Instance) -> int:
        """Resident memory of the app, bytes. Raises PlanError unless its processes can move between these hosts.

        Asked anew for each migration, and nothing remembered: the host may have been mended, or filled up, since.
        """
        async with asyncio.timeout(self._timeouts.relocation_s):
            has, other, app = await asyncio.gather(
                self._host(source).facts(), self._host(target).facts(), self._host(source).processes(source.container)
            )
        unfit = unfit_for_checkpoint(has, other, app.uid, app.memory_bytes)
        if unfit := unfit + unfit_for_images(has, other, _IMAGE_BYTES):
            raise PlanError("; ".join(unfit), place=f"{source.host}→{target.host}")
        return app.memory_bytes

    async def _state(self, instance: Instance) -> ContainerState | None:
        found = await self._host(instance).container(instance.container)
        return found.state if found else None

    async def _tell(self, instance: Instance, app: App, *, in_migration: bool) -> None:
        if app.phase_hook:
            path = f"{app.phase_hook}?inMigration=1" if in_migration else app.phase_hook
            await self._host(instance).call_app(instance.container, app.port, path)

    async def _open_link(self, source: Instance, target: Instance) -> TransferLink:
        key = source.container, target.container
        if key not in self._links:
            self._links[key] = await self._host(source).open_link(self._host(target))
        return self._links[key]

    def _opened(self, source: Instance, target: Instance) -> TransferLink:
        link = self._links.get((source.container, target.container))
        if link is None:
            raise MigrationError("the way to the target was lost before the last bytes", place=target.host)
        return link

    async def _close_link(self, source: Instance, target: Instance) -> None:
        if link := self._links.pop((source.container, target.container), None):
            await link.close()

    async def _fence(self, migration: MigrationId, source: Instance, app: App) -> None:
        if any(not link.is_open for (container, _), link in self._links.items() if container == source.container):
            raise MigrationError("the way to the target was lost while it was prepared", place=source.host)
        # Asked just before the pause, so that the question costs the UE nothing; the DV itself is compared by digest.
        ready = await self._host(source).readiness(app)
        self._fenced[app.id] = migration, ready.seq if ready and ready.epoch <= source.epoch else 0
        await self._host(source).ensure_paused(source.container)

    async def _prove(self, migration: MigrationId, proof: plans.ProveTarget, app: App) -> int:
        """The target's state sequence number, once it serves with one at least as new as the fenced source's."""
        target = proof.instance
        fenced_by, seq = self._fenced.get(app.id, (migration, 0))
        least = seq if fenced_by == migration and not proof.lossy else 0
        while True:
            ready = await self._host(target).readiness(app)
            if ready and (ready.epoch in (0, target.epoch) or (proof.restored and ready.epoch < target.epoch)):
                if ready.seq >= least:
                    return ready.seq
                raise MigrationError(f"the target serves state {ready.seq}, the source had {least}", place=target.host)
            if await self._state(target) is ContainerState.EXITED:
                said = await self._host(target).last_words(target.container)
                raise HostRefused(
                    f"container {target.container} ended by itself",
                    place=target.host,
                    remedy=f"it said: {said}" if said else "it said nothing",
                )
            await asyncio.sleep(_ASK_AGAIN_S)

    async def _remove(self, instance: Instance) -> None:
        host = self._host(instance)
        await host.remove_container(instance.container)
        await host.remove_volume(instance.volume)
        await host.remove_image(instance.image)
        await host.remove_checkpoints(instance.container)


def _labels(instance: Instance, app: App) -> dict[str, str]:
    return {
        "pillion.app": app.id,
        "pillion.ue": app.ue,
        "pillion.epoch": str(instance.epoch),
        "pillion.migration": f"{app.id}-{instance.epoch}",
    }


def _image_labels(app: App, image: str) -> dict[str, str]:
    """An image belongs to the instance that it is made for, not to the one it is made of; its tag is that epoch."""
    return _labels(Instance(app.id, HostId(""), Epoch(int(image.rpartition(":")[2]))), app)


def _said(error: EngineError | TimeoutError, timed_out: str) -> str:
    return str(error) if isinstance(error, EngineError) else timed_out
