"""Subscriptions of the Location API v2: who made them, and the notifications of all in their order.

The original answers 201 without a Location header, and wants a PUT to name the subscription in its body too.
Source: ETSI GS MEC 013 V2.2.1, clause 7, as AdvantEDGE v1.9.2 implements it (meep-loc-serv).
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
)
from pillion.sandbox.live import LiveWorld
from pillion.sandbox.location import API
from pillion.sandbox.location_events import counted
from pillion.sandbox.location_kinds import KINDS, Subscription
from pillion.sandbox.notifications import Line, Notification
from pillion.sandbox.subscriptions import Numbered
from pillion.sandbox.world import Change


class LocationSubscriptions:
    """The service: six kinds of subscriptions, each with ids of its own."""

    def __init__(self, live: LiveWorld) -> None:
        self.line = Line(API, strict=live.strict)
        self._live = live
        self._kinds = [_Kind(kind, live, self.line) for kind in KINDS]

    def add_routes(self, app: web.Application, root: str) -> None:
        """Serve them under `root`."""
        for kind in self._kinds:
            kind.add_routes(app, root)

    def changed(self, changes: Sequence[Change]) -> Iterator[Notification]:
        for change, counts in counted(changes, self._live.world):
            for kind in self._kinds:
                for subscription in kind.subscriptions:
                    yield from subscription.changed(change, counts)

    def refreshed(self) -> Iterator[Notification]:
        for kind in self._kinds:
            for subscription in kind.subscriptions:
                yield from subscription.refreshed(self._live)

    def forget(self) -> None:
        for kind in self._kinds:
            kind.subscriptions.clear()


class _Kind:
    """The requests about the subscriptions of one kind."""

    def __init__(self, kind: type[Subscription], live: LiveWorld, line: Line) -> None:
        self.subscriptions: Numbered[Subscription] = Numbered()
        self._kind = kind
        self._live = live
        self._line = line

    def add_routes(self, app: web.Application, root: str) -> None:
        url = f"{root}/subscriptions/{self._kind.path}"
        app.router.add_get(url, self._list)
        app.router.add_post(url, self._post)
        app.router.add_get(f"{url}/{{id}}", self._get)
        app.router.add_put(f"{url}/{{id}}", self._put)
        app.router.add_delete(f"{url}/{{id}}", self._delete)

    async def _list(self, request: web.Request) -> web.Response:
        listed = present(self._kind.key, [each.stored for each in self.subscriptions])
        return json_response({"notificationSubscriptionList": listed | {"resourceURL": self._url(request)}})

    async def _post(self, request: web.Request) -> web.Response:
        subscription = self._kind(await self._members(request))

        def numbered(id_: str) -> Subscription:
            subscription.stored["resourceURL"] = f"{self._url(request)}/{id_}"
            subscription.begins(self._live.elapsed_s)
            return subscription

        async with self._line.turn():
            self.subscriptions.add(numbered)
        return created(
            request, self._answer(subscription), str(subscription.stored["resourceURL"]), with_location=False
        )

    async def _get(self, request: web.Request) -> web.Response:
        return json_response(self._answer(self.subscriptions.get(request.match_info["id"])))

    async def _put(self, request: web.Request) -> web.Response:
        id_ = request.match_info["id"]
        members = await self._members(request)
        subscription = self._kind(members)
        named = members.text("resourceURL")
        if not named:
            raise members.mandatory("resourceURL")
        if named.rsplit("/", 1)[-1] != id_:
            raise Refused(HTTPStatus.BAD_REQUEST, "SubscriptionId in endpoint and in body not matching")
        subscription.stored["resourceURL"] = f"{self._url(request)}/{id_}"
        async with self._line.turn():
            subscription.continues(self.subscriptions.get(id_))
            subscription.begins(self._live.elapsed_s)
            self.subscriptions.put(id_, subscription)
        return json_response(self._answer(subscription))

    async def _delete(self, request: web.Request) -> web.Response:
        async with self._line.turn():
            self.subscriptions.remove(request.match_info["id"])
        return no_content()

    async def _members(self, request: web.Request) -> Members:
        """The subscription in the body, which is under the key of its kind. Raises Refused."""
        wrapped = Members(request, await document_of(request)).object(self._kind.key)
        if wrapped is None:
            raise Refused(HTTPStatus.BAD_REQUEST, f"{self._kind.key} is not present")
        return wrapped

    def _answer(self, subscription: Subscription) -> dict[str, object]:
        return {self._kind.key: subscription.stored}

    def _url(self, request: web.Request) -> str:
        return f"{api_url(request, API)}/subscriptions/{self._kind.path}"
