"""One SSH connection per MEC host, over which everything goes that the engine itself asks of the host.

It carries the Docker Engine's socket, forwarded to a socket here that only we can open, the transfer helper's file and
its commands. Bulk bytes never pass through it. The host's key is pinned: it must be in the lab's own known_hosts file;
the user's SSH configuration, agent and known hosts are not looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shlex
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import asyncssh

from pillion.core.model import HostId
from pillion.errors import HostRefused, HostUnreachable
from pillion.hosts.forward import SocketForward

log = logging.getLogger(__name__)

DOCKER_SOCKET = "/var/run/docker.sock"
# asyncssh would start with chacha20, which costs twice the time where the processor has AES instructions.
_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes128-ctr")
_KEEPALIVE_INTERVAL_S = 5
_KEEPALIVE_COUNT = 3
_OUR_MISTAKES = (asyncssh.IllegalUserName, asyncssh.ProtocolNotSupported, asyncssh.KeyImportError)
_SOCKET_FOLDER_LENGTH = 75
"""The kernel's limit for a socket's path is 107, of which the names that we add take less than 30."""
_RETRY = "try again; see that the host and the network between are up"

SshProcess = asyncssh.SSHClientProcess[bytes]


@dataclass(frozen=True, slots=True)
class SshSettings:
    """How to reach a MEC host by SSH."""

    user: str
    address: str
    port: int
    key_file: Path
    known_hosts_file: Path
    connect_timeout_s: float = 10.0
    socket_folder: Path | None = None
    """Where the forwarded socket is put, in a folder of its own; None, or too long a path: the system's own place."""


class _Watcher(asyncssh.SSHClient):
    """Sees the connection go."""

    def __init__(self) -> None:
        self.lost = False

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True


class SshConnection:
    """A host's SSH connection: made at the first use, and made anew at the next use after it was lost."""

    def __init__(self, host: HostId, settings: SshSettings) -> None:
        self._host = host
        self._settings = settings
        self._connecting = asyncio.Lock()
        self._connection: asyncssh.SSHClientConnection | None = None
        self._watcher = _Watcher()
        self._forward: SocketForward | None = None
        self._folder = _private_folder(settings.socket_folder)
        self._closed = False

    def __repr__(self) -> str:
        state = "closed" if self._closed else "connected" if self.is_connected else "not connected"
        return f"<SshConnection {self._host} {self._settings.user}@{self._settings.address}: {state}>"

    @property
    def docker_socket(self) -> Path:
        """Here the host's Docker Engine answers while we are connected."""
        return self._folder / "docker.sock"

    @property
    def is_connected(self) -> bool:
        return self._connection is not None and not self._watcher.lost

    async def connect(self) -> asyncssh.SSHClientConnection:
        """The connection, made if there is none. Raises HostUnreachable, HostRefused."""
        if self._connection is not None and not self._watcher.lost:
            return self._connection
        async with self._connecting:
            if self._connection is None or self._watcher.lost:
                if self._closed:
                    raise HostUnreachable("the connection was closed", place=self._host)
                self._connection = await self._open()
            return self._connection

    async def _open(self) -> asyncssh.SSHClientConnection:
        settings = self._settings
        for path in (settings.known_hosts_file, settings.key_file):
            if not path.is_file():
                remedy = "run `pillion up`, which makes the keys and pins the hosts'"
                raise HostRefused(f"{path} does not exist", place=self._host, remedy=remedy)
        watcher = _Watcher()
        with self.translated():
            async with asyncio.timeout(settings.connect_timeout_s):
                connection = await asyncssh.connect(
                    settings.address,
                    settings.port,
                    username=settings.user,
                    client_keys=[str(settings.key_file)],
                    known_hosts=str(settings.known_hosts_file),
                    config=None,
                    agent_path=None,
                    preferred_auth=["publickey"],
                    encryption_algs=list(_CIPHERS),
                    keepalive_interval=_KEEPALIVE_INTERVAL_S,
                    keepalive_count_max=_KEEPALIVE_COUNT,
                    client_factory=lambda: watcher,
                )
                try:
                    if self._forward is not None:
                        await self._forward.close()
                    self._forward = await SocketForward.open(connection, self.docker_socket, DOCKER_SOCKET)
                except BaseException:
                    connection.abort()
                    raise
        self._watcher = watcher
        log.debug("%r", self)
        return connection

    async def put(self, path: PurePosixPath, content: bytes) -> None:
        """Write a file (mode 0600) by SFTP, its folders made (0700), whole or not at all. Raises HostError."""
        async with self._sftp() as sftp:
            await sftp.makedirs(str(path.parent), asyncssh.SFTPAttrs(permissions=0o700), exist_ok=True)
            part = f"{path}.part"
            async with sftp.open(part, "wb", asyncssh.SFTPAttrs(permissions=0o600)) as file:
                await file.write(content)
            await sftp.posix_rename(part, str(path))

    async def exists(self, path: PurePosixPath) -> bool:
        async with self._sftp() as sftp:
            return await sftp.exists(str(path))

    async def remove_tree(self, path: PurePosixPath) -> bool:
        """Remove a folder and what is in it; whether there was one. Raises HostError."""
        async with self._sftp() as sftp:
            if not await sftp.exists(str(path)):
                return False
            await sftp.rmtree(str(path))
            return True

    async def start(self, command: Sequence[str]) -> SshProcess:
        """Start a program, its words passed as they are. Raises HostError."""
        connection = await self.connect()
        with self.translated():
            async with asyncio.timeout(self._settings.connect_timeout_s):
                return await connection.create_process(shlex.join(command), encoding=None)

    async def run(self, command: Sequence[str], limit_s: float) -> str:
        """What a program prints, its words passed as they are. Raises HostRefused with its last words if it fails."""
        process = await self.start(command)
        try:
            with self.translated():
                async with asyncio.timeout(limit_s):
                    out, said = await process.communicate()
        finally:
            process.close()
        if process.exit_status is None:
            raise HostUnreachable(f"the connection was lost in {command[0]}", place=self._host, remedy=_RETRY)
        if process.exit_status:
            words = said.decode(errors="replace").strip() or f"exit {process.exit_status}"
            raise HostRefused(f"{shlex.join(command)}: {words[-200:]}", place=self._host)
        return out.decode(errors="replace")

    @contextlib.asynccontextmanager
    async def _sftp(self) -> AsyncIterator[asyncssh.SFTPClient]:
        connection = await self.connect()
        with self.translated():
            async with asyncio.timeout(self._settings.connect_timeout_s), connection.start_sftp_client() as sftp:
                yield sftp

    @contextlib.contextmanager
    def translated(self) -> Iterator[None]:
        """What asyncssh and the system raise inside leaves as HostRefused or HostUnreachable."""
        settings, place = self._settings, self._host
        where = f"{settings.address} port {settings.port}"
        try:
            yield
        except asyncssh.HostKeyNotVerifiable as error:
            remedy = f"compare it with {settings.known_hosts_file}; somebody else may be answering at {where}"
            raise HostRefused("its SSH host key is not the pinned one", place=place, remedy=remedy) from error
        except asyncssh.PermissionDenied as error:
            remedy = f"put the public part of {settings.key_file} into authorized_keys of {settings.user} there"
            raise HostRefused(f"user {settings.user} may not log in: {error}", place=place, remedy=remedy) from error
        except (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection) as error:
            raise HostUnreachable(f"the SSH connection was lost: {error}", place=place, remedy=_RETRY) from error
        except (asyncssh.SFTPError, asyncssh.ChannelListenError, asyncssh.KeyExchangeFailed, *_OUR_MISTAKES) as error:
            raise HostRefused(f"SSH: {error}", place=place, remedy="look at the host's SSH server") from error
        except TimeoutError as error:
            raise HostUnreachable(f"no answer from {where} in time", place=place, remedy=_RETRY) from error
        except (asyncssh.Error, OSError) as error:
            problem = f"no SSH connection to {where}: {error}"
            raise HostUnreachable(
                problem, place=place, remedy="see that the host runs and that its sshd does"
            ) from error

    async def close(self) -> None:
        """Close the connection and remove the socket. Safe to repeat."""
        self._closed = True
        async with self._connecting:
            if self._forward is not None:
                await self._forward.close()
            if self._connection is not None:
                self._connection.close()
                with contextlib.suppress(TimeoutError, asyncssh.Error, OSError):
                    async with asyncio.timeout(self._settings.connect_timeout_s):
                        await self._connection.wait_closed()
            shutil.rmtree(self._folder, ignore_errors=True)


def _private_folder(wanted: Path | None) -> Path:
    """A new folder, mode 0700, with a path short enough for a socket in it."""
    if wanted is not None and len(str(wanted)) <= _SOCKET_FOLDER_LENGTH:
        return Path(tempfile.mkdtemp(prefix="ssh-", dir=wanted))
    return Path(tempfile.mkdtemp(prefix="pillion-"))
