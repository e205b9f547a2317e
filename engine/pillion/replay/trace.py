"""Traces: what was observed of one UE, and in which way, kept so that a drive can be played again.

A trace is JSON lines. The first holds the format, the UE, and the layout of POAs that was in force. Each other line is
one thing seen, in the order in which it became known: an `Observation`, which was asked for, or a notice, which was
told. `is` says which, and `raw`, where it was kept, is the message itself:

    {"t":12.25,"is":"Observation","poa":"4g-5","zone":"zone02","at":[43.7,7.4],"raw":{"from":"…","body":"…"}}
    {"t":13.5,"is":"Attached","poa":"4g-6","zone":"zone02"}
    {"t":13.5,"is":"Left","poa":"4g-5","zone":"zone02"}
    {"t":14.0,"is":"Located","at":[43.7,7.4]}
    {"t":14.5,"is":"CellSeen","cell":"2345678"}

`t` counts seconds from the whole second in which the first line was seen. Taking a whole number off a clock's time
loses no bit of it, so any two times in a trace differ by exactly what they differed by on the recorder's clock: a
replay decides as the recorder would have.

A line is written whole and at once. One that is cut off can only be the last; a reader refuses it and says what to do,
since a drive that quietly lost its end would be taken for a whole one.
Version 1, of which every line is an observation, is still read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import orjson

from pillion.core.events import Api
from pillion.core.mobility import Attached, CellSeen, Left, Located, Notice, Observation
from pillion.core.model import PoaId, Position, UeId, ZoneId
from pillion.core.prediction import Layout, Poa
from pillion.errors import ConfigError
from pillion.replay.files import reading

FORMAT = "pillion-trace/2"
FIRST_FORMAT = "pillion-trace/1"

Recorded = Observation | Notice
"""What one line of a trace holds: an answer that was asked for, or something told."""


@dataclass(frozen=True, slots=True)
class Raw:
    """The message that something was read from, word for word, and who said it, as `location/v2/queries/users`."""

    source: str
    body: str


@dataclass(frozen=True, slots=True)
class Trace:
    """A recorded drive of one UE. `raw` has the messages that were kept, by the index of what was read from them."""

    ue: UeId
    layout: Layout
    observations: tuple[Recorded, ...]
    raw: Mapping[int, Raw] = field(default_factory=dict)


def when_s(seen: Recorded) -> float:
    """When something was asked for or told."""
    return seen.asked_s if isinstance(seen, Observation) else seen.seen_s


class TraceWriter:
    """Writes a trace as it is recorded; what was written stays whole if the recording is cut off."""

    def __init__(self, file: TextIO, ue: UeId, layout: Layout) -> None:
        self._file = file
        self._from_s: int | None = None
        poas = [
            {
                "poa": poa.id,
                "zone": poa.zone,
                "at": _at(poa.position),
                "connection_type": poa.connection_type,
                "radius_m": poa.radius_m,
            }
            for poa in layout.values()
        ]
        self._line({"format": FORMAT, "ue": ue, "layout": poas})

    def add(self, seen: Recorded, raw: Raw | None = None) -> None:
        """Write one thing seen, and the message that it was read from."""
        at_s = when_s(seen)
        if self._from_s is None:
            self._from_s = math.floor(at_s)
        kept = {"raw": {"from": raw.source, "body": raw.body}} if raw else {}
        self._line({"t": at_s - self._from_s, "is": type(seen).__name__, **_fields(seen), **kept})

    def _line(self, content: dict[str, Any]) -> None:
        self._file.write(orjson.dumps(content).decode() + "\n")
        self._file.flush()


def write_trace(file: TextIO, trace: Trace) -> None:
    """Write a whole trace."""
    writer = TraceWriter(file, trace.ue, trace.layout)
    for index, seen in enumerate(trace.observations):
        writer.add(seen, trace.raw.get(index))


def read_trace(path: Path) -> Trace:
    """The trace in a file. Raises ConfigError naming the line that is wrong."""
    with reading(path) as file:
        lines = _lines(path, file)
        _, header = next(lines, (1, {}))
        version = header.get("format")
        if version not in (FORMAT, FIRST_FORMAT):
            raise ConfigError(
                f"not a {FORMAT} file", place=f"{path}:1", remedy="record one with `pillion trace record`"
            )
        with _told(f"{path}:1"):
            ue = UeId(_text(header["ue"]))
            layout = {poa.id: poa for poa in map(_poa, header["layout"])}
        observations: list[Recorded] = []
        raw: dict[int, Raw] = {}
        for number, line in lines:
            with _told(f"{path}:{number}"):
                if "raw" in line:
                    raw[len(observations)] = _raw(line["raw"])
                observations.append(_seen(ue, line, "Observation" if version == FIRST_FORMAT else line["is"]))
    return Trace(ue, layout, tuple(observations), raw)


@contextmanager
def _told(place: str) -> Iterator[None]:
    """Say of a field that is missing or wrong where it is."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"wrong or missing field: {error}", place=place, remedy="see docs/traces.md") from error


def _fields(seen: Recorded) -> dict[str, Any]:
    match seen:
        case Observation(poa=poa, zone=zone, position=position, prompted_by=api):
            prompted = {"prompted_by": api} if api is not Api.LOCATION else {}
            return {"poa": poa, "zone": zone, "at": position and _at(position), **prompted}
        case Attached(poa=poa, zone=zone) | Left(poa=poa, zone=zone):
            return {"poa": poa, "zone": zone}
        case Located(position=position):
            return {"at": _at(position)}
        case CellSeen(cell=cell):
            return {"cell": cell}


def _seen(ue: UeId, line: Mapping[str, Any], kind: object) -> Recorded:
    at_s = _number(line["t"])
    match kind:
        case "Observation":
            zone, at = line["zone"], line["at"]
            return Observation(
                ue,
                at_s,
                _poa_id(line["poa"]),
                None if zone is None else ZoneId(_text(zone)),
                None if at is None else _position(at),
                Api(line.get("prompted_by", Api.LOCATION)),
            )
        case "Attached":
            return Attached(ue, at_s, _poa_id(line["poa"]), ZoneId(_text(line["zone"])))
        case "Left":
            return Left(ue, at_s, _poa_id(line["poa"]), ZoneId(_text(line["zone"])))
        case "Located":
            return Located(ue, at_s, _position(line["at"]))
        case "CellSeen":
            return CellSeen(ue, at_s, None if line["cell"] is None else _text(line["cell"]))
        case _:
            raise ValueError(f"{kind!r} is nothing that can be seen")


def _poa_id(poa: object) -> PoaId | None:
    return None if poa is None else PoaId(_text(poa))


def _poa(poa: Mapping[str, Any]) -> Poa:
    return Poa(
        PoaId(_text(poa["poa"])),
        ZoneId(_text(poa["zone"])),
        _position(poa["at"]),
        _text(poa["connection_type"]),
        _number(poa["radius_m"]),
    )


def _raw(raw: Mapping[str, Any]) -> Raw:
    body = raw["body"]
    if not isinstance(body, str):
        raise ValueError(f"{body!r} is not a text")
    return Raw(_text(raw["from"]), body)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is not a text")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a number")
    return float(value)


def _at(position: Position) -> list[float]:
    return [position.latitude, position.longitude]


def _position(at: list[object]) -> Position:
    latitude, longitude = map(_number, at)
    if abs(latitude) > 90 or abs(longitude) > 180:
        raise ValueError(f"{at} is no latitude and longitude")
    return Position(latitude, longitude)


def _lines(path: Path, file: BinaryIO) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(file, 1):
        place = f"{path}:{number}"
        try:
            content = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            if number > 1 and not line.endswith(b"\n"):
                remedy = "remove this last line: every line before it is whole"
                raise ConfigError(f"cut off, or not JSON: {error}", place=place, remedy=remedy) from error
            raise ConfigError(f"not JSON: {error}", place=place, remedy="see docs/traces.md") from error
        if not isinstance(content, dict):
            raise ConfigError("not a JSON object", place=place, remedy="see docs/traces.md")
        yield number, content
