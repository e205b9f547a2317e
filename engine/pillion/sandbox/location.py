"""The Location API's queries: where UEs are attached, how far apart they are, and the zones and POAs of the city.

Shapes, empty bodies and oddities are those of the original, because clients have to cope with them: an empty list is
absent, an unknown query name is a 400 without a word, and a UE that is out of coverage does not exist.
Source: ETSI GS MEC 013 V2.2.1, clause 7, as AdvantEDGE v1.9.2 implements it (meep-loc-serv).
"""

from __future__ import annotations

import math
import struct
from http import HTTPStatus

from aiohttp import web

from pillion.sandbox.answers import (
    LIVE,
    Refused,
    api_url,
    json_response,
    present,
    refuse_unknown,
    time_stamp,
    undecodable,
)
from pillion.sandbox.geodesy import Point
from pillion.sandbox.live import LiveWorld
from pillion.sandbox.location_events import distance_m
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
    app.router.add_get(f"{queries}/distance", _distance)


async def _users(request: web.Request) -> web.Response:
    base, live = _queries_url(request), request.app[LIVE]
    users = [_user_info(live, user, base) for user in users_asked(request)]
    return json_response({"userList": present("user", users) | {"resourceURL": f"{base}/users"}})


async def _zones(request: web.Request) -> web.Response:
    base, live = _queries_url(request), request.app[LIVE]
    zones = [zone_info(live, zone, base) for zone in live.world.scenario.zones]
    return json_response({"zoneList": present("zone", zones) | {"resourceURL": f"{base}/zones"}})


async def _zone(request: web.Request) -> web.Response:
    return json_response({"zoneInfo": zone_info(request.app[LIVE], zone_asked(request), _queries_url(request))})


async def _access_points(request: web.Request) -> web.Response:
    refuse_unknown(request, "interestRealm")
    base, live, zone = _queries_url(request), request.app[LIVE], zone_asked(request)
    # No POA of a scenario has a realm: asking for one finds none.
    poas = [] if request.query.get("interestRealm") else poas_of(live, zone)
    points = [_access_point_info(live, poa, base) for poa in poas]
    url = f"{base}/zones/{zone}/accessPoints"
    return json_response({"accessPointList": present("accessPoint", points) | {"zoneId": zone, "resourceURL": url}})


async def _access_point(request: web.Request) -> web.Response:
    info = _access_point_info(request.app[LIVE], poa_asked(request), _queries_url(request))
    return json_response({"accessPointInfo": info})


async def _distance(request: web.Request) -> web.Response:
    refuse_unknown(request, "requester", "address", "latitude", "longitude")
    return json_response({"terminalDistance": terminal_distance(request)})


def users_asked(request: web.Request) -> list[User]:
    """The users that a query is about: filters of one name are alternatives, filters of different names must all fit.

    Keeps for the truth what was told if the question was about a single UE. Raises Refused for other filters.
    """
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
    return listed


def zone_asked(request: web.Request) -> str:
    """The zone in the path. Raises Refused (404, empty) if there is none."""
    zone = request.match_info["zone"]
    if zone not in request.app[LIVE].world.scenario.zones:
        raise Refused(HTTPStatus.NOT_FOUND)
    return zone


def poa_asked(request: web.Request) -> Poa:
    """The POA in the path. Raises Refused (404, empty) if there is none, or none in the zone of that path."""
    for poa in poas_of(request.app[LIVE], zone_asked(request)):
        if poa.id == request.match_info["poa"]:
            return poa
    raise Refused(HTTPStatus.NOT_FOUND)


def poas_of(live: LiveWorld, zone: str) -> list[Poa]:
    return [poa for poa in live.world.scenario.poas if poa.zone == zone]


def terminal_distance(request: web.Request) -> dict[str, object]:
    """How far it is from one UE to another, or to a point, in whole metres. Raises Refused."""
    addresses = request.query.getall("address", [])
    latitude, longitude = (request.query.get(name, "") for name in ("latitude", "longitude"))
    if not 1 <= len(addresses) <= 2:
        raise Refused(HTTPStatus.BAD_REQUEST, "Query should have 1 or 2 'address' parameters")
    if bool(latitude) != bool(longitude):
        raise Refused(HTTPStatus.BAD_REQUEST, "A point needs a latitude and a longitude")
    if (len(addresses) == 2) == bool(latitude):
        raise Refused(HTTPStatus.BAD_REQUEST, "Query should have 2 'address' parameters, or 1 and a point")
    world = request.app[LIVE].world
    users = [user for address in addresses if (user := world.user(address))]
    if len(users) != len(addresses):
        raise Refused(HTTPStatus.BAD_REQUEST)
    end = users[1].at if len(users) == 2 else Point(_degrees(request, latitude), _degrees(request, longitude))
    return {"distance": int(distance_m(users[0].at, end)), "timestamp": time_stamp()}


def _degrees(request: web.Request, text: str) -> float:
    try:
        degrees = float(text)
    except ValueError as error:
        raise undecodable(request, str(error)) from error
    if not math.isfinite(degrees):
        raise undecodable(request, f"{text} is no number of degrees")
    return degrees


def _user_info(live: LiveWorld, user: User, base: str) -> dict[str, object]:
    return user_info(user, base, live.refreshed_s) | {"locationInfo": location_info_at(user.at, live.refreshed_s)}


def user_info(user: User, base: str, refreshed_s: int) -> dict[str, object]:
    """A UserInfo without its position."""
    return {
        "address": user.ue,
        "accessPointId": user.poa,
        "zoneId": user.zone,
        "resourceURL": f"{base}/users?address={user.ue}",
        "timestamp": time_stamp(refreshed_s),
    }


def zone_info(live: LiveWorld, zone: str, base: str) -> dict[str, object]:
    """A ZoneInfo, the same in both versions."""
    return {
        "zoneId": zone,
        "numberOfAccessPoints": len(poas_of(live, zone)),
        "numberOfUnserviceableAccessPoints": 0,
        "numberOfUsers": live.world.users_per_zone()[zone],
        "resourceURL": f"{base}/zones/{zone}",
    }


def _access_point_info(live: LiveWorld, poa: Poa, base: str) -> dict[str, object]:
    info = access_point_info(live, poa, base)
    return info | {"locationInfo": location_info_at(poa.at, live.refreshed_s)}


def access_point_info(live: LiveWorld, poa: Poa, base: str) -> dict[str, object]:
    """An AccessPointInfo without its position."""
    return {
        "accessPointId": poa.id,
        "connectionType": CONNECTION_TYPES[poa.technology],
        "numberOfUsers": live.world.users_per_poa()[poa.id],
        "operationStatus": "Serviceable",
        "resourceURL": f"{base}/zones/{poa.zone}/accessPoints/{poa.id}",
    }


def location_info_at(at: Point, seconds: int) -> dict[str, object]:
    """A LocationInfo with its own time, as v2 has it."""
    return location_info(at) | {"timestamp": time_stamp(seconds)}


def location_info(at: Point) -> dict[str, object]:
    """A LocationInfo without a time, as v3 has it."""
    return {"latitude": [float32(at.lat_deg)], "longitude": [float32(at.lon_deg)], "shape": _POINT_SHAPE}


def _queries_url(request: web.Request) -> str:
    return f"{api_url(request, API)}/queries"


def float32(value: float) -> float:
    """The shortest decimal number that single precision cannot tell from `value`: what the original writes."""
    single: float = struct.unpack("f", struct.pack("f", value))[0]
    candidates = (float(f"{single:.{digits}g}") for digits in range(6, 10))
    # Nine digits always suffice for single precision.
    return next(short for short in candidates if struct.unpack("f", struct.pack("f", short))[0] == single)
