"""How long a vehicle dwells: counted by hand, and as the Location API tells it of a real drive."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from click.testing import CliRunner

from pillion.cli import cli
from pillion.core.model import PoaId, Position, UeId, ZoneId
from pillion.core.prediction import Layout, Poa
from pillion.errors import MachineError
from pillion.experiments import time_available
from pillion.experiments.dwells import DwellOn, Served, complete_dwells, dwells, nearest_5g_sites
from pillion.experiments.time_available import STUDY_UE, Drives, Row
from tests.sandbox.figures import POAS_OF_A_LAP, ZONES_OF_A_LAP, laps_driven

OTHER_UE = UeId("10.100.0.4")


def poa(name: str, kind: str, zone: str, east_deg: float) -> tuple[PoaId, Poa]:
    return PoaId(name), Poa(PoaId(name), ZoneId(zone), Position(43.73, 7.4 + east_deg), kind, 0.0)


STREET: Layout = dict(
    [
        poa("west", "Smallcell", "left", 0.000),
        poa("macro", "Macro", "left", 0.004),
        poa("wifi", "Wifi", "right", 0.006),
        poa("east", "Smallcell", "right", 0.010),
    ]
)
"""Two 5G POAs, with a 4G POA nearer to the west one, and WiFi nearer to the east one."""


def run(words: str) -> list[Served]:
    """What served a vehicle: a word for each tick, `-` for out of coverage."""
    return [
        Served(None, None) if word == "-" else Served(PoaId(word), STREET[PoaId(word)].zone) for word in words.split()
    ]


def test_a_dwell_is_as_long_as_its_ticks_and_what_the_run_cuts_does_not_count() -> None:
    assert dwells("aabccca") == [("b", 1), ("c", 3)]


@pytest.mark.parametrize("states", ["", "a", "aaaa", "aaab"])
def test_a_run_that_sees_no_dwell_begin_and_end_has_none(states: str) -> None:
    assert dwells(states) == []


def test_a_4g_or_wifi_poa_has_the_host_of_the_5g_site_nearest_to_it_and_a_5g_poa_its_own() -> None:
    sites = nearest_5g_sites(STREET)
    assert {name: site.poa for name, site in sites.items()} == {
        "west": "west",
        "macro": "west",
        "wifi": "east",
        "east": "east",
    }
    assert sites[PoaId("east")].distance_m == 0
    assert sites[PoaId("macro")].distance_m == pytest.approx(322, abs=2), "0.004 degrees eastward in Monaco"


def test_without_a_5g_poa_there_is_no_nearest_one() -> None:
    with pytest.raises(ValueError, match="empty"):
        nearest_5g_sites(dict([poa("macro", "Macro", "left", 0.0)]))


def test_one_run_gives_other_dwells_for_each_way_to_place_the_hosts() -> None:
    drive = run("wifi west west macro macro macro west wifi east east macro")
    assert complete_dwells([drive], STREET) == {
        DwellOn.POA: [2, 3, 1, 1, 2],
        DwellOn.FIVE_G_POA: [2, 1, 2],
        DwellOn.FIVE_G_SITE: [6, 3],
        DwellOn.ZONE: [6, 3],
    }


def test_a_5g_poa_counts_also_between_two_stretches_on_4g_that_the_run_cuts() -> None:
    assert complete_dwells([run("macro wifi east wifi macro")], STREET)[DwellOn.FIVE_G_POA] == [1]


def test_time_out_of_coverage_ends_a_dwell_and_is_none_itself() -> None:
    drive = run("macro west west - - - west macro")
    assert complete_dwells([drive], STREET) == {
        DwellOn.POA: [2, 1],
        DwellOn.FIVE_G_POA: [2, 1],
        DwellOn.FIVE_G_SITE: [],
        DwellOn.ZONE: [],
    }


def test_runs_are_not_joined() -> None:
    assert complete_dwells([run("west macro west"), run("west macro west")], STREET)[DwellOn.POA] == [1, 1]


def test_a_row_has_the_study_beside_the_vehicle_of_the_study_alone() -> None:
    lengths = [1.0, 2.0, 2.0]
    ours, other = Row(STUDY_UE, DwellOn.ZONE, lengths), Row(OTHER_UE, DwellOn.ZONE, lengths)
    assert ours.cells() == [STUDY_UE, "zone", "3", "1.67", "1", "53.151", "1.854"]
    assert other.cells() == [OTHER_UE, "zone", "3", "1.67", "1", "", ""]
    assert ours.every_length() == [STUDY_UE, "zone", "2", "2", "1 (1), 2 (2)"]


def test_a_vehicle_that_never_leaves_its_zone_has_an_empty_row() -> None:
    assert Row(OTHER_UE, DwellOn.ZONE, []).cells() == [OTHER_UE, "zone", "0", "", "", "", ""]


def test_the_page_has_every_row_every_dwell_and_the_sites_of_the_poas_that_served() -> None:
    told = Drives(1, 1, STREET, {STUDY_UE: 7.0}, {STUDY_UE: [run("west macro macro west east west macro")]}, 0.1)
    page = time_available.page(told, time_available.rows(told), {"date": "today"})
    assert "| 10.100.0.2 | serving POA | 4 | 1.25 | 1 | 12.301 | 1.037 |" in page
    assert "| 10.100.0.2 | serving POA | 1 | 2 | 1 (3), 2 (1) |" in page
    assert "| macro | west | 322 |" in page
    assert "| wifi |" not in page, "it served nobody"
    assert "| east |" not in page.partition("nearest to each POA")[2], "a 5G POA is its own site"
    assert "| places told | 7, by" in page
    assert "| date | today |" in page


async def test_over_http_10_100_0_2_dwells_as_in_the_original() -> None:
    told = await time_available.drives([STUDY_UE], laps=3, phases=1)
    (served,) = told.runs[STUDY_UE]
    assert len(served) == 674
    assert laps_driven(dwells(each.poa for each in served), POAS_OF_A_LAP) == 2
    assert laps_driven(dwells(each.zone for each in served), ZONES_OF_A_LAP) == 2
    assert len(told.layout) == 41
    assert sum(poa == site.poa for poa, site in nearest_5g_sites(told.layout).items()) == 20


async def test_each_phase_begins_further_along_the_lap_of_the_study_s_vehicle() -> None:
    told = await time_available.drives([STUDY_UE, OTHER_UE], laps=1, phases=2)
    first, second = told.runs[STUDY_UE]
    half = len(first) // 2
    assert [poa for poa, _ in dwells(second[:half])] == [poa for poa, _ in dwells(first[half:])]
    assert dwells(first[:half]) != dwells(second[:half])
    assert [len(each) for each in told.runs[OTHER_UE]] == [136, 136]


async def test_an_experiment_that_is_stopped_says_so_and_writes_nothing(tmp_path: Path) -> None:
    stop = asyncio.Event()
    stop.set()
    with pytest.raises(MachineError, match="interrupted"):
        await time_available.time_available(tmp_path, stop)
    assert not await asyncio.to_thread(lambda: list(tmp_path.iterdir()))


def test_a_lab_file_is_refused_since_no_lab_is_made() -> None:
    said = CliRunner().invoke(cli, ["experiment", "run", "time-available", "--lab", "viability.pillion.yml"])
    assert said.exit_code == 2
    assert "time-available needs no lab" in said.output
