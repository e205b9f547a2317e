"""What the APIs answer about subscriptions: which there are, and whose one is.

Source: ETSI GS MEC 013 V2.2.1, clauses 6.3 and 7; V3.1.1, clauses 6.3 and 7; ETSI GS MEC 012 V2.2.1, clauses 6.3 and 7.
Whether V3.1.1 wraps them in a member of their name is not settled: both are read.
"""

from __future__ import annotations

from dataclasses import dataclass

from pillion.mec.wire.reading import Fields

_V2_KINDS = (
    "userTrackingSubscription",
    "zonalTrafficSubscription",
    "zoneStatusSubscription",
    "circleNotificationSubscription",
    "distanceNotificationSubscription",
    "periodicNotificationSubscription",
)


@dataclass(frozen=True, slots=True)
class Listed:
    """A subscription in a list. `callback` is None where the list does not tell it: ask for the subscription then."""

    url: str
    type: str
    callback: str | None


def parse_subscription_list(body: bytes) -> list[Listed]:
    """The subscriptions of a list, none if it has none. Raises MecPayloadError.

    Location v2 lists those of one kind whole; v3, in a wrapper or bare, and the RNIS link to them.
    """
    top = Fields.of(body)
    if "_links" in top:
        return _linked(top.object("_links"))
    if "subscription" in top or "resourceURL" in top:
        return _linked(top)
    listed = top.object("notificationSubscriptionList")
    whole = [
        Listed(each.text("resourceURL"), kind, _callback(each)) for kind in _V2_KINDS for each in listed.objects(kind)
    ]
    return whole + _linked(listed)


def callback_of(body: bytes) -> str | None:
    """The callback URL of one subscription, if it has one. Raises MecPayloadError."""
    top = Fields.of(body)
    wrapper = top.wrapper("Subscription")
    return _callback(top.object(wrapper) if wrapper else top)


def _linked(links: Fields) -> list[Listed]:
    return [Listed(each.text("href"), each.text("subscriptionType"), None) for each in links.objects("subscription")]


def _callback(subscription: Fields) -> str | None:
    """An object with the URL in Location v2, the URL itself elsewhere."""
    if "callbackReference" not in subscription:
        return None
    if subscription.is_object("callbackReference"):
        return subscription.object("callbackReference").text("notifyURL")
    return subscription.text("callbackReference")
