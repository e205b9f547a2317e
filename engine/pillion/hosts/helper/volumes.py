"""File trees (volumes, containers' own layers) kept equal between two hosts, round by round.

Only the last bytes travel in the downtime.

The source remembers what each file looked like when it was last read, and sends what looks different. Times have a
grain, so a file written just before it was read may have been written again without looking different: such a file is
sent again (git calls it racily clean). The target writes into a folder beside the volume and touches the volume only
when the whole round has arrived with the right digest; at the end both sides compare a digest of their listings, and
where they differ the round is done once more with everything.

A round is a message whose body is records: length (4 bytes), JSON, and for a file its bytes. The last record has `end`.
Hard links become files of their own; sockets are left out, as in a tar archive.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pillion.hosts.helper.wire import CHUNK_BYTES, Body, Connection, Header, Refused, packed, refused_by_system

RACY_NS = 2_000_000_000
"""A file whose times lie this close before it was read is sent again; the coarsest grain in use is FAT's 2 s."""
_STAGING = ".pillion-"
_OF_THE_HOST = {
    "security.selinux",
    *(f"trusted.overlay.{name}" for name in ("impure", "nlink", "origin", "protattr", "upper", "uuid")),
}
_VANISHED = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}

Listing = dict[str, os.stat_result]
"""Path below the volume's root (the root itself is "") to what lstat says of it."""


class Memory:
    """What the target is known to have of one volume: each path's stat, and when reading began (ns, host's clock)."""

    def __init__(self, listing: Mapping[str, os.stat_result], read_since_ns: int, unsure: set[str]) -> None:
        self._signatures = {path: _signature(stats) for path, stats in listing.items() if path not in unsure}
        self._paths = set(listing)
        self._racy_from_ns = read_since_ns - RACY_NS

    def may_differ(self, path: str, stats: os.stat_result) -> bool:
        if self._signatures.get(path) != _signature(stats):
            return True
        return stat.S_ISREG(stats.st_mode) and max(stats.st_mtime_ns, stats.st_ctime_ns) >= self._racy_from_ns

    def gone(self, listing: Mapping[str, os.stat_result]) -> list[str]:
        return sorted(self._paths - set(listing))


def send(connection: Connection, root: Path, target: Header, memory: Memory | None) -> Memory:
    """Make the target's tree, which its helper finds by `target`, equal to the one at `root`; what to remember for the
    next round.

    Raises Refused, Cut.
    """
    for known in [memory, None] if memory else [None]:
        round_ = _Round(root, known)
        answer = connection.ask({**target, "whole": known is None}, round_.records())
        if answer["listing"] == digest_of(root, round_.listing):
            return Memory(round_.listing, round_.since_ns, round_.unsure)
    raise Refused(
        f"{' '.join(target.values())} changes on the target while it is sent", "stop what writes there", place="target"
    )


class _Round:
    """One pass over the volume on the source."""

    def __init__(self, root: Path, memory: Memory | None) -> None:
        self._root = root
        self._memory = memory
        self.since_ns = time.time_ns()
        self.listing = scan(root)
        self.unsure: set[str] = set()

    def records(self) -> Iterator[bytes]:
        root_fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for path in sorted(self.listing):
                if self._memory is None or self._memory.may_differ(path, self.listing[path]):
                    yield from self._record(root_fd, path)
        finally:
            os.close(root_fd)
        gone = self._memory.gone(self.listing) if self._memory else []
        yield packed({"end": True, "gone": gone})

    def _record(self, root_fd: int, path: str) -> Iterator[bytes]:
        stats = self.listing[path]
        try:
            if stat.S_ISLNK(stats.st_mode):
                yield packed({**_described(path, stats), "target": os.readlink(self._root / path)})
            elif not (stat.S_ISREG(stats.st_mode) or stat.S_ISDIR(stats.st_mode)):
                yield packed({**_described(path, stats), "device": stats.st_rdev})
            else:
                fd = _open_beneath(root_fd, path)
                try:
                    yield from self._contents(fd, path, stat.S_IFMT(stats.st_mode))
                finally:
                    os.close(fd)
        except OSError as error:
            if error.errno not in _VANISHED or not path:
                raise
            # Removed or replaced since the listing was made: to this round it is gone, the next one sees what it is.
            del self.listing[path]

    def _contents(self, fd: int, path: str, kind: int) -> Iterator[bytes]:
        # What was opened may be newer than what was listed: it is described as it is now.
        stats = os.fstat(fd)
        if stat.S_IFMT(stats.st_mode) != kind:
            raise FileNotFoundError(path)
        self.listing[path] = stats
        attributes = {name: base64.b64encode(os.getxattr(fd, name)).decode() for name in _attributes(fd)}
        yield packed({**_described(path, stats), "attributes": attributes})
        if kind == stat.S_IFDIR:
            return
        left = stats.st_size
        while left:
            data = os.read(fd, min(left, CHUNK_BYTES))
            if not data:
                break
            left -= len(data)
            yield data
        if left or _signature(os.fstat(fd)) != _signature(stats):
            self.unsure.add(path)
        while left:  # it shrank: the record keeps the length it announced, the next round sends the file again
            data = bytes(min(left, CHUNK_BYTES))
            left -= len(data)
            yield data


def receive(header: Header, body: Body, root: Path) -> Header:
    """Apply one round to the volume at `root`, once all of it has arrived. Raises Refused, Cut.

    If it does not arrive whole, or does not fit, nothing has changed.
    """
    own = f"{_STAGING}{os.getpid()}-"
    for leftover in root.parent.glob(_STAGING + "*"):
        if not leftover.name.startswith(own):  # a helper's that was killed, or of an engine that was replaced
            shutil.rmtree(leftover, ignore_errors=True)
    staging = Path(tempfile.mkdtemp(prefix=own, dir=root.parent))
    try:
        records: list[dict[str, Any]] = []
        while True:
            record = body.record()
            if record.get("end"):
                break
            if record["path"].startswith("/") or ".." in record["path"].split("/"):
                raise Refused(f"path {record['path']!r} lies outside of the volume")
            if not stat.S_ISDIR(record["mode"]):
                _stage(record, body, staging / str(len(records)))
            records.append(record)
        body.finish()
        gone = set(record["gone"])
        if header["whole"]:
            gone = set(scan(root)) - {record["path"] for record in records}
        try:
            _apply(root, staging, records, gone)
        except (FileNotFoundError, NotADirectoryError):
            return {"listing": "not what the source remembers"}
    except OSError as error:
        raise refused_by_system("the volume cannot be written", error) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return {"listing": digest_of(root, scan(root))}


def _stage(record: dict[str, Any], body: Body, path: Path) -> None:
    mode = record["mode"]
    if stat.S_ISLNK(mode):
        os.symlink(record["target"], path)
    elif stat.S_ISREG(mode):
        with path.open("wb") as file:
            body.copy(file, record["size"])
    else:
        os.mknod(path, mode, record["device"])
    _dress(path, record)


def _apply(root: Path, staging: Path, records: list[dict[str, Any]], gone: set[str]) -> None:
    described = {record["path"] for record in records}
    touched = {path.rpartition("/")[0] for path in described | gone if path} - described - gone
    times = {folder: os.lstat(root / folder).st_mtime_ns for folder in touched}
    for path in sorted(gone, reverse=True):
        _remove(root / path)
    for number, record in enumerate(records):  # sorted by path: a directory comes before what lies in it
        path = root / record["path"]
        if stat.S_ISDIR(record["mode"]):
            if path.is_symlink() or not path.is_dir():
                _remove(path)
                path.mkdir(mode=0o700)
        else:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            # Not synced to disk: a target host that loses power has not been proven, and the source still has it all.
            os.rename(staging / str(number), path)
    for record in reversed(records):
        if stat.S_ISDIR(record["mode"]):
            _dress(root / record["path"], record)
    for folder, mtime_ns in times.items():  # a rename changes them here; at the source the file was written in place
        os.utime(root / folder, ns=(mtime_ns, mtime_ns), follow_symlinks=False)


def _dress(path: Path, record: dict[str, Any]) -> None:
    """Owner first: changing it clears set-user-id bits and file capabilities."""
    os.chown(path, record["uid"], record["gid"], follow_symlinks=False)
    if not stat.S_ISLNK(record["mode"]):
        os.chmod(path, stat.S_IMODE(record["mode"]))
    wanted = record.get("attributes", {})
    for name in set(_attributes(path)) - set(wanted):
        os.removexattr(path, name, follow_symlinks=False)
    for name, value in wanted.items():
        os.setxattr(path, name, base64.b64decode(value), follow_symlinks=False)
    os.utime(path, ns=(record["mtime_ns"], record["mtime_ns"]), follow_symlinks=False)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def scan(root: Path) -> Listing:
    """Every path of the tree below `root`, and the root itself, sockets excepted."""
    listing: Listing = {"": os.lstat(root)}
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(root / folder) as entries:
                for entry in entries:
                    stats = entry.stat(follow_symlinks=False)
                    path = f"{folder}/{entry.name}" if folder else entry.name
                    if not stat.S_ISSOCK(stats.st_mode):
                        listing[path] = stats
                    if stat.S_ISDIR(stats.st_mode):
                        folders.append(path)
        except (FileNotFoundError, NotADirectoryError):
            continue  # removed while we looked: the source is still serving
    return listing


def digest_of(root: Path, listing: Mapping[str, os.stat_result]) -> str:
    """SHA-256, hexadecimal, over what must be equal on both hosts; contents are covered by the message's own digest."""
    digest = hashlib.sha256()
    for path in sorted(listing):
        stats = listing[path]
        size = 0 if stat.S_ISDIR(stats.st_mode) else stats.st_size
        line = (path, stats.st_mode, stats.st_uid, stats.st_gid, stats.st_mtime_ns, size)
        digest.update(repr(line).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _signature(stats: os.stat_result) -> tuple[int, ...]:
    size = 0 if stat.S_ISDIR(stats.st_mode) else stats.st_size
    return (size, stats.st_mtime_ns, stats.st_ctime_ns, stats.st_ino, stats.st_mode, stats.st_uid, stats.st_gid)


def _described(path: str, stats: os.stat_result) -> dict[str, Any]:
    return {
        "path": path,
        "mode": stats.st_mode,
        "uid": stats.st_uid,
        "gid": stats.st_gid,
        "mtime_ns": stats.st_mtime_ns,
        "size": stats.st_size,
    }


def _attributes(file: int | Path) -> list[str]:
    """Names of the extended attributes that move: SELinux labels belong to the host, and so does what overlayfs notes
    of the layers below, except that a directory hides theirs or was renamed. Source: Linux, overlayfs.rst."""
    try:
        names = os.listxattr(file) if isinstance(file, int) else os.listxattr(file, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return []
        raise
    return [name for name in names if name not in _OF_THE_HOST]


def _open_beneath(root_fd: int, path: str) -> int:
    """Open for reading without following any symbolic link: the app that writes the volume is not trusted with ours."""
    fd = os.dup(root_fd)
    for part in path.split("/") if path else []:
        try:
            inner = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=fd)
        finally:
            os.close(fd)
        fd = inner
    return fd
