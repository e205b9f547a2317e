"""Subscriptions of application instances, each under its own: what the two APIs of MEC 011 have in common.

The original sends the Location header here, and unlike elsewhere says that a subscription was not found. A `%` in a
callback's URL comes back as it was sent; the original garbles it.
Source: ETSI GS MEC 011 V2.2.1, clause 7, as AdvantEDGE v1.9.2 implements it (meep-app-enablement).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

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
from pillion.sandbox.applications import Application, Applications
from pillion.sandbox.members import mandatory_text
from pillion.sandbox.notifications import Line
from pillion.sandbox.subscriptions import Numbered, unordered_subscription_id

NOT_FOUND = "Subscription not found"


@dataclass(frozen=True, slots=True)
class AppSubscription:
    """What an instance subscribed to."""

    id: str
    app_id: str
    api_url: str
    """The API as the subscriber reached it; links to it begin with this."""
    href: str
    callback_url: str
    terms: Mapping[str, Any]
    """The subscription as it is answered, but for its link."""

    def document(self) -> dict[str, object]:
        return {"_links": {"self": {"href": self.href}}} | dict(self.terms)

    def links(self) -> dict[str, object]:
        """Of a notification to it."""
        return {"subscription": {"href": self.href}}


class AppSubscriptions:
    """Subscriptions of one type, and the requests about them."""

    def __init__(
        self,
        type_: str,
        listed_as: str,
        read: Callable[[Members, Application], dict[str, object]],
        line: Line,
        applications: Applications,
    ) -> None:
        """`listed_as` is the member that has the type in a list; `read` gives what else the body asks for."""
        self._type = type_
        self._listed_as = listed_as
        self._read = read
        self._line = line
        self._applications = applications
        self._all: Numbered[AppSubscription] = Numbered(unordered_subscription_id, missing=NOT_FOUND)

    def __iter__(self) -> Iterator[AppSubscription]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def of(self, app_id: str) -> list[AppSubscription]:
        """Those of one instance."""
        return [each for each in self._all if each.app_id == app_id]

    def drop(self, app_id: str) -> None:
        """Forget those of one instance."""
        for each in self.of(app_id):
            self._all.remove(each.id)

    def clear(self) -> None:
        self._all.clear()

    def add_routes(self, app: web.Application, root: str) -> None:
        url = f"{root}/applications/{{app}}/subscriptions"
        app.router.add_get(url, self._list)
        app.router.add_post(url, self._post)
        app.router.add_get(f"{url}/{{id}}", self._get)
        app.router.add_delete(f"{url}/{{id}}", self._delete)

    async def _list(self, request: web.Request) -> web.Response:
        app = self._ready(request)
        links: list[dict[str, object]] = [{"href": each.href, self._listed_as: self._type} for each in self.of(app.id)]
        own = {"href": f"{api_url(request, self._line.api)}/{app.path}/subscriptions"}
        return json_response({"_links": {"self": own} | present("subscriptions", links)})

    async def _post(self, request: web.Request) -> web.Response:
        # The whole body before our turn: who sends slowly holds up nobody.
        await request.read()
        async with self._line.turn():
            app = self._ready(request)
            body = Members(request, await document_of(request))
            callback_url = mandatory_text(body, "callbackReference")
            if body.text("subscriptionType") != self._type:
                raise Refused(HTTPStatus.BAD_REQUEST, f"SubscriptionType shall be {self._type}")
            terms = {"subscriptionType": self._type, "callbackReference": callback_url} | self._read(body, app)
            url = api_url(request, self._line.api)
            made = self._all.add(
                lambda id_: AppSubscription(
                    id_, app.id, url, f"{url}/{app.path}/subscriptions/{id_}", callback_url, terms
                )
            )
        return created(request, made.document(), made.href, with_location=True)

    async def _get(self, request: web.Request) -> web.Response:
        return json_response(self._asked(request).document())

    async def _delete(self, request: web.Request) -> web.Response:
        async with self._line.turn():
            self._all.remove(self._asked(request).id)
        return no_content()

    def _ready(self, request: web.Request) -> Application:
        return self._applications.ready(request.match_info["app"])

    def _asked(self, request: web.Request) -> AppSubscription:
        """The subscription in the path, of the instance in the path. Raises Refused."""
        app = self._ready(request)
        subscription = self._all.get(request.match_info["id"])
        if subscription.app_id != app.id:
            raise Refused(HTTPStatus.NOT_FOUND, NOT_FOUND)
        return subscription
