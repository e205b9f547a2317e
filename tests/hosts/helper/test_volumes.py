"""Volumes made equal between two hosts, round by round."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillion.hosts.helper import volumes
from pillion.hosts.helper.wire import Cut, Refused
from tests.hosts.helper.ends import Peer, paths


class Replica:
    """A source's and a target's volume, and the connection between them."""

    def __init__(self, folder: Path) -> None:
        self.source, self.target = folder / "s" / "_data", folder / "t" / "_data"
        for root in (self.source, self.target):
            root.mkdir(parents=True)
        self.memory: volumes.Memory | None = None
        self._peer = Peer(lambda header, body: volumes.receive(header, body, self.target))
        self.connection = self._peer.connection

    def round(self) -> int:
        """One round; bytes sent."""
        before = self.connection.sent_bytes
        memory, self.memory = self.memory, None
        self.memory = volumes.send(self.connection, self.source, {"do": "tree", "volume": "dv"}, memory)
        return self.connection.sent_bytes - before

    def trees(self) -> tuple[dict[str, object], dict[str, object]]:
        return tree_of(self.source), tree_of(self.target)

    def close(self) -> None:
        self._peer.close()


def tree_of(root: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for path in [root, *sorted(root.rglob("*"))]:
        stats = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(root))] = (oct(stats.st_mode), stats.st_mtime_ns, content)
    return found


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[Replica]:
    made = Replica(tmp_path)
    yield made
    made.close()


def change(root: Path, kind: str, name: str, content: str) -> None:
    path = root / name
    if not path.parent.is_dir() or path.parent.is_symlink():
        return
    if kind == "mode":
        if path.exists() and not path.is_symlink():
            path.chmod(0o700 + len(content))
        return
    if kind == "write" and path.is_file() and not path.is_symlink():
        path.write_text(content)  # in place
        return
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        if kind == "folder":
            return
        for inner in sorted(path.rglob("*"), reverse=True):
            inner.rmdir() if inner.is_dir() and not inner.is_symlink() else inner.unlink()
        path.rmdir()
    if kind == "write":
        path.write_text(content)
    elif kind == "folder":
        path.mkdir()
    elif kind == "symlink":
        path.symlink_to(content or "x")


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.lists(
            st.tuples(
                st.sampled_from(["write", "delete", "folder", "symlink", "mode"]), paths(), st.text("xyz", max_size=3)
            ),
            max_size=6,
        ),
        min_size=1,
        max_size=5,
    )
)
def test_both_volumes_are_equal_after_every_round(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[list[tuple[str, str, str]]]
) -> None:
    replica = Replica(tmp_path_factory.mktemp("volumes"))
    try:
        for edits in rounds:
            for kind, name, content in edits:
                change(replica.source, kind, name, content)
            replica.round()
            source, target = replica.trees()
            assert source == target
    finally:
        replica.close()


def test_a_file_that_rests_is_not_sent_again(replica: Replica) -> None:
    (replica.source / "large").write_bytes(os.urandom(500_000))
    assert replica.round() > 500_000
    assert replica.round() > 500_000, "it was written less than 2 s before it was read"
    assert replica.memory is not None
    replica.memory._racy_from_ns += 10 * volumes.RACY_NS  # as if it had been read long after
    (replica.source / "small").write_text("x")
    assert replica.round() < 2000


def test_a_file_written_again_in_the_same_instant_is_sent_again(replica: Replica) -> None:
    path = replica.source / "counter"
    path.write_text("1")
    before = path.stat()
    replica.round()
    path.write_text("2")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    replica.round()
    assert (replica.target / "counter").read_text() == "2"


def test_a_target_that_was_changed_behind_our_back_is_put_right(replica: Replica) -> None:
    (replica.source / "d").mkdir()
    (replica.source / "d" / "a").write_text("1")
    replica.round()
    (replica.target / "d" / "a").unlink()
    (replica.target / "d").rmdir()
    (replica.target / "junk").write_text("x")
    (replica.source / "d" / "b").write_text("2")
    replica.round()
    source, target = replica.trees()
    assert source == target


def test_a_file_that_vanishes_while_the_volume_is_read_is_gone_there_too(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        (replica.source / name).write_text(name)
    replica.round()
    listed = volumes.scan

    def scan(root: Path) -> volumes.Listing:
        found = listed(root)
        if root == replica.source:
            (replica.source / "b").unlink(missing_ok=True)
        return found

    monkeypatch.setattr(volumes, "scan", scan)
    replica.round()
    assert sorted(path.name for path in replica.target.iterdir()) == ["a", "c"]


def test_a_folder_swapped_for_a_link_is_not_followed_out_of_the_volume(
    replica: Replica, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("not for the app")
    (replica.source / "d").mkdir()
    (replica.source / "d" / "key").write_text("its own")
    listed = volumes.scan

    def scan(root: Path) -> volumes.Listing:
        found = listed(root)
        if root == replica.source and not (replica.source / "d").is_symlink():
            (replica.source / "d" / "key").unlink()
            (replica.source / "d").rmdir()
            (replica.source / "d").symlink_to(tmp_path / "secret")
        return found

    monkeypatch.setattr(volumes, "scan", scan)
    replica.round()
    assert list(replica.target.iterdir()) == []
    replica.round()
    assert os.readlink(replica.target / "d") == str(tmp_path / "secret")


def test_a_path_that_leaves_the_volume_is_refused(replica: Replica) -> None:
    record = json.dumps({"path": "../x", "mode": 0o100644}).encode()
    with pytest.raises(Refused, match="outside"):
        replica.connection.ask({"volume": "dv", "whole": True}, [len(record).to_bytes(4, "big") + record])
    replica.round()


def test_a_round_that_is_cut_changes_nothing_and_leaves_nothing(replica: Replica) -> None:
    (replica.target / "old").write_text("kept")
    before = tree_of(replica.target)
    (replica.source / "a").write_text("x" * 10)
    records = b"".join(volumes._Round(replica.source, None).records())

    def some() -> Iterator[bytes]:
        yield records[:-3]
        replica.connection.cut()

    with pytest.raises(Cut):
        replica.connection.ask({"volume": "dv", "whole": True}, some())
    replica._peer._thread.join(5)
    assert tree_of(replica.target) == before
    assert [path.name for path in replica.target.parent.iterdir()] == ["_data"]
