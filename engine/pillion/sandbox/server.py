"""The sandbox as a process: two listening ports and a ticker, until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from pillion.sandbox.api import api_app
from pillion.sandbox.control import control_app
from pillion.sandbox.live import LiveWorld
from pillion.sandbox.notifications import callbacks_session
from pillion.sandbox.scenario import load_scenario
from pillion.server import served_at

log = logging.getLogger(__name__)

DEFAULT_PORT = 8000
DEFAULT_CONTROL_PORT = 8001
DEFAULT_NAME = "sbxpillion"


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a running sandbox can be reached. Ports are the real ones, also where 0 was asked for."""

    host: str
    port: int
    control_port: int
    live: LiveWorld
    ticker: asyncio.Task[None] | None
    """What moves the world; None in lockstep. It ends only by a bug of ours."""

    @property
    def api_url(self) -> str:
        """What a gateway puts before `/location/v2/…`."""
        return f"http://{self.host}:{self.port}/{self.live.name}"

    @property
    def control_url(self) -> str:
        return f"http://{self.host}:{self.control_port}"


@asynccontextmanager
async def sandbox(
    scenario: str = "monaco",
    *,
    speed: float = 1.0,
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    control_port: int = DEFAULT_CONTROL_PORT,
    name: str = DEFAULT_NAME,
    lockstep: bool = False,
    strict: bool = False,
    network: str | None = None,
) -> AsyncIterator[Listening]:
    """A sandbox that serves while the block runs; its vehicles rest until the drive is started.

    `network`: play this one of the scenario's networks only. `strict`: answer as the specifications have it.
    Raises ConfigError for a bad scenario, network or speed, MachineError if a port cannot be had.
    """
    live = LiveWorld(load_scenario(scenario), name=name, speed=speed, lockstep=lockstep, strict=strict)
    if network is not None:
        live.activate(network)
    async with AsyncExitStack() as stack:
        bound = await stack.enter_async_context(served_at(api_app(live), host, port))
        bound_control = await stack.enter_async_context(served_at(control_app(live), host, control_port))
        http = await stack.enter_async_context(callbacks_session())
        for service in live.services:
            sending = asyncio.create_task(service.line.run(http), name=f"notify {service.line.api}")
            stack.push_async_callback(_ended, sending)
        ticker = None if lockstep else asyncio.create_task(live.run(), name=f"tick {name}")
        try:
            yield Listening(host, bound, bound_control, live, ticker)
        finally:
            if ticker is not None:
                ticker.cancel()
                await asyncio.wait([ticker])
        if ticker is not None and not ticker.cancelled():
            ticker.result()


async def serve(
    scenario: str = "monaco",
    *,
    speed: float = 1.0,
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    control_port: int = DEFAULT_CONTROL_PORT,
    name: str = DEFAULT_NAME,
    lockstep: bool = False,
    strict: bool = False,
    network: str | None = None,
) -> None:
    """Serve a sandbox until SIGTERM or SIGINT. Raises as `sandbox` does."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop.set)
    running = sandbox(
        scenario,
        speed=speed,
        host=host,
        port=port,
        control_port=control_port,
        name=name,
        lockstep=lockstep,
        strict=strict,
        network=network,
    )
    async with running as listening:
        log.info("%s: APIs at %s, control at %s", listening.live, listening.api_url, listening.control_url)
        waits: list[asyncio.Task[Any]] = [asyncio.create_task(stop.wait(), name="wait for a signal")]
        if listening.ticker is not None:
            waits.append(listening.ticker)
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    log.info("stopped at tick %d", listening.live.world.ticks)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
