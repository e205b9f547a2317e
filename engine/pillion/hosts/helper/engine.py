"""The host's own Docker Engine, spoken to over its socket with nothing but the standard library.

Source: Docker Engine API v1.41 (the oldest that we accept), unversioned paths: the engine then takes its own version,
and of what is read here nothing has changed between 1.41 and 1.51.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import IO, Any
from urllib.parse import quote, urlencode

from pillion.hosts.helper.wire import Cut, Refused, remedy_for

SOCKET = "/var/run/docker.sock"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self._path)


class DockerEngine:
    """The Docker Engine of this host. One transfer's requests; `cut` ends the ones under way."""

    def __init__(self, path: str = SOCKET) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._open: set[_UnixConnection] = set()
        self._was_cut = False

    def get(self, path: str) -> Any:
        """The JSON answer to a GET, or None if there is no such object. Raises Refused, Cut."""
        with self.request("GET", path) as response:
            answer = response.read()
            if response.status == 404:
                return None
            if response.status >= 400:
                raise refusal(response.status, answer)
            return json.loads(answer)

    def post(self, path: str, body: object = None) -> None:
        """A POST of JSON, or of nothing, whose answer says only whether it was done. Raises Refused, Cut."""
        with self.request("POST", path, b"" if body is None else json.dumps(body).encode()) as response:
            answer = response.read()
            if response.status >= 400:
                raise refusal(response.status, answer)

    def image(self, name: str) -> Any:
        return self.get(f"/images/{quote(name, safe='/:@')}/json")

    def tag(self, image: str, name: str) -> None:
        """Give an image one more name. Raises Refused, Cut."""
        repository, _, tag = name.rpartition(":")
        self.post(f"/images/{quote(image, safe='/:@')}/tag?" + urlencode({"repo": repository, "tag": tag}), {})

    def volume(self, name: str) -> Any:
        return self.get(f"/volumes/{quote(name)}")

    def info(self) -> Any:
        return self.get("/info")

    @contextmanager
    def request(
        self, method: str, path: str, body: Iterator[bytes] | bytes | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        """One request over a connection of its own, closed at the end. Raises Cut if the engine does not answer."""
        connection = _UnixConnection(self._path)
        with self._lock:
            if self._was_cut:
                raise Cut("the transfer was closed")
            self._open.add(connection)
        try:
            try:
                if body is None:
                    connection.request(method, path)
                elif isinstance(body, bytes):
                    connection.request(method, path, body, {"Content-Type": "application/json"})
                else:
                    headers = {"Transfer-Encoding": "chunked", "Content-Type": "application/x-tar"}
                    with suppress(ConnectionError):  # the engine has answered already: its answer says why
                        connection.request(method, path, body, headers, encode_chunked=True)
                response = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                raise Cut(f"the Docker Engine does not answer: {error}") from error
            yield response
        except (http.client.HTTPException, ConnectionError) as error:
            raise Cut(f"the Docker Engine ended its answer early: {error}") from error
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def cut(self) -> None:
        """End every request under way and refuse new ones."""
        with self._lock:
            self._was_cut = True
            for connection in self._open:
                if connection.sock is not None:
                    with suppress(OSError):  # it may have ended by itself
                        connection.sock.shutdown(socket.SHUT_RDWR)


def is_labs(labels: Mapping[str, str] | None, lab: str) -> bool:
    """Whether an object with these labels is the lab's own; what is not is never touched."""
    return (labels or {}).get("pillion.lab") == lab


def has_containerd_store(info: Any) -> bool:
    """Whether images live in containerd's content store, where layers cannot be left out of a load."""
    return any("io.containerd.snapshotter" in str(value) for _, value in info.get("DriverStatus") or [])


def images_path(names: list[str]) -> str:
    """The path that gives these images in one archive. Source: Docker Engine API, `GET /images/get`."""
    return "/images/get?" + urlencode([("names", name) for name in names])


def refusal(status: int, answer: bytes) -> Refused:
    """What the engine said no with."""
    try:
        problem = str(json.loads(answer)["message"])
    except (ValueError, KeyError, TypeError):
        problem = answer.decode(errors="replace").strip() or f"HTTP status {status}"
    return Refused(problem, remedy_for(problem))


def check_progress(response: IO[bytes]) -> None:
    """Read a progress stream to its end. Raises Refused if it carries an error: the status alone says nothing."""
    for line in response:
        if line.strip():
            entry = json.loads(line)
            if "error" in entry:
                raise Refused(str(entry["error"]), remedy_for(str(entry["error"])))
