"""A container's whole filesystem moved as an image of one layer and no configuration, as by `docker export`, `import`.

One stream from the source into the target's engine: nothing is written to disk on the way, and nothing is compressed,
since on a fast link the import takes longer than the wire. Where the source's engine keeps the filesystem mounted in
plain sight (overlay2), `tar` reads it there: each `docker export` would leave a reference to the container's image
behind, whose layer the engine then never removes (seen with 26.1). Elsewhere the engine is asked.

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
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlencode

from pillion.hosts.helper.engine import DockerEngine, is_labs, refusal
from pillion.hosts.helper.images import take_in, with_tag
from pillion.hosts.helper.wire import CHUNK_BYTES, Body, Connection, Header, Refused

_END_MARKER = bytes(1024)
_TAR = [
    *("tar", "--create", "--format=posix", "--pax-option=delete=atime,delete=ctime,delete=mtime", "--numeric-owner"),
    *("--one-file-system", "--xattrs", "--xattrs-include=security.capability", "--warning=no-file-changed"),
]
"""Times in whole seconds and capabilities alone, as the engine writes them: more would double the headers."""
_DIFFERS = 1


def send(
    connection: Connection, engine: DockerEngine, container: str, image: str, labels: dict[str, str]
) -> dict[str, float]:
    """Bring the container's filesystem to the target as `image` with these labels; `load`: seconds of the import.

    Raises Refused, Cut.
    """
    header = {"do": "filesystem", "image": image, "labels": labels}
    return {"load": connection.ask(header, _exported(engine, container))["load"]}


def _exported(engine: DockerEngine, container: str) -> Iterator[bytes]:
    found = engine.get(f"/containers/{quote(container)}/json")
    if found is None:
        raise Refused(f"there is no container {container}")
    driver = found.get("GraphDriver") or {}
    merged = (driver.get("Data") or {}).get("MergedDir", "")
    if driver.get("Name") == "overlay2" and os.path.ismount(merged):
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


def receive(header: Header, body: Body, engine: DockerEngine) -> Header:
    """Import an archive as it arrives; `load`: seconds from its first byte. Raises Refused, Cut; never half of it."""
    started = time.monotonic()
    name = with_tag(header["image"])
    _make_way(engine, name, header["labels"]["pillion.lab"])
    repository, _, tag = name.rpartition(":")
    changes = [("changes", f"LABEL {_quoted(key)}={_quoted(value)}") for key, value in header["labels"].items()]
    query = urlencode([("fromSrc", "-"), ("repo", repository), ("tag", tag), *changes])
    take_in(engine, f"/images/create?{query}", body)
    if engine.image(name) is None:
        raise Refused(f"the Docker Engine took image {name} in, but does not have it")
    return {"load": time.monotonic() - started}


def _quoted(line: str) -> str:
    """A line as an instruction takes it literally. Source: Dockerfile reference, LABEL, environment replacement."""
    return '"' + re.sub(r'["\\$]', r"\\\g<0>", line) + '"'


def _make_way(engine: DockerEngine, name: str, lab: str) -> None:
    """Remove what an earlier call made under this name: an import would leave it there without one. Raises Refused."""
    found = engine.image(name)
    if found is None:
        return
    if not is_labs(found["Config"].get("Labels"), lab):
        raise Refused(f"image {name} is not this lab's", "rename or remove it")
    with engine.request("DELETE", f"/images/{quote(name, safe='/:@')}") as response:
        response.read()  # one in use stays until its container goes
