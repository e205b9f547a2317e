"""The kinds of subscriptions of the Location API v2: what each keeps of a request, and when it tells what.

Shapes and habits are the original's. An event carries the POA that it is about: Leaving that which was left, and only
Transferring the one before it too. `duration` and the accuracies are kept and mean nothing; nothing expires.
Source: ETSI GS MEC 013 V2.2.1, clauses 6.3 and 6.4, as AdvantEDGE v1.9.2 implements it (meep-loc-serv).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from http import HTTPStatus
from typing import Any, ClassVar

from pillion.sandbox.answers import Members, Refused, time_stamp
from pillion.sandbox.geodesy import Point
from pillion.sandbox.live import LiveWorld
from pillion.sandbox.location import location_info_at
from pillion.sandbox.location_events import Circle, Count, Pace, near_or_far
from pillion.sandbox.members import mandatory_text
from pillion.sandbox.notifications import Notification
from pillion.sandbox.world import Change, User

_Reader = Callable[[Members, str], object]
_COMMON: dict[str, _Reader] = {"clientCorrelator": Members.text}
_TERMINALS: dict[str, _Reader] = _COMMON | {"duration": Members.integer, "requester": Members.text}


class Subscription:
    """One subscription, which tells nothing. `stored` is what it is answered with, but for its `resourceURL`."""

    path: ClassVar[str]
    key: ClassVar[str]
    optional: ClassVar[dict[str, _Reader]]

    def __init__(self, members: Members) -> None:
        """Raises Refused for what a request lacks."""
        callback = members.object("callbackReference")
        if callback is None:
            raise members.mandatory("callbackReference")
        self._url = mandatory_text(callback, "notifyURL")
        self._data = _present(callback, {"callbackData": Members.text})
        format_ = _present(callback, {"notificationFormat": Members.text})
        self.stored: dict[str, object] = _present(members, self.optional)
        self.stored["callbackReference"] = {"notifyURL": self._url} | self._data | format_

    def begins(self, now_s: float) -> None:
        """It is kept from now on, in the world's elapsed seconds."""

    def continues(self, old: Any) -> None:
        """Take over what the subscription that this one replaces, of the same kind, has seen and told."""

    def changed(self, change: Change, counts: Sequence[Count]) -> Iterable[Notification]:
        """What it tells of a handover, and of the counts that this changed."""
        return ()

    def refreshed(self, live: LiveWorld) -> Iterable[Notification]:
        """What it tells once a tick."""
        return ()

    def _telling(self, key: str, body: dict[str, object]) -> Notification:
        return Notification(self._url, {key: body})


class _Presence(Subscription):
    """Tells of the events of zones that the criteria want: all without criteria, and none with an empty list."""

    optional = _COMMON | {"userEventCriteria": Members.texts}

    def __init__(self, members: Members) -> None:
        super().__init__(members)
        self._criteria = members.texts("userEventCriteria")

    def _event(self, event: str, change: Change, zone: str, poa: str | None) -> Iterator[Notification]:
        if self._criteria is None or event in self._criteria:
            before = {"previousAccessPointId": change.previous_poa} if event == "Transferring" else {}
            body = {
                "address": change.ue,
                "currentAccessPointId": poa,
                "timestamp": time_stamp(),
                "userEventType": event,
                "zoneId": zone,
            }
            yield self._telling("zonalPresenceNotification", body | before | self._data)


class UserTracking(_Presence):
    """Follows one UE through the zones."""

    path, key = "userTracking", "userTrackingSubscription"

    def __init__(self, members: Members) -> None:
        super().__init__(members)
        self._address = self.stored["address"] = mandatory_text(members, "address")

    def changed(self, change: Change, counts: Sequence[Count]) -> Iterator[Notification]:
        if change.ue != self._address:
            return
        if change.zone == change.previous_zone and change.zone is not None:
            yield from self._event("Transferring", change, change.zone, change.poa)
            return
        if change.previous_zone is not None:
            yield from self._event("Leaving", change, change.previous_zone, change.previous_poa)
        if change.zone is not None:
            yield from self._event("Entering", change, change.zone, change.poa)


class ZonalTraffic(_Presence):
    """Watches who comes to a zone, and who goes."""

    path, key = "zonalTraffic", "zonalTrafficSubscription"
    optional = _Presence.optional | {"duration": Members.integer, "interestRealm": Members.texts}

    def __init__(self, members: Members) -> None:
        super().__init__(members)
        self._zone = self.stored["zoneId"] = mandatory_text(members, "zoneId")

    def changed(self, change: Change, counts: Sequence[Count]) -> Iterator[Notification]:
        if change.zone == self._zone:
            event = "Transferring" if change.previous_zone == self._zone else "Entering"
            yield from self._event(event, change, self._zone, change.poa)
        elif change.previous_zone == self._zone:
            yield from self._event("Leaving", change, self._zone, change.previous_poa)


class ZoneStatus(Subscription):
    """Tells of each change of a count which is at its threshold then, or above; without one, of each change."""

    path, key = "zoneStatus", "zoneStatusSubscription"
    optional = _COMMON | {
        "numberOfUsersZoneThreshold": Members.integer,
        "numberOfUsersAPThreshold": Members.integer,
        "operationStatus": Members.texts,
    }

    def __init__(self, members: Members) -> None:
        super().__init__(members)
        self._zone = self.stored["zoneId"] = mandatory_text(members, "zoneId")
        self._zone_threshold = members.integer("numberOfUsersZoneThreshold") or 0
        self._poa_threshold = members.integer("numberOfUsersAPThreshold") or 0

    def changed(self, change: Change, counts: Sequence[Count]) -> Iterator[Notification]:
        for count in counts:
            threshold = self._zone_threshold if count.poa is None else self._poa_threshold
            if count.zone == self._zone and count.after >= threshold:
                name = "numberOfUsersInZone" if count.poa is None else "numberOfUsersInAP"
                body: dict[str, object] = {"timestamp": time_stamp(), "zoneId": self._zone}
                # A count of 0 is absent, as everything empty is; the original looks at no callbackData here.
                body |= {"accessPointId": count.poa} if count.poa is not None else {}
                body |= {name: count.after} if count.after else {}
                yield self._telling("zoneStatusNotification", body)


class CircleNotification(Subscription):
    """Tells who comes into a circle, or who leaves it: UEs count as outside at first, whether they are or not.

    Between notifications it does not look, so of two UEs that come in at once the other one is told of later.
    """

    path, key = "area/circle", "circleNotificationSubscription"
    optional = _TERMINALS | {"count": Members.integer}

    def __init__(self, members: Members) -> None:
        super().__init__(members)
        self._addresses = _mandatory_texts(members, "address")
        latitude, longitude, radius_m = (
            _mandatory_number(members, name) for name in ("latitude", "longitude", "radius")
        )
        self._circle = Circle(Point(latitude, longitude), radius_m)
        self._criterion = mandatory_text(members, "enteringLeavingCriteria")
        if self._criterion not in ("Entering", "Leaving"):
            raise Refused(HTTPStatus.BAD_REQUEST, "enteringLeavingCriteria has to be Entering or Leaving")
        frequency_s = _mandatory_frequency_s(members)
        self._pace = Pace(frequency_s, count=members.integer("count") or 0)
        self._inside: set[str] = set()
        self.stored |= {
            "address": self._addresses,
            "latitude": latitude,
            "longitude": longitude,
            "radius": radius_m,
            "enteringLeavingCriteria": self._criterion,
            "frequency": frequency_s,
            "checkImmediate": members.flag("checkImmediate") or False,
            "trackingAccuracy": members.number("trackingAccuracy") or 0,
        }

    def continues(self, old: CircleNotification) -> None:
        self._pace.sent = old._pace.sent
        self._inside = old._inside

    def refreshed(self, live: LiveWorld) -> Iterator[Notification]:
        for address in self._addresses:
            user = live.world.user(address)
            if user is None or not self._pace.due(live.elapsed_s):
                continue
            event = "Entering" if user.at in self._circle else "Leaving"
            if (event == "Entering") == (address in self._inside):
                continue
            self._inside ^= {address}
            if event == self._criterion:
                self._pace.told(live.elapsed_s)
                body = {"enteringLeavingCriteria": event, "terminalLocation": [_terminal(user, live)]}
                yield self._telling("subscriptionNotification", body | self._data)


class DistanceNotification(Subscription):
    """Tells as long as UEs are as near or as far as the criteria say, each time with those of them that are."""

    path, key = "distance", "distanceNotificationSubscription"
    optional = _TERMINALS | {"count": Members.integer, "referenceAddress": Members.texts}

    def __init__(self, members: Members) -> None:
        super().__init__(members)
        self._criteria = mandatory_text(members, "criteria")
        frequency_s = _mandatory_frequency_s(members)
        self._monitored = _mandatory_texts(members, "monitoredAddress")
        self._references = members.texts("referenceAddress")
        self._limit_m = members.number("distance") or 0.0
        self._pace = Pace(frequency_s, count=members.integer("count") or 0)
        self.stored |= {
            "criteria": self._criteria,
            "frequency": frequency_s,
            "monitoredAddress": self._monitored,
            "distance": self._limit_m,
            "checkImmediate": members.flag("checkImmediate") or False,
            "trackingAccuracy": members.number("trackingAccuracy") or 0,
        }

    def continues(self, old: DistanceNotification) -> None:
        self._pace.sent = old._pace.sent

    def refreshed(self, live: LiveWorld) -> Iterator[Notification]:
        if not self._pace.due(live.elapsed_s):
            return
        users = near_or_far(self._criteria, self._limit_m, self._references, self._monitored, live.world.user)
        if users:
            self._pace.told(live.elapsed_s)
            body = {"distanceCriteria": self._criteria, "terminalLocation": [_terminal(user, live) for user in users]}
            yield self._telling("subscriptionNotification", body | self._data)


class PeriodicNotification(Subscription):
    """Tells where its UEs are every so many seconds, also if none of them is connected."""

    path, key = "periodic", "periodicNotificationSubscription"
    optional = _TERMINALS

    def __init__(self, members: Members) -> None:
        super().__init__(members)
        self._addresses = _mandatory_texts(members, "address")
        frequency_s = _mandatory_frequency_s(members)
        self._pace = Pace(frequency_s)
        self.stored |= {
            "address": self._addresses,
            "frequency": frequency_s,
            "requestedAccuracy": members.integer("requestedAccuracy") or 0,
        }

    def begins(self, now_s: float) -> None:
        self._pace.wait(now_s)

    def refreshed(self, live: LiveWorld) -> Iterator[Notification]:
        if self._pace.due(live.elapsed_s):
            self._pace.told(live.elapsed_s)
            users = [user for address in self._addresses if (user := live.world.user(address))]
            body: dict[str, object] = {"terminalLocation": [_terminal(user, live) for user in users] or None}
            yield self._telling("subscriptionNotification", body | self._data)


KINDS: tuple[type[Subscription], ...] = (
    UserTracking,
    ZonalTraffic,
    ZoneStatus,
    CircleNotification,
    DistanceNotification,
    PeriodicNotification,
)
"""In the order in which they tell of one event."""


def _terminal(user: User, live: LiveWorld) -> dict[str, object]:
    return {
        "address": user.ue,
        "currentLocation": location_info_at(user.at, live.refreshed_s),
        "locationRetrievalStatus": "Retrieved",
    }


def _present(members: Members, readers: dict[str, _Reader]) -> dict[str, object]:
    """Those members that are there and not empty: the original leaves out zeros, too."""
    return {name: value for name, read in readers.items() if (value := read(members, name))}


def _mandatory_texts(members: Members, name: str) -> list[str]:
    """An empty list will do, as in the original."""
    values = members.texts(name)
    if values is None:
        raise members.mandatory(name)
    return values


def _mandatory_number(members: Members, name: str) -> float:
    """The original cannot tell a zero from nothing."""
    value = members.number(name)
    if not value:
        raise members.mandatory(name)
    return value


def _mandatory_frequency_s(members: Members) -> int:
    frequency_s = members.integer("frequency")
    if frequency_s is None or frequency_s <= 0:
        raise Refused(HTTPStatus.BAD_REQUEST, "Mandatory attribute frequency has to be 1 or more")
    return frequency_s
