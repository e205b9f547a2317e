"""The engine's side of the transfer helpers: they are started once per host, and joined in pairs ahead of a downtime.

In the downtime `HelperLink.send_volume` is one line to the source's helper and one line back.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import logging
import secrets
import zipfile
from collections.abc import Mapping
from importlib import resources
from pathlib import PurePosixPath
from typing import Any

import asyncssh
import orjson

from pillion.core.model import HostId
from pillion.core.plan import Round
from pillion.errors import HostError, HostRefused, HostUnreachable, StaleEpoch
from pillion.hosts.base import Transferred
from pillion.hosts.ssh import SshConnection, SshProcess

log = logging.getLogger(__name__)

_PACKAGE = "pillion.hosts.helper"
_START = b"import sys\nfrom pillion.hosts.helper.main import main\nsys.exit(main())\n"
_STDERR_LIMIT_BYTES = 4096
_END_TIMEOUT_S = 5.0


def helper_archive() -> bytes:
    """The transfer helper as one file that `python3` runs (a zip of its modules); the same sources give the same bytes.

    Source: Python documentation, zipapp, "The Python Zip Application Archive Format".
    """
    files = {"__main__.py": _START, "pillion/__init__.py": b"", "pillion/hosts/__init__.py": b""}
    for source in sorted(resources.files(_PACKAGE).iterdir(), key=lambda entry: entry.name):
        if source.name.endswith(".py"):
            files[f"{_PACKAGE.replace('.', '/')}/{source.name}"] = source.read_bytes()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return packed.getvalue()


class HelperProcess:
    """The helper that runs on one host for this engine. `stale_epoch`: the newer engine's that has claimed the host."""

    def __init__(self, host: HostId, process: SshProcess, timeout_s: float) -> None:
        self._host = host
        self._process = process
        self._timeout_s = timeout_s
        self._next = 0
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._last_words = b""
        self.stale_epoch: int | None = None
        self.is_running = True
        self._tasks = [
            asyncio.create_task(self._read_replies(), name=f"helper replies {host}"),
            asyncio.create_task(self._read_errors(), name=f"helper errors {host}"),
        ]

    def __repr__(self) -> str:
        state = f"{len(self._waiting)} under way" if self.is_running else "ended"
        return f"<HelperProcess {self._host}: {state}>"

    @classmethod
    async def start(
        cls, host: HostId, ssh: SshConnection, folder: PurePosixPath, epoch: int, timeout_s: float
    ) -> HelperProcess:
        """Put the helper on the host, if it is not there, and start it with `epoch` (0: it claims nothing).

        `timeout_s` is the limit for its start and, unless a request has its own, for each answer.
        Raises HostUnreachable, HostRefused; StaleEpoch if a newer engine has claimed the host.
        """
        archive = helper_archive()
        path = folder / f"helper-{hashlib.sha256(archive).hexdigest()[:16]}.pyz"
        if not await ssh.exists(path):
            await ssh.put(path, archive)
        command = ["python3", "-I", "-X", "utf8", str(path), "--dir", str(folder), "--epoch", str(epoch)]
        helper = cls(host, await ssh.start(command), timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                await helper._ready
        except TimeoutError as error:
            await helper.close()
            problem = f"the transfer helper did not start within {timeout_s:g} s"
            raise HostUnreachable(problem, place=host, remedy="try again; look at the host's load") from error
        except BaseException:
            await helper.close()
            raise
        return helper

    async def request(self, do: str, *, timeout_s: float | None = None, **arguments: object) -> dict[str, Any]:
        """One command and its answer; commands may overlap. Raises HostUnreachable, HostRefused, StaleEpoch."""
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        number = self._next = self._next + 1
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            self._write({"id": number, "do": do, **arguments})
            async with asyncio.timeout(limit_s):
                return await future
        except TimeoutError as error:
            problem = f"{do} was not done within {limit_s:g} s"
            raise HostUnreachable(problem, place=self._host, remedy="try again, or allow more time") from error
        finally:
            self._waiting.pop(number, None)

    def post(self, do: str, **arguments: object) -> None:
        """One command whose answer nobody waits for; content if the helper has ended."""
        if self.is_running:
            self._write({"id": 0, "do": do, **arguments})

    def _write(self, message: dict[str, object]) -> None:
        if not self.is_running:
            raise self._ended()
        try:
            self._process.stdin.write(orjson.dumps(message) + b"\n")
        except OSError as error:
            raise self._ended() from error

    async def _read_replies(self) -> None:
        try:
            while line := await self._process.stdout.readline():
                self._take(orjson.loads(line))
        except (asyncssh.Error, OSError, asyncio.IncompleteReadError, orjson.JSONDecodeError) as error:
            log.debug("%r: %s", self, error)
        finally:
            self.is_running = False
            if not self._ready.done():
                self._ready.set_exception(self._ended())
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(self._ended())

    def _take(self, reply: dict[str, Any]) -> None:
        if "stale" in reply:
            self.stale_epoch = reply["stale"]
            if not self._ready.done():
                self._ready.set_exception(stale(self._host, reply["stale"]))
        elif "ready" in reply:
            self._ready.set_result(None)
        else:
            future = self._waiting.get(reply["id"])
            if future is not None and not future.done():
                if "ok" in reply:
                    future.set_result(reply["ok"])
                else:
                    future.set_exception(self._error(reply))

    def _error(self, reply: dict[str, Any]) -> HostError:
        place = reply.get("place") or self._host
        if reply["error"] == "cut":
            return HostUnreachable(reply["problem"], place=place, remedy="try again over a new link")
        if reply["error"] == "stale":
            return StaleEpoch(reply["problem"], place=place, remedy="stop this engine")
        return HostRefused(reply["problem"], place=place, remedy=reply.get("remedy", ""))

    def _ended(self) -> HostError:
        words = self._last_words.decode(errors="replace").strip()
        if "python3" in words and "not found" in words:
            return HostRefused("there is no python3", place=self._host, remedy="install it there: apt install python3")
        problem = f"the transfer helper ended: {words.splitlines()[-1]}" if words else "the transfer helper ended"
        return HostUnreachable(problem, place=self._host, remedy="try again")

    async def _read_errors(self) -> None:
        with contextlib.suppress(asyncssh.Error, OSError):
            while data := await self._process.stderr.read(_STDERR_LIMIT_BYTES):
                self._last_words = (self._last_words + data)[-_STDERR_LIMIT_BYTES:]

    async def close(self) -> None:
        """End it: it tidies up on its host and goes. Safe to repeat."""
        with contextlib.suppress(OSError):
            self._process.stdin.write_eof()
        try:
            async with asyncio.timeout(_END_TIMEOUT_S):
                await self._process.wait_closed()
        except TimeoutError:
            self._process.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def stale(host: HostId, epoch: int) -> StaleEpoch:
    return StaleEpoch(f"engine epoch {epoch} has taken this host over", place=host, remedy="stop this engine")


class HelperLink:
    """A TransferLink between the helpers of two hosts."""

    def __init__(
        self, source: HelperProcess, target: HelperProcess, hosts: tuple[HostId, HostId], timeout_s: float
    ) -> None:
        self._source = source
        self._target = target
        self._hosts = hosts
        self._timeout_s = timeout_s
        self._name = secrets.token_hex(8)
        self._is_open = False

    @property
    def is_open(self) -> bool:
        return self._is_open and self._source.is_running and self._target.is_running

    def __repr__(self) -> str:
        return f"<HelperLink {self._hosts[0]}→{self._hosts[1]}: {'open' if self.is_open else 'closed'}>"

    async def open(self, address: str) -> None:
        """Let the target listen on `address`, and the source connect there. Raises HostError."""
        self._is_open = True
        try:
            listening = await self._target.request("listen", link=self._name, address=address)
            await self._source.request("connect", link=self._name, address=address, **listening)
        except BaseException:
            self._cut()
            raise

    async def send_image(self, image: str, original: str) -> Transferred:
        return await self._send("send_image", image=image, original=original)

    async def send_volume(self, volume: str, target_volume: str) -> Transferred:
        return await self._send("send_volume", volume=volume, target_volume=target_volume)

    async def send_own_image(self, container: str, original: str, image: str, labels: Mapping[str, str]) -> Transferred:
        return await self._send(
            "send_own_image", container=container, original=original, image=image, labels=dict(labels)
        )

    async def send_filesystem(self, container: str, image: str, base: str, labels: Mapping[str, str]) -> Transferred:
        return await self._send("send_filesystem", container=container, image=image, base=base, labels=dict(labels))

    async def send_files(self, container: str, target_container: str) -> Transferred:
        return await self._send("send_files", container=container, target_container=target_container)

    async def send_checkpoint(self, container: str, target_container: str, round_: Round) -> Transferred:
        return await self._send(
            "send_checkpoint", container=container, target_container=target_container, round=round_.value
        )

    async def measure(self, seconds: float) -> Transferred:
        return await self._send("measure", seconds=seconds)

    async def _send(self, do: str, **arguments: object) -> Transferred:
        if not self.is_open:
            raise HostUnreachable("the link is closed", place=self._hosts[1], remedy="open a new one")
        try:
            answer = await self._source.request(do, timeout_s=self._timeout_s, link=self._name, **arguments)
        except HostError as error:
            if error.place == "target":
                error.place = self._hosts[1]
            if isinstance(error, HostUnreachable):
                self._cut()
            raise
        except BaseException:
            # Cancelled: what is under way ends on both hosts, and counts for nothing.
            self._cut()
            raise
        return Transferred(answer["sent_bytes"], answer["seconds"], answer["detail"])

    def _cut(self) -> None:
        self._is_open = False
        for helper in (self._source, self._target):
            helper.post("close", link=self._name)

    async def close(self) -> None:
        """Close it on both hosts. Safe to repeat."""
        if not self._is_open:
            return
        self._is_open = False
        await asyncio.gather(
            *(helper.request("close", link=self._name) for helper in (self._source, self._target)),
            return_exceptions=True,
        )
