"""Makes `drive-10.100.0.2.trace` and its truth anew: `python -m tests.data.record_drive` in the repository's root.

One lap of the study's vehicle in the embedded sandbox, asked four times a second through the real Location client. The
sandbox is in lockstep, so the drive takes seconds and is the same each time: a second of the trace is one tick. The
committed trace is of version 1, as release 0.1.0 wrote it; made anew it is of today's.
"""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace
from pathlib import Path

import aiohttp
import orjson

from pillion.config import TrackingSettings
from pillion.core.model import UeId
from pillion.mec.location import LocationClient
from pillion.replay.trace import TraceWriter
from pillion.sandbox.server import sandbox

UE = UeId("10.100.0.2")
TRACE = Path(__file__).with_name(f"drive-{UE}.trace")
TRUTH = Path(__file__).with_name(f"drive-{UE}.truth.json")
SECONDS = 250
POLLS_A_SECOND = 4


async def recorded() -> tuple[str, bytes]:
    """The trace, and the true handovers as the control plane tells them, without the clock of this machine."""
    trace = io.StringIO()
    async with (
        sandbox(port=0, control_port=0, lockstep=True) as listening,
        LocationClient(f"{listening.api_url}/location/v2", TrackingSettings().radius_m) as client,
        aiohttp.ClientSession(listening.control_url) as control,
    ):
        writer = TraceWriter(trace, UE, await client.layout())
        async with control.post("/drive"):
            pass
        for second in range(SECONDS):
            for poll in range(POLLS_A_SECOND):
                writer.add(replace(await client.user(UE), asked_s=second + poll / POLLS_A_SECOND))
            async with control.post("/tick"):
                pass
        async with control.get("/truth", params={"ue": UE}) as answer:
            changes = (await answer.json())["changes"]
    for change in changes:
        del change["monotonic_s"]
    lines = b",\n".join(orjson.dumps(change) for change in changes if change["tick"] < SECONDS)
    return trace.getvalue(), b"[\n" + lines + b"\n]\n"


if __name__ == "__main__":
    text, truth = asyncio.run(recorded())
    TRACE.write_text(text, encoding="utf-8")
    TRUTH.write_bytes(truth)
