"""Subscriptions of the MEC APIs as a client has them, always through the engine's gateway.

A sandbox that was restarted has forgotten them all, and numbers new ones as it did the old. So none is remembered
here: what there is, is asked, and one's own are told by their callback URL, which nobody else can know. Only those are
deleted. Source: ETSI GS MEC 009 V3.1.1, clause 6.12.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from http import HTTPStatus

import orjson

from pillion.core.model import UeId
from pillion.errors import MecError
from pillion.mec import wire
from pillion.mec.client import ApiClient

_JSON = {"Content-Type": "application/json"}


class SubscriptionClient(ApiClient):
    """The subscriptions of `kinds` under `base_url`. Every failure leaves as a MecError. Use as a context manager."""

    answer_s = 5.0

    def __init__(self, base_url: str, kinds: Sequence[wire.Kind]) -> None:
        self._base = base_url.rstrip("/")
        self._kinds = kinds

    async def ensure(self, ue: UeId, callback_url: str) -> None:
        """Make those that are not there for this callback."""
        for kind in await self.missing(callback_url):
            await self._call("POST", f"{self._base}/{kind.api}/{kind.path}", kind.body(ue, callback_url), 201)

    async def missing(self, callback_url: str) -> list[wire.Kind]:
        """The kinds that are not there for this callback."""
        there = {(listed.type, kind.path) async for kind, listed in self._own(callback_url)}
        return [kind for kind in self._kinds if (kind.type, kind.path) not in there]

    async def remove(self, ue: UeId, callback_url: str) -> None:
        """Remove those that are there for this callback, and no others."""
        async for kind, listed in self._own(callback_url):
            await self._call("DELETE", self._here(kind, listed), None, 204)

    async def _own(self, callback_url: str) -> AsyncIterator[tuple[wire.Kind, wire.Listed]]:
        """Each subscription with this callback, with a kind of its path."""
        for kind in {kind.path: kind for kind in self._kinds}.values():
            body = await self._call("GET", f"{self._base}/{kind.api}/{kind.path}", None, 200)
            for listed in wire.parse_subscription_list(body) if body is not None else ():
                callback = listed.callback
                if callback is None:
                    one = await self._call("GET", self._here(kind, listed), None, 200)
                    callback = None if one is None else wire.callback_of(one)
                if callback == callback_url:
                    yield kind, listed

    def _here(self, kind: wire.Kind, listed: wire.Listed) -> str:
        """A subscription's URL by way of the gateway: the sandbox tells its own address."""
        return f"{self._base}/{kind.api}/{kind.path}/{listed.url.rstrip('/').rpartition('/')[2]}"

    async def _call(self, method: str, url: str, document: object, expected: int) -> bytes | None:
        """The answer's body; None where nothing is there (any more): Location v3 says so of an empty list too."""
        data = None if document is None else orjson.dumps(document)
        status, body = await self._exchange(
            method, url, f"no answer to {method}", data=data, headers=_JSON if data else None
        )
        if status == HTTPStatus.NOT_FOUND and method != "POST":
            return None
        if status != expected:
            raise MecError(f"{method}: status {status}", place=url, remedy="see whether the sandbox has this API")
        return body
