"""Messages between two transfer helpers, made so that a cut stream can never pass for a complete one.

    message  = header, chunk*, end
    header   = length (4 bytes, big endian), JSON object
    chunk    = length (4 bytes, 1 to CHUNK_BYTES), bytes
    end      = length 0, SHA-256 over header and all chunk bytes (32 bytes)
             | length ABORT                                    the sender gave up: nothing of it counts

The source asks; the target answers each message, also one that was given up, with exactly one message without chunks.
An answer that arrives while the source still sends means that the target has failed already; the source then gives the
message up, and the connection stays usable.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import select
import socket
import struct
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, BinaryIO

CHUNK_BYTES = 1 << 18
_HEADER_LIMIT = 1 << 20
_ABORT = 0xFFFFFFFF
_LENGTH = struct.Struct("!I")

Header = dict[str, Any]


class Refused(Exception):
    """The answer is no, and asking again gives the same. `place` is `source` or `target`, if already known."""

    def __init__(self, problem: str, remedy: str = "", place: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy
        self.place = place


def remedy_for(problem: str) -> str:
    """What an operator can do about it, or nothing."""
    return "free some disk space there" if "no space left" in problem.lower() else ""


def refused_by_system(what: str, error: OSError) -> Refused:
    """What the operating system said no with."""
    problem = f"{what}: {error.strerror or error}"
    return Refused(problem, remedy_for(problem))


class Cut(Exception):
    """The connection ended, or a message was not what its digest says. Worth another try over a new one."""


def packed(record: Mapping[str, Any]) -> bytes:
    """A record in a message's body: its length (4 bytes, big endian), JSON."""
    encoded = json.dumps(record).encode()
    return _LENGTH.pack(len(encoded)) + encoded


class Body:
    """A message's bytes as they arrive. Nothing read from it counts before `finish` has returned."""

    def __init__(self, connection: Connection, digest: Any) -> None:
        self._connection = connection
        self._digest = digest
        self._left = bytearray()
        self._ended = False
        self.given_up = False

    def chunks(self) -> Iterator[bytes]:
        """Every chunk, unverified; ends when the digest was right. Raises Cut."""
        while not self._ended:
            (length,) = _LENGTH.unpack(self._connection.receive_exactly(4))
            if length == 0:
                expected = self._connection.receive_exactly(32)
                self._ended = True
                if not hmac.compare_digest(expected, self._digest.digest()):
                    raise Cut("a message does not have the digest it claims")
            elif length > CHUNK_BYTES:
                self._ended = self.given_up = length == _ABORT
                raise Cut("the sender gave the message up")
            else:
                data = self._connection.receive_exactly(length)
                self._digest.update(data)
                yield data

    def read(self, length: int) -> bytes:
        """Exactly `length` unverified bytes. Raises Cut."""
        if len(self._left) < length:
            for data in self.chunks():
                self._left += data
                if len(self._left) >= length:
                    break
            else:
                raise Cut("a message is shorter than it claims")
        taken = bytes(self._left[:length])
        del self._left[:length]
        return taken

    def record(self) -> dict[str, Any]:
        """The next record, as `packed` makes them, unverified. Raises Cut."""
        found: dict[str, Any] = json.loads(self.read(_LENGTH.unpack(self.read(4))[0]))
        return found

    def copy(self, file: BinaryIO, length: int) -> None:
        """Write exactly `length` unverified bytes into a file. Raises Cut, OSError."""
        while length:
            length -= file.write(self.read(min(length, CHUNK_BYTES)))

    def finish(self) -> None:
        """Read what is left and compare the digest. Raises Cut."""
        for _ in self.chunks():
            pass

    def discard(self) -> None:
        """Read to the end without a digest or a copy: for bytes that were only sent to be measured. Raises Cut."""
        unread = memoryview(bytearray(CHUNK_BYTES))
        while not self._ended:
            (length,) = _LENGTH.unpack(self._connection.receive_exactly(4))
            if length > CHUNK_BYTES:
                raise Cut("what arrives is not a message")
            self._ended = length == 0
            self._connection.receive_into(unread[: length or 32])

    def drain(self) -> None:
        """Read to the end whatever it is, so that the next message can be read. Raises Cut if the connection ended."""
        try:
            self.finish()
        except Cut:
            if not self.given_up:
                raise


class Connection:
    """One connected TCP socket that carries messages, one at a time. `cut` may be called from any thread."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._socket = sock
        self._closing = threading.Lock()
        self.sent_bytes = 0

    def send(self, header: Header, body: Iterable[bytes] = ()) -> None:
        """Send one message; given up if `body` raises, or if the peer answers before its end. Raises Cut."""
        encoded = json.dumps(header).encode()
        digest = hashlib.sha256(encoded)
        out = bytearray(_LENGTH.pack(len(encoded)) + encoded)
        try:
            for piece in body:
                for start in range(0, len(piece), CHUNK_BYTES):
                    data = piece[start : start + CHUNK_BYTES]
                    digest.update(data)
                    out += _LENGTH.pack(len(data)) + data
                if len(out) >= CHUNK_BYTES:
                    self._flush(out)
                    if select.select([self._socket], [], [], 0)[0]:
                        self._flush(bytearray(_LENGTH.pack(_ABORT)))
                        return
        except Cut:
            raise
        except BaseException:
            self._flush(out + _LENGTH.pack(_ABORT))
            raise
        self._flush(out + _LENGTH.pack(0) + digest.digest())

    def receive(self) -> tuple[Header, Body]:
        """The next message's header, and its body to be read. Raises Cut."""
        (length,) = _LENGTH.unpack(self.receive_exactly(4))
        if length > _HEADER_LIMIT:
            raise Cut("what arrives is not a message")
        encoded = self.receive_exactly(length)
        try:
            header = json.loads(encoded)
        except ValueError as error:
            raise Cut("what arrives is not a message") from error
        if not isinstance(header, dict):
            raise Cut("what arrives is not a message")
        return header, Body(self, hashlib.sha256(encoded))

    def ask(self, header: Header, body: Iterable[bytes] = ()) -> Header:
        """Send one message and give the peer's answer. Raises Refused if it is no, Cut, and what `body` raises."""
        try:
            self.send(header, body)
        except Cut:
            raise
        except BaseException:
            self._answer()
            raise
        answer = self._answer()
        if "refused" in answer:
            raise Refused(answer["refused"], answer.get("remedy", ""), place="target")
        return answer

    def pour(self, header: Header, seconds: float) -> Header:
        """Send zeros for that long, with no digest, which alone costs more than 1 Gbit/s on a busy machine; the answer.

        The peer has to `discard` them. Raises Cut.
        """
        encoded = json.dumps(header).encode()
        chunk = _LENGTH.pack(CHUNK_BYTES) + bytes(CHUNK_BYTES)
        self._flush(bytearray(_LENGTH.pack(len(encoded)) + encoded))
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._send_all(chunk)
        self._flush(bytearray(_LENGTH.pack(0) + bytes(32)))
        return self._answer()

    def _answer(self) -> Header:
        answer, rest = self.receive()
        rest.finish()
        return answer

    def receive_exactly(self, length: int) -> bytes:
        data = bytearray(length)
        self.receive_into(memoryview(data))
        return bytes(data)

    def receive_into(self, view: memoryview) -> None:
        """Fill it. Raises Cut."""
        got = 0
        while got < len(view):
            try:
                count = self._socket.recv_into(view[got:])
            except OSError as error:
                raise Cut(f"the connection between the hosts failed: {error}") from error
            if count == 0:
                raise Cut("the connection between the hosts ended")
            got += count

    def _flush(self, out: bytearray) -> None:
        self._send_all(out)
        out.clear()

    def _send_all(self, data: bytes | bytearray) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise Cut(f"the connection between the hosts failed: {error}") from error
        self.sent_bytes += len(data)

    def cut(self) -> None:
        """End the connection now; whoever waits on it in another thread gets Cut. Safe to repeat."""
        with self._closing:
            with suppress(OSError):  # the peer may have been first
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
