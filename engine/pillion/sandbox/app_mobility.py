"""Application mobility (MEC 021): which apps move with which devices, and who is told when one has to move.

The scenario has no MEC platforms; the sandbox takes one for each zone: `mep1` for the first, and so on. An instance is
on the platform that its nodeName says. As in the original, notifications do not say to which subscription they belong
and where the target can be reached, and the list has no link to itself; `--strict-etsi` puts that right as far as it
is known. A device without appMobilityServiceLevel or contextTransferState is refused with 400; the original drops the
connection. A `%` in a callback's URL comes back as it was sent; the original garbles it.
Source: ETSI GS MEC 021 V2.2.1, clauses 6 and 7, as AdvantEDGE v1.9.2 implements them (meep-ams).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
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
    not_implemented,
    present,
    refuse_unknown,
)
from pillion.sandbox.app_mobility_terms import (
    ADJACENT,
    API,
    LISTED,
    MOBILITY,
    Subscription,
    adjacent_notification,
    expiry,
    mobility_notification,
    read_consumer,
    read_devices,
    read_subscription,
)
from pillion.sandbox.applications import Application, Applications, mep_of
from pillion.sandbox.context_owners import Move, Owners, Registration
from pillion.sandbox.live import LiveWorld
from pillion.sandbox.members import own_link
from pillion.sandbox.notifications import Line, Notification
from pillion.sandbox.subscriptions import Numbered, unordered_id, unordered_subscription_id
from pillion.sandbox.world import Change


class AppMobility:
    """The registered apps, and who is told what of them; a `live.Service`."""

    def __init__(self, live: LiveWorld, applications: Applications) -> None:
        self.line = Line(API, strict=live.strict)
        self._live = live
        self._applications = applications
        self._owners = Owners(self._node_of)
        self._subscriptions: Numbered[Subscription] = Numbered(
            unordered_subscription_id, missing="Subscription not found"
        )

    def __repr__(self) -> str:
        return f"<AppMobility: {len(self._owners)} apps, {len(self._subscriptions)} subscriptions, {self.line!r}>"

    def add_routes(self, app: web.Application, root: str) -> None:
        """Serve the API under `root`."""
        app.router.add_get(f"{root}/app_mobility_services", self._registrations)
        app.router.add_post(f"{root}/app_mobility_services", self._register)
        app.router.add_get(f"{root}/app_mobility_services/{{id}}", self._registration)
        app.router.add_put(f"{root}/app_mobility_services/{{id}}", self._reregister)
        app.router.add_delete(f"{root}/app_mobility_services/{{id}}", self._deregister)
        app.router.add_post(f"{root}/app_mobility_services/{{id}}/deregister_task", not_implemented)
        app.router.add_get(f"{root}/queries/adjacent_app_instances", not_implemented)
        app.router.add_get(f"{root}/subscriptions", self._list)
        app.router.add_post(f"{root}/subscriptions", self._subscribe)
        app.router.add_get(f"{root}/subscriptions/{{id}}", self._get)
        app.router.add_put(f"{root}/subscriptions/{{id}}", self._change)
        app.router.add_delete(f"{root}/subscriptions/{{id}}", self._unsubscribe)

    def changed(self, changes: Sequence[Change]) -> Iterator[Notification]:
        """What devices that came to another zone, or back into coverage, make of the apps that track them."""
        for change in changes:
            if change.zone is not None and change.zone != change.previous_zone:
                yield from self._told(self._owners.moved(change.ue))

    def refreshed(self) -> list[Notification]:
        """The last notifications of those whose deadline has come; they are subscriptions no more."""
        now_s = int(time.time())
        expired = [each for each in self._subscriptions if each.expires_s is not None and each.expires_s <= now_s]
        for each in expired:
            self._subscriptions.remove(each.id)
        return [expiry(each, now_s, strict=self._live.strict) for each in expired]

    def forget(self) -> None:
        """Drop all registrations and subscriptions."""
        self._owners.clear()
        self._subscriptions.clear()

    def came(self, app: Application) -> None:
        """An instance was made: those of the same name are told."""
        self._live.faults.deliver(self.line, self._adjacent(app.name))

    def went(self, app: Application) -> None:
        """An instance was deleted, and all that it had here is gone; those of the same name are told."""
        for each in self._subscriptions:
            if each.app_id == app.id:
                self._subscriptions.remove(each.id)
        self._owners.drop(app.id)
        self._live.faults.deliver(self.line, self._told(self._owners.refresh(app.name)))
        self._live.faults.deliver(self.line, self._adjacent(app.name))

    def _node_of(self, ue: str) -> str | None:
        user = self._live.world.user(ue)
        return None if user is None else mep_of(self._live.world.scenario.zones, user.zone)

    def _told(self, moves: Sequence[Move]) -> list[Notification]:
        now_s = int(time.time())
        return [
            mobility_notification(each, move, now_s, strict=self._live.strict)
            for move in moves
            for each in self._subscriptions
            if each.type == MOBILITY and each.covers(move)
        ]

    def _adjacent(self, app_name: str) -> list[Notification]:
        now_s = int(time.time())
        same = [app.id for app in self._applications if app.name == app_name]
        return [
            adjacent_notification(each, [id_ for id_ in same if id_ != each.app_id], now_s, strict=self._live.strict)
            for each in self._subscriptions
            if each.type == ADJACENT and each.app_id in same
        ]

    async def _registrations(self, request: web.Request) -> web.Response:
        return json_response([each.document for each in self._owners])

    async def _registration(self, request: web.Request) -> web.Response:
        registration = self._owners.get(request.match_info["id"])
        if registration is None:
            raise Refused(HTTPStatus.NOT_FOUND)
        return json_response(registration.document)

    async def _register(self, request: web.Request) -> web.Response:
        await request.read()
        registration = self._read(Members(request, await document_of(request)), unordered_id())
        self._live.faults.deliver(self.line, self._told(self._owners.put(registration)))
        url = f"{api_url(request, API)}/app_mobility_services/{registration.id}"
        return created(request, registration.document, url, with_location=False)

    async def _reregister(self, request: web.Request) -> web.Response:
        """Replace one: its devices are assigned anew, and in silence."""
        await request.read()
        id_ = request.match_info["id"]
        body = Members(request, await document_of(request))
        registration = self._read(body, id_)
        if body.text("appMobilityServiceId") != id_:
            raise Refused(HTTPStatus.BAD_REQUEST, "appMobilityServiceId in endpoint and in body not matching")
        if self._owners.get(id_) is None:
            raise Refused(HTTPStatus.NOT_FOUND, "Service not found")
        self._live.faults.deliver(self.line, self._told(self._owners.put(registration)))
        return json_response(registration.document)

    async def _deregister(self, request: web.Request) -> web.Response:
        id_ = request.match_info["id"]
        if self._owners.get(id_) is None:
            raise Refused(HTTPStatus.NOT_FOUND, "AMS Registration Info not found")
        self._live.faults.deliver(self.line, self._told(self._owners.remove(id_)))
        return no_content()

    def _read(self, body: Members, id_: str) -> Registration:
        """The registration in a body, under this id. Raises Refused."""
        consumer = read_consumer(body)
        (consumer_id,) = consumer.values()
        sent, devices = read_devices(body)
        expiry_time = body.integer("expiryTime")
        app = self._applications.find(consumer_id)
        if app is None:
            raise Refused(HTTPStatus.BAD_REQUEST, "App Instance Id does not exist.")
        document = {"appMobilityServiceId": id_, "serviceConsumerId": consumer} | present("deviceInformation", sent)
        return Registration(id_, app, devices, document | ({"expiryTime": expiry_time} if expiry_time else {}))

    async def _list(self, request: web.Request) -> web.Response:
        refuse_unknown(request, "subscriptionType")
        asked = request.query.get("subscriptionType", "")
        if asked and asked not in LISTED:
            raise Refused(HTTPStatus.BAD_REQUEST)
        links: list[dict[str, object]] = [
            {"href": each.href, "subscriptionType": each.type}
            for each in self._subscriptions
            if not asked or each.type == LISTED[asked]
        ]
        own = {"href": f"{api_url(request, API)}/subscriptions"} if self._live.strict else None
        return json_response({"_links": {"self": own} | present("subscription", links)})

    async def _subscribe(self, request: web.Request) -> web.Response:
        await request.read()
        async with self.line.turn():
            subscription = read_subscription(Members(request, await document_of(request)))
            if self._applications.find(subscription.app_id) is None:
                raise Refused(HTTPStatus.NOT_FOUND, "App Instance not found")
            url = f"{api_url(request, API)}/subscriptions"
            made = self._subscriptions.add(
                lambda id_: replace(subscription, id=id_, url=f"{url}/{id_}", href=f"{url}/{id_}")
            )
        return created(request, made.document(), made.url, with_location=True)

    async def _get(self, request: web.Request) -> web.Response:
        return json_response(self._subscriptions.get(request.match_info["id"]).document())

    async def _change(self, request: web.Request) -> web.Response:
        """Other terms for the same instance. The link is kept as the client sends it, if only its id is right."""
        await request.read()
        id_ = request.match_info["id"]
        async with self.line.turn():
            body = Members(request, await document_of(request))
            before = self._subscriptions.get(id_)
            after = read_subscription(body)
            href = own_link(body)
            if href is None:
                raise body.mandatory("_links.self.href")
            if href.rpartition("/")[2] != id_:
                raise Refused(HTTPStatus.BAD_REQUEST, "SubscriptionId in endpoint and in body not matching")
            if after.app_id != before.app_id:
                raise Refused(HTTPStatus.BAD_REQUEST, "AppInstanceId does not match stored subscription")
            after = replace(after, id=id_, url=before.url, href=href)
            self._subscriptions.put(id_, after)
        return json_response(after.document())

    async def _unsubscribe(self, request: web.Request) -> web.Response:
        async with self.line.turn():
            self._subscriptions.remove(request.match_info["id"])
        return no_content()
