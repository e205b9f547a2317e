"""What Monaco's vehicles do in the original: figures derived from its rules, independently of this code.

Mean complete dwells are over ten laps at one tick a second, begun at each twelfth of a lap; the first and last dwell of
each run are dropped, since the run cuts them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figures:
    lap_s: float
    poa_s: float
    five_g_s: float
    zone_s: float | None
    shortest_poa: int
    shortest_zone: int | None


FIGURES = {
    "10.100.0.1": Figures(626.2, 11.04, 6.46, 68.8, 1, 2),
    "10.100.0.2": Figures(224.6, 12.41, 7.41, 54.7, 1, 2),
    "10.100.0.3": Figures(111.7, 7.56, 6.46, 55.3, 1, 13),  # a reversing one: 111.7 s is one way
    "10.100.0.4": Figures(136.2, 7.35, 5.84, None, 1, None),
}

# One lap of 10.100.0.2, dwell in ticks; where in a second a lap begins moves each by one.
POAS_OF_A_LAP = [
    ("4g-macro-cell-5", 8), ("4g-macro-cell-4", 20), ("5g-small-cell-5", 2), ("4g-macro-cell-4", 33),
    ("5g-small-cell-9", 6), ("5g-small-cell-8", 10), ("4g-macro-cell-4", 7), ("5g-small-cell-5", 11),
    ("5g-small-cell-4", 6), ("5g-small-cell-3", 3), ("4g-macro-cell-3", 22), ("4g-macro-cell-6", 51),
    ("4g-macro-cell-3", 3), ("5g-small-cell-4", 10), ("5g-small-cell-5", 10), ("4g-macro-cell-4", 8),
    ("5g-small-cell-8", 10), ("5g-small-cell-9", 6),
]  # fmt: skip
ZONES_OF_A_LAP = [("zone02", 146), ("zone01", 25), ("zone03", 51), ("zone01", 2.5)]


def laps_driven(states: Sequence[tuple[object, int]], lap: Sequence[tuple[str, float]]) -> int:
    """How many whole laps the dwells are. Fails unless each is the lap's, for as many ticks, give or take one."""
    start = next(i for i, (state, _) in enumerate(states) if state == lap[0][0])
    laps = (len(states) - start) // len(lap)
    for got, expected in zip(states[start:], [*lap] * laps, strict=False):
        assert got[0] == expected[0]
        assert abs(got[1] - expected[1]) <= 1, (got, expected)
    return laps
