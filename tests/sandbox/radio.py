"""One who subscribes to the radio network of a sandbox in lockstep, with the server that its callbacks come to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from pillion.sandbox.scenario import Plmn
from pillion.sandbox.server import Listening, sandbox
from pillion.server import served_at
from tests.sandbox.cities import monaco

PLMN = Plmn(mcc="001", mnc="001")
PLMN_TOLD = {"mcc": "001", "mnc": "001"}
FOUR_G, OTHER_4G, FIVE_G, OTHER_5G, WIFI = (
    "4g-macro-cell-4",
    "4g-macro-cell-5",
    "5g-small-cell-9",
    "5g-small-cell-8",
    "w4",
)
VEHICLE = "10.100.0.2"
ANYTHING: dict[str, dict[str, Any]] = {
    "CellChange": {"filterCriteriaAssocHo": {}},
    "RabEst": {"filterCriteriaQci": {"qci": 80}},
    "MeasRepUe": {"filterCriteriaAssocTri": {}},
    "NrMeasRepUe": {"filterCriteriaNrMrs": {}},
}
"""Kinds whose filter can let everything pass."""
POAS = {poa.id: poa for poa in monaco().poas}


class _Callbacks:
    """A subscriber's server: keeps what it is told, by the path it is told at."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.answering = asyncio.Event()
        self.answering.set()
        self.asked = asyncio.Event()
        self.url = ""

    def taken(self) -> list[tuple[str, dict[str, Any]]]:
        """What was told since the last time, but for the time stamps, which are checked here."""
        told, self.told = self.told, []
        for _, document in told:
            stamp = document.pop("timeStamp")
            assert stamp["nanoSeconds"] == 0
            assert abs(stamp["seconds"] - time.time()) < 60
        return told

    async def _notify(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/json"
        self.told.append((request.path.removeprefix("/"), await request.json()))
        self.asked.set()
        await self.answering.wait()
        return web.Response(status=204)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[_Callbacks]:
        app = web.Application()
        app.router.add_post("/{name}", self._notify)
        async with served_at(app, "127.0.0.1", 0) as port:
            self.url = f"http://127.0.0.1:{port}"
            yield self


class Subscriber:
    """One client of one sandbox in lockstep, and its callbacks."""

    def __init__(self, listening: Listening, http: aiohttp.ClientSession, callbacks: _Callbacks) -> None:
        self.live = listening.live
        self.url = f"{listening.api_url}/rni/v2/subscriptions"
        self.callbacks = callbacks
        self._http = http

    async def subscribe(self, name: str, kind: str, **members: object) -> str:
        """Have everything of a kind told at /name, unless members say otherwise; gives the subscription's URL."""
        body = {"subscriptionType": f"{kind}Subscription", "callbackReference": f"{self.callbacks.url}/{name}"}
        async with self._http.post(self.url, json=body | ANYTHING.get(kind, {}) | members) as answer:
            assert answer.status == 201
            url: str = (await answer.json())["_links"]["self"]["href"]
            return url

    async def status(self, url: str) -> int:
        async with self._http.get(url) as answer:
            return answer.status

    async def tick(self) -> list[tuple[str, dict[str, Any]]]:
        """What a tick has us told, once all of it has been answered."""
        self.live.tick(1.0)
        await self.live.told()
        return self.callbacks.taken()

    async def hand_over(self, poa: str | None, ue: str = VEHICLE) -> list[tuple[str, dict[str, Any]]]:
        """What a handover by hand has us told."""
        self.live.hand_over(ue, POAS[poa] if poa else None)
        await self.live.told()
        return self.callbacks.taken()

    def bearer(self) -> int:
        user = self.live.world.user(VEHICLE)
        assert user is not None
        assert user.erab_id is not None
        return user.erab_id


@asynccontextmanager
async def subscriber(*, strict: bool = False) -> AsyncIterator[Subscriber]:
    async with (
        _Callbacks().listening() as callbacks,
        sandbox(port=0, control_port=0, lockstep=True, strict=strict) as listening,
        aiohttp.ClientSession() as http,
    ):
        yield Subscriber(listening, http, callbacks)


def ecgi(poa: str) -> dict[str, Any]:
    return {"cellId": POAS[poa].cell_id, "plmn": {"mcc": "001", "mnc": "001"}}


def nrcgi(poa: str) -> dict[str, Any]:
    return {"nrcellId": POAS[poa].cell_id, "plmn": PLMN_TOLD}
