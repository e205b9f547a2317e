"""A3's state and its proof: keys with known values, a UE that reads and writes them, and what must be there at the end.

The UE's workers have a connection and keys of their own, so that each knows what its next read has to give. A write
counts once it was acknowledged; one that was not is sent again over a new connection, until it is. So whatever happens
to the app, the truth is exact: every key, its value, flags and the time it has left.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pillion.errors import HostUnreachable, MigrationError
from pillion.hosts.memcached import Item, Memcached

LARGEST_BYTES = 100_000
TTL_S = 6 * 3600
_TTL_SLACK_S = 3
"""Memcached counts whole seconds, from a clock that it looks at once a second."""
_ANSWER_S = 30.0
_AGAIN_S = 0.02
_GIVE_UP_S = 60.0
_READERS = 8


@dataclass(frozen=True, slots=True)
class Address:
    """Where the app is reached: the user plane, or a MEC host's published port."""

    host: str
    port: int

    async def connect(self) -> Memcached:
        return await Memcached.connect(f"{self.host}:{self.port}", self.host, self.port, _ANSWER_S)


@dataclass(slots=True)
class Truth:
    """What must be stored: items by key, and when those with a TTL end (seconds, monotonic)."""

    items: dict[str, Item] = field(default_factory=dict)
    ends_s: dict[str, float] = field(default_factory=dict)

    def acknowledged(self, key: str, item: Item, asked_s: float) -> None:
        """A write was answered that had been asked for then."""
        self.items[key] = item
        if item.ttl_s is not None:
            self.ends_s[key] = asked_s + item.ttl_s


def make_items(count: int, total_bytes: int, seed: int = 1) -> dict[str, Item]:
    """`count` items of 1 B to 100 kB, `total_bytes` in all: sizes are log-uniform, leaning to the small as needed.

    Every third has a TTL, every second is of random bytes (the others are text), every fifth has flags.
    Raises ValueError if no sizes of that kind have that sum.
    """
    source = random.Random(seed)
    draws = [source.random() for _ in range(count)]
    low, high = 0.1, 20.0  # the exponent that makes the sum right lies between
    for _ in range(60):
        lean = (low + high) / 2
        if sum(_size(draw, lean) for draw in draws) > total_bytes:
            low = lean
        else:
            high = lean
    if abs(sum(_size(draw, high) for draw in draws) - total_bytes) > total_bytes / 100:
        raise ValueError(f"{count} items of 1 to {LARGEST_BYTES} B do not have {total_bytes} B in all")
    return {
        f"key:{number:06d}": Item(
            _value(source, _size(draw, high), number),
            flags=number if number % 5 == 0 else 0,
            ttl_s=TTL_S + number if number % 3 == 0 else None,
        )
        for number, draw in enumerate(draws)
    }


def _size(draw: float, lean: float) -> int:
    return max(1, round(math.exp(math.log(LARGEST_BYTES) * draw**lean)))


def _value(source: random.Random, size: int, number: int) -> bytes:
    if number % 2 == 0:
        return source.randbytes(size)
    return (b"%d:" % source.getrandbits(32) * (size // 2 + 1))[:size]


async def fill(address: Address, items: Mapping[str, Item]) -> Truth:
    """Store all items; the truth from then on. Raises HostError."""
    truth = Truth()
    server = await address.connect()
    try:
        for key, item in items.items():
            asked_s = time.monotonic()
            await server.set(key, item)
            truth.acknowledged(key, item, asked_s)
    finally:
        await server.close()
    return truth


@dataclass(frozen=True, slots=True)
class Proof:
    """What a memcached holds, against the truth."""

    keys: int
    missing: Sequence[str]
    wrong: Sequence[str]
    """Keys whose value, flags or remaining time are not what they must be, each with the reason."""
    evictions: int

    @property
    def holds(self) -> bool:
        """Whether everything is there, and right."""
        return not self.missing and not self.wrong and self.evictions == 0

    def __str__(self) -> str:
        if self.holds:
            return f"every key of {self.keys}"
        counted = f"{len(self.missing)} of {self.keys} keys missing, {len(self.wrong)} wrong, {self.evictions} evicted"
        return f"{counted}, first {[*self.wrong, *self.missing, 'an evicted one'][0]}"


async def prove(address: Address, truth: Truth, frozen_s: float = 0.0) -> Proof:
    """Read every key while nobody writes. Raises HostError.

    `frozen_s`: for how long in all the app was stopped by migrations since. Memcached counts on its monotonic clock,
    and CRIU lets that of a restored process go on from where it was dumped, so that its items live longer by as much.
    """
    missing: list[str] = []
    wrong: list[str] = []

    async def read(keys: Sequence[str]) -> None:
        server = await address.connect()
        try:
            for key in keys:
                found = await server.get(key)
                if found is None:
                    missing.append(key)
                elif problem := _differs(found, truth.items[key], truth.ends_s.get(key), time.monotonic(), frozen_s):
                    wrong.append(f"{key} {problem}")
        finally:
            await server.close()

    keys = list(truth.items)
    await asyncio.gather(*(read(keys[start::_READERS]) for start in range(_READERS)))
    server = await address.connect()
    try:
        evictions = int((await server.stats())["evictions"])
    finally:
        await server.close()
    return Proof(len(keys), missing, wrong, evictions)


def _differs(found: Item, truth: Item, ends_s: float | None, now_s: float, frozen_s: float) -> str:
    if found.value != truth.value:
        return f"has another value ({len(found.value)} bytes for {len(truth.value)})"
    if found.flags != truth.flags:
        return f"has flags {found.flags}, not {truth.flags}"
    if (found.ttl_s is None) != (ends_s is None):
        return f"has {'no' if found.ttl_s is None else 'a'} TTL"
    if found.ttl_s is not None and ends_s is not None:
        late_s = found.ttl_s - (ends_s - now_s)
        if not -_TTL_SLACK_S <= late_s <= frozen_s + _TTL_SLACK_S:
            return f"has {found.ttl_s} s left, not {ends_s - now_s:.0f}"
    return ""


class Traffic:
    """A UE that reads and writes `rate_hz` times a second, over `connections` connections that it opens again."""

    def __init__(self, address: Address, truth: Truth, rate_hz: float, connections: int = 4) -> None:
        self._address, self._truth = address, truth
        self._rate_hz, self._connections = rate_hz, connections
        self.reads = self.writes = 0
        self.wrong: list[str] = []
        """Reads that did not give what the worker had written, each with the reason."""
        self.cuts: list[list[float]] = [[] for _ in range(connections)]
        """When each connection was lost, seconds, monotonic."""
        self.answers: list[tuple[float, float]] = []
        """When each request was sent and answered, seconds, monotonic, in order of the answers."""

    async def run(self, stop: asyncio.Event) -> None:
        """Read and write until told to stop. Raises HostError, MigrationError if the app stays away."""
        keys = sorted(self._truth.items)
        async with asyncio.TaskGroup() as workers:
            for number in range(self._connections):
                workers.create_task(self._work(number, keys[number :: self._connections], stop))

    def longest_gap_s(self, from_s: float, until_s: float) -> float:
        """The longest time without an answer between two instants: the downtime that this UE saw."""
        times = [from_s, *(at_s for _, at_s in self.answers if from_s < at_s < until_s), until_s]
        return max(after - before for before, after in itertools.pairwise(times))

    async def _work(self, number: int, keys: Sequence[str], stop: asyncio.Event) -> None:
        source = random.Random(number)
        interval_s = self._connections / self._rate_hz
        server = await self._address.connect()
        due_s = time.monotonic() + source.random() * interval_s
        try:
            while not stop.is_set():
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
                due_s = max(due_s + interval_s, time.monotonic() - interval_s)
                key = source.choice(keys)
                item = self._truth.items[key]
                if source.random() < 0.5:
                    item = Item(_value(source, len(item.value), source.getrandbits(8)), item.flags, item.ttl_s)
                    server = await self._until_answered(number, server, key, item)
                else:
                    server = await self._until_answered(number, server, key, None)
        finally:
            await server.close()

    async def _until_answered(self, number: int, server: Memcached, key: str, write: Item | None) -> Memcached:
        """One read or write, again over a new connection if the old one is lost; the connection in use then."""
        give_up_s = time.monotonic() + _GIVE_UP_S
        while True:
            asked_s = time.monotonic()
            try:
                if write is None:
                    found = await server.get(key)
                    self._check(key, found)
                    self.reads += 1
                else:
                    await server.set(key, write)
                    self._truth.acknowledged(key, write, asked_s)
                    self.writes += 1
                self.answers.append((asked_s, time.monotonic()))
                return server
            except HostUnreachable:
                self.cuts[number].append(time.monotonic())
                await server.close()
                server = await self._again(give_up_s)

    async def _again(self, give_up_s: float) -> Memcached:
        while True:
            try:
                return await self._address.connect()
            except HostUnreachable as error:
                if time.monotonic() > give_up_s:
                    problem = f"the app did not come back within {_GIVE_UP_S:g} s"
                    raise MigrationError(problem, place=f"{self._address.host}:{self._address.port}") from error
                await asyncio.sleep(_AGAIN_S)

    def _check(self, key: str, found: Item | None) -> None:
        truth = self._truth.items[key]
        if found is None:
            self.wrong.append(f"{key} was missing")
        elif found.value != truth.value:
            self.wrong.append(f"{key} was not what had been written")
