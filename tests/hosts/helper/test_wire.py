"""Messages between two helpers: whole, or never taken for whole."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillion.hosts.helper.wire import CHUNK_BYTES, Connection, Cut, Header, Refused
from tests.hosts.helper.ends import Beside, connected

FEW = settings(max_examples=60, deadline=None)


@pytest.fixture
def pair() -> Iterator[tuple[Connection, Connection]]:
    """A source's and a target's end."""
    here, there = connected()
    ends = Connection(here), Connection(there)
    yield ends
    for end in ends:
        end.cut()


@FEW
@given(st.lists(st.binary(max_size=3 * CHUNK_BYTES // 2), max_size=5), st.dictionaries(st.text(max_size=5), st.text()))
def test_a_message_arrives_as_it_was_sent(pieces: list[bytes], header: Header) -> None:
    here, there = connected()
    source, target = Connection(here), Connection(there)
    sending = Beside(lambda: source.send(header, pieces))
    received, body = target.receive()
    assert received == header
    assert b"".join(body.chunks()) == b"".join(pieces)
    sending.result()
    source.cut()
    target.cut()


def recorded(header: Header, pieces: list[bytes]) -> bytes:
    """A message's bytes."""
    here, there = connected()
    source = Connection(here)
    source.send(header, pieces)
    source.cut()
    with there, there.makefile("rb") as stream:
        return stream.read()


def receive_all(sent: bytes) -> bytes:
    here, there = connected()
    with here:
        here.sendall(sent)
    target = Connection(there)
    try:
        _, body = target.receive()
        return b"".join(body.chunks())
    finally:
        target.cut()


MESSAGE = recorded({"do": "volume"}, [b"a" * 1000, b"b" * 50])


@FEW
@given(st.integers(0, len(MESSAGE) - 1))
def test_a_message_cut_anywhere_is_never_taken_as_complete(length: int) -> None:
    with pytest.raises(Cut):
        receive_all(MESSAGE[:length])


@FEW
@given(st.integers(4, len(MESSAGE) - 1), st.integers(1, 255))
def test_a_message_with_a_damaged_byte_is_never_taken_as_complete(position: int, damage: int) -> None:
    damaged = bytearray(MESSAGE)
    damaged[position] ^= damage
    with pytest.raises(Cut):
        receive_all(bytes(damaged))


def test_a_message_given_up_by_its_sender_leaves_the_connection_usable(pair: tuple[Connection, Connection]) -> None:
    source, target = pair

    def failing() -> Iterator[bytes]:
        yield b"x" * CHUNK_BYTES
        raise OSError("the disk is broken")

    def serve() -> None:
        for _ in range(2):
            _, body = target.receive()
            try:
                body.finish()
                target.send({"got": "whole"})
            except Cut:
                assert body.given_up
                target.send({"refused": "given up"})

    serving = Beside(serve)
    with pytest.raises(OSError, match="the disk is broken"):
        source.ask({"do": "image"}, failing())
    assert source.ask({"do": "image"}, [b"y"]) == {"got": "whole"}
    serving.result()


def test_a_target_that_says_no_stops_the_source_early(pair: tuple[Connection, Connection]) -> None:
    source, target = pair
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 2000:
            sent += 1
            yield b"x" * CHUNK_BYTES

    def serve() -> None:
        _, body = target.receive()
        next(body.chunks())
        target.send({"refused": "no space left on device", "remedy": "free some"})
        body.drain()
        _, body = target.receive()
        body.finish()
        target.send({})

    serving = Beside(serve)
    with pytest.raises(Refused, match="no space left") as refusal:
        source.ask({"do": "volume"}, endless())
    assert refusal.value.place == "target"
    assert sent < 2000
    source.ask({"do": "volume"})
    serving.result()
