"""Traces: what was recorded is read again, and each line that is wrong is named."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pillion.core.mobility import Observation
from pillion.core.model import PoaId, Position, UeId, ZoneId
from pillion.core.prediction import Poa
from pillion.errors import ConfigError
from pillion.replay.trace import FORMAT, Trace, TraceWriter, read_trace

UE = UeId("10.100.0.2")
LAYOUT = {PoaId("4g-1"): Poa(PoaId("4g-1"), ZoneId("zone01"), Position(43.7, 7.4), "Macro", 400.0)}
HEADER = json.dumps(
    {
        "format": FORMAT,
        "ue": UE,
        "layout": [{"poa": "4g-1", "zone": "zone01", "at": [43.7, 7.4], "connection_type": "Macro", "radius_m": 400.0}],
    }
)
LINE = '{"t": 0.25, "poa": "4g-1", "zone": "zone01", "at": [43.7, 7.4]}'
ABSENT = '{"t": 0.5, "poa": null, "zone": null, "at": null}'


def written(folder: Path, *lines: str | bytes) -> Path:
    path = folder / "drive.trace"
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines))
    return path


def recorded(observations: list[Observation], layout: dict[PoaId, Poa]) -> str:
    file = io.StringIO()
    writer = TraceWriter(file, UE, layout)
    for seen in observations:
        writer.add(seen)
    return file.getvalue()


def test_a_trace_holds_who_the_layout_and_what_was_seen(tmp_path: Path):
    assert read_trace(written(tmp_path, HEADER, LINE, ABSENT)) == Trace(
        UE,
        LAYOUT,
        (
            Observation(UE, 0.25, PoaId("4g-1"), ZoneId("zone01"), Position(43.7, 7.4)),
            Observation(UE, 0.5, None, None, None),
        ),
    )


def test_a_trace_of_which_nothing_was_seen_is_empty(tmp_path: Path):
    assert read_trace(written(tmp_path, HEADER)).observations == ()


def test_times_begin_with_the_first_observation_and_lines_are_there_as_soon_as_they_are_written():
    file = io.StringIO()
    writer = TraceWriter(file, UE, LAYOUT)
    assert file.getvalue().count("\n") == 1
    writer.add(Observation(UE, 7001.5, None, None, None))
    writer.add(Observation(UE, 7001.75, None, None, None))
    assert [json.loads(line)["t"] for line in file.getvalue().splitlines()[1:]] == [0.0, 0.25]


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
POSITIONS = st.builds(Position, st.floats(-90, 90), st.floats(-180, 180))
OBSERVATIONS = st.lists(
    st.builds(
        Observation,
        ue=st.just(UE),
        asked_s=st.integers(0, 10**6).map(lambda ms: ms / 1000),
        poa=st.none() | NAMES.map(PoaId),
        zone=st.none() | NAMES.map(ZoneId),
        position=st.none() | POSITIONS,
    ),
    max_size=8,
)
LAYOUTS = st.lists(
    st.builds(Poa, NAMES.map(PoaId), NAMES.map(ZoneId), POSITIONS, NAMES, st.floats(0, 5000)), max_size=4
).map(lambda poas: {poa.id: poa for poa in poas})


@given(OBSERVATIONS, LAYOUTS)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_recorded_is_read_again(tmp_path: Path, observations: list[Observation], layout: dict[PoaId, Poa]):
    trace = read_trace(written(tmp_path, recorded(observations, layout)))
    assert (trace.ue, trace.layout) == (UE, layout)
    first_s = observations[0].asked_s if observations else 0.0
    for seen, read in zip(observations, trace.observations, strict=True):
        assert (read.poa, read.zone, read.position) == (seen.poa, seen.zone, seen.position)
        assert read.asked_s == pytest.approx(seen.asked_s - first_s, abs=0.0006)


def test_a_trace_read_and_written_again_is_the_same_byte_for_byte(tmp_path: Path):
    once = recorded(list(read_trace(written(tmp_path, HEADER, ABSENT, LINE)).observations), LAYOUT)
    trace = read_trace(written(tmp_path, once))
    assert recorded(list(trace.observations), dict(trace.layout)) == once


def header(**changes: object) -> str:
    return json.dumps(json.loads(HEADER) | changes)


def line(**changes: object) -> str:
    return json.dumps(json.loads(LINE) | changes)


POA = json.loads(HEADER)["layout"][0]

WRONG = {
    "an empty file": ([""], 1, f"not a {FORMAT} file"),
    "no format": (["{}"], 1, f"not a {FORMAT} file"),
    "another format": ([header(format="pillion-trace/2")], 1, f"not a {FORMAT} file"),
    "a table of another program": (["t,poa,zone"], 1, "not JSON"),
    "no UE": ([header(ue=None)], 1, "None is not a text"),
    "no layout": ([header(layout=None)], 1, "wrong or missing field"),
    "a layout of words": ([header(layout=["4g-1"])], 1, "wrong or missing field"),
    "a POA without a zone": ([header(layout=[{k: v for k, v in POA.items() if k != "zone"}])], 1, "'zone'"),
    "a POA at a place in words": ([header(layout=[POA | {"at": ["north", "east"]}])], 1, "'north'"),
    "a POA of a range in words": ([header(layout=[POA | {"radius_m": "far"}])], 1, "'far'"),
    "a line that is cut off": ([HEADER, LINE, LINE[:20]], 3, "not JSON"),
    "an empty line": ([HEADER, "", LINE], 2, "not JSON"),
    "a line that is a list": ([HEADER, LINE, LINE, "[]"], 4, "not a JSON object"),
    "bytes that are no text": ([HEADER, b'{"t": "\xff"}'], 2, "not JSON"),
    "a line without a time": ([HEADER, LINE, '{"poa": null, "zone": null, "at": null}'], 3, "'t'"),
    "a time in words": ([HEADER, line(t="soon")], 2, "'soon'"),
    "no time": ([HEADER, line(t=None)], 2, "wrong or missing field"),
    "a POA that is a number": ([HEADER, line(poa=4)], 2, "4 is not a text"),
    "a POA without a name": ([HEADER, line(poa="")], 2, "'' is not a text"),
    "a zone that is a list": ([HEADER, LINE, line(zone=["zone01"])], 3, r"\['zone01'\] is not a text"),
    "a place of one number": ([HEADER, line(at=[43.7])], 2, "wrong or missing field"),
    "a place of three": ([HEADER, line(at=[43.7, 7.4, 12])], 2, "wrong or missing field"),
    "a place that is empty": ([HEADER, line(at=[])], 2, "wrong or missing field"),
    "a place that is a number": ([HEADER, line(at=43.7)], 2, "wrong or missing field"),
}


@pytest.mark.parametrize(("lines", "number", "said"), WRONG.values(), ids=WRONG)
def test_a_wrong_line_is_named(tmp_path: Path, lines: list[str | bytes], number: int, said: str):
    with pytest.raises(ConfigError, match=said) as raised:
        read_trace(written(tmp_path, *lines))
    assert raised.value.place == f"{tmp_path / 'drive.trace'}:{number}"
    assert raised.value.exit_code == 3


def test_a_file_that_does_not_exist_or_is_empty_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="none: cannot be read: No such file"):
        read_trace(tmp_path / "none")
    (tmp_path / "empty").touch()
    with pytest.raises(ConfigError, match=r"record one with `pillion trace record`"):
        read_trace(tmp_path / "empty")


@given(st.binary(max_size=80))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_after_a_good_beginning_are_read_or_refused_with_their_line(tmp_path: Path, rest: bytes):
    path = written(tmp_path, HEADER, LINE, rest)
    try:
        read_trace(path)
    except ConfigError as error:
        assert error.place.startswith(f"{path}:")  # noqa: PT017  # most of them are refused, a few are not
