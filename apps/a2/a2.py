"""App A2, the zone counter: counts the zones its UE has travelled through, and never forgets one it has told of.

It asks the MEC Location API every 200 ms where its UE is, and answers the UE over HTTP. The first zone counts as one;
a UE that is not listed (out of range) has not changed its zone.

What is kept: the state (counter, zone, run-time log) is one JSON file with a sequence number that grows by one with
each change. A write is a temporary file, fsync, rename, fsync of the folder; only then is the new state told to anyone.
Hence a stop at any instant, SIGKILL too, loses nothing that was acknowledged; a zone seen but not yet written is seen
again by the next poll, and counted once.

Where it is kept: on the container's own filesystem (`A2_OWN_DIR`) or, while a migration runs, in the DV (`A2_DV_DIR`).
*The phase is a part of the state.* `/changePhase?inMigration=1` writes the full state, now marked `inMigration`, to
the DV before it answers; from then on nothing is written elsewhere. A start reads both places and goes on from the
valid state with the highest number, in that state's phase. So a container that was moved in mid-migration and has not
been told of the end finds the DV's state to be the newest, knows by it that it is in migration, and goes on in the DV:
the only place that is read late if it has to move once more. (Had it guessed "no migration", what it then wrote to its
own filesystem could miss the next move; the guess "in migration" loses nothing.) `/changePhase` brings the full state
back to the own filesystem.

How it starts: in a cold migration the time from here to the first answer is service downtime. So the server is plain
sockets and threads, and answers some 30 ms after the interpreter is up (importing aiohttp.web costs 300, asyncio 80);
the Location client's aiohttp is imported by the polling thread while the UE is being answered. The start is logged in
the state after that, not before.

`GET /` counter and zone; `/ready` instance, epoch, seq; `/state` all with the log; `/changePhase` as above; else 404.
"""

from __future__ import annotations

import _thread
import itertools
import json
import os
import signal
import socket
import sys
import threading
import time

TYPE_CHECKING = False  # typing and collections.abc would add to every start
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType

LOG_ENTRIES = 10_000
REQUEST_TIMEOUT_S = 1.5
HEADER_LINES, HEADER_BYTES = 100, 8192
BACKLOG = 1024  # what the user plane held during a relocation arrives at once


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
    """What the environment says. Raises ValueError naming the variable that is missing or wrong."""

    def __init__(self, env: Mapping[str, str]) -> None:
        for name in ("PILLION_APP", "PILLION_UE", "PILLION_INSTANCE", "PILLION_EPOCH"):
            if not env.get(name):
                raise ValueError(f"{name} is not set")
        self.app, self.ue, self.instance = env["PILLION_APP"], env["PILLION_UE"], env["PILLION_INSTANCE"]
        self.own_dir, self.dv_dir = env.get("A2_OWN_DIR", "/app/state"), env.get("A2_DV_DIR", "/data")
        url = env.get("A2_LOCATION_URL", "http://gateway-app/location/v2/")
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"A2_LOCATION_URL is not an http URL: {url!r}")
        self.users_url = url.rstrip("/") + "/queries/users"
        try:
            self.epoch, self.port = int(env["PILLION_EPOCH"]), int(env.get("PILLION_PORT", "3000"))
            self.poll_s = float(env.get("A2_POLL_S", "0.2"))
        except ValueError as error:
            raise ValueError(f"PILLION_EPOCH, PILLION_PORT or A2_POLL_S is not a number: {error}") from None
        if not (self.epoch >= 0 and 0 <= self.port <= 65535 and 0.01 <= self.poll_s <= 60):
            raise ValueError(
                "PILLION_EPOCH (from 0), PILLION_PORT (0 to 65535) or A2_POLL_S (0.01 to 60) is out of range"
            )


class State:
    """What A2 knows, frozen: a change makes a new one. The log is kept as JSON text, one entry each, so that
    a write never has to encode ten thousand of them."""

    def __init__(self, seq: int, counter: int, zone: str | None, in_migration: bool, log: list[str]) -> None:
        self.seq, self.counter, self.zone, self.in_migration, self.log = seq, counter, zone, in_migration, log

    def document(self, **head: object) -> bytes:
        """The state as one JSON object, the log last and one entry a line; `head` is added in front."""
        head |= {"seq": self.seq, "counter": self.counter, "zone": self.zone, "inMigration": self.in_migration}
        return (json.dumps(head)[:-1] + ', "log": [\n' + ",\n".join(self.log) + "\n]}\n").encode()

    @classmethod
    def read(cls, raw: bytes, ue: str) -> State:
        """The state in a file's bytes. Raises ValueError if it is broken, torn, or another UE's."""
        data = json.loads(raw)
        if not isinstance(data, dict) or data.get("ue") != ue:
            raise ValueError("not a state of this UE")
        seq, counter, zone, phase = data.get("seq"), data.get("counter"), data.get("zone"), data.get("inMigration")
        if not (isinstance(seq, int) and isinstance(counter, int) and isinstance(phase, bool) and 0 <= counter <= seq):
            raise ValueError("seq, counter or inMigration is missing or out of range")
        if not isinstance(zone, str | None) or not isinstance(data.get("log"), list):
            raise ValueError("zone or log is missing or wrong")
        log = [line.rstrip(",") for line in raw.decode().split("\n")[1:-2]]
        if len(log) != len(data["log"]):  # valid, but not laid out by us
            log = [json.dumps(entry) for entry in data["log"]]
        return cls(seq, counter, zone, phase, log)


class Keeper:
    """Holds the state; what it shows is always on disk already. Changes are made one at a time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._changing = threading.Lock()
        self.state, self.origin = self._load()

    def _load(self) -> tuple[State, str]:
        best, origin = State(0, 0, None, False, []), "nothing yet"
        for folder in (self._settings.own_dir, self._settings.dv_dir):
            path = f"{folder}/state.json"
            try:
                with open(path, "rb") as file:
                    found = State.read(file.read(), self._settings.ue)
            except FileNotFoundError:
                continue
            except (OSError, ValueError) as error:
                say("state ignored", path=path, problem=str(error))
                continue
            if found.seq > best.seq:
                best, origin = found, path
        return best, origin

    def _store(self, state: State) -> None:
        """Make `state` durable in the place of its phase. Raises OSError, and then the old file is still whole."""
        folder = self._settings.dv_dir if state.in_migration else self._settings.own_dir
        if not state.in_migration:
            os.makedirs(folder, exist_ok=True)  # never the DV: a folder made in its place would not move
        fresh = f"{folder}/.state.json.new"
        with open(fresh, "wb") as file:
            file.write(state.document(app=self._settings.app, ue=self._settings.ue))
            file.flush()
            os.fsync(file.fileno())
        os.rename(fresh, f"{folder}/state.json")
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def _change(self, counter: int, zone: str | None, in_migration: bool, entry: Mapping[str, object]) -> None:
        seq = self.state.seq + 1
        who = {"instance": self._settings.instance, "epoch": self._settings.epoch}
        line = json.dumps({"seq": seq, "at": stamp(), **entry, **who})
        fresh = State(seq, counter, zone, in_migration, [*self.state.log[1 - LOG_ENTRIES :], line])
        self._store(fresh)
        self.state = fresh  # told from here on, and not before
        say("state", seq=seq, counter=counter, inMigration=in_migration, change=entry)

    def started(self) -> None:
        """Log this start in the state. Raises OSError if it cannot be written."""
        with self._changing:
            now, entry = self.state, {"event": "start", "detail": f"state from {self.origin}"}
            self._change(now.counter, now.zone, now.in_migration, entry)

    def saw(self, zone: str) -> None:
        """Count `zone` if it is another one than before. Raises OSError if it cannot be written: then not counted."""
        with self._changing:
            now = self.state
            if zone != now.zone:
                self._change(now.counter + 1, zone, now.in_migration, {"event": "zone", "zone": zone})

    def change_phase(self, in_migration: bool) -> None:
        """Bring the full state to the phase's place; a repeat changes nothing. Raises OSError if it cannot."""
        with self._changing:
            now, detail = self.state, "migration begins" if in_migration else "migration ended"
            if now.in_migration != in_migration:
                self._change(now.counter, now.zone, in_migration, {"event": "phase", "detail": detail})


class Poller:
    """Asks the Location API for the UE's zone at planned instants, one request at a time, whatever comes back."""

    def __init__(self, settings: Settings, keeper: Keeper) -> None:
        self._settings, self._keeper = settings, keeper
        self.errors = 0
        self._problem = ""

    def run(self) -> None:
        """Poll until the process ends."""
        try:
            try:
                self._keeper.started()
            except OSError as error:
                self._failed(error)
            import asyncio  # here and not above: by now the UE is being answered

            asyncio.run(self._poll())
        except BaseException as error:  # a bug; an app that answers but no longer counts would go unnoticed
            say("polling broke", problem=repr(error))
            os._exit(1)

    async def _poll(self) -> None:
        import asyncio

        import aiohttp

        loop, settings = asyncio.get_running_loop(), self._settings
        session = aiohttp.ClientSession(
            headers={"User-Agent": f"a2/{settings.instance}"}, timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
        )
        async with session:
            planned = loop.time()
            while True:
                try:
                    query = session.get(settings.users_url, params={"address": settings.ue}, allow_redirects=False)
                    async with query as answer:
                        zone = zone_in(answer.status, await answer.read(), settings.ue)
                    if zone is not None:
                        self._keeper.saw(zone)
                except Exception as error:  # the one place that has to outlive whatever the API or the disk does
                    self._failed(error)
                else:
                    self._problem = ""
                # The next planned instant still ahead: a slow answer skips some and shifts none.
                planned += settings.poll_s * (1 + (loop.time() - planned) // settings.poll_s)
                await asyncio.sleep(planned - loop.time())

    def _failed(self, error: Exception) -> None:
        self.errors += 1
        problem = f"{type(error).__name__}: {error}"
        if problem != self._problem:  # said once, not five times a second
            say("poll failed", problem=problem, errors=self.errors)
        self._problem = problem


def zone_in(status: int, body: bytes, ue: str) -> str | None:
    """The zone of `ue` in an answer to `queries/users`; None if it is not listed. Raises ValueError if unreadable.

    Source: ETSI GS MEC 013 V2.2.1, resource `queries/users`; the sandbox leaves `user` out where nobody matches.
    """
    if status != 200:
        raise ValueError(f"the Location API answered {status}")
    data = json.loads(body)
    listing = data.get("userList") if isinstance(data, dict) else None
    users = listing.get("user", []) if isinstance(listing, dict) else None
    if not isinstance(users, list):
        raise ValueError("the Location API answered no userList")
    for user in users:
        if isinstance(user, dict) and user.get("address") == ue:
            zone = user.get("zoneId")
            if not isinstance(zone, str) or not zone:
                raise ValueError("the Location API listed the UE without zoneId")
            return zone
    return None


class Server:
    """Answers over HTTP/1.1, one thread a connection: a write or a slow reader holds up nobody else."""

    def __init__(self, settings: Settings, keeper: Keeper, poller: Poller) -> None:
        self._settings, self._keeper, self._poller = settings, keeper, poller
        self._served = itertools.count(1)
        self._socket = socket.create_server(("", settings.port), backlog=BACKLOG)
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
                    known = method == b"GET"
                    status, body = self._answer(target.decode("latin-1")) if known else ("404 Not Found", b"")
                    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
                    connection.sendall((head + ("\r\n" if keep else "Connection: close\r\n\r\n")).encode() + body)
        except OSError:
            pass  # the other side is gone

    def _answer(self, target: str) -> tuple[str, bytes]:
        settings, state = self._settings, self._keeper.state
        who: dict[str, object] = {"instance": settings.instance, "epoch": settings.epoch}
        match target.partition("?")[::2]:
            case "/", _:
                about = {"app": settings.app, "ue": settings.ue, "counter": state.counter, "zone": state.zone}
                count = {"seq": state.seq, "inMigration": state.in_migration, "errors": self._poller.errors}
                return "200 OK", json.dumps(about | count | who | {"served": next(self._served)}).encode()
            case "/ready", _:
                return "200 OK", json.dumps(who | {"seq": state.seq}).encode()
            case "/state", _:
                about = {"app": settings.app, "ue": settings.ue, "errors": self._poller.errors}
                return "200 OK", state.document(**about, **who)
            case "/changePhase", "" | "inMigration=0" | "inMigration=1" as query:
                try:
                    self._keeper.change_phase(query == "inMigration=1")
                except OSError as error:
                    say("phase refused", problem=str(error))
                    return "503 Service Unavailable", json.dumps(who | {"error": str(error)}).encode()
                now = self._keeper.state
                return "200 OK", json.dumps(who | {"seq": now.seq, "inMigration": now.in_migration}).encode()
        return "404 Not Found", json.dumps({"error": "no such path"}).encode()


def end(number: int, frame: FrameType | None) -> None:
    """End at once. Whatever is being written is either on disk as a whole or was told to nobody."""
    say("end", signal=number)
    os._exit(0)


def main() -> int:
    """Serve until a signal ends the process; 2 if the environment is wrong, 1 if the port cannot be had."""
    signal.signal(signal.SIGTERM, end)  # first of all: PID 1 of a container has no default for it
    signal.signal(signal.SIGINT, end)
    try:
        settings = Settings(os.environ)
    except ValueError as error:
        say("wrong environment", problem=str(error))
        return 2
    keeper = Keeper(settings)
    poller = Poller(settings, keeper)
    try:
        server = Server(settings, keeper, poller)
    except OSError as error:
        say("cannot listen", port=settings.port, problem=str(error))
        return 1
    state = keeper.state
    say("serving", port=server.port, seq=state.seq, counter=state.counter, inMigration=state.in_migration)
    threading.Thread(target=poller.run, name="poll", daemon=True).start()
    server.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
