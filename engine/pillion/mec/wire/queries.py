"""Answers of the Location API's queries; those of v2 and of v3 are alike.

What v3 has besides is not read: civicInfo, and relativeLocationInfo, which in the hosted sandbox is no true distance.
Source: ETSI GS MEC 013 V2.2.1 and V3.1.1, clause 6.2.2, as the MEC Sandbox speaks it: arrays are absent when empty,
coordinates are one-element arrays.
"""

from __future__ import annotations

from pillion.core.mobility import Observation
from pillion.core.model import PoaId, Position, UeId, ZoneId
from pillion.mec.wire.reading import Fields

_V2_WORDS = {"LTE": "Macro", "5G NR": "Smallcell"}
"""connectionType of V3.1.1 in the words of V2.2.1, which are ours; the others are the same."""


def parse_user(body: bytes, ue: UeId, asked_s: float) -> Observation:
    """What `queries/users?address=…` says of one UE; without POA and zone if it is not attached.

    A user without an address is an error and not somebody else: to be absent from the list is to be disconnected.
    Source: clause 6.2.2 (UserList, UserInfo). Raises MecPayloadError naming the field.
    """
    users = Fields.of(body).object("userList").objects("user")
    mine = [user for user in users if user.text("address") == ue]
    if not mine:
        return Observation(ue, asked_s, None, None, None)
    poa, zone = PoaId(mine[0].text("accessPointId")), ZoneId(mine[0].text("zoneId"))
    return Observation(ue, asked_s, poa, zone, mine[0].position("locationInfo"))


def parse_zones(body: bytes) -> list[ZoneId]:
    """The zones of `queries/zones`. Source: clause 6.2.2 (ZoneList). Raises MecPayloadError."""
    return [ZoneId(zone.text("zoneId")) for zone in Fields.of(body).object("zoneList").objects("zone")]


def parse_access_points(body: bytes) -> list[tuple[PoaId, Position, str]]:
    """Id, position and connectionType of each POA of `queries/zones/{zoneId}/accessPoints` that has a position.

    A connectionType that neither version has is given as it is. Source: clause 6.2.2 (AccessPointList,
    AccessPointInfo). Raises MecPayloadError.
    """
    found = []
    for poa in Fields.of(body).object("accessPointList").objects("accessPoint"):
        position = poa.position("locationInfo")
        if position is not None:
            kind = poa.text("connectionType")
            found.append((PoaId(poa.text("accessPointId")), position, _V2_WORDS.get(kind, kind)))
    return found
