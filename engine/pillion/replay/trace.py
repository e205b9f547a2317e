"""Traces: what the Location API said of one UE, kept so that a drive can be played again.

A trace is JSON lines. The first holds the format, the UE, and the layout of POAs that was in force; each other line is
one observation, with seconds since the first: `{"t": 12.25, "poa": "4g-5", "zone": "zone02", "at": [43.7, 7.4]}`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import orjson

from pillion.core.mobility import Observation
from pillion.core.model import PoaId, Position, UeId, ZoneId
from pillion.core.prediction import Layout, Poa
from pillion.errors import ConfigError

FORMAT = "pillion-trace/1"


@dataclass(frozen=True, slots=True)
class Trace:
    """A recorded drive of one UE; `asked_s` of the first observation is 0."""

    ue: UeId
    layout: Layout
    observations: tuple[Observation, ...]


class TraceWriter:
    """Writes a trace as it is recorded; what was written stays whole if the recording is cut off."""

    def __init__(self, file: TextIO, ue: UeId, layout: Layout) -> None:
        self._file = file
        self._first_s: float | None = None
        poas = [
            {
                "poa": poa.id,
                "zone": poa.zone,
                "at": [poa.position.latitude, poa.position.longitude],
                "connection_type": poa.connection_type,
                "radius_m": poa.radius_m,
            }
            for poa in layout.values()
        ]
        self._line({"format": FORMAT, "ue": ue, "layout": poas})

    def add(self, seen: Observation) -> None:
        """Write one observation."""
        self._first_s = seen.asked_s if self._first_s is None else self._first_s
        at = [seen.position.latitude, seen.position.longitude] if seen.position else None
        self._line({"t": round(seen.asked_s - self._first_s, 3), "poa": seen.poa, "zone": seen.zone, "at": at})

    def _line(self, content: dict[str, Any]) -> None:
        self._file.write(orjson.dumps(content).decode() + "\n")
        self._file.flush()


def read_trace(path: Path) -> Trace:
    """The trace in a file. Raises ConfigError naming the line that is wrong."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", place=str(path)) from error
    parsed = list(_parsed(path, lines))
    if not parsed or parsed[0].get("format") != FORMAT:
        raise ConfigError(f"not a {FORMAT} file", place=f"{path}:1", remedy="record one with `pillion trace record`")
    number = 1
    try:
        ue = UeId(_text(parsed[0]["ue"]))
        poas = [
            Poa(
                PoaId(_text(poa["poa"])),
                ZoneId(_text(poa["zone"])),
                _position(poa["at"]),
                _text(poa["connection_type"]),
                float(poa["radius_m"]),
            )
            for poa in parsed[0]["layout"]
        ]
        observations = []
        for line in parsed[1:]:
            number += 1
            poa, zone, at = line["poa"], line["zone"], line["at"]
            observations.append(
                Observation(
                    ue,
                    float(line["t"]),
                    None if poa is None else PoaId(_text(poa)),
                    None if zone is None else ZoneId(_text(zone)),
                    None if at is None else _position(at),
                )
            )
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"wrong or missing field: {error}", place=f"{path}:{number}") from error
    return Trace(ue, {poa.id: poa for poa in poas}, tuple(observations))


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is not a text")
    return value


def _position(at: list[float]) -> Position:
    latitude, longitude = at
    return Position(float(latitude), float(longitude))


def _parsed(path: Path, lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, 1):
        try:
            content = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise ConfigError(f"not JSON: {error}", place=f"{path}:{number}") from error
        if not isinstance(content, dict):
            raise ConfigError("not a JSON object", place=f"{path}:{number}")
        yield content
