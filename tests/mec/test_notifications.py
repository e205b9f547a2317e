"""What notifications of either API tell, and that whatever else comes is one error that names the field."""

from __future__ import annotations

import copy
import json
import math
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillion.core.mobility import Attached, CellSeen, Left, Located, Notice, Observation
from pillion.core.model import PoaId, Position, UeId, ZoneId
from pillion.errors import MecPayloadError
from pillion.mec import wire

UE = UeId("10.100.0.2")
TIME = {"nanoSeconds": 0, "seconds": 1763993000}
AT = {"latitude": [43.73707], "longitude": [7.422555], "shape": 2, "timestamp": TIME}
PLMN = {"mcc": "001", "mnc": "001"}
ECGI = {"cellId": "5050505", "plmn": PLMN}
HREF = "http://sandbox/sbx/rni/v2/subscriptions/3"
LINKS = {"subscription": {"href": HREF}}
HERE = Located(UE, 7.0, Position(43.73707, 7.422555))
ASSOCIATES = [{"type": 1, "value": UE}]


def presence(event: str, **more: Any) -> dict[str, Any]:
    about = {
        "address": UE,
        "currentAccessPointId": "4g-4",
        "timestamp": TIME,
        "userEventType": event,
        "zoneId": "zone02",
    }
    return {"zonalPresenceNotification": about | more}


def radio(kind: str, **more: Any) -> dict[str, Any]:
    return {"notificationType": kind, "timeStamp": TIME, "associateId": ASSOCIATES, "_links": LINKS} | more


def user_event(event: str, **more: Any) -> dict[str, Any]:
    """As ETSI GS MEC 013 V3.1.1 has it."""
    return {
        "notificationType": "UserLocationEventNotification",
        "userLocationEvent": event,
        "address": UE,
        "zoneId": "zone02",
        "accessPointId": "4g-4",
        "timeStamp": TIME,
        "_links": LINKS,
    } | more


def zone_event(event: str) -> dict[str, Any]:
    """The same of a zone: without a POA."""
    told = user_event(event, notificationType="ZoneLocationEventNotification")
    del told["accessPointId"]
    return told


def report(**more: Any) -> dict[str, Any]:
    return {
        "notificationType": "UserLocationPeriodicNotification",
        "address": UE,
        "result": "SUCCESS",
        "timeStamp": TIME,
        "_links": LINKS,
    } | more


ATTACHED = Attached(UE, 7.0, PoaId("4g-4"), ZoneId("zone02"))
LEFT = Left(UE, 7.0, PoaId("4g-4"), ZoneId("zone02"))
NOTIFICATIONS: list[tuple[dict[str, Any], list[Notice]]] = [
    (presence("Entering"), [ATTACHED]),
    (presence("Transferring", previousAccessPointId="4g-5", callbackData="x"), [ATTACHED]),
    (presence("Leaving"), [LEFT]),
    ({"zoneStatusNotification": {"zoneId": "zone01", "numberOfUsersInZone": 3, "timestamp": TIME}}, []),
    ({"subscriptionNotification": {"terminalLocation": None}}, []),
    (
        {
            "subscriptionNotification": {
                "terminalLocation": [{"address": UE, "currentLocation": AT, "locationRetrievalStatus": "Retrieved"}]
            }
        },
        [HERE],
    ),
    (user_event("ENTERING_AREA_EVENT"), [ATTACHED]),
    ({"userLocationEventNotification": user_event("LEAVING_AREA_EVENT")}, [LEFT]),
    (user_event("ENTERING_AREA_EVENT") | {"locationInfo": AT}, [ATTACHED, HERE]),
    ({"notificationType": "TestNotification", "_links": LINKS}, []),
    (user_event("LEAVING_AREA_EVENT", accessPointId=None), [Left(UE, 7.0, None, ZoneId("zone02"))]),
    (zone_event("ENTERING_AREA_EVENT"), [Attached(UE, 7.0, None, ZoneId("zone02"))]),
    (zone_event("LEAVING_AREA_EVENT"), [Left(UE, 7.0, None, ZoneId("zone02"))]),
    # v3 has no event for a change of POA within a zone: the periodic report tells of it.
    (report(accessPointId="4g-4", zoneId="zone02", locationInfo=AT), [ATTACHED, HERE]),
    (report(zoneId="zone02"), [Attached(UE, 7.0, None, ZoneId("zone02"))]),
    (report(locationInfo=AT, isFinalNotification=True), [HERE]),
    (report(result="ABNORMAL"), []),
    ({"userLocationPeriodicNotification": report(locationInfo=AT)}, [HERE]),
    ({"notificationType": "UserDistanceNotification", "monitoredUsers": {"user": [{"address": UE}]}}, []),
    ({"notificationType": "MobilityProcedureNotification", "_links": None}, []),
    ({"notificationType": "AdjacentAppInfoNotification", "_links": None}, []),
    ({"notificationType": "", "expiryDeadline": TIME, "_links": LINKS}, []),
    ({"expiryDeadline": TIME, "timeStamp": TIME, "_links": LINKS}, []),
    (radio("CellChangeNotification", hoStatus=3, srcEcgi=ECGI, trgEcgi=[ECGI]), [CellSeen(UE, 7.0, "5050505")]),
    (radio("RabEstNotification", ecgi=ECGI, erabId=4, erabQosParameters={"qci": 80}), [CellSeen(UE, 7.0, "5050505")]),
    (radio("RabRelNotification", ecgi=ECGI, erabReleaseInfo={"erabId": 4}), [CellSeen(UE, 7.0, None)]),
    (radio("MeasRepUeNotification", ecgi=ECGI, rsrp=50, rsrq=10, trigger=1), [CellSeen(UE, 7.0, "5050505")]),
    (
        radio(
            "NrMeasRepUeNotification",
            triggerNr=1,
            servCellMeasInfo=[{"nrcgi": {"nrcellId": "101", "plmn": PLMN}, "sCell": {}}],
        ),
        [CellSeen(UE, 7.0, "101")],
    ),
]


@pytest.mark.parametrize(("document", "told"), NOTIFICATIONS)
def test_each_notification_tells_what_it_should(document: dict[str, Any], told: list[Notice]) -> None:
    assert wire.parse_notification(json.dumps(document).encode(), 7.0) == told


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"notificationType": "Gossip"}, "notificationType"),
        ({"notificationType": "Gossip", "expiryDeadline": TIME}, "notificationType"),
        ({"gossipNotification": {}}, "gossipNotification.notificationType"),
        ({"gossipNotification": 5}, "gossipNotification"),
        (user_event("entering_area_event"), "userLocationEvent"),
        (user_event("ENTERING_AREA_EVENT", address=None), "address"),
        (zone_event("Entering"), "userLocationEvent"),
        (zone_event("ENTERING_AREA_EVENT") | {"zoneId": None}, "zoneId"),
        (report(result=None), "result"),
        (report(result="PERHAPS"), "result"),
        (report(address=None), "address"),
        ({"userLocationPeriodicNotification": report(address="")}, "userLocationPeriodicNotification.address"),
        (
            {"subscriptionNotification": {"terminalLocation": [{}]}},
            "subscriptionNotification.terminalLocation[0].address",
        ),
        ({}, "notificationType"),
        (presence("Vanishing"), "zonalPresenceNotification.userEventType"),
        (presence("Entering", zoneId=""), "zonalPresenceNotification.zoneId"),
        (radio("CellChangeNotification", trgEcgi=[]), "trgEcgi"),
        (radio("CellChangeNotification", trgEcgi=[{"cellId": 5}]), "trgEcgi[0].cellId"),
        (radio("RabEstNotification", ecgi=ECGI, associateId=[{"type": 1}]), "associateId[0].value"),
        (radio("NrMeasRepUeNotification", servCellMeasInfo=[{"nrcgi": {}}]), "servCellMeasInfo[0].nrcgi.nrcellId"),
        (
            {
                "subscriptionNotification": {
                    "terminalLocation": [{"address": UE, "currentLocation": {"latitude": [95]}}]
                }
            },
            "subscriptionNotification.terminalLocation[0].currentLocation.latitude",
        ),
    ],
)
def test_a_wrong_notification_names_the_field(document: dict[str, Any], field: str) -> None:
    with pytest.raises(MecPayloadError) as raised:
        wire.parse_notification(json.dumps(document).encode(), 7.0)
    assert raised.value.place == field


LISTS: list[tuple[dict[str, Any], list[wire.Listed]]] = [
    ({"notificationSubscriptionList": {"resourceURL": "http://sandbox/x"}}, []),
    (
        {
            "notificationSubscriptionList": {
                "resourceURL": "http://sandbox/x",
                "userTrackingSubscription": [
                    {
                        "resourceURL": "http://sandbox/x/1",
                        "address": UE,
                        "callbackReference": {"notifyURL": "http://a/b"},
                    }
                ],
            }
        },
        [wire.Listed("http://sandbox/x/1", "userTrackingSubscription", "http://a/b")],
    ),
    (
        {
            "notificationSubscriptionList": {
                "resourceURL": {"href": "http://sandbox/x"},
                "subscription": [{"href": HREF, "subscriptionType": "UserLocationEventSubscription"}],
            }
        },
        [wire.Listed(HREF, "UserLocationEventSubscription", None)],
    ),
    (
        {
            "resourceURL": {"href": "http://sandbox/x"},
            "subscription": [{"href": HREF, "subscriptionType": "UserLocationEventSubscription"}],
        },
        [wire.Listed(HREF, "UserLocationEventSubscription", None)],
    ),
    ({"notificationSubscriptionList": {"": [{"resourceURL": HREF}], "nextPage": 5}}, []),
    ({"_links": {"self": {"href": "http://sandbox/x"}}}, []),
    (
        {"_links": {"subscription": [{"href": HREF, "subscriptionType": "RabEstSubscription"}]}},
        [wire.Listed(HREF, "RabEstSubscription", None)],
    ),
]


@pytest.mark.parametrize(("document", "listed"), LISTS)
def test_lists_of_either_api_are_read(document: dict[str, Any], listed: list[wire.Listed]) -> None:
    assert wire.parse_subscription_list(json.dumps(document).encode()) == listed


CALLBACKS: list[tuple[dict[str, Any], str | None]] = [
    (
        {"periodicNotificationSubscription": {"callbackReference": {"notifyURL": "http://a/b"}, "frequency": 1}},
        "http://a/b",
    ),
    ({"callbackReference": "http://a/b", "subscriptionType": "RabEstSubscription"}, "http://a/b"),
    ({"userLocationEventSubscription": {"callbackReference": "http://a/b", "address": UE}}, "http://a/b"),
    ({"subscriptionType": "RabEstSubscription", "filterCriteriaQci": {"qci": 80}}, None),
]


@pytest.mark.parametrize(("document", "callback"), CALLBACKS)
def test_whose_a_subscription_is_is_read_from_it(document: dict[str, Any], callback: str | None) -> None:
    assert wire.callback_of(json.dumps(document).encode()) == callback


def test_a_word_as_long_as_a_body_does_not_go_to_the_log_whole() -> None:
    for document in ({"notificationType": "Gossip" * 40_000}, {"gossip" * 40_000: 5}):
        with pytest.raises(MecPayloadError) as raised:
            wire.parse_notification(json.dumps(document).encode(), 7.0)
        assert len(str(raised.value)) < 200


@pytest.mark.parametrize("kind", wire.KINDS["v3"][:2])
def test_what_is_sent_to_location_v3_is_in_a_member_of_its_name(kind: wire.Kind) -> None:
    ((name, wanted),) = kind.body(UE, "http://a/b").items()
    assert wanted["subscriptionType"] == name[0].upper() + name[1:] == kind.type
    assert (wanted["address"], wanted["callbackReference"]) == (UE, "http://a/b")


# Whatever comes

USERS = {
    "userList": {
        "resourceURL": "http://sandbox/users",
        "user": [
            {"address": UE, "accessPointId": "4g-4", "zoneId": "zone02", "locationInfo": AT, "timestamp": TIME},
            {"address": "10.100.0.1", "accessPointId": "w1", "zoneId": "zone03", "locationInfo": AT, "timestamp": TIME},
        ],
    }
}
HOSTED_USERS = {
    "userList": {
        "user": [
            {
                "address": "10.100.0.1",
                "accessPointId": "4g-macro-cell-3",
                "zoneId": "zone01",
                "resourceURL": "https://sandbox/sbx/mep1/location/v3/queries/users?address=10.100.0.1",
                "timestamp": TIME,
                "locationInfo": {"latitude": [43.735428], "longitude": [7.417364], "shape": 2},
                "civicInfo": {"country": "MC"},
                "relativeLocationInfo": {"X": 447.71487, "Y": -315.28012, "mapInfo": {"mapId": "324561243"}},
            }
        ]
    }
}
ZONES = {"zoneList": {"resourceURL": "http://sandbox/zones", "zone": [{"zoneId": "zone01", "numberOfUsers": 3}]}}
POAS = {
    "accessPointList": {
        "zoneId": "zone01",
        "accessPoint": [
            {"accessPointId": "4g-4", "connectionType": "Macro", "locationInfo": AT},
            {"accessPointId": "5g-1", "connectionType": "5G NR", "locationInfo": AT},
        ],
    }
}

Parse = Callable[[bytes], object]
CORPUS: list[tuple[dict[str, Any], Parse]] = [
    *((document, lambda body: wire.parse_user(body, UE, 7.0)) for document in (USERS, HOSTED_USERS)),
    (ZONES, wire.parse_zones),
    (POAS, wire.parse_access_points),
    *((document, lambda body: wire.parse_notification(body, 7.0)) for document, _ in NOTIFICATIONS),
    *((document, wire.parse_subscription_list) for document, _ in LISTS),
    *((document, wire.callback_of) for document, _ in CALLBACKS),
]
MISSING = object()
MUTATIONS = 12_000
ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    1e308,
    1 << 70,
    "",
    "x" * 300,
    [],
    [[]],
    {},
    {"": None},
    "\ud800",
    float("nan"),
    91.0,
]


def spots(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a document that can be changed: the container and the key or index in it."""
    entries = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    for key, inner in entries:
        yield value, key
        yield from spots(inner)


def mutated(document: dict[str, Any], chance: random.Random) -> bytes:
    """The document with one or two things wrong with it, or its bytes damaged."""
    changed = copy.deepcopy(document)
    for _ in range(chance.randint(1, 2)):
        container, key = chance.choice(list(spots(changed)) or [({}, None)])
        match chance.randrange(5):
            case 0 if key is not None:
                del container[key]
            case 1 if isinstance(container, dict) and key is not None:
                container[str(key).upper()] = container.pop(key)
            case 2 if isinstance(container, list):
                container.append(container[key])
            case _ if key is not None:
                container[key] = copy.deepcopy(chance.choice(ODD))
    body = json.dumps(changed).encode("utf-8", "surrogatepass")
    match chance.randrange(8):
        case 0:
            body = body[: chance.randrange(len(body))]
        case 1:
            at = chance.randrange(len(body))
            body = body[:at] + bytes([chance.randrange(256)]) + body[at + 1 :]
        case 2:
            body = body.replace(b"{", b"[" * chance.choice([1, 3000]) + b"{", 1)
    return body


def is_sound(result: object) -> bool:
    """Whether what was read is well typed, with positions on the globe and ids that are not empty."""
    match result:
        case None:
            return True
        case str():
            return bool(result)
        case list():
            return all(map(is_sound, result))
        case tuple():
            return all(map(is_sound, result))
        case Position(latitude, longitude):
            return (
                math.isfinite(latitude) and abs(latitude) <= 90 and math.isfinite(longitude) and abs(longitude) <= 180
            )
        case Observation(ue, _, poa, zone, position):
            return is_sound(ue) and is_sound(poa) and is_sound(zone) and is_sound(position)
        case Attached(ue, _, poa, zone) | Left(ue, _, poa, zone):
            return bool(ue and zone) and is_sound(poa)
        case Located(ue, _, position):
            return is_sound(ue) and is_sound(position)
        case CellSeen(ue, _, cell):
            return bool(ue) and is_sound(cell)
        case wire.Listed(url, type_, callback):
            return bool(url and type_) and is_sound(callback)
    return False


FORM = {
    "expiryDeadline": "notificationType",
    "zonalPresenceNotification": "notificationType",
    "zoneStatusNotification": "notificationType",
    "subscriptionNotification": "notificationType",
    "_links": "notificationSubscriptionList",
    "subscription": "notificationSubscriptionList",
    "resourceURL": "notificationSubscriptionList",
}
"""Fields that tell the form of a payload, and what is missed in one of another form."""


def differing(before: Any, after: Any, name: str = "body") -> set[str]:
    """The names of the fields that are not as they were: of new ones too, and of all that was in one that is gone."""
    if isinstance(before, dict) and (isinstance(after, dict) or after is MISSING):
        there = after if isinstance(after, dict) else {}
        inner = [(value, there.get(key, MISSING), key) for key, value in before.items()]
        found = {name} if after is MISSING else there.keys() - before.keys()
    elif isinstance(before, list) and isinstance(after, list):
        inner = [(*pair, name) for pair in zip_longest(before, after, fillvalue=MISSING)]
        found = set()
    else:
        return set() if type(before) is type(after) and before == after else {name}
    return found.union(*(differing(*each) for each in inner))


def damaged(document: dict[str, Any], body: bytes) -> set[str]:
    """The fields that a refusal may name of a body that was this document before it was damaged."""
    try:
        names = differing(document, orjson.loads(body))
    except orjson.JSONDecodeError:
        return {"body"}
    return names | {FORM[name] for name in names & FORM.keys()}


def test_ten_thousand_damaged_payloads_are_read_or_refused_by_the_name_of_the_damaged_field() -> None:
    chance, ended = random.Random(20261127), Counter[str]()
    for number in range(MUTATIONS):
        document, parse = CORPUS[number % len(CORPUS)]
        body = mutated(document, chance)
        place = None
        try:
            assert is_sound(parse(body)), body
        except MecPayloadError as error:
            place = error.place
        ended["read" if place is None else "refused"] += 1
        assert place is None or damaged(document, body) & set(re.split(r"[.[]", place)), (place, body)
    assert ended.total() >= 10_000
    assert min(ended["read"], ended["refused"]) > MUTATIONS / 8, ended


PARSES = [parse for _, parse in CORPUS]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["userList", "user", "address", "_links", "notificationType", "x"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(JSON | st.binary(max_size=60))
def test_arbitrary_bytes_and_arbitrary_json_are_read_or_refused(value: Any) -> None:
    body = value if isinstance(value, bytes) else json.dumps(value).encode("utf-8", "surrogatepass")
    for parse in PARSES:
        place = "none"
        try:
            assert is_sound(parse(body))
        except MecPayloadError as error:
            place = error.place
        assert place


def test_a_body_that_is_absurdly_long_is_refused_unread() -> None:
    with pytest.raises(MecPayloadError, match="more than"):
        wire.parse_zones(b" " * (5 * 1024 * 1024))
