"""Checkpoints of containers: taken here, sent, and laid ready on the target for the Docker Engine to restore from.

The Docker Engine copies a checkpoint four times on its way to disk and back, all of it while the app stands still. So
CRIU is told, by a configuration of the container's own (the annotation `org.criu.config`), to keep its images in this
host's memory; what the Docker Engine then copies is `descriptors.json` alone.

    /dev/shm/pillion/LAB/CONTAINER/first, last     on the source: what CRIU wrote
                                   base, patch     on the target: the first checkpoint, and a copy of it
                                   last            that copy, made into the last checkpoint

Memory is compared by (pagemap, address), since pages move within a file from one checkpoint to the next. Source: CRIU,
images/pagemap.proto, criu/pagemap.c (kernels without soft-dirty tracking offer no list of changed pages).

A message's body is records: length (4 bytes), JSON, bytes. The last one has `end`.
"""

from __future__ import annotations

import json
import mmap
import os
import re
import secrets
import shutil
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from pillion.hosts.helper.engine import DockerEngine, is_labs
from pillion.hosts.helper.freezer import freeze, thaw
from pillion.hosts.helper.pagemaps import PAGE_BYTES, Segment, pages_file, segments
from pillion.hosts.helper.stuck import ended, freed
from pillion.hosts.helper.wire import CHUNK_BYTES, Body, Connection, Header, Refused, packed

ROOT = Path("/dev/shm/pillion")
_NAME = "last"
"""The name under which the Docker Engine is told of a checkpoint to restore from."""
_RUN = struct.Struct("!QQQ")
"""Where a run of pages lies in the new file, its length, and where the base has it (`_NEW`: nowhere, it follows)."""
_NEW = (1 << 64) - 1
_BLOCK_BYTES = 16 * PAGE_BYTES
_TRIES = 3
_OPTIONS = "tcp-close\nskip-in-flight\nnetwork-lock skip\n"
"""Connections cannot move along with another address, so they are closed, also half-open ones, and need no lock."""

_TRACKED = ("netns-ct-*.img", "netns-exp-*.img")
"""Connections as the kernel's firewall tracks them, which CRIU dumps in any case. All are closed, so nobody needs them;
and what is restored is in the next checkpoint again, with those that came since: each migration took longer."""


class Checkpoints:
    """One lab's checkpoints on this host; `folder` is the lab's, with the CRIU configurations that annotations name."""

    def __init__(self, folder: Path) -> None:
        self._lab = folder.name
        self._configurations = folder / "criu"
        self._docker_root = ""
        self._ids: dict[str, str] = {}
        """Of containers that a checkpoint has arrived for."""

    def of(self, container: str) -> Path:
        return ROOT / self._lab / container

    def containers(self) -> list[str]:
        """Names of the containers that something is kept for."""
        root = ROOT / self._lab
        return sorted(entry.name for entry in root.iterdir()) if root.is_dir() else []

    def take(self, engine: DockerEngine, container: str, name: str, wanted: Callable[[], bool]) -> Header:
        """Checkpoint a running or paused container, which goes on as it was: `bytes`, `seconds`. Raises Refused, Cut.

        `wanted`: whether somebody still waits for it; else it is not tried again.

        CRIU may fail once (a process was born meanwhile), and the Docker Engine may find that it has the like of
        `descriptors.json` already, which says nothing about the images: they are whole if they pass the check.
        """
        found = self.ours(engine, container)
        images = self.of(container) / name
        if name == "first":
            self.remove(engine, container)
        descriptors = [os.readlink(f"/proc/{found['State']['Pid']}/fd/{number}") for number in range(3)]
        problem = Refused("it was not tried")
        for number in range(_TRIES):
            if not wanted():
                break
            shutil.rmtree(images, ignore_errors=True)
            images.mkdir(mode=0o700, parents=True)
            self._configure(container, images)
            started = time.monotonic()
            try:
                body = {"CheckpointID": f"{name}-{time.time_ns()}", "Exit": False}
                with freed(found["Id"]):
                    engine.post(f"/containers/{quote(container)}/checkpoints", body)
            except Refused as refusal:
                problem = refusal
                if "already exists" not in refusal.problem:
                    continue
            seconds = time.monotonic() - started
            for image in (image for pattern in _TRACKED for image in images.glob(pattern)):
                image.unlink()
            try:
                size = check(images)
            except Refused as refusal:
                problem = refusal
                continue
            (images / "descriptors.json").write_text(json.dumps(descriptors, separators=(",", ":")))
            return {"bytes": size, "seconds": seconds, "tries": number + 1}
        shutil.rmtree(images, ignore_errors=True)
        raise Refused(
            f"checkpoint of {container}: {problem.problem}", problem.remedy or "`pillion doctor` may tell why"
        )

    def restore(self, engine: DockerEngine, container: str) -> None:
        """Start a container from the last checkpoint that has arrived for it.

        Raises Refused, Cut; then it does not run, or is about to: what is left of CRIU has been ended.
        """
        if container not in self._ids:  # it arrived at an earlier helper
            self._ids[container] = self.ours(engine, container)["Id"]
        try:
            with freed(self._ids[container]):
                engine.post(f"/containers/{quote(container)}/start?" + urlencode({"checkpoint": _NAME}))
        except Refused as refusal:
            raise Refused(f"restore of {container}: {refusal.problem}", refusal.remedy) from refusal

    def end_criu(self, engine: DockerEngine, container: str) -> None:
        """Let CRIU come to an end with this container, or end it. Raises Refused, Cut.

        While a container is started, the Docker Engine tells of it in its list alone.
        """
        query = urlencode({"all": "1", "filters": json.dumps({"name": [f"^/{re.escape(container)}$"]})})
        for found in engine.get(f"/containers/json?{query}"):
            if is_labs(found["Labels"], self._lab):
                ended(found["Id"])

    def ours(self, engine: DockerEngine, container: str) -> Any:
        """What the engine says of a container of this lab. Raises Refused if it is not there, or another's."""
        found = engine.get(f"/containers/{quote(container)}/json")
        if found is None:
            raise Refused(f"there is no container {container}")
        if not is_labs(found["Config"].get("Labels"), self._lab):
            raise Refused(f"container {container} is not this lab's", "rename or remove it")
        return found

    def _configure(self, container: str, images: Path) -> None:
        self._configurations.mkdir(exist_ok=True)
        (self._configurations / f"{container}.conf").write_text(f"images-dir {images}\n{_OPTIONS}")

    def remove(self, engine: DockerEngine, container: str, *, resume: bool = False) -> None:
        """Remove what is kept of this container, and for it, and the engine's own notes of it.

        `resume`: it is to run, also if CRIU or the Docker Engine were ended while they held it frozen.
        """
        self.end_criu(engine, container)
        self._ids.pop(container, None)
        shutil.rmtree(self.of(container), ignore_errors=True)
        (self._configurations / f"{container}.conf").unlink(missing_ok=True)
        found = engine.get(f"/containers/{quote(container)}/json")
        if found is not None and is_labs(found["Config"].get("Labels"), self._lab):
            for entry in self._kept(engine, found).glob("*"):
                shutil.rmtree(entry, ignore_errors=True)
            if resume and found["State"]["Running"]:
                _let_go(engine, found)

    # Sending

    def send(self, connection: Connection, container: str, target: str, name: str) -> None:
        """Send the first checkpoint whole, of the last what differs from it. Raises Refused, Cut."""
        images = self.of(container) / name
        base = self.of(container) / "first" if name == "last" else None
        if not images.is_dir() or (base and not base.is_dir()):
            raise Refused(f"there is no checkpoint of {container} to send")
        connection.ask({"do": "checkpoint", "container": target, "round": name}, _records(images, base))

    def receive(self, header: Header, body: Body, engine: DockerEngine) -> Header:
        """Lay a checkpoint ready, once all of it has arrived; a last one is what the container is restored from."""
        container = header["container"]
        found = self.ours(engine, container)
        self._ids[container] = found["Id"]
        place = self.of(container)
        whole = header["round"] == "first"
        patch = place / "patch"
        work, base, last = place / "work", place / "base", place / "last"
        if whole:
            shutil.rmtree(place, ignore_errors=True)
            work.mkdir(mode=0o700, parents=True)
        elif not base.is_dir():
            raise Refused(f"the first checkpoint for {container} has not arrived")
        else:
            shutil.rmtree(work, ignore_errors=True)
            # Made when the first arrived; only a last one that is sent once more finds it used up.
            (patch if patch.is_dir() else shutil.copytree(base, patch)).rename(work)
        _apply(body, work, base)
        body.finish()
        if whole:
            check(work)
            shutil.copytree(work, patch)
            work.rename(base)
            self._configure(container, last)
        else:
            shutil.rmtree(last, ignore_errors=True)
            work.rename(last)
        self._note(engine, found, ((base if whole else last) / "descriptors.json").read_bytes())
        return {}

    def _note(self, engine: DockerEngine, found: Any, descriptors: bytes) -> None:
        """Tell the engine of a checkpoint: to it, `descriptors.json` is all there is."""
        note = self._kept(engine, found) / _NAME / "descriptors.json"
        if note.is_file() and note.read_bytes() == descriptors:
            return
        note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        note.write_bytes(descriptors)
        # The engine stores it by its digest, and fails if it has the like: another time makes it another.
        os.utime(note, (secrets.randbelow(1 << 31),) * 2)

    def _kept(self, engine: DockerEngine, found: Any) -> Path:
        """Where the engine keeps its notes of a container's checkpoints; asked for once, and not in the downtime."""
        self._docker_root = self._docker_root or engine.info()["DockerRootDir"]
        return Path(self._docker_root, "containers", found["Id"], "checkpoints")


def _let_go(engine: DockerEngine, found: Any) -> None:
    """Have a container run that CRIU has left, and its engine know it."""
    if found["State"]["Paused"]:
        # A Docker Engine that was started anew takes what CRIU froze for paused, also after it goes on; and it refuses
        # to unpause what is not frozen.
        freeze(found["State"]["Pid"])
        engine.post(f"/containers/{found['Id']}/unpause", {})
    else:
        thaw(found["State"]["Pid"])


def check(images: Path) -> int:
    """Bytes of a checkpoint that is whole: memory of the length that its pagemaps tell. Raises Refused."""
    for name in ("inventory.img", "pstree.img"):
        if not (images / name).is_file():
            raise Refused(f"the checkpoint lacks {name}")
    for pagemap in images.glob("pagemap-*.img"):
        told = sum(part.length for part in segments(pagemap))
        path = images / pages_file(pagemap)
        has = path.stat().st_size if path.is_file() else 0
        if has < told:
            raise Refused(f"{path.name} has {has} bytes, its pagemap tells {told}")
    return sum(path.stat().st_size for path in images.iterdir())


def _records(images: Path, base: Path | None) -> Iterator[bytes]:
    pages = {pages_file(pagemap): pagemap for pagemap in images.glob("pagemap-*.img")}
    for path in sorted(images.iterdir()):
        known = base / path.name if base else None
        if path.name in pages and base:
            yield from _pages_record(path, pages[path.name], base)
        elif known and known.is_file() and known.read_bytes() == path.read_bytes():
            yield packed({"file": path.name, "same": True})
        else:
            yield packed({"file": path.name, "size": path.stat().st_size})
            with path.open("rb") as file:
                while data := file.read(CHUNK_BYTES):
                    yield data
    yield packed({"end": True})


def _pages_record(path: Path, pagemap: Path, base: Path) -> Iterator[bytes]:
    """One pages file as runs: those that the base has, and where, and those that are new."""
    old_map = base / pagemap.name
    old_path = base / pages_file(old_map) if old_map.is_file() else base / path.name
    size = path.stat().st_size
    yield packed({"file": path.name, "size": size, "base": old_path.name})
    with ExitStack() as open_maps:
        new = _mapped(path, open_maps)
        old = _mapped(old_path, open_maps)
        in_place = old_path.name == path.name
        for offset, length, at in _runs(segments(pagemap), segments(old_map) if old_map.is_file() else [], new, old):
            if at == offset and in_place:
                continue  # The target's copy of the base has it there already.
            yield _RUN.pack(offset, length, _NEW if at is None else at)
            if at is None:
                yield new[offset : offset + length]
    yield _RUN.pack(size, 0, 0)


def _mapped(path: Path, open_maps: ExitStack) -> mmap.mmap | bytes:
    if not path.is_file() or path.stat().st_size == 0:
        return b""
    with path.open("rb") as file:
        return open_maps.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _runs(
    new_parts: list[Segment], old_parts: list[Segment], new: mmap.mmap | bytes, old: mmap.mmap | bytes
) -> Iterator[tuple[int, int, int | None]]:
    """(offset, length, offset in the base or None) for all pages of the new file, neighbours put together."""
    pending: tuple[int, int, int | None] | None = None
    for run in _compared(new_parts, old_parts, new, old):
        offset, length, at = run
        if pending is not None:
            start, so_far, was = pending
            follows = at is None if was is None else at == was + so_far
            if start + so_far == offset and follows:
                pending = start, so_far + length, was
                continue
            yield pending
        pending = run
    if pending is not None:
        yield pending


def _compared(
    new_parts: list[Segment], old_parts: list[Segment], new: mmap.mmap | bytes, old: mmap.mmap | bytes
) -> Iterator[tuple[int, int, int | None]]:
    """The same in blocks and pages, in order of the new file. Both lists are in order of addresses."""
    number = 0
    for part in new_parts:
        address, end = part.address, part.address + part.length
        while address < end:
            while number < len(old_parts) and old_parts[number].address + old_parts[number].length <= address:
                number += 1
            offset = part.offset + address - part.address
            if number == len(old_parts) or old_parts[number].address >= end:
                yield offset, end - address, None
                break
            known = old_parts[number]
            if known.address > address:
                yield offset, known.address - address, None
                address = known.address
                continue
            length = min(end, known.address + known.length) - address
            yield from _differences(new, offset, old, known.offset + address - known.address, length)
            address += length


def _differences(
    new: mmap.mmap | bytes, offset: int, old: mmap.mmap | bytes, at: int, length: int
) -> Iterator[tuple[int, int, int | None]]:
    for start in range(0, length, _BLOCK_BYTES):
        size = min(_BLOCK_BYTES, length - start)
        here, there = offset + start, at + start
        block, known = new[here : here + size], old[there : there + size]
        if block == known:
            yield here, size, there
            continue
        for page in range(0, size, PAGE_BYTES):
            same = block[page : page + PAGE_BYTES] == known[page : page + PAGE_BYTES]
            yield here + page, PAGE_BYTES, there + page if same else None


def _apply(body: Body, patch: Path, base: Path) -> None:
    """Make `patch` what the records say. Raises Refused, Cut."""
    names = set()
    while True:
        record = body.record()
        if record.get("end"):
            break
        name = record["file"]
        for each in (name, record.get("base", name)):
            if "/" in each or each.startswith("."):
                raise Refused(f"a checkpoint has no file {each!r}")
        names.add(name)
        if record.get("same"):
            continue
        # Not truncated where pages are patched in place.
        with os.fdopen(os.open(patch / name, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
            if "base" in record:
                _patch(body, file.fileno(), base / record["base"])
            else:
                body.copy(file, record["size"])
            file.truncate(record["size"])
    for path in patch.iterdir():
        if path.name not in names:
            path.unlink()


def _patch(body: Body, fd: int, base: Path) -> None:
    with ExitStack() as open_maps:
        old = _mapped(base, open_maps)
        while True:
            offset, length, at = _RUN.unpack(body.read(_RUN.size))
            if length == 0:
                return
            for start in range(0, length, CHUNK_BYTES):
                size = min(CHUNK_BYTES, length - start)
                data = body.read(size) if at == _NEW else old[at + start : at + start + size]
                os.pwrite(fd, data, offset + start)
