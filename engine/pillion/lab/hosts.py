"""The lab's MEC hosts as adapters: address and keys from the lab file and the state folder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from pillion.config import LabSettings
from pillion.core.model import Epoch, HostId
from pillion.hosts.docker import DockerHost
from pillion.hosts.ssh import SshSettings
from pillion.lab.state import LabState


@asynccontextmanager
async def connect_hosts(
    lab: LabSettings, state: LabState, sockets: Path | None = None, epoch: Epoch | None = None
) -> AsyncIterator[Mapping[HostId, DockerHost]]:
    """The lab's MEC hosts. Nothing is connected before its first use; all is closed at the end.

    `sockets`: folder for what is forwarded from them; None: one of each host's own in the system's temporary folder.
    `epoch`: of the engine that uses them, claimed as soon as a host's helper starts; None: nothing is claimed.
    """
    hosts = {
        HostId(name): DockerHost(
            HostId(name),
            str(host.address),
            lab.lab,
            SshSettings(
                user=host.ssh_user,
                address=str(host.address),
                port=host.ssh_port,
                key_file=host.key_file or state.key_file,
                known_hosts_file=host.known_hosts or state.known_hosts,
                socket_folder=sockets,
            ),
            epoch=epoch,
        )
        for name, host in lab.hosts.items()
    }
    async with AsyncExitStack() as closing:
        for host in hosts.values():
            closing.push_async_callback(host.close)
        yield hosts
