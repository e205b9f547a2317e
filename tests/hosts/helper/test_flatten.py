"""A filesystem sent as an image: whole under its name, or not there at all."""

from __future__ import annotations

import http.server
import io
import json
import socketserver
import tarfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pillion.hosts.helper import flatten
from pillion.hosts.helper.engine import DockerEngine
from pillion.hosts.helper.images import New
from pillion.hosts.helper.wire import CHUNK_BYTES, Connection, Cut, Refused
from tests.hosts.helper.ends import Beside, connected

NAME = "pillion-test/zones:2"
BASE = "pillion-test-base/zones:latest"
LABELS = {"pillion.lab": "lab", "pillion.app": 'a "b" $c \\d é'}
LABEL_CHANGES = ['LABEL "pillion.lab"="lab"', r'LABEL "pillion.app"="a \"b\" \$c \\d é"']
HEADER = {"do": "filesystem", "base": BASE, "image": NAME, "labels": LABELS}
END_MARKER = bytes(1024)
IMPORT_TIMEOUT_S = 10.0
FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def archive(*sizes: int) -> bytes:
    """A tar as the Docker Engine makes it: it ends with its marker, not with the padding that tarfile adds."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for number, size in enumerate(sizes):
            member = tarfile.TarInfo(f"file{number}")
            member.size = size
            tar.addfile(member, io.BytesIO(bytes([65 + number]) * size))
    return packed.getvalue()[: tar.offset]


SMALL, LARGE = archive(10), archive(3000, CHUNK_BYTES, 50, 70_000)
SPLIT = archive(CHUNK_BYTES - 1024)
"""Its end marker is read in two pieces."""


class Engine(socketserver.ThreadingUnixStreamServer):
    """A Docker Engine that exports one archive, and takes in what Docker Engine 26 was seen to take in.

    That is every archive whose request ends well, with an end marker or without, and every one whose marker has come.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), Requests)
        self.client = DockerEngine(str(path))
        self.export = LARGE
        self.export_is_cut = False
        self.import_answer: tuple[int, dict[str, str]] = (200, {"status": "sha256:1"})
        self.labs: dict[str, str] = {}
        """The label `pillion.lab` of each image that it has."""
        self.content = b""
        self.changes: list[str] = []
        self.imports_ended = threading.Semaphore(0)


class Requests(http.server.BaseHTTPRequestHandler):
    server: Engine

    def do_GET(self) -> None:
        path = unquote(self.path)
        name = path.removeprefix("/images/").removesuffix("/json")
        if path == "/containers/zones.1/export":
            with suppress(ConnectionError):  # it is not wanted any more
                self.export()
        elif name in self.server.labs:
            self.answer(200, {"Id": "sha256:1", "Config": {"Labels": {"pillion.lab": self.server.labs[name]}}})
        else:
            self.answer(404, {"message": f"there is no {path}"})

    def export(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for start in range(0, len(self.server.export), 1 << 15):
            data = self.server.export[start : start + (1 << 15)]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        if not self.server.export_is_cut:
            self.wfile.write(b"0\r\n\r\n")

    def do_DELETE(self) -> None:
        del self.server.labs[unquote(self.path).removeprefix("/images/")]
        self.answer(200, [])

    def do_POST(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        if self.path.startswith("/images/") and "/tag?" in self.path:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.server.labs[f"{query['repo'][0]}:{query['tag'][0]}"] = "lab"
            self.answer(201, {})
            return
        content = b""
        while line := self.rfile.readline():
            content += self.rfile.read(int(line, 16) + 2)[:-2]
            if line == b"0\r\n":
                break
        status, said = self.server.import_answer
        if "status" in said and (line or content.endswith(END_MARKER)):
            self.server.labs[f"{query['repo'][0]}:{query['tag'][0]}"] = "lab"
            self.server.content, self.server.changes = content, query["changes"]
        if line:
            self.answer(status, said)
        self.server.imports_ended.release()

    def answer(self, status: int, body: object) -> None:
        encoded = json.dumps(body).encode()
        self.wfile.write(b"HTTP/1.1 %d said\r\nContent-Length: %d\r\n\r\n%b" % (status, len(encoded), encoded))


class Hosts:
    """A source's and a target's Docker Engine."""

    def __init__(self, folder: Path) -> None:
        self.here, self.there = Engine(folder / "here"), Engine(folder / "there")
        self._serving = [
            threading.Thread(target=engine.serve_forever, args=(0.01,)) for engine in (self.here, self.there)
        ]
        for thread in self._serving:
            thread.start()

    def send(self, container: str = "zones.1") -> None:
        """Send twice over one connection, which has to stay usable. Raises Refused, Cut: what both raise."""
        here, there = connected()
        source, target = Connection(here), Connection(there)
        serving = Beside(lambda: serve(target, self.there))
        try:
            found = {"Name": f"/{container}", "GraphDriver": {"Name": "btrfs", "Data": None}}
            new = New(NAME, {**LABELS, "pillion.epoch": "2"})
            with suppress(Refused, Cut):
                flatten.send(source, self.here.client, found, BASE, new, Path("unused"))
            flatten.send(source, self.here.client, found, BASE, new, Path("unused"))
        finally:
            source.cut()
            serving.result()
            target.cut()

    def close(self) -> None:
        for engine in (self.here, self.there):
            engine.shutdown()
            engine.server_close()
        for thread in self._serving:
            thread.join()


def serve(target: Connection, engine: Engine) -> None:
    """As `Link` does: answer each message until the connection ends."""
    with suppress(Cut):
        while True:
            header, body = target.receive()
            answer: dict[str, Any]
            try:
                answer = flatten.receive(header, body, engine.client, "lab")
            except Refused as error:
                answer = {"refused": error.problem, "remedy": error.remedy}
            except Cut as error:
                if not body.given_up:
                    raise
                answer = {"refused": str(error)}
            target.send(answer)
            body.drain()


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    made = Hosts(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("content", [SMALL, LARGE, SPLIT], ids=["small", "large", "split"])
def test_an_archive_arrives_as_it_was_exported_with_its_name_and_labels(hosts: Hosts, content: bytes) -> None:
    hosts.here.export = content
    hosts.send()
    assert hosts.there.labs == {NAME: "lab", BASE: "lab"}
    assert hosts.there.content == content
    assert hosts.there.changes == LABEL_CHANGES


def test_what_an_earlier_call_made_goes_before_the_next_one(hosts: Hosts) -> None:
    hosts.send()
    hosts.there.import_answer = (500, {"message": "broken"})
    with pytest.raises(Refused, match="broken"):
        hosts.send()
    assert hosts.there.labs == {}


@pytest.mark.parametrize("name", [NAME, BASE])
def test_an_image_of_that_name_that_is_not_this_labs_stays(hosts: Hosts, name: str) -> None:
    hosts.there.labs[name] = "theirs"
    with pytest.raises(Refused, match="not this lab's") as refusal:
        hosts.send()
    assert refusal.value.place == "target"
    assert (hosts.there.labs, hosts.there.content) == ({name: "theirs"}, b"")


@pytest.mark.parametrize(
    "answer",
    [(500, {"message": "no space left on device"}), (200, {"error": "no space left on device"})],
    ids=["by its status", "in its progress"],
)
def test_what_the_targets_engine_says_no_with_is_passed_on(hosts: Hosts, answer: tuple[int, dict[str, str]]) -> None:
    hosts.there.import_answer = answer
    with pytest.raises(Refused, match="no space left") as refusal:
        hosts.send()
    assert (refusal.value.place, refusal.value.remedy) == ("target", "free some disk space there")


def test_a_container_that_is_not_there_makes_no_image(hosts: Hosts) -> None:
    with pytest.raises(Refused, match=r"there is no /containers/nothing") as refusal:
        hosts.send("nothing.1")
    assert refusal.value.place == ""
    assert hosts.there.labs == {}


@FEW
@given(blocks=st.integers(0, len(LARGE) // tarfile.BLOCKSIZE - 1))
def test_an_export_that_ends_early_though_well_makes_no_image(hosts: Hosts, blocks: int) -> None:
    hosts.here.export = LARGE[: blocks * tarfile.BLOCKSIZE]
    with pytest.raises(Refused, match=r"export of zones\.1 ended early"):
        hosts.send()
    assert hosts.there.labs == {}


def test_an_export_that_breaks_off_makes_no_image(hosts: Hosts) -> None:
    hosts.here.export_is_cut = True
    with pytest.raises(Cut, match="ended its answer early"):
        hosts.send()
    assert hosts.there.labs == {}


def recorded() -> tuple[bytes, int]:
    """The message that sends LARGE, and where its body begins."""
    here, there = connected()
    source = Connection(here)
    with there, there.makefile("rb") as stream:
        reading = Beside(stream.read)
        source.send(HEADER, (LARGE[start : start + CHUNK_BYTES] for start in range(0, len(LARGE), CHUNK_BYTES)))
        source.cut()
        message = reading.result()
    assert isinstance(message, bytes)
    return message, 4 + len(json.dumps(HEADER))


MESSAGE, BODY = recorded()
END = len(MESSAGE) - 4 - 32
"""Where its body ends: all of the archive has been sent, and only the digest is missing."""
POSITIONS = st.integers(BODY, END) | st.integers(END - 3000, END) | st.integers(END, len(MESSAGE) - 1)


def take(hosts: Hosts, sent: bytes) -> None:
    """Let the target take what arrives of a message before the connection ends, and its engine see the import's end."""
    here, there = connected()
    target = Connection(there)

    def send() -> None:
        with here, suppress(ConnectionError):  # the target has seen enough
            here.sendall(sent)

    sending = Beside(send)
    try:
        header, body = target.receive()
        flatten.receive(header, body, hosts.there.client, "lab")
    finally:
        target.cut()
        sending.result()
        assert hosts.there.imports_ended.acquire(timeout=IMPORT_TIMEOUT_S)


@FEW
@given(position=POSITIONS)
def test_an_archive_cut_anywhere_makes_no_image(hosts: Hosts, position: int) -> None:
    with pytest.raises(Cut):
        take(hosts, MESSAGE[:position])
    assert hosts.there.labs == {}


@FEW
@given(position=POSITIONS, damage=st.integers(1, 255))
def test_an_archive_with_a_damaged_byte_makes_no_image(hosts: Hosts, position: int, damage: int) -> None:
    damaged = bytearray(MESSAGE)
    damaged[position] ^= damage
    with pytest.raises(Cut):
        take(hosts, bytes(damaged))
    assert hosts.there.labs == {}


def test_a_folder_is_read_as_an_engine_would_export_it(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/large").write_bytes(b"x" * (3 * CHUNK_BYTES + 7))
    (tmp_path / "etc/long-name").symlink_to("n" * 150)
    (tmp_path / "etc/linked").hardlink_to(tmp_path / "etc/large")
    packed = b"".join(flatten.archived(tmp_path, "zones.1"))
    assert packed.endswith(END_MARKER)
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        members = {member.name: member for member in tar}
        assert set(members) == {".", "./etc", "./etc/large", "./etc/linked", "./etc/long-name"}
        assert members["./etc/long-name"].linkname == "n" * 150
        assert {members["./etc/large"].type, members["./etc/linked"].type} == {tarfile.REGTYPE, tarfile.LNKTYPE}
        assert all(member.mtime == int(member.mtime) and member.uname == "" for member in members.values())
        content = tar.extractfile("./etc/linked")
        assert content is not None
        assert content.read() == b"x" * (3 * CHUNK_BYTES + 7)


@pytest.mark.parametrize(
    ("last_words", "code", "problem"),
    [
        ("tar: ./a: File shrank by 3 bytes; padding with zeros", 1, "changed while it was read"),
        ("tar: ./a: Cannot open: Input/output error", 2, "Input/output error"),
        ("", 9, "tar: 9"),
    ],
)
def test_an_archive_that_is_not_what_the_folder_holds_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last_words: str, code: int, problem: str
) -> None:
    tar = tmp_path / "tar"
    tar.write_text(f"#!/bin/sh\necho some of it\necho '{last_words}' >&2\nexit {code}\n")
    tar.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(Refused, match=problem):
        list(flatten.archived(tmp_path, "zones.1"))


def test_what_was_removed_meanwhile_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tar = tmp_path / "tar"
    tar.write_text("#!/bin/sh\necho all of it\necho 'tar: ./a: File removed before we read it' >&2\nexit 1\n")
    tar.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert b"".join(flatten.archived(tmp_path, "zones.1")) == b"all of it\n"


def test_a_transfer_that_is_cut_ends_its_tar(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(64 * CHUNK_BYTES))
    archive = flatten.archived(tmp_path, "zones.1")
    next(archive)
    archive.close()  # waits for it
    with pytest.raises(StopIteration):
        next(archive)


def test_without_tar_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Refused) as refused:
        list(flatten.archived(tmp_path, "zones.1"))
    assert refused.value.remedy == "install it there: apt install tar"
