"""What A1 and A2 have in common: settings, log, a server for the UE, a poller of a MEC API, and how they end.

How they start: in a cold migration the time from here to the first answer is service downtime. So the server is plain
sockets and threads, and answers some 30 ms after the interpreter is up (importing aiohttp.web costs 300, asyncio 80);
the poller's aiohttp is imported by the polling thread while the UE is being answered.
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
    from types import FrameType

REQUEST_TIMEOUT_S = 1.5
HEADER_LINES, HEADER_BYTES = 100, 8192
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

    An app's own variables begin with its `kind`: `A2_POLL_S`, and with `api` "LOCATION" `A2_LOCATION_URL`; `poll_s` and
    `api_url` are what holds without them.
    """

    def __init__(self, env: Mapping[str, str], kind: str, *, poll_s: float, api: str, api_url: str) -> None:
        for name in ("PILLION_APP", "PILLION_UE", "PILLION_INSTANCE", "PILLION_EPOCH"):
            if not env.get(name):
                raise ValueError(f"{name} is not set")
        self.app, self.ue, self.instance = env["PILLION_APP"], env["PILLION_UE"], env["PILLION_INSTANCE"]
        self.api_url = env.get(f"{kind}_{api}_URL", api_url).rstrip("/")
        if not self.api_url.startswith(("http://", "https://")):
            raise ValueError(f"{kind}_{api}_URL is not an http URL: {self.api_url!r}")
        try:
            self.epoch, self.port = int(env["PILLION_EPOCH"]), int(env.get("PILLION_PORT", "3000"))
            self.poll_s = float(env.get(f"{kind}_POLL_S", poll_s))
        except ValueError as error:
            raise ValueError(f"PILLION_EPOCH, PILLION_PORT or {kind}_POLL_S is not a number: {error}") from None
        if not (self.epoch >= 0 and 0 <= self.port <= 65535 and 0.01 <= self.poll_s <= 60):
            raise ValueError(
                f"PILLION_EPOCH (from 0), PILLION_PORT (0 to 65535) or {kind}_POLL_S (0.01 to 60) is out of range"
            )
        self.agent = f"{kind.lower()}/{self.instance}"
        self.who: dict[str, object] = {"instance": self.instance, "epoch": self.epoch}


class Unusable(ValueError):
    """A MEC API answered what cannot be used. Its words are one of few: by them failures are told apart."""


class Poller:
    """Asks a MEC API at planned instants, one request at a time, whatever comes back.

    `take` gets each JSON object that is answered with 200; what it raises is a failure like an outage. `begin` is
    called once before, in the polling thread.
    """

    def __init__(
        self,
        settings: Settings,
        path: str,
        query: Mapping[str, str],
        take: Callable[[dict[str, object]], None],
        begin: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings, self._take, self._begin = settings, take, begin
        self._url, self._query = f"{settings.api_url}/{path}", query
        self.failures = 0
        self._said: set[str] = set()  # kinds of failure since the last success

    def run(self) -> None:
        """Poll until the process ends."""
        try:
            try:
                self._begin()
            except OSError as error:
                self._failed(error)
            import asyncio  # here and not above: by now the UE is being answered

            asyncio.run(self._poll())
        except BaseException as error:  # a bug; an app that answers but no longer polls would go unnoticed
            say("polling broke", problem=repr(error))
            os._exit(1)

    async def _poll(self) -> None:
        import asyncio

        import aiohttp

        loop, poll_s = asyncio.get_running_loop(), self._settings.poll_s
        session = aiohttp.ClientSession(
            headers={"User-Agent": self._settings.agent}, timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
        )
        async with session:
            planned = loop.time()
            while True:
                try:
                    async with session.get(self._url, params=self._query, allow_redirects=False) as answer:
                        body = await answer.read()
                    self._take(usable(answer.status, body))
                except Exception as error:  # the one place that has to outlive whatever the API or the disk does
                    self._failed(error)
                else:
                    self._said.clear()
                # The next planned instant still ahead: a slow answer skips some and shifts none.
                planned += poll_s * (1 + (loop.time() - planned) // poll_s)
                await asyncio.sleep(planned - loop.time())

    def _failed(self, error: Exception) -> None:
        """Count it, and say it if it is the first of its kind since a success: an outage has many a second."""
        self.failures += 1
        kind = str(error) if isinstance(error, Unusable) else type(error).__name__
        if kind not in self._said:
            self._said.add(kind)
            say("poll failed", problem=f"{type(error).__name__}: {error}", failures=self.failures)


def usable(status: int, body: bytes) -> dict[str, object]:
    """The JSON object in an answer. Raises Unusable if there is none."""
    if status != 200:
        raise Unusable(f"the API answered {status}")
    try:
        found = json.loads(body)
    except ValueError as error:
        raise Unusable("the API answered no JSON") from error
    if not isinstance(found, dict):
        raise Unusable("the API answered no JSON object")
    return found


class Server:
    """Answers over HTTP/1.1, one thread a connection: a write or a slow reader holds up nobody else.

    `answer` gives status and JSON body for the path and query of a GET.
    """

    def __init__(self, port: int, answer: Callable[[str, str], tuple[str, bytes]]) -> None:
        self._answer = answer
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
                    keep = version == b"HTTP/1.1"
                    for _ in range(HEADER_LINES):
                        name, _, value = lines.readline(HEADER_BYTES).strip().lower().partition(b":")
                        if not name:
                            break
                        if name == b"connection":
                            keep = keep and value.strip() != b"close"
                        elif name in (b"content-length", b"transfer-encoding"):
                            keep = False  # a body is not read here, so nothing can follow it
                    else:
                        return
                    path, _, query = target.decode("latin-1").partition("?")
                    status, body = self._answer(path, query) if method == b"GET" else ("404 Not Found", b"")
                    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
                    connection.sendall((head + ("\r\n" if keep else "Connection: close\r\n\r\n")).encode() + body)
        except OSError:
            pass  # the other side is gone


def ok(facts: dict[str, object]) -> tuple[str, bytes]:
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


def serve(port: int, answer: Callable[[str, str], tuple[str, bytes]], poller: Poller, **facts: object) -> int:
    """Answer the UE and poll until a signal ends the process; 1 if the port cannot be had. `facts` go to the log."""
    try:
        server = Server(port, answer)
    except OSError as error:
        say("cannot listen", port=port, problem=str(error))
        return 1
    say("serving", port=server.port, **facts)
    threading.Thread(target=poller.run, name="poll", daemon=True).start()
    server.run()
    return 0
