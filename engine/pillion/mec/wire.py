"""ETSI JSON to core facts: the only home of the standards' names.

Source: ETSI GS MEC 013 V2.2.1, clause 6 (Location API data model), as the MEC Sandbox speaks it: arrays are absent
when empty, coordinates are one-element arrays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson

from pillion.core.mobility import Observation
from pillion.core.model import PoaId, Position, UeId, ZoneId
from pillion.errors import MecPayloadError


def parse_user(body: bytes, ue: UeId, asked_s: float) -> Observation:
    """What `queries/users?address=…` says of one UE; without POA and zone if it is not attached.

    Source: ETSI GS MEC 013 V2.2.1, clause 6.2.2 (UserList, UserInfo).
    Raises MecPayloadError naming the field that is missing or of the wrong type.
    """
    users = _list(_object(_decoded(body), "userList"), "user", "userList")
    mine = [user for user in users if user.get("address") == ue]
    if not mine:
        return Observation(ue, asked_s, None, None, None)
    user = mine[0]
    poa = PoaId(_text(user, "accessPointId", "userList.user"))
    zone = ZoneId(_text(user, "zoneId", "userList.user"))
    return Observation(ue, asked_s, poa, zone, _position(user, "userList.user"))


def parse_zones(body: bytes) -> list[ZoneId]:
    """The zones of `queries/zones`. Source: clause 6.2.2 (ZoneList). Raises MecPayloadError."""
    zones = _list(_object(_decoded(body), "zoneList"), "zone", "zoneList")
    return [ZoneId(_text(zone, "zoneId", "zoneList.zone")) for zone in zones]


def parse_access_points(body: bytes) -> list[tuple[PoaId, Position, str]]:
    """Id, position and connectionType of each POA of `queries/zones/{zoneId}/accessPoints` that has a position.

    Source: clause 6.2.2 (AccessPointList, AccessPointInfo). Raises MecPayloadError.
    """
    where = "accessPointList.accessPoint"
    found = []
    for poa in _list(_object(_decoded(body), "accessPointList"), "accessPoint", "accessPointList"):
        position = _position(poa, where)
        if position is not None:
            found.append((PoaId(_text(poa, "accessPointId", where)), position, _text(poa, "connectionType", where)))
    return found


def _decoded(body: bytes) -> Mapping[str, Any]:
    try:
        decoded = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MecPayloadError(f"not JSON: {error}", place="body") from error
    if not isinstance(decoded, dict):
        raise MecPayloadError("not a JSON object", place="body")
    return decoded


def _object(parent: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = parent.get(name)
    if not isinstance(value, dict):
        raise MecPayloadError("missing, or not an object", place=name)
    return value


def _list(parent: Mapping[str, Any], name: str, where: str) -> list[Mapping[str, Any]]:
    value = parent.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise MecPayloadError("not a list of objects", place=f"{where}.{name}")
    return value


def _text(parent: Mapping[str, Any], name: str, where: str) -> str:
    value = parent.get(name)
    if not isinstance(value, str) or not value:
        raise MecPayloadError("missing, or not a text", place=f"{where}.{name}")
    return value


def _position(parent: Mapping[str, Any], where: str) -> Position | None:
    info = parent.get("locationInfo")
    if info is None:
        return None
    if not isinstance(info, dict):
        raise MecPayloadError("not an object", place=f"{where}.locationInfo")
    degrees = []
    for name, bound in (("latitude", 90.0), ("longitude", 180.0)):
        value = info.get(name)
        first = value[0] if isinstance(value, list) and value else None
        if isinstance(first, bool) or not isinstance(first, int | float) or not math.isfinite(first):
            raise MecPayloadError("not a list with a number", place=f"{where}.locationInfo.{name}")
        if abs(first) > bound:
            raise MecPayloadError(f"{first} is outside ±{bound:g}", place=f"{where}.locationInfo.{name}")
        degrees.append(float(first))
    return Position(degrees[0], degrees[1])
