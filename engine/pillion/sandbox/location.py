"""The Location API's queries: where UEs are attached, and the zones and POAs of the city.

Shapes, empty bodies and oddities are those of the original, because clients have to cope with them: an empty list is
absent, an unknown query name is a 400 without a word, and a UE that is out of coverage does not exist.
Source: ETSI GS MEC 013 V2.2.1, clause 7, as AdvantEDGE v1.9.2 implements it (meep-loc-serv).
"""

from __future__ import annotations

import struct
from http import HTTPStatus

from aiohttp import web

from pillion.sandbox.answers import LIVE, Refused, api_url, json_response, present, refuse_unknown
from pillion.sandbox.geodesy import Point
from pillion.sandbox.live import LiveWorld
from pillion.sandbox.scenario import Poa, Technology
from pillion.sandbox.world import User

API = "location/v2"

CONNECTION_TYPES = {
    Technology.FOUR_G: "Macro",
    Technology.FIVE_G: "Smallcell",
    Technology.WIFI: "Wifi",
    Technology.OTHER: "Unknown",
}
_POINT_SHAPE = 2


def add_routes(app: web.Application, root: str) -> None:
    """Serve the queries under `root`."""
    queries = f"{root}/queries"
    app.router.add_get(f"{queries}/users", _users)
    app.router.add_get(f"{queries}/zones", _zones)
    app.router.add_get(f"{queries}/zones/{{zone}}", _zone)
    app.router.add_get(f"{queries}/zones/{{zone}}/accessPoints", _access_points)
    app.router.add_get(f"{queries}/zones/{{zone}}/accessPoints/{{poa}}", _access_point)


async def _users(request: web.Request) -> web.Response:
    """`queries/users`: filters of one name are alternatives, filters of different names must all fit."""
    refuse_unknown(request, "zoneId", "accessPointId", "address")
    live = request.app[LIVE]
    zones, poas, addresses = (request.query.getall(name, []) for name in ("zoneId", "accessPointId", "address"))
    asked = [user for address in dict.fromkeys(addresses) if (user := live.world.user(address))]
    listed = [
        user
        for user in (asked if addresses else live.world.users())
        if (not zones or user.zone in zones) and (not poas or user.poa in poas)
    ]
    if len(addresses) == 1:
        live.note(request.headers.get("User-Agent", ""), addresses[0], listed[0] if listed else None)
    base = _queries_url(request)
    users = [_user_info(live, user, base) for user in listed]
    return json_response({"userList": present("user", users) | {"resourceURL": f"{base}/users"}})


async def _zones(request: web.Request) -> web.Response:
    live = request.app[LIVE]
    zones = [_zone_info(live, zone, request) for zone in live.world.scenario.zones]
    return json_response({"zoneList": present("zone", zones) | {"resourceURL": f"{_queries_url(request)}/zones"}})


async def _zone(request: web.Request) -> web.Response:
    return json_response({"zoneInfo": _zone_info(request.app[LIVE], _zone_asked(request), request)})


async def _access_points(request: web.Request) -> web.Response:
    refuse_unknown(request, "interestRealm")
    zone = _zone_asked(request)
    # No POA of a scenario has a realm: asking for one finds none.
    poas = [] if request.query.get("interestRealm") else _poas_of(request.app[LIVE], zone)
    points = [_access_point_info(request.app[LIVE], poa, request) for poa in poas]
    url = f"{_queries_url(request)}/zones/{zone}/accessPoints"
    return json_response({"accessPointList": present("accessPoint", points) | {"zoneId": zone, "resourceURL": url}})


async def _access_point(request: web.Request) -> web.Response:
    for poa in _poas_of(request.app[LIVE], _zone_asked(request)):
        if poa.id == request.match_info["poa"]:
            return json_response({"accessPointInfo": _access_point_info(request.app[LIVE], poa, request)})
    raise Refused(HTTPStatus.NOT_FOUND)


def _user_info(live: LiveWorld, user: User, base: str) -> dict[str, object]:
    return {
        "address": user.ue,
        "accessPointId": user.poa,
        "zoneId": user.zone,
        "resourceURL": f"{base}/users?address={user.ue}",
        "timestamp": _time_stamp(live),
        "locationInfo": _location_info(live, user.at),
    }


def _zone_info(live: LiveWorld, zone: str, request: web.Request) -> dict[str, object]:
    return {
        "zoneId": zone,
        "numberOfAccessPoints": len(_poas_of(live, zone)),
        "numberOfUnserviceableAccessPoints": 0,
        "numberOfUsers": live.world.users_per_zone()[zone],
        "resourceURL": f"{_queries_url(request)}/zones/{zone}",
    }


def _access_point_info(live: LiveWorld, poa: Poa, request: web.Request) -> dict[str, object]:
    return {
        "accessPointId": poa.id,
        "connectionType": CONNECTION_TYPES[poa.technology],
        "locationInfo": _location_info(live, poa.at),
        "numberOfUsers": live.world.users_per_poa()[poa.id],
        "operationStatus": "Serviceable",
        "resourceURL": f"{_queries_url(request)}/zones/{poa.zone}/accessPoints/{poa.id}",
    }


def _location_info(live: LiveWorld, at: Point) -> dict[str, object]:
    return {
        "latitude": [float32(at.lat_deg)],
        "longitude": [float32(at.lon_deg)],
        "shape": _POINT_SHAPE,
        "timestamp": _time_stamp(live),
    }


def _time_stamp(live: LiveWorld) -> dict[str, int]:
    return {"nanoSeconds": 0, "seconds": live.refreshed_s}


def _zone_asked(request: web.Request) -> str:
    zone = request.match_info["zone"]
    if zone not in request.app[LIVE].world.scenario.zones:
        raise Refused(HTTPStatus.NOT_FOUND)
    return zone


def _poas_of(live: LiveWorld, zone: str) -> list[Poa]:
    return [poa for poa in live.world.scenario.poas if poa.zone == zone]


def _queries_url(request: web.Request) -> str:
    return f"{api_url(request, API)}/queries"


def float32(value: float) -> float:
    """The shortest decimal number that single precision cannot tell from `value`: what the original writes."""
    single: float = struct.unpack("f", struct.pack("f", value))[0]
    candidates = (float(f"{single:.{digits}g}") for digits in range(6, 10))
    # Nine digits always suffice for single precision.
    return next(short for short in candidates if struct.unpack("f", struct.pack("f", short))[0] == single)
