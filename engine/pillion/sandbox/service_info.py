"""What one service of MEC 011 says of itself, and which filters it passes.

What the original does not check is refused here: a state, a serializer or a locality that the specification has not,
and a transport without a type, with which the original drops the connection.
Source: ETSI GS MEC 011 V2.2.1, clauses 8.1.2 and 8.1.5, as AdvantEDGE v1.9.2 implements them (meep-app-enablement).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

from pillion.sandbox.answers import Members, Refused
from pillion.sandbox.applications import Application
from pillion.sandbox.members import chosen, chosen_all, mandatory_text

STATES = ("ACTIVE", "INACTIVE", "SUSPENDED")
_SERIALIZERS = ("JSON", "XML", "PROTOBUF3")
_LOCALITIES = ("MEC_SYSTEM", "MEC_HOST", "NFVI_POP", "ZONE", "ZONE_GROUP", "NFVI_NODE")
_TRANSPORTS = ("REST_HTTP", "MB_TOPIC_BASED", "MB_ROUTING", "MB_PUBSUB", "RPC", "RPC_STREAMING", "WEBSOCKET")
_CATEGORY = ("href", "id", "name", "version")
_EXCLUSIVE = ("serInstanceIds", "serNames", "serCategories")
"""Filters of which a subscription can have one."""


@dataclass(frozen=True, slots=True)
class Service:
    """One registered service. Every service is local to everyone: the sandbox is one locality."""

    id: str
    app: Application
    info: Mapping[str, object]
    """What is answered, but for the links and `isLocal`."""
    api: str = ""
    """Of a service of the platform's own: the API that it is, whose address depends on who asks."""

    @property
    def name(self) -> str:
        return str(self.info["serName"])

    @property
    def state(self) -> str:
        return str(self.info["state"])

    @property
    def category(self) -> object:
        return self.info.get("serCategory")

    def with_state(self, state: str) -> Service:
        return replace(self, info=dict(self.info) | {"state": state})

    def document(self, url: str, sandbox_url: str) -> dict[str, object]:
        """As it is answered to someone who reaches service management at `url`, and all APIs below `sandbox_url`."""
        own = {"serInstanceId": self.id, "isLocal": True, "_links": {"self": {"href": self.href(url)}}}
        if self.api:
            own["transportInfo"] = rest_transport(f"{sandbox_url}/{self.api}/")
        return dict(self.info) | own

    def href(self, url: str) -> str:
        return f"{url}/{self.app.path}/services/{self.id}"


def rest_transport(uri: str) -> dict[str, object]:
    """The one way in which the platform can be reached."""
    return {
        "id": "sandboxTransport",
        "name": "REST",
        "type": "REST_HTTP",
        "protocol": "HTTP",
        "version": "2.0",
        "endpoint": {"uris": [uri]},
        "security": None,
    }


def own_info(name: str, category_id: str, category: str, api: str) -> dict[str, object]:
    """What a service of the platform's own says."""
    version = api.rpartition("/")[2]
    return {
        "serName": name,
        "serCategory": {"href": "catalogueHref", "id": category_id, "name": category, "version": version},
        "version": "2.2.1",
        "state": "ACTIVE",
        "serializer": "JSON",
        "scopeOfLocality": "MEC_SYSTEM",
        "consumedLocalOnly": True,
    }


def read_info(body: Members) -> dict[str, object]:
    """What the body of a service says, with what it leaves out filled in. Raises Refused."""
    state = chosen(body, "state", *STATES)
    if state is None:
        raise body.mandatory("state")
    serializer = chosen(body, "serializer", *_SERIALIZERS)
    if serializer is None:
        raise body.mandatory("serializer")
    local_only = body.flag("consumedLocalOnly")
    info: dict[str, object] = {
        "serName": mandatory_text(body, "serName"),
        "version": mandatory_text(body, "version"),
        "state": state,
        "serializer": serializer,
        "scopeOfLocality": chosen(body, "scopeOfLocality", *_LOCALITIES) or "MEC_HOST",
        "consumedLocalOnly": True if local_only is None else local_only,
    }
    category = body.object("serCategory")
    if category is not None:
        info["serCategory"] = read_category(category)
    transport = body.object("transportInfo")
    if transport is not None:
        info["transportInfo"] = _read_transport(transport)
    return info


def read_category(category: Members) -> dict[str, object]:
    """A reference to a category, all of it. Raises Refused."""
    return {name: mandatory_text(category, name) for name in _CATEGORY}


def _read_transport(transport: Members) -> dict[str, object]:
    if chosen(transport, "type", *_TRANSPORTS) is None:
        raise transport.mandatory("type")
    endpoint = transport.object("endpoint")
    if endpoint is None:
        raise transport.mandatory("endpoint")
    names = ("id", "name", "type", "protocol", "version")
    read: dict[str, object] = {name: mandatory_text(transport, name) for name in names}
    description, security = transport.text("description"), transport.object("security")
    read |= {"description": description} if description else {}
    reached = _read_endpoint(endpoint)
    return read | {"endpoint": reached, "security": None if security is None else security.as_sent()}


def _read_endpoint(endpoint: Members) -> dict[str, object]:
    """Where a transport is: by URI, by address and port, or in some way of its own."""
    uris, addresses, other = endpoint.texts("uris"), endpoint.objects("addresses"), endpoint.object("alternative")
    read: dict[str, object] = {}
    if uris:
        read["uris"] = uris
    if addresses:
        pairs = [{"host": each.text("host"), "port": each.integer("port")} for each in addresses]
        read["addresses"] = pairs
    if other is not None:
        read["alternative"] = other.as_sent()
    return read


def read_criteria(filters: Members) -> dict[str, object]:
    """The filters of a subscription; an empty one is left out, and lets everything pass. Raises Refused."""
    kept = {
        "serInstanceIds": filters.texts("serInstanceIds"),
        "serNames": filters.texts("serNames"),
        "serCategories": [read_category(each) for each in filters.objects("serCategories") or []],
        "states": chosen_all(filters, "states", *STATES),
        "isLocal": filters.flag("isLocal"),
    }
    if sum(bool(kept[name]) for name in _EXCLUSIVE) > 1:
        raise Refused(
            HTTPStatus.BAD_REQUEST, f"FilteringCriteria attributes {', '.join(_EXCLUSIVE)} are mutually-exclusive"
        )
    return {name: value for name, value in kept.items() if value}


def passes(service: Service, criteria: Mapping[str, Any]) -> bool:
    """Whether a subscriber with these filters is told of the service. All are local, so `isLocal` lets all pass."""
    facts = {
        "serInstanceIds": service.id,
        "serNames": service.name,
        "serCategories": service.category,
        "states": service.state,
    }
    return all(name not in criteria or fact in criteria[name] for name, fact in facts.items())
