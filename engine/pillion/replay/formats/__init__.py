"""The formats of other programs that a trace can be converted from and to, and which file is of which."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pillion.core.model import UeId
from pillion.errors import ConfigError
from pillion.replay.formats import csv, fcd, geojson, gpx
from pillion.replay.samples import Sample


@dataclass(frozen=True, slots=True)
class Format:
    """A format of other programs. `read` is given a file and the name to call it by in errors."""

    read: Callable[[BinaryIO, str], Iterator[Sample]]
    write: Callable[[BinaryIO, UeId, Iterable[Sample]], None]
    without_position: bool
    """Whether it can hold a sample that has no position."""


OWN = "trace"
FOREIGN = {
    "csv": Format(csv.read, csv.write, without_position=True),
    "gpx": Format(gpx.read, gpx.write, without_position=False),
    "geojson": Format(geojson.read, geojson.write, without_position=True),
    "fcd": Format(fcd.read, fcd.write, without_position=False),
}
NAMES = (OWN, *FOREIGN)
_SUFFIXES = {
    ".trace": OWN,
    ".csv": "csv",
    ".gpx": "gpx",
    ".geojson": "geojson",
    ".json": "geojson",
    ".xml": "fcd",
}


def format_of(path: Path, option: str) -> str:
    """The format that a file's name tells, also where it is packed. Raises ConfigError naming the option that can."""
    known = path.with_suffix("") if path.suffix == ".gz" else path
    if known.suffix not in _SUFFIXES:
        raise ConfigError(
            f"its name tells no format ({', '.join(_SUFFIXES)})",
            place=str(path),
            remedy=f"give one with {option}: {', '.join(NAMES)}",
        )
    return _SUFFIXES[known.suffix]
