"""What the APIs tell those who subscribed.

Source: ETSI GS MEC 013 V2.2.1, clause 6.4, and V3.1.1, clause 6.4; ETSI GS MEC 012 V2.2.1, clause 6.4.2; ETSI GS MEC
021 V2.2.1, clause 6.4; all as the MEC Sandbox speaks them. Whether V3.1.1 wraps a notification in a member of its name
is not settled: both are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pillion.core.mobility import Attached, CellSeen, Left, Located, Notice
from pillion.core.model import PoaId, UeId, ZoneId
from pillion.mec.wire.reading import Fields

_Parse = Callable[[Fields, float], Iterator[Notice]]

_EVENTS: dict[str, type[Attached] | type[Left]] = {"Entering": Attached, "Transferring": Attached, "Leaving": Left}
_ZONE_EVENTS: dict[str, type[Attached] | type[Left]] = {"ENTERING_AREA_EVENT": Attached, "LEAVING_AREA_EVENT": Left}


def parse_notification(body: bytes, arrived_s: float) -> list[Notice]:
    """What a notification tells, if anything that we follow. Raises MecPayloadError, also for one of no known type."""
    top = Fields.of(body)
    wrapper = top.wrapper("Notification")
    told = top.object(wrapper) if wrapper else top
    if wrapper in _V2:
        return list(_V2[wrapper](told, arrived_s))
    if "expiryDeadline" in told and told.is_empty("notificationType"):
        return []  # of neither RNIS nor AMS does the original say that it is an ExpiryNotification
    return list(_TYPED[told.word("notificationType", _TYPED)](told, arrived_s))


def _nothing(told: Fields, arrived_s: float) -> Iterator[Notice]:
    yield from ()


def _presence(told: Fields, arrived_s: float) -> Iterator[Notice]:
    """zonalPresenceNotification, clause 6.4.2. Leaving carries the POA that is left."""
    event = _EVENTS[told.word("userEventType", _EVENTS)]
    yield event(_ue(told), arrived_s, PoaId(told.text("currentAccessPointId")), ZoneId(told.text("zoneId")))


def _terminals(told: Fields, arrived_s: float) -> Iterator[Notice]:
    """subscriptionNotification of periodic, area and distance subscriptions: `terminalLocation` may be null."""
    for terminal in told.objects("terminalLocation"):
        yield from _position(terminal, "currentLocation", arrived_s)


def _zone_event(told: Fields, arrived_s: float) -> Iterator[Notice]:
    """A UE's or a zone's, with the zone and perhaps the POA that was entered or left. Source: V3.1.1, clause 6.4.4."""
    yield _placed(told, _ZONE_EVENTS[told.word("userLocationEvent", _ZONE_EVENTS)], arrived_s)
    yield from _position(told, "locationInfo", arrived_s)


def _periodic(told: Fields, arrived_s: float) -> Iterator[Notice]:
    """It alone tells that the POA changed within a zone, which is no event in V3.1.1. Source: clause 6.4.5."""
    if told.word("result", ("SUCCESS", "ABNORMAL")) == "SUCCESS":
        if "zoneId" in told:
            yield _placed(told, Attached, arrived_s)
        yield from _position(told, "locationInfo", arrived_s)


def _area(told: Fields, arrived_s: float) -> Iterator[Notice]:
    """An area on the map, which is no zone."""
    yield from _position(told, "locationInfo", arrived_s)


def _placed(told: Fields, event: type[Attached] | type[Left], arrived_s: float) -> Attached | Left:
    poa = PoaId(told.text("accessPointId")) if "accessPointId" in told else None
    return event(_ue(told), arrived_s, poa, ZoneId(told.text("zoneId")))


def _position(told: Fields, name: str, arrived_s: float) -> Iterator[Notice]:
    ue, position = _ue(told), told.position(name)
    if position is not None:
        yield Located(ue, arrived_s, position)


def _ue(told: Fields) -> UeId:
    return UeId(told.text("address"))


def _cell_change(told: Fields, arrived_s: float) -> Iterator[Notice]:
    yield from _cell(told, arrived_s, told.first("trgEcgi").text("cellId"))


def _on_4g(told: Fields, arrived_s: float) -> Iterator[Notice]:
    yield from _cell(told, arrived_s, told.object("ecgi").text("cellId"))


def _off_4g(told: Fields, arrived_s: float) -> Iterator[Notice]:
    yield from _cell(told, arrived_s, None)


def _on_5g(told: Fields, arrived_s: float) -> Iterator[Notice]:
    """The original writes `nrcellId`, ETSI's document `nrCellId`."""
    nrcgi = told.first("servCellMeasInfo").object("nrcgi")
    yield from _cell(told, arrived_s, nrcgi.text("nrCellId" if "nrCellId" in nrcgi else "nrcellId"))


def _cell(told: Fields, arrived_s: float, cell: str | None) -> Iterator[Notice]:
    for associate in told.objects("associateId"):
        yield CellSeen(UeId(associate.text("value")), arrived_s, cell)


_V2: dict[str | None, _Parse] = {
    "zonalPresenceNotification": _presence,
    "zoneStatusNotification": _nothing,
    "subscriptionNotification": _terminals,
}
_TYPED: dict[str, _Parse] = {
    "UserLocationEventNotification": _zone_event,
    "UserLocationPeriodicNotification": _periodic,
    "ZoneLocationEventNotification": _zone_event,
    "ZoneStatusNotification": _nothing,
    "UserAreaNotification": _area,
    "UserDistanceNotification": _nothing,
    "TestNotification": _nothing,
    "CellChangeNotification": _cell_change,
    "RabEstNotification": _on_4g,
    "RabRelNotification": _off_4g,
    "MeasRepUeNotification": _on_4g,
    "NrMeasRepUeNotification": _on_5g,
    "MobilityProcedureNotification": _nothing,
    "AdjacentAppInfoNotification": _nothing,
    "ExpiryNotification": _nothing,
}
