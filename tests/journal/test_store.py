"""The journal on disk: whole batches in order or nothing, also when the process is killed; one engine per lab."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from pillion.core.events import AlarmRang, Event, TrackingLost
from pillion.core.model import AppId
from pillion.errors import JournalError
from pillion.journal.records import Record
from pillion.journal.store import FORMAT, Journal, Lock, last_seq, read

ROOT = Path(__file__).parents[2]
PATIENCE_S = 20.0


def record(fact: Event, now_s: float = 1.0) -> Record:
    return Record(0, "2026-11-24T22:00:00.000+00:00", now_s, 3, "event", fact)


def alarms(count: int, since: int = 0) -> list[Record]:
    return [record(AlarmRang(AppId(f"a{number}"))) for number in range(since, since + count)]


def apps_in(path: Path, after: int = 0) -> list[str]:
    return [found.subject for found in read(path, after)]


@contextmanager
def process(program: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A Python of its own that runs `program`, killed at the end if it has not ended."""
    running = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "engine")},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield running
    finally:
        running.kill()
        running.wait(PATIENCE_S)
        assert running.stdout is not None
        running.stdout.close()


def says(running: subprocess.Popen[str]) -> str:
    assert running.stdout is not None
    return running.stdout.readline().strip()


async def test_what_was_written_is_read_again_in_order_and_after_reopening(tmp_path: Path):
    path = tmp_path / "journal.db"
    journal = await Journal.open(path)
    assert await journal.append(alarms(3)) == [1, 2, 3]
    await journal.close()
    journal = await Journal.open(path)
    assert await journal.append(alarms(1, since=3)) == [4]
    await journal.close()
    found = list(read(path))
    assert [each.seq for each in found] == [1, 2, 3, 4]
    assert [each.fact for each in found] == [each.fact for each in alarms(4)]
    assert found[0] == Record(1, "2026-11-24T22:00:00.000+00:00", 1.0, 3, "event", AlarmRang(AppId("a0")))
    assert apps_in(path, after=2) == ["a2", "a3"]


async def test_batches_are_written_in_the_order_they_were_handed_over_though_nobody_waits(tmp_path: Path):
    journal = await Journal.open(tmp_path / "journal.db")
    handed_over = [journal.append(alarms(2, since=2 * number)) for number in range(30)]
    await handed_over[-1]
    assert all(batch.done() for batch in handed_over)
    assert apps_in(journal.path) == [f"a{number}" for number in range(60)]
    await journal.close()


async def test_closing_writes_what_is_still_waiting(tmp_path: Path):
    journal = await Journal.open(tmp_path / "journal.db")
    handed_over = [journal.append(alarms(1, since=number)) for number in range(20)]
    await journal.close()
    assert len(apps_in(journal.path)) == 20
    await asyncio.gather(*handed_over)


async def test_an_empty_batch_is_written_as_nothing(tmp_path: Path):
    journal = await Journal.open(tmp_path / "journal.db")
    assert await journal.append([]) == []
    await journal.close()
    assert apps_in(journal.path) == []


async def test_a_batch_with_a_fact_that_cannot_be_written_leaves_nothing_and_the_next_one_is_written(tmp_path: Path):
    journal = await Journal.open(tmp_path / "journal.db")
    half = [*alarms(2), record(TrackingLost(5.0, "not\ud800text"))]
    with pytest.raises(TypeError):
        await journal.append(half)
    assert apps_in(journal.path) == []
    assert await journal.append(alarms(1)) == [1]
    await journal.close()


async def test_a_full_disk_is_an_error_of_the_journal_and_the_batch_is_absent(tmp_path: Path):
    journal = await Journal.open(tmp_path / "journal.db")
    await journal.append(alarms(1))

    def limit() -> None:
        pages = journal._connection.execute("PRAGMA page_count").fetchone()[0]
        journal._connection.execute(f"PRAGMA max_page_count={pages}")

    await asyncio.get_running_loop().run_in_executor(journal._thread, limit)
    with pytest.raises(JournalError, match=r"cannot be written: .*full \(free space on its disk\)"):
        await journal.append([*alarms(1, since=1), record(TrackingLost(5.0, "x" * 100_000))])
    assert await journal.append(alarms(1, since=2)) == [2], "a small one still fits"
    await journal.close()
    assert apps_in(journal.path) == ["a0", "a2"]


KILLED = """
import asyncio, os, sys
from pathlib import Path
from pillion.core.events import AlarmRang
from pillion.journal.records import Record
from pillion.journal.store import Journal

async def write():
    journal = await Journal.open(Path(sys.argv[1]))
    number = 0
    while True:
        batch = [Record(0, "", 0.0, 1, "event", AlarmRang(f"b{number}")) for _ in range(10)]
        written = journal.append(batch)
        if number % 3:
            await written
            print(number, flush=True)
        number += 1

asyncio.run(write())
"""


@pytest.mark.parametrize("batches", [1, 5, 23])
def test_a_batch_is_on_disk_whole_or_not_at_all_when_the_process_is_killed(tmp_path: Path, batches: int):
    path = tmp_path / "journal.db"
    with process(KILLED, path) as running:
        acknowledged = -1
        while acknowledged < batches:
            acknowledged = int(says(running))
        running.send_signal(signal.SIGKILL)
        running.wait(PATIENCE_S)
    found = apps_in(path)
    numbers = list(dict.fromkeys(found))
    assert numbers == [f"b{number}" for number in range(len(numbers))], "in order, none left out"
    assert all(found.count(number) == 10 for number in numbers), "a batch is all or nothing"
    assert len(numbers) > acknowledged, "what was acknowledged is there"


async def test_a_killed_engine_s_journal_is_taken_up_where_it_ended(tmp_path: Path):
    path = tmp_path / "journal.db"
    with process(KILLED, path) as running:
        while int(says(running)) < 2:
            pass
    before = len(apps_in(path))
    journal = await Journal.open(path)
    assert await journal.append(alarms(1)) == [before + 1]
    await journal.close()


async def test_a_reader_beside_the_writer_sees_whole_batches_only(tmp_path: Path):
    journal = await Journal.open(tmp_path / "journal.db")
    await journal.append(alarms(10))
    reading = read(journal.path)
    assert next(reading).subject == "a0"
    for number in range(20):
        await journal.append(alarms(10))
        assert len(apps_in(journal.path)) == 10 * (number + 2)
    assert len(list(reading)) == 9, "who began to read before sees what was there then"
    await journal.close()


def test_no_journal_is_no_records(tmp_path: Path):
    assert apps_in(tmp_path / "none.db") == []
    assert not (tmp_path / "none.db").exists(), "and a reader makes none"


async def test_the_path_may_hold_anything(tmp_path: Path):
    folder = tmp_path / "50% of #1? and a space"
    folder.mkdir()
    journal = await Journal.open(folder / "journal.db")
    await journal.append(alarms(1))
    assert apps_in(journal.path) == ["a0"]
    await journal.close()


async def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path):
    path = tmp_path / "journal.db"
    path.write_text("this is a shopping list, and a long one at that\n" * 40)
    before = path.read_bytes()
    with pytest.raises(JournalError, match=r"journal\.db: not a journal: .* \(move the file away, or restore it\)"):
        await Journal.open(path)
    with pytest.raises(JournalError, match="not a journal"):
        apps_in(path)
    assert path.read_bytes() == before


async def test_a_journal_of_another_format_is_refused_by_reader_and_writer(tmp_path: Path):
    path = tmp_path / "journal.db"
    await (await Journal.open(path)).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version={FORMAT + 1}")
    said = rf"the journal has format {FORMAT + 1}, this pillion knows {FORMAT} \(use the pillion that wrote it"
    with pytest.raises(JournalError, match=said):
        await Journal.open(path)
    with pytest.raises(JournalError, match=said):
        apps_in(path)


async def test_a_database_of_something_else_is_refused_by_the_reader(tmp_path: Path):
    path = tmp_path / "journal.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE journal (entry TEXT)")
        connection.execute(f"PRAGMA user_version={FORMAT}")
    with pytest.raises(JournalError, match="not a journal: no such column"):
        apps_in(path)


async def test_a_person_can_read_the_journal_with_sqlite3(tmp_path: Path):
    journal = await Journal.open(tmp_path / "journal.db")
    await journal.append([record(TrackingLost(5.5, "no answer: refused"), 12.5), record(AlarmRang(AppId("a2")))])
    await journal.close()
    with closing(sqlite3.connect(journal.path)) as connection:
        connection.row_factory = sqlite3.Row
        rows = [dict(row) for row in connection.execute("SELECT * FROM journal ORDER BY seq")]
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert rows[0] == {
        "seq": 1,
        "at_utc": "2026-11-24T22:00:00.000+00:00",
        "now_s": 12.5,
        "epoch": 3,
        "role": "event",
        "kind": "TrackingLost",
        "subject": "",
        "body": '{"silent_s":5.5,"problem":"no answer: refused"}',
    }
    assert (rows[1]["kind"], rows[1]["subject"]) == ("AlarmRang", "a2")


async def test_a_journal_that_cannot_be_opened_leaves_no_thread(tmp_path: Path):
    with pytest.raises(JournalError):
        await Journal.open(tmp_path / "no" / "folder" / "journal.db")


def test_a_lab_has_one_engine_and_the_second_one_is_told_who_the_first_is(tmp_path: Path):
    lock = Lock.take(tmp_path / "lock")
    with pytest.raises(JournalError, match=rf"lock: another engine \(process {os.getpid()}\) holds this lab \(stop it"):
        Lock.take(tmp_path / "lock")
    lock.release()
    Lock.take(tmp_path / "lock").release()


def test_a_lab_that_is_not_up_cannot_be_locked(tmp_path: Path):
    with pytest.raises(JournalError, match=r"cannot be opened: No such file or directory \(`pillion up` makes the lab"):
        Lock.take(tmp_path / "none" / "lock")


HOLDS = """
import sys, time
from pathlib import Path
from pillion.journal.store import Lock

lock = Lock.take(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_the_lock_of_an_engine_that_was_killed_is_free_at_once(tmp_path: Path):
    with process(HOLDS, tmp_path / "lock") as holder:
        assert says(holder) == "held"
        with pytest.raises(JournalError, match=rf"process {holder.pid}\) holds this lab"):
            Lock.take(tmp_path / "lock")
        holder.send_signal(signal.SIGKILL)
        holder.wait(PATIENCE_S)
        lock = Lock.take(tmp_path / "lock")
    assert (tmp_path / "lock").read_text() == str(os.getpid())
    lock.release()


async def test_the_newest_record_is_known_without_reading_the_others(tmp_path: Path):
    path = tmp_path / "journal.db"
    assert last_seq(path) == 0
    journal = await Journal.open(path)
    try:
        assert last_seq(path) == 0
        written = await journal.append(alarms(3))
        assert last_seq(path) == written[-1] == [found.seq for found in read(path)][-1]
    finally:
        await journal.close()
