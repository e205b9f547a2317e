"""ETSI JSON to core facts: the shapes of the MEC Sandbox, absent arrays, and every wrong field named."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillion.core.mobility import Observation
from pillion.core.model import PoaId, Position, UeId, ZoneId
from pillion.errors import MecPayloadError
from pillion.mec.wire import parse_access_points, parse_user, parse_zones

UE = UeId("10.100.0.2")
TIME = {"nanoSeconds": 0, "seconds": 1763993000}
AT = {"latitude": [43.73707], "longitude": [7.422555], "shape": 2, "timestamp": TIME}
BASE = "http://sandbox/sbx/location/v2/queries"


def user(address: str = UE, **changes: Any) -> dict[str, Any]:
    return {
        "address": address,
        "accessPointId": "4g-macro-cell-5",
        "zoneId": "zone02",
        "resourceURL": f"{BASE}/users?address={address}",
        "timestamp": TIME,
        "locationInfo": AT,
    } | changes


def user_list(*users: dict[str, Any]) -> bytes:
    listed = {"user": list(users)} if users else {}
    return json.dumps({"userList": {"resourceURL": f"{BASE}/users"} | listed}).encode()


def access_point(poa: str, **changes: Any) -> dict[str, Any]:
    return {
        "accessPointId": poa,
        "connectionType": "Macro",
        "locationInfo": AT,
        "numberOfUsers": 3,
        "operationStatus": "Serviceable",
        "resourceURL": f"{BASE}/zones/zone02/accessPoints/{poa}",
    } | changes


def access_point_list(*poas: dict[str, Any]) -> bytes:
    listed = {"accessPoint": list(poas)} if poas else {}
    return json.dumps({"accessPointList": {"zoneId": "zone02", "resourceURL": BASE} | listed}).encode()


def zone_list(*zones: str) -> bytes:
    counts = {"numberOfAccessPoints": 9, "numberOfUnserviceableAccessPoints": 0, "numberOfUsers": 4}
    listed = {"zone": [{"zoneId": zone, "resourceURL": BASE} | counts for zone in zones]} if zones else {}
    return json.dumps({"zoneList": {"resourceURL": f"{BASE}/zones"} | listed}).encode()


def test_a_user_is_read_with_its_poa_zone_and_place():
    assert parse_user(user_list(user()), UE, 12.5) == Observation(
        UE, 12.5, PoaId("4g-macro-cell-5"), ZoneId("zone02"), Position(43.73707, 7.422555)
    )


def test_a_disconnected_ue_is_absent_from_a_list_that_is_absent_itself():
    assert parse_user(user_list(), UE, 1.0) == Observation(UE, 1.0, None, None, None)


def test_another_ue_s_answer_is_not_taken_for_ours():
    assert parse_user(user_list(user("10.100.0.3")), UE, 1.0).poa is None
    both = user_list(user("10.100.0.3", zoneId="zone09"), user())
    assert parse_user(both, UE, 1.0).zone == "zone02"


@pytest.mark.parametrize("place", [{"locationInfo": None}, {}])
def test_a_user_whose_place_is_not_told_is_read_without_one(place: dict[str, Any]):
    told = user(**place)
    if not place:
        del told["locationInfo"]
    assert parse_user(user_list(told), UE, 1.0).position is None


@pytest.mark.parametrize(
    ("told", "read"), [("LTE", "Macro"), ("5G NR", "Smallcell"), ("Wifi", "Wifi"), ("UNKNOWN", "UNKNOWN")]
)
def test_technologies_of_v3_are_read_in_the_words_of_v2_and_unknown_ones_kept(told: str, read: str):
    poas = parse_access_points(access_point_list(access_point("a", connectionType=told)))
    assert [kind for _, _, kind in poas] == [read]


def test_zones_are_read_and_none_are_none():
    assert parse_zones(zone_list("zone01", "zone02")) == ["zone01", "zone02"]
    assert parse_zones(zone_list()) == []


def test_access_points_are_read_with_place_and_technology_and_those_without_a_place_left_out():
    poas = access_point_list(
        access_point("4g-1"), access_point("5g-1", connectionType="Smallcell"), access_point("w", locationInfo=None)
    )
    assert parse_access_points(poas) == [
        ("4g-1", Position(43.73707, 7.422555), "Macro"),
        ("5g-1", Position(43.73707, 7.422555), "Smallcell"),
    ]
    assert parse_access_points(access_point_list()) == []


WRONG = {
    "body": [b"", b"<html>", b"[]", b'"x"', b"null", b"\xff", b"{"],
    "userList": [b"{}", b'{"userList": null}', b'{"userList": []}'],
    "userList.user": [b'{"userList": {"user": {}}}', b'{"userList": {"user": "x"}}'],
    "userList.user[0]": [b'{"userList": {"user": [1]}}', b'{"userList": {"user": [null]}}'],
    "userList.user[0].address": [user_list(user() | {"address": wrong}, user()) for wrong in (None, "", 7)],
    "userList.user[0].accessPointId": [user_list(user(accessPointId=wrong)) for wrong in (None, "", 4, ["4g"])],
    "userList.user[0].zoneId": [user_list(user(zoneId=wrong)) for wrong in (None, "", 2.5, {})],
    "userList.user[0].locationInfo": [user_list(user(locationInfo=wrong)) for wrong in ([], "here", 7, False)],
    "userList.user[0].locationInfo.latitude": [
        user_list(user(locationInfo=AT | {"latitude": wrong})) for wrong in (None, [], 43.7, ["43.7"], [True], [91.0])
    ],
    "userList.user[0].locationInfo.longitude": [
        user_list(user(locationInfo=AT | {"longitude": wrong})) for wrong in (None, {}, [None], [-180.5], [1e300])
    ],
}


@pytest.mark.parametrize(("field", "body"), [(field, body) for field, bodies in WRONG.items() for body in bodies])
def test_a_wrong_user_list_names_the_field(field: str, body: bytes):
    with pytest.raises(MecPayloadError) as raised:
        parse_user(body, UE, 1.0)
    assert raised.value.place == field
    assert raised.value.exit_code == 5


@pytest.mark.parametrize(
    ("parse", "body", "field"),
    [
        (parse_zones, b"{}", "zoneList"),
        (parse_zones, b'{"zoneList": {"zone": [{}]}}', "zoneList.zone[0].zoneId"),
        (parse_access_points, b'{"zoneList": {}}', "accessPointList"),
        (parse_access_points, b'{"accessPointList": {"accessPoint": 1}}', "accessPointList.accessPoint"),
        (
            parse_access_points,
            access_point_list(access_point("")),
            "accessPointList.accessPoint[0].accessPointId",
        ),
        (
            parse_access_points,
            access_point_list(access_point("4g-1", connectionType=4)),
            "accessPointList.accessPoint[0].connectionType",
        ),
    ],
)
def test_a_wrong_layout_names_the_field(parse: Any, body: bytes, field: str):
    with pytest.raises(MecPayloadError) as raised:
        parse(body)
    assert raised.value.place == field


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


def paths(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document that could be changed."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(path for key, child in inner for path in paths(child, (*here, key)))]


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_whatever_is_changed_in_an_answer_it_is_one_observation_or_one_error_that_names_a_field(data: st.DataObject):
    document: Any = {"top": json.loads(user_list(user("10.100.0.3"), user()))}
    document = copy.deepcopy(document)
    for _ in range(data.draw(st.integers(1, 3))):
        *way, last = data.draw(st.sampled_from([path for path in paths(document) if path]))
        parent = document
        for key in way:
            parent = parent[key]
        if isinstance(parent, dict) and last != "top" and data.draw(st.booleans()):
            del parent[last]
        else:
            parent[last] = data.draw(JUNK)
    body = json.dumps(document["top"], allow_nan=True).encode("utf-8", "surrogatepass")
    try:
        seen = parse_user(body, UE, 3.0)
    except MecPayloadError as error:
        named = error.place
        assert named == "body" or named.startswith("userList")
    else:
        assert (seen.ue, seen.asked_s) == (UE, 3.0)
        assert (seen.poa is None) == (seen.zone is None)
        assert seen.position is None or abs(seen.position.latitude) <= 90


@given(st.binary(max_size=60))
def test_any_bytes_are_an_error_that_names_a_field_or_an_answer(body: bytes):
    for parse in (parse_zones, parse_access_points, lambda body: parse_user(body, UE, 0.0)):
        with pytest.raises(MecPayloadError) as raised:
            parse(body)
        assert raised.value.place
