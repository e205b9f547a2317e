"""Conversion: there and back nothing is lost that a format holds, and what serves a UE is found as the sandbox does."""

from __future__ import annotations

import csv
import gzip
import json
import math
import os
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pillion import cli
from pillion.conversion import attached, convert, layout_of
from pillion.core.mobility import Attached, CellSeen, Left, Located, Observation
from pillion.core.model import PoaId, Position, UeId, ZoneId
from pillion.errors import ConfigError
from pillion.replay import formats
from pillion.replay.files import reading
from pillion.replay.formats import FOREIGN
from pillion.replay.samples import samples_of
from pillion.replay.trace import Raw, Recorded, Trace, read_trace, when_s, write_trace
from pillion.sandbox.scenario import load_scenario

from ..data.record_drive import TRACE
from ..shared import SHARED, needs

ROOT = Path(__file__).parents[2]
TRIPS = SHARED / "traces" / "monaco-sumo-dev.csv.gz"
SCENARIO = ROOT / "engine" / "pillion" / "sandbox" / "scenarios" / "monaco.json"
UE = UeId("10.100.0.2")
MONACO = load_scenario("monaco")
LAYOUT = layout_of(MONACO)
HERE = Position(43.7276, 7.4193)
SUFFIX = {"csv": ".csv", "gpx": ".gpx.gz", "geojson": ".geojson", "fcd": ".xml"}

with_the_trips = needs(TRIPS)


def kept(folder: Path, trace: Trace, name: str = "drive.trace") -> Path:
    path = folder / name
    with path.open("w", encoding="utf-8") as file:
        write_trace(file, trace)
    return path


def saved(folder: Path, name: str, *lines: str) -> Path:
    path = folder / name
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return path


def refused(source: Path, target: Path, **options: object) -> ConfigError:
    """The error of a conversion, which has left everything as it was."""
    before = {path: path.read_bytes() for path in target.parent.iterdir()}
    with pytest.raises(ConfigError) as raised:
        convert(source, target, **options)
    assert {path: path.read_bytes() for path in target.parent.iterdir()} == before
    assert raised.value.remedy
    return raised.value


# --- there and back ---

ATTACHMENTS = st.sampled_from([(None, None), *((poa.id, poa.zone) for poa in LAYOUT.values())])
POSITIONS = st.builds(Position, st.floats(-90, 90), st.floats(-180, 180))
NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"]), min_size=1, max_size=8).map(UeId)


def traces(positions: st.SearchStrategy[Position | None]) -> st.SearchStrategy[Trace]:
    def drive(ue: UeId, times: list[float], seen: list[tuple[tuple[PoaId, ZoneId], Position | None]]) -> Trace:
        observations = [
            Observation(ue, at_s, poa, zone, at) for at_s, ((poa, zone), at) in zip(sorted(times), seen, strict=False)
        ]
        return Trace(ue, LAYOUT, tuple(observations))

    seen = st.lists(st.tuples(ATTACHMENTS, positions), min_size=1, max_size=6)
    return st.builds(drive, NAMES, st.lists(st.floats(0, 1e6), min_size=1, max_size=6), seen)


def there_and_back(folder: Path, form: str, trace: Trace) -> tuple[Trace, Trace]:
    """A trace as it is recorded, and as it is after it was converted to another format and from it."""
    source = kept(folder, trace)
    convert(source, folder / f"drive{SUFFIX[form]}", force=True)
    convert(folder / f"drive{SUFFIX[form]}", folder / "back.trace", force=True)
    return read_trace(source), read_trace(folder / "back.trace")


several_times = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("form", ["csv", "geojson"])
@given(trace=traces(st.none() | POSITIONS))
@several_times
def test_csv_and_geojson_keep_every_observation_as_it_is(tmp_path: Path, form: str, trace: Trace):
    before, after = there_and_back(tmp_path, form, trace)
    assert after == before


@given(trace=traces(POSITIONS))
@several_times
def test_fcd_keeps_every_observation_that_has_a_position_as_it_is(tmp_path: Path, trace: Trace):
    before, after = there_and_back(tmp_path, "fcd", trace)
    assert after == before


@given(trace=traces(POSITIONS))
@several_times
def test_gpx_keeps_every_observation_that_has_a_position_and_its_time_to_the_microsecond(tmp_path: Path, trace: Trace):
    before, after = there_and_back(tmp_path, "gpx", trace)
    assert (after.ue, after.layout) == (before.ue, before.layout)
    first, first_after = when_s(before.observations[0]), when_s(after.observations[0])
    for seen, read in zip(before.observations, after.observations, strict=True):
        assert replace(read, asked_s=0.0) == replace(seen, asked_s=0.0)
        assert read.asked_s - first_after == pytest.approx(seen.asked_s - first, abs=1.1e-6)


@given(trace=traces(POSITIONS), forms=st.permutations(["csv", "gpx", "geojson", "fcd"]))
@several_times
def test_a_drive_may_go_through_all_formats(tmp_path: Path, trace: Trace, forms: list[str]):
    path = kept(tmp_path, trace)
    for form in (*forms, "trace"):
        target = tmp_path / f"{form}{SUFFIX.get(form, '.trace')}"
        convert(path, target, force=True)
        path = target
    told = [(seen.poa, seen.zone, seen.position) for seen in read_trace(path).observations]
    assert told == [(seen.poa, seen.zone, seen.position) for seen in trace.observations]


def test_the_committed_drive_becomes_one_of_version_2_and_stays_the_same(tmp_path: Path):
    convert(TRACE, tmp_path / "drive.trace.gz")
    assert read_trace(tmp_path / "drive.trace.gz") == read_trace(TRACE)
    assert '"pillion-trace/2"' in gzip.decompress((tmp_path / "drive.trace.gz").read_bytes()).decode().split(",")[0]


def test_the_same_trace_is_the_same_packed_file(tmp_path: Path):
    for name in ("a.trace.gz", "b.trace.gz"):
        convert(TRACE, tmp_path / name)
    assert (tmp_path / "a.trace.gz").read_bytes() == (tmp_path / "b.trace.gz").read_bytes()


def test_our_own_format_keeps_notices_and_messages_under_another_name_of_the_ue(tmp_path: Path):
    told: tuple[Recorded, ...] = (Left(UE, 0.5, PoaId("p"), ZoneId("z")), CellSeen(UE, 1.5, "2345678"))
    convert(kept(tmp_path, Trace(UE, {}, told, {1: Raw("rni/v2", "{}")})), tmp_path / "b.trace", rename="10.100.0.9")
    renamed = tuple(replace(each, ue="10.100.0.9") for each in told)
    assert read_trace(tmp_path / "b.trace") == Trace(UeId("10.100.0.9"), {}, renamed, {1: Raw("rni/v2", "{}")})


def test_a_file_without_positions_of_its_own_says_what_was_left_out(tmp_path: Path):
    poa, zone = PoaId("w1"), ZoneId("zone01")
    drive: tuple[Recorded, ...] = (
        Located(UE, 0.0, HERE),
        Observation(UE, 0.25, None, None, None),
        Attached(UE, 0.5, poa, zone),
        Observation(UE, 0.75, poa, zone, HERE),
        Located(UE, 1.25, Position(43.7277, 7.4193)),
        Observation(UE, 1.0, None, None, HERE),
        Left(UE, 1.5, poa, zone),
    )
    source = kept(tmp_path, Trace(UE, LAYOUT, drive))
    assert str(convert(source, tmp_path / "d.csv")) == (
        "3 lines of 10.100.0.2 in 1 s, POA changes 1; left out 4 that it cannot hold"
    )
    assert (tmp_path / "d.csv").read_text().splitlines()[1:] == [
        "0.25,10.100.0.2,,,,",
        "0.75,10.100.0.2,7.4193,43.7276,w1,zone01",
        "1.25,10.100.0.2,7.4193,43.7277,w1,zone01",
    ]
    assert str(convert(source, tmp_path / "d.gpx")).startswith(
        "2 lines of 10.100.0.2 in 0 s, POA changes 0; left out 5"
    )


# --- what serves a UE ---


def test_the_layout_is_the_one_that_the_location_api_tells():
    assert layout_of(MONACO) == read_trace(TRACE).layout
    assert list(layout_of(MONACO)) == list(read_trace(TRACE).layout)


def served(trips: dict[str, list[tuple[float, float]]], ue: str) -> list[str | None]:
    """What serves a trip by the published rule, read from the scenario's file, with the ellipsoid's radii."""
    poas = json.loads(SCENARIO.read_bytes())["poas"]
    order = ["wifi", "5g", "4g", "other"]
    flattening, equator_m = 1 / 298.257223563, 6378137.0
    eccentricity = flattening * (2 - flattening)
    found: list[str | None] = []
    for longitude, latitude in trips[ue]:
        in_range = []
        for poa in poas:
            middle = math.radians((latitude + poa["at"][1]) / 2)
            prime_m = equator_m / math.sqrt(1 - eccentricity * math.sin(middle) ** 2)
            meridian_m = prime_m * (1 - eccentricity) / (1 - eccentricity * math.sin(middle) ** 2)
            east_m = math.radians(longitude - poa["at"][0]) * prime_m * math.cos(middle)
            north_m = math.radians(latitude - poa["at"][1]) * meridian_m
            if (distance_m := math.hypot(east_m, north_m)) <= poa["radius_m"]:
                in_range.append((order.index(poa["technology"]), distance_m, poa["id"]))
        best = [each for each in in_range if each[0] == min(in_range)[0]]
        stays = found and found[-1] in [poa for _, _, poa in best]
        found.append(found[-1] if stays else min(best)[2] if best else None)
    return found


@with_the_trips
@pytest.mark.parametrize("ue", ["d0000", "d0123", "d0299"])
def test_a_simulated_trip_changes_its_poa_where_the_published_rule_says(tmp_path: Path, ue: str):
    trips = defaultdict(list)
    with gzip.open(TRIPS, "rt") as file:
        for row in csv.DictReader(file):
            trips[row["veh"]].append((float(row["lon"]), float(row["lat"])))
    converted = convert(TRIPS, tmp_path / "trip.trace", ue=ue, rename=UE)
    trace = read_trace(tmp_path / "trip.trace")
    assert [seen.poa for seen in trace.observations] == served(trips, ue)
    assert [(seen.position.longitude, seen.position.latitude) for seen in trace.observations] == trips[ue]
    assert [seen.asked_s for seen in trace.observations] == [float(second) for second in range(len(trips[ue]))]
    assert converted.poa_changes == sum(a != b for a, b in pairwise(served(trips, ue))) > 5


@with_the_trips
def test_all_simulated_trips_change_poa_and_zone_as_often_as_their_publisher_counted():
    trips = defaultdict(list)
    with reading(TRIPS) as file:
        for sample in FOREIGN["csv"].read(file, TRIPS.name):
            trips[sample.ue].append(sample)
    changes = zones = 0
    for ue, samples in trips.items():
        for before, after in pairwise(samples_of(attached(samples, MONACO, ue))):
            (poa, zone), (next_poa, next_zone) = before.attachment, after.attachment
            changes += poa not in (None, next_poa) and next_poa is not None
            zones += zone not in (None, next_zone) and next_zone is not None
    assert (len(trips), changes, zones) == (300, 2282, 313)


def test_a_scenario_of_one_s_own_says_what_serves(tmp_path: Path):
    scenario = {
        "format": "pillion-scenario/1",
        "name": "street",
        "attribution": {},
        "zones": ["west"],
        "poas": [{"id": "p", "zone": "west", "technology": "5g", "at": [7.42, 43.73], "radius_m": 100}],
        "ues": [{"id": "10.0.0.2", "at": [7.42, 43.73], "wireless_types": ["4g"]}],
    }
    street = saved(tmp_path, "street.json", json.dumps(scenario))
    source = saved(tmp_path, "d.csv", "t,ue,lon,lat", "0,u,7.42,43.73", "1,u,7.43,43.73")
    convert(source, tmp_path / "d.trace", scenario=str(street))
    assert [(seen.poa, seen.zone) for seen in read_trace(tmp_path / "d.trace").observations] == [
        ("p", "west"),
        (None, None),
    ]
    convert(source, tmp_path / "d.trace", scenario=str(street), rename="10.0.0.2", force=True)
    assert [seen.poa for seen in read_trace(tmp_path / "d.trace").observations] == [None, None], "it has no 5G"


# --- what is refused ---

HEADER = "t,ue,lon,lat,poa,zone"
WRONG = {
    "a file of nobody": ([HEADER], {}, "", "holds no UE's position"),
    "a UE that is not there": ([HEADER, "0,u,7,43,,"], {"ue": "v"}, "", "holds no UE v, but 1 UE: u"),
    "several UEs": (
        [HEADER, *(f"0,u{number},7,43,," for number in range(7))],
        {},
        "",
        "holds 7 UEs: u0, u1, u2, u3, u4, … .choose one with --ue",
    ),
    "time going backward": (
        [HEADER, "1,u,7,43,,", "9,v,7,43,,", "2,u,7,43,,", "1.5,u,7,43,,"],
        {"ue": "u"},
        ":5",
        "time goes backward, from 2.0 s to 1.5 s",
    ),
    "a POA of another city": ([HEADER, "0,u,7,43,p,zone01"], {}, ":2", "monaco has no POA p in zone zone01"),
    "a POA in another zone": ([HEADER, "0,u,7,43,w1,zone02"], {}, ":2", "monaco has no POA w1 in zone zone02"),
    "an unknown scenario": (["t,ue,lon,lat", "0,u,7,43"], {"scenario": "atlantis"}, None, "no such scenario"),
    "another format than its name tells": ([HEADER, "0,u,7,43,,"], {"source_format": "gpx"}, ":1", "not XML"),
    "latitude 91": ([HEADER, "0,u,7,91,,"], {}, ":2", "latitude 91.0 is outside"),
}


@pytest.mark.parametrize(("lines", "options", "place", "said"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("name", ["d.trace", "d.gpx.gz"])
def test_what_is_wrong_is_said_and_nothing_is_written(
    tmp_path: Path, lines: list[str], options: dict[str, str], place: str | None, said: str, name: str
):
    source = saved(tmp_path, "s.csv", *lines)
    error = refused(source, tmp_path / name, **options)
    assert place is None or error.place == f"{source}{place}"
    with pytest.raises(ConfigError, match=said):
        raise error


def test_samples_that_say_what_serves_beside_some_that_do_not_are_refused(tmp_path: Path):
    points = [
        {"type": "Feature", "geometry": {"type": "Point", "coordinates": [7, 43]}, "properties": {"t": 1, "ue": "u"}},
        {"type": "Feature", "geometry": None, "properties": {"t": 2, "ue": "u", "poa": None, "zone": None}},
    ]
    source = saved(tmp_path, "s.json", json.dumps({"type": "FeatureCollection", "features": points}))
    assert "give POA and zone to all of them, or to none" in str(refused(source, tmp_path / "d.trace"))
    del points[0]
    source = saved(tmp_path, "s.json", json.dumps({"type": "FeatureCollection", "features": points}))
    assert "it holds nothing that fcd can" in str(refused(source, tmp_path / "d.xml"))
    points[0]["properties"] = {"t": 2, "ue": "u"}
    source = saved(tmp_path, "s.json", json.dumps({"type": "FeatureCollection", "features": points}))
    error = refused(source, tmp_path / "d.trace")
    assert (error.place, error.problem) == (f"{source}: features[0]", "neither a position nor a POA")


def test_a_file_that_is_there_is_only_written_over_by_force(tmp_path: Path):
    target = saved(tmp_path, "d.csv", "mine")
    assert "is there already (--force writes over it)" in str(refused(TRACE, target))
    refused(saved(tmp_path, "s.gpx", "<gpx>"), target, force=True)
    convert(TRACE, target, force=True)
    assert target.read_text().startswith("t,ue,lon,lat,poa,zone\n")


def test_a_file_may_be_converted_into_itself(tmp_path: Path):
    source = saved(tmp_path, "d.csv", "t,ue,lon,lat", "0,u,7.4199,43.7278")
    convert(source, source, force=True)
    assert source.read_text() == "t,ue,lon,lat,poa,zone\n0.0,u,7.4199,43.7278,w1,zone01\n"


def test_files_that_cannot_be_read_or_written_are_named(tmp_path: Path):
    assert "none.csv: cannot be read: No such file" in str(refused(tmp_path / "none.csv", tmp_path / "d.trace"))
    assert "cannot be read: Is a directory" in str(refused(tmp_path, tmp_path / "d.trace", source_format="csv"))
    with pytest.raises(ConfigError, match="cannot be written: No such file"):
        convert(TRACE, tmp_path / "none" / "d.csv")
    with pytest.raises(ConfigError, match="cannot be written: Not a directory"):
        convert(TRACE, saved(tmp_path, "file", "x") / "d.csv")


PACKED = gzip.compress(b"t,ue,lon,lat\n0,u,7,43\n", mtime=0)
NOT_PACKED = {
    "not packed": b"t,ue,lon,lat\n",
    "cut off": PACKED[:-9],
    "damaged": PACKED[:-8] + b"damaged!",
    "of another method": PACKED[:10] + b"\xff" + PACKED[11:],
}


@pytest.mark.parametrize("form", ["csv", "trace", "fcd"])
@pytest.mark.parametrize("body", NOT_PACKED.values(), ids=NOT_PACKED)
def test_a_packed_file_that_is_none_or_cut_off_is_refused(tmp_path: Path, form: str, body: bytes):
    (tmp_path / "s.gz").write_bytes(body)
    error = refused(tmp_path / "s.gz", tmp_path / "d.csv", source_format=form)
    assert error.place.startswith(str(tmp_path / "s.gz"))
    assert "not gzip, or cut off" in error.problem or form != "csv"


def test_our_own_format_names_its_ue_and_its_wrong_line(tmp_path: Path):
    assert f"it holds no UE u, but {UE} (leave --ue out)" in str(refused(TRACE, tmp_path / "d.csv", ue="u"))
    cut = tmp_path / "cut.trace"
    cut.write_bytes(TRACE.read_bytes()[:-10])
    assert f"{cut}:1001: cut off" in str(refused(cut, tmp_path / "d.csv"))
    header = saved(tmp_path, "header.trace", TRACE.read_text().splitlines()[0])
    assert "it holds nothing that csv can" in str(refused(header, tmp_path / "d.csv"))


# --- the command ---


def pillion(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "pillion", "trace", *map(str, words)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT / "engine"), "PILLION_STATE": str(folder / "state")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_drive_of_another_program_is_converted_and_replayed_on_the_command_line(tmp_path: Path):
    lines = (
        f"{seen.asked_s},car,{seen.position.longitude},{seen.position.latitude}"
        for seen in read_trace(TRACE).observations
        if isinstance(seen, Observation) and seen.position
    )
    saved(tmp_path, "drive.txt", "t,veh,lon,lat", *lines)
    said = pillion(tmp_path, "convert", "drive.txt", "drive.trace.gz", "--from", "csv", "--ue", "car", "--rename", UE)
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout == f"drive.trace.gz: 996 lines of {UE} in 249 s, POA changes 20\n"
    replayed = pillion(tmp_path, "replay", "-t", ROOT / "lab.pillion.yml", "drive.trace.gz")
    assert (replayed.returncode, replayed.stderr) == (0, "")
    assert replayed.stdout.splitlines()[-1] == (
        f"249 s of {UE}: migrations abandoned=1 completed=2 prepared=1; visits sat out 1"
    )
    again = pillion(tmp_path, "convert", "drive.trace.gz", "drive.trace.gz")
    assert (again.returncode, again.stdout) == (3, "")
    assert again.stderr == "pillion: drive.trace.gz: is there already (--force writes over it)\n"


def test_the_command_line_offers_every_format_there_is() -> None:
    assert cli.TRACE_FORMATS == formats.NAMES
