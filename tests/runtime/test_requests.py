"""Migrations asked for over HTTP: who may, and what a request has to be."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from pillion.core.events import Event, MigrationRequested, Trigger
from pillion.core.model import AppId, HostId
from pillion.mec.callbacks import serve_callbacks
from pillion.runtime import requests
from pillion.runtime.requests import Requests, kept_key

A1, A2 = AppId("a1"), AppId("a2")
KEY = bytes(range(32))
ALLOWED = {A1: frozenset({Trigger.APP}), A2: frozenset({Trigger.APP, Trigger.UE})}


@asynccontextmanager
async def served(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Requests, list[Event], aiohttp.ClientSession]]:
    """An endpoint at which one may ask again at once."""
    monkeypatch.setattr(requests, "_EVERY_S", 0.0)
    put: list[Event] = []

    async def take(event: Event) -> None:
        put.append(event)

    asking = Requests(KEY, "", ALLOWED)
    async with serve_callbacks("127.0.0.1", 0, routes=[asking.route(take)]) as callbacks:
        asking._base_url = callbacks.public_url
        async with aiohttp.ClientSession() as http:
            yield asking, put, http


async def test_each_asks_for_its_own_app_and_it_is_recorded_who_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(monkeypatch) as (asking, put, http):
        for app, who, body in (
            (A1, Trigger.APP, b""),
            (A2, Trigger.APP, b'{"to": "mec2"}'),
            (A2, Trigger.UE, b'{"to": null, "strategy": "M3"}'),
        ):
            url = asking.url(app, who)
            assert url is not None
            async with http.post(url, data=body) as answer:
                assert (answer.status, await answer.read()) == (202, b"")
    assert put == [
        MigrationRequested(A1, None, trigger=Trigger.APP),
        MigrationRequested(A2, HostId("mec2"), trigger=Trigger.APP),
        MigrationRequested(A2, None, "M3", trigger=Trigger.UE),
    ]


async def test_who_may_not_ask_has_no_url_and_a_guessed_one_is_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with served(monkeypatch) as (asking, put, http):
        assert asking.url(A1, Trigger.UE) is None
        assert asking.url(AppId("nobody"), Trigger.APP) is None
        good = asking.url(A2, Trigger.UE)
        assert good is not None
        base, _, token = good.rpartition("/")
        for url in (
            f"{base}/{token[:-1]}x",
            f"{base}/\u00fc",
            good.replace("/ue/", "/app/"),
            good.replace("/ue/", "/operator/"),
            good.replace("/a2/", "/a1/"),
            good.replace("/a2/", "/nobody/"),
        ):
            async with http.post(url) as answer:
                assert answer.status == 404, url
        async with http.get(good) as answer:
            assert answer.status == 405
    assert put == []


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"{", "unexpected end"),
        (b"[]", "no JSON object"),
        (b'{"to": 1}', "to is no text"),
        (b'{"force": true}', "force is not known"),
    ],
)
async def test_what_is_no_request_is_refused_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, body: bytes, problem: str
) -> None:
    async with served(monkeypatch) as (asking, put, http):
        async with http.post(str(asking.url(A2, Trigger.UE)), data=body) as answer:
            assert (answer.status, answer.content_type) == (400, "application/problem+json")
            detail = (await answer.json(content_type=None))["detail"]
        assert problem in detail
        assert "may be left out" in detail
        assert put == []


async def test_who_asks_too_often_is_told_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(monkeypatch) as (asking, put, http):
        monkeypatch.setattr(requests, "_EVERY_S", 60.0)
        statuses = []
        for who in (Trigger.UE, Trigger.UE, Trigger.APP):
            async with http.post(str(asking.url(A2, who))) as answer:
                statuses.append(answer.status)
    assert statuses == [202, 429, 202]
    assert len(put) == 2


def test_the_key_is_made_once_and_its_owner_s_alone(tmp_path: Path) -> None:
    path = tmp_path / "requests.key"
    key = kept_key(path)
    assert len(key) == 32
    assert kept_key(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Requests(key, "http://x", ALLOWED).url(A2, Trigger.APP) == Requests(key, "http://x", ALLOWED).url(
        A2, Trigger.APP
    )
    assert Requests(bytes(32), "http://x", ALLOWED).url(A2, Trigger.APP) != Requests(key, "http://x", ALLOWED).url(
        A2, Trigger.APP
    )
