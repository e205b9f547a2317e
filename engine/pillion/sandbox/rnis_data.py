"""Data types that queries and notifications of the Radio Network Information API share.

Source: ETSI GS MEC 012 V2.2.1, clause 6.5, as AdvantEDGE v1.9.2 writes them (meep-rnis).
"""

from __future__ import annotations

from dataclasses import dataclass

from pillion.sandbox.scenario import Plmn

API = "rni/v2"

QCI = 80
"""Of every bearer; 3GPP TS 23.203 has it for low latency applications."""

IPV4 = 1
"""The type of every `AssociateId`. It is a number here; other APIs have a text."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of 4G or 5G by its identity within a network."""

    plmn: Plmn
    id: str

    def ecgi(self) -> dict[str, object]:
        """As a 4G cell is named."""
        return {"cellId": self.id, "plmn": plmn_document(self.plmn)}

    def nrcgi(self) -> dict[str, object]:
        """As a 5G cell is named. The original writes `nrcellId`, with a small c."""
        return {"nrcellId": self.id, "plmn": plmn_document(self.plmn)}


def plmn_document(plmn: Plmn) -> dict[str, object]:
    return {"mcc": plmn.mcc, "mnc": plmn.mnc}


def associate_id(ue: str) -> dict[str, object]:
    """A UE as this API names it."""
    return {"type": IPV4, "value": ue}
