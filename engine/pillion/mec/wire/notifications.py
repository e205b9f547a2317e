"""What the APIs tell those who subscribed.

Source: ETSI GS MEC 013 V2.2.1, clause 6.4, and V3.1.1, clause 6.4; ETSI GS MEC 012 V2.2.1, clause 6.4.2; all as the MEC
Sandbox speaks them. Whether V3.1.1 wraps a notification in a member of its name is not settled: both are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pillion.core.mobility import Attached, CellSeen, Left, Located, Notice
from pillion.core.model import PoaId, UeId, ZoneId
from pillion.mec.wire.reading import Fields

_ENTERING = {"Entering", "Transferring", "ENTERING_AREA_EVENT"}
_LEAVING = {"Leaving", "LEAVING_AREA_EVENT"}


def parse_notification(body: bytes, arrived_s: float) -> list[Notice]:
    """What a notification tells, if anything that we follow. Raises MecPayloadError, also for one of no known type."""
    top = Fields.of(body)
    name = top.only_name
    if name is not None and name in _V2:
        return list(_V2[name](top.object(name), arrived_s))
    notification = top.object(name) if name and "notificationType" not in top else top
    kind = notification.text("notificationType")
    if kind not in _TYPED:
        raise notification.wrong("notificationType", f"{kind} is not known")
    return list(_TYPED[kind](notification, arrived_s))


_Parse = Callable[[Fields, float], Iterator[Notice]]


def _nothing(told: Fields, arrived_s: float) -> Iterator[Notice]:
    yield from ()


def _presence(told: Fields, arrived_s: float) -> Iterator[Notice]:
    """zonalPresenceNotification, clause 6.4.2. Leaving carries the POA that is left."""
    ue, poa = UeId(told.text("address")), PoaId(told.text("currentAccessPointId"))
    yield _event(told, "userEventType", ue, arrived_s, poa, ZoneId(told.text("zoneId")))


def _event(told: Fields, name: str, ue: UeId, arrived_s: float, poa: PoaId, zone: ZoneId) -> Attached | Left:
    event = told.text(name)
    if event in _ENTERING:
        return Attached(ue, arrived_s, poa, zone)
    if event in _LEAVING:
        return Left(ue, arrived_s, poa, zone)
    raise told.wrong(name, f"{event} is not known")


def _located(told: Fields, arrived_s: float) -> Iterator[Notice]:
    """subscriptionNotification of periodic, area and distance subscriptions: `terminalLocation` may be null."""
    for terminal in told.objects("terminalLocation"):
        position = terminal.position("currentLocation")
        if position is not None:
            yield Located(UeId(terminal.text("address")), arrived_s, position)


def _user_event(told: Fields, arrived_s: float) -> Iterator[Notice]:
    """UserLocationEventNotification of V3.1.1, whose members but for the event may be left out."""
    if "address" in told and "zoneId" in told and "accessPointId" in told:
        ue, poa = UeId(told.text("address")), PoaId(told.text("accessPointId"))
        yield _event(told, "userLocationEvent", ue, arrived_s, poa, ZoneId(told.text("zoneId")))
    yield from _position_of(told, arrived_s)


def _position_of(told: Fields, arrived_s: float) -> Iterator[Notice]:
    position = told.position("locationInfo")
    if position is not None:
        yield Located(UeId(told.text("address")), arrived_s, position)


def _cell(told: Fields, arrived_s: float, cell: str | None) -> Iterator[Notice]:
    for associate in told.objects("associateId"):
        yield CellSeen(UeId(associate.text("value")), arrived_s, cell)


def _cell_change(told: Fields, arrived_s: float) -> Iterator[Notice]:
    targets = list(told.objects("trgEcgi"))
    if not targets:
        raise told.wrong("trgEcgi", "missing, or empty")
    yield from _cell(told, arrived_s, targets[0].text("cellId"))


def _on_4g(told: Fields, arrived_s: float) -> Iterator[Notice]:
    yield from _cell(told, arrived_s, told.object("ecgi").text("cellId"))


def _off_4g(told: Fields, arrived_s: float) -> Iterator[Notice]:
    yield from _cell(told, arrived_s, None)


def _on_5g(told: Fields, arrived_s: float) -> Iterator[Notice]:
    cells = list(told.objects("servCellMeasInfo"))
    if not cells:
        raise told.wrong("servCellMeasInfo", "missing, or empty")
    nrcgi = cells[0].object("nrcgi")
    yield from _cell(told, arrived_s, nrcgi.text("nrcellId" if "nrcellId" in nrcgi else "nrCellId"))


_V2: dict[str, _Parse] = {
    "zonalPresenceNotification": _presence,
    "zoneStatusNotification": _nothing,
    "subscriptionNotification": _located,
}
_TYPED: dict[str, _Parse] = {
    "UserLocationEventNotification": _user_event,
    "UserLocationPeriodicNotification": _position_of,
    "ZoneLocationEventNotification": _nothing,  # tells no POA
    "ZoneStatusNotification": _nothing,
    "UserAreaNotification": _position_of,
    "UserDistanceNotification": _nothing,
    "TestNotification": _nothing,
    "CellChangeNotification": _cell_change,
    "RabEstNotification": _on_4g,
    "RabRelNotification": _off_4g,
    "MeasRepUeNotification": _on_4g,
    "NrMeasRepUeNotification": _on_5g,
    "ExpiryNotification": _nothing,
}
