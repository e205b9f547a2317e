"""Scenario files: what comes with pillion is what the study had; what is wrong is said where and how to mend it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import orjson
import pytest

from pillion.errors import ConfigError
from pillion.sandbox.geodesy import Point
from pillion.sandbox.scenario import DEFAULT_WIRELESS_TYPES, EndOfPath, Technology, load_scenario, parse_scenario
from tests.shared import SHARED, needs

REFERENCE = SHARED / "reference" / "monaco-4g-5g-wifi-macro.json"

SMALL: dict[str, Any] = {
    "format": "pillion-scenario/1",
    "name": "small",
    "attribution": {"licence": "CC0"},
    "zones": ["zone01"],
    "poas": [{"id": "cell-1", "zone": "zone01", "technology": "5g", "at": [7.42, 43.73], "radius_m": 100}],
    "ues": [
        {"id": "10.0.0.1", "speed_mps": 20, "end_of_path": "reverse", "path": [[7.419, 43.73], [7.425, 43.73]]},
        {"id": "10.0.0.2", "at": [7.42, 43.73], "wireless_types": ["4g"]},
    ],
}


def test_monaco_has_the_study_s_zones_points_of_access_and_vehicles() -> None:
    monaco = load_scenario("monaco")
    assert monaco.zones == ("zone01", "zone02", "zone03", "zone04")
    count = {technology: sum(p.technology is technology for p in monaco.poas) for technology in Technology}
    assert count == {Technology.FOUR_G: 10, Technology.FIVE_G: 20, Technology.WIFI: 11, Technology.OTHER: 0}
    assert [ue.id for ue in monaco.ues if ue.speed_mps == 20] == [f"10.100.0.{n}" for n in (1, 2, 3, 4)]
    assert len(monaco.ues) == 12
    assert monaco.attribution["project"] == "AdvantEDGE"
    assert monaco.attribution["licence"] == "Apache-2.0"


@needs(REFERENCE)
def test_monaco_carries_the_facts_of_the_reference_network() -> None:
    reference = orjson.loads(REFERENCE.read_bytes())
    monaco = load_scenario("monaco")
    assert list(monaco.zones) == [zone["id"] for zone in reference["zones"]]
    assert [(p.id, p.zone, p.technology, p.at, p.radius_m) for p in monaco.poas] == [
        (p["id"], p["zone"], p["technology"].lower(), Point(p["lat"], p["lon"]), p["radius_m"])
        for p in reference["points_of_access"]
    ]
    assert [p.cell_id for p in monaco.poas] == [p.get("cell_id", "FFFFFFF") for p in reference["points_of_access"]]
    assert [(ue.id, ue.speed_mps, ue.wireless_types) for ue in monaco.ues] == [
        (ue["id"], ue["velocity_mps"], tuple(ue["wireless_types"])) for ue in reference["user_equipment"]
    ]
    for ue, told in zip(monaco.ues, reference["user_equipment"], strict=True):
        assert [[p.lon_deg, p.lat_deg] for p in ue.path] == (told["path"] or [told["start"]])
        assert ue.end_of_path == (told["end_of_path"] or "loop")
    assert monaco.attribution["commit"] == reference["source"]["commit"]


def test_a_small_scenario_is_read_with_its_defaults() -> None:
    small = parse_scenario(orjson.dumps(SMALL))
    moving, standing = small.ues
    assert moving.path == (Point(43.73, 7.419), Point(43.73, 7.425))
    assert moving.end_of_path is EndOfPath.REVERSE
    assert moving.wireless_types == DEFAULT_WIRELESS_TYPES
    assert standing.path == (Point(43.73, 7.42),)
    assert standing.wireless_types == (Technology.FOUR_G,)


def test_the_example_of_the_documentation_is_a_scenario() -> None:
    page = (Path(__file__).parents[2] / "docs" / "scenario-format.md").read_text()
    example = page.split("```json\n")[1].split("```")[0]
    assert parse_scenario(example.encode()).name == "two-streets"


def test_a_scenario_can_be_a_file_of_one_s_own(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_bytes(orjson.dumps(SMALL))
    assert load_scenario(str(tmp_path / "mine.json")).name == "small"


def test_a_scenario_that_is_not_there_is_refused_with_the_names_of_those_that_are() -> None:
    with pytest.raises(ConfigError, match=r"no such scenario.*monaco"):
        load_scenario("atlantis")


MISSING = "left out"
FAULTS: list[tuple[tuple[str | int, ...], object, str]] = [
    (("format",), "pillion-scenario/9", "format: 'pillion-scenario/9'"),
    (("name",), MISSING, "name: this key is missing"),
    (("colour",), "red", "colour: this key is not known"),
    (("attribution",), "Apache-2.0", "attribution: this is not an object"),
    (("zones",), [], "zones: this is not a list"),
    (("zones",), ["zone01", "zone01"], "zones: 'zone01' is there twice"),
    (("zones", 0), 7, r"zones\[0\]: 7 is not a text"),
    (("poas", 0), "cell-1", r"poas\[0\]: this is not an object"),
    (("poas", 0, "zone"), "zone09", r"poas\[0\]\.zone: 'zone09' is not known here \(write one of: zone01"),
    (("poas", 0, "technology"), "6g", r"poas\[0\]\.technology: '6g'.*wifi, 5g, 4g, other"),
    (("poas", 0, "radius_m"), -1, r"poas\[0\]\.radius_m: -1 is not a number from 0"),
    (("poas", 0, "radius_m"), True, r"poas\[0\]\.radius_m: True"),
    (("poas", 0, "raduis_m"), 100, r"poas\[0\]\.raduis_m: this key is not known"),
    (("poas", 0, "at"), [7.42], r"poas\[0\]\.at: \[7.42\] is not a point"),
    (("poas", 0, "at"), [43.73, 143.73], r"poas\[0\]\.at\[1\]: 143.73 is not a number from -90 to 90"),
    (("ues", 1, "id"), "10.0.0.1", "ues: '10.0.0.1' is there twice"),
    (("ues", 0, "path"), [[7.4, 43.7], [7.4, 43.7]], r"ues\[0\]\.path: a path needs two different points"),
    (("ues", 0, "path", 1), [9.4, 43.7], r"ues\[0\]\.path\[1\]: more than one degree"),
    (("ues", 0, "end_of_path"), MISSING, r"ues\[0\]\.end_of_path: this key is missing"),
    (("ues", 0, "at"), [7.4, 43.7], r"ues\[0\]\.at: this key is not known"),
    (("ues", 1, "at"), MISSING, r"ues\[1\]\.at: this key is missing"),
    (("ues", 1, "wireless_types", 0), "3g", r"ues\[1\]\.wireless_types\[0\]: '3g'"),
]


@pytest.mark.parametrize(("where", "value", "message"), FAULTS, ids=lambda case: str(case)[:40])
def test_a_fault_is_named_with_its_place_and_remedy(where: tuple[str | int, ...], value: object, message: str) -> None:
    document = copy.deepcopy(SMALL)
    holder: Any = document
    for key in where[:-1]:
        holder = holder[key]
    if value is MISSING:
        del holder[where[-1]]
    else:
        holder[where[-1]] = value
    with pytest.raises(ConfigError, match=message) as caught:
        parse_scenario(orjson.dumps(document))
    assert "docs/scenario-format.md" in caught.value.remedy


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'"monaco"', b"\xff"])
def test_what_is_no_json_object_is_refused(raw: bytes) -> None:
    with pytest.raises(ConfigError):
        parse_scenario(raw)


def test_cells_and_network_have_the_ids_of_the_city_or_the_original_s_defaults() -> None:
    monaco = load_scenario("monaco")
    cells = [poa.cell_id for poa in monaco.poas if poa.technology is Technology.FOUR_G]
    assert cells[0] == "1010101"
    assert len(set(cells)) == len(cells) == 10
    nr_cells = [poa.cell_id for poa in monaco.poas if poa.technology is Technology.FIVE_G]
    assert nr_cells == [str(5555500 + number) for number in range(1, 21)]
    assert (monaco.plmn.mcc, monaco.plmn.mnc) == ("001", "001")
    assert {poa.cell_id for poa in monaco.poas if poa.technology is Technology.WIFI} == {"FFFFFFF"}
