"""The world around an engine in a fault campaign: its process, its journal, the hosts' shells, and the UE."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import orjson

from pillion.config import LabSettings
from pillion.core.events import RelocationBegan, StepDone, StepUndone
from pillion.core.fleet import decide
from pillion.core.measures import Sample, summarise
from pillion.core.model import AppId, Instance
from pillion.core.state import Fleet
from pillion.errors import MachineError
from pillion.journal import store
from pillion.journal.records import Record
from pillion.lab import compose
from pillion.lab.state import LabState
from pillion.probe import probe, read_samples
from tests.soak.campaign import TOP, Violation, engine_log
from tests.soak.engine import Trap

A2 = AppId("a2")
Fact = TypeVar("Fact")
RATE_HZ = 50.0
REST_S = 60.0
"""How long an engine may take to come to rest."""
_LOOK_S = 0.05
_STARTS_S = 20.0
_SHELL_S = 30.0


class Lab(Protocol):
    """A lab that is up."""

    @property
    def file(self) -> Path: ...
    @property
    def settings(self) -> LabSettings: ...
    @property
    def state(self) -> LabState: ...


class Shell:
    """A root shell inside a container of the lab, kept open: what is asked of it takes milliseconds."""

    def __init__(self, place: str, process: asyncio.subprocess.Process) -> None:
        self._place = place
        self._process = process
        self._mark = secrets.token_hex(8)
        self._one = asyncio.Lock()

    @classmethod
    @asynccontextmanager
    async def of(cls, lab: Lab, service: str) -> AsyncIterator[Shell]:
        """The shell of one of the lab's services; it ends with the context."""
        name = f"{compose.project(lab.settings)}-{service}"
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *("docker", "exec", "-i", name, "sh"),
            stdin=pipe,
            stdout=pipe,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C is for us: what is still under way is taken back first
        )
        try:
            yield cls(service, process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), 5)
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def run(self, script: str) -> str:
        """What the script printed. Raises MachineError if it failed, with that."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        async with self._one, asyncio.timeout(_SHELL_S):
            stdin.write(f"( {script}\n) </dev/null 2>&1; code=$?; echo; echo {self._mark} $code\n".encode())
            said = (await stdout.readuntil(f"{self._mark} ".encode())).decode().rpartition(self._mark)[0].strip()
            code = int(await stdout.readline())
        if code:
            raise MachineError(said or f"exit {code}", place=f"{self._place}: {script.splitlines()[0][:60]}")
        return said


class EngineProcess:
    """The engine as a process of its own, with the switchboard's end of its traps."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._log = engine_log(lab.settings.lab)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it; it is asked nothing yet."""
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "tests.soak.engine", str(self._lab.file), str(theirs.fileno())]
        with theirs, self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command, cwd=TOP, stdout=log, stderr=log, pass_fds=[theirs.fileno()], start_new_session=True
            )
        self._reader, self._writer = await asyncio.open_connection(sock=ours)

    async def set(self, traps: Sequence[Trap]) -> None:
        """Set these traps, and no others."""
        self._say({"traps": traps})
        await self.told("set")

    async def told(self, what: str) -> dict[str, Any]:
        """The next thing of that kind that a trap says. Raises Violation if it does not come, or the engine ends."""
        try:
            async with asyncio.timeout(REST_S):
                while line := await self._reader.readline():
                    said: dict[str, Any] = orjson.loads(line)
                    if what in said:
                        return said
        except TimeoutError:
            raise Violation(f"{what!r} is not said within {REST_S:g} s") from None
        raise Violation(f"the engine ended instead of saying {what!r}: {self.last_words()}")

    def go(self) -> None:
        """Let the step go on that is held."""
        self._say({"go": True})

    def _say(self, what: dict[str, Any]) -> None:
        self._writer.write(orjson.dumps(what) + b"\n")

    async def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()
        await self.ended()

    async def ended(self) -> int:
        """Wait for its end: the code it ended with, negative if by a signal."""
        assert self._process is not None
        try:
            code = await asyncio.wait_for(self._process.wait(), REST_S)
        except TimeoutError:
            raise Violation("the engine was not killed: the edge was not reached") from None
        self._writer.close()
        return code

    async def stop(self) -> None:
        """SIGTERM, which it must survive in good order; content if it does not run."""
        if self._process is None or not self.is_running:
            return
        self.go()  # nothing is held that it would wait for
        self._process.terminate()
        try:
            code = await asyncio.wait_for(self._process.wait(), 40)
        finally:
            if self.is_running:
                await self.kill()
        self._writer.close()
        if code:
            raise Violation(f"the engine ended with exit code {code}: {self.last_words()}")

    def last_words(self) -> str:
        """The last line of its log."""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "nothing"


class Story:
    """The journal as it grows, folded as a restarted engine would; no engine is asked."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._seq = 0
        self.fleet = Fleet.empty()
        self.records: list[Record] = []
        """What was read since `begin`."""
        self.served: set[str] = set()
        """Containers of A2 that served at some time."""
        self.stood_still: list[tuple[float, float]] = []
        """From when to when, on the monotonic clock, a source was fenced that served again, with a target started."""
        self._fenced_s = self._thawed_s = 0.0

    def begin(self) -> None:
        """A new case: what came before is only remembered in the fleet."""
        self.look()
        self.records = []

    def look(self) -> None:
        """Take in what is new."""
        for record in store.read(self._journal, self._seq):
            self._seq = record.seq
            self.records.append(record)
            self._fences(record)
            if record.role == "event":
                self.fleet, _ = decide(self.fleet, record.fact, record.now_s)  # type: ignore[arg-type]  # no decisions
                if A2 in self.fleet.apps and (serving := self.fleet.apps[A2].serving):
                    self.served.add(serving.container)

    def _fences(self, record: Record) -> None:
        match record.fact:
            case RelocationBegan() | StepDone(step="fence"):  # a killed engine may not have noted the fence itself
                self._fenced_s = record.now_s
            case StepUndone(step="fence"):
                self._thawed_s = record.now_s
            case StepUndone(step="start"):  # undone after the fence; where none was started, the fence may have failed
                self.stood_still.append((self._fenced_s, self._thawed_s))

    def facts(self, kind: type[Fact]) -> list[Fact]:
        """The facts of that kind since `begin`."""
        return [record.fact for record in self.records if isinstance(record.fact, kind)]

    @property
    def serving(self) -> Instance:
        """The instance that serves A2."""
        serving = self.fleet.apps[A2].serving
        assert serving is not None
        return serving

    async def until(self, holds: Callable[[], object], what: str) -> None:
        """Wait until the journal says so. Raises Violation if it does not in time."""
        end_s = time.monotonic() + REST_S
        while True:
            self.look()
            if holds():
                return
            if time.monotonic() > end_s:
                tail = "; ".join(record.line().partition(" ")[2] for record in self.records[-6:])
                raise Violation(f"not so after {REST_S:g} s: {what}; the journal's last lines: {tail}")
            await asyncio.sleep(_LOOK_S)

    async def at_rest(self) -> None:
        """Wait until every app serves, nothing moves, and nothing is owed."""
        await self.until(self._rests, "nothing moves and nothing is owed")

    def _rests(self) -> bool:
        apps = self.fleet.apps.values()
        return bool(apps) and not self.fleet.debts and all(s.serving and not s.migration for s in apps)


@dataclass
class Ue:
    """What the UE saw; complete once its context has ended."""

    samples: Sequence[Sample] = ()

    def longest_ms(self, until_s: float) -> int:
        """The longest that a request waited of those sent before an instant on the monotonic clock."""
        waits = [s.answered_s - s.sent_s for s in self.samples if s.answered_s is not None and s.sent_s < until_s]
        return round(1000 * max(waits, default=0.0))

    def check(self) -> int:
        """Raises Violation if a request failed or an answer was older than one before; the newest `seq` it was told."""
        seen = summarise(self.samples)
        wrong = {
            "requests failed": seen.failed,
            "answers of an older epoch after a newer one": seen.stale,
            "times the counter went back": seen.counter_went_back,
            "times the sequence number went back": seen.seq_went_back,
        }
        if found := [f"{count} {what}" for what, count in wrong.items() if count]:
            raise Violation(f"the UE: {', '.join(found)} {seen.errors or ''}")
        if not seen.answered:
            raise Violation("the UE was never answered")
        return max(sample.seq for sample in self.samples if sample.seq is not None)


@asynccontextmanager
async def asking(lab: Lab) -> AsyncIterator[Ue]:
    """The UE asks A2 all the while through the user plane."""
    ue, stop = Ue(), asyncio.Event()
    url = f"http://{lab.settings.user_plane_address}:{lab.settings.apps[A2].port}/"
    with tempfile.TemporaryFile() as samples:
        asks = asyncio.create_task(probe(url, samples, rate_hz=RATE_HZ, stop=stop), name="the UE asks")
        try:
            yield ue
        finally:
            stop.set()
            await asks
            samples.seek(0)
            ue.samples = read_samples(samples.read())
