"""Which point of access serves a UE at a place.

Distance and preference decide, nothing else: no signal strength, no load, no hysteresis. Within one technology a UE is
handed over only when it leaves the radius, but a better technology takes it at once, even for a single tick. Visits of
one second are therefore normal, and what follows the UE has to bear them.
Source: AdvantEDGE v1.9.2, go-packages/meep-gis-asset-mgr/asset-mgr.go.
"""

from __future__ import annotations

from collections.abc import Sequence

from pillion.sandbox.geodesy import Point, geodesic_m, squared_chord_m2, xyz
from pillion.sandbox.scenario import Poa, Technology


class Coverage:
    """The points of access of one scenario, ready to be asked which of them reach a place."""

    def __init__(self, poas: Sequence[Poa]) -> None:
        # With radius 0 a POA reaches nobody, not even a UE that stands on it.
        self._sites = [(poa, xyz(poa.at), poa.radius_m**2) for poa in poas if poa.radius_m > 0]

    def in_range(self, place: Point) -> list[tuple[Poa, float]]:
        """The POAs whose radius reaches the place, each with its geodesic distance in metres, in scenario order."""
        here = xyz(place)
        reaching = []
        for poa, site, squared_radius_m2 in self._sites:
            # The chord is never longer than the geodesic: most POAs are ruled out without measuring one.
            if squared_chord_m2(here, site) <= squared_radius_m2:
                distance_m = geodesic_m(place, poa.at)
                if distance_m <= poa.radius_m:
                    reaching.append((poa, distance_m))
        return reaching

    def select(self, place: Point, wireless_types: Sequence[Technology], current: Poa | None) -> Poa | None:
        """The POA that serves a UE at this place, or None where none does.

        The current POA is kept while it reaches the UE and no better technology does, even if another one of its kind
        is nearer; otherwise the nearest of the best technology is taken, the first in the scenario if two are as near.
        `wireless_types` names the usable technologies, best first.
        """
        usable = [(poa, distance_m) for poa, distance_m in self.in_range(place) if poa.technology in wireless_types]
        if not usable:
            return None
        best = min(wireless_types.index(poa.technology) for poa, _ in usable)
        candidates = [(poa, distance_m) for poa, distance_m in usable if wireless_types.index(poa.technology) == best]
        if any(poa is current for poa, _ in candidates):
            return current
        return min(candidates, key=lambda candidate: candidate[1])[0]
