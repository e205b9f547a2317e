"""What the driver needs of a MEC host, and no more.

A MEC host is a Docker Engine and an SSH address; two real machines work as well as the lab's containers. The driver
sees only this interface, so that the in-memory host of the unit tests can stand in for a real one behind the same
contract tests (`tests/hosts/contract.py`).

Every call is safe to repeat. `ensure_…` makes something so and is content if it already is; `remove_…` is content if
there is nothing. Whatever a library raises leaves as a `HostError`: `HostUnreachable` (worth another try) or
`HostRefused` (it is not). Only objects that carry this lab's label are ever changed or listed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from pillion.core.host_facts import HostFacts
from pillion.core.model import App, AppId, Epoch, HostId, Readiness
from pillion.core.plan import Round


class ContainerState(StrEnum):
    """A container's state in Docker's words, those that we tell apart."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    EXITED = "exited"


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """What a container is made from. `labels` are added to the lab's own (`pillion.lab`)."""

    name: str
    image: str
    port: int | None
    """Published on the host under the same number."""
    volumes: Mapping[str, str] = field(default_factory=dict)
    """Volume name to mount point."""
    environment: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    restarts: bool = False
    """Whether the host's engine brings it back by itself. Never so for an app: the driver says where that runs."""
    network: str = "pillion"
    """Network of the host's engine that it joins."""
    address: str | None = None
    """Fixed IPv4 address on that network; None: the engine picks one."""
    command: tuple[str, ...] | None = None
    """None: the image's own."""


@dataclass(frozen=True, slots=True)
class ContainerInfo:
    """One of our containers as the engine reports it."""

    name: str
    state: ContainerState
    image: str
    """Image id, `sha256:…`."""
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """A container's processes, taken together."""

    uid: int
    """The highest of their user ids on the host: above 0, some do not run as root."""
    memory_bytes: int
    """What they hold resident; what they share is counted for each, so it is an upper bound."""


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """An image as the engine reports it."""

    id: str
    layers: tuple[str, ...]
    """Diff ids of its layers, lowest first."""
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Transferred:
    """What a transfer moved, measured on the sending host's monotonic clock."""

    sent_bytes: int
    seconds: float
    detail: Mapping[str, float] = field(default_factory=dict)
    """Parts of it worth showing, seconds by name (for instance `save`, `load`)."""


class TransferLink(Protocol):
    """An open, authenticated way for bulk bytes from one host to another, made ahead of the downtime."""

    @property
    def is_open(self) -> bool:
        """Whether it can still carry something, as far as is known without asking the hosts."""

    async def send_image(self, image: str, original: str) -> Transferred:
        """Move `image` and, where the target lacks it, `original`; only layers that the target lacks are sent.

        On success the target has both under the same names. `image` arrives as the original's layers and at most one
        more, however many it had, so that repeated commits do not pile up layers; one that was not made from the
        original, as its own first layer and one more. Source: Docker image specification v1.2 (`docker save`).
        Raises HostError; then the target holds at most unnamed layers.
        """

    async def send_volume(self, volume: str, target_volume: str) -> Transferred:
        """Make `target_volume` on the target equal to the source's `volume`; sends what changed since the last call.

        The names differ, since each instance has its own copy of the app's DV.

        Verified by length and SHA-256 before the target replaces anything. Files that may have changed while they were
        read are sent again by the next call, so that a call made while nothing writes leaves both sides equal.
        """

    async def send_own_image(self, container: str, original: str, image: str, labels: Mapping[str, str]) -> Transferred:
        """Move the image that the container was made from; the target then has it as `image`, with these labels.

        Its layers are the same there, so that what the container wrote on top of them fits on both hosts.
        """

    async def send_filesystem(self, container: str, image: str, base: str, labels: Mapping[str, str]) -> Transferred:
        """Move the container's whole filesystem; the target has it as `image`, without configuration.

        At first it is flattened to one layer, which is `base` on the target as well. A container that was made from
        such an image moves as `base`, if the target lacks it, and one layer with what was written since.
        Both images take the place of this lab's that had the names; `image` has these labels and the lab's, or while it
        is no more than `base` the app's and the lab's alone. Volumes are no part of it. `detail` has `load`, which
        overlaps the rest. Verified by SHA-256 before it becomes an image.
        Source: Docker Engine API, `GET /containers/{id}/export`, `POST /images/create`, `POST /images/load`.
        Raises HostError, also if the container, or an image of these names on the target, is not this lab's, or if a
        file got shorter while it was read; then the target has no `image`, or a whole one if only the answer was lost.
        """

    async def send_files(self, container: str, target_container: str) -> Transferred:
        """Make what the target's container, not yet started, has on top of its image the same as the source's.

        Both were made from the same layers. Sends what changed since the last call; else as `send_volume`.
        """

    async def send_checkpoint(self, container: str, target_container: str, round_: Round) -> Transferred:
        """Move a checkpoint to where `ensure_restored` of the target's container finds it.

        The first is sent whole, and of the last what differs from the first. Verified by SHA-256 before it counts.
        """

    async def measure(self, seconds: float) -> Transferred:
        """Send bulk bytes for that long; `seconds` of it last until the target has them all.

        Nothing on either host changes. `detail` has `round trip`, of one question, before the bytes.
        """

    async def close(self) -> None:
        """Close the way. Safe to repeat; a transfer under way fails with HostError on both sides."""


class MecHost(Protocol):
    """One MEC host. `id` is its name in the lab file, `address` where its published ports answer."""

    id: HostId
    address: str

    async def facts(self) -> HostFacts: ...

    async def claim(self, epoch: Epoch) -> None:
        """Make `epoch` the host's newest engine epoch. Raises StaleEpoch if a newer engine has claimed it."""

    async def containers(self) -> Sequence[ContainerInfo]:
        """This lab's app containers (those labelled `pillion.app`), running or not."""

    async def container(self, name: str) -> ContainerInfo | None: ...

    async def ensure_network_of(self, spec: ContainerSpec) -> None:
        """Make the network and the published port of a container that is created later, which does it too.

        It takes as long as the container's start, and needs no image. `remove_container` removes it.
        """

    async def ensure_container(self, spec: ContainerSpec) -> None:
        """Create it, without starting it. A container of that name which is ours stays; a foreign one is refused."""

    async def ensure_started(self, name: str) -> None:
        """Start it; unpause it if it is paused. Returns when the engine has started it, not when it serves."""

    async def ensure_restored(self, name: str) -> None:
        """Restore it from the last checkpoint that has arrived for it. Raises HostError; then it does not run."""

    async def ensure_paused(self, name: str) -> None: ...

    async def ensure_unpaused(self, name: str) -> None: ...

    async def ensure_killed(self, name: str) -> None:
        """SIGKILL, also when paused; content if it does not run or does not exist."""

    async def remove_container(self, name: str) -> None:
        """Kill and remove it."""

    async def last_words(self, name: str) -> str:
        """The last line that a container of ours wrote, at most 200 characters; empty if none or no such container."""

    async def commit(self, name: str, image: str, labels: Mapping[str, str]) -> None:
        """Write the container's filesystem and configuration to `image`, without pausing it."""

    async def processes(self, name: str) -> ProcessInfo:
        """What a running or paused container of ours runs. Raises HostRefused if it does not.

        Source: Docker Engine API, `GET /containers/{id}/top`; ps(1), `uid` and `rss` (KiB).
        """

    async def take_checkpoint(self, name: str, round_: Round) -> Mapping[str, float]:
        """Write the processes of a running or paused container to the host's memory; it goes on as it was.

        By name: `bytes`, the `seconds` for which it stood still, and the `tries` that it took. The first round's files
        stay, so that the last one's can be compared with them. Source: Docker Engine API,
        `POST /containers/{id}/checkpoints`.
        """

    async def remove_checkpoints(self, name: str, *, resume: bool = False) -> None:
        """Remove what the host keeps of checkpoints of this container, or for it, when none is under way any more.

        `resume`: the container is to run, also if CRIU or the Docker Engine were ended while they held it frozen.
        """

    async def image(self, name: str) -> ImageInfo | None: ...

    async def remove_image(self, name: str) -> None:
        """Remove the name, and the image with the last name. An image in use is left and that is no error."""

    async def ensure_volume(self, name: str, labels: Mapping[str, str]) -> None: ...

    async def has_volume(self, name: str) -> bool: ...

    async def remove_volume(self, name: str) -> None: ...

    async def volumes(self) -> Sequence[str]:
        """Names of this lab's volumes."""

    async def remove_strays(self, app: AppId, keep: Epoch | None, before: Epoch) -> Sequence[str]:
        """Remove what the app's migrations left: all of epochs older than `before` but `keep`; names of it.

        A call that was given up, by a lost connection or a killed engine, may be finished by the host later on: after
        what it did was taken back. An image in use stays.
        """

    async def readiness(self, app: App) -> Readiness | None:
        """What answers on the app's published port right now, or None if nothing serves there."""

    async def call_app(self, container: str, port: int, path: str) -> None:
        """GET `path` of the app on its published port: the phase hook. Raises HostError unless it answers 200."""

    async def open_link(self, target: MecHost) -> TransferLink:
        """Start a transfer helper on both hosts, if none runs yet, and connect them."""

    async def sweep(self) -> Sequence[str]:
        """Remove every object of this lab (containers, volumes, images, files); names of what was removed."""

    async def close(self) -> None: ...
