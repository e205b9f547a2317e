"""What a subscription of the Location API v2 needs, and what it is told, for the tests."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from pillion.sandbox.geodesy import Point
from pillion.sandbox.world import Change
from tests.sandbox.cities import METRE_EAST_DEG
from tests.sandbox.lockstep import Answer, Lockstep

VEHICLE, OTHER = "10.100.0.2", "10.100.0.1"
SUBSCRIPTIONS = "location/v2/subscriptions"
KEYS = {
    "userTracking": "userTrackingSubscription",
    "zonalTraffic": "zonalTrafficSubscription",
    "zoneStatus": "zoneStatusSubscription",
    "area/circle": "circleNotificationSubscription",
    "distance": "distanceNotificationSubscription",
    "periodic": "periodicNotificationSubscription",
}
CENTRE = Point(43.73, 7.42)
WHOLE: dict[str, dict[str, Any]] = {
    "userTracking": {"address": VEHICLE},
    "zonalTraffic": {"zoneId": "zone02"},
    "zoneStatus": {"zoneId": "zone02"},
    "area/circle": {
        "address": [VEHICLE],
        "latitude": CENTRE.lat_deg,
        "longitude": CENTRE.lon_deg,
        "radius": 100,
        "enteringLeavingCriteria": "Entering",
        "frequency": 1,
    },
    "distance": {
        "monitoredAddress": [VEHICLE],
        "referenceAddress": [OTHER],
        "criteria": "AllWithinDistance",
        "distance": 100,
        "frequency": 1,
    },
    "periodic": {"address": [VEHICLE], "frequency": 1},
}
"""What each kind cannot do without, but for the callback, and a distance that makes it tell."""


def east_of_centre(metres: float) -> Point:
    return Point(CENTRE.lat_deg, CENTRE.lon_deg + metres * METRE_EAST_DEG)


def body_of(kind: str, url: str, more: Mapping[str, object] = {}) -> dict[str, dict[str, Any]]:
    return {KEYS[kind]: {"callbackReference": {"notifyURL": url}} | WHOLE[kind] | dict(more)}


async def subscribe(s: Lockstep, kind: str, path: str = "", **more: object) -> Answer:
    """Subscribe with what is needed and more; notifications go to `path`, or to the kind's name."""
    answer = await s.send("POST", f"{SUBSCRIPTIONS}/{kind}", body_of(kind, s.callbacks.at(path or kind), more))
    assert answer.status == 201, answer
    return answer


def stamped(document: dict[str, Any]) -> dict[str, Any]:
    """A zonal notification without its time, which has to be a second of now."""
    stamp = document.pop("timestamp")
    assert stamp == {"nanoSeconds": 0, "seconds": stamp["seconds"]}
    assert abs(stamp["seconds"] - time.time()) < 60
    return document


def told_of(s: Lockstep, path: str) -> list[dict[str, Any]]:
    """The zonal presence notifications of one callback."""
    return [stamped(document["zonalPresenceNotification"]) for document in s.callbacks.documents(path)]


def events(s: Lockstep, path: str) -> list[tuple[str, str, str, str | None]]:
    """Of each zonal presence notification: event, zone, POA, and the POA before."""
    return [
        (n["userEventType"], n["zoneId"], n["currentAccessPointId"], n.get("previousAccessPointId"))
        for n in told_of(s, path)
    ]


def expected_of(changes: list[Change]) -> list[tuple[str, str | None, str | None, str | None]]:
    """The truth as zonal presence notifications should tell of it."""
    told: list[tuple[str, str | None, str | None, str | None]] = []
    for change in changes:
        if change.zone == change.previous_zone:
            told.append(("Transferring", change.zone, change.poa, change.previous_poa))
            continue
        if change.previous_zone is not None:
            told.append(("Leaving", change.previous_zone, change.previous_poa, None))
        if change.zone is not None:
            told.append(("Entering", change.zone, change.poa, None))
    return told
