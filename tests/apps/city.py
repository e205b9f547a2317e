"""A sandbox in lockstep, and between it and the apps what a gateway does: requests one way, notifications the other."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from pillion.sandbox.live import LiveWorld
from pillion.sandbox.server import Listening, sandbox
from pillion.server import served_at

from .processes import UE, AppProcess

REST_S = 0.1
"""Longer than between two questions of an app that is not at rest."""
JSON = {"Content-Type": "application/json"}


class City:
    """One sandbox with its gateway. Apps that have been named by `reach` are told what is posted for their name."""

    def __init__(self, listening: Listening, http: aiohttp.ClientSession) -> None:
        self.listening = listening
        self._http = http
        self._apps: dict[str, AppProcess] = {}
        self.url = ""
        self.asked: Counter[str] = Counter()
        """Requests by User-Agent."""
        self.deleted = 0
        self.refuses: Callable[[web.Request], bool] = lambda _: False
        self.before_answering: Callable[[web.Request], asyncio.Event | None] = lambda _: None
        """What an answer, which has been got already, waits for."""
        self.held: list[tuple[str, bytes]] | None = None
        """Notifications that were acknowledged and not handed on; None: each is handed on at once."""
        self.statuses: list[int] = []
        """What the apps answered to notifications."""

    @property
    def live(self) -> LiveWorld:
        return self.listening.live

    def reach(self, name: str, app: AppProcess) -> None:
        """Hand what comes for a name to this app from now on."""
        self._apps[name] = app

    def callback_url(self, name: str) -> str:
        return f"{self.url}/callbacks/{name}"

    async def settled(self, app: AppProcess) -> None:
        """Wait until an app has asked, looked at its subscriptions, and come to rest."""
        before, now = -1, 0
        while now < 3 or now != before:
            before, now = now, (await app.get())["asked"]
            await asyncio.sleep(REST_S)

    async def end(self) -> None:
        """Kill the apps that still run."""
        for app in self._apps.values():
            if app.is_running:
                await app.stop(signal.SIGKILL)

    async def tick(self, count: int = 1) -> None:
        """Let seconds pass; each has passed when every notification of it has been answered."""
        for _ in range(count):
            self.live.tick(1.0)
            await self.live.told()

    async def attach(self, poa: str | None, ue: str = UE) -> None:
        """Let a POA serve a UE, until all have been told."""
        poas = {each.id: each for each in self.live.world.scenario.poas}
        self.live.hand_over(ue, poas[poa] if poa else None)
        await self.live.told()

    async def subscriptions(self, path: str) -> list[dict[str, Any]]:
        """Those at a path of Location v2 or v3 or the RNIS, each with all it has."""
        listed = await self.api("GET", path)
        links = listed.get("notificationSubscriptionList") or listed["_links"]
        if path.startswith("location/v2"):
            found: list[dict[str, Any]] = links.get("userTrackingSubscription", [])
            return found
        hrefs = [each["href"] for each in links.get("subscription", [])]
        return [await self.api("GET", f"{path}/{href.rpartition('/')[2]}") for href in hrefs]

    async def api(self, method: str, path: str, document: object = None) -> Any:
        """Ask the sandbox, past the gateway."""
        async with self._http.request(method, f"{self.listening.api_url}/{path}", json=document) as answer:
            assert answer.ok, await answer.text()
            return await answer.json(content_type=None)

    async def tell(self, name: str, path: str, body: bytes) -> int:
        """Hand a notification on; gives what the app answered."""
        url = f"{self._apps[name].url}/callbacks/{path}"
        async with self._http.post(url, data=body, headers=JSON) as answer:
            self.statuses.append(answer.status)
            return answer.status

    async def _request(self, request: web.Request) -> web.Response:
        self.asked[request.headers["User-Agent"]] += 1
        self.deleted += request.method == "DELETE"
        if self.refuses(request):
            return web.Response(status=503)
        url, body = f"{self.listening.api_url}{request.path_qs}", await request.read()
        async with self._http.request(request.method, url, data=body, headers=request.headers) as answer:
            response = web.Response(status=answer.status, body=await answer.read(), headers=JSON)
        if event := self.before_answering(request):
            await event.wait()
        return response

    async def _callback(self, request: web.Request) -> web.Response:
        name, path, body = request.match_info["name"], request.match_info["path"], await request.read()
        if self.held is not None:
            self.held.append((path, body))
            return web.Response(status=204)
        try:
            return web.Response(status=await self.tell(name, path, body))
        except (aiohttp.ClientError, KeyError):
            return web.Response(status=503)


@asynccontextmanager
async def city() -> AsyncIterator[City]:
    """Monaco; nobody moves or is attached until the test says so."""
    async with sandbox(port=0, control_port=0, lockstep=True) as listening, aiohttp.ClientSession() as http:
        made = City(listening, http)
        app = web.Application()
        app.router.add_post("/callbacks/{name}/{path:.*}", made._callback)
        app.router.add_route("*", "/{path:(location|rni)/.*}", made._request)
        async with served_at(app, "127.0.0.1", 0) as port:
            made.url = f"http://127.0.0.1:{port}"
            try:
                yield made
            finally:
                await made.end()
