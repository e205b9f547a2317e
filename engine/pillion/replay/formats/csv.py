"""CSV: a header, then one sample a line: `t,ue,lon,lat,poa,zone`.

`t` is in seconds, `lon` and `lat` in degrees on WGS 84. `poa` and `zone` are empty where nothing serves the UE; without
these two columns that is to be found. `veh` may stand for `ue`. Other columns are passed over.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from pillion.core.model import UeId
from pillion.errors import ConfigError
from pillion.replay.samples import Sample, attachment_of, name, number, plain, position_of

_COLUMNS = ("t", "ue", "lon", "lat", "poa", "zone")
_HEADER = "the header has to be t,ue,lon,lat and may have poa,zone and others"


def read(file: BinaryIO, path: str) -> Iterator[Sample]:
    """The samples in a file. Raises ConfigError with the line."""
    rows = csv.reader(_lines(file, path), strict=True)
    try:
        header = next(rows, [])
        column = _columns(header, f"{path}:1")
        for row in rows:
            place = f"{path}:{rows.line_num}"
            if not row:
                continue
            if len(row) != len(header):
                problem = f"{len(row)} fields under {len(header)} columns"
                raise ConfigError(problem, place=place, remedy="give each column its field")
            yield _sample(row, column, place)
    except csv.Error as error:
        raise ConfigError(f"not CSV: {error}", place=f"{path}:{rows.line_num}", remedy="correct the line") from error


def write(file: BinaryIO, ue: UeId, samples: Iterable[Sample]) -> None:
    """Write samples, with every digit of their times and positions."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(_COLUMNS)
    for sample in samples:
        at = sample.position
        where = (plain(at.longitude), plain(at.latitude)) if at else ("", "")
        rows.writerow((plain(sample.t_s), ue, *where, *(sample.attachment or ())))
    text.detach()


def _columns(header: list[str], place: str) -> dict[str, int]:
    """Where each column of ours is."""
    ours = ["ue" if column == "veh" else column for column in header]
    for column in _COLUMNS:
        if ours.count(column) > 1:
            raise ConfigError(f"column {column} is there twice", place=place, remedy=_HEADER)
    wanted = _COLUMNS if {"poa", "zone"} & set(ours) else _COLUMNS[:4]
    if missing := [column for column in wanted if column not in ours]:
        raise ConfigError(f"column {missing[0]} is missing", place=place, remedy=_HEADER)
    return {column: ours.index(column) for column in wanted}


def _sample(row: list[str], column: dict[str, int], place: str) -> Sample:
    longitude, latitude = row[column["lon"]], row[column["lat"]]
    told = attachment_of(row[column["poa"]], row[column["zone"]], place) if "poa" in column else None
    unlocated = told is not None and not longitude and not latitude
    return Sample(
        number(row[column["t"]], "t", place),
        UeId(name(row[column["ue"]], "ue", place)),
        None if unlocated else position_of(latitude, longitude, place),
        told,
        place,
    )


def _lines(file: BinaryIO, path: str) -> Iterator[str]:
    """The lines of a file, decoded one by one so that the wrong one can be named."""
    for index, line in enumerate(file, 1):
        try:
            # Spreadsheet programs begin their UTF-8 with a byte order mark.
            yield line.decode("utf-8-sig" if index == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise ConfigError(f"not UTF-8: {error}", place=f"{path}:{index}", remedy="save it as UTF-8") from error
