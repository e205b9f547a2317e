"""What the engine asks an app directly, on the port that its MEC host publishes, past the user plane.

Each question opens a connection of its own: the proof that a target serves has to include that it takes new ones, and
a connection kept from before could be answered by an earlier instance, or hang in one that is paused.
"""

from __future__ import annotations

import aiohttp
import orjson

from pillion.core.model import Epoch, HostId, Readiness
from pillion.errors import HostRefused, HostUnreachable


class AppCalls:
    """HTTP calls to the apps of one host."""

    def __init__(self, host: HostId, address: str) -> None:
        self._host = host
        self._address = address
        self._session: aiohttp.ClientSession | None = None

    async def readiness(self, port: int, path: str, timeout_s: float) -> Readiness | None:
        """What the app there says of itself; None if nothing serves there, or it says that it does not.

        Raises HostRefused if something answers 200, but not as an app of ours.
        """
        try:
            status, answer = await self._get(port, path, timeout_s)
        except (aiohttp.ClientError, OSError):  # refused, reset, too late: nothing serves
            return None
        if status != 200:
            return None
        try:
            said = orjson.loads(answer)
            return Readiness(str(said["instance"]), Epoch(int(said["epoch"])), int(said["seq"]))
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            problem = f"what answers at {self._address}:{port}{path} lacks instance, epoch or seq"
            remedy = "set the app's ready_path in the lab file; see what else uses the port"
            raise HostRefused(problem, place=self._host, remedy=remedy) from error

    async def get(self, port: int, path: str, timeout_s: float) -> None:
        """Raises HostUnreachable if nothing answers, HostRefused if it does not answer 200."""
        where = f"the app at {self._address}:{port}{path}"
        try:
            status, answer = await self._get(port, path, timeout_s)
        except (aiohttp.ClientError, OSError) as error:
            problem = f"{where} does not answer: {str(error) or type(error).__name__}"
            raise HostUnreachable(problem, place=self._host, remedy="see the app's log") from error
        if status != 200:
            problem = f"{where} answered {status}: {answer[:200].decode(errors='replace')}"
            raise HostRefused(problem, place=self._host, remedy="see the app's log, or its hook in the lab file")

    async def _get(self, port: int, path: str, timeout_s: float) -> tuple[int, bytes]:
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True))
        limit = aiohttp.ClientTimeout(total=timeout_s)
        async with self._session.get(f"http://{self._address}:{port}{path}", timeout=limit) as response:
            return response.status, await response.read()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None
