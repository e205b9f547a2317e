"""The Location API v3's queries: v2's under another name, with what the specification changed since.

Of ETSI's hosted sandbox one answer is known, about one user. It has objects that v2 has not, and is the same otherwise:
so the words of v2 for connection types stay, unless the sandbox is strict. A position has no time of its own.
Source: ETSI GS MEC 013 V3.1.1, clauses 6.2 and 7.
"""

from __future__ import annotations

from aiohttp import web

from pillion.sandbox.answers import LIVE, api_url, json_response, present, refuse_unknown
from pillion.sandbox.live import LiveWorld
from pillion.sandbox.location import (
    access_point_info,
    location_info,
    poa_asked,
    poas_of,
    terminal_distance,
    user_info,
    users_asked,
    zone_asked,
    zone_info,
)
from pillion.sandbox.scenario import Poa, Technology
from pillion.sandbox.world import User

API = "location/v3"

_STRICT_CONNECTION_TYPES = {
    Technology.FOUR_G: "LTE",
    Technology.FIVE_G: "5G NR",
    Technology.WIFI: "Wifi",
    Technology.OTHER: "UNKNOWN",
}


def add_routes(app: web.Application, root: str) -> None:
    """Serve the queries under `root`."""
    queries = f"{root}/queries"
    app.router.add_get(f"{queries}/users", _users)
    app.router.add_get(f"{queries}/zones", _zones)
    app.router.add_get(f"{queries}/zones/{{zone}}", _zone)
    app.router.add_get(f"{queries}/zones/{{zone}}/accessPoints", _access_points)
    app.router.add_get(f"{queries}/zones/{{zone}}/accessPoints/{{poa}}", _access_point)
    app.router.add_get(f"{queries}/distance", _distance)


def user_list(users: list[User], live: LiveWorld, base: str) -> dict[str, object]:
    """A UserList with each UE's position; `base` is the URL of the queries."""
    infos = [user_info(user, base, live.refreshed_s) | {"locationInfo": location_info(user.at)} for user in users]
    return present("user", infos) | {"resourceURL": f"{base}/users"}


async def _users(request: web.Request) -> web.Response:
    return json_response({"userList": user_list(users_asked(request), request.app[LIVE], _queries_url(request))})


async def _zones(request: web.Request) -> web.Response:
    refuse_unknown(request, "zoneId")
    base, live = _queries_url(request), request.app[LIVE]
    asked = request.query.getall("zoneId", [])
    zones = [zone_info(live, zone, base) for zone in live.world.scenario.zones if not asked or zone in asked]
    return json_response({"zoneList": present("zone", zones) | {"resourceURL": f"{base}/zones"}})


async def _zone(request: web.Request) -> web.Response:
    return json_response({"zoneInfo": zone_info(request.app[LIVE], zone_asked(request), _queries_url(request))})


async def _access_points(request: web.Request) -> web.Response:
    refuse_unknown(request, "accessPointId")
    base, live, zone = _queries_url(request), request.app[LIVE], zone_asked(request)
    asked = request.query.getall("accessPointId", [])
    points = [_access_point_info(live, poa, base) for poa in poas_of(live, zone) if not asked or poa.id in asked]
    url = f"{base}/zones/{zone}/accessPoints"
    return json_response({"accessPointList": present("accessPoint", points) | {"zoneId": zone, "resourceURL": url}})


async def _access_point(request: web.Request) -> web.Response:
    info = _access_point_info(request.app[LIVE], poa_asked(request), _queries_url(request))
    return json_response({"accessPointInfo": info})


async def _distance(request: web.Request) -> web.Response:
    # The parameter `location` is an object: exploded, as OpenAPI writes one in a query, it is two numbers.
    refuse_unknown(request, "address", "latitude", "longitude")
    return json_response({"terminalDistance": terminal_distance(request)})


def _access_point_info(live: LiveWorld, poa: Poa, base: str) -> dict[str, object]:
    info = access_point_info(live, poa, base) | {"locationInfo": location_info(poa.at)}
    return info | ({"connectionType": _STRICT_CONNECTION_TYPES[poa.technology]} if live.strict else {})


def _queries_url(request: web.Request) -> str:
    return f"{api_url(request, API)}/queries"
