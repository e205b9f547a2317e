"""A container's whole filesystem moved as an image without configuration, as by `docker export` and `docker import`.

That image is kept as a base: a container that was made from it moves on as the base, where the target lacks it, and one
layer with what was written since. The first time it is one stream into the target's engine: nothing is written to disk
on the way, and nothing is compressed, since on a fast link the import takes longer than the wire. Where the source's
engine keeps the filesystem mounted in plain sight (overlay2), `tar` reads it there: each `docker export` would leave a
reference to the container's image behind, whose layer the engine then never removes (seen with 26.1). Elsewhere the
engine is asked.

An engine takes an archive without its end marker for a whole one, if only the request ends well. So the target holds
the archive's last bytes back until its digest was right, and else cuts the request; and the source looks for the
marker, because an engine ends an export well that went wrong.
Source: Docker Engine API v1.41, `GET /containers/{id}/export`, `POST /images/create?fromSrc=-`; POSIX, pax.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from pillion.hosts.helper import images
from pillion.hosts.helper.engine import DockerEngine, refusal
from pillion.hosts.helper.images import New, make_way, take_in, with_tag
from pillion.hosts.helper.overlay import Unfamiliar
from pillion.hosts.helper.wire import CHUNK_BYTES, Body, Connection, Header, Refused

_END_MARKER = bytes(1024)
_TAR = [
    *("tar", "--create", "--format=posix", "--pax-option=delete=atime,delete=ctime,delete=mtime", "--numeric-owner"),
    *("--one-file-system", "--xattrs", "--xattrs-include=security.capability", "--warning=no-file-changed"),
]
"""Times in whole seconds and capabilities alone, as the engine writes them: more would double the headers."""
_DIFFERS = 1
_LABELS_OF_A_BASE = ("pillion.lab", "pillion.app")
"""It outlives the migration that made it."""


def send(
    connection: Connection, engine: DockerEngine, container: Mapping[str, Any], base: str, new: New, temp: Path
) -> dict[str, float]:
    """Bring the container's filesystem to the target as `new`; seconds by part, of which `load` is always one.

    `container`: the engine's answer to `GET /containers/{id}/json`. Raises Refused, Cut.
    """
    driver = container.get("GraphDriver") or {}
    folders = driver.get("Data") or {} if driver.get("Name") == "overlay2" else {}
    if "UpperDir" in folders and _is_of(engine, container["Image"], base):
        with suppress(Unfamiliar):
            return images.send(connection, engine, container["Image"], base, temp, new, Path(folders["UpperDir"]))
    labels = {key: new.labels[key] for key in _LABELS_OF_A_BASE if key in new.labels}
    header = {"do": "filesystem", "base": base, "image": new.name, "labels": labels}
    return {"load": connection.ask(header, _exported(engine, container["Name"].lstrip("/"), folders))["load"]}


def _is_of(engine: DockerEngine, image: str, base: str) -> bool:
    """Whether an image was made from the base and has no configuration either, as one that was committed has."""
    made, kept = engine.image(image), engine.image(base)
    if made is None or kept is None:
        return False
    first = kept["RootFS"]["Layers"]
    configured = any(value for key, value in made["Config"].items() if key != "Labels")
    return made["RootFS"]["Layers"][: len(first)] == first and not configured


def _exported(engine: DockerEngine, container: str, folders: Mapping[str, str]) -> Iterator[bytes]:
    merged = folders.get("MergedDir", "")
    if os.path.ismount(merged):
        yield from archived(Path(merged), container)
    else:
        yield from _by_engine(engine, container)


def archived(folder: Path, container: str) -> Iterator[bytes]:
    """A container's filesystem as a tar archive. Raises Refused if it could not be read, or a file got shorter."""
    with tempfile.TemporaryFile() as words:
        command = [*_TAR, "--directory", str(folder), "."]
        try:
            tar = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=words, env={**os.environ, "LC_ALL": "C"})
        except FileNotFoundError as error:
            raise Refused("there is no tar", "install it there: apt install tar") from error
        assert tar.stdout is not None
        with tar.stdout as output:
            try:
                while data := output.read(CHUNK_BYTES):
                    yield data
            except GeneratorExit:  # the transfer was cut
                tar.kill()
                raise
            finally:
                code = tar.wait()
        words.seek(0)
        said = words.read().decode(errors="replace")
    # What was removed or written to meanwhile is as it is; what got shorter was filled up with zeros.
    if code == _DIFFERS and "shrank" in said:
        raise Refused(f"the filesystem of {container} changed while it was read", "try again")
    if code not in (0, _DIFFERS):
        raise Refused(f"the filesystem of {container}: tar: {said.strip() or code}")


def _by_engine(engine: DockerEngine, container: str) -> Iterator[bytes]:
    with engine.request("GET", f"/containers/{quote(container)}/export") as response:
        if response.status != 200:
            raise refusal(response.status, response.read())
        end = b""
        while data := response.read(CHUNK_BYTES):
            end = (end + data[-len(_END_MARKER) :])[-len(_END_MARKER) :]
            yield data
    if end != _END_MARKER:  # seen when a file gets shorter while it is read
        raise Refused(f"the export of {container} ended early: its files changed meanwhile", "try again")


def receive(header: Header, body: Body, engine: DockerEngine, lab: str) -> Header:
    """Import an archive as it arrives; `load`: seconds from its first byte. Raises Refused, Cut; never half of it."""
    started = time.monotonic()
    for name in (header["image"], header["base"]):
        make_way(engine, name, lab)
    repository, _, tag = with_tag(header["base"]).rpartition(":")
    changes = [("changes", f"LABEL {_quoted(key)}={_quoted(value)}") for key, value in header["labels"].items()]
    query = urlencode([("fromSrc", "-"), ("repo", repository), ("tag", tag), *changes])
    take_in(engine, f"/images/create?{query}", body)
    engine.tag(with_tag(header["base"]), with_tag(header["image"]))
    return {"load": time.monotonic() - started}


def _quoted(line: str) -> str:
    """A line as an instruction takes it literally. Source: Dockerfile reference, LABEL, environment replacement."""
    return '"' + re.sub(r'["\\$]', r"\\\g<0>", line) + '"'
