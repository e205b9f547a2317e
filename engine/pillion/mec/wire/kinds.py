"""Subscriptions as they are asked for: for one UE, and one URL that is told of it.

Source: ETSI GS MEC 013 V2.2.1, clauses 6.3 and 7; V3.1.1, clauses 6.3.4 and 6.3.5; ETSI GS MEC 012 V2.2.1, clause 6.3;
v2 and RNIS as AdvantEDGE v1.9.2 takes them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pillion.core.model import UeId

_EACH_S = 1
_LONGEST_S = 8_639_999
"""reportingAmount times reportingInterval of a periodic subscription of V3.1.1: 100 days."""
_IPV4 = 1
"""AssociateId.type, a number in the RNIS."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of subscription: its type, its API and path there, and its body for one UE and callback URL."""

    type: str
    api: str
    path: str
    body: Callable[[UeId, str], dict[str, Any]]


def _user_tracking(ue: UeId, callback: str) -> dict[str, Any]:
    """Of every handover: without criteria all three events are told."""
    return {"userTrackingSubscription": {"address": ue, "callbackReference": {"notifyURL": callback}}}


def _periodic(ue: UeId, callback: str) -> dict[str, Any]:
    wanted = {"address": [ue], "callbackReference": {"notifyURL": callback}, "frequency": _EACH_S}
    return {"periodicNotificationSubscription": wanted}


def _v3(type_: str, **wanted: object) -> Kind:
    """In a member of its name, as ETSI's documents have it and ETSI's tests have not."""

    def body(ue: UeId, callback: str) -> dict[str, Any]:
        common = {"subscriptionType": type_, "callbackReference": callback, "address": ue}
        return {type_[0].lower() + type_[1:]: common | wanted}

    return Kind(type_, "location/v3", "subscriptions/users", body)


def _rnis(type_: str, filter_name: str, **filtered: object) -> Kind:
    def body(ue: UeId, callback: str) -> dict[str, Any]:
        by_ue = {} if filtered else {"associateId": [{"type": _IPV4, "value": ue}]}
        return {"subscriptionType": type_, "callbackReference": callback, filter_name: by_ue | filtered}

    return Kind(type_, "rni/v2", "subscriptions", body)


_RADIO = (
    _rnis("CellChangeSubscription", "filterCriteriaAssocHo"),
    _rnis("RabEstSubscription", "filterCriteriaQci", qci=80),
    _rnis("NrMeasRepUeSubscription", "filterCriteriaNrMrs"),
)
KINDS = {
    "v2": (
        Kind("userTrackingSubscription", "location/v2", "subscriptions/userTracking", _user_tracking),
        Kind("periodicNotificationSubscription", "location/v2", "subscriptions/periodic", _periodic),
        *_RADIO,
    ),
    "v3": (
        _v3("UserLocationEventSubscription", locationEventCriteria=["ENTERING_AREA_EVENT", "LEAVING_AREA_EVENT"]),
        _v3(
            "UserLocationPeriodicSubscription",
            periodicEventInfo={"reportingAmount": _LONGEST_S // _EACH_S, "reportingInterval": _EACH_S},
        ),
        *_RADIO,
    ),
}
"""What is subscribed to for a UE, by the version of the Location API.

RabEst has no filter by UE; a UE on 5G shows up in the RNIS's NrMeasRepUe alone. Of a handover within a zone v3 has no
event: its periodic report tells the POA.
"""
