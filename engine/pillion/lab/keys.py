"""The lab's SSH keys, made once per lab: the engine's, and each host's, which is pinned before the host exists."""

from __future__ import annotations

from pathlib import Path

import asyncssh

from pillion.config import LabSettings
from pillion.core.model import HostId
from pillion.lab.state import LabState

_KIND = "ssh-ed25519"


def ensure_keys(lab: LabSettings, state: LabState) -> None:
    """Make what is missing: the engine's key, a key for each host that `pillion up` makes, and their known_hosts."""
    engine = _ensure_key(state.key_file, f"pillion engine of lab {lab.lab}")
    pinned = []
    for name, host in lab.hosts.items():
        if host.key_file:
            continue
        folder = state.host(HostId(name))
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        key = _ensure_key(folder / "ssh_host_ed25519_key", f"pillion host {name}")
        pinned.append(f"{host.address} {_public(key)}\n")
        _write(folder / "authorized_keys", f"{_public(engine)}\n")
    _write(state.known_hosts, "".join(pinned))


def _ensure_key(path: Path, comment: str) -> asyncssh.SSHKey:
    if not path.exists():
        key = asyncssh.generate_private_key(_KIND, comment=comment)
        _write(path, key.export_private_key().decode())
    return asyncssh.read_private_key(str(path))


def _public(key: asyncssh.SSHKey) -> str:
    return key.export_public_key().decode().strip()


def _write(path: Path, content: str) -> None:
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(content)
