"""A MEC host as the driver sees it: its Docker Engine over SSH, its transfer helper, and its apps' ports.

Objects without this lab's label are never changed. What was committed, loaded or made here carries the label; an
app's original image does not, and so outlives the lab's sweep.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from pillion.core.host_facts import HostFacts
from pillion.core.model import App, AppId, Epoch, HostId, Protocol, Readiness
from pillion.core.plan import Round
from pillion.errors import HostRefused
from pillion.hosts import memcached
from pillion.hosts.app_calls import AppCalls
from pillion.hosts.base import ImageInfo, MecHost, ProcessInfo, TransferLink
from pillion.hosts.docker_api import Conflict, DockerApi, HostTimeouts, NoSuchObject
from pillion.hosts.docker_containers import APP_LABEL, EPOCH_LABEL, LAB_LABEL, DockerContainers, filters, started
from pillion.hosts.ssh import SshConnection, SshSettings
from pillion.hosts.transfer import HelperLink, HelperProcess, stale

log = logging.getLogger(__name__)

HOST_FOLDER = PurePosixPath("/var/lib/pillion")
"""Where a lab's files on a MEC host are, in a folder of the lab's name."""
CHECKPOINT_FOLDER = PurePosixPath("/dev/shm/pillion")
"""Where its checkpoints are, in the host's memory, likewise."""
NETWORK_IMAGE = "pillion/gateway:latest"
"""Image of the containers that hold apps' networks; every host of a lab has it."""


class DockerHost(DockerContainers, MecHost):
    """A MEC host behind SSH. Nothing is connected before the first call; `close` releases everything."""

    def __init__(
        self,
        host: HostId,
        address: str,
        lab: str,
        ssh: SshSettings,
        timeouts: HostTimeouts | None = None,
        network_image: str = NETWORK_IMAGE,
        epoch: Epoch | None = None,
    ) -> None:
        """`epoch`: of the engine that it is for, claimed as soon as the helper starts; `claim` says another."""
        limits = timeouts or HostTimeouts()
        self._ssh = SshConnection(host, ssh)
        super().__init__(host, lab, DockerApi(host, self._ssh, limits), limits, HOST_FOLDER / lab, network_image)
        self.address = address
        self._apps = AppCalls(host, address)
        self._epoch = int(epoch or 0)
        self._helper: HelperProcess | None = None
        self._starting = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<DockerHost {self.id} lab {self._lab} epoch {self._epoch}: {self._ssh!r}, {self._helper!r}>"

    async def __aenter__(self) -> DockerHost:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # The host itself

    async def facts(self) -> HostFacts:
        info, version = await self._api.call("GET", "info"), await self._api.call("GET", "version")
        major, minor = version["ApiVersion"].split(".")
        status = info.get("DriverStatus") or []
        helper = await (await self._running_helper()).request("facts", docker_root=info["DockerRootDir"])
        criu_version = helper["criu_version"]
        return HostFacts(
            engine_version=info["ServerVersion"],
            api_version=(int(major), int(minor)),
            experimental=info["ExperimentalBuild"],
            storage_driver=info["Driver"],
            containerd_store=any("io.containerd.snapshotter" in str(value) for _, value in status),
            cgroup_version=int(info["CgroupVersion"]),
            python_version=helper["python_version"],
            free_bytes=helper["free_bytes"],
            shm_free_bytes=helper["shm_free_bytes"],
            kernel=info["KernelVersion"],
            criu_version=None if criu_version is None else tuple(criu_version),
            criu_problem=helper["criu_problem"],
            can_raise_limits=helper["can_raise_limits"],
            cpu_features=frozenset(helper["cpu_features"]),
        )

    async def claim(self, epoch: Epoch) -> None:
        async with self._starting:
            if self._helper is None or not self._helper.is_running:
                self._helper = await self._start_helper(int(epoch))
            else:
                await self._helper.request("claim", epoch=int(epoch))
                self._helper.stale_epoch = None
            self._epoch = int(epoch)

    async def _running_helper(self) -> HelperProcess:
        async with self._starting:
            if self._helper is None or not self._helper.is_running:
                self._helper = await self._start_helper(self._epoch)
            return self._helper

    async def _start_helper(self, epoch: int) -> HelperProcess:
        folder = HOST_FOLDER / self._lab
        return await HelperProcess.start(self.id, self._ssh, folder, epoch, self._timeouts.call_s)

    def _refuse_if_stale(self) -> None:
        if self._helper is not None and self._helper.stale_epoch is not None:
            raise stale(self.id, self._helper.stale_epoch)

    async def open_link(self, target: MecHost) -> TransferLink:
        if not isinstance(target, DockerHost):
            raise HostRefused(f"{target!r} has no transfer helper", place=self.id, remedy="use hosts of one kind")
        helpers = await asyncio.gather(self._running_helper(), target._running_helper(), return_exceptions=True)
        running = [helper for helper in helpers if isinstance(helper, HelperProcess)]
        for failure in helpers:
            if isinstance(failure, BaseException):
                raise failure
        link = HelperLink(running[0], running[1], (self.id, target.id), self._timeouts.transfer_s)
        await link.open(target.address)
        return link

    async def run(self, words: Sequence[str]) -> str:
        """What a program on the host prints. Raises HostRefused with its last words if it fails; HostUnreachable."""
        self._refuse_if_stale()
        return await self._ssh.run(words, self._timeouts.call_s)

    # Checkpoints

    async def processes(self, name: str) -> ProcessInfo:
        await self._require_ours(name)
        listed = await self._api.call("GET", f"containers/{name}/top", params={"ps_args": "-eo pid,uid,rss"})
        rows = [(int(uid), int(rss)) for _, uid, rss in listed["Processes"] or []]
        return ProcessInfo(max((uid for uid, _ in rows), default=0), sum(rss for _, rss in rows) * 1024)

    async def take_checkpoint(self, name: str, round_: Round) -> Mapping[str, float]:
        helper = await self._running_helper()
        limit_s = self._timeouts.work_s
        return await helper.request("take_checkpoint", timeout_s=limit_s, container=name, round=round_.value)

    async def ensure_restored(self, name: str) -> None:
        await self._require_ours(name)
        helper = await self._running_helper()
        await started(lambda: helper.request("restore", timeout_s=self._timeouts.start_s, container=name))

    async def remove_checkpoints(self, name: str, *, resume: bool = False) -> None:
        await (await self._running_helper()).request("remove_checkpoints", container=name, resume=resume)

    # Images

    async def commit(self, name: str, image: str, labels: Mapping[str, str]) -> None:
        await self._require_ours(name)
        await self._refuse_foreign_image(image)
        repository, _, tag = _with_tag(image).rpartition(":")
        params = {"container": name, "repo": repository, "tag": tag, "pause": "false"}
        config = {"Labels": self._labelled(labels)}
        await self._api.call("POST", "commit", params=params, json=config, timeout_s=self._timeouts.work_s)

    async def image(self, name: str) -> ImageInfo | None:
        found = await self._api.inspect(f"images/{quote(name, safe='/:@')}/json")
        if found is None:
            return None
        layers = found["RootFS"].get("Layers") or []
        return ImageInfo(found["Id"], tuple(layers), found["Config"].get("Labels") or {})

    async def remove_image(self, name: str) -> None:
        await self._refuse_foreign_image(name)
        await self._delete_image(name, force=False)

    async def _delete_image(self, name: str, *, force: bool) -> bool:
        """Whether it is gone; one that a container uses stays."""
        try:
            async with self._api.asking(f"remove image {name}", self._timeouts.work_s) as docker:
                await docker.images.delete(name, force=force)
        except (NoSuchObject, Conflict) as reason:
            log.debug("%s", reason)
            return False
        return True

    async def _refuse_foreign_image(self, name: str) -> None:
        self._refuse_if_stale()
        found = await self.image(name)
        if found is not None and not self._is_ours(found.labels):
            raise self._foreign(f"image {name}")

    async def load_images(self, chunks: AsyncIterator[bytes]) -> Sequence[str]:
        """Take in a `docker save` archive as it arrives; names of the images in it. Raises HostError."""
        self._refuse_if_stale()
        params = {"quiet": "1"}
        progress = await self._api.call(
            "POST", "images/load", params=params, data=chunks, timeout_s=self._timeouts.work_s
        )
        names = []
        for entry in progress if isinstance(progress, list) else [progress or {}]:
            if "error" in entry:
                raise HostRefused(f"load images: {entry['error']}", place=self.id, remedy="make the archive anew")
            if entry.get("stream", "").startswith("Loaded image: "):
                names.append(entry["stream"].removeprefix("Loaded image: ").strip())
        return names

    # Volumes and networks

    async def ensure_volume(self, name: str, labels: Mapping[str, str]) -> None:
        self._refuse_if_stale()
        config = {"Name": name, "Labels": self._labelled(labels)}
        found = await self._api.call("POST", "volumes/create", json=config)  # an existing one comes back as it is
        if not self._is_ours(found.get("Labels")):
            raise self._foreign(f"volume {name}")

    async def has_volume(self, name: str) -> bool:
        found = await self._api.inspect(f"volumes/{quote(name)}")
        return found is not None and self._is_ours(found.get("Labels"))

    async def remove_volume(self, name: str) -> None:
        self._refuse_if_stale()
        found = await self._api.inspect(f"volumes/{quote(name)}")
        if found is None:
            return
        if not self._is_ours(found.get("Labels")):
            raise self._foreign(f"volume {name}")
        with contextlib.suppress(NoSuchObject):
            await self._api.call("DELETE", f"volumes/{quote(name)}")

    async def volumes(self) -> Sequence[str]:
        params = {"filters": filters([f"{LAB_LABEL}={self._lab}"])}
        listed = await self._api.call("GET", "volumes", params=params)
        return [volume["Name"] for volume in listed["Volumes"] or []]

    async def remove_strays(self, app: AppId, keep: Epoch | None, before: Epoch) -> Sequence[str]:
        self._refuse_if_stale()
        params = {"all": "1", "filters": filters([f"{LAB_LABEL}={self._lab}", f"{APP_LABEL}={app}"])}
        removed = []

        def is_stray(found: Mapping[str, Any]) -> bool:
            epoch = (found.get("Labels") or {}).get(EPOCH_LABEL, "")
            return epoch.isdecimal() and int(epoch) < before and int(epoch) != keep

        for container in filter(is_stray, await self._api.call("GET", "containers/json", params=params)):
            name = container["Names"][0].lstrip("/")
            await self.remove_container(name)
            removed.append(f"container {name}")
        listed = await self._api.call("GET", "volumes", params=params)
        for volume in filter(is_stray, listed["Volumes"] or []):
            await self.remove_volume(volume["Name"])
            removed.append(f"volume {volume['Name']}")
        for image in await self._api.call("GET", "images/json", params=params | {"all": "0"}):
            names = [name for name in image["RepoTags"] or [] if name != "<none>:<none>"]
            # An image may have several names, and M1's base has no epoch: what was made for one has it as its tag.
            for name in filter(lambda name: is_stray({"Labels": {EPOCH_LABEL: name.rpartition(":")[2]}}), names):
                if await self._delete_image(name, force=False):
                    removed.append(f"image {name}")
            if not names and await self._delete_image(image["Id"], force=False):
                removed.append(f"image {image['Id']}")
        kept = await (await self._running_helper()).request("checkpoints")
        for name in kept["containers"]:
            of, _, epoch = name.rpartition(".")
            if of == app and is_stray({"Labels": {EPOCH_LABEL: epoch}}):
                await self.remove_checkpoints(name)
                removed.append(f"checkpoints {name}")
        return removed

    async def ensure_network(self, name: str, subnet: str) -> None:
        """A bridge network of this lab with that subnet. Raises HostRefused if the name or the subnet is another's."""
        self._refuse_if_stale()
        found = await self._api.inspect(f"networks/{quote(name)}")
        if found is None:
            config = {"Name": name, "Driver": "bridge", "IPAM": {"Config": [{"Subnet": subnet}]}}
            await self._api.call("POST", "networks/create", json=config | {"Labels": self._labelled({})})
            return
        if not self._is_ours(found.get("Labels")):
            raise self._foreign(f"network {name}")
        has = [entry.get("Subnet") for entry in found["IPAM"]["Config"] or []]
        if has != [subnet]:
            remedy = "run `pillion down` first"
            raise HostRefused(f"network {name} has subnet {has}, not {subnet}", place=self.id, remedy=remedy)

    # Apps

    async def readiness(self, app: App) -> Readiness | None:
        if app.protocol is Protocol.MEMCACHED:
            return await memcached.readiness(self.id, self.address, app.port, self._timeouts.readiness_s)
        return await self._apps.readiness(app.port, app.ready_path, self._timeouts.readiness_s)

    async def call_app(self, container: str, port: int, path: str) -> None:
        await self._require_ours(container)
        await self._apps.get(port, path, self._timeouts.hook_s)

    # The end

    async def sweep(self) -> Sequence[str]:
        self._refuse_if_stale()
        ours = f"{LAB_LABEL}={self._lab}"
        params = {"filters": filters([ours])}
        removed = []
        await self._end_helper()
        for container in await self._containers([ours]):
            await self.remove_container(container.name)
            removed.append(f"container {container.name}")
        for image in await self._api.call("GET", "images/json", params=params):
            if await self._delete_image(image["Id"], force=True):
                removed.append(f"image {(image['RepoTags'] or [image['Id']])[0]}")
        for volume in await self.volumes():
            await self.remove_volume(volume)
            removed.append(f"volume {volume}")
        for network in await self._api.call("GET", "networks", params=params):
            await self._api.call("DELETE", f"networks/{network['Id']}")
            removed.append(f"network {network['Name']}")
        for folder in (HOST_FOLDER / self._lab, CHECKPOINT_FOLDER / self._lab):
            if await self._ssh.remove_tree(folder):
                removed.append(f"folder {folder}")
        return removed

    async def _end_helper(self) -> None:
        async with self._starting:
            helper, self._helper = self._helper, None
            if helper is not None:
                await helper.close()

    async def close(self) -> None:
        await self._end_helper()
        await self._apps.close()
        await self._api.close()
        await self._ssh.close()


def _with_tag(image: str) -> str:
    return image if ":" in image.rpartition("/")[2] else f"{image}:latest"
