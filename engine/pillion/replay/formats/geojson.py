"""GeoJSON: a FeatureCollection of Points with the properties `t`, `ue`, `poa` and `zone`.

`t` is in seconds. POA and zone are null where nothing serves the UE; without these properties that is to be found. A
sample without a position has the geometry null. A LineString is read too, if its property `coordTimes` has an instant
for each of its coordinates, as converters from GPX write it; its `ue` or `name` says whose it is.
Source: RFC 7946, sections 3.1 to 3.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO

import orjson

from pillion.core.model import Position, UeId
from pillion.errors import ConfigError
from pillion.replay.samples import Attachment, Clock, Sample, attachment_of, instant, name, number, position_of

_REMEDY = "see docs/traces.md"


def read(file: BinaryIO, path: str) -> Iterator[Sample]:
    """The samples in a file; a line without a name is called `track-1` after its number. Raises ConfigError."""
    try:
        document = orjson.loads(file.read())
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"not JSON: {error}", place=path, remedy="give a GeoJSON file") from error
    if not isinstance(document, dict) or document.get("type") not in ("FeatureCollection", "Feature"):
        raise ConfigError("it is no FeatureCollection", place=path, remedy="give a GeoJSON file")
    features = document.get("features") if document["type"] == "FeatureCollection" else [document]
    if not isinstance(features, list):
        raise ConfigError("this is not a list", place=f"{path}: features", remedy=_REMEDY)
    clock = Clock()
    for index, feature in enumerate(features):
        place = f"{path}: features[{index}]"
        feature = _object(feature, place)
        properties = _object(feature.get("properties"), f"{place}.properties")
        geometry = feature.get("geometry")
        if geometry is None:
            yield _point(None, properties, place)
            continue
        coordinates = _object(geometry, f"{place}.geometry").get("coordinates")
        match geometry.get("type"):
            case "Point":
                yield _point(_position(coordinates, f"{place}.geometry.coordinates"), properties, place)
            case "LineString":
                yield from _line(coordinates, properties, f"track-{index + 1}", clock, place)
            case kind:
                raise ConfigError(f"it is a {kind}", place=f"{place}.geometry", remedy="give Points or LineStrings")


def write(file: BinaryIO, ue: UeId, samples: Iterable[Sample]) -> None:
    """Write samples as one Point a line, with every digit of their times and positions."""
    file.write(b'{"type":"FeatureCollection","features":[')
    between = b"\n"
    for sample in samples:
        at = sample.position
        poa, zone = sample.attachment or Attachment(None, None)
        feature = {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [at.longitude, at.latitude]} if at else None,
            "properties": {"t": sample.t_s, "ue": ue, "poa": poa, "zone": zone},
        }
        file.write(between + orjson.dumps(feature))
        between = b",\n"
    file.write(b"\n]}\n")


def _point(at: Position | None, properties: Mapping[str, Any], place: str) -> Sample:
    within = f"{place}.properties"
    told = None
    if "poa" in properties or "zone" in properties:
        told = attachment_of(properties.get("poa"), properties.get("zone"), within)
    return Sample(
        number(properties.get("t"), "t", within),
        UeId(name(properties.get("ue"), "ue", within)),
        at,
        told,
        place,
    )


def _line(
    coordinates: object, properties: Mapping[str, Any], unnamed: str, clock: Clock, place: str
) -> Iterator[Sample]:
    times = properties.get("coordTimes")
    if not isinstance(coordinates, list) or not isinstance(times, list) or len(times) != len(coordinates):
        raise ConfigError(
            "it has not one of coordTimes for each of its coordinates", place=place, remedy="give each its time"
        )
    ue = UeId(name(properties.get("ue", properties.get("name", unnamed)), "ue", f"{place}.properties"))
    for index, (at, time) in enumerate(zip(coordinates, times, strict=True)):
        where = f"{place}.geometry.coordinates[{index}]"
        t_s = clock.seconds(instant(time, f"{place}.properties.coordTimes[{index}]"))
        yield Sample(t_s, ue, _position(at, where), None, where)


def _position(coordinates: object, place: str) -> Position:
    # A third number, the height, is allowed and of no use here.
    if not isinstance(coordinates, list) or len(coordinates) < 2:
        raise ConfigError(f"{coordinates!r} is no position", place=place, remedy="give [longitude, latitude]")
    return position_of(coordinates[1], coordinates[0], place)


def _object(value: object, place: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError("this is not an object", place=place, remedy=_REMEDY)
    return value
