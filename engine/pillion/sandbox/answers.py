"""What every API of the sandbox answers with: JSON in the original's type, and the world it is asked about."""

from __future__ import annotations

from http import HTTPStatus

import orjson
from aiohttp import web

from pillion.sandbox.live import LiveWorld

JSON_TYPE = {"Content-Type": "application/json; charset=UTF-8"}

LIVE = web.AppKey("live", LiveWorld)


def json_response(document: object, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    """A document as the original writes it."""
    return web.Response(body=orjson.dumps(document), status=status, headers=JSON_TYPE)


def refuse_unknown(request: web.Request, *known: str) -> None:
    """Raise HTTPBadRequest if the query has a name that is none of these."""
    if not set(request.query) <= set(known):
        raise web.HTTPBadRequest


def present(key: str, values: list[dict[str, object]]) -> dict[str, object]:
    """A list under its key; the original leaves an empty one out."""
    return {key: values} if values else {}
