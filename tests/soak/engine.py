"""The real engine as a process that can be stopped exactly there: `python -m tests.soak.engine LAB_FILE FD`.

It does what `pillion run` does without following UEs, which would move apps by themselves. Two seams of the engine are
wrapped from outside, so that the engine knows nothing of it: the commit of a batch to the journal, and the performing
of a step. At both it looks whether a trap is set. Traps come over the socket FD, one JSON object a line:

    in   {"traps": [{"at": "fence", "do": "begin"}, …]}     replaces what was set; answered by {"set": 2}
    in   {"go": true}                                       a step that was held goes on
    out  {"reached": "fence"}                               a trap was met; for `begin` and `end` the step is held
    out  {"step": "fence", "ended": "StepDone", "problem": null, "seconds": 0.02}      how that step ended

A trap fires once. The engine ends at SIGTERM, and when the other end of the socket is gone.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sqlite3
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from pillion import app, config
from pillion.core.actions import PerformStep
from pillion.core.events import Announcement, Event, StepFailed
from pillion.journal import store
from pillion.journal.records import Record
from pillion.lab.state import LabState
from pillion.runtime import clock
from pillion.runtime.steps import Steps


class Do(StrEnum):
    """What a trap does. The first two are set at an edge of the journal, the others at a step."""

    KILL_BEFORE = "kill-before"
    """SIGKILL just before the batch with this record is committed."""
    KILL_AFTER = "kill-after"
    """SIGKILL as soon as it is committed, before anybody hears of it."""
    BEGIN = "begin"
    """The step is held before it begins."""
    MIDST = "midst"
    """It is said that the step begins, and nothing is held."""
    END = "end"
    """The step is performed, and held before it answers."""
    REFUSE = "refuse"
    """The step fails and has no effect."""
    UNHEARD = "unheard"
    """The step is performed, but its answer is lost."""


@dataclass(frozen=True, slots=True)
class Trap:
    """Something that happens once, when the engine comes to this edge or step."""

    at: str
    do: Do


def edge(fact: Event | Announcement) -> str:
    """An edge of the journal by its record's name: `PlanMade`, `StepDone fence`."""
    return f"{type(fact).__name__} {getattr(fact, 'step', '')}".strip()


class Traps:
    """What is set, and the way to the switchboard."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._set: dict[str, Do] = {}
        self._go = asyncio.Event()

    async def listen(self) -> None:
        """Take what the switchboard says, until it is gone."""
        while line := await self._reader.readline():
            said = orjson.loads(line)
            if "traps" in said:
                self._set = {trap["at"]: Do(trap["do"]) for trap in said["traps"]}
                self.say({"set": len(self._set)})
            else:
                self._go.set()

    def say(self, what: dict[str, Any]) -> None:
        """Tell the switchboard."""
        self._writer.write(orjson.dumps(what) + b"\n")

    def take(self, at: str) -> Do | None:
        """The trap that is set there, which then is not set any more."""
        return self._set.pop(at, None)

    def taken(self, records: Sequence[Record]) -> Do | None:
        """The trap that is set at one of these records; called by the journal's thread."""
        return next(filter(None, (self.take(edge(record.fact)) for record in records)), None)

    async def hold(self, at: str) -> None:
        """Say that it was reached, and wait for the word to go on."""
        self._go.clear()
        self.say({"reached": at})
        await self._go.wait()


class TrappedSteps(Steps):
    """The engine's steps, with traps around the performing of each."""

    def __init__(self, traps: Traps, *of_steps: Any) -> None:
        super().__init__(*of_steps)
        self._traps = traps

    async def perform(self, order: PerformStep) -> Event:
        """Perform a step, through the trap that is set there."""
        step = order.step.id
        do = self._traps.take(step)
        if do is None:
            return await super().perform(order)
        began_s = clock.now_s()
        event: Event = StepFailed(order.migration, step, "cancelled")  # what is said if that happens below
        try:
            if do is Do.BEGIN:
                await self._traps.hold(step)  # a step beside it may feel the fault first, and fail both
                began_s = clock.now_s()
            elif do is Do.MIDST:
                self._traps.say({"reached": step})
            if do is Do.REFUSE:
                event = StepFailed(order.migration, step, "refused on purpose")
            else:
                event = await super().perform(order)
            if do is Do.END:
                await self._traps.hold(step)
            if do is Do.UNHEARD:
                event = StepFailed(order.migration, step, f"its answer, {type(event).__name__}, was lost on purpose")
        finally:
            self._traps.say(
                {
                    "step": step,
                    "ended": type(event).__name__,
                    "problem": getattr(event, "problem", None),
                    "seconds": clock.now_s() - began_s,
                }
            )
        return event


def _trap_journal(traps: Traps) -> None:
    """Let the process end exactly before or after the commit of the batch in which a trap is set."""
    real = store._write

    def write(connection: sqlite3.Connection, records: list[Record]) -> list[int]:
        do = traps.taken(records)
        if do is Do.KILL_BEFORE:
            os.kill(os.getpid(), signal.SIGKILL)
        written = real(connection, records)
        if do is Do.KILL_AFTER:
            os.kill(os.getpid(), signal.SIGKILL)
        return written

    store._write = write


async def main(lab_file: Path, fd: int) -> None:
    """The engine until SIGTERM, or until nobody holds the other end of the socket."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=fd))
    traps = Traps(reader, writer)
    _trap_journal(traps)
    setattr(app, "Steps", partial(TrappedSteps, traps))  # noqa: B010  in place of the class that it extends
    lab = config.load(lab_file)
    listening = asyncio.create_task(traps.listen(), name="listen to the switchboard")
    listening.add_done_callback(lambda _: stop.set())
    try:
        async with app.engine(lab, LabState.of(lab.lab), follow=False):
            await stop.wait()
    finally:
        listening.cancel()
        writer.close()


if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.INFO, stream=sys.stderr)
    logging.getLogger("asyncssh").setLevel(logging.WARNING)
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
