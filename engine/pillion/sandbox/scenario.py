"""The city that the sandbox plays: its zones, points of access, and the paths of its vehicles.

A scenario is a file of facts (`docs/scenario-format.md`) and nothing in it moves. It is read strictly: a key we do not
know is an error, because a misspelt radius would otherwise become a quiet hole in the coverage.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import orjson

from pillion.errors import ConfigError
from pillion.sandbox.geodesy import Point

FORMAT = "pillion-scenario/1"


class Technology(StrEnum):
    """Radio technology of a point of access."""

    WIFI = "wifi"
    FIVE_G = "5g"
    FOUR_G = "4g"
    OTHER = "other"


class EndOfPath(StrEnum):
    """What a UE does at the end of its path: start over, or drive back."""

    LOOP = "loop"
    REVERSE = "reverse"


DEFAULT_WIRELESS_TYPES = (Technology.WIFI, Technology.FIVE_G, Technology.FOUR_G, Technology.OTHER)


DEFAULT_CELL_ID = "FFFFFFF"


@dataclass(frozen=True, slots=True)
class Poa:
    """A point of access; with radius 0 nothing ever attaches to it."""

    id: str
    zone: str
    technology: Technology
    at: Point
    radius_m: float
    cell_id: str = DEFAULT_CELL_ID
    """Of a 4G or 5G POA, its cell's identity in hexadecimal digits (MEC 012 `Ecgi.cellId`, `Nrcgi.nrcellId`)."""


@dataclass(frozen=True, slots=True)
class Plmn:
    """The mobile network: its country and network codes (MEC 012 `Plmn`)."""

    mcc: str
    mnc: str


DEFAULT_PLMN = Plmn(mcc="001", mnc="001")


@dataclass(frozen=True, slots=True)
class Ue:
    """A UE, named by its MEC 013 address. Without a path it stands still, and `path` is its one place."""

    id: str
    path: tuple[Point, ...]
    end_of_path: EndOfPath
    speed_mps: float
    wireless_types: tuple[Technology, ...]
    """Most preferred first; a technology that is not named cannot be used."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One city: every id is unique among its kind, every POA lies in a zone that exists."""

    name: str
    attribution: Mapping[str, str]
    zones: tuple[str, ...]
    poas: tuple[Poa, ...]
    ues: tuple[Ue, ...]
    plmn: Plmn = DEFAULT_PLMN
    networks: Mapping[str, tuple[Technology, ...]] = field(default_factory=dict)
    """Names under which the city can be had with POAs of these technologies only."""

    def network(self, name: str) -> Scenario:
        """The city with the POAs of one of its networks. Raises ConfigError if it has no such network."""
        if name not in self.networks:
            known = ", ".join(self.networks) or "none"
            raise ConfigError(f"scenario {self.name} has no network {name}", place="sandbox", remedy=f"one of: {known}")
        return replace(self, poas=tuple(poa for poa in self.poas if poa.technology in self.networks[name]))


def load_scenario(name: str) -> Scenario:
    """The scenario that comes with pillion under this name, or the one in the file at this path.

    Raises ConfigError, naming the place in the file, if it is not there or not a scenario.
    """
    packaged = files("pillion.sandbox") / "scenarios"
    known = sorted(entry.name.removesuffix(".json") for entry in packaged.iterdir() if entry.name.endswith(".json"))
    place = f"scenario {name}"
    try:
        raw = (packaged / f"{name}.json").read_bytes() if name in known else Path(name).read_bytes()
    except OSError as error:
        remedy = f"give one of: {', '.join(known)}; or the path of a scenario file"
        raise ConfigError("there is no such scenario", place=place, remedy=remedy) from error
    return parse_scenario(raw, place=place)


def parse_scenario(raw: bytes, *, place: str = "scenario") -> Scenario:
    """The scenario in these bytes of JSON. Raises ConfigError with the place in the file and the remedy."""
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"this is not JSON: {error}", place=place, remedy="see docs/scenario-format.md") from error
    top = _Fields(document, place)
    top.choice("format", FORMAT)
    name = top.text("name")
    attribution = top.texts_by_name("attribution")
    zones = top.texts("zones")
    poas = tuple(_poa(fields, zones) for fields in top.objects("poas"))
    ues = tuple(_ue(fields) for fields in top.objects("ues"))
    plmn = _plmn(top.fields("plmn")) if "plmn" in top else DEFAULT_PLMN
    networks = top.choices_by_name("networks", *Technology) if "networks" in top else {}
    top.nothing_else()
    _check_unique(zones, f"{place}: zones")
    _check_unique([poa.id for poa in poas], f"{place}: poas")
    _check_unique([ue.id for ue in ues], f"{place}: ues")
    by_name = {network: tuple(map(Technology, technologies)) for network, technologies in networks.items()}
    return Scenario(name, attribution, zones, poas, ues, plmn, by_name)


def _poa(fields: _Fields, zones: tuple[str, ...]) -> Poa:
    poa = Poa(
        id=fields.text("id"),
        zone=fields.choice("zone", *zones),
        technology=Technology(fields.choice("technology", *Technology)),
        at=fields.point("at"),
        radius_m=fields.number("radius_m"),
        cell_id=fields.text("cell_id") if "cell_id" in fields else DEFAULT_CELL_ID,
    )
    fields.nothing_else()
    return poa


def _plmn(fields: _Fields) -> Plmn:
    plmn = Plmn(mcc=fields.text("mcc"), mnc=fields.text("mnc"))
    fields.nothing_else()
    return plmn


def _ue(fields: _Fields) -> Ue:
    """A UE has either `at`, or `path` with `speed_mps` and `end_of_path`."""
    name = fields.text("id")
    wireless_types: tuple[Technology, ...] = DEFAULT_WIRELESS_TYPES
    if "wireless_types" in fields:
        named = fields.choices("wireless_types", *Technology)
        wireless_types = tuple(Technology(technology) for technology in named)
    if "path" not in fields:
        ue = Ue(name, (fields.point("at"),), EndOfPath.LOOP, 0.0, wireless_types)
    else:
        end_of_path = EndOfPath(fields.choice("end_of_path", *EndOfPath))
        ue = Ue(name, fields.path("path"), end_of_path, fields.number("speed_mps"), wireless_types)
    fields.nothing_else()
    return ue


def _check_unique(names: Sequence[str], place: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise _wrong(place, f"{name!r} is there twice", "give each its own id")


def _wrong(place: str, problem: str, remedy: str) -> ConfigError:
    return ConfigError(problem, place=place, remedy=f"{remedy}; see docs/scenario-format.md")


class _Fields:
    """One JSON object, read key by key; what was not read by `nothing_else` is an error."""

    def __init__(self, value: object, place: str) -> None:
        if not isinstance(value, dict):
            raise _wrong(place, "this is not an object", "write {...}")
        self._rest: dict[str, object] = dict(value)
        self._place = place

    def __contains__(self, key: str) -> bool:
        return key in self._rest

    def nothing_else(self) -> None:
        for key in self._rest:
            raise _wrong(self._at(key), "this key is not known here", "correct or remove it")

    def text(self, key: str) -> str:
        return self._text(self._take(key), self._at(key))

    def texts(self, key: str) -> tuple[str, ...]:
        return tuple(self._text(value, place) for value, place in self._list(key))

    def texts_by_name(self, key: str) -> dict[str, str]:
        inner = self.fields(key)
        return {name: inner.text(name) for name in tuple(inner._rest)}

    def choices_by_name(self, key: str, *allowed: str) -> dict[str, tuple[str, ...]]:
        inner = self.fields(key)
        return {name: inner.choices(name, *allowed) for name in tuple(inner._rest)}

    def choice(self, key: str, *allowed: str) -> str:
        return self._choice(self._take(key), self._at(key), allowed)

    def choices(self, key: str, *allowed: str) -> tuple[str, ...]:
        return tuple(self._choice(value, place, allowed) for value, place in self._list(key))

    def number(self, key: str) -> float:
        """A number from zero to a million."""
        return self._number(self._take(key), self._at(key), 0.0, 1e6)

    def point(self, key: str) -> Point:
        return self._point(self._take(key), self._at(key))

    def path(self, key: str) -> tuple[Point, ...]:
        points = tuple(self._point(value, place) for value, place in self._list(key))
        if len(set(points)) < 2:
            raise _wrong(self._at(key), "a path needs two different points", "a UE that stands still has `at` instead")
        for index, (a, b) in enumerate(pairwise(points), start=1):
            # Movement interpolates in degrees: over a whole degree that is a map projection, not a street.
            if max(abs(a.lat_deg - b.lat_deg), abs(a.lon_deg - b.lon_deg)) > 1.0:
                raise _wrong(f"{self._at(key)}[{index}]", "more than one degree from the point before", "correct it")
        return points

    def fields(self, key: str) -> _Fields:
        return _Fields(self._take(key), self._at(key))

    def objects(self, key: str) -> Iterator[_Fields]:
        return (_Fields(value, place) for value, place in self._list(key))

    def _at(self, key: str) -> str:
        separator = "." if self._place.endswith("]") else ": "
        return f"{self._place}{separator}{key}"

    def _take(self, key: str) -> object:
        if key not in self._rest:
            raise _wrong(self._at(key), "this key is missing", "add it")
        return self._rest.pop(key)

    def _list(self, key: str) -> list[tuple[object, str]]:
        value = self._take(key)
        if not isinstance(value, list) or not value:
            raise _wrong(self._at(key), "this is not a list with something in it", "write [...]")
        return [(item, f"{self._at(key)}[{index}]") for index, item in enumerate(value)]

    @staticmethod
    def _text(value: object, place: str) -> str:
        if not isinstance(value, str) or not value:
            raise _wrong(place, f"{value!r} is not a text", 'write "..."')
        return value

    @staticmethod
    def _choice(value: object, place: str, allowed: tuple[str, ...]) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise _wrong(place, f"{value!r} is not known here", f"write one of: {', '.join(allowed)}")
        return value

    @staticmethod
    def _number(value: object, place: str, low: float, high: float) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise _wrong(place, f"{value!r} is not a number from {low:g} to {high:g}", "correct it")
        return float(value)

    def _point(self, value: object, place: str) -> Point:
        if not isinstance(value, list) or len(value) != 2:
            raise _wrong(place, f"{value!r} is not a point", "write [longitude, latitude] in degrees")
        longitude, latitude = value
        return Point(
            lat_deg=self._number(latitude, f"{place}[1]", -90.0, 90.0),
            lon_deg=self._number(longitude, f"{place}[0]", -180.0, 180.0),
        )
