"""Traces: what was recorded is read again to the last digit, and each line that is wrong is named."""

from __future__ import annotations

import gzip
import io
import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pillion.core.mobility import Attached, CellSeen, Left, Located, Observation, Track
from pillion.core.model import PoaId, Position, UeId, ZoneId
from pillion.core.prediction import Poa
from pillion.errors import ConfigError
from pillion.replay.trace import (
    FIRST_FORMAT,
    FORMAT,
    Raw,
    Recorded,
    Trace,
    TraceWriter,
    read_trace,
    when_s,
    write_trace,
)

UE = UeId("10.100.0.2")
LAYOUT = {PoaId("4g-1"): Poa(PoaId("4g-1"), ZoneId("zone01"), Position(43.7, 7.4), "Macro", 400.0)}
HEADER = json.dumps(
    {
        "format": FORMAT,
        "ue": UE,
        "layout": [{"poa": "4g-1", "zone": "zone01", "at": [43.7, 7.4], "connection_type": "Macro", "radius_m": 400.0}],
    }
)
LINE = '{"t": 0.25, "is": "Observation", "poa": "4g-1", "zone": "zone01", "at": [43.7, 7.4]}'
ABSENT = '{"t": 0.5, "is": "Observation", "poa": null, "zone": null, "at": null}'
ATTACHED = '{"t": 1.5, "is": "Attached", "poa": "4g-1", "zone": "zone01"}'
LEFT = '{"t": 1.5, "is": "Left", "poa": "4g-2", "zone": "zone02"}'
LEFT_ZONE = '{"t": 1.5, "is": "Left", "poa": null, "zone": "zone02"}'
LOCATED = '{"t": 2.5, "is": "Located", "at": [43.7, 7.4]}'
CELL = '{"t": 3.5, "is": "CellSeen", "cell": "2345678", "raw": {"from": "rni/v2", "body": "{\\n}"}}'
NO_CELL = '{"t": 3.75, "is": "CellSeen", "cell": null}'


def written(folder: Path, *lines: str | bytes) -> Path:
    path = folder / "drive.trace"
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines))
    return path


def recorded(trace: Trace) -> str:
    file = io.StringIO()
    write_trace(file, trace)
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


def test_a_trace_holds_what_was_told_and_the_messages_that_told_it(tmp_path: Path):
    assert read_trace(written(tmp_path, HEADER, ATTACHED, LEFT, LEFT_ZONE, LOCATED, CELL, NO_CELL)) == Trace(
        UE,
        LAYOUT,
        (
            Attached(UE, 1.5, PoaId("4g-1"), ZoneId("zone01")),
            Left(UE, 1.5, PoaId("4g-2"), ZoneId("zone02")),
            Left(UE, 1.5, None, ZoneId("zone02")),
            Located(UE, 2.5, Position(43.7, 7.4)),
            CellSeen(UE, 3.5, "2345678"),
            CellSeen(UE, 3.75, None),
        ),
        {4: Raw("rni/v2", "{\n}")},
    )


def test_a_trace_of_version_1_is_one_of_observations(tmp_path: Path):
    first = (line.replace('"is": "Observation", ', "") for line in (LINE, ABSENT))
    assert read_trace(written(tmp_path, header(format=FIRST_FORMAT), *first)) == read_trace(
        written(tmp_path, HEADER, LINE, ABSENT)
    )


def test_a_packed_trace_is_read_as_it_is(tmp_path: Path):
    packed = tmp_path / "drive.trace.gz"
    packed.write_bytes(gzip.compress("\n".join([HEADER, LINE]).encode()))
    assert read_trace(packed) == read_trace(written(tmp_path, HEADER, LINE))


def test_a_trace_of_which_nothing_was_seen_is_empty(tmp_path: Path):
    assert read_trace(written(tmp_path, HEADER)).observations == ()


def test_times_begin_with_the_second_of_the_first_line_and_lines_are_there_as_soon_as_they_are_written():
    file = io.StringIO()
    writer = TraceWriter(file, UE, LAYOUT)
    assert file.getvalue().count("\n") == 1
    writer.add(Observation(UE, 7001.5, None, None, None))
    writer.add(Observation(UE, 7001.75, None, None, None))
    assert [json.loads(line)["t"] for line in file.getvalue().splitlines()[1:]] == [0.5, 0.75]


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
POSITIONS = st.builds(Position, st.floats(-90, 90), st.floats(-180, 180))
POAS, ZONES = NAMES.map(PoaId), NAMES.map(ZoneId)
CLOCK_S = st.floats(0, 1e7)


def any_seen(at_s: float) -> st.SearchStrategy[Recorded]:
    """Anything that can be seen at an instant."""
    return st.one_of(
        st.builds(Observation, st.just(UE), st.just(at_s), st.none() | POAS, st.none() | ZONES, st.none() | POSITIONS),
        st.builds(Attached, st.just(UE), st.just(at_s), st.none() | POAS, ZONES),
        st.builds(Left, st.just(UE), st.just(at_s), st.none() | POAS, ZONES),
        st.builds(Located, st.just(UE), st.just(at_s), POSITIONS),
        st.builds(CellSeen, st.just(UE), st.just(at_s), st.none() | NAMES),
    )


DRIVES = st.lists(CLOCK_S, max_size=8).flatmap(lambda times: st.tuples(*map(any_seen, sorted(times))))
RAW = st.dictionaries(st.integers(0, 7), st.builds(Raw, NAMES, st.text(st.characters(exclude_categories=["Cs"]))))
LAYOUTS = st.lists(
    st.builds(Poa, NAMES.map(PoaId), NAMES.map(ZoneId), POSITIONS, NAMES, st.floats(0, 5000)), max_size=4
).map(lambda poas: {poa.id: poa for poa in poas})


@given(DRIVES, LAYOUTS, RAW)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_recorded_is_read_again(
    tmp_path: Path, drive: tuple[Recorded, ...], layout: dict[PoaId, Poa], raw: dict[int, Raw]
):
    raw = {index: each for index, each in raw.items() if index < len(drive)}
    trace = read_trace(written(tmp_path, recorded(Trace(UE, layout, drive, raw))))
    assert (trace.ue, trace.layout, trace.raw) == (UE, layout, raw)
    for seen, read in zip(drive, trace.observations, strict=True):
        assert fields(read) == fields(seen)


def fields(seen: Recorded) -> tuple[object, ...]:
    """What was seen, without the time."""
    return (type(seen), *(getattr(seen, name) for name in seen.__slots__ if not name.endswith("_s")))


@given(st.lists(CLOCK_S, min_size=2, max_size=8))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_two_times_read_differ_by_exactly_what_they_differed_by_on_the_clock(tmp_path: Path, times: list[float]):
    drive = tuple(Observation(UE, at_s, None, None, None) for at_s in sorted(times))
    read = read_trace(written(tmp_path, recorded(Trace(UE, LAYOUT, drive)))).observations
    for (a, b), (read_a, read_b) in zip(pairwise(drive), pairwise(read), strict=True):
        assert when_s(read_b) - when_s(read_a) == b.asked_s - a.asked_s
    assert 0 <= when_s(read[0]) < 1


@given(st.floats(0, 1e6), st.lists(st.floats(0.01, 3), min_size=4, max_size=30))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_track_expects_of_the_trace_what_it_expected_of_the_drive(
    tmp_path: Path, first_s: float, pauses_s: list[float]
):
    poas = [
        Poa(PoaId(f"4g-{zone}"), ZoneId(f"zone0{zone}"), Position(43.7, 7.4 + zone / 100), "Macro", 400.0)
        for zone in range(3)
    ]
    layout = {poa.id: poa for poa in poas}
    drive, at_s = [], first_s
    for index, pause_s in enumerate(pauses_s):
        at_s += pause_s
        drive.append(Observation(UE, at_s, poas[0].id, poas[0].zone, Position(43.7, 7.4 + index / 5000)))
    read = read_trace(written(tmp_path, recorded(Trace(UE, layout, tuple(drive))))).observations

    def expected(observations: tuple[Recorded, ...]) -> list[object]:
        track, events = Track(UE), []
        for seen in observations:
            assert isinstance(seen, Observation)
            track, new = track.saw(seen, layout, lookahead_s=20.0)
            events += new
        return [*events, track.motion.velocity_mps()]

    assert expected(read) == expected(tuple(drive))


def test_a_trace_read_and_written_again_is_the_same_byte_for_byte(tmp_path: Path):
    once = recorded(read_trace(written(tmp_path, HEADER, LINE, ABSENT, ATTACHED, LEFT, LOCATED, CELL, NO_CELL)))
    assert recorded(read_trace(written(tmp_path, once))) == once


def test_an_answer_that_was_overtaken_keeps_its_place_and_its_time(tmp_path: Path):
    late = (Located(UE, 12.25, Position(43.7, 7.4)), Observation(UE, 11.5, None, None, None))
    assert [when_s(seen) for seen in read_trace(written(tmp_path, recorded(Trace(UE, {}, late)))).observations] == [
        0.25,
        -0.5,
    ]


def header(**changes: object) -> str:
    return json.dumps(json.loads(HEADER) | changes)


def line(**changes: object) -> str:
    return json.dumps(json.loads(LINE) | changes)


POA = json.loads(HEADER)["layout"][0]

WRONG = {
    "an empty file": ([""], 1, f"not a {FORMAT} file"),
    "no format": (["{}"], 1, f"not a {FORMAT} file"),
    "another format": ([header(format="pillion-trace/3")], 1, f"not a {FORMAT} file"),
    "a table of another program": (["t,poa,zone"], 1, "not JSON"),
    "no UE": ([header(ue=None)], 1, "None is not a text"),
    "no layout": ([header(layout=None)], 1, "wrong or missing field"),
    "a layout of words": ([header(layout=["4g-1"])], 1, "wrong or missing field"),
    "a POA without a zone": ([header(layout=[{k: v for k, v in POA.items() if k != "zone"}])], 1, "'zone'"),
    "a POA at a place in words": ([header(layout=[POA | {"at": ["north", "east"]}])], 1, "'north'"),
    "a POA of a range in words": ([header(layout=[POA | {"radius_m": "far"}])], 1, "'far'"),
    "a line that is cut off": ([HEADER, LINE, LINE[:20]], 3, "cut off.*remove this last line"),
    "a line that is cut short in between": ([HEADER, LINE[:20], LINE], 2, "not JSON"),
    "something that nobody can see": ([HEADER, line(**{"is": "Guessed"})], 2, "'Guessed' is nothing"),
    "a line that does not say what it is": ([HEADER, '{"t": 1, "at": [43.7, 7.4]}'], 2, "'is'"),
    "a POA entered without a zone": ([HEADER, ATTACHED.replace("zone01", "")], 2, "'' is not a text"),
    "a POA left without a name": ([HEADER, LEFT.replace('"4g-2"', '""')], 2, "'' is not a text"),
    "a place that nobody told": ([HEADER, LOCATED.replace("[43.7, 7.4]", "null")], 2, "wrong or missing field"),
    "a cell that is a number": ([HEADER, CELL.replace('"2345678"', "2345678")], 2, "2345678 is not a text"),
    "a message that is an object": ([HEADER, CELL.replace(r'"{\n}"', "{}")], 2, "{} is not a text"),
    "a message of nobody": ([HEADER, CELL.replace("rni/v2", "")], 2, "'' is not a text"),
    "an empty line": ([HEADER, "", LINE], 2, "not JSON"),
    "a line that is a list": ([HEADER, LINE, LINE, "[]"], 4, "not a JSON object"),
    "bytes that are no text": ([HEADER, b'{"t": "\xff"}', LINE], 2, "not JSON"),
    "a line without a time": ([HEADER, LINE, '{"is": "Observation", "poa": null, "zone": null, "at": null}'], 3, "'t'"),
    "a time in words": ([HEADER, line(t="soon")], 2, "'soon'"),
    "a time that is true": ([HEADER, line(t=True)], 2, "True is not a number"),
    "a time beyond all clocks": ([HEADER, LINE.replace("0.25", "1e999")], 2, "not JSON|inf"),
    "a place beyond the pole": ([HEADER, line(at=[91, 7.4])], 2, "no latitude and longitude"),
    "a place east of the antimeridian": ([HEADER, line(at=[43.7, 181.0])], 2, "no latitude and longitude"),
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
