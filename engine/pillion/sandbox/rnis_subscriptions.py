"""The Radio Network Information API's subscriptions: `rni/v2/subscriptions`.

Five kinds are there, with one sequence of ids; what else the specification has is refused. As in the original, what is
made has no Location header, an empty filter list lets nothing pass, and a filter by app instance matches no handover.

One thing is better than the original, which writes through an unset pointer when a subscription expires: here the
subscriber gets its ExpiryNotification, and the subscription is gone. Only subscriptions to handovers expire; by
specification all do.
Source: ETSI GS MEC 012 V2.2.1, clauses 6.3 and 7, as AdvantEDGE v1.9.2 implements them (meep-rnis).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
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
    present,
    refuse_unknown,
)
from pillion.sandbox.live import LiveWorld
from pillion.sandbox.members import expiry_deadline, mandatory_text, own_link
from pillion.sandbox.notifications import Line, Notification
from pillion.sandbox.rnis_data import API, IPV4, Cell
from pillion.sandbox.rnis_notifications import (
    HANDED_OVER,
    PERIODICAL,
    REPORTS,
    Event,
    Kind,
    Subscription,
    Terms,
    callback_test,
    event_of_handover,
    event_of_measurement,
    expiry,
    notification,
)
from pillion.sandbox.scenario import Plmn
from pillion.sandbox.subscriptions import Numbered
from pillion.sandbox.world import Change

_KINDS = {f"{kind}Subscription": kind for kind in Kind}
_LISTED = {
    "cell_change": Kind.CELL_CHANGE,
    "rab_est": Kind.RAB_EST,
    "rab_rel": Kind.RAB_REL,
    "meas_rep_ue": Kind.MEAS_REP_UE,
    "nr_meas_rep_ue": Kind.NR_MEAS_REP_UE,
    # The specification has these; there is never one to list.
    "rab_mod": None,
    "timing_advance_ue": None,
    "ca_reconf": None,
    "s1_bearer": None,
}
"""What `subscription_type` may ask for."""
_CRITERIA = {
    Kind.CELL_CHANGE: "filterCriteriaAssocHo",
    Kind.RAB_EST: "filterCriteriaQci",
    Kind.RAB_REL: "filterCriteriaQci",
    Kind.MEAS_REP_UE: "filterCriteriaAssocTri",
    Kind.NR_MEAS_REP_UE: "filterCriteriaNrMrs",
}


class RnisSubscriptions:
    """Who is told of what in the radio network; a `live.Service`."""

    def __init__(self, live: LiveWorld) -> None:
        self.line = Line(API, strict=live.strict)
        self._live = live
        self._subscriptions: Numbered[Subscription] = Numbered()

    def __repr__(self) -> str:
        return f"<RnisSubscriptions: {len(self._subscriptions)}, {self.line!r}>"

    def add_routes(self, app: web.Application, root: str) -> None:
        """Serve the subscriptions under `root`."""
        app.router.add_get(f"{root}/subscriptions", self._list)
        app.router.add_post(f"{root}/subscriptions", self._subscribe)
        app.router.add_get(f"{root}/subscriptions/{{id}}", self._get)
        app.router.add_put(f"{root}/subscriptions/{{id}}", self._change)
        app.router.add_delete(f"{root}/subscriptions/{{id}}", self._unsubscribe)

    def changed(self, changes: Sequence[Change]) -> list[Notification]:
        """What handovers make of the subscriptions, in the order of the handovers."""
        scenario = self._live.world.scenario
        poas = {poa.id: poa for poa in scenario.poas}
        return self._told([event_of_handover(change, poas, scenario.plmn) for change in changes])

    def refreshed(self) -> list[Notification]:
        """What has expired, then the measurement reports of every UE on 4G and 5G."""
        expired = self._expired()
        if not any(subscription.terms.kind in REPORTS for subscription in self._subscriptions):
            return expired
        world = self._live.world
        plmn = world.scenario.plmn
        reports = [event_of_measurement(user, world.in_range(user.ue), plmn) for user in world.users()]
        return expired + self._told(reports)

    def forget(self) -> None:
        """Drop all subscriptions; ids start at 1 again."""
        self._subscriptions.clear()

    def _told(self, events: Sequence[Event | None]) -> list[Notification]:
        now_s = int(time.time())
        return [
            notification(subscription, event, now_s)
            for event in events
            if event is not None
            for subscription in self._subscriptions
            if subscription.terms.cover(event)
        ]

    def _expired(self) -> list[Notification]:
        """The last notifications of those whose deadline has come; they are subscriptions no more."""
        now_s = int(time.time())
        expired = [
            subscription
            for subscription in self._subscriptions
            if subscription.terms.expires_s is not None
            and subscription.terms.expires_s <= now_s
            and (self._live.strict or subscription.terms.kind not in REPORTS)
        ]
        for subscription in expired:
            self._subscriptions.remove(subscription.id)
        return [expiry(subscription, now_s) for subscription in expired]

    async def _list(self, request: web.Request) -> web.Response:
        refuse_unknown(request, "subscription_type")
        asked = request.query.get("subscription_type")
        if asked is not None and asked not in _LISTED:
            raise Refused(HTTPStatus.BAD_REQUEST)
        links: list[dict[str, object]] = [
            {"href": subscription.href, "subscriptionType": f"{subscription.terms.kind}Subscription"}
            for subscription in self._subscriptions
            if asked is None or subscription.terms.kind is _LISTED[asked]
        ]
        return json_response({"_links": {"self": {"href": _url(request)}} | present("subscription", links)})

    async def _subscribe(self, request: web.Request) -> web.Response:
        terms = read_terms(Members(request, await document_of(request)))
        url = _url(request)
        async with self.line.turn():
            made = self._subscriptions.add(lambda id_: Subscription(id_, f"{url}/{id_}", f"{url}/{id_}", terms))
            if self._live.strict and terms.document.get("requestTestNotification"):
                self._live.faults.deliver(self.line, [callback_test(made)])
        return created(request, made.document(), made.url, with_location=False)

    async def _get(self, request: web.Request) -> web.Response:
        return json_response(self._subscriptions.get(request.match_info["id"]).document())

    async def _change(self, request: web.Request) -> web.Response:
        """Other terms of the same kind. The link is kept as the client sends it, if only its id is right."""
        id_, body = request.match_info["id"], Members(request, await document_of(request))
        terms = read_terms(body)
        href = own_link(body)
        if href is None:
            raise body.mandatory("_links.self.href")
        if href.rpartition("/")[2] != id_:
            raise Refused(HTTPStatus.BAD_REQUEST, "_links.self.href has another id than the path")
        async with self.line.turn():
            before = self._subscriptions.get(id_)
            if before.terms.kind is not terms.kind:
                raise Refused(HTTPStatus.NOT_FOUND)
            after = replace(before, href=href, terms=terms)
            self._subscriptions.put(id_, after)
        return json_response(after.document())

    async def _unsubscribe(self, request: web.Request) -> web.Response:
        async with self.line.turn():
            self._subscriptions.remove(request.match_info["id"])
        return no_content()


def read_terms(body: Members) -> Terms:
    """What the body of a subscription asks for. Raises Refused.

    The document that is kept has only the members the API knows, and none that is empty, as in the original.
    """
    callback_url = mandatory_text(body, "callbackReference")
    kind = _KINDS.get(body.text("subscriptionType") or "")
    if kind is None:
        raise Refused(HTTPStatus.BAD_REQUEST)
    criteria = body.object(_CRITERIA[kind])
    if criteria is None:
        raise body.mandatory(_CRITERIA[kind])
    app_instance_id = criteria.text("appInstanceId") or ""
    kept: dict[str, object] = _present(appInstanceId=app_instance_id)
    erab_id: int | None = None
    ues: frozenset[str] | None = None
    if kind in (Kind.RAB_EST, Kind.RAB_REL):
        kept["qci"] = _mandatory_number(criteria, "qci")
        if kind is Kind.RAB_REL:
            erab_id = kept["erabId"] = _mandatory_number(criteria, "erabId")
    else:
        sent_ues, ues = _ues(criteria)
        kept |= _present(associateId=sent_ues) | _triggers(criteria, kind)
    sent_cells, cells = _cells(criteria, kind)
    deadline, expires_s = expiry_deadline(body)
    websocket = body.object("websockNotifConfig")
    document: dict[str, object] = {
        "callbackReference": callback_url,
        "subscriptionType": f"{kind}Subscription",
        _CRITERIA[kind]: kept | sent_cells,
    } | _present(requestTestNotification=body.flag("requestTestNotification"))
    document |= deadline
    if websocket is not None:
        document["websockNotifConfig"] = _present(
            requestWebsocketUri=websocket.flag("requestWebsocketUri"), websocketUri=websocket.text("websocketUri")
        )
    return Terms(
        kind,
        callback_url,
        document,
        ues=ues,
        cells=cells,
        released_erab_id=erab_id,
        app_instance_id=app_instance_id,
        expires_s=expires_s,
    )


def _ues(criteria: Members) -> tuple[list[dict[str, object]], frozenset[str] | None]:
    """The UEs as they were sent, and those that a filter can find: the ones named by IPv4 address."""
    sent = criteria.objects("associateId")
    if sent is None:
        return [], None
    named = [(each.integer("type"), each.text("value")) for each in sent]
    found = frozenset(value for type_, value in named if type_ == IPV4 and value)
    return [_present(type=type_, value=value) for type_, value in named], found


def _cells(criteria: Members, kind: Kind) -> tuple[dict[str, object], frozenset[Cell] | None]:
    """The cells as they were sent, under their name, and as a filter."""
    is_nr = kind is Kind.NR_MEAS_REP_UE
    name, id_name = ("nrcgi", "nrcellId") if is_nr else ("ecgi", "cellId")
    sent = criteria.objects(name)
    if sent is None:
        return {}, None
    cells = []
    for each in sent:
        plmn, id_ = each.object("plmn"), each.text(id_name)
        if plmn is None or not id_:
            raise each.mandatory(id_name if plmn else "plmn")
        cells.append(Cell(Plmn(mcc=plmn.text("mcc") or "", mnc=plmn.text("mnc") or ""), id_))
    return present(name, [cell.nrcgi() if is_nr else cell.ecgi() for cell in cells]), frozenset(cells)


def _triggers(criteria: Members, kind: Kind) -> dict[str, object]:
    """`hoStatus` is kept for show; of the triggers, the one that we have is added to what was sent."""
    if kind is Kind.CELL_CHANGE:
        statuses = criteria.integers("hoStatus")
        return _present(hoStatus=[HANDED_OVER] if statuses is None else statuses)
    name = "trigger" if kind is Kind.MEAS_REP_UE else "triggerNr"
    triggers = criteria.integers(name) or []
    return {name: triggers if PERIODICAL in triggers else [*triggers, PERIODICAL]}


def _mandatory_number(criteria: Members, name: str) -> int:
    """A number that may not be 0."""
    value = criteria.integer(name)
    if not value:
        raise criteria.mandatory(name)
    return value


def _present(**members: object) -> dict[str, object]:
    """Those that are not empty; the original leaves out the others."""
    return {name: value for name, value in members.items() if value}


def _url(request: web.Request) -> str:
    return f"{api_url(request, API)}/subscriptions"
