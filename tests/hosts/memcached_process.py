"""A real memcached for the tests, on a port of its own."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

DEADLINE_S = 20.0

needs_memcached = pytest.mark.skipif(
    shutil.which("memcached") is None, reason="no memcached on this machine; scripts/setup.sh installs it as root"
)


@dataclass(frozen=True)
class Served:
    """A memcached that runs, on loopback."""

    port: int
    process: asyncio.subprocess.Process

    async def freeze(self) -> None:
        """Its host still takes connections and bytes; it says nothing."""
        self.process.send_signal(signal.SIGSTOP)
        async with asyncio.timeout(DEADLINE_S):
            while not self._is_frozen():
                await asyncio.sleep(0.005)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def _is_frozen(self) -> bool:
        """Whether every thread is: one that still runs could answer."""
        threads = Path(f"/proc/{self.process.pid}/task").iterdir()
        return all((thread / "stat").read_text().rpartition(")")[2].split()[0] == "T" for thread in threads)


@asynccontextmanager
async def memcached(folder: Path, *options: str, port: int = 0) -> AsyncIterator[Served]:
    """Start one, empty; it is killed at the end. `port` 0: any that is free."""
    told = folder / "memcached-port"
    told.unlink(missing_ok=True)
    process = await asyncio.create_subprocess_exec(
        *("memcached", "-u", "root", "-l", "127.0.0.1", "-p", str(port or -1), *options),
        env={"MEMCACHED_PORT_FILENAME": str(told)},
    )
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not told.exists():  # written under another name and renamed
                assert process.returncode is None, "memcached ended at its start"
                await asyncio.sleep(0.01)
        yield Served(int(told.read_text().rpartition(":")[2]), process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
