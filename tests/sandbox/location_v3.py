"""What a subscription of the Location API v3 needs, and what it is told, for the tests."""

from __future__ import annotations

import time
from typing import Any

from pillion.sandbox.geodesy import Point
from tests.sandbox.cities import METRE_EAST_DEG
from tests.sandbox.lockstep import Answer, Lockstep

VEHICLE, OTHER = "10.100.0.2", "10.100.0.1"
SUBSCRIPTIONS = "location/v3/subscriptions"
ENTERING, LEAVING = "ENTERING_AREA_EVENT", "LEAVING_AREA_EVENT"
CENTRE = Point(43.73, 7.42)
CENTRE_POINT = {"latitude": CENTRE.lat_deg, "longitude": CENTRE.lon_deg}
PATHS = {
    "UserLocationEvent": "users",
    "UserLocationPeriodic": "users",
    "ZoneLocationEvent": "zones",
    "ZoneStatus": "zones",
    "UserArea": "area",
    "UserDistance": "distance",
}
WHOLE: dict[str, dict[str, Any]] = {
    "UserLocationEvent": {"address": VEHICLE},
    "UserLocationPeriodic": {
        "address": VEHICLE,
        "periodicEventInfo": {"reportingAmount": 5, "reportingInterval": 1},
    },
    "ZoneLocationEvent": {"zoneId": "zone02"},
    "ZoneStatus": {"zoneId": "zone02"},
    "UserArea": {
        "areaDefine": {"shape": 1, "points": [CENTRE_POINT], "radius": 100},
        "addressList": [VEHICLE],
        "trackingAccuracy": 10.0,
    },
    "UserDistance": {
        "monitoredAddress": [VEHICLE],
        "referenceAddress": [OTHER],
        "distance": 100,
        "trackingAccuracy": 10.0,
        "criteria": "AllWithinDistance",
        "checkImmediate": False,
    },
}
"""What each type cannot do without, but for the callback, and in UserDistance the references."""


def east_of_centre(metres: float) -> Point:
    return Point(CENTRE.lat_deg, CENTRE.lon_deg + metres * METRE_EAST_DEG)


def key_of(kind: str, noun: str = "Subscription") -> str:
    return kind[0].lower() + kind[1:] + noun


def bare_of(kind: str, url: str, **more: object) -> dict[str, Any]:
    return {"subscriptionType": f"{kind}Subscription", "callbackReference": url} | WHOLE[kind] | more


async def subscribe(s: Lockstep, kind: str, path: str = "", *, wrapped: bool = True, **more: object) -> Answer:
    """Subscribe with what is needed and more; notifications go to `path`, or to the name of the type."""
    body = bare_of(kind, s.callbacks.at(path or kind), **more)
    answer = await s.send("POST", f"{SUBSCRIPTIONS}/{PATHS[kind]}", {key_of(kind): body} if wrapped else body)
    assert answer.status == 201, answer
    return answer


def told(s: Lockstep, kind: str, path: str = "") -> list[dict[str, Any]]:
    """What one callback was told, without what each notification has; that is looked at here."""
    bodies = []
    for document in s.callbacks.documents(path or kind):
        body = dict(document[key_of(kind, "Notification")])
        assert body.pop("notificationType") == f"{kind}Notification"
        stamp = body.pop("timeStamp")
        assert abs(stamp["seconds"] - time.time()) < 60
        assert stamp["nanoSeconds"] == 0
        href = body.pop("_links")["subscription"]["href"]
        assert href.startswith(f"{s.listening.api_url}/{SUBSCRIPTIONS}/{PATHS[kind]}/")
        bodies.append(body)
    return bodies
