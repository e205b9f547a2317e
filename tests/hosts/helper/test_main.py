"""The helper as a program: its epoch, its links, and what it leaves behind."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pillion.hosts.helper.checkpoints import Checkpoints
from pillion.hosts.helper.links import Link
from pillion.hosts.helper.wire import Cut, Refused
from pillion.hosts.transfer import helper_archive


def test_a_listener_lets_only_the_token_in_and_only_once(tmp_path: Path) -> None:
    target, source, thief = (Link("lab", tmp_path, Checkpoints(tmp_path)) for _ in range(3))
    listening = target.listen("127.0.0.1")
    with pytest.raises(Refused, match="token"):
        thief.connect("127.0.0.1", listening["port"], "guess")
    assert source.connect("127.0.0.1", **listening) == {}
    with pytest.raises((Refused, Cut)):
        thief.connect("127.0.0.1", **listening)
    for link in (target, source, thief):
        link.cut()
    with pytest.raises(Cut):
        source.send_volume("dv", "dv")


class Program:
    """The packed helper as a host runs it."""

    def __init__(self, archive: Path, folder: Path, epoch: int) -> None:
        command = [sys.executable, "-I", str(archive), "--dir", str(folder), "--epoch", str(epoch)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def read(self) -> dict[str, object]:
        assert self.process.stdout is not None
        said = json.loads(self.process.stdout.readline())
        assert isinstance(said, dict)
        return said

    def ask(self, **request: object) -> dict[str, object]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"id": 1, **request}).encode() + b"\n")
        self.process.stdin.flush()
        return self.read()

    def end(self) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        code = self.process.wait(10)
        self.process.stdout.close()
        return code


Start = Callable[[int], Program]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a helper of the engine with that epoch, in `lab`."""
    archive = tmp_path / "helper.pyz"
    archive.write_bytes(helper_archive())
    started: list[Program] = []

    def start(epoch: int) -> Program:
        started.append(Program(archive, tmp_path / "lab", epoch))
        return started[-1]

    yield start
    for program in started:
        program.end()


def test_a_helper_of_an_older_engine_is_told_and_refused(tmp_path: Path, start: Start) -> None:
    folder = tmp_path / "lab"
    old = start(4)
    assert old.read() == {"ready": True}
    new = start(5)
    assert new.read() == {"ready": True}
    assert old.read() == {"stale": 5}
    refused = old.ask(do="listen", link="l", address="127.0.0.1")
    assert refused["error"] == "stale"
    assert new.ask(do="listen", link="l", address="127.0.0.1")["id"] == 1
    late = start(3)
    assert late.read() == {"stale": 5}
    assert late.process.wait(10) == 3
    assert old.ask(do="claim", epoch=6) == {"id": 1, "ok": {}}
    assert new.read() == {"stale": 6}
    late.end()
    assert old.end() == new.end() == 0
    assert sorted(path.name for path in folder.iterdir()) == ["epoch"]


def test_a_helper_tidies_up_after_one_that_was_killed(tmp_path: Path, start: Start) -> None:
    folder = tmp_path / "lab"
    killed = start(1)
    killed.read()
    killed.process.kill()
    killed.end()
    assert [path.name for path in folder.glob("tmp-*")] == [f"tmp-{killed.process.pid}"]
    following = start(1)
    following.read()
    assert [path.name for path in folder.glob("tmp-*")] == [f"tmp-{following.process.pid}"]
    assert following.end() == 0


def test_the_packed_helper_is_the_same_every_time() -> None:
    assert helper_archive() == helper_archive()
