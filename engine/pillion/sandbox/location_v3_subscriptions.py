"""Subscriptions of the Location API v3: who made them, and the notifications of all in their order.

ETSI's documents wrap a subscription in a key that names its type, ETSI's tests do not: either is taken, and answers and
notifications have the form that the subscription came in. The Location header says which subscription was made.
Source: ETSI GS MEC 013 V3.1.1, clauses 6.3 and 7; ETSI's conformance suite gs032p3 for the form without a key.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from http import HTTPStatus

from aiohttp import web

from pillion.sandbox.answers import (
    Members,
    Refused,
    api_url,
    created,
    document_of,
    json_response,
    no_content,
    present,
    refuse_unknown,
)
from pillion.sandbox.live import LiveWorld
from pillion.sandbox.location_events import counted
from pillion.sandbox.location_v3 import API
from pillion.sandbox.location_v3_kinds import (
    Subscription,
    UserArea,
    UserDistance,
    UserLocationEvent,
    UserLocationPeriodic,
    ZoneLocationEvent,
    ZoneStatus,
    key_of,
)
from pillion.sandbox.members import chosen, mandatory_text
from pillion.sandbox.notifications import Line, Notification
from pillion.sandbox.subscriptions import Numbered
from pillion.sandbox.world import Change

_RESOURCES: dict[str, tuple[tuple[type[Subscription], ...], tuple[str, ...]]] = {
    "users": ((UserLocationEvent, UserLocationPeriodic), ("subscription_type", "address")),
    "zones": ((ZoneLocationEvent, ZoneStatus), ("subscription_type", "zoneId")),
    "area": ((UserArea,), ("subscription_type",)),
    "distance": ((UserDistance,), ()),
}
"""What types a resource has, and what its list can be filtered by; in the order in which they tell of one event."""


class LocationSubscriptionsV3:
    """The service: four resources for six types of subscriptions, each resource with ids of its own."""

    def __init__(self, live: LiveWorld) -> None:
        self.line = Line(API, strict=live.strict)
        self._live = live
        self._resources = [
            _Resource(name, types, filters, live, self.line) for name, (types, filters) in _RESOURCES.items()
        ]

    def add_routes(self, app: web.Application, root: str) -> None:
        """Serve them under `root`."""
        for resource in self._resources:
            resource.add_routes(app, root)

    def changed(self, changes: Sequence[Change]) -> Iterator[Notification]:
        self._expire()
        for change, counts in counted(changes, self._live.world):
            for resource in self._resources:
                for subscription in resource.subscriptions:
                    yield from subscription.changed(change, counts, self._live)

    def refreshed(self) -> Iterator[Notification]:
        self._expire()
        for resource in self._resources:
            for subscription in resource.subscriptions:
                yield from subscription.refreshed(self._live)

    def forget(self) -> None:
        for resource in self._resources:
            resource.subscriptions.clear()

    def _expire(self) -> None:
        for resource in self._resources:
            for subscription in resource.subscriptions:
                if subscription.expires_at is not None and subscription.expires_at <= self._live.refreshed_s:
                    resource.subscriptions.remove(subscription.id)


class _Resource:
    """The requests about the subscriptions of one resource."""

    def __init__(
        self,
        name: str,
        types: tuple[type[Subscription], ...],
        filters: tuple[str, ...],
        live: LiveWorld,
        line: Line,
    ) -> None:
        self.subscriptions: Numbered[Subscription] = Numbered()
        self._name = name
        self._types = types
        self._filters = filters
        self._live = live
        self._line = line

    def add_routes(self, app: web.Application, root: str) -> None:
        url = f"{root}/subscriptions/{self._name}"
        app.router.add_get(url, self._list)
        app.router.add_post(url, self._post)
        app.router.add_get(f"{url}/{{id}}", self._get)
        app.router.add_put(f"{url}/{{id}}", self._put)
        app.router.add_delete(f"{url}/{{id}}", self._delete)

    async def _list(self, request: web.Request) -> web.Response:
        refuse_unknown(request, *self._filters)
        word = request.query.get("subscription_type")
        about = next((request.query[name] for name in ("address", "zoneId") if name in request.query), None)
        if word is not None and word not in {type_.word for type_ in self._types}:
            raise Refused(HTTPStatus.BAD_REQUEST, f"there is no subscription_type {word}")
        listed: list[dict[str, object]] = [
            {"href": each.href, "subscriptionType": each.type}
            for each in self.subscriptions
            if word in (None, each.word) and about in (None, each.about)
        ]
        if not listed and self._live.strict:
            raise Refused(HTTPStatus.NOT_FOUND)
        links = {"resourceURL": {"href": self._url(request)}} | present("subscription", listed)
        return json_response({"notificationSubscriptionList": links})

    async def _post(self, request: web.Request) -> web.Response:
        subscription = await self._sent(request)

        def numbered(id_: str) -> Subscription:
            subscription.id, subscription.href = id_, f"{self._url(request)}/{id_}"
            return subscription

        async with self._line.turn():
            self._begin(self.subscriptions.add(numbered))
        return created(request, subscription.document, subscription.href, with_location=True)

    async def _get(self, request: web.Request) -> web.Response:
        return json_response(self.subscriptions.get(request.match_info["id"]).document)

    async def _put(self, request: web.Request) -> web.Response:
        id_ = request.match_info["id"]
        subscription = await self._sent(request)
        if subscription.href and subscription.href.rsplit("/", 1)[-1] != id_:
            raise Refused(HTTPStatus.BAD_REQUEST, "_links.self is of another subscription")
        subscription.id, subscription.href = id_, f"{self._url(request)}/{id_}"
        async with self._line.turn():
            old = self.subscriptions.get(id_)
            if type(old) is not type(subscription):
                raise Refused(HTTPStatus.BAD_REQUEST, f"the subscription is a {old.type}")
            subscription.continues(old)
            self.subscriptions.put(id_, subscription)
            self._begin(subscription)
        return json_response(subscription.document)

    async def _delete(self, request: web.Request) -> web.Response:
        async with self._line.turn():
            self.subscriptions.remove(request.match_info["id"])
        return no_content()

    def _begin(self, subscription: Subscription) -> None:
        subscription.begins(self._live.elapsed_s)
        if subscription.wants_test:
            self._live.faults.deliver(self._line, [subscription.test()])

    async def _sent(self, request: web.Request) -> Subscription:
        """The subscription in the body, in either form. Raises Refused."""
        members = Members(request, await document_of(request))
        for type_ in self._types:
            wrapped = members.object(key_of(type_.type))
            if wrapped is not None:
                self._type_of(wrapped, type_)
                return type_(wrapped)
        subscription = self._type_of(members, *self._types)(members)
        subscription.wrapped = False
        return subscription

    def _type_of(self, members: Members, *types: type[Subscription]) -> type[Subscription]:
        """That one of the types which a subscription says it is. Raises Refused if it says none of them."""
        mandatory_text(members, "subscriptionType")
        name = chosen(members, "subscriptionType", *(type_.type for type_ in types))
        return next(type_ for type_ in types if type_.type == name)

    def _url(self, request: web.Request) -> str:
        return f"{api_url(request, API)}/subscriptions/{self._name}"
