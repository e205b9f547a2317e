"""What every API of the sandbox answers with, and how it reads what it is sent.

Two manners: the original's, which is the usual one, and with `--strict-etsi` the specification's. The original says
little when it refuses, and answers 500 to what it cannot decode.
Source: AdvantEDGE v1.9.2, `server/*.go` of each service; ETSI GS MEC 009 V3.1.1, clause 6.15 (ProblemDetails).
"""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import Any

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from pillion.sandbox.live import LiveWorld

JSON_TYPE = {"Content-Type": "application/json; charset=UTF-8"}
_PROBLEM_TYPE = {"Content-Type": "application/problem+json"}

LIVE = web.AppKey("live", LiveWorld)


class Refused(Exception):
    """A request that is not granted. Without `detail` the original's answer has an empty body."""

    def __init__(self, status: HTTPStatus, detail: str = "") -> None:
        super().__init__(detail or status.phrase)
        self.status = status
        self.detail = detail


@web.middleware
async def refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer what was refused, by us or by aiohttp (no such path, method not allowed), in the sandbox's manner."""
    live = request.app[LIVE]
    return live.faults.spoil(request, await _answered(request, handler, live))


async def _answered(request: web.Request, handler: Handler, live: LiveWorld) -> web.StreamResponse:
    try:
        if request.match_info.get("sandbox", live.name) != live.name:
            raise Refused(HTTPStatus.NOT_FOUND)
        return await handler(request)
    except Refused as refused:
        status, detail = refused.status, refused.detail
    except web.HTTPException as error:
        status, detail = HTTPStatus(error.status), ""
    if live.strict:
        problem = {"title": status.phrase, "status": status.value, "detail": detail or status.description}
        return web.Response(status=status, body=orjson.dumps(problem), headers=_PROBLEM_TYPE)
    if not detail:
        return web.Response(status=status, headers=JSON_TYPE)
    return json_response({"detail": detail, "status": status.value}, status)


def json_response(
    document: object, status: HTTPStatus = HTTPStatus.OK, headers: dict[str, str] | None = None
) -> web.Response:
    """A document as the original writes it."""
    return web.Response(body=orjson.dumps(document), status=status, headers=JSON_TYPE | (headers or {}))


def created(request: web.Request, document: object, url: str, *, with_location: bool) -> web.Response:
    """201 with what was made; the original sends the Location header in some APIs only, the specification in all."""
    tells_location = with_location or request.app[LIVE].strict
    return json_response(document, HTTPStatus.CREATED, {"Location": url} if tells_location else None)


def no_content() -> web.Response:
    """204, for what was done and has nothing to say."""
    return web.Response(status=HTTPStatus.NO_CONTENT, headers=JSON_TYPE)


async def not_implemented(_: web.Request) -> web.Response:
    """What answers a call that the specification has and the original has not."""
    raise Refused(HTTPStatus.NOT_IMPLEMENTED)


def refuse_unknown(request: web.Request, *known: str) -> None:
    """Raise Refused if the query has a name that is none of these."""
    if not set(request.query) <= set(known):
        raise Refused(HTTPStatus.BAD_REQUEST)


def present(key: str, values: list[dict[str, object]]) -> dict[str, object]:
    """A list under its key; the original leaves an empty one out."""
    return {key: values} if values else {}


def time_stamp(seconds: int | None = None) -> dict[str, int]:
    """A TimeStamp: seconds since 1970, now if no other is given; the original knows nothing finer."""
    return {"nanoSeconds": 0, "seconds": int(time.time()) if seconds is None else seconds}


def api_url(request: web.Request, api: str) -> str:
    """Where an API is (`…/sbxname/location/v2`), for links: the sandbox's own address, not that of a gateway before it.

    A request that came by a MEC platform's path gets links with that platform in them.
    """
    path = request.path
    return f"{request.scheme}://{request.host}{path[: path.index('/' + api + '/') + len(api) + 1]}"


async def document_of(request: web.Request) -> dict[str, Any]:
    """The JSON object in a request's body. Raises Refused."""
    try:
        document = orjson.loads(await request.read())
    except orjson.JSONDecodeError as error:
        raise undecodable(request, f"not JSON: {error}") from error
    if not isinstance(document, dict):
        raise undecodable(request, "not a JSON object")
    try:
        # orjson reads deeper nesting than it writes; what is kept has to be answered with, also in a list.
        orjson.dumps([document])
    except orjson.JSONEncodeError as error:
        raise undecodable(request, f"nested too deeply: {error}") from error
    return document


def undecodable(request: web.Request, detail: str) -> Refused:
    """The refusal of what is not JSON, or has a member of the wrong type: 500 in the original, 400 by specification."""
    strict = request.app[LIVE].strict
    return Refused(HTTPStatus.BAD_REQUEST if strict else HTTPStatus.INTERNAL_SERVER_ERROR, detail)


class Members:
    """The members of a request's JSON object, read by type. What is absent or null is None; a wrong type is Refused."""

    def __init__(self, request: web.Request, document: dict[str, Any], place: str = "") -> None:
        self._request = request
        self._document = document
        self._place = place

    def text(self, name: str) -> str | None:
        value: str | None = self._typed(name, str)
        return value

    def integer(self, name: str) -> int | None:
        value: int | None = self._typed(name, int)
        return value

    def number(self, name: str) -> float | None:
        value: float | int | None = self._typed(name, float, int)
        return None if value is None else float(value)

    def flag(self, name: str) -> bool | None:
        value: bool | None = self._typed(name, bool)
        return value

    def texts(self, name: str) -> list[str] | None:
        """A list of texts."""
        values: list[str] | None = self._list(name, str)
        return values

    def integers(self, name: str) -> list[int] | None:
        values: list[int] | None = self._list(name, int)
        return values

    def object(self, name: str) -> Members | None:
        """An object within."""
        value = self._typed(name, dict)
        return None if value is None else Members(self._request, value, self._at(name))

    def objects(self, name: str) -> list[Members] | None:
        """A list of objects within."""
        values = self._list(name, dict)
        return None if values is None else [Members(self._request, value, self._at(name)) for value in values]

    def mandatory(self, name: str) -> Refused:
        """The refusal of an object that lacks this member."""
        return Refused(HTTPStatus.BAD_REQUEST, f"Mandatory attribute {self._at(name)} is missing")

    def as_sent(self) -> dict[str, Any]:
        """The object as it came."""
        return self._document

    def _at(self, name: str) -> str:
        return f"{self._place}.{name}" if self._place else name

    def _typed(self, name: str, *kinds: type) -> Any:
        value = self._document.get(name)
        if value is not None and type(value) not in kinds:
            raise undecodable(self._request, f"{self._at(name)} is of the wrong type")
        return value

    def _list(self, name: str, kind: type) -> Any:
        values = self._typed(name, list)
        if values is not None and any(type(value) is not kind for value in values):
            raise undecodable(self._request, f"{self._at(name)} has a value of the wrong type")
        return values
