"""A MEC host's Docker Engine API over the forwarded socket: connecting, the version spoken, time limits, errors.

aiodocker does the ordinary calls. Where it lacks one, or would leak a connection when a streamed call is cancelled,
`call` and `stream_in` use its session directly. Everything that goes wrong leaves as a HostError.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiodocker
import aiohttp
import orjson

from pillion.core.model import HostId
from pillion.errors import HostError, HostRefused, HostUnreachable
from pillion.hosts.ssh import SshConnection

NEWEST_API = (1, 45)
"""What this code was tried with; a newer engine is spoken to in this version, an older one in its own."""
OLDEST_API = (1, 41)

_IDLE_S = 300.0
_PORT_TAKEN = re.compile(r"(?:Bind for|listen tcp\d?) \S+:(\d+)(?: failed: port is already|: bind: address already)")

_PORT_REMEDY = (
    "end what uses port {0} there; if nothing does, restart its Docker Engine, which keeps what it lost track of"
)


@dataclass(frozen=True, slots=True)
class HostTimeouts:
    """How long each kind of call may take, seconds."""

    call_s: float = 10.0
    """An ordinary call to the engine: inspect, pause, create."""
    start_s: float = 30.0
    """Starting or killing a container."""
    work_s: float = 120.0
    """Commit, image load."""
    transfer_s: float = 600.0
    """One image or volume from host to host."""
    readiness_s: float = 1.0
    """One question to an app whether it serves."""
    hook_s: float = 10.0
    """An app's answer to its phase hook."""


class DockerApi:
    """One host's Docker Engine; connects at the first use."""

    def __init__(self, host: HostId, ssh: SshConnection, timeouts: HostTimeouts) -> None:
        self._host = host
        self._ssh = ssh
        self._timeouts = timeouts
        self._connecting = asyncio.Lock()
        self._docker: aiodocker.Docker | None = None
        self._connector: aiohttp.UnixConnector | None = None

    @contextlib.asynccontextmanager
    async def asking(self, what: str, timeout_s: float | None = None) -> AsyncIterator[aiodocker.Docker]:
        """The client, for calls that together may take `timeout_s`. Errors leave as HostError, saying `what` failed."""
        limit_s = self._timeouts.call_s if timeout_s is None else timeout_s
        try:
            async with asyncio.timeout(limit_s):
                yield await self._connected()
        except HostError:
            raise
        except aiodocker.DockerError as error:
            raise self._refusal(what, error) from error
        except TimeoutError as error:
            problem = f"{what}: the Docker Engine did not answer within {limit_s:g} s"
            raise HostUnreachable(problem, place=self._host, remedy="try again; look at the host's load") from error
        except (aiohttp.ClientError, OSError) as error:
            problem = f"{what}: no answer from the Docker Engine: {str(error) or type(error).__name__}"
            raise HostUnreachable(problem, place=self._host, remedy="see that dockerd runs there") from error

    async def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: object = None,
        data: bytes | AsyncIterator[bytes] | None = None,
        timeout_s: float | None = None,
    ) -> Any:
        """One request and its JSON answer, None if it has none. Raises HostError; `NoSuchObject` for a 404."""
        async with self.asking(f"{method} {path}", timeout_s) as docker:
            url = f"{docker.docker_host}/{docker.api_version}/{path}"
            body: Any = orjson.dumps(json) if json is not None else data
            kind = {"Content-Type": "application/x-tar" if data is not None else "application/json"}
            async with docker.session.request(method, url, params=params, data=body, headers=kind) as response:
                answer = await response.read()
                if response.status >= 400:
                    raise aiodocker.DockerError(response.status, _message(answer))
                return _parsed(answer)

    async def inspect(self, path: str) -> Any:
        """The JSON answer to a GET, or None where there is no such object. Raises HostError."""
        try:
            return await self.call("GET", path)
        except NoSuchObject:
            return None

    async def _connected(self) -> aiodocker.Docker:
        await self._ssh.connect()
        if self._docker is not None:
            return self._docker
        async with self._connecting:
            if self._docker is None:
                path = str(self._ssh.docker_socket)
                connector = aiohttp.UnixConnector(path, keepalive_timeout=_IDLE_S)
                session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None))
                try:
                    version = await self._version(session)
                except BaseException:
                    await session.close()
                    raise
                self._connector = connector
                # With a connector of ours the URL only has to be one that aiohttp takes.
                url = "http://localhost"
                self._docker = aiodocker.Docker(url=url, connector=connector, session=session, api_version=version)
            return self._docker

    async def _version(self, session: aiohttp.ClientSession) -> str:
        async with session.get("http://localhost/version") as response:
            response.raise_for_status()
            answer = orjson.loads(await response.read())
        major, minor = (int(part) for part in answer["ApiVersion"].split("."))
        if (major, minor) < OLDEST_API:
            problem = f"its Docker Engine {answer['Version']} speaks API {major}.{minor}"
            raise HostRefused(problem, place=self._host, remedy="install engine 20.10 or newer there")
        return "v{}.{}".format(*min((major, minor), NEWEST_API))

    def _refusal(self, what: str, error: aiodocker.DockerError) -> HostError:
        problem = f"{what}: {error.message}"
        if error.status == 404:
            return NoSuchObject(problem, place=self._host, remedy="see what removed it")
        if "cannot join network of a non running container" in error.message:
            return NoNetwork(problem, place=self._host, remedy="start the container whose network it uses")
        if error.status == 409:
            return Conflict(problem, place=self._host, remedy="see what else uses it")
        if error.status in (502, 503, 900):
            return HostUnreachable(problem, place=self._host, remedy="see that dockerd runs there")
        taken = _PORT_TAKEN.search(error.message)
        if taken is not None:
            problem = f"{what}: port {taken[1]} is taken"
            return HostRefused(problem, place=self._host, remedy=_PORT_REMEDY.format(taken[1]))
        remedy = "free some disk space there" if "no space left" in error.message else ""
        return HostRefused(problem, place=self._host, remedy=remedy)

    @property
    def connections_in_use(self) -> int:
        """HTTP connections that a call holds right now."""
        return 0 if self._connector is None else len(self._connector._acquired)

    async def close(self) -> None:
        if self._docker is not None:
            await self._docker.close()
            await self._docker.session.close()
            self._docker = None


class NoSuchObject(HostRefused):
    """The engine knows no object of that name."""


class Conflict(HostRefused):
    """The object's state, or its name, is in the way."""


class NoNetwork(HostRefused):
    """The container whose network it uses does not run."""


def _message(answer: bytes) -> str:
    try:
        return str(orjson.loads(answer)["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return answer.decode(errors="replace").strip()


def _parsed(answer: bytes) -> Any:
    if not answer.strip():
        return None
    try:
        return orjson.loads(answer)
    except orjson.JSONDecodeError:  # a progress stream: one object a line
        return [orjson.loads(line) for line in answer.splitlines() if line.strip()]
