"""Application support (MEC 011): an application instance says that it is ready, and is told when it has to end.

The order of a MEC app's life: the control plane makes an instance, the app confirms that it is ready, and only then
may it ask for anything that is its own. When the control plane deletes the instance, those of its subscribers that
asked for it are told; the instance is gone once it confirms, or after 10 seconds: by the clock as in the original,
whether anything moves or not, and in lockstep by ticks, which are all the time that passes there.

As in the original, a callback that confirms the termination before it answers waits for itself, and the link to
`confirm_termination` in the notification lacks the instance, so that a client has to build the URL itself; with
`--strict-etsi` neither is so.
Source: ETSI GS MEC 011 V2.2.1, clauses 5.2.2, 5.2.3 and 7.2, as AdvantEDGE v1.9.2 implements it (meep-app-enablement).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from http import HTTPStatus

from aiohttp import web

from pillion.sandbox.answers import (
    Members,
    Refused,
    document_of,
    json_response,
    no_content,
    not_implemented,
    time_stamp,
)
from pillion.sandbox.app_subscriptions import AppSubscription, AppSubscriptions
from pillion.sandbox.applications import Application, Applications
from pillion.sandbox.live import LiveWorld
from pillion.sandbox.notifications import Line, Notification
from pillion.sandbox.service_mgmt import ServiceManagement
from pillion.sandbox.world import Change

API = "mec_app_support/v1"
GRACE_S = 10
"""Seconds that a deleted instance has to end."""


class AppSupport:
    """Who wants to know of its end, and the ends under way; a `live.Service`."""

    def __init__(self, live: LiveWorld, applications: Applications, services: ServiceManagement) -> None:
        self.line = Line(API, strict=live.strict)
        self._live = live
        self._applications = applications
        self._services = services
        self._subscriptions = AppSubscriptions(
            "AppTerminationNotificationSubscription", "rel", _read_terms, self.line, applications
        )

    def __repr__(self) -> str:
        return f"<AppSupport: {self._applications!r}, {len(self._subscriptions)} subscriptions, {self.line!r}>"

    def add_routes(self, app: web.Application, root: str) -> None:
        """Serve the API under `root`."""
        self._subscriptions.add_routes(app, root)
        own = f"{root}/applications/{{app}}"
        app.router.add_post(f"{own}/confirm_ready", self._confirm_ready)
        app.router.add_post(f"{own}/confirm_termination", self._confirm_termination)
        app.router.add_get(f"{root}/timing/timing_caps", _timing_caps)
        app.router.add_get(f"{root}/timing/current_time", _current_time)
        for rules in ("dns_rules", "traffic_rules"):
            app.router.add_get(f"{own}/{rules}", not_implemented)
            app.router.add_get(f"{own}/{rules}/{{rule}}", not_implemented)
            app.router.add_put(f"{own}/{rules}/{{rule}}", not_implemented)

    def changed(self, changes: Sequence[Change]) -> list[Notification]:
        """Nothing: no handover matters here."""
        return []

    def refreshed(self) -> list[Notification]:
        """Nothing to tell; but in lockstep, whose time to end is over is gone from now on."""
        if self._live.lockstep:
            for app in self._applications.overdue(self._live.elapsed_s):
                self._end(app)
        return []

    def forget(self) -> None:
        """Drop all subscriptions, and the instances of the scenario; nobody is told."""
        self._subscriptions.clear()
        self._applications.clear()

    def terminate(self, app: Application) -> None:
        """Tell a deleted instance that it has to end; it is gone at once if it did not subscribe to that."""
        subscriptions = self._subscriptions.of(app.id)
        if not subscriptions:
            self._gone(app.id)
            return
        self._applications.leave(app.id, self._live.elapsed_s + GRACE_S)
        if not self._live.lockstep:
            asyncio.get_running_loop().call_later(GRACE_S, self._end, app)
        told = [self._termination(each, app) for each in subscriptions]
        self._live.faults.deliver(self.line, told)

    def _termination(self, subscription: AppSubscription, app: Application) -> Notification:
        instance = f"/{app.path}" if self._live.strict else ""
        confirm = {"href": f"{subscription.api_url}{instance}/confirm_termination"}
        document = {
            "notificationType": "AppTerminationNotification",
            "operationAction": "TERMINATING",
            "maxGracefulTimeout": GRACE_S,
            "_links": subscription.links() | {"confirmTermination": confirm},
        }
        return Notification(subscription.callback_url, document)

    def _end(self, app: Application) -> None:
        """Its time is over; nothing if it has ended by itself, even if its id was given again."""
        if self._applications.is_leaving(app):
            self._gone(app.id)

    def _gone(self, app_id: str) -> None:
        self._subscriptions.drop(app_id)
        self._services.drop(app_id)
        self._applications.remove(app_id)

    async def _confirm_ready(self, request: web.Request) -> web.Response:
        app_id = self._applications.known(request.match_info["app"]).id
        body = Members(request, await document_of(request))
        indication = body.text("indication")
        if not indication:
            raise body.mandatory("indication")
        if indication != "READY":
            raise Refused(HTTPStatus.BAD_REQUEST, "indication has to be READY")
        self._applications.confirm_ready(app_id)
        return no_content()

    async def _confirm_termination(self, request: web.Request) -> web.Response:
        await request.read()
        async with self.line.turn():
            app = self._applications.ready(request.match_info["app"])
            if not self._applications.is_leaving(app):
                raise Refused(HTTPStatus.BAD_REQUEST, "Unexpected App Confirmation Termination Notification")
            body = Members(request, await document_of(request))
            action = body.text("operationAction")
            if not action:
                raise body.mandatory("operationAction")
            if action not in ("STOPPING", "TERMINATING"):
                raise Refused(HTTPStatus.BAD_REQUEST, "operationAction has to be STOPPING or TERMINATING")
            self._gone(app.id)
        return no_content()


def _read_terms(body: Members, app: Application) -> dict[str, object]:
    """The instance that the subscription names, which has to be that of the path. Raises Refused."""
    app_id = body.text("appInstanceId")
    if not app_id:
        raise body.mandatory("appInstanceId")
    if app_id != app.id:
        raise Refused(HTTPStatus.BAD_REQUEST, "AppInstanceId in endpoint and in body not matching")
    return {"appInstanceId": app_id}


async def _timing_caps(request: web.Request) -> web.Response:
    """The time alone: there are no time servers to be named."""
    return json_response({"timeStamp": time_stamp()})


async def _current_time(request: web.Request) -> web.Response:
    return json_response(time_stamp() | {"timeSourceStatus": "TRACEABLE"})
