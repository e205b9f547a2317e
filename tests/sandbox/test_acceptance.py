"""Monaco's vehicles dwell as long as in the original, in the world as it is, without an API."""

from __future__ import annotations

from functools import cache
from statistics import fmean

import pytest

from pillion.experiments.dwells import dwells
from pillion.sandbox.movement import track_of
from pillion.sandbox.world import Sample, World, drive
from tests.sandbox.cities import monaco, monaco_with_only
from tests.sandbox.figures import FIGURES, POAS_OF_A_LAP, ZONES_OF_A_LAP, Figures, laps_driven

LAPS = 10
PHASES = 12
TOLERANCE = 0.005


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
        laps = laps_driven(dwells(s.poa for s in samples), POAS_OF_A_LAP)
        assert laps >= LAPS - 2, "the first and the last lap are cut"


def test_10_100_0_2_crosses_four_zones_a_lap_one_of_them_for_two_or_three_ticks() -> None:
    for samples in runs("10.100.0.2"):
        laps = laps_driven(dwells(s.zone for s in samples), ZONES_OF_A_LAP)
        assert laps >= LAPS - 2, "the first and the last lap are cut"


def test_no_ue_of_monaco_is_ever_out_of_coverage() -> None:
    assert all(sample.poa is not None for sample in drive(World(monaco()), 700))
