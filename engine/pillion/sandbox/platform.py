"""The original's own control plane: the active scenario, its application instances, and handovers by hand.

`GET active` names the scenario alone; the original gives all of it. Another scenario is activated after the one before
has been terminated, as in the original. A handover to a UE or POA that is not known is refused with 400; the original
says 500. With MOBILITY on, the next tick puts a handover by hand right again.
Source: AdvantEDGE v1.9.2, meep-sandbox-ctrl (`sandbox-ctrl/v1`) and, for the automations, meep-gis-engine (`gis/v1`).
"""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import web

from pillion.sandbox import geodata
from pillion.sandbox.answers import JSON_TYPE, LIVE, Members, Refused, document_of, json_response, no_content
from pillion.sandbox.app_mobility import AppMobility
from pillion.sandbox.app_support import AppSupport
from pillion.sandbox.applications import USER, Application, Applications, new_id
from pillion.sandbox.members import mandatory_text
from pillion.sandbox.plain_text import plainly, require_scenario
from pillion.sandbox.world import Automation

DISCONNECTED = "DISCONNECTED"
"""The destination of a UE that goes out of coverage."""


class ControlPlane:
    """The requests of an operator; those about instances matter to MEC 011 and MEC 021."""

    def __init__(self, applications: Applications, support: AppSupport, mobility: AppMobility) -> None:
        self._applications = applications
        self._support = support
        self._mobility = mobility

    def add_routes(self, app: web.Application, root: str) -> None:
        """Serve `sandbox-ctrl/v1` and `gis/v1` under `root`."""
        app.router.add_get(f"{root}/gis/v1/automation", _automations)
        app.router.add_get(f"{root}/gis/v1/automation/{{type}}", _automation)
        app.router.add_post(f"{root}/gis/v1/automation/{{type}}", _automate)
        geodata.add_routes(app, f"{root}/gis/v1")
        control = f"{root}/sandbox-ctrl/v1"
        app.router.add_get(f"{control}/active", plainly(_active))
        app.router.add_delete(f"{control}/active", plainly(_terminate))
        app.router.add_post(f"{control}/active/{{scenario}}", plainly(_activate))
        app.router.add_post(f"{control}/events/{{type}}", plainly(_event))
        app.router.add_get(f"{control}/applications", plainly(self._list))
        app.router.add_post(f"{control}/applications", plainly(self._create))
        app.router.add_get(f"{control}/applications/{{app}}", plainly(self._get))
        app.router.add_delete(f"{control}/applications/{{app}}", plainly(self._delete))

    async def _list(self, request: web.Request) -> web.Response:
        """Those that have not been deleted; `app` (the name), `nodeName` and `type` choose."""
        unknown = set(request.query) - {"app", "nodeName", "type"}
        if unknown:
            raise Refused(HTTPStatus.BAD_REQUEST, f"Invalid query param: {min(unknown)}")
        query = request.query
        listed = [
            app.document()
            for app in self._applications
            if query.get("app", "") in ("", app.name)
            and query.get("nodeName", "") in ("", app.node)
            and query.get("type", "") in ("", app.type)
        ]
        return json_response(listed)

    async def _create(self, request: web.Request) -> web.Response:
        body = Members(request, await document_of(request))
        app = Application(
            body.text("id") or new_id(),
            mandatory_text(body, "name"),
            mandatory_text(body, "nodeName"),
            body.text("type") or USER,
            persist=body.flag("persist") or False,
        )
        self._applications.add(app)
        self._mobility.came(app)
        return json_response(app.document(), HTTPStatus.CREATED)

    async def _get(self, request: web.Request) -> web.Response:
        app = self._applications.find(request.match_info["app"])
        if app is None:
            raise Refused(HTTPStatus.NOT_FOUND, "App Instance not found")
        return json_response(app.document())

    async def _delete(self, request: web.Request) -> web.Response:
        """204 as well if there is no such instance, as in the original."""
        app = self._applications.find(request.match_info["app"])
        if app is not None:
            self._support.terminate(app)
            self._mobility.went(app)
        return no_content()


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
    require_scenario(request)
    return json_response({"name": request.app[LIVE].world.scenario.name})


async def _activate(request: web.Request) -> web.Response:
    """Begin a scenario: at rest, with nobody attached. A body (the original's replay file) is not looked at."""
    live, name = request.app[LIVE], request.match_info["scenario"]
    if live.is_active:
        raise Refused(HTTPStatus.BAD_REQUEST, "Scenario already active")
    if name not in live.scenarios:
        raise Refused(HTTPStatus.NOT_FOUND, f"There is no scenario {name}; there are {', '.join(live.scenarios)}")
    live.activate(name)
    return web.Response(headers=JSON_TYPE)


async def _terminate(request: web.Request) -> web.Response:
    require_scenario(request)
    request.app[LIVE].terminate()
    return web.Response(headers=JSON_TYPE)


async def _event(request: web.Request) -> web.Response:
    """A handover now, told of as any other: `{"eventMobility":{"elementName":ue,"dest":poa}}`."""
    require_scenario(request)
    if request.match_info["type"] != "MOBILITY":
        raise Refused(HTTPStatus.BAD_REQUEST, "Unsupported event type")
    ue, poa_id = await _handover_asked(request)
    live = request.app[LIVE]
    require_scenario(request)
    scenario = live.world.scenario
    poas = {poa.id: poa for poa in scenario.poas}
    if ue not in {each.id for each in scenario.ues}:
        raise Refused(HTTPStatus.BAD_REQUEST, f"There is no UE {ue}")
    if poa_id != DISCONNECTED and poa_id not in poas:
        raise Refused(HTTPStatus.BAD_REQUEST, f"There is no POA {poa_id}")
    live.hand_over(ue, poas.get(poa_id))
    return web.Response(headers=JSON_TYPE)


async def _handover_asked(request: web.Request) -> tuple[str, str]:
    """Which UE goes to which POA. Raises Refused: 400 even for what is not JSON, unlike everywhere else."""
    try:
        event = Members(request, await document_of(request)).object("eventMobility")
        if event is None:
            raise Refused(HTTPStatus.BAD_REQUEST, "Malformed request: missing EventMobility")
        return mandatory_text(event, "elementName"), mandatory_text(event, "dest")
    except Refused as refused:
        raise Refused(HTTPStatus.BAD_REQUEST, refused.detail) from refused


def _automation_state(automation: Automation, on: bool) -> dict[str, object]:
    # `active` is absent, not false, when it is off.
    return {"type": automation.value} | ({"active": True} if on else {})


def _unknown_automation() -> web.Response:
    return web.Response(status=HTTPStatus.INTERNAL_SERVER_ERROR, text="Automation type not found\n")


def _automation_asked(request: web.Request) -> Automation | None:
    name = request.match_info["type"]
    return Automation(name) if name in {automation.value for automation in Automation} else None
