"""What a UE sees of one migration, whatever its app speaks: downtime, what failed, and whether the state is whole."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from pillion.config import LabSettings
from pillion.core.measures import summarise
from pillion.core.model import App, HostId, Protocol
from pillion.errors import MigrationError
from pillion.experiments.keys import Address, Traffic, fill, make_items, prove
from pillion.experiments.ue import asking
from pillion.lab.state import LabState

T = TypeVar("T")
RATE_HZ = 200.0
KEYS, KEYS_BYTES = 2_000, 8_000_000
_ENOUGH = 100
_LOOK_S = 0.05
_ANSWERED_S = 60.0


@dataclass(frozen=True, slots=True)
class Seen:
    """One migration as its UE saw it, seconds."""

    downtime_s: float
    """The time without an answer."""
    resolution_s: float
    """How much of it may be the UE's own sending interval."""
    failures: Mapping[str, int]
    """Requests that failed and connections that were cut, by kind."""
    state_kept: bool
    state: str
    """What shows that it was, or was not."""
    lateness_s: float
    """How far the UE itself lagged at worst."""


async def observed(
    lab: LabSettings, state: LabState, app: App, source: HostId, target: HostId, migrate: Callable[[], Awaitable[T]]
) -> tuple[T, Seen]:
    """Migrate while the app's UE asks `RATE_HZ` times a second. Raises what `migrate` raises, MachineError, HostError,
    and MigrationError if the UE saw no switchover to the target, or more."""
    if app.protocol is Protocol.MEMCACHED:
        return await _keys(Address(str(lab.user_plane_address), app.port), migrate)
    async with asking(lab, state, app.port, RATE_HZ) as ue:
        await ue.answered_from(source)
        done = await migrate()
        await ue.answered_from(target)
    seen = summarise(await ue.samples())
    if [switch.to_host for switch in seen.switchovers] != [target]:
        saw = ", ".join(str(switch.to_host) for switch in seen.switchovers) or "none"
        raise MigrationError(f"the UE saw switchovers to {saw}, not the one to {target}", place="probe")
    switch = seen.switchovers[0]
    went_back = seen.counter_went_back + seen.seq_went_back
    return done, Seen(
        downtime_s=switch.downtime_s,
        resolution_s=switch.resolution_s,
        failures=seen.errors,
        state_kept=went_back == 0,
        state=f"{went_back} answers went back" if went_back else "never went back",
        lateness_s=seen.lateness_max_s,
    )


async def _keys(address: Address, migrate: Callable[[], Awaitable[T]]) -> tuple[T, Seen]:
    truth = await fill(address, make_items(KEYS, KEYS_BYTES))
    traffic, stop = Traffic(address, truth, RATE_HZ), asyncio.Event()
    working = asyncio.create_task(traffic.run(stop), name="keys of the UE")
    try:
        await _answered(traffic, working, _ENOUGH)
        began_s = time.monotonic()
        done = await migrate()
        await _answered(traffic, working, len(traffic.answers) + _ENOUGH)
        downtime_s = traffic.longest_gap_s(began_s, time.monotonic())
    finally:
        stop.set()
        await asyncio.wait({working})
    working.result()
    proof = await prove(address, truth, frozen_s=downtime_s)
    cuts = Counter(len(each) for each in traffic.cuts)
    return done, Seen(
        downtime_s=downtime_s,
        resolution_s=1 / RATE_HZ,
        failures={f"connections cut {times} times": count for times, count in cuts.items() if times},
        state_kept=proof.holds and not traffic.wrong,
        state=str(proof) if not traffic.wrong else f"{proof}; {len(traffic.wrong)} reads were wrong meanwhile",
        lateness_s=0.0,
    )


async def _answered(traffic: Traffic, working: asyncio.Task[None], count: int) -> None:
    async with asyncio.timeout(_ANSWERED_S):
        while len(traffic.answers) < count:
            if working.done():
                working.result()
            await asyncio.sleep(_LOOK_S)
