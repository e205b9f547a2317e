"""One JSON object, read by type; what is missing or of the wrong type is a MecPayloadError with the field's path."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from pillion.core.model import Position
from pillion.errors import MecPayloadError

LONGEST_BYTES = 4 * 1024 * 1024
"""Of a body: thousands of users."""


class Fields:
    """An object of a payload and where it lies."""

    def __init__(self, value: Mapping[str, Any], path: str = "") -> None:
        self._value = value
        self.path = path

    @classmethod
    def of(cls, body: bytes) -> Fields:
        """The object that a body is. Raises MecPayloadError."""
        if len(body) > LONGEST_BYTES:
            raise MecPayloadError(f"{len(body)} bytes, more than {LONGEST_BYTES}", place="body")
        try:
            decoded = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise MecPayloadError(f"not JSON: {error}", place="body") from error
        if not isinstance(decoded, dict):
            raise MecPayloadError("not a JSON object", place="body")
        return cls(decoded)

    def __contains__(self, name: str) -> bool:
        """Whether there is such a member; null is none."""
        return self._value.get(name) is not None

    @property
    def only_name(self) -> str | None:
        """The name of its one member; None if it has more, or none."""
        return next(iter(self._value)) if len(self._value) == 1 else None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its members."""
        return tuple(self._value)

    def is_object(self, name: str) -> bool:
        """Whether a member is an object, where it may also be something else."""
        return isinstance(self._value.get(name), dict)

    def text(self, name: str) -> str:
        """A text that is not empty."""
        value = self._value.get(name)
        if not isinstance(value, str) or not value:
            raise self.wrong(name, "missing, or not a text")
        return value

    def object(self, name: str) -> Fields:
        value = self._value.get(name)
        if not isinstance(value, dict):
            raise self.wrong(name, "missing, or not an object")
        return Fields(value, self._at(name))

    def objects(self, name: str) -> Iterator[Fields]:
        """The objects of a list; none if there is no list, as the sandbox leaves out empty ones."""
        values = self._value.get(name)
        if values is None:
            return
        if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
            raise self.wrong(name, "not a list of objects")
        for index, value in enumerate(values):
            yield Fields(value, f"{self._at(name)}[{index}]")

    def position(self, name: str) -> Position | None:
        """A place on the map, if it is told. Source: ETSI GS MEC 013 V2.2.1, clause 6.2.2 (LocationInfo)."""
        if name not in self:
            return None
        info = self.object(name)
        return Position(info._degrees("latitude", 90.0), info._degrees("longitude", 180.0))

    def wrong(self, name: str, problem: str) -> MecPayloadError:
        """The error that names a member."""
        return MecPayloadError(problem, place=self._at(name))

    def _degrees(self, name: str, bound: float) -> float:
        """The first of a list: a point has one number there."""
        value = self._value.get(name)
        first = value[0] if isinstance(value, list) and value else None
        if isinstance(first, bool) or not isinstance(first, int | float) or not math.isfinite(first):
            raise self.wrong(name, "not a list with a number")
        if abs(first) > bound:
            raise self.wrong(name, f"{first} is outside ±{bound:g}")
        return float(first)

    def _at(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name
