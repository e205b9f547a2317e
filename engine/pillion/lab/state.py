"""Where a lab keeps what it must not forget: one folder per lab, readable by its owner alone.

$PILLION_STATE, else $XDG_STATE_HOME/pillion, else ~/.local/state/pillion
└── <lab>/
    ├── ssh/            the engine's key, and the pinned keys of the hosts
    ├── hosts/<host>/   what goes into the host: its own key, and whose key it accepts
    ├── user-plane/     HAProxy's configuration and admin socket
    ├── ue/             what the UE's probe saw
    ├── compose.json    the lab as Compose is given it
    ├── sockets/        the hosts' Docker Engines, forwarded to the running engine
    ├── requests.key   what tokens of those who may ask for a migration are made with
    ├── journal.db, lock, engine.sock
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from pillion.core.model import HostId


@dataclass(frozen=True, slots=True)
class LabState:
    """The paths of one lab's state folder. `ensure` makes it; everything else only names what is in it."""

    root: Path

    @classmethod
    def of(cls, lab: str) -> LabState:
        """The folder of the lab of that name."""
        explicit, xdg = os.environ.get("PILLION_STATE"), os.environ.get("XDG_STATE_HOME")
        base = Path(explicit) if explicit else (Path(xdg) if xdg else Path.home() / ".local/state") / "pillion"
        return cls(base.absolute() / lab)

    def ensure(self) -> None:
        """Make the folder, for its owner alone."""
        self.root.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o700)
        for folder in (self.ssh, self.user_plane, self.ue):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o700)

    @property
    def ssh(self) -> Path:
        """Folder of the engine's key pair and known_hosts."""
        return self.root / "ssh"

    @property
    def key_file(self) -> Path:
        """The engine's private key."""
        return self.ssh / "engine"

    @property
    def known_hosts(self) -> Path:
        """The hosts' pinned keys."""
        return self.ssh / "known_hosts"

    def host(self, host: HostId) -> Path:
        """What is mounted into a host that `pillion up` makes."""
        return self.root / "hosts" / host

    @property
    def user_plane(self) -> Path:
        """Folder of HAProxy's configuration and socket."""
        return self.root / "user-plane"

    @property
    def admin_socket(self) -> Path:
        """HAProxy's runtime API."""
        return self.user_plane / "admin.sock"

    @property
    def requests_key(self) -> Path:
        """What the tokens of those who may ask for a migration are made with."""
        return self.root / "requests.key"

    @property
    def ue(self) -> Path:
        """What the UE's probe wrote."""
        return self.root / "ue"

    @property
    def compose_file(self) -> Path:
        """The lab as Compose was given it."""
        return self.root / "compose.json"

    @property
    def journal(self) -> Path:
        """The engine's journal."""
        return self.root / "journal.db"

    @property
    def lock(self) -> Path:
        """Held by the lab's one engine."""
        return self.root / "lock"

    @property
    def sockets(self) -> Path:
        """What the running engine has forwarded from the hosts."""
        return self.root / "sockets"

    def emptied_sockets(self) -> Path:
        """That folder without what an engine that was killed has left in it. Only for who holds the lock."""
        shutil.rmtree(self.sockets, ignore_errors=True)
        self.sockets.mkdir(mode=0o700)
        return self.sockets

    @property
    def control_socket(self) -> Path:
        """Where a running engine takes commands."""
        return self.root / "engine.sock"
