"""The forwarded socket, against an SSH server in this process."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import asyncssh
import pytest

from pillion.hosts.forward import SocketForward

THERE = "/there.sock"
ANSWER_S = 2.0
STEPS = 60
"""More steps of the loop than it takes until the first answer."""

Reader = asyncssh.SSHReader[bytes]
Writer = asyncssh.SSHWriter[bytes]


class Server(asyncssh.SSHServer):
    """Serves one socket itself: asyncssh's own way to one that is there leaves connections open."""

    def begin_auth(self, username: str) -> bool:
        return False

    def unix_connection_requested(self, dest_path: str) -> Callable[[Reader, Writer], Awaitable[None]] | bool:
        return echo if dest_path == THERE else False


async def echo(reader: Reader, writer: Writer) -> None:
    with contextlib.suppress(asyncssh.Error, OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


@dataclass
class Bench:
    folder: Path
    ssh_port: int

    @property
    def here(self) -> Path:
        return self.folder / "here.sock"

    async def connect(self) -> asyncssh.SSHClientConnection:
        return await asyncssh.connect("127.0.0.1", self.ssh_port, known_hosts=None, config=None, agent_path=None)

    @contextlib.asynccontextmanager
    async def forwarding(self, there: str = THERE) -> AsyncIterator[asyncssh.SSHClientConnection]:
        async with await self.connect() as connection:
            forward = await SocketForward.open(connection, self.here, there)
            try:
                yield connection
            finally:
                await forward.close()

    async def ask(self, words: bytes) -> bytes:
        """What comes back until the other side ends it."""
        reader, writer = await asyncio.open_unix_connection(self.here)
        try:
            writer.write(words)
            writer.write_eof()
            async with asyncio.timeout(ANSWER_S):
                return await reader.read()
        finally:
            writer.close()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    key = asyncssh.generate_private_key("ssh-ed25519")
    with tempfile.TemporaryDirectory(prefix="pillion-test-") as name:
        server = await asyncssh.create_server(Server, "127.0.0.1", 0, server_host_keys=[key], encoding=None)
        async with server:
            yield Bench(Path(name), server.get_port())


async def test_what_is_asked_here_is_answered_there_to_its_end(bench: Bench) -> None:
    asked = [bytes([number]) * 300_000 * number for number in range(8)]
    async with bench.forwarding():
        assert await asyncio.gather(*(bench.ask(words) for words in asked)) == asked


async def test_nobody_there_ends_the_connection_here(bench: Bench) -> None:
    async with bench.forwarding("/nobody.sock"):
        assert await bench.ask(b"who") == b""


@pytest.mark.parametrize("ending", ["abort", "close"])
async def test_a_connection_lost_at_any_step_ends_what_waits_for_an_answer(bench: Bench, ending: str) -> None:
    answers = set()
    for steps in range(STEPS):
        async with bench.forwarding() as connection:
            asking = asyncio.create_task(bench.ask(b"who"))
            for _ in range(steps):
                await asyncio.sleep(0)
            getattr(connection, ending)()
            with contextlib.suppress(ConnectionError):
                answers.add(await asking)
    assert answers == {b"", b"who"}


async def test_one_who_gives_up_at_any_step_leaves_nothing_open(bench: Bench) -> None:
    for steps in range(STEPS):
        async with bench.forwarding():
            asking = asyncio.create_task(bench.ask(b"who"))
            for _ in range(steps):
                await asyncio.sleep(0)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_it_is_made_anew_at_the_same_place(bench: Bench) -> None:
    for _ in range(2):
        async with bench.forwarding():
            assert await bench.ask(b"who") == b"who"
    with pytest.raises(ConnectionRefusedError):
        await bench.ask(b"who")
