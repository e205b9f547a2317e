"""Two helpers joined: the target listens for the one peer that knows the token, the source sends, the target applies.

One link moves one thing at a time. Cutting it ends whatever it is doing on both hosts, and what was under way counts
for nothing.
"""

from __future__ import annotations

import hmac
import secrets
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pillion.hosts.helper import images, volumes
from pillion.hosts.helper.engine import DockerEngine
from pillion.hosts.helper.wire import Connection, Cut, Header, Refused, refused_by_system

_TOKEN_TIMEOUT_S = 5.0
_CONNECT_TIMEOUT_S = 10.0
_rounds: dict[Path, threading.Lock] = {}
"""A lock for each volume that rounds are applied to, over whichever link."""


class Link:
    """One end of a link. `lab` is the label without which a volume is not touched; `temp` a folder for large files."""

    def __init__(self, lab: str, temp: Path) -> None:
        self._lab = lab
        self._temp = temp
        self._engine = DockerEngine()
        self._listener: socket.socket | None = None
        self._connection: Connection | None = None
        self._lock = threading.Lock()
        self._one_transfer = threading.Lock()
        self._was_cut = False
        self._roots: dict[str, Path] = {}
        self._memories: dict[tuple[str, str], volumes.Memory] = {}

    def listen(self, address: str) -> Header:
        """Wait for one peer on a port of its own; the port, and the token that the peer has to show first."""
        try:
            listener = socket.create_server((address, 0), backlog=8)
        except OSError as error:
            raise refused_by_system(f"cannot listen on {address}", error) from error
        token = secrets.token_hex(32)
        with self._lock:
            self._listener = listener
        threading.Thread(target=self._accept, args=(listener, token), daemon=True).start()
        return {"port": listener.getsockname()[1], "token": token}

    def connect(self, address: str, port: int, token: str) -> Header:
        """Join the peer that listens there. Raises Cut, Refused."""
        try:
            sock = socket.create_connection((address, port), timeout=_CONNECT_TIMEOUT_S)
        except OSError as error:
            raise Cut(f"no connection to {address}:{port}: {error}") from error
        connection = self._take(sock)
        try:
            connection.ask({"token": token})
        except Cut as error:
            raise Refused("the target helper did not accept the token") from error
        sock.settimeout(None)
        return {}

    def send_image(self, image: str, original: str) -> Header:
        return self._timed(lambda connection: images.send(connection, self._engine, image, original, self._temp))

    def send_volume(self, volume: str, target_volume: str) -> Header:
        return self._timed(lambda connection: self._send_volume(connection, volume, target_volume))

    def _send_volume(self, connection: Connection, volume: str, target_volume: str) -> dict[str, float]:
        # Forgotten until this round is known to have arrived: after a failure everything is sent again.
        memory = self._memories.pop((volume, target_volume), None)
        try:
            sent = volumes.send(connection, self._root(volume), target_volume, memory)
        except OSError as error:
            raise refused_by_system(f"volume {volume} cannot be read", error) from error
        self._memories[volume, target_volume] = sent
        return {}

    def _timed(self, transfer: Callable[[Connection], dict[str, float]]) -> Header:
        with self._one_transfer:
            connection = self._connection
            if connection is None:
                raise Cut("the link is closed")
            started, sent_before = time.monotonic(), connection.sent_bytes
            detail = transfer(connection)
            seconds = time.monotonic() - started
            return {"sent_bytes": connection.sent_bytes - sent_before, "seconds": seconds, "detail": detail}

    def _accept(self, listener: socket.socket, token: str) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return  # closed: a peer has come, or nobody is waited for any more
            threading.Thread(target=self._admit, args=(sock, token, listener), daemon=True).start()

    def _admit(self, sock: socket.socket, token: str, listener: socket.socket) -> None:
        sock.settimeout(_TOKEN_TIMEOUT_S)
        connection = Connection(sock)
        try:
            header, body = connection.receive()
            body.finish()
            shown = header.get("token")
            with self._lock:
                admitted = (
                    self._listener is listener  # nobody was admitted yet
                    and isinstance(shown, str)
                    and hmac.compare_digest(shown.encode(), token.encode())
                )
                if admitted:
                    self._listener = None
                    self._connection = connection
            if not admitted:
                raise Cut("not the peer that is waited for")
            _close(listener)
            sock.settimeout(None)
            connection.send({})
            self._serve(connection)
        except Cut:
            pass
        finally:
            connection.cut()

    def _serve(self, connection: Connection) -> None:
        """Answer the source until the connection ends. Raises Cut."""
        while True:
            header, body = connection.receive()
            answer: Header
            try:
                if header["do"] == "has":
                    answer = images.has(self._engine, header)
                elif header["do"] == "image":
                    answer = images.receive(header, body, self._engine)
                else:
                    root = self._root(header["volume"])
                    # A round that came over a link since closed may be at its end still: one after the other.
                    with _rounds.setdefault(root, threading.Lock()):
                        answer = volumes.receive(header, body, root)
            except Refused as error:
                answer = {"refused": error.problem, "remedy": error.remedy}
            except OSError as error:
                refused = refused_by_system("the target cannot take it", error)
                answer = {"refused": refused.problem, "remedy": refused.remedy}
            except Cut as error:
                if not body.given_up:
                    raise
                answer = {"refused": str(error)}
            connection.send(answer)
            body.drain()

    def _root(self, volume: str) -> Path:
        """Where the volume's files are. Raises Refused if it is not there, or not this lab's."""
        if volume not in self._roots:
            found = self._engine.volume(volume)
            if found is None:
                raise Refused(f"there is no volume {volume}")
            if (found.get("Labels") or {}).get("pillion.lab") != self._lab:
                raise Refused(f"volume {volume} is not this lab's", "rename or remove it")
            self._roots[volume] = Path(found["Mountpoint"])
        return self._roots[volume]

    def _take(self, sock: socket.socket) -> Connection:
        connection = Connection(sock)
        with self._lock:
            if self._was_cut:
                connection.cut()
                raise Cut("the link was closed")
            self._connection = connection
        return connection

    def cut(self) -> None:
        """End the link and whatever it is doing. Safe to repeat, from any thread."""
        with self._lock:
            self._was_cut = True
            listener, self._listener = self._listener, None
            connection, self._connection = self._connection, None
        if listener is not None:
            _close(listener)
        if connection is not None:
            connection.cut()
        self._engine.cut()


def _close(listener: socket.socket) -> None:
    with suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept
    listener.close()


def run(link: Link, command: str, arguments: dict[str, Any]) -> Header:
    """Carry one of the link's commands out."""
    commands: dict[str, Callable[..., Header]] = {
        "listen": link.listen,
        "connect": link.connect,
        "send_image": link.send_image,
        "send_volume": link.send_volume,
    }
    return commands[command](**arguments)
