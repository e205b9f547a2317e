"""Migrations asked for over HTTP: by an app itself, or by the client on its UE.

Each has a URL of its own at the callback endpoint, with a token that nobody can guess and that stays the same when the
engine is started again: a restored app has the environment that it was born with. It asks for its own app alone, and
for nothing that would lose its state. Who may is told in
docs/decisions/0015-triggers.md. Source: ETSI GR MEC 018 (the places that a migration can be triggered from).
"""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path

import orjson
from aiohttp import web

from pillion.core.events import Event, MigrationRequested, Trigger
from pillion.core.model import AppId, HostId
from pillion.runtime import clock

PATH = "/callbacks/migrate/{who}/{app}/{token}"
"""Below the engine's callbacks, so that every gateway hands it on already."""
_KEY_BYTES = 32
_EVERY_S = 1.0
"""How often one of them may ask: more would only fill the journal."""
_WANT = 'want {"to": host, "strategy": name}, each of which may be left out'


def kept_key(path: Path) -> bytes:
    """The key that the tokens are made with; made at first, for its owner alone."""
    with contextlib.suppress(FileExistsError):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
    return path.read_bytes()


class Requests:
    """The URLs, and what comes to them. `base_url`: of the engine's callbacks; `allowed`: who may ask for which app."""

    def __init__(self, key: bytes, base_url: str, allowed: Mapping[AppId, frozenset[Trigger]]) -> None:
        self._key = key
        self._base_url = base_url
        self._allowed = allowed
        self._asked_s: dict[tuple[AppId, Trigger], float] = {}

    def url(self, app: AppId, who: Trigger) -> str | None:
        """Where `who` asks for the app to be moved; None if it may not."""
        if who not in self._allowed.get(app, frozenset()):
            return None
        return f"{self._base_url}/migrate/{who}/{app}/{self._token(app, who)}"

    def _token(self, app: AppId, who: Trigger) -> str:
        return hmac.new(self._key, f"{who} {app}".encode(), sha256).hexdigest()

    def route(self, put: Callable[[Event], Awaitable[None]]) -> web.RouteDef:
        """To be served. `put` takes what is asked for; what comes of it is in the journal."""

        async def take(request: web.Request) -> web.Response:
            app, who = AppId(request.match_info["app"]), request.match_info["who"]
            may = {str(trigger): trigger for trigger in self._allowed.get(app, frozenset())}
            shown = request.match_info["token"].encode()
            if who not in may or not hmac.compare_digest(shown, self._token(app, may[who]).encode()):
                return web.Response(status=HTTPStatus.NOT_FOUND)
            before_s, now_s = self._asked_s.get((app, may[who])), clock.now_s()
            if before_s is not None and now_s - before_s < _EVERY_S:
                return web.Response(status=HTTPStatus.TOO_MANY_REQUESTS, headers={"Retry-After": "1"})
            try:
                event = _read(await request.read(), app, may[who])
            except ValueError as error:
                problem = {"title": "Bad Request", "status": 400, "detail": f"{error}: {_WANT}"}
                return web.Response(status=400, body=orjson.dumps(problem), content_type="application/problem+json")
            self._asked_s[app, may[who]] = now_s
            await put(event)
            return web.Response(status=HTTPStatus.ACCEPTED)

        return web.post(PATH, take)


def _read(raw: bytes, app: AppId, who: Trigger) -> MigrationRequested:
    """Raises ValueError."""
    body = orjson.loads(raw or b"{}")
    if not isinstance(body, dict):
        raise ValueError("no JSON object")
    for name, value in body.items():
        if name not in ("to", "strategy"):
            raise ValueError(f"{name} is not known")
        if not isinstance(value, str | None):
            raise ValueError(f"{name} is no text")
    to = body.get("to")
    return MigrationRequested(app, None if to is None else HostId(to), body.get("strategy"), trigger=who)
