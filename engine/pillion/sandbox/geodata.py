"""Where the UEs and POAs of the scenario are, and putting a UE elsewhere: `gis/v1/geodata`.

Only the place of a UE can be changed: paths, speeds and POAs are the scenario's. What a client read here and sends
back with another location is taken; a path, speed or POA that differs is refused. A UE that is put elsewhere while it
moves goes on from where its path had it.
Source: AdvantEDGE v1.9.2, meep-gis-engine, whose names and shapes these are.
"""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import web

from pillion.sandbox.answers import JSON_TYPE, LIVE, Members, Refused, document_of, json_response, present
from pillion.sandbox.geodesy import Point, geodesic_m
from pillion.sandbox.live import LiveWorld
from pillion.sandbox.location import float32
from pillion.sandbox.plain_text import plainly, require_scenario
from pillion.sandbox.scenario import EndOfPath, Poa, Technology, Ue

_SUB_TYPES = {
    Technology.FOUR_G: "POA-4G",
    Technology.FIVE_G: "POA-5G",
    Technology.WIFI: "POA-WIFI",
    Technology.OTHER: "POA",
}
_ENDS = {EndOfPath.LOOP: "LOOP", EndOfPath.REVERSE: "REVERSE"}
_PATH = ("path", "eopMode", "velocity")
_NOT_THERE = "Asset not in scenario"


def add_routes(app: web.Application, root: str) -> None:
    """Serve the API under `root`."""
    app.router.add_get(f"{root}/geodata", plainly(_list))
    app.router.add_get(f"{root}/geodata/{{asset}}", plainly(_get))
    app.router.add_post(f"{root}/geodata/{{asset}}", plainly(_move))
    app.router.add_post(f"{root}/geodata/{{asset}}/distanceTo", plainly(_distance))
    app.router.add_post(f"{root}/geodata/{{asset}}/withinRange", plainly(_within_range))


async def _list(request: web.Request) -> web.Response:
    """All assets, UEs first; `assetType`, `subType` choose, `excludePath=true` leaves out the paths."""
    live, query = request.app[LIVE], request.query
    scenario = live.world.scenario
    with_path = query.get("excludePath") != "true"
    documents = [_ue_document(live, ue, with_path=with_path) for ue in scenario.ues]
    documents += [_poa_document(poa) for poa in scenario.poas]
    chosen = [
        document
        for document in documents
        if query.get("assetType", "") in ("", document["assetType"])
        and query.get("subType", "") in ("", document["subType"])
    ]
    return json_response(present("geoDataAssets", chosen))


async def _get(request: web.Request) -> web.Response:
    require_scenario(request)
    asset = _asset(request.app[LIVE], request.match_info["asset"])
    if asset is None:
        raise Refused(HTTPStatus.NOT_FOUND, "Asset not found in active scenario")
    with_path = request.query.get("excludePath") != "true"
    document = (
        _poa_document(asset) if isinstance(asset, Poa) else _ue_document(request.app[LIVE], asset, with_path=with_path)
    )
    return json_response(document)


async def _move(request: web.Request) -> web.Response:
    """Put a UE elsewhere. The next MOBILITY pass makes known which POA serves it there."""
    body = Members(request, await document_of(request))
    require_scenario(request)
    live, name = request.app[LIVE], request.match_info["asset"]
    if body.text("assetName") != name:
        raise Refused(HTTPStatus.BAD_REQUEST, "Request body asset name differs from path asset name")
    asset = _asset(live, name)
    if asset is None:
        raise Refused(HTTPStatus.BAD_REQUEST, _NOT_THERE)
    location = body.object("location")
    to = None if location is None else _point(location)
    is_poa = isinstance(asset, Poa)
    if body.text("assetType") != ("POA" if is_poa else "UE"):
        raise Refused(HTTPStatus.BAD_REQUEST, "Missing or invalid asset type")
    if isinstance(asset, Poa):
        raise Refused(HTTPStatus.BAD_REQUEST, "Only a UE can be moved")
    now, sent = _ue_document(live, asset, with_path=True), body.as_sent()
    if any(sent.get(each) is not None and sent[each] != now.get(each) for each in _PATH):
        raise Refused(HTTPStatus.BAD_REQUEST, "Only the location can be changed")
    if to is not None and location is not None and location.as_sent() != now["location"]:
        live.world.place(name, to)
    return web.Response(headers=JSON_TYPE)


async def _distance(request: web.Request) -> web.Response:
    """Metres to another asset, or to a point."""
    here, there, _ = await _two_points(request)
    return json_response({"distance": float32(_metres(here, there))} | _told(here, there))


async def _within_range(request: web.Request) -> web.Response:
    """Whether another asset, or a point, is not more than `radius` metres away."""
    here, there, body = await _two_points(request)
    radius_m = body.number("radius") or 0.0
    return json_response({"within": _metres(here, there) <= radius_m} | _told(here, there))


async def _two_points(request: web.Request) -> tuple[Point, Point, Members]:
    """The place of the asset in the path, the one that the body names, and the body. Raises Refused.

    A coordinate that is missing is 0, as in the original.
    """
    require_scenario(request)
    live = request.app[LIVE]
    asset = _asset(live, request.match_info["asset"])
    if asset is None:
        raise Refused(HTTPStatus.BAD_REQUEST, _NOT_THERE)
    body = Members(request, await document_of(request))
    name = body.text("assetName")
    if not name:
        there = _checked(body.number("latitude") or 0.0, body.number("longitude") or 0.0)
    else:
        other = _asset(live, name)
        if other is None:
            raise Refused(HTTPStatus.BAD_REQUEST, "Destination asset not in scenario")
        there = _place(live, other)
    return _place(live, asset), there, body


def _metres(here: Point, there: Point) -> float:
    try:
        return geodesic_m(here, there)
    except ValueError as error:
        raise Refused(HTTPStatus.BAD_REQUEST, str(error)) from error


def _told(here: Point, there: Point) -> dict[str, object]:
    return {
        "srcLatitude": float32(here.lat_deg),
        "srcLongitude": float32(here.lon_deg),
        "dstLatitude": float32(there.lat_deg),
        "dstLongitude": float32(there.lon_deg),
    }


def _asset(live: LiveWorld, name: str) -> Ue | Poa | None:
    scenario = live.world.scenario
    assets: list[Ue | Poa] = [*scenario.ues, *scenario.poas]
    return next((each for each in assets if each.id == name), None)


def _place(live: LiveWorld, asset: Ue | Poa) -> Point:
    return asset.at if isinstance(asset, Poa) else live.world.place_of(asset.id)


def _point(location: Members) -> Point:
    """A GeoJSON point: longitude first. Raises Refused."""
    coordinates = location.as_sent().get("coordinates")
    numbers = coordinates if isinstance(coordinates, list) else []
    if location.text("type") != "Point" or [type(each) in (int, float) for each in numbers] != [True, True]:
        raise Refused(HTTPStatus.BAD_REQUEST, 'location has to be {"type":"Point","coordinates":[longitude,latitude]}')
    return _checked(float(numbers[1]), float(numbers[0]))


def _checked(lat_deg: float, lon_deg: float) -> Point:
    if not (-90 <= lat_deg <= 90 and -180 <= lon_deg <= 180):
        raise Refused(HTTPStatus.BAD_REQUEST, "No such place: latitude is from -90 to 90, longitude from -180 to 180")
    return Point(lat_deg, lon_deg)


def _ue_document(live: LiveWorld, ue: Ue, *, with_path: bool) -> dict[str, object]:
    document: dict[str, object] = {
        "assetName": ue.id,
        "assetType": "UE",
        "subType": "UE",
        "location": {"type": "Point", "coordinates": _coordinates(live.world.place_of(ue.id))},
    }
    if len(ue.path) > 1:
        document |= {"eopMode": _ENDS[ue.end_of_path], "velocity": float32(ue.speed_mps)}
        if with_path:
            document["path"] = {"type": "LineString", "coordinates": [_coordinates(each) for each in ue.path]}
    in_range = [poa.id for poa, _ in live.world.in_range(ue.id)]
    return document | ({"poaInRange": in_range} if in_range else {})


def _poa_document(poa: Poa) -> dict[str, object]:
    return {
        "assetName": poa.id,
        "assetType": "POA",
        "subType": _SUB_TYPES[poa.technology],
        "location": {"type": "Point", "coordinates": _coordinates(poa.at)},
        "radius": float32(poa.radius_m),
    }


def _coordinates(at: Point) -> list[float]:
    return [float32(at.lon_deg), float32(at.lat_deg)]
