"""The engine is killed in the middle of a migration and started anew: it goes back or forward by itself.

A sample of the edges of an M2 migration: the kill comes as soon as the record named is in the journal. The UE asks all
the while; what arrives while nobody steers is held, and none of it fails.
"""

import asyncio
import signal
import sys

import pytest

from pillion.core.events import StepDone
from pillion.core.model import AppId
from pillion.journal import store
from pillion.runtime.control import ask

from .conftest import Lab
from .test_migrations import answers

pytestmark = pytest.mark.lab

A2 = AppId("a2")
EDGES = ["PlanMade", "commit", "send-image", "MigrationPrepared", "fence", "prove", "switch", "remove-source"]
GOES_FORWARD_FROM = EDGES.index("prove")


PROGRAM = """
import asyncio, signal, sys
from pathlib import Path
from pillion import app, config
from pillion.lab.state import LabState

async def main():
    lab = config.load(Path(sys.argv[1]))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with app.engine(lab, LabState.of(lab.lab), follow=False):
        await stop.wait()

asyncio.run(main())
"""
"""What `pillion run` does, but without following UEs, which would move the app by themselves."""


class Daemon:
    """An engine as a process of its own."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    async def __aenter__(self) -> "Daemon":
        await self.start()
        return self

    async def start(self) -> None:
        command = [sys.executable, "-c", PROGRAM, str(self._lab.file)]
        log = (self._lab.state.root / "daemon.log").open("ab")
        with log:
            self._process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)

    async def kill(self) -> None:
        self._process.kill()
        await self._process.wait()

    async def __aexit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(self._process.wait(), 40) == 0

    async def at_rest(self) -> str:
        """The host that serves A2, once nothing moves and nothing is owed."""
        async with asyncio.timeout(60):
            while True:
                fleet = await ask(self._lab.state.control_socket, "GET", "/fleet") or []
                mine = [each for each in fleet if each["app"] == A2]
                if mine and mine[0]["host"] and all(each["phase"] in (None, "prepared") for each in fleet):
                    return mine[0]["host"]
                await asyncio.sleep(0.1)


async def reached(lab: Lab, after: int, edge: str) -> None:
    """Wait until a record of that kind, or of that step's end, is in the journal."""
    async with asyncio.timeout(60):
        while True:
            for record in store.read(lab.state.journal, after):
                step = record.fact.step if isinstance(record.fact, StepDone) else None
                if edge in (record.kind, step):
                    return
            await asyncio.sleep(0.002)


@pytest.mark.parametrize("edge", EDGES)
async def test_a_killed_engine_goes_back_before_the_proof_and_forward_after_it(lab: Lab, edge: str) -> None:
    async with Daemon(lab) as daemon:
        source = await daemon.at_rest()
        target = "mec2" if source == "mec1" else "mec1"
        async with lab.asked(3000) as summaries:
            after = max(record.seq for record in store.read(lab.state.journal))
            await ask(lab.state.control_socket, "POST", "/migrate", {"app": A2, "to": target})
            await reached(lab, after, edge)
            await daemon.kill()
            await daemon.start()
            serving = await daemon.at_rest()
        (seen,) = summaries
        if edge in EDGES[GOES_FORWARD_FROM:]:
            assert serving == target
        assert seen.failed == 0
        assert seen.stale == 0
        assert seen.counter_went_back == seen.seq_went_back == 0
        for host, settings in lab.settings.hosts.items():
            assert await answers(settings.address, 3000) is (host == serving)
        other = target if serving == source else source
        ours = {name for name in lab.objects(other) if "a2." in name or "pillion-migration/a2" in name}
        assert ours == set(), f"left on {other}"
