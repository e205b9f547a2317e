"""What the conformance test asks of each API: its queries, and subscriptions of every kind, scant and full.

An API more is a line more in APIS, with its requests above it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from tests.sandbox import location_v2, location_v3
from tests.sandbox.location_v2 import OTHER, VEHICLE

FOUR_G, OTHER_4G, FIVE_G = "4g-macro-cell-4", "4g-macro-cell-5", "5g-small-cell-9"
TIME = {"nanoSeconds": 0, "seconds": 2_000_000_000}
PAST = {"nanoSeconds": 0, "seconds": 1}

Make = Callable[[str], dict[str, Any]]
"""The body of a subscription whose notifications go to this URL."""


@dataclass(frozen=True, slots=True)
class Api:
    """One API: where it is, the documents that describe it, and what to ask it (paths under its root)."""

    root: str
    documents: tuple[str, ...]
    queries: tuple[str, ...]
    subscriptions: tuple[tuple[str, Make], ...]
    """Where to post, and what."""


def _v2(kind: str, more: dict[str, Any]) -> tuple[tuple[str, Make], ...]:
    def full(url: str) -> dict[str, Any]:
        body = location_v2.body_of(kind, url, {"clientCorrelator": "c"} | more)
        body[location_v2.KEYS[kind]]["callbackReference"] |= {"callbackData": "d", "notificationFormat": "JSON"}
        return body

    path = f"subscriptions/{kind}"
    return (path, partial(location_v2.body_of, kind)), (path, full)


def _v3(kind: str, more: dict[str, Any]) -> tuple[tuple[str, Make], ...]:
    def wrapped(url: str) -> dict[str, Any]:
        return {location_v3.key_of(kind): location_v3.bare_of(kind, url)}

    def full(url: str) -> dict[str, Any]:
        common = {"clientCorrelator": "c", "expiryDeadline": TIME, "requestTestNotification": True}
        return {location_v3.key_of(kind): location_v3.bare_of(kind, url, **common, **more)}

    def bare(url: str) -> dict[str, Any]:
        return location_v3.bare_of(kind, url)

    path = f"subscriptions/{location_v3.PATHS[kind]}"
    return (path, wrapped), (path, full), (path, bare)


def _rni(kind: str, criteria: str, scant: dict[str, Any], full: dict[str, Any]) -> tuple[tuple[str, Make], ...]:
    def body(url: str, filters: dict[str, Any], **more: object) -> dict[str, Any]:
        return {"subscriptionType": f"{kind}Subscription", "callbackReference": url, criteria: filters} | more

    more = {
        "expiryDeadline": TIME,
        "requestTestNotification": True,
        "websockNotifConfig": {"requestWebsocketUri": True, "websocketUri": "ws://localhost/x"},
    }
    return (
        ("subscriptions", partial(body, filters=scant)),
        ("subscriptions", partial(body, filters=full, **more)),
        ("subscriptions", partial(body, filters=scant, expiryDeadline=PAST)),
    )


_LOCATION_QUERIES = (
    "queries/users",
    f"queries/users?address={VEHICLE}&address={OTHER}&zoneId=zone02",
    f"queries/users?accessPointId={FOUR_G}",
    "queries/users?nonsense=1",
    "queries/zones",
    "queries/zones/zone02",
    "queries/zones/nowhere",
    "queries/zones/zone02/accessPoints",
    f"queries/zones/zone02/accessPoints/{FOUR_G}",
    f"queries/zones/zone02/accessPoints/{FIVE_G}",
    "queries/zones/zone02/accessPoints/nowhere",
    f"queries/distance?address={VEHICLE}&address={OTHER}",
    f"queries/distance?address={VEHICLE}&latitude=43.73&longitude=7.42",
    "queries/distance?address=nobody&latitude=43.73&longitude=7.42",
    f"queries/distance?address={VEHICLE}&latitude=north&longitude=7.42",
    "queries/distance",
)
_UE = {"type": 1, "value": VEHICLE}
_PLMN = {"mcc": "001", "mnc": "001"}
_ECGI, _NRCGI = {"cellId": "4040404", "plmn": _PLMN}, {"nrcellId": "5050509", "plmn": _PLMN}
_TERMINALS: dict[str, Any] = {"duration": 60, "requester": OTHER}
_EVENTS = [location_v3.ENTERING, location_v3.LEAVING]
_CONTROL = {"minimumInterval": 1, "maximumFrequency": 1, "maximumCount": 100}

APIS = (
    Api(
        "location/v2",
        ("loc-serv.yaml",),
        (*_LOCATION_QUERIES, "queries/zones/zone02/accessPoints?interestRealm=LA"),
        (
            *_v2("userTracking", {"userEventCriteria": ["Entering", "Leaving", "Transferring"]}),
            *_v2("zonalTraffic", {"duration": 60, "interestRealm": ["LA"], "userEventCriteria": ["Entering"]}),
            *_v2("zoneStatus", {"numberOfUsersZoneThreshold": 2, "operationStatus": ["Serviceable"]}),
            *_v2("area/circle", _TERMINALS | {"count": 9, "checkImmediate": True, "trackingAccuracy": 10.0}),
            *_v2("distance", _TERMINALS | {"count": 9, "distance": 5000.0, "criteria": "AnyWithinDistance"}),
            *_v2("periodic", _TERMINALS | {"requestedAccuracy": 10, "frequency": 10}),
        ),
    ),
    Api(
        "location/v3",
        ("etsi-mec013-v3.1.1-location.yaml",),
        (*_LOCATION_QUERIES, "queries/zones?zoneId=zone01", "queries/zones/zone02/accessPoints?accessPointId=x"),
        (
            *_v3("UserLocationEvent", {"userEventPara": {"zoneId": "zone02", "reportingLocationReq": True}}),
            *_v3("UserLocationPeriodic", {}),
            *_v3("ZoneLocationEvent", {"addressList": [VEHICLE], "locationEventCriteria": _EVENTS}),
            *_v3("ZoneStatus", {"upperNumberOfUsersZoneThreshold": 1, "lowerNumberOfUsersAPThreshold": 1}),
            *_v3("UserArea", {"reportingLocationReq": True, "reportingCtrl": _CONTROL}),
            *_v3("UserDistance", {"reportingCtrl": _CONTROL}),
        ),
    ),
    Api(
        "rni/v2",
        ("rnis.yaml", "etsi-mec012-v2.2.1-rni.yaml"),
        (
            "queries/rab_info",
            f"queries/rab_info?app_ins_id=a&cell_id=4040404&ue_ipv4_address={VEHICLE}&erab_id=1&qci=80",
            "queries/rab_info?erab_id=x",
            "queries/plmn_info",
            "queries/plmn_info?app_ins_id=a",
            "queries/layer2_meas",
            f"queries/layer2_meas?cell_id=4040404&ue_ipv4_address={VEHICLE}",
            "queries/layer2_meas?nonsense=1",
            "queries/s1_bearer_info",
            "subscriptions?subscription_type=cell_change",
            "subscriptions?subscription_type=nonsense",
        ),
        (
            *_rni("CellChange", "filterCriteriaAssocHo", {}, {"associateId": [_UE], "ecgi": [_ECGI], "hoStatus": [3]}),
            *_rni("RabEst", "filterCriteriaQci", {"qci": 80}, {"qci": 80, "ecgi": [_ECGI], "appInstanceId": "a"}),
            *_rni("RabRel", "filterCriteriaQci", {"qci": 80, "erabId": 1}, {"qci": 80, "erabId": 1, "ecgi": [_ECGI]}),
            *_rni("MeasRepUe", "filterCriteriaAssocTri", {"associateId": [_UE]}, {"ecgi": [_ECGI], "trigger": [1]}),
            *_rni("NrMeasRepUe", "filterCriteriaNrMrs", {"associateId": [_UE]}, {"nrcgi": [_NRCGI], "triggerNr": [1]}),
        ),
    ),
)
