"""A MEC host's containers, and the care that only this lab's objects are touched.

A container that publishes a port joins the network of a small one that does nothing, `NAME.net`: made, started and
removed with it. To make a network takes more than half of a container's start, so it is done when the container is
created, ahead of the downtime. CRIU takes such a network for the host's matter and leaves it as it is.

The calls inside the downtime (pause, start, unpause, kill) are one HTTP request each; only when the engine says no is
it asked why, and "already so" is a success. A container that was neither made nor listed by us is inspected before it
is changed.
"""

from __future__ import annotations

import contextlib
import io
import tarfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

import orjson

from pillion.core.model import HostId
from pillion.errors import HostRefused
from pillion.hosts.base import ContainerInfo, ContainerSpec, ContainerState
from pillion.hosts.docker_api import Conflict, DockerApi, HostTimeouts, NoNetwork, NoSuchObject

LAB_LABEL = "pillion.lab"
APP_LABEL = "pillion.app"
EPOCH_LABEL = "pillion.epoch"
_LOGS = {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}}
PART_LABEL = "pillion.part"
_NETWORK = "network"
"""What `PART_LABEL` says of the small containers."""
_LAST_WORDS = 200
_TRIES = 3
_PASSING = ("already exists", "waiting for init preliminary setup")
"""What a start says that failed before the container ran, and that may succeed at once when it is tried again: the
engine has the like of the checkpoint's note still; runc's first process died, as it rarely does on a busy machine."""
_STATES = {
    "created": ContainerState.CREATED,
    "running": ContainerState.RUNNING,
    "restarting": ContainerState.RUNNING,
    "paused": ContainerState.PAUSED,
}


async def started(start: Callable[[], Awaitable[object]]) -> None:
    """Start a container, and do it again where that may help. Raises HostError."""
    for left in reversed(range(_TRIES)):
        try:
            await start()
            return
        except HostRefused as refusal:
            if left == 0 or not any(words in refusal.problem for words in _PASSING):
                raise


class DockerContainers:
    """One lab's containers on one host."""

    def __init__(
        self, host: HostId, lab: str, api: DockerApi, timeouts: HostTimeouts, folder: PurePosixPath, network_image: str
    ) -> None:
        self.id = host
        self._folder = folder
        self._network_image = network_image
        self._cut_off: set[str] = set()
        self._lab = lab
        self._api = api
        self._timeouts = timeouts
        self._ours: set[str] = set()

    def _refuse_if_stale(self) -> None:
        """Raises StaleEpoch once a newer engine has taken the host over."""
        raise NotImplementedError

    async def containers(self) -> Sequence[ContainerInfo]:
        found = await self._containers([f"{LAB_LABEL}={self._lab}", APP_LABEL])
        networks = {info.name: info.state for info in found if info.labels.get(PART_LABEL) == _NETWORK}
        apps = [info for info in found if info.name not in networks]
        down = {name for name, state in networks.items() if state is not ContainerState.RUNNING}
        up = (ContainerState.RUNNING, ContainerState.PAUSED)
        self._cut_off = {info.name for info in apps if info.state in up and _network(info.name) in down}
        # Without its network an app serves nobody: it has to be started again.
        return [replace(info, state=ContainerState.EXITED) if info.name in self._cut_off else info for info in apps]

    async def _containers(self, labels: list[str]) -> list[ContainerInfo]:
        listed = await self._api.call("GET", "containers/json", params={"all": "1", "filters": filters(labels)})
        found = [
            ContainerInfo(entry["Names"][0].lstrip("/"), _state(entry["State"]), entry["ImageID"], entry["Labels"])
            for entry in listed
        ]
        self._ours.update(info.name for info in found)
        return found

    async def container(self, name: str) -> ContainerInfo | None:
        info = await self._inspected(name)
        return info if info is not None and self._is_ours(info.labels) else None

    async def _inspected(self, name: str) -> ContainerInfo | None:
        found = await self._api.inspect(f"containers/{quote(name)}/json")
        if found is None:
            self._ours.discard(name)
            return None
        labels = found["Config"]["Labels"] or {}
        if self._is_ours(labels):
            self._ours.add(name)
        return ContainerInfo(name, _state(found["State"]["Status"]), found["Image"], labels)

    async def ensure_container(self, spec: ContainerSpec) -> None:
        self._refuse_if_stale()
        config: dict[str, Any] = {
            "Image": spec.image,
            "Env": [f"{name}={value}" for name, value in spec.environment.items()],
            "Labels": self._labelled(spec.labels),
            "HostConfig": {
                "Binds": [f"{volume}:{mount}" for volume, mount in spec.volumes.items()],
                "RestartPolicy": {"Name": "unless-stopped" if spec.restarts else "no"},
                "LogConfig": _LOGS,
                # Source: runc, docs/checkpoint-restore.md; CRIU reads it when it is run, there need be none before.
                "Annotations": {"org.criu.config": str(self._folder / "criu" / f"{spec.name}.conf")},
            },
        }
        if spec.command is not None:
            config |= {"Entrypoint": [], "Cmd": list(spec.command)}
        if spec.port:
            await self.ensure_network_of(spec)
            config["HostConfig"]["NetworkMode"] = f"container:{_network(spec.name)}"
        else:
            _join(config, spec)
        await self._create(spec.name, config)

    async def ensure_network_of(self, spec: ContainerSpec) -> None:
        self._refuse_if_stale()
        if not spec.port:
            return
        name, exposed = _network(spec.name), f"{spec.port}/tcp"
        config: dict[str, Any] = {
            "Image": self._network_image,
            "Entrypoint": ["sleep", "infinity"],
            "Cmd": [],
            "Labels": self._labelled({**spec.labels, PART_LABEL: _NETWORK}),
            "ExposedPorts": {exposed: {}},
            "HostConfig": {"PortBindings": {exposed: [{"HostPort": str(spec.port)}]}, "LogConfig": _LOGS},
        }
        _join(config, spec)
        await self._create(name, config)
        await self._start(name)

    async def _create(self, name: str, config: dict[str, Any]) -> None:
        try:
            async with self._api.asking(f"create container {name}") as docker:
                await docker.containers.create(config, name=name)
            self._ours.add(name)
        except Conflict:
            await self._require_ours(name)

    async def ensure_started(self, name: str) -> None:
        await self._require_ours(name)
        if name in self._cut_off:
            await self.ensure_killed(name)
            self._cut_off.discard(name)
        try:
            await self._start(name)
        except NoNetwork:  # the host was off, or somebody stopped it
            await self._start(_network(name))
            await self._start(name)
        except Conflict:
            await self._settle(name, ContainerState.PAUSED)
            await self.ensure_unpaused(name)

    async def _start(self, name: str) -> None:
        path = f"containers/{quote(name)}/start"
        await started(lambda: self._api.call("POST", path, timeout_s=self._timeouts.start_s))

    async def ensure_paused(self, name: str) -> None:
        await self._require_ours(name)
        try:
            async with self._api.asking(f"pause {name}") as docker:
                await docker.containers.container(name).pause()
        except HostRefused as refusal:
            await self._settle(name, ContainerState.PAUSED, refusal)

    async def ensure_unpaused(self, name: str) -> None:
        await self._require_ours(name)
        try:
            async with self._api.asking(f"unpause {name}") as docker:
                await docker.containers.container(name).unpause()
        except HostRefused as refusal:
            await self._settle(name, ContainerState.RUNNING, refusal)

    async def ensure_killed(self, name: str) -> None:
        if not await self._is_there(name):
            return
        try:
            async with self._api.asking(f"kill {name}", self._timeouts.start_s) as docker:
                await docker.containers.container(name).kill(signal="SIGKILL")
        except NoSuchObject:
            self._ours.discard(name)
        except Conflict as refusal:
            await self._settle(name, ContainerState.EXITED, refusal)

    async def _settle(self, name: str, wanted: ContainerState, refusal: HostRefused | None = None) -> None:
        """After a refusal: content if the container is as wanted already. A created one counts as exited."""
        info = await self._inspected(name)
        state = info.state if info is not None else ContainerState.EXITED
        if state is wanted or (wanted is ContainerState.EXITED and state is ContainerState.CREATED):
            return
        if refusal is not None:
            raise refusal
        raise HostRefused(f"container {name} is {state}, not {wanted}", place=self.id, remedy="look at its log")

    async def remove_container(self, name: str) -> None:
        for each in (name, _network(name)):
            await self._remove_container(each)

    async def _remove_container(self, name: str) -> None:
        if not await self._is_there(name):
            return
        try:
            async with self._api.asking(f"remove container {name}", self._timeouts.start_s) as docker:
                await docker.containers.container(name).delete(force=True, v=True)
        except NoSuchObject:
            pass
        except Conflict:  # its removal is under way already: this returns when it is done
            with contextlib.suppress(NoSuchObject):
                path = f"containers/{quote(name)}/wait"
                params = {"condition": "removed"}
                await self._api.call("POST", path, params=params, timeout_s=self._timeouts.start_s)
        self._ours.discard(name)

    async def signal(self, container: str, signal: str) -> None:
        """Send a signal (`SIGUSR1`) to a container's first process. Raises HostError."""
        await self._require_ours(container)
        async with self._api.asking(f"signal {container}") as docker:
            await docker.containers.container(container).kill(signal=signal)

    async def write_file(self, container: str, path: str, content: bytes) -> None:
        """Write a file (mode 0644, owner root) into a container, running or not; its folder must exist.

        Raises HostError.
        """
        await self._require_ours(container)
        target = PurePosixPath(path)
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            member = tarfile.TarInfo(target.name)
            member.size, member.mode = len(content), 0o644
            archive.addfile(member, io.BytesIO(content))
        params = {"path": str(target.parent)}
        await self._api.call("PUT", f"containers/{quote(container)}/archive", params=params, data=packed.getvalue())

    async def last_words(self, name: str) -> str:
        if not await self._is_there(name):
            return ""
        async with self._api.asking(f"read the log of {name}") as docker:
            lines = await docker.containers.container(name).log(stdout=True, stderr=True, tail=1)
        return lines[-1].strip()[-_LAST_WORDS:] if lines else ""

    # Whose is it

    def _labelled(self, labels: Mapping[str, str]) -> dict[str, str]:
        return {**labels, LAB_LABEL: self._lab}

    def _is_ours(self, labels: Mapping[str, str] | None) -> bool:
        return (labels or {}).get(LAB_LABEL) == self._lab

    def _foreign(self, what: str) -> HostRefused:
        return HostRefused(f"{what} there is not this lab's", place=self.id, remedy="rename or remove it")

    async def _is_there(self, name: str) -> bool:
        """Whether a container of ours has that name; asks only for names that we have not seen. Raises HostRefused."""
        self._refuse_if_stale()
        if name in self._ours:
            return True
        info = await self._inspected(name)
        if info is not None and not self._is_ours(info.labels):
            raise self._foreign(f"container {name}")
        return info is not None

    async def _require_ours(self, name: str) -> None:
        if not await self._is_there(name):
            raise NoSuchObject(f"there is no container {name}", place=self.id, remedy="see what removed it")


def _network(name: str) -> str:
    """The name of the small container whose network a container uses."""
    return f"{name}.net"


def _join(config: dict[str, Any], spec: ContainerSpec) -> None:
    """Let a container join the network of its specification."""
    endpoint = {"IPAMConfig": {"IPv4Address": spec.address}} if spec.address else {}
    config["HostConfig"]["NetworkMode"] = spec.network
    config["NetworkingConfig"] = {"EndpointsConfig": {spec.network: endpoint}}


def filters(labels: list[str]) -> str:
    """The engine's `filters` parameter for objects that carry all these labels."""
    return orjson.dumps({"label": labels}).decode()


def _state(word: str) -> ContainerState:
    return _STATES.get(word, ContainerState.EXITED)
