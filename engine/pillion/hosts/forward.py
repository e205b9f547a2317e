"""A socket of a MEC host, answered at a socket here: each connection made to it gets an SSH channel of its own.

asyncssh forwards sockets as well. But one that it is just opening when the SSH connection goes, or when its task is
cancelled, it neither serves nor closes: who waits for an answer there is told nothing.
"""

from __future__ import annotations

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

import asyncssh

_CHUNK = 1 << 16
# An assertion of asyncssh fails where the SSH connection goes between the host's yes to a channel and its next step.
_LOST = (asyncssh.Error, OSError, AssertionError)


class SocketForward:
    """Serves `here` until it is closed; once the SSH connection is lost, what connects to it is closed at once."""

    def __init__(self, connection: asyncssh.SSHClientConnection, there: str) -> None:
        self._connection = connection
        self._there = there
        self._carrying: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._closed = False

    @classmethod
    async def open(cls, connection: asyncssh.SSHClientConnection, here: Path, there: str) -> Self:
        """`here` is replaced if it exists. Raises OSError."""
        forward = cls(connection, there)
        forward._server = await asyncio.start_unix_server(forward._accept, here)
        return forward

    def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        if self._closed:
            writer.close()
            return
        task = asyncio.create_task(self._carry(reader, writer))
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)
        # Also when it is cancelled before it begins.
        task.add_done_callback(lambda _: writer.close())

    async def _carry(self, reader: StreamReader, writer: StreamWriter) -> None:
        try:
            async with self._channel() as (answers, requests), asyncio.TaskGroup() as group:
                asking = group.create_task(_pump(reader, requests))
                await _pump(answers, writer)
                asking.cancel()
        except* _LOST:
            pass

    @asynccontextmanager
    async def _channel(self) -> AsyncIterator[tuple[asyncssh.SSHReader[bytes], asyncssh.SSHWriter[bytes]]]:
        reader, writer = await self._connection.open_unix_connection(self._there, encoding=None)
        try:
            yield reader, writer
        finally:
            writer.close()

    async def close(self) -> None:
        """Close the socket and every connection made to it. Safe to repeat."""
        self._closed = True
        if self._server is not None:
            self._server.close()
        for task in self._carrying:
            task.cancel()
        await asyncio.gather(*self._carrying, return_exceptions=True)


async def _pump(
    reader: StreamReader | asyncssh.SSHReader[bytes], writer: StreamWriter | asyncssh.SSHWriter[bytes]
) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    writer.write_eof()
