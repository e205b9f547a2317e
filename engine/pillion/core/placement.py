"""Which MEC host serves which POA or zone, and the lab's other rules for deciding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pillion.core.model import AppId, HostId, PoaId, ZoneId


@dataclass(frozen=True, slots=True)
class Placement:
    """POA to host where the map names the POA, else zone to host, else the host of everything else."""

    default: HostId
    by_zone: Mapping[ZoneId, HostId]
    by_poa: Mapping[PoaId, HostId]

    def host_for(self, poa: PoaId, zone: ZoneId) -> HostId:
        """The MEC host that should serve a UE attached to `poa` of `zone`."""
        return self.by_poa.get(poa) or self.by_zone.get(zone) or self.default


@dataclass(frozen=True, slots=True)
class Policy:
    """The lab's rules for deciding. `settle_s`: how long a UE must stay at another host's places before its app moves;
    `retry_s`: how long after a failed migration the next one is tried; `start`: the host of each app's first start."""

    placement: Placement
    hosts: frozenset[HostId]
    strategies: frozenset[str]
    start: Mapping[AppId, HostId]
    settle_s: float = 4.0
    retry_s: float = 10.0
