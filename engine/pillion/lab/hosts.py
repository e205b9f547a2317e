"""The lab's MEC hosts as adapters: address and keys from the lab file and the state folder."""

from __future__ import annotations

from pillion.config import LabSettings
from pillion.core.model import HostId
from pillion.hosts.docker import DockerHost
from pillion.hosts.ssh import SshSettings
from pillion.lab.state import LabState


def connect_hosts(lab: LabSettings, state: LabState) -> dict[HostId, DockerHost]:
    """The lab's MEC hosts. Nothing is connected before its first use."""
    return {
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
                socket_folder=state.root,
            ),
        )
        for name, host in lab.hosts.items()
    }
