"""How strongly a UE hears a cell: by distance alone, linear from the edge of the radius to the mast.

Source: AdvantEDGE v1.9.2, go-packages/meep-gis-asset-mgr/asset-mgr.go, `calculatePower`.
"""

from __future__ import annotations

from dataclasses import dataclass

from pillion.sandbox.scenario import Poa, Technology


@dataclass(frozen=True, slots=True)
class Signal:
    """What a UE reports of a cell, as the report values of 3GPP TS 36.133 (4G) and TS 38.133 (5G); not dBm, not dB."""

    rsrp: int
    rsrq: int


@dataclass(frozen=True, slots=True)
class _Range:
    rsrp_at_edge: int
    rsrp_rise: int
    rsrq_at_edge: int
    rsrq_rise: int


_RANGES = {Technology.FOUR_G: _Range(40, 30, -2, 30), Technology.FIVE_G: _Range(42, 50, 47, 30)}


def signal_of(poa: Poa, distance_m: float) -> Signal:
    """The signal of a 4G or 5G POA at a distance within its radius. Raises KeyError for another technology."""
    share = 1 - distance_m / poa.radius_m
    values = _RANGES[poa.technology]
    # int() cuts toward zero, as the original does: at the very edge of a 4G cell that is upward.
    return Signal(
        rsrp=int(values.rsrp_at_edge + values.rsrp_rise * share),
        rsrq=int(values.rsrq_at_edge + values.rsrq_rise * share),
    )
