"""An image's top layers read where the overlay2 driver keeps them, instead of asking the engine for the whole image.

`docker save` writes every layer of an image out, seconds of work for the few kilobytes that an app changed. Where the
engine's driver is overlay2 those lie in plain folders; what is found is checked as far as it can be (the configuration
by its digest), and whatever looks unfamiliar makes the caller fall back on `docker save`.
Source: Linux Documentation/filesystems/overlayfs.rst (whiteouts, opaque directories); OCI image specification v1.1,
layer.md (the same in a tar archive).
"""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

_OVERLAY = "trusted.overlay."
_OPAQUE = _OVERLAY + "opaque"
_HARMLESS = {_OPAQUE, _OVERLAY + "origin", _OVERLAY + "impure"}


class Unfamiliar(Exception):
    """The layers are not kept in a way that is understood here."""


def top_layers(info: Mapping[str, Any], image: Mapping[str, Any], count: int, folder: Path) -> tuple[bytes, list[Path]]:
    """The image's configuration, and its `count` top layers as tar files in `folder`, lowest first.

    `info` and `image` are the engine's answers to `GET /info` and `GET /images/{name}/json`. Raises Unfamiliar.
    """
    data = image["GraphDriver"].get("Data") or {}
    if info["Driver"] != "overlay2" or "UpperDir" not in data:
        raise Unfamiliar(info["Driver"])
    algorithm, _, digest = image["Id"].partition(":")
    try:
        config = Path(info["DockerRootDir"], "image", "overlay2", "imagedb", "content", algorithm, digest).read_bytes()
        if algorithm != "sha256" or hashlib.sha256(config).hexdigest() != digest:
            raise Unfamiliar("configuration")
        below = data.get("LowerDir", "")
        folders = [data["UpperDir"], *(below.split(":") if below else [])]
        if len(folders) != len(image["RootFS"]["Layers"]):
            raise Unfamiliar("layers")
        made = []
        for number, layer in enumerate(reversed(folders[:count])):
            made.append(folder / f"layer-{number}")
            write_layer(Path(layer), made[-1])
    except FileNotFoundError as error:
        raise Unfamiliar(str(error)) from error
    return config, made


def write_layer(root: Path, out: Path) -> bool:
    """One layer as a tar archive, its paths in order; whether there is anything in it.

    What a running container removes meanwhile is left out. Raises Unfamiliar; OSError, also if a file gets shorter.
    """
    inodes: dict[int, str] = {}
    with tarfile.open(out, "w", format=tarfile.PAX_FORMAT) as archive:
        for path in _walk(root, ""):
            with suppress(FileNotFoundError):
                _add(archive, root, path, inodes)
        return archive.offset > 0


def _add(archive: tarfile.TarFile, root: Path, path: str, inodes: dict[int, str]) -> None:
    full = root / path
    stats = os.lstat(full)
    names = os.listxattr(full, follow_symlinks=False)
    if any(name.startswith(_OVERLAY) and name not in _HARMLESS for name in names):
        raise Unfamiliar(str(names))
    parent, _, name = path.rpartition("/")
    if stat.S_ISCHR(stats.st_mode) and stats.st_rdev == 0:
        archive.addfile(_marker(_join(parent, ".wh." + name), stats))
        return
    member = archive.gettarinfo(str(full), path)
    if member is None:
        return  # a socket
    first = inodes.get(stats.st_ino, path)
    if stat.S_ISREG(stats.st_mode) and first != path:
        member.type, member.linkname, member.size = tarfile.LNKTYPE, first, 0
    elif stat.S_ISREG(stats.st_mode):
        member.type, member.linkname, member.size = tarfile.REGTYPE, "", stats.st_size
    seconds, nanoseconds = divmod(stats.st_mtime_ns, 1_000_000_000)
    member.mtime = seconds
    member.pax_headers = {"mtime": f"{seconds}.{nanoseconds:09}", **_attributes(full, names)}
    member.uname = member.gname = ""  # names are the image's affair, not this host's
    if member.isreg():
        with full.open("rb") as file:
            archive.addfile(member, file)
    else:
        archive.addfile(member)
    inodes[stats.st_ino] = first
    if _OPAQUE in names and os.getxattr(full, _OPAQUE, follow_symlinks=False) == b"y":
        archive.addfile(_marker(_join(path, ".wh..wh..opq"), stats))


def _walk(root: Path, folder: str) -> Sequence[str]:
    found = []
    for entry in sorted(os.scandir(root / folder), key=lambda entry: entry.name):
        path = _join(folder, entry.name)
        found.append(path)
        if entry.is_dir(follow_symlinks=False):
            with suppress(FileNotFoundError):
                found.extend(_walk(root, path))
    return found


def _attributes(path: Path, names: Sequence[str]) -> dict[str, str]:
    return {
        f"SCHILY.xattr.{name}": os.getxattr(path, name, follow_symlinks=False).decode("utf-8", "surrogateescape")
        for name in names
        if name not in _HARMLESS and name != "security.selinux"
    }


def _marker(path: str, stats: os.stat_result) -> tarfile.TarInfo:
    made = tarfile.TarInfo(path)
    made.mode, made.mtime = 0o600, int(stats.st_mtime)
    return made


def _join(parent: str, name: str) -> str:
    return f"{parent}/{name}" if parent else name
