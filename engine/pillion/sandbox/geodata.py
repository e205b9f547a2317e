"""Where the UEs and POAs of the scenario are, and putting a UE elsewhere or on another path: `gis/v1/geodata`.

A UE that is put elsewhere while it moves goes on from where its path had it. On another path, at another speed or with
another end of its path it begins at the path's start, once it moves. These go together: speed and end are only looked
at beside a path, a path without an end is refused, and without a speed the UE stops. What a client read here and sends
back changes nothing. POAs are the scenario's: what moves one is refused, which the original grants.
Source: AdvantEDGE v1.9.2, meep-gis-engine and meep-gis-asset-mgr, whose names and shapes these are.
"""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus

from aiohttp import web

from pillion.sandbox.answers import JSON_TYPE, LIVE, Members, Refused, document_of, json_response, present
from pillion.sandbox.geodesy import Point, geodesic_m
from pillion.sandbox.live import LiveWorld
from pillion.sandbox.location import float32
from pillion.sandbox.movement import track_of
from pillion.sandbox.plain_text import plainly, require_scenario
from pillion.sandbox.scenario import EndOfPath, Poa, Technology, Ue

_SUB_TYPES = {
    Technology.FOUR_G: "POA-4G",
    Technology.FIVE_G: "POA-5G",
    Technology.WIFI: "POA-WIFI",
    Technology.OTHER: "POA",
}
_ENDS = {EndOfPath.LOOP: "LOOP", EndOfPath.REVERSE: "REVERSE"}
_MOST_MPS, _MOST_PER_S = 1e7, 1e4
"""What the original's columns for a speed, and for the share of a path driven in a second, cannot hold."""
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
    with_path = query.get("excludePath") != "true"
    documents = [_ue_document(live, ue, with_path=with_path) for ue in live.world.ues()]
    documents += [_poa_document(poa) for poa in live.world.scenario.poas]
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
    """Put a UE elsewhere, or on another path. The next MOBILITY pass makes known which POA serves it there."""
    body = Members(request, await document_of(request))
    require_scenario(request)
    live, name = request.app[LIVE], request.match_info["asset"]
    if body.text("assetName") != name:
        raise Refused(HTTPStatus.BAD_REQUEST, "Request body asset name differs from path asset name")
    asset = _asset(live, name)
    if asset is None:
        raise Refused(HTTPStatus.BAD_REQUEST, _NOT_THERE)
    location, drive = body.object("location"), _drive_asked(body)
    to = None if location is None else _point(location)
    is_poa = isinstance(asset, Poa)
    if body.text("assetType") != ("POA" if is_poa else "UE"):
        raise Refused(HTTPStatus.BAD_REQUEST, "Missing or invalid asset type")
    if isinstance(asset, Poa):
        raise Refused(HTTPStatus.BAD_REQUEST, "Only a UE can be moved")
    after = asset if drive is None else _driving(asset, *drive)
    if to is not None and _coordinates(to) != _coordinates(live.world.place_of(name)):
        live.world.place(name, to)
    if _drive(after) != _drive(asset):
        live.world.repath(after)
    return web.Response(headers=JSON_TYPE)


def _drive_asked(body: Members) -> tuple[tuple[Point, ...], str, float] | None:
    """Path, its end and the speed along it; None without a path. Raises Refused."""
    path, end, speed_mps = body.object("path"), body.text("eopMode") or "", body.number("velocity") or 0.0
    if end not in ("", *_ENDS.values()):
        raise Refused(HTTPStatus.BAD_REQUEST, f"Unsupported end-of-path mode: {end}")
    if not 0 <= speed_mps < _MOST_MPS:
        raise Refused(HTTPStatus.BAD_REQUEST, f"velocity has to be 0 or more, and below {_MOST_MPS:g}")
    return None if path is None else (_line(path), end, speed_mps)


def _driving(ue: Ue, path: tuple[Point, ...], end: str, speed_mps: float) -> Ue:
    """The UE on that path. Raises Refused."""
    if not end:
        raise Refused(HTTPStatus.BAD_REQUEST, "Invalid Path Mode")
    end_of_path = next(each for each, name in _ENDS.items() if name == end)
    after = replace(ue, path=path, end_of_path=end_of_path, speed_mps=speed_mps)
    try:
        track = track_of(after)
    except ValueError as error:
        raise Refused(HTTPStatus.BAD_REQUEST, str(error)) from error
    if track.length_m == 0 or track.rate_per_s >= _MOST_PER_S:
        raise Refused(HTTPStatus.BAD_REQUEST, "path has no length to be driven along")
    return after


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
    assets: list[Ue | Poa] = [*live.world.ues(), *live.world.scenario.poas]
    return next((each for each in assets if each.id == name), None)


def _place(live: LiveWorld, asset: Ue | Poa) -> Point:
    return asset.at if isinstance(asset, Poa) else live.world.place_of(asset.id)


def _point(location: Members) -> Point:
    """A GeoJSON point. Raises Refused."""
    if location.text("type") != "Point":
        raise Refused(HTTPStatus.BAD_REQUEST, 'location has to be {"type":"Point","coordinates":[longitude,latitude]}')
    return _position(location.as_sent().get("coordinates"))


def _line(path: Members) -> tuple[Point, ...]:
    """A GeoJSON line of two positions or more. Raises Refused."""
    coordinates = path.as_sent().get("coordinates")
    if path.text("type") != "LineString" or not isinstance(coordinates, list) or len(coordinates) < 2:
        raise Refused(HTTPStatus.BAD_REQUEST, 'path has to be {"type":"LineString","coordinates":[two or more]}')
    return tuple(_position(each) for each in coordinates)


def _position(coordinates: object) -> Point:
    """A GeoJSON position: longitude first. Raises Refused."""
    if not isinstance(coordinates, list) or [type(each) in (int, float) for each in coordinates] != [True, True]:
        raise Refused(HTTPStatus.BAD_REQUEST, "coordinates have to be [longitude,latitude]")
    return _checked(float(coordinates[1]), float(coordinates[0]))


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
    drive = _drive(ue)
    if not with_path:
        drive.pop("path", None)
    document |= drive
    in_range = [poa.id for poa, _ in live.world.in_range(ue.id)]
    return document | ({"poaInRange": in_range} if in_range else {})


def _drive(ue: Ue) -> dict[str, object]:
    """Path, its end and the speed along it; nothing of a UE without a path, and no speed of one that stands."""
    if len(ue.path) < 2:
        return {}
    drive: dict[str, object] = {
        "path": {"type": "LineString", "coordinates": [_coordinates(each) for each in ue.path]},
        "eopMode": _ENDS[ue.end_of_path],
    }
    return drive | ({"velocity": float32(ue.speed_mps)} if ue.speed_mps else {})


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
