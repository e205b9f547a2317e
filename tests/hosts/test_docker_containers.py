"""A container that does not start at once: what the engine says in passing is tried again, and nothing else is."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from pillion.core.model import HostId
from pillion.errors import HostRefused
from pillion.hosts.docker import DockerHost
from pillion.hosts.docker_api import HostTimeouts
from pillion.hosts.docker_containers import DockerContainers
from pillion.hosts.ssh import SshSettings

DIED = "waiting for init preliminary setup: read init-p: connection reset by peer: unknown"
HAS_IT = "failed to upload checkpoint to containerd: commit failed: content sha256:0: already exists"


class Api:
    """An engine that has the container, and refuses its first starts."""

    def __init__(self, refusals: list[str]) -> None:
        self.refusals = refusals
        self.starts: list[str] = []

    async def inspect(self, path: str) -> Any:
        return {"Config": {"Labels": {"pillion.lab": "lab"}}, "State": {"Status": "created"}, "Image": "sha256:0"}

    async def call(self, method: str, path: str, **_: object) -> None:
        self.starts.append(path)
        if self.refusals:
            raise HostRefused(self.refusals.pop(0), place="mec1")


class Containers(DockerContainers):
    """Those of an engine that nobody has taken over."""

    def __init__(self, api: Any) -> None:
        super().__init__(HostId("mec1"), "lab", api, HostTimeouts(), PurePosixPath("/pillion"), "pillion/gateway")

    def _refuse_if_stale(self) -> None:
        pass


class Helper:
    """A transfer helper that refuses its first requests."""

    def __init__(self, refusals: list[str]) -> None:
        self.refusals = refusals
        self.asked: list[tuple[str, str]] = []

    async def request(self, do: str, *, container: str, **_: object) -> None:
        self.asked.append((do, container))
        if self.refusals:
            raise HostRefused(self.refusals.pop(0), place="mec1")


class Restoring(DockerHost):
    """A host with that helper, and every container its own."""

    def __init__(self, helper: Helper) -> None:
        ssh = SshSettings("root", "127.0.0.1", 22, Path("/nowhere"), Path("/nowhere"))
        super().__init__(HostId("mec1"), "127.0.0.1", "lab", ssh, network_image="pillion/gateway")
        self.helper = helper

    async def _require_ours(self, name: str) -> None:
        pass

    async def _running_helper(self) -> Any:
        return self.helper


@pytest.mark.parametrize("said", [DIED, HAS_IT])
async def test_a_start_that_failed_in_passing_is_tried_again(said: str) -> None:
    api = Api([said, said])
    await Containers(api).ensure_started("a2.1")
    assert api.starts == ["containers/a2.1/start"] * 3


@pytest.mark.parametrize("said", [DIED, HAS_IT])
async def test_a_restore_that_failed_in_passing_is_tried_again(said: str) -> None:
    helper = Helper([said])
    async with Restoring(helper) as host:
        await host.ensure_restored("a2.1")
    assert helper.asked == [("restore", "a2.1")] * 2


async def test_a_start_that_goes_on_failing_is_given_up() -> None:
    api = Api([DIED] * 3)
    with pytest.raises(HostRefused, match="init preliminary setup"):
        await Containers(api).ensure_started("a2.1")
    assert len(api.starts) == 3


async def test_a_start_that_fails_for_a_reason_is_not_repeated() -> None:
    api = Api(["exec: no such file"])
    with pytest.raises(HostRefused, match="no such file"):
        await Containers(api).ensure_started("a2.1")
    assert len(api.starts) == 1
