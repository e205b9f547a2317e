"""A3's keys and their proof: every kind of loss is found, and a UE's traffic leaves an exact truth whatever is cut."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pillion.errors import MigrationError
from pillion.experiments import keys
from pillion.experiments.keys import Address, Proof, Traffic, Truth, fill, make_items, prove
from pillion.hosts.memcached import Item
from tests.hosts.memcached_process import memcached, needs_memcached

LOOPBACK = "127.0.0.1"
DEADLINE_S = 20.0
ITEMS = make_items(60, 200_000)
WITH_ALL = "key:000015"
"""A key with flags and a TTL; of text, since the number is odd."""
PLAIN = "key:000002"
"""A key with neither; of random bytes."""


class UserPlane:
    """Carries connections to a memcached until they are cut. While `deaf`, what is answered gets lost."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.deaf = False
        self._carrying: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._carrying.add(asyncio.current_task())
        host_reader, host_writer = await asyncio.open_connection(LOOPBACK, self._port)
        ends = {writer, host_writer}
        self._writers |= ends
        await asyncio.gather(self._copy(reader, host_writer), self._copy(host_reader, writer, answers=True))
        self._writers -= ends

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: bool = False) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                if not (answers and self.deaf):
                    writer.write(data)
                    await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    def cut(self) -> None:
        for writer in self._writers:
            writer.close()

    async def carried(self) -> None:
        await asyncio.gather(*self._carrying)


@asynccontextmanager
async def user_plane(port: int) -> AsyncIterator[tuple[UserPlane, Address]]:
    plane = UserPlane(port)
    server = await asyncio.start_server(plane.carry, LOOPBACK, 0)
    try:
        yield plane, Address(LOOPBACK, server.sockets[0].getsockname()[1])
    finally:
        server.close()
        plane.cut()
        await plane.carried()


@asynccontextmanager
async def driving(traffic: Traffic) -> AsyncIterator[None]:
    stop = asyncio.Event()
    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
        group.create_task(traffic.run(stop))
        try:
            yield
        finally:
            stop.set()


async def answers(traffic: Traffic, more: int) -> None:
    """Return when the UE has had that many more answers."""
    wanted = len(traffic.answers) + more
    while len(traffic.answers) < wanted:
        await asyncio.sleep(0.005)


async def store(address: Address, key: str, item: Item) -> None:
    """Store it behind the truth's back."""
    server = await address.connect()
    await server.set(key, item)
    await server.close()


async def delete(address: Address, key: str) -> None:
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(f"md {key}\r\n".encode())
    assert await reader.readline() == b"HD\r\n"
    writer.close()
    await writer.wait_closed()


def test_the_same_seed_gives_the_same_items_and_another_one_others() -> None:
    assert make_items(50, 200_000, seed=7) == make_items(50, 200_000, seed=7)
    assert make_items(50, 200_000, seed=7) != make_items(50, 200_000, seed=8)


@pytest.mark.parametrize(("count", "total"), [(200, 400_000), (500, 2_000_000), (3000, 40_000_000)])
def test_items_are_of_all_sizes_and_kinds_and_together_as_large_as_asked(count: int, total: int) -> None:
    items = make_items(count, total).values()
    sizes = sorted(len(item.value) for item in items)
    assert sum(sizes) == pytest.approx(total, rel=0.01)
    assert 1 <= sizes[0] < 100
    assert 10_000 < sizes[-1] <= keys.LARGEST_BYTES
    assert {item.flags != 0 for item in items} == {True, False}
    assert {item.ttl_s is None for item in items} == {True, False}
    assert {item.value.isascii() for item in items if len(item.value) > 100} == {True, False}


@pytest.mark.parametrize("total", [50, 10_000_000])
def test_a_total_that_these_items_cannot_have_is_refused(total: int) -> None:
    with pytest.raises(ValueError, match="100 items of 1 to 100000 B"):
        make_items(100, total)


@needs_memcached
async def test_what_was_filled_in_is_there(tmp_path: Path) -> None:
    async with memcached(tmp_path) as served:
        address = Address(LOOPBACK, served.port)
        truth = await fill(address, ITEMS)
        assert set(truth.items) == set(ITEMS)
        proof = await prove(address, truth)
        assert proof.holds, str(proof)
        assert str(proof) == "every key of 60"


@needs_memcached
@pytest.mark.parametrize(
    ("key", "changes", "problem"),
    [
        (PLAIN, {"value": b"x" + ITEMS[PLAIN].value[1:]}, "another value"),
        (PLAIN, {"value": ITEMS[PLAIN].value + b"\r"}, "another value"),
        (PLAIN, {"flags": 1}, "has flags 1, not 0"),
        (PLAIN, {"ttl_s": 5000}, "has a TTL"),
        (WITH_ALL, {"flags": 0}, "has flags 0, not 15"),
        (WITH_ALL, {"ttl_s": None}, "has no TTL"),
        (WITH_ALL, {"ttl_s": keys.TTL_S + 15 + 6}, r"has 216\d\d s left, not 216\d\d"),
        (WITH_ALL, {"ttl_s": keys.TTL_S + 15 - 6}, r"has 216\d\d s left, not 216\d\d"),
    ],
)
async def test_a_key_that_is_not_what_was_stored_is_found(
    tmp_path: Path, key: str, changes: dict[str, object], problem: str
) -> None:
    async with memcached(tmp_path) as served:
        address = Address(LOOPBACK, served.port)
        truth = await fill(address, ITEMS)
        item = ITEMS[key]
        same = {"value": item.value, "flags": item.flags, "ttl_s": item.ttl_s}
        await store(address, key, Item(**(same | changes)))  # type: ignore[arg-type]
        proof = await prove(address, truth)
        assert not proof.holds
        assert len(proof.wrong) == 1
        with pytest.raises(AssertionError, match=rf"^{key} .*{problem}"):
            raise AssertionError(proof.wrong[0])


@needs_memcached
async def test_items_may_live_longer_by_the_time_for_which_the_app_was_stopped(tmp_path: Path) -> None:
    async with memcached(tmp_path) as served:
        address = Address(LOOPBACK, served.port)
        truth = await fill(address, ITEMS)
        item = ITEMS[WITH_ALL]
        for seconds, holds in ((6, True), (-6, False), (12, False)):
            await store(address, WITH_ALL, Item(item.value, item.flags, keys.TTL_S + 15 + seconds))
            assert (await prove(address, truth, frozen_s=5.0)).holds == holds, f"{seconds} s longer"


@needs_memcached
async def test_a_key_that_is_gone_is_found(tmp_path: Path) -> None:
    async with memcached(tmp_path) as served:
        address = Address(LOOPBACK, served.port)
        truth = await fill(address, ITEMS)
        await delete(address, PLAIN)
        proof = await prove(address, truth)
        assert (proof.missing, proof.wrong, proof.holds) == ([PLAIN], [], False)
        assert str(proof) == f"1 of 60 keys missing, 0 wrong, 0 evicted, first {PLAIN}"


@needs_memcached
async def test_a_memcached_that_was_started_anew_has_no_key(tmp_path: Path) -> None:
    async with memcached(tmp_path) as served:
        truth = await fill(Address(LOOPBACK, served.port), ITEMS)
    async with memcached(tmp_path) as served:
        proof = await prove(Address(LOOPBACK, served.port), truth)
        assert len(proof.missing) == len(ITEMS)


@needs_memcached
async def test_what_memcached_evicted_is_found_even_if_it_was_stored_again(tmp_path: Path) -> None:
    async with memcached(tmp_path, "-m", "2") as served:
        address = Address(LOOPBACK, served.port)
        large = make_items(500, 6_000_000)
        proof = await prove(address, await fill(address, large))
        assert proof.missing
        again = Truth({proof.missing[0]: Item(b"again")})
        await store(address, proof.missing[0], Item(b"again"))
        proof = await prove(address, again)
        assert not proof.missing
        assert not proof.wrong
        assert proof.evictions > 0
        assert not proof.holds


def test_a_proof_holds_only_if_nothing_is_wrong_anywhere() -> None:
    assert Proof(1, [], [], 0).holds
    assert not Proof(1, ["a"], [], 0).holds
    assert not Proof(1, [], ["a has"], 0).holds
    assert not Proof(1, [], [], 1).holds


@needs_memcached
async def test_a_cut_costs_each_connection_one_cut_and_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    async with memcached(tmp_path) as served, user_plane(served.port) as (plane, address):
        truth = await fill(address, ITEMS)
        traffic = Traffic(address, truth, rate_hz=400, connections=4)
        async with driving(traffic):
            await answers(traffic, 40)
            plane.cut()
            await answers(traffic, 40)
        assert [len(cuts) for cuts in traffic.cuts] == [1, 1, 1, 1]
        assert traffic.reads > 10
        assert traffic.writes > 10
        assert traffic.wrong == []
        assert truth.items != ITEMS, "it wrote"
        proof = await prove(address, truth)
        assert proof.holds, str(proof)


@needs_memcached
async def test_writes_that_were_taken_in_and_not_acknowledged_are_sent_again(tmp_path: Path) -> None:
    async with memcached(tmp_path) as served, user_plane(served.port) as (plane, address):
        truth = await fill(address, ITEMS)
        traffic = Traffic(address, truth, rate_hz=400, connections=4)
        async with driving(traffic):
            await answers(traffic, 20)
            for _ in range(3):
                plane.deaf = True
                await asyncio.sleep(0.05)  # each connection has asked, and waits
                plane.cut()
                plane.deaf = False
                await answers(traffic, 20)
        assert [len(cuts) for cuts in traffic.cuts] == [3, 3, 3, 3]
        assert traffic.wrong == []
        proof = await prove(address, truth)
        assert proof.holds, str(proof)


@needs_memcached
async def test_acknowledged_writes_that_were_lost_are_found_by_the_proof_and_by_the_ue(tmp_path: Path) -> None:
    async with memcached(tmp_path) as served:
        address = Address(LOOPBACK, served.port)
        few = {key: item for key, item in ITEMS.items() if key < "key:000004"}
        truth = await fill(address, few)
        async with driving(traffic := Traffic(address, truth, rate_hz=400, connections=1)):
            while any(truth.items[key] == few[key] for key in few):
                await answers(traffic, 1)
        assert (await prove(address, truth)).holds
        await fill(address, few)  # an older state
        assert len((await prove(address, truth)).wrong) == len(few)
        async with driving(traffic):
            while not traffic.wrong:
                await answers(traffic, 1)
        assert traffic.wrong[0].endswith("was not what had been written")
        await delete(address, PLAIN)
        traffic.wrong.clear()
        async with driving(traffic):
            while not traffic.wrong:
                await answers(traffic, 1)
        assert traffic.wrong[0] == f"{PLAIN} was missing"


@needs_memcached
async def test_a_freeze_is_downtime_and_no_cut(tmp_path: Path) -> None:
    async with memcached(tmp_path) as served, user_plane(served.port) as (_, address):
        truth = await fill(address, ITEMS)
        traffic = Traffic(address, truth, rate_hz=400, connections=4)
        async with driving(traffic):
            await answers(traffic, 20)
            from_s = time.monotonic()
            await served.freeze()
            await asyncio.sleep(0.5)
            served.thaw()
            await answers(traffic, 20)
            until_s = time.monotonic()
        assert traffic.cuts == [[], [], [], []]
        assert 0.45 < traffic.longest_gap_s(from_s, until_s) < until_s - from_s


@needs_memcached
async def test_a_ue_whose_app_stays_away_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "_GIVE_UP_S", 0.2)
    async with memcached(tmp_path) as served:
        address = Address(LOOPBACK, served.port)
        traffic = Traffic(address, await fill(address, ITEMS), rate_hz=400, connections=2)
        driving = asyncio.create_task(traffic.run(asyncio.Event()))
        await answers(traffic, 20)
        served.process.kill()
        with pytest.raises(ExceptionGroup) as raised:
            await driving
        assert raised.group_contains(MigrationError, match="did not come back within 0.2 s")
