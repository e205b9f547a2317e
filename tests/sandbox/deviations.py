"""Where the sandbox deviates from the OpenAPI documents of the original and of ETSI, and why.

`docs/deviations.md` shows these tables. A deviation that is not listed fails the conformance test, and so does a listed
one that is none any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing that is not as a document has it."""

    document: str
    where: str
    """A schema, an operation, or the response with a status."""
    at: str
    """JSON path within; a list's items are `[]`."""
    problem: str


class Manner(StrEnum):
    """In which manner of the sandbox a deviation is seen."""

    BOTH = "both"
    ORIGINAL = "original"
    STRICT = "strict"


@dataclass(frozen=True, slots=True)
class Deviation:
    """The same problem in some places of one document."""

    document: str
    where: tuple[str, ...]
    at: str
    problem: str
    reason: str
    manner: Manner = Manner.BOTH

    @property
    def findings(self) -> set[Finding]:
        return {Finding(self.document, where, self.at, self.problem) for where in self.where}


@dataclass(frozen=True, slots=True)
class Correction:
    """Answers for which a document's own schema is at fault, and what they are held against instead."""

    document: str
    operations: tuple[str, ...]
    schema: str | None
    """None: that of the subscription's type."""
    reason: str


_LOCATION, _RNI = "loc-serv.yaml", "rnis.yaml"
_LOCATION_V3, _RNI_ETSI = "etsi-mec013-v3.1.1-location.yaml", "etsi-mec012-v2.2.1-rni.yaml"
_SUPPORT, _SERVICES, _AMS = "app-support.yaml", "service-mgmt.yaml", "ams.yaml"

_NO_JSON = "What cannot be decoded is answered with 500"
_NO_WORD = "The original's refusal is often an empty one"
_NO_PROBLEM = "The original never sends problem+json"
_FIVE_KINDS = "The original has five kinds of subscription, and refuses the others"
_NOT_THERE = "Not in the original, which answers 501"
_NOT_AN_APP = "For an API service that is an app of the platform itself; ours is not one that is terminated"
_IPV4 = "A UE is its plain IPv4 address, as in the hosted sandbox's answer that is known"
_GENERATED = "A fault of the document, which was generated"
_RNI_NOTIFICATIONS = tuple(
    f"{kind}Notification" for kind in ("CellChange", "RabEst", "RabRel", "MeasRepUe", "NrMeasRepUe")
)
_NULL = "The original writes null where there is nothing to say"
_OPERATIONS_OF_AMS = (
    "GET /subscriptions",
    "POST /subscriptions",
    *(f"{method} /subscriptions/{{subscriptionId}}" for method in ("GET", "PUT", "DELETE")),
    "POST /app_mobility_services",
    *(f"{method} /app_mobility_services/{{appMobilityServiceId}}" for method in ("GET", "PUT", "DELETE")),
)
_SUBSCRIPTIONS = "/applications/{appInstanceId}/subscriptions"
_CONFIRMATIONS = tuple(f"POST /applications/{{appInstanceId}}/confirm_{what}" for what in ("ready", "termination"))


def _habits(document: str) -> tuple[Deviation, ...]:
    """How the original refuses, whatever the API."""
    return (
        Deviation(document, ("every operation",), "$", "status 500", _NO_JSON, Manner.ORIGINAL),
        Deviation(document, ("response 400", "response 404"), "$", "empty body", _NO_WORD, Manner.ORIGINAL),
        Deviation(document, ("response 400",), "$", "media type application/json", _NO_PROBLEM, Manner.ORIGINAL),
    )


def _radio(document: str) -> tuple[Deviation, ...]:
    """What both documents of the radio network describe, and the original has not."""
    kinds = tuple(f"{kind}Notification" for kind in ("CaReconf", "MeasTa", "RabMod", "S1Bearer"))
    return (
        Deviation(document, kinds, "$", "never told", _FIVE_KINDS),
        Deviation(document, ("GET /queries/s1_bearer_info",), "$", "never granted", _NOT_THERE),
        Deviation(document, ("every operation",), "$", "status 501", _NOT_THERE),
    )


def _termination(document: str) -> tuple[Deviation, ...]:
    return (
        Deviation(document, ("POST /notifications/mec011/appTermination",), "$", "never granted", _NOT_AN_APP),
        Deviation(document, ("AppTerminationNotification",), "$", "never told", _NOT_AN_APP),
    )


_PLATFORM = (
    Deviation(_SUPPORT, ("every operation",), "$", "status 500", _NO_JSON, Manner.ORIGINAL),
    Deviation(_SUPPORT, ("every operation",), "$", "status 501", _NOT_THERE),
    Deviation(
        _SUPPORT,
        tuple(
            f"{operation} /applications/{{appInstanceId}}/{rules}"
            for kind in ("dns", "traffic")
            for operation, rules in (
                ("GET", f"{kind}_rules"),
                ("GET", f"{kind}_rules/{{{kind}RuleId}}"),
                ("PUT", f"{kind}_rules/{{{kind}RuleId}}"),
            )
        ),
        "$",
        "never granted",
        _NOT_THERE,
    ),
    Deviation(
        _SUPPORT,
        (
            *(f"{method} {_SUBSCRIPTIONS}" for method in ("GET", "POST")),
            *(f"{method} {_SUBSCRIPTIONS}/{{subscriptionId}}" for method in ("GET", "DELETE")),
            *_CONFIRMATIONS,
        ),
        "$",
        "media type application/json",
        _NO_PROBLEM,
        Manner.ORIGINAL,
    ),
    Deviation(
        _SUPPORT,
        _CONFIRMATIONS,
        "$",
        "status 400",
        "The document has no answer to a body that lacks something or confirms what nobody asked for",
    ),
    Deviation(_SERVICES, ("every operation",), "$", "status 500", _NO_JSON, Manner.ORIGINAL),
    Deviation(_SERVICES, ("response 404",), "$", "empty body", _NO_WORD, Manner.ORIGINAL),
    Deviation(
        _SERVICES,
        ("response 400", "response 403", "response 404"),
        "$",
        "media type application/json",
        _NO_PROBLEM,
        Manner.ORIGINAL,
    ),
    Deviation(
        _SERVICES,
        ("CategoryRef",),
        "$.href",
        "format uri",
        "The original's own services have catalogueHref there",
    ),
    Deviation(_SERVICES, ("SecurityInfo",), "$", "type", _NULL),
    Deviation(
        _SERVICES,
        ("ServiceInfo",),
        "$.transportInfo",
        "missing",
        "A service over a transport of the platform's names that instead, as the standard has it",
    ),
    Deviation(_AMS, ("every operation",), "$", "status 500", _NO_JSON, Manner.ORIGINAL),
    Deviation(_AMS, ("every operation",), "$", "status 501", _NOT_THERE),
    Deviation(
        _AMS,
        (
            "GET /queries/adjacent_app_instances",
            "POST /app_mobility_services/{appMobilityServiceId}/deregister_task",
        ),
        "$",
        "never granted",
        _NOT_THERE,
    ),
    Deviation(
        _AMS,
        (
            "GET /app_mobility_services/{appMobilityServiceId}",
            "GET /subscriptions",
            "POST /subscriptions",
            "PUT /subscriptions/{subscriptionId}",
        ),
        "$",
        "empty body",
        _NO_WORD,
        Manner.ORIGINAL,
    ),
    Deviation(
        _AMS,
        _OPERATIONS_OF_AMS,
        "$",
        "media type application/problem+json",
        "The document has plain JSON, against the standard",
        Manner.STRICT,
    ),
    *_termination(_AMS),
    Deviation(_AMS, ("POST /uri_provided_by_subscriber",), "$", "never granted", "What a subscriber has to serve"),
    Deviation(_AMS, ("TestNotification",), "$", "never told", "The original has no test notifications"),
    Deviation(
        _AMS,
        ("notification without type",),
        "$",
        "no such schema",
        "The original leaves the type of the last notification before a subscription's end empty",
        Manner.ORIGINAL,
    ),
    Deviation(_AMS, ("ExpiryNotification",), "$", "never told", "As above", Manner.ORIGINAL),
    Deviation(
        _AMS,
        ("AdjacentAppInfoNotification",),
        "$.adjacentAppInfo",
        "type",
        f"{_GENERATED}: it says object, and what the items of a list are",
    ),
    Deviation(_AMS, ("AdjacentAppInfoNotificationAdjacentAppInfo",), "$.commInterface", "type", _NULL, Manner.ORIGINAL),
    Deviation(_AMS, ("Link", "LinkType"), "$", "type", _NULL, Manner.ORIGINAL),
)
"""Of what a MEC app asks: MEC 011 and MEC 021."""

DEVIATIONS: tuple[Deviation, ...] = (
    *_habits(_LOCATION),
    *_termination(_LOCATION),
    Deviation(_LOCATION, ("UserInfo",), "$.address", "format uri", _IPV4),
    Deviation(
        _LOCATION,
        ("SubscriptionNotification",),
        "$.terminalLocation",
        "type",
        "A periodic notification comes with null where none of its UEs is connected",
    ),
    *_habits(_LOCATION_V3),
    Deviation(
        _LOCATION_V3,
        ("GET /subscriptions/distance", "GET /subscriptions/zones"),
        "$",
        "status 404",
        "ETSI's conformance suite expects 404 of an empty list; the document has it for two of the four lists",
        Manner.STRICT,
    ),
    Deviation(
        _LOCATION_V3,
        (
            "UserAreaNotification",
            "UserInfo",
            "UserLocationEventNotification",
            "UserLocationEventSubscription",
            "UserLocationPeriodicNotification",
            "UserLocationPeriodicSubscription",
            "ZoneLocationEventNotification",
        ),
        "$.address",
        "format uri",
        _IPV4,
    ),
    Deviation(
        _LOCATION_V3,
        ("UserInfo",),
        "$.accessPointId",
        "not described",
        "A fault of the document: it requires this, as the hosted sandbox has it, and describes AccessPointId",
    ),
    Deviation(
        _LOCATION_V3,
        ("_links",),
        "$.self",
        "missing",
        "A fault of the document: notifications link to their subscription, as its examples and ETSI's tests have it",
    ),
    Deviation(_LOCATION_V3, ("_links",), "$.subscription", "not described", "As above"),
    Deviation(
        _LOCATION_V3,
        ("ConnectionType",),
        "$",
        "other value",
        "v2's words Macro and Smallcell, since nothing is known of what the hosted sandbox sends",
        Manner.ORIGINAL,
    ),
    *_habits(_RNI),
    *_termination(_RNI),
    *_radio(_RNI),
    Deviation(
        _RNI,
        ("TestNotification",),
        "$",
        "no such schema",
        "The original has no test notifications; by specification they are sent when asked for",
        Manner.STRICT,
    ),
    *_habits(_RNI_ETSI),
    *_radio(_RNI_ETSI),
    Deviation(
        _RNI_ETSI, ("TestNotification",), "$", "never told", "The original has no test notifications", Manner.ORIGINAL
    ),
    Deviation(
        _RNI_ETSI,
        _RNI_NOTIFICATIONS,
        "$._links",
        "type",
        f"{_GENERATED}: the standard has an object with the subscription in it, not a list",
    ),
    Deviation(_RNI_ETSI, _RNI_NOTIFICATIONS, "$.subscription", "missing", "As above"),
    Deviation(
        _RNI_ETSI,
        ("Ecgi",),
        "$.cellId",
        "type",
        f"{_GENERATED}: beside the reference to a text it says that this is an object",
    ),
    Deviation(_RNI_ETSI, ("MeasRepUeNotification",), "$.trigger", "type", f"{_GENERATED}: as above, of a number"),
    Deviation(_RNI_ETSI, ("NrMeasRepUeNotification",), "$.triggerNr", "type", f"{_GENERATED}: as above"),
    Deviation(
        _RNI_ETSI,
        ("NRcgi", "Nrcgi"),
        "$.nrcellId",
        "not described",
        "The original writes nrcellId, with a small c, and its own document has it so",
    ),
    Deviation(_RNI_ETSI, ("NRcgi", "Nrcgi"), "$.nrCellId", "missing", "As above"),
    *_PLATFORM,
)


def _one_subscription(*collections: str) -> tuple[str, ...]:
    """The operations that answer with one subscription."""
    return tuple(
        f"{method} /subscriptions{collection}{'' if method == 'POST' else '/{subscriptionId}'}"
        for collection in collections
        for method in ("POST", "GET", "PUT")
    )


_WRAPPED = f"{_GENERATED}: it puts the answer under a key with the name of its type, in no API of ETSI's"

CORRECTIONS: tuple[Correction, ...] = (
    Correction(
        _LOCATION_V3,
        _one_subscription("/users", "/zones", "/area", "/distance"),
        None,
        "The document knows no subscription without a key around it, requires keys in another case or both of two, and "
        "has an area's notification instead of its subscription",
    ),
    Correction(_RNI_ETSI, ("GET /queries/rab_info",), "RabInfo", _WRAPPED),
    Correction(_RNI_ETSI, ("GET /queries/layer2_meas",), "L2Meas", _WRAPPED),
    Correction(_RNI_ETSI, ("GET /subscriptions",), "SubscriptionLinkList", _WRAPPED),
    Correction(_RNI_ETSI, _one_subscription(""), None, f"{_WRAPPED}; and it names the type of one kind only"),
)
"""Only answers that grant what was asked."""
