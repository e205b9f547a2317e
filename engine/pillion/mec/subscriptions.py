"""Subscriptions of the MEC APIs as a client has them, always through the engine's gateway.

A sandbox that was restarted has forgotten them all, and numbers new ones as it did the old. So none is remembered
here: what there is, is asked, and one's own are told by their callback URL, which nobody else can know. Only those are
deleted. Source: ETSI GS MEC 009 V3.1.1, clause 6.12.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Self

import aiohttp
import orjson

from pillion.core.model import UeId
from pillion.errors import MecError
from pillion.mec import wire

_ANSWER_S = 5.0
_JSON = {"Content-Type": "application/json"}


class SubscriptionClient:
    """The subscriptions under `base_url`. Every failure leaves as a MecError. Use as a context manager."""

    def __init__(self, base_url: str) -> None:
        self._base = base_url.rstrip("/")

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=_ANSWER_S), headers={"User-Agent": "pillion-engine"}
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def ensure(self, ue: UeId, callback_url: str) -> None:
        """Make those of `wire.KINDS` that are not there for this callback."""
        there = {(listed.type, kind.path) async for kind, listed in self._own(callback_url)}
        for kind in wire.KINDS:
            if (kind.type, kind.path) not in there:
                await self._call("POST", f"{self._base}/{kind.api}/{kind.path}", kind.body(ue, callback_url), 201)

    async def remove(self, ue: UeId, callback_url: str) -> None:
        """Remove those that are there for this callback, and no others."""
        async for kind, listed in self._own(callback_url):
            await self._call("DELETE", self._here(kind, listed), None, 204)

    async def _own(self, callback_url: str) -> AsyncIterator[tuple[wire.Kind, wire.Listed]]:
        """Each subscription with this callback, with a kind of its path."""
        for kind in {kind.path: kind for kind in wire.KINDS}.values():
            body = await self._call("GET", f"{self._base}/{kind.api}/{kind.path}", None, 200)
            for listed in wire.parse_subscription_list(body):
                callback = listed.callback
                if callback is None:
                    callback = wire.callback_of(await self._call("GET", self._here(kind, listed), None, 200))
                if callback == callback_url:
                    yield kind, listed

    def _here(self, kind: wire.Kind, listed: wire.Listed) -> str:
        """A subscription's URL by way of the gateway: the sandbox tells its own address."""
        return f"{self._base}/{kind.api}/{kind.path}/{listed.url.rstrip('/').rpartition('/')[2]}"

    async def _call(self, method: str, url: str, document: object, expected: int) -> bytes:
        data = None if document is None else orjson.dumps(document)
        try:
            async with self._session.request(method, url, data=data, headers=_JSON if data else None) as answer:
                body = await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            problem = f"no answer to {method}: {str(error) or 'timed out'}"
            raise MecError(
                problem, place=url, remedy="`pillion inspect` shows whether gateway and sandbox run"
            ) from error
        if answer.status != expected:
            raise MecError(
                f"{method}: status {answer.status}", place=url, remedy="see whether the sandbox has this API"
            )
        return body
