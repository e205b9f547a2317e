"""The command line: data on standard output, one line and an exit code for each error, variables for options."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from pillion import __version__, cli
from pillion.config import all_plans
from pillion.core.events import Announcement, Event, HandoverCompleted, MigrationRequested
from pillion.core.model import PoaId, ZoneId
from pillion.core.plan import Group
from pillion.core.state import Fleet
from pillion.errors import ConfigError, EngineError, HostUnreachable, JournalError, MigrationError
from pillion.journal.records import Record
from pillion.journal.store import Journal
from pillion.lab.state import LabState
from pillion.replay.player import NominalWorld, Player

from .core.examples import A2, MEC2, UE, engine_started
from .data.record_drive import TRACE

ROOT = Path(__file__).parents[1]
OURS = ROOT / "lab.pillion.yml"
PATIENCE_S = 30.0


@dataclass
class Said:
    """What a command gave: its exit code, and what it wrote where."""

    code: int
    out: str
    err: str

    def error(self) -> str:
        """The one line of an error; nothing else was written."""
        assert not self.out
        assert "Traceback" not in self.err
        (line,) = self.err.splitlines()
        return line


Pillion = Callable[..., Said]


@pytest.fixture
def pillion(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Pillion:
    """Runs a command in a thread, in an empty folder, with a state folder of its own.

    One that runs an event loop would take this thread's from pytest-asyncio.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PILLION_STATE", str(tmp_path / "state"))

    def run(*words: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["pillion", *map(str, words)])
        capfd.readouterr()
        code: object = 0
        with ThreadPoolExecutor() as beside:
            try:
                beside.submit(cli.main).result()
            except SystemExit as ended:
                code = ended.code
        out, err = capfd.readouterr()
        assert isinstance(code, int | None)
        return Said(code or 0, out, err)

    return run


@pytest.fixture
def process(tmp_path: Path) -> Pillion:
    """Runs a command as a process of its own."""

    def run(*words: object, **variables: str) -> Said:
        ended = subprocess.run(
            [sys.executable, "-W", "error", "-m", "pillion", *map(str, words)],
            cwd=tmp_path,
            env={**os.environ, "PILLION_STATE": str(tmp_path / "state"), "PYTHONPATH": str(ROOT / "engine")}
            | variables,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        return Said(ended.returncode, ended.stdout, ended.stderr)

    return run


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    path = tmp_path / "wrong.pillion.yml"
    path.write_text(OURS.read_text(encoding="utf-8").replace("settle_s: 4", "settel_s: 4"), encoding="utf-8")
    return path


def test_the_version_is_told(pillion: Pillion):
    assert pillion("--version").out == f"pillion, version {__version__}\n"


def every_command(group: click.Group = cli.cli, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from every_command(command, *path, name)
        else:
            yield (*path, name), command


COMMANDS = list(every_command())
NAMES = [" ".join(path) for path, _ in COMMANDS]
ARGUMENTS = {"plan": ("a2", "--to", "mec2"), "migrate": ("a2", "--to", "mec2"), "replay": (TRACE,)}
ARGUMENTS |= {"record": ("10.100.0.2", "file"), "point": ("http://sandbox/x",)}


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=NAMES)
def test_every_command_says_what_it_does_and_every_option_what_it_is_for(
    pillion: Pillion, path: tuple[str, ...], command: click.Command
):
    said = pillion(*path, "--help")
    assert (said.code, said.err) == (0, "")
    assert command.help
    assert all(option.help for option in command.params if isinstance(option, click.Option))


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=NAMES)
def test_every_option_has_a_variable_of_its_own_name(path: tuple[str, ...], command: click.Command):
    for option in command.params:
        if isinstance(option, click.Option) and option.envvar is None:
            assert option.name in [word.lstrip("-").replace("-", "_") for word in option.opts], (path, option)
        elif isinstance(option, click.Option):
            assert option.envvar in ("PILLION_LAB", "PILLION_FORMAT")


@pytest.mark.parametrize(
    "words",
    [
        ["teleport"],
        ["validate", "--colour", "red"],
        ["plan", "a2"],
        ["plan", "a2", "--to", "mec2", "--format", "xml"],
        ["gateway", "repoint"],
        ["trace", "replay"],
        ["probe", "http://127.0.0.1/"],
    ],
    ids=lambda words: " ".join(words),
)
def test_a_wrong_command_line_ends_with_2_and_says_how_it_is_used(pillion: Pillion, words: list[str]):
    said = pillion(*words)
    assert said.code == 2
    assert said.err.startswith("Usage: pillion ")
    assert not said.out


LOADING = [path for path, command in COMMANDS if any(option.name == "lab_file" for option in command.params)]
LOADING = [path for path in LOADING if path not in (("doctor",), ("demo",))]  # these load it inside the loop


@pytest.mark.parametrize("path", LOADING, ids="-".join)
def test_a_wrong_lab_file_ends_every_command_with_3_and_one_line(pillion: Pillion, wrong: Path, path: tuple[str, ...]):
    said = pillion(*path, "-t", wrong, *ARGUMENTS.get(path[-1], ()))
    assert said.code == 3
    assert said.error().startswith(f"pillion: {wrong}:")
    assert "tracking.settel_s: unknown key (did you mean settle_s?)" in said.error()


def test_no_lab_file_and_a_missing_one_end_with_3(pillion: Pillion, tmp_path: Path):
    assert pillion("validate").code == 3
    assert "no lab file here" in pillion("validate").error()
    missing = pillion("validate", "-t", "none.pillion.yml")
    assert (missing.code, "no such lab file" in missing.error()) == (3, True)


def test_a_lab_file_that_is_right_is_told_to_be(pillion: Pillion):
    assert pillion("validate", "-t", OURS).out == f"{OURS}: lab monaco with 2 MEC hosts and 1 apps is valid\n"


def test_the_schema_of_lab_files_is_printed_without_any_lab_file(pillion: Pillion):
    schema = json.loads(pillion("validate", "--schema").out)
    assert schema["title"] == "LabSettings"
    assert {"lab", "hosts", "placement", "apps"} <= schema["properties"].keys()


def test_variables_stand_in_for_options(pillion: Pillion, monkeypatch: pytest.MonkeyPatch, wrong: Path):
    monkeypatch.setenv("PILLION_LAB", str(OURS))
    assert pillion("validate").code == 0
    assert pillion("validate", "-t", wrong).code == 3, "an option goes before its variable"
    monkeypatch.setenv("PILLION_PLAN_TO", "mec2")
    monkeypatch.setenv("PILLION_FORMAT", "json")
    assert json.loads(pillion("plan", "a2").out)["strategy"] == "M2"
    monkeypatch.setenv("PILLION_PLAN_STRATEGY", "M9")
    assert "no strategy M9" in pillion("plan", "a2").error()
    monkeypatch.setenv("PILLION_FORMAT", "xml")
    assert pillion("plan", "a2").code == 2


# --- errors ---


def raising(error: BaseException) -> Callable[..., None]:
    def command(**_: object) -> None:
        raise error

    return command


GROUPS = [
    (MigrationError("it broke", place="a2-2"), 10, "pillion: a2-2: it broke"),
    (ExceptionGroup("tasks", [HostUnreachable("no answer", place="mec1")]), 6, "pillion: mec1: no answer"),
    (
        BaseExceptionGroup("outer", [ExceptionGroup("inner", [JournalError("full", remedy="free space")])]),
        9,
        "pillion: full (free space)",
    ),
    (ExceptionGroup("two", [ConfigError("one"), JournalError("two")]), 3, "pillion: one"),
    (EngineError("said no", place="engine"), 1, "pillion: engine: said no"),
]


@pytest.mark.parametrize(("error", "code", "line"), GROUPS, ids=[line for *_, line in GROUPS])
def test_an_error_of_the_tree_is_one_line_and_its_branch_s_code_also_out_of_task_groups(
    pillion: Pillion, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, line: str
):
    monkeypatch.setattr(cli, "cli", raising(error))
    said = pillion("validate")
    assert (said.code, said.error()) == (code, line)


@pytest.mark.parametrize(
    "error",
    [
        ExceptionGroup("tasks", [HostUnreachable("no answer"), ZeroDivisionError()]),
        ExceptionGroup("tasks", [ExceptionGroup("inner", [KeyError("x")])]),
        ZeroDivisionError(),
    ],
    ids=["beside one of the tree", "alone in a group", "alone"],
)
def test_a_bug_of_ours_is_not_hidden(pillion: Pillion, monkeypatch: pytest.MonkeyPatch, error: Exception):
    monkeypatch.setattr(cli, "cli", raising(error))
    with pytest.raises(type(error)):
        pillion("validate")


# --- plan ---


def test_a_plan_is_a_table_for_people(pillion: Pillion):
    lines = pillion("plan", "a2", "--to", "mec2", "-t", OURS).out.splitlines()
    assert lines[0].strip() == "M2: a2 mec1 → mec2"
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")]
    assert [row[1] for row in rows if row[0] == "relocation"] == [
        "fence", "last-bytes", "start", "prove", "switch", "kill",
    ]  # fmt: skip
    assert ["pre-relocation", "create", "target", "network, send-image", "CreateContainer", ""] in rows
    assert any(line.startswith("Expected downtime ") for line in lines)


def test_a_plan_is_data_for_programs(pillion: Pillion):
    plan = json.loads(pillion("plan", "a2", "--to", "mec2", "-t", OURS, "--format", "json").out)
    fence = next(step for step in plan["steps"] if step["id"] == "fence")
    assert fence["work"] == {
        "is": "FenceSource",
        "instance": {"is": "Instance", "app": "a2", "host": "mec1", "epoch": 0},
    }


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["a9", "--to", "mec2"], 3, "no app a9"),
        (["a2", "--to", "mec9"], 3, "no MEC host mec9"),
        (["a2", "--to", "mec2", "--strategy", "M9"], 3, "no strategy M9 (there are "),
        (["a2", "--to", "mec1"], 10, "a2 is served by mec1 already (name another host)"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(pillion: Pillion, words: list[str], code: int, said: str):
    refused = pillion("plan", "-t", OURS, *words)
    assert refused.code == code
    assert said in refused.error()


# --- what is in the journal ---


def a_moved_app() -> list[tuple[float, Event | Announcement]]:
    """A2 is started on mec1, its UE is seen, and it is moved to mec2 by hand."""
    player = Player(Fleet.empty(), NominalWorld(all_plans(), dict.fromkeys(Group, 0.5)))
    player.put(0.0, engine_started())
    player.put(5.0, HandoverCompleted(UE, PoaId("4g-5"), ZoneId("zone02")))
    player.put(30.0, MigrationRequested(A2.id, MEC2))
    player.run()
    return player.story


async def journal_of(state: LabState, story: list[tuple[float, Event | Announcement]]) -> None:
    state.ensure()
    journal = await Journal.open(state.journal)
    await journal.append(
        [
            Record(
                0, "2026-11-24T22:00:00.000+00:00", at_s, 1, "event" if isinstance(fact, Event) else "decision", fact
            )
            for at_s, fact in story
        ]
    )
    await journal.close()


async def test_events_are_told_from_the_journal_as_lines_or_as_data(process: Pillion, tmp_path: Path):
    story = a_moved_app()
    await journal_of(LabState(tmp_path / "state" / "monaco"), story)
    lines = await asyncio.to_thread(process, "events", "-t", OURS)
    assert (lines.code, lines.err) == (0, "")
    assert len(lines.out.splitlines()) == len(story)
    assert " MigrationRequested a2 (app=a2 target=mec2 trigger=operator)" in lines.out
    data = await asyncio.to_thread(process, "events", "-t", OURS, PILLION_FORMAT="json")
    records = [json.loads(line) for line in data.out.splitlines()]
    assert [record["kind"] for record in records] == [type(fact).__name__ for _, fact in story]
    assert [record["seq"] for record in records] == list(range(1, len(story) + 1))
    first = (await asyncio.to_thread(process, "events", "-t", OURS, "--initial-state")).out.splitlines()
    assert first[0] == f"app=a2 ue={UE} host=mec2 epoch=3 poa=4g-5 zone=zone02"
    assert first[1:] == lines.out.splitlines()


async def test_the_plan_starts_where_the_journal_says_the_app_is(pillion: Pillion, tmp_path: Path):
    await journal_of(LabState(tmp_path / "state" / "monaco"), a_moved_app())
    assert "M2: a2 mec2 → mec1" in pillion("plan", "a2", "--to", "mec1", "-t", OURS).out
    assert "a2 is served by mec2 already" in pillion("plan", "a2", "--to", "mec2", "-t", OURS).error()


def contains(told: object, written: object) -> bool:
    """Whether all that was written is told; what an older engine did not write yet comes beside it."""
    if isinstance(told, dict) and isinstance(written, dict):
        return all(key in told and contains(told[key], value) for key, value in written.items())
    if isinstance(told, list) and isinstance(written, list):
        return len(told) == len(written) and all(map(contains, told, written))
    return told == written


def test_a_journal_opened_with_sqlite_tells_what_the_events_tell(process: Pillion, tmp_path: Path):
    journal = LabState(tmp_path / "state" / "monaco").journal
    journal.parent.mkdir(parents=True)
    shutil.copy(ROOT / "tests" / "data" / "journal-0.1.0.db", journal)
    with closing(sqlite3.connect(journal)) as opened:
        rows = opened.execute("SELECT at_utc, kind, subject, body FROM journal ORDER BY seq").fetchall()
    lines = process("events", "-t", OURS).out.splitlines()
    told = [json.loads(line) for line in process("events", "-t", OURS, "--format", "json").out.splitlines()]
    assert len(rows) == len(lines) == len(told) > 100
    for (at_utc, kind, subject, body), line, data in zip(rows, lines, told, strict=True):
        assert line.split(" (")[0] == f"{at_utc} {kind} {subject}".strip()
        assert (data["at_utc"], data["kind"], data["subject"]) == (at_utc, kind, subject)
        assert contains(data, json.loads(body))


def test_without_a_journal_there_are_no_events(process: Pillion):
    assert process("events", "-t", OURS) == Said(0, "", "")


def test_a_journal_that_cannot_be_read_ends_with_9(process: Pillion, tmp_path: Path):
    folder = tmp_path / "state" / "monaco"
    folder.mkdir(parents=True)
    (folder / "journal.db").write_text("a shopping list\n" * 100)
    said = process("events", "-t", OURS)
    assert said.code == 9
    assert "not a journal" in said.error()


@pytest.mark.parametrize("words", [["run"], ["migrate", "a2", "--to", "mec2"]], ids=lambda words: words[0])
def test_what_needs_the_lab_says_that_it_is_not_up(process: Pillion, words: list[str]):
    said = process(*words, "-t", OURS)
    assert said.code == 9
    assert said.error().endswith("(`pillion up` makes the lab)")


def test_a_url_that_no_gateway_can_take_is_refused_before_any_is_touched(process: Pillion):
    said = process("gateway", "point", "-t", OURS, "http://sandbox/x y")
    assert said.code == 7
    assert "not a sandbox URL" in said.error()


def test_a_sandbox_of_no_known_scenario_ends_with_3(process: Pillion):
    said = process("sandbox", "--scenario", "atlantis", "--port", "0", "--control-port", "0")
    assert said.code == 3
    assert "there is no such scenario" in said.error()


# --- traces ---


def test_a_replayed_trace_is_told_with_its_summary(pillion: Pillion):
    said = pillion("trace", "replay", "-t", OURS, TRACE)
    assert (said.code, said.err) == (0, "")
    *story, summary = said.out.splitlines()
    assert summary == f"250 s of {UE}: migrations abandoned=1 completed=2 prepared=1; visits sat out 1"
    assert any("VisitSatOut  app=a2 zone=zone01 host=mec2" in line for line in story)
    assert not any("StepDone" in line for line in story)


def test_a_replayed_trace_is_data_for_programs(pillion: Pillion):
    facts = [
        json.loads(line) for line in pillion("trace", "replay", "-t", OURS, TRACE, "--format", "json").out.splitlines()
    ]
    assert facts[0]["is"] == "EngineStarted"
    assert [fact["t"] for fact in facts] == sorted(fact["t"] for fact in facts)
    assert sum(fact["is"] == "MigrationCompleted" for fact in facts) == 3, "the first start is one too"


def test_a_file_that_is_no_trace_and_one_of_nobody_s_ue_end_with_3(pillion: Pillion, tmp_path: Path):
    assert pillion("trace", "replay", "-t", OURS, OURS).code == 3
    stranger = tmp_path / "stranger.trace"
    stranger.write_text(TRACE.read_text().replace('"ue":"10.100.0.2"', '"ue":"10.100.0.9"'))
    said = pillion("trace", "replay", "-t", OURS, stranger)
    assert said.code == 3
    assert "no app of this lab rides with 10.100.0.9" in said.error()
