"""What the campaigns beside the faults run on: a lab of their own, and an engine in its own process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from pillion import config
from pillion.config import LabSettings
from pillion.core.reports import MigrationReport, migration_reports
from pillion.experiments import labs
from pillion.journal import store
from pillion.lab.state import LabState
from pillion.runtime.control import ask
from tests.soak.campaign import engine_log

LAB_FILE = Path(__file__).parent / "campaign-lab.pillion.yml"
_SERVES_S = 60.0
_MIGRATES_S = 90.0
_ENDS_S = 40.0
_LOOK_S = 0.1


@asynccontextmanager
async def fresh_lab(*apps: str, file: Path = LAB_FILE) -> AsyncIterator[tuple[LabSettings, LabState]]:
    """The campaigns' lab with these apps alone; made anew, and removed at the end."""
    whole = config.load(file)
    lab = whole.model_copy(update={"apps": {app: whole.apps[app] for app in apps}})
    state = LabState.of(lab.lab)
    async with labs.fresh(lab, state):
        yield lab, state


_PROGRAM = """
import asyncio, logging, sys
from pathlib import Path
from pillion import app, config
from pillion.lab.state import LabState

logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", level=logging.INFO)
logging.getLogger("asyncssh").setLevel(logging.WARNING)

async def main():
    whole, source = config.load(Path(sys.argv[1])), sys.argv[2]
    lab = whole.model_copy(update={"apps": {name: whole.apps[name] for name in sys.argv[3:]}})
    if source:
        lab = lab.model_copy(update={"tracking": lab.tracking.model_copy(update={"source": source})})
    stop = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, stop.set)
    async with app.engine(lab, LabState.of(lab.lab), follow=bool(source)):
        await stop.wait()

asyncio.run(main())
"""
"""What `pillion run` does, but without a source of events it follows no UE, which would move the apps. It ends when
its standard input does, so that it never outlives a campaign that was killed."""


class Engine:
    """An engine as a process of its own, spoken to as `pillion migrate` does."""

    def __init__(self, state: LabState, pid: int) -> None:
        self.pid = pid
        self._state = state

    async def serving(self, app: str, *, at_rest: bool = True) -> tuple[str, int]:
        """Host and epoch of the instance that serves an app, once nothing of it moves if it is to be `at_rest`."""
        async with asyncio.timeout(_SERVES_S):
            while True:
                for each in await ask(self._state.control_socket, "GET", "/fleet") or []:
                    if each["app"] == app and each["host"] and not (at_rest and each["migration"]):
                        return each["host"], each["epoch"]
                await asyncio.sleep(_LOOK_S)

    async def move(self, app: str, target: str, strategy: str = "M2") -> MigrationReport:
        """Ask for a migration and wait for its end, whatever that is."""
        after = await asyncio.to_thread(store.last_seq, self._state.journal)
        await ask(self._state.control_socket, "POST", "/migrate", {"app": app, "to": target, "strategy": strategy})
        async with asyncio.timeout(_MIGRATES_S):
            while True:
                records = await asyncio.to_thread(lambda: list(store.read(self._state.journal, after)))
                reports = migration_reports((record.now_s, record.fact) for record in records)
                if reports and reports[0].ended_s is not None:
                    return reports[0]
                await asyncio.sleep(_LOOK_S)


@asynccontextmanager
async def engine(lab: LabSettings, state: LabState, file: Path = LAB_FILE, source: str = "") -> AsyncIterator[Engine]:
    """An engine on this lab, with every app serving; stopped at the end. `source`: how it follows UEs, if it does."""
    with engine_log(lab.lab).open("ab") as log:
        command = [sys.executable, "-c", _PROGRAM, str(file), source, *lab.apps]
        process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE, stdout=log, stderr=log)
    assert process.stdin is not None
    try:
        running = Engine(state, process.pid)
        for app in lab.apps:
            await running.serving(app, at_rest=not source)  # one that follows may have its next move prepared for long
        yield running
    finally:
        process.stdin.close()
        await asyncio.wait_for(process.wait(), _ENDS_S)
