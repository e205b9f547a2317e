"""As much of a memcached client as it takes to ask one whether it serves, and to prove what it holds.

Source: memcached, doc/protocol.txt: `stats`, and the meta commands `mg` and `ms`, which tell flags and the time that an
item has left. Values are any bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

from pillion.core.model import Epoch, HostId, Readiness
from pillion.errors import HostRefused, HostUnreachable

_KEY_LIMIT = 250


@dataclass(frozen=True, slots=True)
class Item:
    """A value with what memcached keeps beside it; `ttl_s` is the time left, None for ever."""

    value: bytes
    flags: int = 0
    ttl_s: int | None = None


class Memcached:
    """One connection. Raises HostUnreachable where it fails, HostRefused where what answers is no memcached."""

    def __init__(
        self, place: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, timeout_s: float
    ) -> None:
        self._place = place
        self._reader = reader
        self._writer = writer
        self._timeout_s = timeout_s

    @classmethod
    async def connect(cls, place: str, address: str, port: int, timeout_s: float) -> Memcached:
        """Open a connection; `place` names the server in errors, `timeout_s` bounds each answer."""
        try:
            async with asyncio.timeout(timeout_s):
                reader, writer = await asyncio.open_connection(address, port)
        except (OSError, TimeoutError) as error:
            raise _lost(place, error) from error
        return cls(place, reader, writer, timeout_s)

    async def get(self, key: str) -> Item | None:
        """The item of that key, None if there is none."""
        answer = await self._ask(f"mg {_checked(key)} v f t\r\n".encode())
        if answer == [b"EN"]:
            return None
        if len(answer) < 2 or answer[0] != b"VA":
            raise self._strange(answer)
        value = await self._exactly(int(answer[1]) + 2)
        tokens = {token[:1]: int(token[1:]) for token in answer[2:]}
        left = tokens.get(b"t", -1)
        return Item(value[:-2], tokens.get(b"f", 0), None if left < 0 else left)

    async def set(self, key: str, item: Item) -> None:
        """Store an item; returns when memcached has said so."""
        ttl = f" T{item.ttl_s}" if item.ttl_s is not None else ""
        head = f"ms {_checked(key)} {len(item.value)} F{item.flags}{ttl}\r\n".encode()
        answer = await self._ask(head + item.value + b"\r\n")
        if answer != [b"HD"]:
            raise self._strange(answer)

    async def stats(self) -> dict[str, str]:
        """What the server tells of itself, by name."""
        found: dict[str, str] = {}
        answer = await self._ask(b"stats\r\n")
        while answer != [b"END"]:
            if len(answer) < 2 or answer[0] != b"STAT":
                raise self._strange(answer)
            found[answer[1].decode()] = b" ".join(answer[2:]).decode()
            answer = await self._line()
        return found

    async def _ask(self, command: bytes) -> list[bytes]:
        try:
            self._writer.write(command)
            async with asyncio.timeout(self._timeout_s):
                await self._writer.drain()
        except (OSError, TimeoutError) as error:
            raise _lost(self._place, error) from error
        return await self._line()

    async def _line(self) -> list[bytes]:
        try:
            async with asyncio.timeout(self._timeout_s):
                line = await self._reader.readuntil(b"\r\n")
        except (OSError, EOFError, TimeoutError) as error:
            raise _lost(self._place, error) from error
        except asyncio.LimitOverrunError as error:
            raise self._strange([b"a line without an end"]) from error
        return line.split()

    async def _exactly(self, count: int) -> bytes:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._reader.readexactly(count)
        except (OSError, EOFError, TimeoutError) as error:
            raise _lost(self._place, error) from error

    def _strange(self, answer: list[bytes]) -> HostRefused:
        said = b" ".join(answer)[:100].decode(errors="replace")
        remedy = "see what listens there, and `protocol` in the lab file"
        return HostRefused(f"answered {said!r}, as no memcached does", place=self._place, remedy=remedy)

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
    return Readiness("", Epoch(0), int(stats["total_items"]))


def _checked(key: str) -> str:
    if not 0 < len(key.encode()) <= _KEY_LIMIT or not key.isprintable() or " " in key:
        raise ValueError(f"memcached takes no key like {key[:40]!r}")
    return key


def _lost(place: str, error: Exception) -> HostUnreachable:
    problem = f"no answer from memcached: {str(error) or type(error).__name__}"
    return HostUnreachable(problem, place=place, remedy="see that the app runs")
