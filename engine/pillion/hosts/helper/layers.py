"""Many image layers made one, so that an app that moves often does not pile layers up (engines stop at about 125).

Each migration's commit adds a layer. What is above the app's original image is merged here into one tar with the same
meaning: the last word on each path stays, deletions of what is below stay deletions.
Source: OCI image specification v1.1, layer.md (whiteouts `.wh.<name>`, opaque directories `.wh..wh..opq`, hard links).
"""

from __future__ import annotations

import copy
import tarfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


class _Layer:
    """One layer's members by path, its deletions, and its directories that hide what is below."""

    def __init__(self, archive: tarfile.TarFile) -> None:
        self.archive = archive
        self.members: dict[str, tarfile.TarInfo] = {}
        self.deleted: dict[str, tarfile.TarInfo] = {}
        self.opaque: dict[str, tarfile.TarInfo] = {}
        for member in archive:
            path = _normal(member.name)
            parent, _, name = path.rpartition("/")
            if name == _OPAQUE:
                self.opaque[parent] = member
            elif name.startswith(_WHITEOUT + _WHITEOUT):
                continue  # AUFS's own bookkeeping: means nothing elsewhere
            elif name.startswith(_WHITEOUT):
                self.deleted[_join(parent, name[len(_WHITEOUT) :])] = member
            elif path:
                self.members[path] = member

    def content_of(self, path: str) -> tarfile.TarInfo:
        """The member that carries the bytes of `path`, found through its hard links."""
        member = self.members[path]
        while member.islnk() and _normal(member.linkname) in self.members:
            member = self.members[_normal(member.linkname)]
        return member


class _Merged:
    """What is known of each path while going down from the top layer."""

    def __init__(self) -> None:
        self.entries: dict[str, tuple[_Layer, tarfile.TarInfo]] = {}
        self.whiteouts: dict[str, tarfile.TarInfo] = {}
        self.opaque: dict[str, tarfile.TarInfo] = {}

    def hides(self, path: str) -> bool:
        """Whether a layer above replaces `path` or anything that it lies in."""
        return path in self.entries or path in self.whiteouts or self._is_inside_something_new(path)

    def put_below(self, layer: _Layer) -> None:
        """Add what of the next lower layer can still be seen."""
        visible = [path for path in layer.members if not self.hides(path)]
        deleted = [path for path in layer.deleted if not self._is_inside_something_new(path)]
        opaque = [path for path in layer.opaque if not self._is_inside_something_new(path)]
        for path, member in layer.members.items():
            if not member.isdir() and path in self.entries and self.entries[path][1].isdir():
                # A directory replaced by this, then made anew above: the same as deleted and made anew.
                self.opaque.setdefault(path, member)
        for path in visible:
            self.entries[path] = (layer, layer.members[path])
        for path in deleted:
            entry = self.entries.get(path)
            if entry is None:
                self.whiteouts.setdefault(path, layer.deleted[path])
            elif entry[1].isdir():
                # Deleted, then made anew above: what the old directory held must stay hidden.
                self.opaque.setdefault(path, layer.deleted[path])
        for path in opaque:
            entry = self.entries.get(path)
            if path not in self.whiteouts and (entry is None or entry[1].isdir()):
                self.opaque.setdefault(path, layer.opaque[path])

    def _is_inside_something_new(self, path: str) -> bool:
        while "/" in path:
            path = path.rpartition("/")[0]
            if path in self.opaque or path in self.whiteouts:
                return True
            if path in self.entries and not self.entries[path][1].isdir():
                return True
        return "" in self.opaque


def merge(layers: Sequence[Path], out: IO[bytes]) -> None:
    """Write to `out` one uncompressed layer that means the same as `layers` (files, lowest first) on top of each other.

    Content, owners, modes, times and extended attributes stay as they are. The same input gives the same bytes.
    """
    with ExitStack() as opened:
        merged = _Merged()
        for path in reversed(layers):
            merged.put_below(_Layer(opened.enter_context(tarfile.open(path))))
        _write(merged, out)


def _write(merged: _Merged, out: IO[bytes]) -> None:
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, member in sorted(merged.opaque.items()):
            archive.addfile(_marker(_join(path, _OPAQUE), member))
        for path, member in sorted(merged.whiteouts.items()):
            parent, _, name = path.rpartition("/")
            archive.addfile(_marker(_join(parent, _WHITEOUT + name), member))
        written: dict[tuple[int, str], str] = {}
        for path, (layer, member) in sorted(merged.entries.items()):
            content = layer.content_of(path)
            inode = (id(layer), content.name)
            first = written.setdefault(inode, path)
            if content.isreg() and first != path:
                archive.addfile(_renamed(member, path, tarfile.LNKTYPE, first))
            elif content.isreg():
                # A hard link whose first name was replaced above takes the bytes over.
                archive.addfile(_renamed(content, path, content.type, ""), layer.archive.extractfile(content))
            else:
                archive.addfile(_renamed(content, path, content.type, content.linkname))


def _renamed(member: tarfile.TarInfo, path: str, kind: bytes, linkname: str) -> tarfile.TarInfo:
    made = copy.copy(member)
    made.name, made.type, made.linkname = path, kind, linkname
    made.size = member.size if kind not in (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE) else 0
    # tarfile lets the old pax header win over the fields set above.
    made.pax_headers = {k: v for k, v in member.pax_headers.items() if k not in ("path", "linkpath", "size")}
    return made


def _marker(path: str, like: tarfile.TarInfo) -> tarfile.TarInfo:
    made = tarfile.TarInfo(path)
    made.mode, made.mtime = 0o600, int(like.mtime)
    return made


def _normal(name: str) -> str:
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _join(parent: str, name: str) -> str:
    return f"{parent}/{name}" if parent else name
