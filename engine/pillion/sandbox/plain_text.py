"""Refusals of the control plane: plain text, whatever the manner, since no specification has these calls.

Source: AdvantEDGE v1.9.2, meep-sandbox-ctrl and meep-gis-engine.
"""

from __future__ import annotations

from functools import wraps
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler

from pillion.sandbox.answers import LIVE, Refused

NO_SCENARIO = "No scenario is active"


def plainly(handler: Handler) -> Handler:
    """The handler, with what it refuses as a line of text."""

    @wraps(handler)
    async def answered(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except Refused as refused:
            return web.Response(status=refused.status, text=f"{refused.detail or refused.status.phrase}\n")

    return answered


def require_scenario(request: web.Request) -> None:
    """Raise Refused (404) if none is active."""
    if not request.app[LIVE].is_active:
        raise Refused(HTTPStatus.NOT_FOUND, NO_SCENARIO)
