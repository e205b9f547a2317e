"""What a MEC host in memory holds: containers, images, volumes, and the faults that its next calls meet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from pillion.core.host_facts import HostFacts
from pillion.core.model import Epoch, HostId, Readiness
from pillion.hosts.base import ContainerSpec, ContainerState
from tests.core.examples import FIT

LAB_LABEL = "pillion.lab"
Files = dict[str, tuple[bytes, int]]
"""Path to content and mode."""


class Fault(Enum):
    """What the next call of a method does instead of working."""

    UNREACHABLE = "no answer, and nothing was done"
    ANSWER_LOST = "no answer, but it was done"
    REFUSED = "the host says no"
    HANG = "never answers"


@dataclass
class MemoryImage:
    id: str
    layers: tuple[str, ...]
    labels: dict[str, str]
    environment: dict[str, str]
    files: Files
    command: str | None = "serve"


@dataclass(frozen=True)
class MemoryProcess:
    """What a running app holds: the environment it was started with, and a state of its own."""

    environment: dict[str, str]
    seq: int = 0
    uid: int = 0


@dataclass
class MemoryContainer:
    spec: ContainerSpec
    image: MemoryImage
    labels: dict[str, str]
    state: ContainerState = ContainerState.CREATED
    changes: dict[str, tuple[bytes, int] | None] = field(default_factory=dict)
    process: MemoryProcess | None = None

    @property
    def environment(self) -> dict[str, str]:
        return {**self.image.environment, **self.spec.environment}

    @property
    def files(self) -> Files:
        seen = {**self.image.files, **self.changes}
        return {path: content for path, content in seen.items() if content is not None}


@dataclass
class MemoryVolume:
    labels: dict[str, str]
    files: Files = field(default_factory=dict)


@dataclass
class Machine:
    """What one MEC host holds, whoever looks at it."""

    id: HostId
    containers: dict[str, MemoryContainer] = field(default_factory=dict)
    images: dict[str, MemoryImage] = field(default_factory=dict)
    volumes: dict[str, MemoryVolume] = field(default_factory=dict)
    networks: dict[str, int] = field(default_factory=dict)
    """Published port by container, made with it or before it."""
    checkpoints: dict[str, dict[str, MemoryProcess]] = field(default_factory=dict)
    """By container and round."""
    facts: HostFacts = FIT
    epoch: int = 0
    is_reachable: bool = True
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    latency_s: dict[str, float] = field(default_factory=dict)


AppBehaviour = Callable[[Machine, MemoryContainer], Readiness | None]


def answer_from_volume(machine: Machine, container: MemoryContainer) -> Readiness | None:
    """An app whose `seq` is the number in its first volume's file `seq` and the one in its memory."""
    process = container.process or MemoryProcess(container.environment)
    environment = process.environment
    if "PILLION_INSTANCE" not in environment:
        return None
    volume = next(iter(container.spec.volumes), None)
    content, _ = machine.volumes[volume].files.get("seq", (b"0", 0)) if volume else (b"0", 0)
    seq = int(content) + process.seq
    return Readiness(environment["PILLION_INSTANCE"], Epoch(int(environment["PILLION_EPOCH"])), seq)


def with_tag(name: str) -> str:
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"
