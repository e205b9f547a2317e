"""What the Radio Network Information API notifies of: what a handover, or a UE's measurement, makes of a subscription.

4G is told of, 5G hardly: a UE that comes to 4G gets a bearer (RabEst), one that leaves 4G loses it (RabRel), and one
that goes from 4G to 4G changes its cell (CellChange). Between 5G and 5G or WiFi nothing happens. What is known of a UE
on 5G is its measurement report (NrMeasRepUe); on 4G there is one too (MeasRepUe).
Source: ETSI GS MEC 012 V2.2.1, clause 6.4, as AdvantEDGE v1.9.2 implements it (meep-rnis).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pillion.sandbox.answers import present, time_stamp
from pillion.sandbox.notifications import Notification
from pillion.sandbox.rnis_data import QCI, Cell, associate_id, plmn_document
from pillion.sandbox.scenario import Plmn, Poa, Technology
from pillion.sandbox.signal_strength import Signal, signal_of
from pillion.sandbox.world import Change, User

HANDED_OVER = 3
"""`hoStatus` COMPLETED: the original tells of nothing before."""
PERIODICAL = 1
"""The one `trigger` and `triggerNr` there is."""


class Kind(StrEnum):
    """What can be subscribed to; with `Subscription` or `Notification` after it, the type in the JSON."""

    CELL_CHANGE = "CellChange"
    RAB_EST = "RabEst"
    RAB_REL = "RabRel"
    MEAS_REP_UE = "MeasRepUe"
    NR_MEAS_REP_UE = "NrMeasRepUe"


REPORTS = (Kind.MEAS_REP_UE, Kind.NR_MEAS_REP_UE)
"""What comes once a tick; the other kinds come with a handover."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something to be told of one UE, to those whose filters it passes."""

    kind: Kind
    ue: str
    cells: tuple[Cell, ...]
    """Those of which a filter has to name one."""
    facts: Mapping[str, object]
    """What a notification of this kind has beside what all have."""
    released_erab_id: int | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """What a client subscribed to. A filter that is None lets everything pass, an empty one nothing."""

    kind: Kind
    callback_url: str
    document: Mapping[str, object]
    """The subscription as it is answered, but for its link."""
    ues: frozenset[str] | None = None
    cells: frozenset[Cell] | None = None
    released_erab_id: int | None = None
    app_instance_id: str = ""
    expires_s: int | None = None
    """Seconds since 1970."""

    def cover(self, event: Event) -> bool:
        """Whether the event is told to this subscriber."""
        if event.kind is not self.kind:
            return False
        if self.app_instance_id and self.kind not in REPORTS:
            # The original compares it with an empty text, so nothing passes; reports it does not compare.
            return False
        of_ue = self.ues is None or event.ue in self.ues
        of_cell = self.cells is None or not self.cells.isdisjoint(event.cells)
        return of_ue and of_cell and event.released_erab_id == self.released_erab_id


@dataclass(frozen=True, slots=True)
class Subscription:
    """What is numbered and can be asked for."""

    id: str
    url: str
    href: str
    """The link it is answered with: its URL, until a client that changes it sends another link."""
    terms: Terms

    def document(self) -> dict[str, object]:
        return {"_links": {"self": {"href": self.href}}} | dict(self.terms.document)


def event_of_handover(change: Change, poas: Mapping[str, Poa], plmn: Plmn) -> Event | None:
    """What a handover is to the radio network; None if it touches no 4G cell, or none of another identity."""
    source = _bearing_cell(change.previous_poa, change.previous_erab_id, poas, plmn)
    target = _bearing_cell(change.poa, change.erab_id, poas, plmn)
    if source and target:
        if source == target:
            return None
        changed = {"hoStatus": HANDED_OVER, "srcEcgi": source.ecgi(), "trgEcgi": [target.ecgi()]}
        return Event(Kind.CELL_CHANGE, change.ue, (source, target), changed)
    if target:
        established = {"ecgi": target.ecgi(), "erabId": change.erab_id, "erabQosParameters": {"qci": QCI}}
        return Event(Kind.RAB_EST, change.ue, (target,), established)
    if source:
        released = {"ecgi": source.ecgi(), "erabReleaseInfo": {"erabId": change.previous_erab_id}}
        return Event(Kind.RAB_REL, change.ue, (source,), released, change.previous_erab_id)
    return None


def event_of_measurement(user: User, in_range: Sequence[tuple[Poa, float]], plmn: Plmn) -> Event | None:
    """What a UE reports of its serving cell and the others it hears, from the POAs in range with their distances.

    None on WiFi, and where the serving POA is out of range because a handover was made by hand.
    """
    heard = {
        poa.id: (poa, signal_of(poa, distance_m))
        for poa, distance_m in in_range
        if poa.technology in (Technology.FOUR_G, Technology.FIVE_G)
    }
    if user.poa not in heard:
        return None
    serving, signal = heard.pop(user.poa)
    cell = Cell(plmn, serving.cell_id)
    eutra = [(Cell(plmn, poa.cell_id), s) for poa, s in heard.values() if poa.technology is Technology.FOUR_G]
    nr = [(Cell(plmn, poa.cell_id), s) for poa, s in heard.values() if poa.technology is Technology.FIVE_G]
    if serving.technology is Technology.FOUR_G:
        return Event(Kind.MEAS_REP_UE, user.ue, (cell,), _eutra_report(cell, signal, eutra, nr))
    return Event(Kind.NR_MEAS_REP_UE, user.ue, (cell,), _nr_report(cell, signal, eutra, nr))


def notification(subscription: Subscription, event: Event, now_s: int) -> Notification:
    """Of an event that the subscription's terms cover."""
    told = {
        "notificationType": f"{event.kind}Notification",
        "timeStamp": time_stamp(now_s),
        "associateId": [associate_id(event.ue)],
        "_links": _links(subscription),
    }
    return Notification(subscription.terms.callback_url, told | dict(event.facts))


def expiry(subscription: Subscription, now_s: int) -> Notification:
    """The last one that a subscription with a deadline gets.

    Source: ETSI GS MEC 012 V2.2.1, clause 6.4.9.
    """
    told = {
        "notificationType": "ExpiryNotification",
        "timeStamp": time_stamp(now_s),
        "expiryDeadline": subscription.terms.document["expiryDeadline"],
        "_links": _links(subscription),
    }
    return Notification(subscription.terms.callback_url, told)


def callback_test(subscription: Subscription) -> Notification:
    """What shows a new subscriber that its callback can be reached. The original never sends it.

    Source: ETSI GS MEC 012 V2.2.1, clause 6.4.12.
    """
    told = {"notificationType": "TestNotification", "_links": _links(subscription)}
    return Notification(subscription.terms.callback_url, told)


def _links(subscription: Subscription) -> dict[str, object]:
    return {"subscription": {"href": subscription.url}}


def _bearing_cell(poa: str | None, erab_id: int | None, poas: Mapping[str, Poa], plmn: Plmn) -> Cell | None:
    """The 4G cell in which a UE has its bearer."""
    return None if poa is None or erab_id is None else Cell(plmn, poas[poa].cell_id)


_Neighbours = list[tuple[Cell, Signal]]


def _eutra_report(cell: Cell, signal: Signal, eutra: _Neighbours, nr: _Neighbours) -> dict[str, object]:
    own = {"ecgi": cell.ecgi(), "rsrp": signal.rsrp, "rsrq": signal.rsrq, "trigger": PERIODICAL}
    new_radio: list[dict[str, object]] = [
        {"nrNCellInfo": [{"nrNCellGId": other.id, "nrNCellPlmn": [plmn_document(other.plmn)]}]}
        | _nonzero(nrNCellRsrp=heard.rsrp, nrNCellRsrq=heard.rsrq)
        for other, heard in nr
    ]
    return own | present("eutranNeighbourCellMeasInfo", _eutra(eutra)) | present("newRadioMeasNeiInfo", new_radio)


def _nr_report(cell: Cell, signal: Signal, eutra: _Neighbours, nr: _Neighbours) -> dict[str, object]:
    """4G neighbours are told only where no 5G one is heard."""
    serving = {"nrcgi": cell.nrcgi(), "sCell": _ssb(signal)}
    if nr:
        # The original takes the last of a list without order, we the last in the scenario's; neither is the strongest.
        serving["nCell"] = _ssb(nr[-1][1])
    neighbours: list[dict[str, object]] = [{"nrcgi": other.nrcgi()} | _ssb(heard) for other, heard in nr]
    of_5g, of_4g = present("nrNeighCellMeasInfo", neighbours), present("eutraNeighCellMeasInfo", _eutra(eutra))
    return {"triggerNr": PERIODICAL, "servCellMeasInfo": [serving]} | (of_5g or of_4g)


def _eutra(neighbours: _Neighbours) -> list[dict[str, object]]:
    return [{"ecgi": cell.ecgi()} | _nonzero(rsrp=heard.rsrp, rsrq=heard.rsrq) for cell, heard in neighbours]


def _ssb(signal: Signal) -> dict[str, object]:
    return {"measQuantityResultsSsbCell": _nonzero(rsrp=signal.rsrp, rsrq=signal.rsrq)}


def _nonzero(**values: int) -> dict[str, object]:
    """The original leaves out what is 0, which is a value like any other for a neighbour's rsrq."""
    return {name: value for name, value in values.items() if value}
