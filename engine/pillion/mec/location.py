"""The Location API as a client sees it, always through the engine's gateway. Source: ETSI GS MEC 013 V2.2.1, clause 7.

Asking where a UE is happens several times a second and is not repeated: the next question comes soon enough. What is
asked once (the layout of zones and POAs) is tried again, since a question changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace

from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_random_exponential

from pillion.core.events import Api
from pillion.core.mobility import Heard, Observation
from pillion.core.model import UeId, ZoneId
from pillion.core.prediction import Layout, Poa
from pillion.errors import MecError
from pillion.mec import wire
from pillion.mec.client import ApiClient

_LAYOUT_S = 3.0


class LocationClient(ApiClient):
    """Queries of the Location API at `api_url`. Every failure leaves as a MecError. Use as a context manager.

    What is asked here v2 and v3 answer alike. `clock` tells when something was asked; by default the loop's. `heard`
    takes each answer about a UE.
    """

    answer_s = 2.0

    def __init__(
        self,
        api_url: str,
        radius_m: Mapping[str, float],
        clock: Callable[[], float] | None = None,
        heard: Heard | None = None,
    ) -> None:
        self._clock = clock
        self._heard = heard
        self._base = api_url.rstrip("/") + "/queries/"
        self._radius_m = radius_m

    async def user(self, ue: UeId, prompted_by: Api = Api.LOCATION) -> Observation:
        """Where a UE is attached now. `asked_s` is the clock at the moment of asking."""
        asked_s = (self._clock or asyncio.get_running_loop().time)()
        body = await self._get("users", {"address": ue})
        seen = replace(wire.parse_user(body, ue, asked_s), prompted_by=prompted_by)
        if self._heard:
            self._heard(seen, self._base + "users", body)
        return seen

    async def layout(self) -> Layout:
        """Every POA that has a position, with its zone and, by its technology, how far it reaches."""

        @retry(
            retry=retry_if_exception_type(MecError),
            wait=wait_random_exponential(multiplier=0.2, max=2.0),
            stop=stop_after_delay(_LAYOUT_S),
            reraise=True,
        )
        async def ask() -> Layout:
            zones = wire.parse_zones(await self._get("zones"))
            return {poa.id: poa for zone in zones for poa in await self._poas(zone)}

        return await ask()

    async def _poas(self, zone: ZoneId) -> list[Poa]:
        body = await self._get(f"zones/{zone}/accessPoints")
        return [
            Poa(poa, zone, position, kind, self._radius_m.get(kind, 0.0))
            for poa, position, kind in wire.parse_access_points(body)
        ]

    async def _get(self, path: str, query: Mapping[str, str] | None = None) -> bytes:
        url = self._base + path
        status, body = await self._exchange("GET", url, "no answer", params=query)
        if status != 200:
            remedy = "if the sandbox has moved: `pillion gateway point URL`"
            raise MecError(f"status {status}", place=url, remedy=remedy)
        return body
