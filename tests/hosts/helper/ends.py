"""Two connected ends, for the tests of what travels between two transfer helpers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

from hypothesis import strategies as st

from pillion.hosts.helper.wire import Body, Connection, Cut, Header, Refused


def connected() -> tuple[socket.socket, socket.socket]:
    """Both ends of one TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        here = socket.create_connection(listener.getsockname())
        return here, listener.accept()[0]


class Peer:
    """The target's end of a connection, served in a thread of its own as a link does; `connection` is the source's."""

    def __init__(self, receive: Callable[[Header, Body], Header]) -> None:
        here, there = connected()
        self.connection, self._target = Connection(here), Connection(there)
        self._receive = receive
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        try:
            while True:
                header, body = self._target.receive()
                try:
                    answer = self._receive(header, body)
                except Refused as error:
                    answer = {"refused": error.problem}
                self._target.send(answer)
                body.drain()
        except Cut:
            self._target.cut()

    def close(self) -> None:
        self.connection.cut()
        self._thread.join(5)


class Beside:
    """A call that runs in a thread of its own; `result` waits for what it gives, or raises what it raised."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self._error: Exception | None = None
        self._value: object = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._value = self._call()
        except (Cut, Refused, OSError, AssertionError) as error:
            self._error = error

    def result(self) -> object:
        self._thread.join(20)
        assert not self._thread.is_alive()
        if self._error is not None:
            raise self._error
        return self._value


def paths() -> st.SearchStrategy[str]:
    """Few paths, so that edits meet."""
    return st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join)
