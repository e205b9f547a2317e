"""The walk in the docs, compared with a real migration of a recorded drive, both ways."""

import re
import shutil
from pathlib import Path

from pillion.core.events import HandoverCompleted, MigrationCompleted, MigrationStarted, Trigger
from pillion.journal.records import Record
from pillion.journal.store import read

ROOT = Path(__file__).parents[2]
JOURNAL = ROOT / "tests" / "data" / "journal-0.1.0.db"
Happened = tuple[str, ...]


def told() -> list[set[Happened]]:
    """What the walk lists: one thing at a time, or several that overlap."""
    block = re.search(r"```events\n(.*?)```", (ROOT / "docs" / "walk.md").read_text(encoding="utf-8"), re.DOTALL)
    assert block
    groups: list[set[Happened]] = []
    for line in block[1].splitlines():
        if line == "together":
            groups.append(set())
        elif line.startswith("  "):
            groups[-1].add(tuple(line.split()))
        else:
            groups.append({tuple(line.split())})
    return groups


def recorded(tmp_path: Path) -> list[Happened]:
    """The first completed migration that a prediction started, from that prediction to its end."""
    records = list(read(Path(shutil.copy(JOURNAL, tmp_path))))
    completed = {record.fact.migration for record in records if isinstance(record.fact, MigrationCompleted)}
    first, migration = next(
        (number, record.fact.migration)
        for number, record in enumerate(records)
        if isinstance(record.fact, MigrationStarted)
        and record.fact.trigger is Trigger.PREDICTION
        and record.fact.migration in completed
    )
    last = next(
        number
        for number, record in enumerate(records)
        if isinstance(record.fact, MigrationCompleted) and record.fact.migration == migration
    )
    return [happened(record) for record in records[first - 1 : last + 1] if not within_one_zone(record)]


def happened(record: Record) -> Happened:
    step = getattr(record.fact, "step", None)
    return (record.role, record.kind, step) if step else (record.role, record.kind)


def within_one_zone(record: Record) -> bool:
    fact = record.fact
    return isinstance(fact, HandoverCompleted) and fact.zone == fact.previous_zone


def test_the_walk_lists_exactly_what_a_recorded_migration_did(tmp_path: Path) -> None:
    story = recorded(tmp_path)
    for group in told():
        part, story = story[: len(group)], story[len(group) :]
        assert sorted(part) == sorted(group)
    assert story == []
