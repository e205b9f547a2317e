"""The original's own control plane: the active scenario, and what its map does by itself.

Source: AdvantEDGE v1.9.2, meep-sandbox-ctrl (`sandbox-ctrl/v1`) and meep-gis-engine (`gis/v1`).
"""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import web

from pillion.sandbox.answers import JSON_TYPE, LIVE, json_response
from pillion.sandbox.world import Automation


def add_routes(app: web.Application, root: str) -> None:
    """Serve both APIs under `root`."""
    app.router.add_get(f"{root}/gis/v1/automation", _automations)
    app.router.add_get(f"{root}/gis/v1/automation/{{type}}", _automation)
    app.router.add_post(f"{root}/gis/v1/automation/{{type}}", _automate)
    app.router.add_get(f"{root}/sandbox-ctrl/v1/active", _active)


async def _automations(request: web.Request) -> web.Response:
    states = [_automation_state(live_type, on) for live_type, on in request.app[LIVE].world.automation.items()]
    return json_response({"states": states})


async def _automation(request: web.Request) -> web.Response:
    automation = _automation_asked(request)
    if automation is None:
        return _unknown_automation()
    return json_response(_automation_state(automation, request.app[LIVE].world.automation[automation]))


async def _automate(request: web.Request) -> web.Response:
    """`POST …?run=true|false`; as in the original, what cannot be read as a truth value means false."""
    automation = _automation_asked(request)
    if automation is None:
        return _unknown_automation()
    running = request.query.get("run", "") in {"1", "t", "T", "true", "True", "TRUE"}
    request.app[LIVE].automate(automation, running)
    return web.Response(headers=JSON_TYPE)


async def _active(request: web.Request) -> web.Response:
    return json_response({"name": request.app[LIVE].world.scenario.name})


def _automation_state(automation: Automation, on: bool) -> dict[str, object]:
    # `active` is absent, not false, when it is off.
    return {"type": automation.value} | ({"active": True} if on else {})


def _unknown_automation() -> web.Response:
    return web.Response(status=HTTPStatus.INTERNAL_SERVER_ERROR, text="Automation type not found\n")


def _automation_asked(request: web.Request) -> Automation | None:
    name = request.match_info["type"]
    return Automation(name) if name in {automation.value for automation in Automation} else None
