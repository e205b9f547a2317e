"""A container's whole filesystem moved as an image of one layer and no configuration: `docker export`, `docker import`.

One stream from the source's engine into the target's: nothing is written to disk on the way. The target holds the
archive's last bytes back until its digest was right, so that a cut or damaged one never becomes an image. Source:
Docker Engine API v1.41, `GET /containers/{id}/export`, `POST /images/create?fromSrc=-`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from urllib.parse import quote, urlencode

from pillion.hosts.helper.engine import DockerEngine, check_progress, refusal
from pillion.hosts.helper.images import held_back, with_tag
from pillion.hosts.helper.wire import CHUNK_BYTES, Body, Connection, Header, Refused


def send(
    connection: Connection, engine: DockerEngine, container: str, image: str, labels: dict[str, str]
) -> dict[str, float]:
    """Bring the container's filesystem to the target as `image` with these labels; `load`: seconds of the import.

    Raises Refused, Cut.
    """
    header = {"do": "filesystem", "image": image, "labels": labels}
    return {"load": connection.ask(header, _exported(engine, container))["load"]}


def _exported(engine: DockerEngine, container: str) -> Iterator[bytes]:
    with engine.request("GET", f"/containers/{quote(container)}/export") as response:
        if response.status != 200:
            raise refusal(response.status, response.read())
        while data := response.read(CHUNK_BYTES):
            yield data


def receive(header: Header, body: Body, engine: DockerEngine) -> Header:
    """Import an archive as it arrives; `load`: seconds from its first byte. Raises Refused, Cut."""
    started = time.monotonic()
    repository, _, tag = with_tag(header["image"]).rpartition(":")
    # Source: Dockerfile reference, LABEL; a JSON string is a quoted one there.
    changes = [("changes", f"LABEL {json.dumps(key)}={json.dumps(value)}") for key, value in header["labels"].items()]
    query = urlencode([("fromSrc", "-"), ("repo", repository), ("tag", tag), *changes])
    with engine.request("POST", f"/images/create?{query}", held_back(body.chunks())) as response:
        if response.status != 200:
            raise refusal(response.status, response.read())
        check_progress(response)
    body.finish()
    if engine.image(header["image"]) is None:
        raise Refused(f"the Docker Engine took image {header['image']} in, but does not have it")
    return {"load": time.monotonic() - started}
