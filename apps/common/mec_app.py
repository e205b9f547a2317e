"""What A1 and A2 have in common: settings, log, a server for the UE and for callbacks, and how they end.

How they start: in a cold migration the time from here to the first answer is service downtime. So the server is plain
sockets and threads, and answers some 30 ms after the interpreter is up (importing aiohttp.web costs 300, asyncio 80).
What asks the MEC APIs is in `mec_source`; its aiohttp is imported by its own thread while the UE is being answered.

How they are moved: a checkpoint cuts every connection. Each has a thread of its own, which then ends, and nothing else.
"""

from __future__ import annotations

import _thread
import json
import os
import signal
import socket
import threading
import time

TYPE_CHECKING = False  # typing and collections.abc would add to every start
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from io import IOBase
    from types import FrameType

    from mec_source import Source

Answer = tuple[str, bytes]  # status line and JSON body

HEADER_LINES, HEADER_BYTES = 100, 8192
CALLBACKS = "/callbacks/"  # the gateway hands what comes for this app on to here
BODY_BYTES = 65_536  # a notification has some hundred
BODY_S, LINGER_S = 10.0, 1.0
CHECK_S = 5.0
BACKLOG = 1024  # what the user plane held during a relocation arrives at once
NOT_FOUND = ("404 Not Found", b'{"error": "no such path"}')


def stamp() -> str:
    """The time now in UTC, ISO 8601 with milliseconds."""
    seconds, millis = divmod(time.time_ns() // 1_000_000, 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{millis:03d}Z"


def say(event: str, **facts: object) -> None:
    """Write one JSON line to stdout; a reader that went away must not end the app."""
    try:
        os.write(1, json.dumps({"at": stamp(), "event": event, **facts}).encode() + b"\n")
    except OSError:
        return


class Settings:
    """What the environment says. Raises ValueError naming the variable that is missing or wrong.

    An app's own variables begin with its `kind`: `A2_SOURCE`, `A2_POLL_S`, `A2_CHECK_S`, and with `api` "LOCATION"
    `A2_LOCATION_URL`; `poll_s` and `api_url` are what holds without them. `callback_url` is "" for an app that polls.
    """

    def __init__(self, env: Mapping[str, str], kind: str, *, poll_s: float, api: str, api_url: str) -> None:
        for name in ("PILLION_APP", "PILLION_UE", "PILLION_INSTANCE", "PILLION_EPOCH"):
            if not env.get(name):
                raise ValueError(f"{name} is not set")
        self.app, self.ue, self.instance = env["PILLION_APP"], env["PILLION_UE"], env["PILLION_INSTANCE"]
        self.api_url = env.get(f"{kind}_{api}_URL", api_url).rstrip("/")
        if not self.api_url.startswith(("http://", "https://")):
            raise ValueError(f"{kind}_{api}_URL is not an http URL: {self.api_url!r}")
        source = env.get(f"{kind}_SOURCE", "poll")
        if source not in ("poll", "subscribe"):
            raise ValueError(f"{kind}_SOURCE is neither poll nor subscribe: {source!r}")
        self.subscribes = source == "subscribe"
        self.callback_url = env.get("PILLION_CALLBACK_URL", "").rstrip("/") if self.subscribes else ""
        if self.subscribes and not self.callback_url.startswith(("http://", "https://")):
            raise ValueError(f"PILLION_CALLBACK_URL is not an http URL: {self.callback_url!r}")
        try:
            self.epoch, self.port = int(env["PILLION_EPOCH"]), int(env.get("PILLION_PORT", "3000"))
            self.poll_s = float(env.get(f"{kind}_POLL_S", poll_s))
            self.check_s = float(env.get(f"{kind}_CHECK_S", CHECK_S))
        except ValueError as error:
            numbers = f"PILLION_EPOCH, PILLION_PORT, {kind}_POLL_S or {kind}_CHECK_S"
            raise ValueError(f"{numbers} is not a number: {error}") from None
        if not (self.epoch >= 0 and 0 <= self.port <= 65535):
            raise ValueError("PILLION_EPOCH (from 0) or PILLION_PORT (0 to 65535) is out of range")
        if not (0.01 <= self.poll_s <= 60 and 0.01 <= self.check_s <= 60):
            raise ValueError(f"{kind}_POLL_S or {kind}_CHECK_S (both 0.01 to 60) is out of range")
        self.agent = f"{kind.lower()}/{self.instance}"
        self.who: dict[str, object] = {"instance": self.instance, "epoch": self.epoch}


class Server:
    """Answers over HTTP/1.1, one thread a connection: a write or a slow reader holds up nobody else.

    `answer` gives status and JSON body for the path and query of a GET, `notified` for the body of a notification: a
    POST below `/callbacks/`. An answer to a notification acknowledges it.
    """

    def __init__(self, port: int, answer: Callable[[str, str], Answer], notified: Callable[[bytes], Answer]) -> None:
        self._answer, self._notified = answer, notified
        self._socket = socket.create_server(("", port), backlog=BACKLOG)
        self.port = self._socket.getsockname()[1]

    def run(self) -> None:
        """Accept connections until the process ends."""
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError as error:  # out of descriptors: those who have a connection are still answered
                say("cannot accept", problem=str(error))
                time.sleep(0.05)
                continue
            # Not threading.Thread: its start waits for the thread to run, 1 ms for each request of a held burst.
            _thread.start_new_thread(self._converse, (connection,))

    def _converse(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb", HEADER_BYTES) as lines:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                keep = True
                while keep and len(request := lines.readline(HEADER_BYTES).split()) == 3:
                    method, target, version = request
                    headers = headers_in(lines)
                    if headers is None:
                        return
                    keep = version == b"HTTP/1.1" and headers.get(b"connection") != b"close"
                    path, _, query = target.decode("latin-1").partition("?")
                    unread = b"content-length" in headers or b"transfer-encoding" in headers
                    if method == b"POST" and path.startswith(CALLBACKS):
                        if (answer := refusal_of_body(headers)) is None:
                            length = int(headers.get(b"content-length", b"0"))
                            connection.settimeout(BODY_S)
                            if len(told := lines.read(length)) < length:
                                return  # cut: what was not sent as a whole was not told
                            connection.settimeout(None)
                            answer, unread = self._notified(told), False
                    else:
                        answer = self._answer(path, query) if method == b"GET" else ("404 Not Found", b"")
                    keep = keep and not unread  # nothing can follow a body that was not read
                    connection.sendall(in_http(answer, keep))
                    if unread:
                        drain(connection)
        except OSError:
            pass  # the other side is gone


def headers_in(lines: IOBase) -> dict[bytes, bytes] | None:
    """A request's headers in lower case, repeated ones joined by commas; None if there are too many."""
    headers: dict[bytes, bytes] = {}
    for _ in range(HEADER_LINES):
        name, _, value = lines.readline(HEADER_BYTES).strip().lower().partition(b":")
        if not name:
            return headers
        headers[name] = headers[name] + b"," + value.strip() if name in headers else value.strip()
    return None


def refusal_of_body(headers: Mapping[bytes, bytes]) -> Answer | None:
    """The answer to a request whose body is not read; None if it is."""
    length = headers.get(b"content-length", b"0")
    if b"transfer-encoding" in headers:
        return "411 Length Required", b""
    if not length.isdigit():
        return "400 Bad Request", b""
    return ("413 Content Too Large", b"") if len(length) > 9 or int(length) > BODY_BYTES else None


def in_http(answer: Answer, keep: bool) -> bytes:
    """An answer as it is sent. Source: RFC 9110, clause 8.6: a 204 has no Content-Length."""
    status, body = answer
    about = "" if status.startswith("204") else f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return (f"HTTP/1.1 {status}\r\n{about}" + ("\r\n" if keep else "Connection: close\r\n\r\n")).encode() + body


def drain(connection: socket.socket) -> None:
    """Read on for a while: a connection closed on bytes that nobody read is reset, and the answer can be lost by it."""
    connection.shutdown(socket.SHUT_WR)
    connection.settimeout(LINGER_S)
    for _ in range(64):
        if not connection.recv(HEADER_BYTES):
            return


def ok(facts: dict[str, object]) -> Answer:
    """The answer that tells `facts`."""
    return "200 OK", json.dumps(facts).encode()


def end_on_signals() -> None:
    """Let SIGTERM and SIGINT end the process; first of all in an app: PID 1 of a container has no default for them.

    A log that nobody reads must not hold it up either: what does not fit is lost.
    """
    os.set_blocking(1, False)
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)


def _end(number: int, frame: FrameType | None) -> None:
    """End at once. Whatever is being written is either on disk as a whole or was told to nobody."""
    say("end", signal=number)
    os._exit(0)


def serve(port: int, answer: Callable[[str, str], Answer], source: Source, **facts: object) -> int:
    """Answer the UE and follow it until a signal ends the process; 1 if the port cannot be had. `facts` go to the log.

    What `source` is notified of comes over the same port.
    """
    try:
        server = Server(port, answer, source.notified)
    except OSError as error:
        say("cannot listen", port=port, problem=str(error))
        return 1
    say("serving", port=server.port, **facts)
    threading.Thread(target=source.run, name="source", daemon=True).start()
    server.run()
    return 0
