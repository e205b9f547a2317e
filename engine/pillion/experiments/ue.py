"""The UE in an experiment: the probe as a process on the UE's side of the lab, and what it has seen so far."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tenacity import RetryError, retry, retry_if_result, stop_after_delay, wait_fixed

from pillion.config import LabSettings
from pillion.core.measures import Sample
from pillion.core.model import HostId
from pillion.errors import MachineError
from pillion.lab import compose
from pillion.lab.command import run
from pillion.lab.state import LabState
from pillion.probe import read_samples

_LOOK_S = 0.25
_ANSWERED_S = 60.0
_ENOUGH = 100


@dataclass(frozen=True, slots=True)
class Ue:
    """The samples file of a probe that runs, or has run."""

    file: Path

    async def samples(self) -> list[Sample]:
        """What has been written so far."""
        return await asyncio.to_thread(lambda: read_samples(self.file.read_bytes()) if self.file.exists() else [])

    async def answered_by(self, epoch: int) -> None:
        """Wait until that instance has given `_ENOUGH` good answers. Raises MachineError if it does not in time."""
        await self._answered(f"epoch {epoch}", lambda sample: sample.epoch == epoch)

    async def answered_from(self, host: HostId) -> None:
        """The same of a MEC host, which the user plane names."""
        await self._answered(host, lambda sample: sample.host == host)

    async def _answered(self, who: str, counts: Callable[[Sample], bool]) -> None:
        async def answers() -> int:
            return sum(counts(sample) and sample.error is None for sample in await self.samples())

        few = retry_if_result(lambda count: count < _ENOUGH)
        try:
            await retry(retry=few, wait=wait_fixed(_LOOK_S), stop=stop_after_delay(_ANSWERED_S))(answers)()
        except RetryError as late:
            problem = f"{who} did not answer the UE within {_ANSWERED_S:g} s"
            raise MachineError(problem, place="probe", remedy="see the app's log on its MEC host") from late


@asynccontextmanager
async def asking(lab: LabSettings, state: LabState, port: int, rate_hz: float) -> AsyncIterator[Ue]:
    """The UE asks the app at the user plane's `port` all the while; all is in the samples once this has ended."""
    ue = Ue(state.ue / "samples.jsonl")
    await asyncio.to_thread(ue.file.unlink, missing_ok=True)
    name = f"{compose.project(lab)}-ue"
    words = ["docker", "compose", "--project-name", compose.project(lab), "--file", str(state.compose_file)]
    words += ["run", "--rm", "-T", "--name", name, "ue", "python3", "-m", "pillion.probe"]
    words += [f"http://{lab.user_plane_address}:{port}/", "--rate", str(rate_hz), "--samples", "/ue/samples.jsonl"]
    nowhere = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*words, stdin=nowhere, stdout=nowhere, stderr=nowhere)
    try:
        yield ue
    finally:
        if process.returncode is None:
            with contextlib.suppress(MachineError):
                await run(["docker", "kill", "--signal", "TERM", name], limit_s=20)
            await asyncio.wait_for(process.wait(), 60)
