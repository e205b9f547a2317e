"""The sandbox as a process of its own."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from pillion.errors import ConfigError, MachineError
from pillion.sandbox.server import sandbox

ENGINE = Path(__file__).parents[2] / "engine"
PATIENCE_S = 20.0


@asynccontextmanager
async def process(*options: str) -> AsyncIterator[asyncio.subprocess.Process]:
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pillion.sandbox", "--port", "0", "--control-port", "0", *options),
        cwd=ENGINE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield running
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()


async def addresses(running: asyncio.subprocess.Process) -> tuple[str, str]:
    assert running.stderr is not None
    async for line in running.stderr:
        if found := re.search(r"APIs at (\S+), control at (\S+)", line.decode()):
            return found[1], found[2]
    raise AssertionError("it ended without saying where it listens")


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
async def test_it_drives_until_it_is_told_to_stop_and_then_ends_at_once(stop: signal.Signals) -> None:
    async with process("--speed", "100", "--name", "sbxabc") as running, aiohttp.ClientSession() as http:
        api, control = await addresses(running)
        assert api.endswith("/sbxabc")
        async with http.post(f"{control}/drive") as response:
            assert (await response.json())["running"] is True
        tick = 0
        while tick < 20:
            async with http.get(f"{control}/drive") as response:
                tick = (await response.json())["tick"]
        async with http.get(f"{api}/location/v2/queries/users") as response:
            assert len((await response.json())["userList"]["user"]) == 12
        told_at_s = time.monotonic()
        running.send_signal(stop)  # the client's connections are still open
        assert await running.wait() == 0
        assert time.monotonic() - told_at_s < 2.0


@pytest.mark.parametrize(
    ("options", "code", "remedy"),
    [
        (["--scenario", "atlantis"], 3, "there is no such scenario (give one of: monaco"),
        (["--speed", "0"], 3, "0 is no speed (give a number above 0"),
    ],
)
async def test_a_wrong_order_is_one_line_with_the_remedy_and_its_exit_code(
    options: list[str], code: int, remedy: str
) -> None:
    async with process(*options) as running:
        assert running.stderr is not None
        said = (await running.stderr.read()).decode()
        assert await running.wait() == code
        assert remedy in said.splitlines()[-1]
        assert "Traceback" not in said


async def test_a_taken_port_is_refused_with_its_number() -> None:
    async with sandbox(port=0, control_port=0) as first:
        with pytest.raises(MachineError, match=f"{first.port}: the port is taken .*choose another"):
            async with sandbox(port=first.port, control_port=0):
                pass


async def test_a_refused_sandbox_holds_no_port() -> None:
    async with sandbox(port=0, control_port=0) as first:
        with pytest.raises(MachineError):
            async with sandbox(port=0, control_port=first.control_port):
                pass
        port = first.port
    async with sandbox(port=port, control_port=0) as second:
        assert second.port == port


async def test_a_bad_scenario_is_refused_before_any_port_is_taken() -> None:
    with pytest.raises(ConfigError):
        async with sandbox("atlantis", port=0, control_port=0):
            pass
