"""An HTTP server of ours at a TCP port, for as long as a block runs."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from pillion.errors import MachineError

_GRACE_S = 0.5
"""What a request under way may still take when the block ends."""


@asynccontextmanager
async def served_at(app: web.Application, host: str, port: int) -> AsyncIterator[int]:
    """The app is served while the block runs; gives the port it got. Raises MachineError if it cannot have it."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_GRACE_S)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            problem = "the port is taken" if error.errno == errno.EADDRINUSE else f"cannot listen: {error.strerror}"
            raise MachineError(problem, place=f"{host}:{port}", remedy="free it or choose another one") from error
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
