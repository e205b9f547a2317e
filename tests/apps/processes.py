"""What the tests of A1 and A2 share: an app as a real process, and the MEC API that it polls."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from pillion.server import served_at

APPS = Path(__file__).parents[2] / "apps"
UE = "10.100.0.2"
DEADLINE_S = 20.0
Answer = dict[str, Any]


class MecApi:
    """A MEC API on loopback that answers one path with `told` of the UE asked for, or what `answer` says."""

    def __init__(self, path: str, ue_parameter: str) -> None:
        self._path, self._ue_parameter = path, ue_parameter
        self.answer: Callable[[], web.Response] | None = None
        self.delay_s = 0.0
        self.asked: list[tuple[float, str, str]] = []
        """When, by whom (User-Agent), and for which UE."""
        self.arrived = asyncio.Event()
        self.url = ""

    def told(self, ue: str) -> Answer:
        """The JSON object that is answered."""
        raise NotImplementedError

    async def polled(self, times: int) -> None:
        """Return when it has been asked `times` times from its start."""
        async with asyncio.timeout(DEADLINE_S):
            while len(self.asked) < times:
                self.arrived.clear()
                await self.arrived.wait()

    async def _asked(self, request: web.Request) -> web.Response:
        ue = request.query[self._ue_parameter]
        self.asked.append((time.monotonic(), request.headers["User-Agent"], ue))
        self.arrived.set()
        answer = self.answer() if self.answer else web.json_response(self.told(ue))
        await asyncio.sleep(self.delay_s)
        return answer

    @contextlib.asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator[None]:
        """Serve on loopback; `url` is the API's root."""
        app = web.Application()
        app.router.add_get(self._path, self._asked)
        async with served_at(app, "127.0.0.1", port) as bound:
            self.url = f"http://127.0.0.1:{bound}{self._path.partition('queries')[0]}"
            yield


class AppProcess:
    """One instance of an app, and the HTTP client of its UE."""

    def __init__(self, name: str, **env: str) -> None:
        self.script = APPS / name / f"{name}.py"
        self.env = {
            "PYTHONPATH": str(APPS / "common"),  # in an image both lie in one folder
            "PILLION_APP": name,
            "PILLION_UE": UE,
            "PILLION_INSTANCE": f"{name}.7",
            "PILLION_EPOCH": "7",
            "PILLION_PORT": "0",
        } | env
        self.lines: list[Answer] = []

    async def start(self, **env: str) -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, str(self.script), stdout=asyncio.subprocess.PIPE, env=self.env | env
        )
        assert self.process.stdout is not None
        while True:
            line = json.loads(await asyncio.wait_for(self.process.stdout.readline(), DEADLINE_S))
            self.lines.append(line)
            if line["event"] == "serving":
                break
        self.url = f"http://127.0.0.1:{line['port']}"
        self.client = aiohttp.ClientSession()
        self.reader = asyncio.create_task(self._read(self.process.stdout), name=f"read the log of {self.script.stem}")

    async def _read(self, stdout: asyncio.StreamReader) -> None:
        async for line in stdout:
            self.lines.append(json.loads(line))

    async def refused(self, **env: str) -> tuple[int | None, Answer]:
        """Exit code and log line of a start that ends by itself."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(self.script), stdout=asyncio.subprocess.PIPE, env=self.env | env
        )
        output, _ = await asyncio.wait_for(process.communicate(), DEADLINE_S)
        return process.returncode, json.loads(output)

    @property
    def is_running(self) -> bool:
        return hasattr(self, "process") and self.process.returncode is None

    async def get(self, path: str = "/") -> Answer:
        async with self.client.get(self.url + path) as answer:
            assert answer.status == 200, (path, answer.status, await answer.text())
            body = await answer.json()
            assert isinstance(body, dict)
            return body

    async def until(self, holds: Callable[[Answer], bool]) -> Answer:
        """Ask until the answer is as wanted; the failure shows the last one."""
        deadline = time.monotonic() + DEADLINE_S
        while not holds(answer := await self.get()):
            assert time.monotonic() < deadline, answer
            await asyncio.sleep(0.005)
        return answer

    def said(self, event: str) -> list[Answer]:
        """The lines of the log of that event."""
        return [line for line in self.lines if line["event"] == event]

    async def stop(self, number: int = signal.SIGTERM) -> int:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        code = await asyncio.wait_for(self.process.wait(), DEADLINE_S)
        await self.reader
        await self.client.close()
        return code
