"""What the contract of MEC hosts is tried on: two hosts, and hands to do what is not the engine's work.

An app's writing, another user's containers, a broken wire; and a few words that most of the contract's tests need.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from pillion.core.model import App, AppId, Readiness, UeId
from pillion.hosts.base import ContainerSpec, ContainerState, MecHost, TransferLink

APP = AppId("zones")
PORT = 3000
ZONES = App(APP, UeId("10.100.0.2"), "", PORT, None, None, "/ready", "M2")
NAME = "zones.1"
VOLUME = "zones.1.dv"
COPY = "zones.2.dv"
ANSWER_TIMEOUT_S = 20.0

Tree = dict[str, tuple[str, str]]
"""Path in a volume to its mode (octal) and its content, or `-> target`."""


class Bench(Protocol):
    original: str
    """An image that both hosts have."""
    lab: str

    @property
    def source(self) -> MecHost: ...

    @property
    def target(self) -> MecHost: ...

    async def engine(self, host: MecHost) -> MecHost:
        """Another engine's hold on the same host."""

    async def write(self, host: MecHost, volume: str, path: str, content: str, mode: str = "644") -> None: ...

    async def symlink(self, host: MecHost, volume: str, path: str, target: str) -> None: ...

    async def delete(self, host: MecHost, volume: str, path: str) -> None: ...

    async def tree(self, host: MecHost, volume: str) -> Tree: ...

    async def write_inside(self, host: MecHost, container: str, path: str, content: str | None) -> None:
        """Write or delete a file of a running container's own filesystem."""

    async def read_inside(self, host: MecHost, container: str, path: str) -> str | None: ...

    async def settings(self, host: MecHost, image: str) -> tuple[object, object, dict[str, str]]:
        """Command, environment and labels of an image."""

    async def add_foreign(self, host: MecHost, name: str) -> None:
        """Somebody else's container, volume and image of that name; the container runs."""

    async def foreign(self, host: MecHost, name: str) -> list[str]:
        """Which of them are still there, the container only if it runs."""

    async def cut_while_sending(self, link: TransferLink, host: MecHost, volume: str, target_volume: str) -> None:
        """Start to send a large volume and break the wire meanwhile; gives back what the call raises."""

    async def cut_filesystem_while_sending(self, link: TransferLink, container: str, image: str) -> None:
        """The same with a container's filesystem, from source to target."""


def spec(original: str, name: str = NAME, volume: str = VOLUME, port: int | None = PORT) -> ContainerSpec:
    epoch = name.rpartition(".")[2]
    return ContainerSpec(
        name,
        original,
        port,
        {volume: "/data"},
        {"PILLION_INSTANCE": name, "PILLION_EPOCH": epoch},
        {"pillion.app": APP, "pillion.epoch": epoch},
    )


async def answer(host: MecHost) -> Readiness:
    """The app's answer, as soon as it serves."""
    async with asyncio.timeout(ANSWER_TIMEOUT_S):
        while (said := await host.readiness(ZONES)) is None:  # the world has no event
            await asyncio.sleep(0.02)
        return said


async def started(bench: Bench, host: MecHost, name: str = NAME, volume: str = VOLUME) -> None:
    await host.ensure_volume(volume, {})
    await host.ensure_container(spec(bench.original, name, volume))
    await host.ensure_started(name)


async def state(host: MecHost, name: str = NAME) -> ContainerState | None:
    info = await host.container(name)
    return None if info is None else info.state
