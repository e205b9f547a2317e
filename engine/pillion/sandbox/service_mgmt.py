"""Service management (MEC 011): which services there are, who offers them, and who is told when that changes.

The sandbox's own Location, RNI and AMS services are found here by the names of their categories, each with the root of
its API. They are there at once; the original's register 10 s or more after start-up, so a client has to bear an early
answer with fewer.
Source: ETSI GS MEC 011 V2.2.1, clauses 5.2.4, 5.2.5 and 8.2, as AdvantEDGE v1.9.2 implements it (meep-app-enablement).
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from aiohttp import web

from pillion.sandbox import app_mobility_terms, location, rnis_data
from pillion.sandbox.answers import (
    Members,
    Refused,
    api_url,
    created,
    document_of,
    json_response,
    no_content,
)
from pillion.sandbox.app_subscriptions import AppSubscription, AppSubscriptions
from pillion.sandbox.applications import SYSTEM, Application, Applications, new_id
from pillion.sandbox.live import LiveWorld
from pillion.sandbox.notifications import Line, Notification
from pillion.sandbox.service_info import Service, own_info, passes, read_criteria, read_info, rest_transport
from pillion.sandbox.world import Change

API = "mec_service_mgmt/v1"
OWN = {
    "Location": ("meep-loc-serv", "locationId", "Location", location.API),
    "RNI": ("meep-rnis", "rniId", "RNI", rnis_data.API),
    "AMS": ("meep-ams", "amsId", "AMSI", app_mobility_terms.API),
}
"""The platform's own services by the name of the instance that has them: name, category's id and name, API."""
_FILTERS = (
    "ser_instance_id",
    "ser_name",
    "ser_category_id",
    "consumed_local_only",
    "is_local",
    "scope_of_locality",
)
_TRUTHS = {"1", "t", "T", "true", "True", "TRUE"}
_FALSEHOODS = {"0", "f", "F", "false", "False", "FALSE"}


class ServiceManagement:
    """What is registered, and who wants to know; a `live.Service`."""

    def __init__(self, live: LiveWorld, applications: Applications) -> None:
        self.line = Line(API, strict=live.strict)
        self._live = live
        self._applications = applications
        own = [_own_service(app) for app in applications if app.type == SYSTEM]
        self._services = {service.id: service for service in own}
        self._subscriptions = AppSubscriptions(
            "SerAvailabilityNotificationSubscription", "subscriptionType", _read_terms, self.line, applications
        )

    def __repr__(self) -> str:
        return f"<ServiceManagement: {len(self._services)}, {len(self._subscriptions)} subscriptions, {self.line!r}>"

    def add_routes(self, app: web.Application, root: str) -> None:
        """Serve the API under `root`."""
        self._subscriptions.add_routes(app, root)
        app.router.add_get(f"{root}/services", self._list)
        app.router.add_get(f"{root}/services/{{id}}", self._get)
        app.router.add_get(f"{root}/transports", _transports)
        own = f"{root}/applications/{{app}}/services"
        app.router.add_get(own, self._list_own)
        app.router.add_post(own, self._register)
        app.router.add_get(f"{own}/{{id}}", self._get_own)
        app.router.add_put(f"{own}/{{id}}", self._change)
        app.router.add_delete(f"{own}/{{id}}", self._deregister)

    def changed(self, changes: Sequence[Change]) -> list[Notification]:
        """Nothing: no handover matters here."""
        return []

    def refreshed(self) -> list[Notification]:
        """Nothing: services change by request alone."""
        return []

    def forget(self) -> None:
        """Drop all subscriptions, and the services of instances that do not outlive the scenario; nobody is told."""
        self._subscriptions.clear()
        self._services = {id_: service for id_, service in self._services.items() if service.app.persist}

    def drop(self, app_id: str) -> None:
        """An instance is gone, and all that it had registered; others are told of its services."""
        self._subscriptions.drop(app_id)
        for service in list(self._services.values()):
            if service.app.id == app_id:
                self._remove(service)

    def _remove(self, service: Service) -> None:
        del self._services[service.id]
        self._tell(service, "REMOVED")

    def _tell(self, service: Service, change: str) -> None:
        told = [
            _availability(subscription, service, change)
            for subscription in self._subscriptions
            if passes(service, subscription.terms.get("filteringCriteria", {}))
        ]
        self._live.faults.deliver(self.line, told)

    async def _list(self, request: web.Request) -> web.Response:
        return self._listed(request, list(self._services.values()))

    async def _list_own(self, request: web.Request) -> web.Response:
        app = self._ready(request)
        return self._listed(request, [each for each in self._services.values() if each.app.id == app.id])

    def _listed(self, request: web.Request, services: Sequence[Service]) -> web.Response:
        """Those that pass the query. Values of one name are alternatives; a flag that is none is not looked at."""
        unknown = set(request.query) - set(_FILTERS)
        if unknown:
            raise Refused(HTTPStatus.BAD_REQUEST, f"Invalid query param: {min(unknown)}")
        query = request.query
        ids, names = query.getall("ser_instance_id", []), query.getall("ser_name", [])
        category, locality = query.get("ser_category_id"), query.get("scope_of_locality")
        if sum(map(bool, (ids, names, category))) > 1:
            raise Refused(HTTPStatus.BAD_REQUEST, "ser_instance_id, ser_name and ser_category_id exclude each other")
        local_only = _truth(query.get("consumed_local_only"))
        documents = [
            self._document(request, service)
            for service in services
            if (not ids or service.id in ids)
            and (not names or service.name in names)
            and (not category or _is_of_category(service, category))
            and (not locality or service.info["scopeOfLocality"] == locality)
            and (local_only is None or service.info["consumedLocalOnly"] is local_only)
        ]
        return json_response(documents)

    async def _get(self, request: web.Request) -> web.Response:
        service = self._services.get(request.match_info["id"])
        if service is None:
            raise Refused(HTTPStatus.NOT_FOUND)
        return json_response(self._document(request, service))

    async def _get_own(self, request: web.Request) -> web.Response:
        return json_response(self._document(request, self._own(request)))

    async def _register(self, request: web.Request) -> web.Response:
        await request.read()
        app = self._ready(request)
        body = Members(request, await document_of(request))
        for name in ("serInstanceId", "_links"):
            if body.as_sent().get(name) not in (None, ""):
                raise Refused(HTTPStatus.BAD_REQUEST, f"{name} must not be present")
        info = read_info(body)
        if ("transportInfo" in info) is bool(body.text("transportId")):
            detail = "Either transportId or transportInfo but not both shall be present"
            raise Refused(HTTPStatus.BAD_REQUEST, detail)
        service = Service(new_id(), app, info)
        self._services[service.id] = service
        self._tell(service, "ADDED")
        href = service.href(api_url(request, API))
        return created(request, self._document(request, service), href, with_location=True)

    async def _change(self, request: web.Request) -> web.Response:
        """Another state; whatever else differs is refused, but for `isLocal`, which nobody can set."""
        await request.read()
        before = self._own(request)
        body = Members(request, await document_of(request))
        stays = self._document(request, before)
        sent = read_info(body) | {name: body.as_sent().get(name) for name in ("serInstanceId", "_links")}
        state = str(sent["state"])
        if sent | {"state": before.state, "isLocal": True} != stays:
            raise Refused(HTTPStatus.BAD_REQUEST, "Only the ServiceInfo state property may be changed")
        after = before.with_state(state)
        self._services[after.id] = after
        if state != before.state:
            self._tell(after, "STATE_CHANGED")
        return json_response(self._document(request, after))

    async def _deregister(self, request: web.Request) -> web.Response:
        self._remove(self._own(request))
        return no_content()

    def _ready(self, request: web.Request) -> Application:
        return self._applications.ready(request.match_info["app"])

    def _own(self, request: web.Request) -> Service:
        """The service in the path, of the instance in the path. Raises Refused."""
        app = self._ready(request)
        service = self._services.get(request.match_info["id"])
        if service is None or service.app.id != app.id:
            raise Refused(HTTPStatus.NOT_FOUND)
        return service

    def _document(self, request: web.Request, service: Service) -> dict[str, object]:
        url = api_url(request, API)
        return service.document(url, url.removesuffix(f"/{API}"))


def _own_service(app: Application) -> Service:
    """The service of one of the platform's own instances."""
    name, category_id, category, api = OWN[app.name]
    return Service(new_id(), app, own_info(name, category_id, category, api), api)


def _read_terms(body: Members, app: Application) -> dict[str, object]:
    filters = body.object("filteringCriteria")
    return {} if filters is None else {"filteringCriteria": read_criteria(filters)}


def _availability(subscription: AppSubscription, service: Service, change: str) -> Notification:
    reference = {
        "link": {"href": f"{subscription.api_url}/services/{service.id}"},
        "serName": service.name,
        "serInstanceId": service.id,
        "state": service.state,
        "changeType": change,
    }
    document = {
        "notificationType": "SerAvailabilityNotification",
        "serviceReferences": [reference],
        "_links": subscription.links(),
    }
    return Notification(subscription.callback_url, document)


def _is_of_category(service: Service, category: str) -> bool:
    """By name or by id: the specification is not clear."""
    own = service.category
    return isinstance(own, dict) and category in (own["name"], own["id"])


def _truth(written: str | None) -> bool | None:
    """A truth value as the original reads one; None for what is none."""
    return True if written in _TRUTHS else False if written in _FALSEHOODS else None


async def _transports(request: web.Request) -> web.Response:
    return json_response([rest_transport(f"{api_url(request, API)}/")])
