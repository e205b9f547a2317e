"""The published description of the sandbox's own APIs: `openapi.json`, beside what it describes.

A path that is served and not described fails a test, and so does one that is described and not served.
"""

from __future__ import annotations

from importlib.resources import files

from aiohttp import web

from pillion.sandbox.answers import JSON_TYPE


def add_routes(app: web.Application, root: str) -> None:
    """Serve it under `root`."""
    app.router.add_get(f"{root}/openapi.json", _description)


def description() -> bytes:
    """The description as it is published."""
    return (files("pillion.sandbox") / "openapi.json").read_bytes()


async def _description(_request: web.Request) -> web.Response:
    return web.Response(body=description(), headers=JSON_TYPE)
