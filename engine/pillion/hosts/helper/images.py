"""An app's image moved as the original's layers and one more, sending only layers that the target lacks.

An image that was not made from the original (it was flattened by M1 once) keeps its own first layer instead.

What lies above the original is merged into one layer, and an archive with the layers that the target lacks is streamed
into the target's engine. It is made from the engine's own archive (`docker save`), or, if the target has the original,
from the few top layers alone (`overlay.py`). An engine with a graph driver does not open the layers that it has, so
they can be left out of the archive; one with containerd's image store wants all of them. The target holds the
archive's last bytes back until its digest was right: a cut or damaged archive has no end, and the engine refuses it.
Source: Docker image specification v1.2 (the archive's manifest.json); Docker Engine API v1.41, `GET /images/get`,
`POST /images/load`.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import posixpath
import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pillion.hosts.helper.engine import (
    DockerEngine,
    check_progress,
    has_containerd_store,
    images_path,
    is_labs,
    refusal,
)
from pillion.hosts.helper.layers import merge
from pillion.hosts.helper.overlay import Unfamiliar, top_layers, write_layer
from pillion.hosts.helper.wire import CHUNK_BYTES, Body, Connection, Header, Refused, refused_by_system

_HELD_BACK_BYTES = 2 * tarfile.RECORDSIZE
"""More than a tar's end marker with its padding."""


class New:
    """An image's name on the target, and labels that it gets on the way."""

    def __init__(self, name: str, labels: Mapping[str, str]) -> None:
        self.name = name
        self.labels = labels


def send(
    connection: Connection,
    engine: DockerEngine,
    image: str,
    original: str,
    temp: Path,
    new: New | None = None,
    written: Path | None = None,
) -> dict[str, float]:
    """Bring `image` (a name, or an id and `new`) and `original` to the target; seconds by part (`save`, `merge`, …).

    `written`: the folder of a container of the image, with what it has on top of it, which comes along; then raises
    Unfamiliar as well, with nothing sent. Raises Refused, Cut.
    """
    image, original = with_tag(image), with_tag(original)
    new = new or New(image, {})
    facts = {name: engine.image(name) for name in (image, original)}
    for name, found in facts.items():
        if found is None:
            raise Refused(f"there is no image {name}")
    base = facts[original]["RootFS"]["Layers"]
    layers = facts[image]["RootFS"]["Layers"]
    if layers[: len(base)] != base:  # a flattened one, or made from such: it has a first layer of its own
        base = layers[:1]
    has = connection.ask({"do": "has", "original": original, "layers": base})
    names = [image] if has["original"] == facts[original]["Id"] else [image, original]
    known = set(base[: has["layers"]])
    folder = Path(tempfile.mkdtemp(dir=temp))
    try:
        started = time.monotonic()
        source = _read(engine, facts[image], names, known, len(base), folder)
        if written is not None:
            source.add_layer(image, written)
        saved_at = time.monotonic()
        archive = _Archive(source, image, new, len(base), known)
        for name in names[1:]:
            archive.add_as_saved(name)
        merged_at = time.monotonic()
        expected = {new.name: archive.image_id}
        if names[1:]:
            expected[original] = facts[original]["Id"]
        ours = [name for name in expected if name == new.name or written is not None]
        answer = connection.ask({"do": "image", "ours": ours, "expected": expected}, archive.stream())
        sent_at = time.monotonic()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    # The load begins with the first byte, so that sending and loading overlap.
    parts = {"save": saved_at - started, "merge": merged_at - saved_at, "send": sent_at - merged_at}
    return {**parts, "load": answer["load"]}


def _read(
    engine: DockerEngine, image: Mapping[str, Any], names: list[str], known: set[str], base: int, folder: Path
) -> _Source:
    """What has to be read of these images: only the first one's top layers, where that is enough and can be done."""
    info = engine.info()
    layers = image["RootFS"]["Layers"]
    if len(names) == 1 and known.issuperset(layers[:base]):
        try:
            config, above = top_layers(info, image, len(layers) - base, folder)
        except Unfamiliar:
            pass
        else:
            return _Source.of_top_layers(names[0], config, above, layers[:base], folder)
    skipped = set() if has_containerd_store(info) else {_blob(layer) for layer in known}
    return _Source.saved(engine, names, skipped, folder)


class _Source:
    """Images taken apart into files of a folder: for each image its configuration and layers, by their names here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entries: dict[str, dict[str, Any]] = {}
        self._files: dict[str, Path] = {}

    @classmethod
    def of_top_layers(cls, name: str, config: bytes, above: list[Path], base: list[str], folder: Path) -> _Source:
        made = cls(folder)
        made._files = {str(path): path for path in above}
        made._files["config"] = folder / "original-config"
        made._files["config"].write_bytes(config)
        made.entries[name] = {"Config": "config", "Layers": [*base, *(str(path) for path in above)]}
        return made

    @classmethod
    def saved(cls, engine: DockerEngine, names: list[str], skipped: set[str], folder: Path) -> _Source:
        """The engine's archive (`docker save`), unpacked without the blobs that are not needed."""
        made = cls(folder)
        with engine.request("GET", images_path(names)) as response:
            if response.status != 200:
                raise refusal(response.status, response.read())
            with tarfile.open(fileobj=response, mode="r|", bufsize=CHUNK_BYTES) as archive:
                made._unpack(archive, skipped)
        for entry in json.loads(made.file("manifest.json").read_bytes()):
            made.entries.update(dict.fromkeys(entry["RepoTags"] or [], entry))
            made.entries["sha256:" + _digest(made.file(entry["Config"]))] = entry  # one that was asked for by its id
        return made

    def add_layer(self, name: str, written: Path) -> None:
        """Put one more layer on top of an image: an overlay's upper folder. Raises Refused, Unfamiliar."""
        path = self._files["written"] = self.folder / "written"
        try:
            found = write_layer(written, path)
        except OSError as error:
            raise refused_by_system("what the container has written cannot be read", error) from error
        if found:
            entry = self.entries[name]
            self.entries[name] = {**entry, "Layers": [*entry["Layers"], "written"]}

    def _unpack(self, archive: tarfile.TarFile, skipped: set[str]) -> None:
        links: dict[str, str] = {}
        for member in archive:
            if member.issym():  # engines before 25 save a layer that two images share once
                links[member.name] = posixpath.normpath(posixpath.join(member.name, "..", member.linkname))
            elif member.isreg() and member.name not in skipped:
                path = self._files[member.name] = self.folder / str(len(self._files))
                with closing(_content(archive, member)) as source, path.open("wb") as file:
                    shutil.copyfileobj(source, file, CHUNK_BYTES)
        self._files.update({name: self._files[target] for name, target in links.items() if target in self._files})

    def file(self, name: str) -> Path:
        if name not in self._files:
            raise Refused(f"the engine's archive lacks {name}", "an image was removed meanwhile: try again")
        return self._files[name]


class _Archive:
    """What goes to the target: one image rewritten to at most one layer above its original, others as they are."""

    def __init__(self, saved: _Source, image: str, new: New, base_layers: int, known: set[str]) -> None:
        self._saved = saved
        self._known = known
        self._files: dict[str, Path] = {}
        self._manifest: list[dict[str, Any]] = []
        entry = saved.entries[image]
        config = json.loads(saved.file(entry["Config"]).read_bytes())
        diff_ids = config["rootfs"]["diff_ids"]
        above = [saved.file(name) for name in entry["Layers"][base_layers:]]
        layers = diff_ids[:base_layers]
        if above:
            top = above[0]
            if len(above) > 1:
                top = saved.folder / "merged"
                with top.open("wb") as file:
                    merge(above, file)
            layers = [*layers, "sha256:" + _diff_id(top)]
            self._files[_blob(layers[-1])] = top
        for diff_id, name in zip(diff_ids[:base_layers], entry["Layers"][:base_layers]):  # noqa: B905 (Python 3.9)
            if diff_id not in known:
                self._files[_blob(diff_id)] = saved.file(name)
        config["rootfs"]["diff_ids"] = layers
        config["history"] = _history(config.get("history") or [], base_layers, len(layers) > base_layers)
        for stale in ("parent", "container", "container_config"):
            config.pop(stale, None)
        if new.labels:
            config["config"]["Labels"] = {**(config["config"].get("Labels") or {}), **new.labels}
        path = saved.folder / "config"
        path.write_text(json.dumps(config, sort_keys=True))
        self.image_id = "sha256:" + _digest(path)
        self._add(new.name, path, layers)

    def add_as_saved(self, name: str) -> None:
        entry = self._saved.entries[name]
        path = self._saved.file(entry["Config"])
        layers = json.loads(path.read_bytes())["rootfs"]["diff_ids"]
        self._add(name, path, layers)

    def _add(self, name: str, config: Path, layers: list[str]) -> None:
        config_name = _blob("sha256:" + _digest(config))
        self._files[config_name] = config
        self._manifest.append({"Config": config_name, "RepoTags": [name], "Layers": [_blob(layer) for layer in layers]})

    def stream(self) -> Iterator[bytes]:
        """The tar archive, piece by piece, its manifest last."""
        for name, path in self._files.items():
            size = path.stat().st_size
            yield _tar_header(name, size)
            with path.open("rb") as file:
                while data := file.read(CHUNK_BYTES):
                    yield data
            yield _padding(size)
        manifest = json.dumps(self._manifest).encode()
        yield _tar_header("manifest.json", len(manifest)) + manifest + _padding(len(manifest))
        yield bytes(2 * tarfile.BLOCKSIZE)


def has(engine: DockerEngine, header: Header) -> Header:
    """What of an original image this engine has: its id under that name, and how many of its layers from below."""
    wanted = header["layers"]
    found = engine.image(header["original"])
    count = 0
    if not has_containerd_store(engine.info()):
        for entry in engine.get("/images/json?all=1"):
            image = engine.image(entry["Id"]) or {}
            layers = image.get("RootFS", {}).get("Layers") or []
            same = 0
            while same < min(len(layers), len(wanted)) and layers[same] == wanted[same]:
                same += 1
            count = max(count, same)
    return {"original": found["Id"] if found else None, "layers": count}


def receive(header: Header, body: Body, engine: DockerEngine, lab: str) -> Header:
    """Load an archive as it arrives; `load`: seconds from its first byte. Raises Refused, Cut."""
    started = time.monotonic()
    for name in header["ours"]:
        make_way(engine, name, lab, header["expected"][name])
    take_in(engine, "/images/load?quiet=1", body)
    own_ids = has_containerd_store(engine.info())  # there an image's id is its manifest's digest, not its config's
    for name, image_id in header["expected"].items():
        found = engine.image(name)
        if found is None or (found["Id"] != image_id and not own_ids):
            raise Refused(f"the Docker Engine took image {name} in, but does not have it")
    return {"load": time.monotonic() - started}


def make_way(engine: DockerEngine, name: str, lab: str, for_id: str = "") -> None:
    """Remove what an earlier call made under this name, unless it is that id: it would stay there without a name.

    Raises Refused.
    """
    name = with_tag(name)
    found = engine.image(name)
    if found is None or found["Id"] == for_id:
        return
    if not is_labs(found["Config"].get("Labels"), lab):
        raise Refused(f"image {name} is not this lab's", "rename or remove it")
    with engine.request("DELETE", f"/images/{quote(name, safe='/:@')}") as response:
        response.read()  # one in use stays until its container goes


def take_in(engine: DockerEngine, path: str, body: Body) -> None:
    """Hand an archive to the engine as it arrives, its end only once the digest was right. Raises Refused, Cut."""
    with engine.request("POST", path, _held_back(body.chunks())) as response:
        if response.status != 200:
            raise refusal(response.status, response.read())
        check_progress(response)
    body.finish()


def _held_back(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes, the last of them only when all have come: after `Body.chunks` has found the digest right."""
    tail = b""
    for data in chunks:
        tail += data
        if len(tail) > _HELD_BACK_BYTES:
            yield tail[:-_HELD_BACK_BYTES]
            tail = tail[-_HELD_BACK_BYTES:]
    yield tail


def with_tag(name: str) -> str:
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def _history(history: list[dict[str, Any]], base_layers: int, merged: bool) -> list[dict[str, Any]]:
    """The original's share of the history, and one entry for what was merged."""
    kept: list[dict[str, Any]] = []
    layers = 0
    for entry in history:
        layers += not entry.get("empty_layer", False)
        if layers > base_layers:
            return [*kept, {"created": entry.get("created"), "created_by": "pillion", "comment": "layers merged"}]
        kept.append(entry)
    return [*kept, {"created_by": "pillion", "comment": "layers merged"}] if merged else kept


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Any:
    content = archive.extractfile(member)
    assert content is not None, "a regular file has content"
    return content


def _blob(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/", 1)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(CHUNK_BYTES):
            digest.update(data)
    return digest.hexdigest()


def _diff_id(layer: Path) -> str:
    """Hexadecimal digest of the layer's uncompressed archive, which is what names it."""
    with layer.open("rb") as file:
        if file.read(2) != b"\x1f\x8b":
            return _digest(layer)
    digest = hashlib.sha256()
    with gzip.open(layer) as unpacked:
        while data := unpacked.read(CHUNK_BYTES):
            digest.update(data)
    return digest.hexdigest()


def _tar_header(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    return member.tobuf(tarfile.PAX_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)
