"""As much of a memcached client as it takes to ask one whether it serves, and to prove what it holds.

Source: memcached, doc/protocol.txt: `stats`, and the meta commands `mg` and `ms`, which tell flags and the time that an
item has left. Values are any bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from pillion.core.model import Epoch, HostId, Readiness
from pillion.errors import HostError, HostRefused, HostUnreachable

_KEY_BYTES = 250
_TTL_S = 30 * 24 * 3600
"""A longer one would be taken for a time of day. Source: doc/protocol.txt, "Expiration times"."""


@dataclass(frozen=True, slots=True)
class Item:
    """A value with what memcached keeps beside it. `flags`: 32 bits. `ttl_s`: whole seconds left, None for ever."""

    value: bytes
    flags: int = 0
    ttl_s: int | None = None


class Memcached:
    """One connection, one request at a time. Raises HostUnreachable where the connection fails or an answer is late,
    HostRefused where the answer is no, or none of a memcached's. Either way it is then closed, and so is it when a
    request is cancelled: what may still come would be taken for the next request's answer."""

    def __init__(
        self, place: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, timeout_s: float
    ) -> None:
        self._place = place
        self._reader = reader
        self._writer = writer
        self._timeout_s = timeout_s

    @classmethod
    async def connect(cls, place: str, address: str, port: int, timeout_s: float) -> Memcached:
        """Open a connection; `place` names the server in errors, `timeout_s` bounds each request."""
        try:
            async with asyncio.timeout(timeout_s):
                reader, writer = await asyncio.open_connection(address, port)
        except OSError as error:  # TimeoutError is one
            raise _lost(place, error) from error
        return cls(place, reader, writer, timeout_s)

    async def get(self, key: str) -> Item | None:
        """The item of that key, None if there is none."""
        async with self._request(f"mg {_checked(key)} v f t\r\n".encode()):
            match (await self._line()).split(b" "):
                case [b"EN"]:
                    return None
                case [b"VA", size, flags, ttl] if flags[:1] == b"f" and ttl[:1] == b"t":
                    value = await self._reader.readexactly(int(size))
                    if await self._reader.readexactly(2) != b"\r\n":
                        raise ValueError("a value of another length than it said")
                    left_s = int(ttl[1:])
                    return Item(value, int(flags[1:]), None if left_s < 0 else left_s)
                case strange:
                    raise _no(strange)

    async def set(self, key: str, item: Item) -> None:
        """Store an item; returns when memcached has said so. Raises ValueError for a `ttl_s` not 1 to 30 days."""
        if item.ttl_s is not None and not 0 < item.ttl_s <= _TTL_S:
            raise ValueError(f"memcached would not let an item live for {item.ttl_s} s")
        ttl = "" if item.ttl_s is None else f" T{item.ttl_s}"
        head = f"ms {_checked(key)} {len(item.value)} F{item.flags}{ttl}\r\n".encode()
        async with self._request(head + item.value + b"\r\n"):
            if (said := await self._line()) != b"HD":
                raise _no([said])

    async def stats(self) -> dict[str, str]:
        """What the server tells of itself, by name."""
        found: dict[str, str] = {}
        async with self._request(b"stats\r\n"):
            while (line := await self._line()) != b"END":
                match line.split(b" ", 2):
                    case [b"STAT", name, value]:
                        found[name.decode()] = value.decode()
                    case strange:
                        raise _no(strange)
        return found

    @asynccontextmanager
    async def _request(self, command: bytes) -> AsyncIterator[None]:
        """Send, and have the answer read within the time; whatever goes wrong closes the connection."""
        try:
            async with asyncio.timeout(self._timeout_s):
                self._writer.write(command)
                await self._writer.drain()
                yield
        except BaseException as error:
            self._writer.close()
            match error:
                case OSError() | EOFError():
                    raise _lost(self._place, error) from error
                case ValueError() | asyncio.LimitOverrunError():
                    remedy = "see what listens there, and `protocol` in the lab file"
                    raise HostRefused(f"memcached answered: {error}", place=self._place, remedy=remedy) from error
            raise

    async def _line(self) -> bytes:
        return (await self._reader.readuntil(b"\r\n"))[:-2]

    async def close(self) -> None:
        """Close the connection. Safe to repeat."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


async def readiness(host: HostId, address: str, port: int, timeout_s: float) -> Readiness | None:
    """What a memcached there says of itself over a new connection; None if nothing serves there.

    `seq` is `total_items`: it grows by one with each item that was ever stored, and is kept in memory alone, so that a
    restored process goes on from it, and a new one is at 0. Raises HostRefused if something else answers.
    """
    try:
        server = await Memcached.connect(host, address, port, timeout_s)
        try:
            stats = await server.stats()
        finally:
            await server.close()
    except HostUnreachable:
        return None
    try:
        return Readiness("", Epoch(0), int(stats["total_items"]))
    except (KeyError, ValueError) as error:
        problem = f"what answers at {address}:{port} tells no total_items"
        raise HostRefused(problem, place=host, remedy="see what uses the port") from error


def _checked(key: str) -> str:
    if not 0 < len(key.encode()) <= _KEY_BYTES or not key.isprintable() or " " in key:
        raise ValueError(f"memcached takes no key like {key[:40]!r}")
    return key


def _no(words: list[bytes]) -> ValueError:
    return ValueError(b" ".join(words)[:100].decode(errors="replace"))


def _lost(place: str, error: BaseException) -> HostError:
    problem = f"no answer from memcached: {str(error) or type(error).__name__}"
    return HostUnreachable(problem, place=place, remedy="see that the app runs")
