"""Checkpoints sent in two rounds: what arrives is what was taken, whatever changed, and little of it travels."""

from __future__ import annotations

import json
import os
import re
import struct
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pillion.hosts.helper import checkpoints
from pillion.hosts.helper.checkpoints import Checkpoints, check
from pillion.hosts.helper.pagemaps import PAGE_BYTES, pages_file, segments
from pillion.hosts.helper.wire import Refused
from tests.hosts.helper.ends import Peer

SOURCE, TARGET = "a3.1", "a3.2"
Memory = dict[int, bytes]
"""Page number to what every 64 bytes of it hold."""
PAGES = st.dictionaries(st.integers(0, 60), st.binary(min_size=1, max_size=3), max_size=40)


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def message(**fields: int) -> bytes:
    names = {"pages_id": 1, "vaddr": 1, "in_parent": 3, "flags": 4, "nr_pages": 5}
    body = b"".join(varint(names[name] << 3) + varint(value) for name, value in fields.items())
    return struct.pack("<I", len(body)) + body


def content(seed: bytes) -> bytes:
    return (seed * PAGE_BYTES)[:PAGE_BYTES]


def write_memory(images: Path, pid: int, pages_id: int, memory: Memory) -> None:
    """A process's memory as CRIU writes it: neighbouring pages are one entry; every fourth entry is split."""
    entries, pages, numbers = b"", b"", sorted(memory)
    while numbers:
        count = 1
        while count < len(numbers) and numbers[count] == numbers[0] + count and count < 7:
            count += 1
        entries += message(vaddr=numbers[0] * PAGE_BYTES, flags=4, nr_pages=count)
        # An entry whose pages are not in the file: in CRIU those that are mapped and were never written.
        entries += message(vaddr=(1000 + numbers[0]) * PAGE_BYTES, flags=2, nr_pages=3)
        pages += b"".join(content(memory[number]) for number in numbers[:count])
        del numbers[:count]
    magic = struct.pack("<II", 0x54564319, 0x56084025)
    (images / f"pagemap-{pid}.img").write_bytes(magic + message(pages_id=pages_id) + entries)
    (images / f"pages-{pages_id}.img").write_bytes(pages)


def write_checkpoint(images: Path, processes: list[Memory], core: bytes = b"core", swapped: bool = False) -> None:
    images.mkdir(parents=True)
    for name in ("inventory.img", "pstree.img"):
        (images / name).write_bytes(b"x" * 30)
    (images / "core-1.img").write_bytes(core)
    (images / "descriptors.json").write_text('["/dev/null","pipe:[1]","pipe:[2]"]')
    for number, memory in enumerate(processes):
        pages_id = len(processes) - number if swapped else number + 1
        write_memory(images, 1 + number, pages_id, memory)


class Engine:
    """A Docker Engine that knows one container of the lab."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def get(self, path: str) -> Any:
        if path.startswith("/containers/json"):
            return []  # nothing runs
        name = path.split("/")[2]
        labels = {"pillion.lab": "lab"} if name in (SOURCE, TARGET) else {"pillion.lab": "theirs"}
        return (
            None
            if name == "nothing"
            else {"Id": f"id-{name}", "State": {"Running": False}, "Config": {"Labels": labels}}
        )

    def info(self) -> Any:
        return {"DockerRootDir": str(self.root)}


class Hosts:
    """A source and a target, both in one folder."""

    def __init__(self, folder: Path) -> None:
        self.here, self.there = Checkpoints(folder / "here" / "lab"), Checkpoints(folder / "there" / "lab")
        for lab in ("here", "there"):
            (folder / lab / "lab").mkdir(parents=True)
        self.engine: Any = Engine(folder / "docker")
        self._peer = Peer(lambda header, body: self.there.receive(header, body, self.engine))
        self.connection = self._peer.connection

    def send(self, name: str) -> int:
        before = self.connection.sent_bytes
        self.here.send(self.connection, SOURCE, TARGET, name)
        return self.connection.sent_bytes - before

    def close(self) -> None:
        self._peer.close()


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(checkpoints, "ROOT", tmp_path / "shm")
    made = Hosts(tmp_path)
    yield made
    made.close()


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(PAGES, PAGES), min_size=1, max_size=3), st.booleans(), st.binary(max_size=5))
def test_what_arrives_is_what_was_taken(hosts: Hosts, both: list[tuple[Memory, Memory]], swapped: bool, core: bytes):
    source, target = hosts.here.of(SOURCE), hosts.there.of(TARGET)
    checkpoints.shutil.rmtree(source, ignore_errors=True)
    write_checkpoint(source / "first", [first for first, _ in both])
    write_checkpoint(source / "last", [{**first, **last} for first, last in both[:2]], core, swapped)
    hosts.send("first")
    assert files(target / "base") == files(source / "first")
    hosts.send("last")
    assert files(target / "last") == files(source / "last")
    # Sent once more, as after an answer that was lost.
    hosts.send("last")
    assert files(target / "last") == files(source / "last")


def test_a_process_that_was_born_meanwhile_is_sent_whole(hosts: Hosts):
    source, target = hosts.here.of(SOURCE), hosts.there.of(TARGET)
    write_checkpoint(source / "first", [{1: b"one"}])
    write_checkpoint(source / "last", [{1: b"one"}, {1: b"two", 9: b"three"}], swapped=True)
    for name in ("first", "last"):
        hosts.send(name)
    assert files(target / "last") == files(source / "last")


def test_only_what_changed_travels(hosts: Hosts):
    source = hosts.here.of(SOURCE)
    memory = {number: b"%d" % number for number in range(2000)}
    write_checkpoint(source / "first", [memory])
    # One page is written, and one is new at the front, so that all others lie elsewhere in the file.
    write_checkpoint(source / "last", [{**{n + 1: c for n, c in memory.items()}, 0: b"new"}])
    assert hosts.send("first") > 2000 * PAGE_BYTES
    moved = {**memory, 17: b"changed"}
    checkpoints.shutil.rmtree(source / "last")
    write_checkpoint(source / "last", [moved])
    assert PAGE_BYTES < hosts.send("last") < 3 * PAGE_BYTES


def test_the_target_knows_where_to_restore_from(hosts: Hosts, tmp_path: Path):
    source = hosts.here.of(SOURCE)
    write_checkpoint(source / "first", [{1: b"x"}])
    write_checkpoint(source / "last", [{1: b"y"}])
    (source / "last" / "descriptors.json").write_text('["/dev/null"]')
    for name in ("first", "last"):
        hosts.send(name)
    options = (tmp_path / "there" / "lab" / "criu" / f"{TARGET}.conf").read_text().splitlines()
    assert options[0] == f"images-dir {hosts.there.of(TARGET) / 'last'}"
    assert "tcp-close" in options
    note = tmp_path / "docker" / "containers" / f"id-{TARGET}" / "checkpoints" / "last" / "descriptors.json"
    assert json.loads(note.read_text()) == ["/dev/null"]
    hosts.there.remove(hosts.engine, TARGET)
    assert hosts.there.containers() == [SOURCE]
    assert not note.parent.exists()


def test_a_last_checkpoint_needs_the_first_on_both_sides(hosts: Hosts):
    source = hosts.here.of(SOURCE)
    with pytest.raises(Refused, match=r"no checkpoint of a3\.1"):
        hosts.send("first")
    write_checkpoint(source / "first", [{1: b"x"}])
    write_checkpoint(source / "last", [{1: b"y"}])
    with pytest.raises(Refused, match="has not arrived"):
        hosts.send("last")


@pytest.mark.parametrize("name", ["nothing", "theirs.1"])
def test_a_container_that_is_not_ours_is_refused(hosts: Hosts, name: str):
    write_checkpoint(hosts.here.of(SOURCE) / "first", [{1: b"x"}])
    with pytest.raises(Refused, match=r"no container|not this lab's"):
        hosts.here.send(hosts.connection, SOURCE, name, "first")


@pytest.mark.parametrize("missing", ["inventory.img", "pstree.img", "pages-1.img"])
def test_a_checkpoint_that_lacks_something_is_not_whole(tmp_path: Path, missing: str):
    images = tmp_path / "images"
    write_checkpoint(images, [{1: b"x", 5: b"y"}])
    assert check(images) == sum(len(data) for data in files(images).values())
    (images / missing).unlink()
    with pytest.raises(Refused, match=missing):
        check(images)


def test_a_pages_file_that_was_cut_is_noticed(tmp_path: Path):
    images = tmp_path / "images"
    write_checkpoint(images, [{1: b"x", 5: b"y"}])
    with (images / "pages-1.img").open("r+b") as file:
        file.truncate(PAGE_BYTES)
    with pytest.raises(Refused, match=r"pages-1.img has 4096 bytes, its pagemap tells 8192"):
        check(images)


def test_pagemaps_tell_where_each_page_lies(tmp_path: Path):
    write_memory(tmp_path, 7, 3, {1: b"a", 2: b"b", 9: b"c"})
    pagemap = tmp_path / "pagemap-7.img"
    assert pages_file(pagemap) == "pages-3.img"
    found = [(part.address // PAGE_BYTES, part.length // PAGE_BYTES, part.offset) for part in segments(pagemap)]
    assert found == [(1, 2, 0), (9, 1, 2 * PAGE_BYTES)]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no pagemap"),
        (struct.pack("<IIII", 0x54564319, 0x56084025, 4, 0)[:-1], "too early"),
        (struct.pack("<II", 0x54564319, 0x56084025) + message(pages_id=1) + b"\x01", "too early"),
        (struct.pack("<II", 0x54564319, 0x56084025) + struct.pack("<I", 1) + b"\x0a", "unknown kind"),
        (struct.pack("<II", 0x54564319, 0x56084025) + struct.pack("<I", 1) + b"\x80", "broken message"),
        (
            struct.pack("<II", 0x54564319, 0x56084025) + message(pages_id=1) + message(vaddr=0, in_parent=1),
            "parent checkpoint",
        ),
    ],
)
def test_a_pagemap_that_cannot_be_read_is_refused_by_name(tmp_path: Path, data: bytes, said: str):
    pagemap = tmp_path / "pagemap-1.img"
    pagemap.write_bytes(data)
    with pytest.raises(Refused, match=rf"pagemap-1\.img.*{said}"):
        _ = pages_file(pagemap), segments(pagemap)


class DumpingEngine(Engine):
    """One whose CRIU writes a checkpoint to where its configuration says, tracked connections among it."""

    def __init__(self, root: Path, configuration: Path) -> None:
        super().__init__(root)
        self.configuration = configuration

    def get(self, path: str) -> Any:
        found = super().get(path)
        if not found:
            return found
        found["State"] = {"Running": True, "Paused": False, "Pid": os.getpid()}
        return found

    def post(self, path: str, body: Any) -> None:
        images = Path(self.configuration.read_text().split()[1])
        images.rmdir()
        write_checkpoint(images, [{0x1000: b"a" * 4096}])
        for name in ("netns-ct-10.img", "netns-exp-10.img", "netns-10.img"):
            (images / name).write_bytes(b"x" * 100_000)


@pytest.mark.parametrize("name", ["first", "last"])
def test_connections_that_the_kernel_tracked_are_no_part_of_a_checkpoint(hosts: Hosts, tmp_path: Path, name: str):
    engine = DumpingEngine(tmp_path / "docker", tmp_path / "here" / "lab" / "criu" / f"{SOURCE}.conf")
    taken = hosts.here.take(engine, SOURCE, name, lambda: True)  # type: ignore[arg-type]
    kept = {path.name for path in (hosts.here.of(SOURCE) / name).iterdir()}
    assert "netns-10.img" in kept
    assert not {"netns-ct-10.img", "netns-exp-10.img"} & kept
    assert taken["bytes"] < 200_000


class RestoringEngine(Engine):
    """One that is at it to start a container, and tells of it in its list alone."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.asked: list[str] = []

    def get(self, path: str) -> Any:
        if not path.startswith("/containers/json"):
            return super().get(path)
        self.asked.append(unquote(path))
        return [{"Id": f"id-{TARGET}", "Labels": {"pillion.lab": "lab"}}, {"Id": "id-x", "Labels": {}}]

    def post(self, path: str, body: Any = None) -> None:
        self.asked.append(path)
        raise Refused("criu failed")


def test_a_container_is_restored_from_the_last_checkpoint_and_what_the_engine_says_is_told(
    hosts: Hosts, tmp_path: Path
):
    engine = RestoringEngine(tmp_path / "docker")
    with pytest.raises(Refused, match=f"restore of {re.escape(TARGET)}: criu failed"):
        hosts.there.restore(engine, TARGET)  # type: ignore[arg-type]
    assert engine.asked == [f"/containers/{TARGET}/start?checkpoint=last"]


def test_only_that_container_of_the_lab_s_own_is_freed_of_criu(
    hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    freed: list[str] = []
    monkeypatch.setattr(checkpoints, "ended", freed.append)
    engine = RestoringEngine(tmp_path / "docker")
    hosts.there.end_criu(engine, "a2.3")  # type: ignore[arg-type]
    assert freed == [f"id-{TARGET}"]
    assert r'"^/a2\\.3$"' in engine.asked[0]
