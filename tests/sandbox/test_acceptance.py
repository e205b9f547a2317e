"""Monaco's vehicles dwell as long as in the original: figures derived from its rules, independently of this code.

For each vehicle: ten laps at one tick a second, begun at each twelfth of a lap; the first and last dwell of each run
are dropped, since the run cuts them.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from statistics import fmean

import pytest

from pillion.sandbox.movement import track_of
from pillion.sandbox.world import Sample, World, drive
from tests.sandbox.cities import monaco, monaco_with_only

LAPS = 10
PHASES = 12
TOLERANCE = 0.005


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


@cache
def runs(ue: str) -> list[list[Sample]]:
    """The vehicle's samples of each phase."""
    scenario = monaco_with_only(ue)
    lap_s = FIGURES[ue].lap_s * (2 if scenario.ues[0].end_of_path == "reverse" else 1)
    phases = []
    for phase in range(PHASES):
        world = World(scenario)
        first = list(drive(world, 1, dt_s=1.0 + phase * lap_s / PHASES))
        phases.append(first + list(drive(world, round(LAPS * lap_s) - 1)))
    return phases


def dwells(states: Iterable[Hashable]) -> list[tuple[Hashable, int]]:
    """Each state with its length in ticks, without the first and the last."""
    return [(state, sum(1 for _ in group)) for state, group in groupby(states)][1:-1]


def dwell_lengths(ue: str, state: str) -> list[int]:
    return [ticks for samples in runs(ue) for _, ticks in dwells(getattr(sample, state) for sample in samples)]


@pytest.mark.parametrize(("ue", "figures"), FIGURES.items())
def test_a_lap_takes_as_long_as_in_the_original(ue: str, figures: Figures) -> None:
    assert 1 / track_of(monaco_with_only(ue).ues[0]).rate_per_s == pytest.approx(figures.lap_s, rel=0.001)


@pytest.mark.parametrize(("ue", "figures"), FIGURES.items())
def test_a_vehicle_dwells_on_a_poa_as_long_as_in_the_original(ue: str, figures: Figures) -> None:
    lengths = dwell_lengths(ue, "poa")
    assert fmean(lengths) == pytest.approx(figures.poa_s, rel=TOLERANCE)
    assert min(lengths) == figures.shortest_poa


@pytest.mark.parametrize(("ue", "figures"), FIGURES.items())
def test_a_vehicle_dwells_on_a_5g_poa_as_long_as_in_the_original(ue: str, figures: Figures) -> None:
    lengths = [
        ticks
        for samples in runs(ue)
        for poa, ticks in dwells(s.poa for s in samples)
        if isinstance(poa, str) and poa.startswith("5g")
    ]
    assert fmean(lengths) == pytest.approx(figures.five_g_s, rel=TOLERANCE)


@pytest.mark.parametrize(("ue", "figures"), FIGURES.items())
def test_a_vehicle_dwells_in_a_zone_as_long_as_in_the_original(ue: str, figures: Figures) -> None:
    lengths = dwell_lengths(ue, "zone")
    if figures.zone_s is None:
        assert lengths == [], "it never leaves its zone"
    else:
        assert fmean(lengths) == pytest.approx(figures.zone_s, rel=TOLERANCE)
        assert min(lengths) == figures.shortest_zone


def test_10_100_0_2_serves_the_same_poas_in_each_lap_for_as_many_ticks_give_or_take_one() -> None:
    for samples in runs("10.100.0.2"):
        states = dwells(s.poa for s in samples)
        start = next(i for i, (poa, _) in enumerate(states) if poa == "4g-macro-cell-5")
        laps = (len(states) - start) // len(POAS_OF_A_LAP)
        assert laps >= LAPS - 2, "the first and the last lap are cut"
        for got, expected in zip(states[start:], POAS_OF_A_LAP * laps, strict=False):
            assert got[0] == expected[0]
            assert abs(got[1] - expected[1]) <= 1, (got, expected)


def test_10_100_0_2_crosses_four_zones_a_lap_one_of_them_for_two_or_three_ticks() -> None:
    for samples in runs("10.100.0.2"):
        states = dwells(s.zone for s in samples)
        start = next(i for i, (zone, _) in enumerate(states) if zone == "zone02")
        laps = (len(states) - start) // len(ZONES_OF_A_LAP)
        for got, expected in zip(states[start:], ZONES_OF_A_LAP * laps, strict=False):
            assert got[0] == expected[0]
            assert abs(got[1] - expected[1]) <= 1, (got, expected)


def test_no_ue_of_monaco_is_ever_out_of_coverage() -> None:
    assert all(sample.poa is not None for sample in drive(World(monaco()), 700))
