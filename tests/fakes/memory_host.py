"""MEC hosts in memory: the same behaviour as `DockerHost`, for the driver's unit tests, with faults on demand.

A `MemoryWorld` holds the machines; `world.host("mec1")` is one engine's hold on one of them, so that two engines can
meet on the same machine. Files are bytes with a mode; an app is a function of its volume. Held to the same contract
suite as the real host (`tests/hosts/contract.py`).
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from pillion.core.host_facts import HostFacts
from pillion.core.model import App, AppId, Epoch, HostId, Readiness
from pillion.core.plan import Round
from pillion.errors import HostRefused, HostUnreachable, StaleEpoch
from pillion.hosts.base import (
    ContainerInfo,
    ContainerSpec,
    ContainerState,
    ImageInfo,
    MecHost,
    ProcessInfo,
    TransferLink,
)
from tests.fakes.memory_link import MemoryLink
from tests.fakes.memory_machine import (
    LAB_LABEL,
    AppBehaviour,
    Fault,
    Files,
    Machine,
    MemoryContainer,
    MemoryImage,
    MemoryProcess,
    MemoryVolume,
    answer_from_volume,
    with_tag,
)


class MemoryWorld:
    """All machines, and how the apps on them behave."""

    def __init__(self, behaviour: AppBehaviour = answer_from_volume, lab: str = "lab") -> None:
        self.machines: dict[HostId, Machine] = {}
        self.behaviour = behaviour
        self.lab = lab
        self._ids = itertools.count(1)

    def machine(self, host: str) -> Machine:
        return self.machines.setdefault(HostId(host), Machine(HostId(host)))

    def host(self, host: str, lab: str | None = None) -> MemoryHost:
        """A new engine's hold on that machine."""
        return MemoryHost(self, self.machine(host), lab or self.lab)

    def new_id(self, kind: str) -> str:
        return f"{kind}:{next(self._ids)}"

    def add_image(self, host: str, name: str, layers: int = 2, files: Files | None = None) -> None:
        """Put an original image on a machine; the same name is the same image everywhere."""
        stack = tuple(f"{name}#{number}" for number in range(layers))
        image = MemoryImage(
            f"sha256:{name}", stack, {"kept": "yes"}, {"KEPT": "yes"}, files or {"/etc/motd": (b"", 0o644)}
        )
        self.machine(host).images[with_tag(name)] = image

    def fail(self, host: str, method: str, *faults: Fault) -> None:
        """Let the next calls of that method there fail so, one after the other; a link's are `send_image`, …"""
        self.machine(host).faults.setdefault(method, []).extend(faults)

    def answer(self, host: str, port: int) -> Readiness | None:
        """What a request to that port is answered right now; None: nothing answers."""
        machine = self.machine(host)
        for container in machine.containers.values():
            if container.spec.port == port and container.state is ContainerState.RUNNING:
                return self.behaviour(machine, container)
        return None


class MemoryHost(MecHost):
    """One engine's hold on a machine of a MemoryWorld."""

    def __init__(self, world: MemoryWorld, machine: Machine, lab: str) -> None:
        self.id = machine.id
        self.address = f"memory-{machine.id}"
        self._world = world
        self.machine = machine
        self._lab = lab
        self._epoch = 0
        self._links: list[MemoryLink] = []

    def __repr__(self) -> str:
        return f"<MemoryHost {self.id}: {len(self.machine.containers)} containers>"

    async def reach(self, method: str, *, changes: bool = True) -> Callable[[], None]:
        """Take the time and the faults of one call; what it gives back is to be called when the work is done."""
        self.machine.calls.append(method)
        await asyncio.sleep(self.machine.latency_s.get(method, 0.0))
        faults = self.machine.faults.get(method)
        fault = faults.pop(0) if faults else None
        unreachable = HostUnreachable(f"{method}: no answer", place=self.id, remedy="try again")
        if fault is Fault.HANG:
            await asyncio.Event().wait()
        if fault is Fault.UNREACHABLE or not self.machine.is_reachable:
            raise unreachable
        if fault is Fault.REFUSED:
            raise HostRefused(f"{method}: refused", place=self.id, remedy="see why")
        if changes and self.machine.epoch > self._epoch > 0:
            raise StaleEpoch(f"engine epoch {self.machine.epoch} has taken this host over", place=self.id)

        def done() -> None:
            if fault is Fault.ANSWER_LOST:
                raise unreachable

        return done

    async def facts(self) -> HostFacts:
        await self.reach("facts", changes=False)
        return self.machine.facts

    async def claim(self, epoch: Epoch) -> None:
        done = await self.reach("claim", changes=False)
        if self.machine.epoch > epoch:
            raise StaleEpoch(f"engine epoch {self.machine.epoch} has taken this host over", place=self.id)
        self.machine.epoch = self._epoch = int(epoch)
        done()

    async def containers(self) -> Sequence[ContainerInfo]:
        await self.reach("containers", changes=False)
        return [
            _info(name, container)
            for name, container in self.machine.containers.items()
            if self._is_ours(container.labels) and "pillion.app" in container.labels
        ]

    async def container(self, name: str) -> ContainerInfo | None:
        await self.reach("container", changes=False)
        found = self.machine.containers.get(name)
        return _info(name, found) if found is not None and self._is_ours(found.labels) else None

    async def ensure_network_of(self, spec: ContainerSpec) -> None:
        done = await self.reach("ensure_network_of")
        self._make_network(spec)
        done()

    def _make_network(self, spec: ContainerSpec) -> None:
        taken = any(port == spec.port and name != spec.name for name, port in self.machine.networks.items())
        if spec.port and taken:
            problem = f"create container {spec.name}: port {spec.port} is taken"
            raise HostRefused(problem, place=self.id, remedy=f"end what uses port {spec.port} there")
        if spec.port:
            self.machine.networks[spec.name] = spec.port

    async def ensure_container(self, spec: ContainerSpec) -> None:
        done = await self.reach("ensure_container")
        if spec.name in self.machine.containers:
            self._own_container(spec.name)
        else:
            image = self._image(spec.image)
            if spec.command is None and image.command is None:
                raise HostRefused(f"create container {spec.name}: no command specified", place=self.id, remedy="")
            self._make_network(spec)
            labels = {**image.labels, **spec.labels, LAB_LABEL: self._lab}
            for volume in spec.volumes:
                self.machine.volumes.setdefault(volume, MemoryVolume({}))
            self.machine.containers[spec.name] = MemoryContainer(spec, image, labels)
        done()

    async def ensure_started(self, name: str) -> None:
        done = await self.reach("ensure_started")
        container = self._own_container(name)
        if container.state not in (ContainerState.RUNNING, ContainerState.PAUSED):
            container.process = MemoryProcess(container.environment)
        container.state = ContainerState.RUNNING
        done()

    async def ensure_restored(self, name: str) -> None:
        done = await self.reach("ensure_restored")
        container = self._own_container(name)
        if container.state is not ContainerState.RUNNING:
            restored = self.machine.checkpoints.get(name, {}).get(Round.LAST)
            if restored is None:
                raise HostRefused(f"there is no checkpoint for {name}", place=self.id, remedy="")
            container.process, container.state = restored, ContainerState.RUNNING
        done()

    async def ensure_paused(self, name: str) -> None:
        done = await self.reach("ensure_paused")
        container = self._own_container(name)
        if container.state not in (ContainerState.RUNNING, ContainerState.PAUSED):
            raise HostRefused(f"pause {name}: container is not running", place=self.id, remedy="look at its log")
        container.state = ContainerState.PAUSED
        done()

    async def ensure_unpaused(self, name: str) -> None:
        done = await self.reach("ensure_unpaused")
        container = self._own_container(name)
        if container.state not in (ContainerState.RUNNING, ContainerState.PAUSED):
            raise HostRefused(f"unpause {name}: container is not paused", place=self.id, remedy="look at its log")
        container.state = ContainerState.RUNNING
        done()

    async def ensure_killed(self, name: str) -> None:
        done = await self.reach("ensure_killed")
        if name in self.machine.containers:
            container = self._own_container(name)
            if container.state is not ContainerState.CREATED:
                container.state = ContainerState.EXITED
        done()

    async def remove_container(self, name: str) -> None:
        done = await self.reach("remove_container")
        if name in self.machine.containers:
            self._own_container(name)
            del self.machine.containers[name]
        self.machine.networks.pop(name, None)
        done()

    def _running(self, name: str) -> MemoryProcess:
        container = self._own_container(name)
        if container.process is None or container.state not in (ContainerState.RUNNING, ContainerState.PAUSED):
            raise HostRefused(f"container {name} is not running", place=self.id, remedy="look at its log")
        return container.process

    async def processes(self, name: str) -> ProcessInfo:
        await self.reach("processes", changes=False)
        return ProcessInfo(self._running(name).uid, 10**7)

    async def take_checkpoint(self, name: str, round_: Round) -> Mapping[str, float]:
        done = await self.reach("take_checkpoint")
        self.machine.checkpoints.setdefault(name, {})[round_] = self._running(name)
        done()
        return {"bytes": 10**6, "seconds": 0.1}

    async def remove_checkpoints(self, name: str, *, resume: bool = False) -> None:
        done = await self.reach("remove_checkpoints")
        self.machine.checkpoints.pop(name, None)
        done()

    async def commit(self, name: str, image: str, labels: Mapping[str, str]) -> None:
        done = await self.reach("commit")
        container = self._own_container(name)
        self._refuse_foreign_image(image)
        layers = (*container.image.layers, self._world.new_id("layer"))
        made = {**container.labels, **labels, LAB_LABEL: self._lab}
        self.machine.images[with_tag(image)] = MemoryImage(
            self._world.new_id("sha256"), layers, made, container.environment, container.files
        )
        done()

    async def image(self, name: str) -> ImageInfo | None:
        await self.reach("image", changes=False)
        found = self.machine.images.get(with_tag(name))
        return ImageInfo(found.id, found.layers, found.labels) if found else None

    async def remove_image(self, name: str) -> None:
        done = await self.reach("remove_image")
        self._refuse_foreign_image(name)
        found = self.machine.images.get(with_tag(name))
        if found is not None and not any(c.image is found for c in self.machine.containers.values()):
            del self.machine.images[with_tag(name)]
        done()

    async def last_words(self, name: str) -> str:
        await self.reach("last_words", changes=False)
        return ""

    async def ensure_volume(self, name: str, labels: Mapping[str, str]) -> None:
        done = await self.reach("ensure_volume")
        volume = self.machine.volumes.setdefault(name, MemoryVolume({**labels, LAB_LABEL: self._lab}))
        if not self._is_ours(volume.labels):
            raise self._foreign(f"volume {name}")
        done()

    async def has_volume(self, name: str) -> bool:
        await self.reach("has_volume", changes=False)
        return name in await self._own_volumes()

    async def remove_volume(self, name: str) -> None:
        done = await self.reach("remove_volume")
        if name in self.machine.volumes:
            if not self._is_ours(self.machine.volumes[name].labels):
                raise self._foreign(f"volume {name}")
            if any(name in container.spec.volumes for container in self.machine.containers.values()):
                raise HostRefused(f"volume {name} is in use", place=self.id, remedy="remove its container first")
            del self.machine.volumes[name]
        done()

    async def volumes(self) -> Sequence[str]:
        await self.reach("volumes", changes=False)
        return await self._own_volumes()

    async def _own_volumes(self) -> list[str]:
        return [name for name, volume in self.machine.volumes.items() if self._is_ours(volume.labels)]

    async def readiness(self, app: App) -> Readiness | None:
        await self.reach("readiness", changes=False)
        return self._world.answer(self.id, app.port) if app.ready_path == "/ready" else None

    async def call_app(self, container: str, port: int, path: str) -> None:
        done = await self.reach("call_app", changes=False)
        self._own_container(container)
        if self._world.answer(self.id, port) is None:
            raise HostUnreachable(f"the app at port {port} does not answer", place=self.id, remedy="see the app's log")
        if path == "/missing":
            raise HostRefused(f"the app answered 500 to {path}", place=self.id, remedy="see the app's log")
        called = self._own_container(container)
        called.process = called.process and replace(called.process, seq=called.process.seq + path.startswith("/hook"))
        done()

    async def open_link(self, target: MecHost) -> TransferLink:
        done = await self.reach("open_link")
        assert isinstance(target, MemoryHost)
        await target.reach("open_link")
        link = MemoryLink(self, target)
        self._links.append(link)
        done()
        return link

    async def remove_strays(self, app: AppId, keep: Epoch | None, before: Epoch) -> Sequence[str]:
        done = await self.reach("remove_strays")

        def is_stray(labels: Mapping[str, str]) -> bool:
            epoch = int(labels.get("pillion.epoch", before))
            return self._is_ours(labels) and labels.get("pillion.app") == app and epoch < before and epoch != keep

        removed = []
        used = [container.image for container in self.machine.containers.values() if not is_stray(container.labels)]
        for kind, objects in (
            ("container", self.machine.containers),
            ("volume", self.machine.volumes),
            ("image", self.machine.images),
        ):
            for name in [name for name, found in objects.items() if is_stray(found.labels) and found not in used]:  # type: ignore[attr-defined]  # three kinds, all with labels
                del objects[name]  # type: ignore[attr-defined]  # the same
                self.machine.networks.pop(name, None)
                removed.append(f"{kind} {name}")
        for name in [name for name in self.machine.checkpoints if name.rpartition(".")[0] == app]:
            if is_stray({LAB_LABEL: self._lab, "pillion.app": app, "pillion.epoch": name.rpartition(".")[2]}):
                del self.machine.checkpoints[name]
                removed.append(f"checkpoints {name}")
        done()
        return removed

    async def sweep(self) -> Sequence[str]:
        done = await self.reach("sweep")
        removed = []
        kinds = {"container": self.machine.containers, "image": self.machine.images, "volume": self.machine.volumes}
        for kind, objects in kinds.items():
            for name in [name for name, found in objects.items() if self._is_ours(found.labels)]:  # type: ignore[attr-defined]  # three kinds, all with labels
                del objects[name]  # type: ignore[attr-defined]  # the same
                self.machine.networks.pop(name, None)
                removed.append(f"{kind} {name}")
        self.machine.checkpoints.clear()
        done()
        return removed

    async def close(self) -> None:
        for link in self._links:
            await link.close()

    def _is_ours(self, labels: Mapping[str, str]) -> bool:
        return labels.get(LAB_LABEL) == self._lab

    def _foreign(self, what: str) -> HostRefused:
        return HostRefused(f"{what} there is not this lab's", place=self.id, remedy="rename or remove it")

    def _own_container(self, name: str) -> MemoryContainer:
        found = self.machine.containers.get(name)
        if found is None:
            raise HostRefused(f"there is no container {name}", place=self.id, remedy="see what removed it")
        if not self._is_ours(found.labels):
            raise self._foreign(f"container {name}")
        return found

    def _image(self, name: str) -> MemoryImage:
        if with_tag(name) not in self.machine.images:
            raise HostRefused(f"there is no image {name}", place=self.id, remedy="")
        return self.machine.images[with_tag(name)]

    def _refuse_foreign_image(self, name: str) -> None:
        found = self.machine.images.get(with_tag(name))
        if found is not None and not self._is_ours(found.labels):
            raise self._foreign(f"image {name}")


def _info(name: str, container: MemoryContainer) -> ContainerInfo:
    return ContainerInfo(name, container.state, container.image.id, container.labels)
