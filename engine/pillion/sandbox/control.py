"""The control plane that no real network has: start the drive, know the truth, and make things go wrong.

It listens on a port of its own which no gateway proxies, so an app cannot see the truth that it is judged by.
"""

from __future__ import annotations

import re

import orjson
from aiohttp import web

from pillion.sandbox.answers import LIVE, json_response
from pillion.sandbox.faults import Fault
from pillion.sandbox.live import TICK_S, LiveWorld

_TICKS_AT_ONCE = 10_000
_LONGEST_FAULT_S = 3600.0
_NAME = re.compile(r"[a-z0-9]{1,40}")


def control_app(live: LiveWorld) -> web.Application:
    """`GET /health`, `GET|POST /drive`, `GET /truth`, `POST /faults`, `POST /restart`, and in lockstep `POST /tick`."""
    app = web.Application()
    app[LIVE] = live
    app.router.add_get("/health", _health)
    app.router.add_get("/drive", _drive_state)
    app.router.add_post("/drive", _drive)
    app.router.add_get("/truth", _truth)
    app.router.add_post("/faults", _fault)
    app.router.add_post("/restart", _restart)
    if live.lockstep:
        app.router.add_post("/tick", _tick)
    return app


async def _health(request: web.Request) -> web.Response:
    live = request.app[LIVE]
    return json_response({"status": "ok", "sandbox": live.name, "scenario": live.world.scenario.name})


async def _drive_state(request: web.Request) -> web.Response:
    live = request.app[LIVE]
    return json_response(
        {
            "running": live.driving,
            "tick": live.world.ticks,
            "simulated_s": live.world.simulated_s,
            "speed": live.speed,
        }
    )


async def _drive(request: web.Request) -> web.Response:
    """Start the drive (`{"running": true}`, also without a body), or pause it; answers the new state."""
    running = (await _body(request)).get("running", True)
    if not isinstance(running, bool):
        raise web.HTTPBadRequest(text='"running" has to be true or false')
    request.app[LIVE].drive(running)
    return await _drive_state(request)


async def _tick(request: web.Request) -> web.Response:
    """Let `count` ticks of `dt_s` simulated seconds pass, and be told of (both optional); answers the new state."""
    body = await _body(request)
    dt_s, count = body.get("dt_s", TICK_S), body.get("count", 1)
    if isinstance(dt_s, bool) or not isinstance(dt_s, int | float) or dt_s < 0:
        raise web.HTTPBadRequest(text='"dt_s" has to be a number of seconds, 0 or more')
    if isinstance(count, bool) or not isinstance(count, int) or not 0 < count <= _TICKS_AT_ONCE:
        raise web.HTTPBadRequest(text=f'"count" has to be a number from 1 to {_TICKS_AT_ONCE}')
    for _ in range(count):
        request.app[LIVE].tick(float(dt_s))
        await request.app[LIVE].told()
    return await _drive_state(request)


async def _truth(request: web.Request) -> web.Response:
    """Every true handover, and what every question about one UE was answered; `?ue=` keeps those of one UE."""
    live = request.app[LIVE]
    ue = request.query.get("ue")
    return json_response(
        {
            "changes": [change for change in live.world.changes if ue in (None, change.ue)],
            "queries": [told for told in live.queries if ue in (None, told.ue)],
            "dropped": {"changes": live.world.changes_dropped, "queries": live.queries_dropped},
        }
    )


async def _fault(request: web.Request) -> web.Response:
    """Let a fault last: `{"fault": "errors", "seconds": 10}`; 0 seconds end it."""
    body = await _body(request)
    name, seconds = body.get("fault"), body.get("seconds")
    if name not in set(Fault):
        raise web.HTTPBadRequest(text=f'"fault" has to be one of {", ".join(Fault)}')
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= _LONGEST_FAULT_S:
        raise web.HTTPBadRequest(text=f'"seconds" has to be a number from 0 to {_LONGEST_FAULT_S:g}')
    request.app[LIVE].faults.begin(Fault(str(name)), float(seconds))
    return json_response({"fault": name, "seconds": seconds})


async def _restart(request: web.Request) -> web.Response:
    """Be a sandbox that was made anew: `{"name": "sbxother"}`, first part of its URLs; all subscriptions are gone."""
    name = (await _body(request)).get("name", request.app[LIVE].name)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise web.HTTPBadRequest(text='"name" has to be letters and digits')
    request.app[LIVE].restart(name)
    return await _health(request)


async def _body(request: web.Request) -> dict[str, object]:
    raw = await request.read()
    try:
        body = orjson.loads(raw or b"{}")
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(text="the body has to be a JSON object, or empty")
    return body
