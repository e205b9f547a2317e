"""What is left of a CRIU that was killed: found by a tree of processes as proc(5) shows it, and ended."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from pillion.hosts.helper import stuck
from pillion.hosts.helper.stuck import orphans

ID = "7cfe09c4"


def process(proc: Path, pid: int, name: str, state: str, parent: int, *words: str) -> None:
    (proc / str(pid)).mkdir()
    (proc / str(pid) / "stat").write_text(f"{pid} ({name}) {state} {parent} 1 1 0")
    (proc / str(pid) / "cmdline").write_bytes("\0".join([*words, ""]).encode())


def tree(proc: Path, state: str) -> None:
    (proc / "self").mkdir(parents=True)
    process(proc, 10, "containerd-shim", "S", 1, "containerd-shim-runc-v2", "-id", ID)
    process(proc, 11, "runc", "S", 10, "runc", "checkpoint", "--leave-running", ID)
    process(proc, 12, "criu", state, 11, "criu", "swrk", "3")
    process(proc, 13, "criu", "S", 10, "criu", "swrk", "3")
    process(proc, 20, "runc", "S", 1, "runc", "checkpoint", "another")
    process(proc, 21, "criu", "S", 20, "criu", "swrk", "3")
    process(proc, 30, "a (b) c", "S", 10, "python3")


def test_what_a_dead_criu_left_behind_is_found_and_nothing_else(tmp_path: Path) -> None:
    tree(tmp_path / "proc", "Z")
    assert orphans(ID, tmp_path / "proc") == [13]


def test_a_criu_at_work_has_left_nothing_behind(tmp_path: Path) -> None:
    tree(tmp_path / "proc", "S")
    assert orphans(ID, tmp_path / "proc") == []
    assert orphans("another", tmp_path / "proc") == []


def test_it_is_ended_while_the_checkpoint_waits(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as left:
        tree(tmp_path / "proc", "Z")
        process(tmp_path / "proc", left.pid, "criu", "S", 10, "criu")
        for pid in ("12", "13"):  # others of that number may be there
            (tmp_path / "proc" / pid / "stat").unlink()
        process(tmp_path / "proc", 1 << 22, "criu", "Z", 11, "criu")
        with stuck.freed(ID, tmp_path / "proc"):
            ended = left.wait(10)
        assert ended == -9
        began_s = time.monotonic()
        with stuck.freed(ID, tmp_path / "proc"):
            pass
        assert time.monotonic() - began_s < 0.2


def test_what_works_on_for_nobody_is_waited_for_and_then_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stuck, "_LAST_WORK_S", 0.5)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as left:
        tree(tmp_path / "proc", "S")
        for pid in ("12", "13"):
            (tmp_path / "proc" / pid / "stat").unlink()
        process(tmp_path / "proc", left.pid, "criu", "S", 10, "criu")
        began_s = time.monotonic()
        stuck.ended(ID, tmp_path / "proc")
        assert left.wait(10) == -9
        assert time.monotonic() - began_s >= 0.5


def test_without_a_criu_there_is_nothing_to_wait_for(tmp_path: Path) -> None:
    (tmp_path / "proc/10").mkdir(parents=True)
    began_s = time.monotonic()
    stuck.ended(ID, tmp_path / "proc")
    assert time.monotonic() - began_s < 0.2
