"""The nouns: ids and frozen facts that the rest of the core speaks of.

Nothing here decides anything. Ids are NewTypes, so that a zone cannot be passed where a MEC host is meant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

AppId = NewType("AppId", str)
HostId = NewType("HostId", str)
UeId = NewType("UeId", str)
"""A UE's MEC 013 `address`."""
PoaId = NewType("PoaId", str)
"""A MEC 013 `accessPointId`."""
ZoneId = NewType("ZoneId", str)
MigrationId = NewType("MigrationId", str)
StepId = NewType("StepId", str)
Epoch = NewType("Epoch", int)
"""Drawn from the lab's one ever-growing counter: by an engine when it takes the lock, and by each migration for the
container it makes. A larger epoch is always the later one."""


@dataclass(frozen=True, slots=True)
class Position:
    """A place on WGS84, degrees."""

    latitude: float
    longitude: float


@dataclass(frozen=True, slots=True)
class Volume:
    """A DV: the Docker volume that holds an app's state and moves with it, by its mount point in the container."""

    mount: str


class StateKind(StrEnum):
    """Where an app keeps the state that must not be lost."""

    NONE = "none"
    VOLUME = "volume"
    """In its DV, the Docker volume that moves with it."""
    MEMORY = "memory"
    """In its process alone."""


class Protocol(StrEnum):
    """What an app speaks on its port, and so how it is asked whether it serves and how its traffic is switched."""

    HTTP = "http"
    MEMCACHED = "memcached"
    """TCP connections that cannot be handed over: each is cut once at the switch."""


@dataclass(frozen=True, slots=True)
class App:
    """An application instance that follows one UE, as the lab file describes it."""

    id: AppId
    ue: UeId
    image: str
    port: int
    """TCP port, the same inside the container and on every MEC host."""
    volume: Volume | None
    phase_hook: str | None
    """Path of the app's own HTTP server that is told of a migration; None: the app is moved without being told."""
    ready_path: str
    """Path that answers 200 with a JSON object once the app serves; its `seq` is the state sequence number."""
    strategy: str
    state: StateKind = StateKind.NONE
    command: tuple[str, ...] | None = None
    """Hand-given command (exec form); None: the image's own, which a strategy has to carry."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Hand-given environment, added to the image's."""
    protocol: Protocol = Protocol.HTTP


@dataclass(frozen=True, slots=True)
class Instance:
    """One container of an app on one MEC host. The epoch tells it from every earlier and later one."""

    app: AppId
    host: HostId
    epoch: Epoch

    @property
    def container(self) -> str:
        """The container's name, which is also what the app answers as its `instance`."""
        return f"{self.app}.{self.epoch}"

    @property
    def volume(self) -> str:
        """The name of this instance's own copy of the app's DV."""
        return f"{self.app}.{self.epoch}.dv"

    @property
    def image(self) -> str:
        """The image that carries the app to this instance, if a migration makes one."""
        return f"pillion-migration/{self.app}:{self.epoch}"

    @property
    def base(self) -> str:
        """The app's filesystem as M1 flattened it once, which every host that it came to keeps to build on."""
        return f"pillion-base/{self.app}:latest"


@dataclass(frozen=True, slots=True)
class Readiness:
    """What an app instance says of itself when asked directly: whether it serves, and how far its state has come.

    A restored process tells the instance and epoch that it was born as, for good. A memcached knows neither: they are
    "" and 0.
    """

    instance: str
    epoch: Epoch
    seq: int
