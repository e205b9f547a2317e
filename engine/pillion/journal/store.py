"""The journal on disk: SQLite in write-ahead mode with `synchronous=FULL`, spoken to from one thread of its own.

`append` hands a batch over at once and in order; awaiting it waits for the commit. So the driver can wait where the
next action depends on the record being on disk, and need not in the downtime.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TextIO

from pillion.errors import JournalError
from pillion.journal.records import Record, dumps, loads

FORMAT = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS journal (
    seq INTEGER PRIMARY KEY, at_utc TEXT NOT NULL, now_s REAL NOT NULL, epoch INTEGER NOT NULL,
    role TEXT NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL, body TEXT NOT NULL
) STRICT
"""


class Journal:
    """An open journal. Use `Journal.open`; close it when done."""

    def __init__(self, path: Path, connection: sqlite3.Connection, thread: ThreadPoolExecutor) -> None:
        self.path = path
        self._connection = connection
        self._thread = thread

    @classmethod
    async def open(cls, path: Path) -> Journal:
        """The journal at `path`, made if there is none. Raises JournalError if it is not one of ours."""
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        try:
            connection = await asyncio.get_running_loop().run_in_executor(thread, _connect, path)
        except BaseException:
            thread.shutdown(wait=False)
            raise
        return cls(path, connection, thread)

    def append(self, records: Sequence[Record]) -> asyncio.Future[list[int]]:
        """Write records in one commit, after all that were handed over before; their `seq` once they are on disk."""
        return asyncio.get_running_loop().run_in_executor(self._thread, _write, self._connection, list(records))

    async def close(self) -> None:
        """Write what is still waiting, then close."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._connection.close)
        self._thread.shutdown()


def read(path: Path, after: int = 0) -> Iterator[Record]:
    """The records after `seq` = `after`, oldest first; none if there is no journal. Also beside a running engine.

    Raises JournalError if it is not one of ours.
    """
    with _reading(path) as connection:
        if connection is None:
            return
        rows = connection.execute(
            "SELECT seq, at_utc, now_s, epoch, role, kind, body FROM journal WHERE seq > ? ORDER BY seq", (after,)
        )
        for seq, at_utc, now_s, epoch, role, kind, body in rows:
            yield Record(seq, at_utc, now_s, epoch, role, loads(kind, body))


def last_seq(path: Path) -> int:
    """The `seq` of the newest record, to read on from there; 0 if there is none. Raises JournalError as `read` does."""
    with _reading(path) as connection:
        if connection is None:
            return 0
        (newest,) = connection.execute("SELECT max(seq) FROM journal").fetchone()
        return newest or 0


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection | None]:
    """A connection that only reads; None while there is no journal, or an engine is just making it."""
    if not path.exists():
        yield None
        return
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            yield connection if _format(path, connection) else None
    except sqlite3.DatabaseError as error:
        raise _unreadable(path, error) from error


def put_aside(path: Path) -> None:
    """Rename the journal, as one whose lab is gone: it can still be read, but no engine goes on from it."""
    number = 1 + sum(1 for _ in path.parent.glob(f"{path.stem}-*{path.suffix}"))
    for part in ("", "-wal", "-shm"):
        old = path.with_name(path.name + part)
        if old.exists():
            old.rename(path.with_name(f"{path.stem}-{number}{path.suffix}{part}"))


class Lock:
    """The lab's lock: held by one engine at a time, freed by the kernel when its process ends, however it ends."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    @classmethod
    def take(cls, path: Path) -> Lock:
        """The lock of the lab whose state lies beside `path`. Raises JournalError if another engine holds it."""
        try:
            file = path.open("a+")
        except OSError as error:
            raise JournalError(
                f"the lab's lock cannot be opened: {error.strerror}",
                place=str(path),
                remedy="`pillion up` makes the lab",
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            file.close()
            raise JournalError(
                f"another engine (process {holder}) holds this lab",
                place=str(path),
                remedy="stop it, or give your command to it: `pillion migrate` talks to a running engine by itself",
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        return cls(file)

    def release(self) -> None:
        """Let another engine take the lab."""
        self._file.close()


def _connect(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            _format(path, connection)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute(_SCHEMA)
            connection.execute(f"PRAGMA user_version={FORMAT}")
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise _unreadable(path, error) from error
    return connection


def _format(path: Path, connection: sqlite3.Connection) -> int:
    """The journal's format, 0 if it is still empty. Raises JournalError if this pillion does not know it."""
    found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if found not in (0, FORMAT):
        raise JournalError(
            f"the journal has format {found}, this pillion knows {FORMAT}",
            place=str(path),
            remedy="use the pillion that wrote it, or move the journal away",
        )
    return found


def _write(connection: sqlite3.Connection, records: list[Record]) -> list[int]:
    rows = [(r.at_utc, r.now_s, r.epoch, r.role, r.kind, r.subject, dumps(r.fact)) for r in records]
    insert = "INSERT INTO journal (at_utc, now_s, epoch, role, kind, subject, body) VALUES (?, ?, ?, ?, ?, ?, ?)"
    try:
        connection.execute("BEGIN")
        written = [connection.execute(insert, row).lastrowid for row in rows]
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise JournalError(f"the journal cannot be written: {error}", remedy="free space on its disk") from error
    return [seq for seq in written if seq is not None]


def _unreadable(path: Path, error: Exception) -> JournalError:
    return JournalError(f"not a journal: {error}", place=str(path), remedy="move the file away, or restore it")
