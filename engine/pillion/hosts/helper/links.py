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

from pillion.hosts.helper import flatten, images, volumes
from pillion.hosts.helper.checkpoints import Checkpoints
from pillion.hosts.helper.engine import DockerEngine, is_labs
from pillion.hosts.helper.wire import Connection, Cut, Header, Refused, refused_by_system

_TOKEN_TIMEOUT_S = 5.0
_CONNECT_TIMEOUT_S = 10.0
_rounds: dict[Path, threading.Lock] = {}
"""A lock for each tree that rounds are applied to, over whichever link."""


class Link:
    """One end of a link. `lab` is the label without which a volume is not touched; `temp` a folder for large files."""

    def __init__(self, lab: str, temp: Path, checkpoints: Checkpoints) -> None:
        self._lab = lab
        self._temp = temp
        self._checkpoints = checkpoints
        self._engine = DockerEngine()
        self._listener: socket.socket | None = None
        self._connection: Connection | None = None
        self._lock = threading.Lock()
        self._one_transfer = threading.Lock()
        self._was_cut = False
        self._roots: dict[tuple[str, str], Path] = {}
        self._memories: dict[tuple[str, str, str], volumes.Memory] = {}

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
        found = self._engine.image(image)
        if found is not None and not is_labs(found["Config"].get("Labels"), self._lab):
            raise Refused(f"image {image} is not this lab's", "rename or remove it")
        return self._timed(lambda connection: images.send(connection, self._engine, image, original, self._temp))

    def send_own_image(self, container: str, original: str, image: str, labels: dict[str, str]) -> Header:
        new = images.New(image, {**labels, "pillion.lab": self._lab})

        def transfer(connection: Connection) -> dict[str, float]:
            found = self._checkpoints.ours(self._engine, container)
            return images.send(connection, self._engine, found["Image"], original, self._temp, new)

        return self._timed(transfer)

    def send_filesystem(self, container: str, image: str, base: str, labels: dict[str, str]) -> Header:
        new = images.New(image, {**labels, "pillion.lab": self._lab})

        def transfer(connection: Connection) -> dict[str, float]:
            found = self._checkpoints.ours(self._engine, container)
            return flatten.send(connection, self._engine, found, base, new, self._temp)

        return self._timed(transfer)

    def send_volume(self, volume: str, target_volume: str) -> Header:
        return self._timed(lambda connection: self._send_tree(connection, "volume", volume, target_volume))

    def send_files(self, container: str, target_container: str) -> Header:
        return self._timed(lambda connection: self._send_tree(connection, "container", container, target_container))

    def send_checkpoint(self, container: str, target_container: str, round: str) -> Header:
        def transfer(connection: Connection) -> dict[str, float]:
            try:
                self._checkpoints.send(connection, container, target_container, round)
            except OSError as error:
                raise refused_by_system(f"the checkpoint of {container} cannot be read", error) from error
            return {}

        return self._timed(transfer)

    def measure(self, seconds: float) -> Header:
        """Send bulk bytes for that long, read from no disk, which the peer drops."""

        def transfer(connection: Connection) -> dict[str, float]:
            asked = time.monotonic()
            connection.ask({"do": "drop"})
            began = time.monotonic()
            connection.pour({"do": "drop"}, seconds)
            return {"round trip": began - asked}

        return self._timed(transfer)

    def _send_tree(self, connection: Connection, kind: str, name: str, target: str) -> dict[str, float]:
        # Forgotten until this round is known to have arrived: after a failure everything is sent again.
        memory = self._memories.pop((kind, name, target), None)
        try:
            sent = volumes.send(connection, self._root(kind, name), {"do": "tree", kind: target}, memory)
        except OSError as error:
            raise refused_by_system(f"{kind} {name} cannot be read", error) from error
        self._memories[kind, name, target] = sent
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
                    answer = images.receive(header, body, self._engine, self._lab)
                elif header["do"] == "drop":
                    body.discard()
                    answer = {}
                elif header["do"] == "filesystem":
                    answer = flatten.receive(header, body, self._engine, self._lab)
                elif header["do"] == "checkpoint":
                    answer = self._checkpoints.receive(header, body, self._engine)
                else:
                    kind = "volume" if "volume" in header else "container"
                    root = self._root(kind, header[kind])
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

    def _root(self, kind: str, name: str) -> Path:
        """Where a volume's files are, or a container's own layer. Raises Refused if it is not there, or another's."""
        if (kind, name) not in self._roots:
            self._roots[kind, name] = self._volume(name) if kind == "volume" else self._own_layer(name)
        return self._roots[kind, name]

    def _volume(self, name: str) -> Path:
        found = self._engine.volume(name)
        if found is None:
            raise Refused(f"there is no volume {name}")
        if not is_labs(found.get("Labels"), self._lab):
            raise Refused(f"volume {name} is not this lab's", "rename or remove it")
        return Path(found["Mountpoint"])

    def _own_layer(self, container: str) -> Path:
        driver = self._checkpoints.ours(self._engine, container)["GraphDriver"]
        upper = (driver.get("Data") or {}).get("UpperDir")
        if driver["Name"] != "overlay2" or not upper:
            raise Refused(f"files of containers cannot be moved with storage driver {driver['Name']}", "use overlay2")
        return Path(upper)

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
        "send_own_image": link.send_own_image,
        "send_filesystem": link.send_filesystem,
        "send_volume": link.send_volume,
        "send_files": link.send_files,
        "send_checkpoint": link.send_checkpoint,
        "measure": link.measure,
    }
    return commands[command](**arguments)
