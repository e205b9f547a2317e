"""The memcached client against a real memcached, and against what is none."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pillion.core.model import Epoch, HostId, Readiness
from pillion.errors import HostRefused, HostUnreachable
from pillion.hosts.memcached import Item, Memcached, readiness
from tests.hosts.memcached_process import memcached, needs_memcached

MEC1 = HostId("mec1")
LOOPBACK = "127.0.0.1"


@asynccontextmanager
async def connected(port: int, timeout_s: float = 5.0) -> AsyncIterator[Memcached]:
    client = await Memcached.connect("a3", LOOPBACK, port, timeout_s)
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def answering(answer: bytes, every_s: float | None = None) -> AsyncIterator[int]:
    """The port of a server that gives each connection this answer to its first line, again and again if told to."""
    talks: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError):  # the client may be gone
            await reader.readline()
            writer.write(answer)
            while every_s is not None:
                await asyncio.sleep(every_s)
                writer.write(answer)
                await writer.drain()
            await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(talk, LOOPBACK, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.gather(*talks)


@needs_memcached
@pytest.mark.parametrize(
    "item",
    [
        Item(b""),
        Item(b"x"),
        Item(b"\r\nEN\r\nVA 3 f0 t-1\r\n\x00\xff", flags=1),
        Item(bytes(range(256)) * 3900, flags=2**32 - 1),
        Item(b"for a while", ttl_s=1000),
        Item(b"for long", ttl_s=30 * 24 * 3600),
    ],
    ids=lambda item: f"{len(item.value)}B-flags{item.flags}-ttl{item.ttl_s}",
)
async def test_an_item_comes_back_as_it_was_stored(tmp_path: Path, item: Item) -> None:
    async with memcached(tmp_path) as served, connected(served.port) as client:
        await client.set("zone:zone01", item)
        found = await client.get("zone:zone01")
        assert found is not None
        assert (found.value, found.flags) == (item.value, item.flags)
        if item.ttl_s is None:
            assert found.ttl_s is None
        else:
            assert found.ttl_s is not None
            assert item.ttl_s - 3 <= found.ttl_s <= item.ttl_s
        assert await client.get("zone:zone02") is None


@needs_memcached
async def test_what_memcached_refuses_is_an_error_with_its_words(tmp_path: Path) -> None:
    async with memcached(tmp_path) as served, connected(served.port) as client:
        with pytest.raises(HostRefused, match="memcached answered: SERVER_ERROR object too large") as raised:
            await client.set("large", Item(bytes(2_000_000)))
        assert raised.value.place == "a3"
        with pytest.raises(HostUnreachable):
            await client.get("large")


@pytest.mark.parametrize("key", ["", "two words", "line\r\nset x 0 0 1", "é" * 126, "\x7f"])
async def test_a_key_that_memcached_would_not_take_as_one_is_never_sent(key: str) -> None:
    async with answering(b"EN\r\n") as port, connected(port) as client:
        with pytest.raises(ValueError, match="takes no key like"):
            await client.get(key)
        assert await client.get("fine") is None


@pytest.mark.parametrize("ttl_s", [0, -1, 30 * 24 * 3600 + 1])
async def test_a_time_to_live_that_memcached_would_take_for_something_else_is_never_sent(ttl_s: int) -> None:
    async with answering(b"HD\r\n") as port, connected(port) as client:
        with pytest.raises(ValueError, match="would not let an item live"):
            await client.set("key", Item(b"", ttl_s=ttl_s))


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"ERROR\r\n",
        b"CLIENT_ERROR bad command line format\r\n",
        b"HD f0 t-1\r\n",
        b"EN \r\n",
        b"VA 3\r\nabc\r\n",
        b"VA 3 t-1 f0\r\nabc\r\n",
        b"VA x f0 t-1\r\nabc\r\n",
        b"VA -1 f0 t-1\r\nabc\r\n",
        b"VA 3 f t-1\r\nabc\r\n",
        b"VA 3 f0 t-1 W\r\nabc\r\n",
        b"VA 2 f0 t-1\r\nabc\r\n",
        b"x" * 100_000,
    ],
    ids=lambda answer: answer[:16].decode().strip(),
)
async def test_an_answer_that_is_no_memcached_s_is_refused_and_the_connection_not_used_again(answer: bytes) -> None:
    async with answering(answer) as port, connected(port) as client:
        with pytest.raises(HostRefused, match=r"^a3: memcached answered: .*`protocol` in the lab file"):
            await client.get("key")
        with pytest.raises(HostUnreachable):
            await client.get("key")


@pytest.mark.parametrize("answer", [b"", b"VA 3 f0 t-1\r\nab", b"EN"])
async def test_an_answer_that_does_not_come_in_time_as_a_whole_is_no_answer(answer: bytes) -> None:
    async with answering(answer) as port, connected(port, timeout_s=0.5) as client:
        with pytest.raises(HostUnreachable, match=r"a3: no answer from memcached: TimeoutError"):
            await client.get("key")


@needs_memcached
async def test_a_connection_that_dies_under_a_request_is_no_answer(tmp_path: Path) -> None:
    async with memcached(tmp_path) as served, connected(served.port) as client:
        await served.freeze()
        asking = asyncio.create_task(client.get("key"))
        await asyncio.sleep(0.05)
        served.process.kill()
        with pytest.raises(HostUnreachable):
            await asking


@needs_memcached
async def test_what_was_cancelled_is_not_taken_for_the_next_answer(tmp_path: Path) -> None:
    async with memcached(tmp_path) as served, connected(served.port) as client:
        await client.set("first", Item(b"1"))
        await served.freeze()
        asking = asyncio.create_task(client.get("first"))
        await asyncio.sleep(0.05)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        served.thaw()
        with pytest.raises(HostUnreachable):
            await client.get("second")


@needs_memcached
async def test_a_memcached_is_as_far_as_the_items_that_were_ever_stored_and_a_new_one_at_the_beginning(
    tmp_path: Path,
) -> None:
    async with memcached(tmp_path) as served:
        port = served.port
        assert await readiness(MEC1, LOOPBACK, port, 5.0) == Readiness("", Epoch(0), 0)
        async with connected(port) as client:
            for number in range(3):
                await client.set("same", Item(b"%d" % number))
        assert await readiness(MEC1, LOOPBACK, port, 5.0) == Readiness("", Epoch(0), 3)
        await served.freeze()
        assert await readiness(MEC1, LOOPBACK, port, 0.1) is None, "it takes connections, and does not serve"
        served.thaw()
        assert await readiness(MEC1, LOOPBACK, port, 5.0) == Readiness("", Epoch(0), 3)
    assert await readiness(MEC1, LOOPBACK, port, 5.0) is None, "nothing listens"
    async with memcached(tmp_path, port=port):
        assert await readiness(MEC1, LOOPBACK, port, 5.0) == Readiness("", Epoch(0), 0)


@pytest.mark.parametrize(
    "answer",
    [b"ERROR\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"END\r\n", b"STAT pid\r\nEND\r\n", b"STAT total_items many\r\nEND\r\n"],
)
async def test_something_else_on_the_port_is_refused(answer: bytes) -> None:
    async with answering(answer) as port:
        with pytest.raises(HostRefused, match=r"^mec1: "):
            await readiness(MEC1, LOOPBACK, port, 5.0)


async def test_a_server_that_goes_on_telling_is_given_up_in_time() -> None:
    """The limit is the whole answer's, not each line's."""
    async with answering(b"STAT pid 1\r\n", every_s=0.02) as port, asyncio.timeout(5):
        assert await readiness(MEC1, LOOPBACK, port, 0.2) is None


async def test_a_host_that_does_not_take_connections_is_no_answer() -> None:
    with socket.create_server((LOOPBACK, 0)) as unused:
        port = unused.getsockname()[1]
    with pytest.raises(HostUnreachable, match="no answer from memcached"):
        await Memcached.connect("a3", LOOPBACK, port, 1.0)
