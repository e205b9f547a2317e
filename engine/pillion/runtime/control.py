"""A running engine's ear: HTTP on a Unix socket that only its owner can open.

`pillion migrate`, `plan` and `inspect` speak to it. What comes of a command is read from the journal, like everything
else that happens, so nothing is streamed here.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from pillion.core.events import MigrationRequested
from pillion.core.model import AppId, HostId
from pillion.core.state import Fleet
from pillion.errors import EngineError, JournalError
from pillion.journal.records import encode
from pillion.runtime.driver import Driver


def snapshot(fleet: Fleet) -> list[dict[str, Any]]:
    """Each app: who serves it, where its UE is, and the migration under way."""
    return [
        {
            "app": state.app.id,
            "ue": state.app.ue,
            "host": state.serving.host if state.serving else None,
            "epoch": state.serving.epoch if state.serving else None,
            "poa": state.poa,
            "zone": state.zone,
            "migration": state.migration.id if state.migration else None,
            "phase": state.migration.phase.value if state.migration else None,
            "target": state.migration.target.host if state.migration else None,
        }
        for state in fleet.apps.values()
    ]


def control_app(driver: Driver) -> web.Application:
    """The engine's control API."""

    async def fleet(_: web.Request) -> web.Response:
        return _json(snapshot(driver.fleet))

    async def migrate(request: web.Request) -> web.Response:
        try:
            body = orjson.loads(await request.read())
            forced = bool(body.get("force"))
            event = MigrationRequested(AppId(body["app"]), HostId(body["to"]), body.get("strategy"), forced)
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            return _json(
                {"problem": 'want {"app": name, "to": host, "strategy": name or null, "force": true or false}'},
                status=400,
            )
        await driver.put(event)
        return _json(encode(event), status=202)

    app = web.Application()
    app.add_routes([web.get("/fleet", fleet), web.post("/migrate", migrate)])
    return app


async def serve_control(driver: Driver, socket: Path) -> web.AppRunner:
    """Listen on `socket`, mode 0600; call `cleanup` on what is returned to stop."""
    await asyncio.to_thread(socket.unlink, missing_ok=True)
    runner = web.AppRunner(control_app(driver), access_log=None)
    await runner.setup()
    await web.UnixSite(runner, str(socket)).start()
    await asyncio.to_thread(socket.chmod, 0o600)
    return runner


async def ask(socket: Path, method: str, path: str, body: object = None) -> Any:
    """What a running engine answers; None if none is running. Raises EngineError if it refuses."""
    try:
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(str(socket)), timeout=aiohttp.ClientTimeout(total=10)
            ) as session,
            session.request(
                method, f"http://engine{path}", data=None if body is None else orjson.dumps(body)
            ) as answer,
        ):
            said = orjson.loads(await answer.read())
    except aiohttp.ClientConnectorError:
        return None
    except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError) as error:
        raise JournalError(
            f"the engine does not answer: {str(error) or 'timed out'}",
            place=str(socket),
            remedy="see its log; restart it",
        ) from error
    if answer.status >= 400:
        raise EngineError(said["problem"], place="engine")
    return said


def _json(body: object, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")
