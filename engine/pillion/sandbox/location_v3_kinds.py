"""The six types of subscriptions of the Location API v3: what each wants of a request, and when it tells what.

Two events are left, entering and leaving; a change of POA within an area raises none. An event carries the zone and POA
that were entered or left. `reportingCtrl` stands for v2's frequency and count. Nothing is known of what ETSI's hosted
sandbox makes of most members, so where the specification leaves a choice it is v2's habit that counts.
Source: ETSI GS MEC 013 V3.1.1, clauses 6.3.4 to 6.3.9, 6.4.3 to 6.4.9 and 6.5.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from http import HTTPStatus
from typing import Any, ClassVar

from pillion.sandbox.answers import Members, Refused, time_stamp
from pillion.sandbox.geodesy import Point
from pillion.sandbox.live import LiveWorld
from pillion.sandbox.location import location_info
from pillion.sandbox.location_events import DISTANCE_CRITERIA, Circle, Count, Pace, Polygon, near_or_far
from pillion.sandbox.location_v3 import user_list
from pillion.sandbox.members import (
    chosen,
    chosen_all,
    mandatory_integer,
    mandatory_number,
    mandatory_text,
    mandatory_texts,
    own_link,
)
from pillion.sandbox.notifications import Notification
from pillion.sandbox.world import Change

ENTERING, LEAVING = "ENTERING_AREA_EVENT", "LEAVING_AREA_EVENT"
_CIRCLE, _POLYGON = 1, 2
_LONGEST_S = 8_639_999
_NOT_KEPT = ("_links", "websockNotifConfig")


class Subscription:
    """One subscription, which tells nothing. Its `id` and `href` are set by who keeps it."""

    type: ClassVar[str]
    word: ClassVar[str]
    """What a list's `subscription_type` calls it."""
    about: str = ""
    """What else a list can be filtered by: the address or the zone."""

    def __init__(self, members: Members) -> None:
        """Raises Refused for what a request lacks."""
        url = members.text("callbackReference")
        if not url:
            raise Refused(HTTPStatus.BAD_REQUEST, "callbackReference is missing, and there are no WebSockets here")
        deadline = members.object("expiryDeadline")
        self.expires_at = mandatory_integer(deadline, "seconds") if deadline else None
        """Wall clock, whole seconds since 1970."""
        self.wants_test = members.flag("requestTestNotification") is True
        members.text("clientCorrelator")
        self.id = ""
        self.href = own_link(members) or ""
        self.wrapped = True
        """Whether the subscription came under a key; what is told of it goes out in the same form."""
        self._url = url
        self._kept = {name: value for name, value in members.as_sent().items() if name not in _NOT_KEPT}
        self._pace = _reporting_pace(members)

    @property
    def document(self) -> dict[str, Any]:
        """What it is answered with."""
        return self._in_form(self.type, self._kept | {"_links": {"self": {"href": self.href}}})

    def test(self) -> Notification:
        """A notification that tells of nothing but the subscription. Source: ETSI GS MEC 009, clause 6.12a."""
        return self._notification("TestNotification", {})

    def begins(self, now_s: float) -> None:
        """It is kept from now on, in the world's elapsed seconds."""

    def continues(self, old: Any) -> None:
        """Take over what the subscription that this one replaces, of the same type, has seen and told."""
        self._pace.sent = old._pace.sent

    def changed(self, change: Change, counts: Sequence[Count], live: LiveWorld) -> Iterable[Notification]:
        """What it tells of a handover, and of the counts that this changed."""
        return ()

    def refreshed(self, live: LiveWorld) -> Iterable[Notification]:
        """What it tells once a tick."""
        return ()

    def _telling(self, body: dict[str, Any], live: LiveWorld) -> Notification:
        self._pace.told(live.elapsed_s)
        return self._notification(self.type.replace("Subscription", "Notification"), {"timeStamp": time_stamp()} | body)

    def _notification(self, type_: str, body: dict[str, Any]) -> Notification:
        links = {"_links": {"subscription": {"href": self.href}}}
        return Notification(self._url, self._in_form(type_, {"notificationType": type_} | body | links))

    def _in_form(self, type_: str, body: dict[str, Any]) -> dict[str, Any]:
        return {key_of(type_): body} if self.wrapped else body


class _Presence(Subscription):
    """Tells who enters an area of zones or POAs, and who leaves it."""

    word = "event"

    def __init__(self, members: Members) -> None:
        super().__init__(members)
        self._criteria = _event_criteria(members)

    def changed(self, change: Change, counts: Sequence[Count], live: LiveWorld) -> Iterator[Notification]:
        if not self._follows(change.ue):
            return
        before, after = (
            self._area(change.previous_zone, change.previous_poa),
            self._area(change.zone, change.poa),
        )
        if before == after:
            return
        for event, area, zone, poa in (
            (LEAVING, before, change.previous_zone, change.previous_poa),
            (ENTERING, after, change.zone, change.poa),
        ):
            if area is not None and event in self._criteria and self._pace.due(live.elapsed_s):
                body = {"address": change.ue, "userLocationEvent": event, "zoneId": zone}
                yield self._telling(body | self._details(change.ue, poa, live), live)

    def _follows(self, ue: str) -> bool:
        raise NotImplementedError

    def _area(self, zone: str | None, poa: str | None) -> str | None:
        """The watched area that a POA belongs to; None if it belongs to none."""
        raise NotImplementedError

    def _details(self, ue: str, poa: str | None, live: LiveWorld) -> dict[str, Any]:
        return {}


class UserLocationEvent(_Presence):
    """Follows one UE through all zones, or into one of them, or into a set of POAs."""

    type = "UserLocationEventSubscription"

    def __init__(self, members: Members) -> None:
        super().__init__(members)
        self.about = mandatory_text(members, "address")
        para = members.object("userEventPara")
        self._poas = (para.texts("accessPointList") if para else None) or None
        self._zone = (para.text("zoneId") if para else None) or None
        self._with_position = para is not None and para.flag("reportingLocationReq") is True
        if self._poas and self._zone:
            raise Refused(HTTPStatus.BAD_REQUEST, "accessPointList and zoneId exclude each other")
        if para and chosen(para, "occurrenceInfo", "ONE_TIME_EVENT", "MULTIPLE_TIME_EVENT") == "ONE_TIME_EVENT":
            self._pace = Pace(0, count=1)

    def _follows(self, ue: str) -> bool:
        return ue == self.about

    def _area(self, zone: str | None, poa: str | None) -> str | None:
        if self._poas:
            return "those POAs" if poa in self._poas else None
        return zone if self._zone in (None, zone) else None

    def _details(self, ue: str, poa: str | None, live: LiveWorld) -> dict[str, Any]:
        user = live.world.user(ue) if self._with_position else None
        return {"accessPointId": poa} | ({"locationInfo": location_info(user.at)} if user else {})


class UserLocationPeriodic(Subscription):
    """Tells where one UE is, so many times."""

    type = "UserLocationPeriodicSubscription"
    word = "periodic"

    def __init__(self, members: Members) -> None:
        super().__init__(members)
        self.about = mandatory_text(members, "address")
        info = members.object("periodicEventInfo")
        if info is None:
            raise members.mandatory("periodicEventInfo")
        amount, interval_s = (mandatory_number(info, name) for name in ("reportingAmount", "reportingInterval"))
        if amount < 1 or amount % 1 or interval_s <= 0 or amount * interval_s > _LONGEST_S:
            raise Refused(HTTPStatus.BAD_REQUEST, f"periodicEventInfo has to be of 1 report to {_LONGEST_S} s")
        self._pace = Pace(interval_s, count=int(amount))

    def begins(self, now_s: float) -> None:
        self._pace.wait(now_s)

    def continues(self, old: UserLocationPeriodic) -> None:
        """It begins anew."""

    def refreshed(self, live: LiveWorld) -> Iterator[Notification]:
        if not self._pace.due(live.elapsed_s):
            return
        user = live.world.user(self.about)
        body: dict[str, Any] = {"address": self.about, "result": "SUCCESS" if user else "ABNORMAL"}
        if user:
            body |= {"zoneId": user.zone, "accessPointId": user.poa, "locationInfo": location_info(user.at)}
        yield self._telling(body | ({"isFinalNotification": True} if self._pace.is_last else {}), live)


class ZoneLocationEvent(_Presence):
    """Watches one zone for all UEs, or for some."""

    type = "ZoneLocationEventSubscription"

    def __init__(self, members: Members) -> None:
        super().__init__(members)
        self.about = mandatory_text(members, "zoneId")
        self._addresses = members.texts("addressList")

    def _follows(self, ue: str) -> bool:
        return not self._addresses or ue in self._addresses

    def _area(self, zone: str | None, poa: str | None) -> str | None:
        return zone if zone == self.about else None


class ZoneStatus(Subscription):
    """Tells when the number of users of a zone, or of a POA in it, goes over its upper or under its lower threshold.

    POAs are always serviceable here, so there is never an operation status to tell of.
    """

    type = "ZoneStatusSubscription"
    word = "status"

    def __init__(self, members: Members) -> None:
        super().__init__(members)
        self.about = mandatory_text(members, "zoneId")
        self._zone_limits, self._poa_limits = (
            (members.integer(f"upperNumberOfUsers{of}Threshold"), members.integer(f"lowerNumberOfUsers{of}Threshold"))
            for of in ("Zone", "AP")
        )
        chosen_all(members, "operationStatus", "Serviceable", "Unserviceable", "Unknown")

    def changed(self, change: Change, counts: Sequence[Count], live: LiveWorld) -> Iterator[Notification]:
        for count in counts:
            if count.zone != self.about or not self._pace.due(live.elapsed_s):
                continue
            upper, lower = self._zone_limits if count.poa is None else self._poa_limits
            is_over = upper is not None and count.before <= upper < count.after
            is_under = lower is not None and count.before >= lower > count.after
            if is_over or is_under:
                body: dict[str, Any] = {"zoneId": count.zone, "userNumEvent": 1 if is_over else 2}
                if count.poa is not None:
                    body = {"zoneId": count.zone, "userNumEvent": 3 if is_over else 4, "accessPointId": count.poa}
                yield self._telling(body, live)


class UserArea(Subscription):
    """Tells who enters an area of the map, and who leaves it: UEs count as outside at first, as in v2."""

    type = "UserAreaSubscription"
    word = "event"

    def __init__(self, members: Members) -> None:
        super().__init__(members)
        self._area = _area(members)
        self._addresses = mandatory_texts(members, "addressList")
        mandatory_number(members, "trackingAccuracy")
        self._criteria = _event_criteria(members)
        self._with_position = members.flag("reportingLocationReq") is True
        self._inside: set[str] = set()

    def continues(self, old: UserArea) -> None:
        super().continues(old)
        self._inside = old._inside

    def refreshed(self, live: LiveWorld) -> Iterator[Notification]:
        for address in self._addresses:
            user = live.world.user(address)
            if user is None or not self._pace.due(live.elapsed_s):
                continue
            event = ENTERING if user.at in self._area else LEAVING
            if (event == ENTERING) == (address in self._inside):
                continue
            self._inside ^= {address}
            if event in self._criteria:
                position = {"locationInfo": location_info(user.at)} if self._with_position else {}
                yield self._telling({"address": address, "userLocationEvent": event} | position, live)


class UserDistance(Subscription):
    """Tells each tick, or as seldom as is asked for, while UEs are as near or as far as the criteria say.

    `checkImmediate` has no effect, as in v2: the next tick is soon enough.
    """

    type = "UserDistanceSubscription"
    word = "distance"

    def __init__(self, members: Members) -> None:
        super().__init__(members)
        self._monitored = mandatory_texts(members, "monitoredAddress")
        self._references = members.texts("referenceAddress") or None
        if self._references is None and len(self._monitored) < 2:
            raise Refused(HTTPStatus.BAD_REQUEST, "without referenceAddress there have to be two in monitoredAddress")
        self._limit_m = mandatory_number(members, "distance")
        mandatory_number(members, "trackingAccuracy")
        criteria = chosen(members, "criteria", *DISTANCE_CRITERIA)
        if criteria is None:
            raise members.mandatory("criteria")
        self._criteria = criteria
        if members.flag("checkImmediate") is None:
            raise members.mandatory("checkImmediate")

    def refreshed(self, live: LiveWorld) -> Iterator[Notification]:
        if not self._pace.due(live.elapsed_s):
            return
        users = near_or_far(self._criteria, self._limit_m, self._references, self._monitored, live.world.user)
        if users:
            queries_url = self.href.split("/subscriptions/")[0] + "/queries"
            body = {"monitoredUsers": user_list(users, live, queries_url), "distanceEvent": self._criteria}
            yield self._telling(body, live)


def key_of(type_: str) -> str:
    """What a subscription or notification of a type is wrapped in."""
    return type_[0].lower() + type_[1:]


def _reporting_pace(members: Members) -> Pace:
    control = members.object("reportingCtrl")
    if control is None:
        return Pace(0)
    between_s, at_most_every_s, count = (
        control.integer(name) or 0 for name in ("minimumInterval", "maximumFrequency", "maximumCount")
    )
    if min(between_s, at_most_every_s, count) < 0:
        raise Refused(HTTPStatus.BAD_REQUEST, "reportingCtrl has a negative number")
    return Pace(max(between_s, at_most_every_s), count=count)


def _event_criteria(members: Members) -> list[str]:
    """Both events, if none is asked for."""
    return chosen_all(members, "locationEventCriteria", ENTERING, LEAVING) or [ENTERING, LEAVING]


def _area(members: Members) -> Circle | Polygon:
    area = members.object("areaDefine")
    if area is None:
        raise members.mandatory("areaDefine")
    shape = mandatory_integer(area, "shape")
    points = tuple(
        Point(_degrees(point, "latitude", 90), _degrees(point, "longitude", 180))
        for point in area.objects("points") or ()
    )
    if shape == _CIRCLE and len(points) == 1:
        return Circle(points[0], mandatory_number(area, "radius"))
    if shape == _POLYGON and 3 <= len(points) <= 15:
        return Polygon(points)
    raise Refused(
        HTTPStatus.BAD_REQUEST, "areaDefine has to be a circle (shape 1) of 1 point or a polygon (2) of 3 to 15"
    )


def _degrees(point: Members, name: str, limit_deg: float) -> float:
    value = mandatory_number(point, name)
    if abs(value) > limit_deg:
        raise Refused(HTTPStatus.BAD_REQUEST, f"{name} goes from {-limit_deg} to {limit_deg}")
    return value
