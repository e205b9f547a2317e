"""The data of MEC 021: what clients register and subscribe to, and what they are told.

Source: ETSI GS MEC 021 V2.2.1, clause 6, as AdvantEDGE v1.9.2 implements it (meep-ams).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from pillion.sandbox.answers import Members, Refused, time_stamp
from pillion.sandbox.context_owners import COMPLETED, NOT_ALLOWED, Device, Move
from pillion.sandbox.members import chosen, chosen_all, expiry_deadline, mandatory_text
from pillion.sandbox.notifications import Notification

API = "amsi/v1"
MOBILITY = "MobilityProcedureSubscription"
ADJACENT = "AdjacentAppInfoSubscription"
LISTED = {"mobility_proc": MOBILITY, "adj_app_info": ADJACENT}
"""What `subscriptionType` of the list may ask for."""
IPV4 = "UE_IPv4_ADDRESS"
"""How the scenario's UEs are named. The type is a text here; in RNIS it is a number."""
_ID_TYPES = (IPV4, "UE_IPV6_ADDRESS", "NATED_IP_ADDRESS", "GTP_TEID")
_LEVELS = (NOT_ALLOWED, "APP_MOBILITY_WITH_CONFIRMATION", "APP_MOBILITY_WITHOUT_CONFIRMATION")
_STATES = ("NOT_TRANSFERRED", COMPLETED)
TRIGGERED = "INTERHOST_MOVEOUT_TRIGGERED"
"""The one status that is ever told."""
_STATUSES = (TRIGGERED, "INTERHOST_MOVEOUT_COMPLETED", "INTERHOST_MOVEOUT_FAILED")


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a client subscribed to; without id and links until it is numbered."""

    type: str
    app_id: str
    callback_url: str
    terms: Mapping[str, object]
    """The subscription as it is answered, but for its link."""
    devices: frozenset[tuple[str | None, str]] | None = None
    """Types and values of the devices it is about; None: all."""
    expires_s: int | None = None
    """Seconds since 1970."""
    id: str = ""
    url: str = ""
    href: str = ""
    """The link it is answered with: its URL, until a client that changes it sends another link."""

    def document(self) -> dict[str, object]:
        return {"_links": {"self": {"href": self.href}}} | dict(self.terms)

    def covers(self, move: Move) -> bool:
        """Whether the move is told to it. The status asked for is not looked at."""
        return self.app_id == move.source and (self.devices is None or (IPV4, move.ue) in self.devices)


def mobility_notification(subscription: Subscription, move: Move, now_s: int, *, strict: bool) -> Notification:
    """That a device's context has to go to another instance."""
    document = _head("MobilityProcedureNotification", subscription, now_s, strict=strict) | {
        "associateId": [{"type": IPV4, "value": move.ue}],
        "mobilityStatus": TRIGGERED,
        "targetAppInfo": {"appInstanceId": move.target},
    }
    return Notification(subscription.callback_url, document)


def adjacent_notification(
    subscription: Subscription, app_ids: Sequence[str], now_s: int, *, strict: bool
) -> Notification:
    """Which other instances of the app there are; nobody knows how they can be reached."""
    document = _head("AdjacentAppInfoNotification", subscription, now_s, strict=strict)
    if app_ids:
        interface: list[object] | None = [] if strict else None
        document["adjacentAppInfo"] = [{"appInstanceId": id_, "commInterface": interface} for id_ in app_ids]
    return Notification(subscription.callback_url, document)


def expiry(subscription: Subscription, now_s: int, *, strict: bool) -> Notification:
    """The last one that a subscription with a deadline gets; the original leaves its type empty."""
    document = {
        "notificationType": "ExpiryNotification" if strict else "",
        "timeStamp": time_stamp(now_s),
        "_links": {"subscription": {"href": subscription.url}},
        "expiryDeadline": time_stamp(subscription.expires_s or 0),
    }
    return Notification(subscription.callback_url, document)


def _head(type_: str, subscription: Subscription, now_s: int, *, strict: bool) -> dict[str, object]:
    links = {"subscription": {"href": subscription.url}} if strict else None
    return {"notificationType": type_, "timeStamp": time_stamp(now_s), "_links": links}


def read_consumer(body: Members) -> dict[str, str]:
    """Who registers: an instance or, under another name, a platform; one of the two. Raises Refused."""
    consumer = body.object("serviceConsumerId")
    if consumer is None:
        raise body.mandatory("serviceConsumerId")
    named = {name: value for name in ("appInstanceId", "mepId") if (value := consumer.text(name))}
    if len(named) != 1:
        raise Refused(HTTPStatus.BAD_REQUEST, "serviceConsumerId should contain either appInstanceId or mepId")
    return named


def read_devices(body: Members) -> tuple[list[dict[str, object]], tuple[Device, ...]]:
    """The devices of a registration as they were sent, and as they are tracked. Raises Refused."""
    sent: list[dict[str, object]] = []
    tracked: dict[str, Device] = {}
    for each in body.objects("deviceInformation") or []:
        named = each.object("associateId")
        if named is None:
            raise each.mandatory("associateId")
        ue = mandatory_text(named, "value")
        level, state = chosen(each, "appMobilityServiceLevel", *_LEVELS), chosen(each, "contextTransferState", *_STATES)
        if level is None or state is None:
            raise each.mandatory("contextTransferState" if level else "appMobilityServiceLevel")
        sent.append(
            {"associateId": _associate_id(named), "appMobilityServiceLevel": level, "contextTransferState": state}
        )
        tracked[ue] = Device(ue, level != NOT_ALLOWED, state == COMPLETED)
    return sent, tuple(tracked.values())


def read_subscription(body: Members) -> Subscription:
    """What the body of a subscription asks for. Raises Refused."""
    type_ = body.text("subscriptionType")
    if type_ not in (MOBILITY, ADJACENT):
        raise Refused(HTTPStatus.BAD_REQUEST)
    callback_url = mandatory_text(body, "callbackReference")
    criteria = body.object("filterCriteria")
    if criteria is None:
        raise body.mandatory("filterCriteria")
    app_id = mandatory_text(criteria, "appInstanceId")
    kept: dict[str, object] = {"appInstanceId": app_id}
    devices = None
    if type_ == MOBILITY:
        named = criteria.objects("associateId")
        if named:
            kept["associateId"] = [_associate_id(each) for each in named]
            devices = frozenset((each.text("type"), mandatory_text(each, "value")) for each in named)
        kept["mobilityStatus"] = chosen_all(criteria, "mobilityStatus", *_STATUSES) or [TRIGGERED]
    terms: dict[str, object] = {"subscriptionType": type_, "callbackReference": callback_url, "filterCriteria": kept}
    deadline, expires_s = expiry_deadline(body)
    return Subscription(type_, app_id, callback_url, terms | deadline, devices, expires_s)


def _associate_id(named: Members) -> dict[str, object]:
    type_ = chosen(named, "type", *_ID_TYPES)
    value: dict[str, object] = {"value": mandatory_text(named, "value")}
    return ({"type": type_} | value) if type_ else value
