"""One JSON object, read by type; what is missing or of the wrong type is a MecPayloadError with the field's path."""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping
from typing import Any

import orjson

from pillion.core.model import Position
from pillion.errors import MecPayloadError

LONGEST_BYTES = 4 * 1024 * 1024
"""Of a body: thousands of users."""
_SHOWN = 60


class Fields:
    """An object of a payload and where it lies."""

    def __init__(self, value: Mapping[str, Any], path: str = "") -> None:
        self._value = value
        self.path = path

    @classmethod
    def of(cls, body: bytes) -> Fields:
        """The object that a body is. Raises MecPayloadError.

        orjson refuses by itself what Python's own decoder lets through or breaks at: NaN and Infinity, numbers beyond
        a double, lone surrogates, and more than 1024 levels. Of a repeated member the last one counts.
        """
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

    def wrapper(self, ending: str) -> str | None:
        """The name of its one member, if that ends so: then the object proper is in there."""
        name = next(iter(self._value)) if len(self._value) == 1 else ""
        return name if name.endswith(ending) else None

    def is_empty(self, name: str) -> bool:
        """Whether a text is absent, null or empty, where it may be."""
        return self._value.get(name) in (None, "")

    def is_object(self, name: str) -> bool:
        """Whether a member is an object, where it may also be something else."""
        return isinstance(self._value.get(name), dict)

    def text(self, name: str) -> str:
        """A text that is not empty."""
        value = self._value.get(name)
        if not isinstance(value, str) or not value:
            raise self.wrong(name, "missing, or not a text")
        return value

    def word(self, name: str, known: Container[str]) -> str:
        """A text that is one of those that are known."""
        word = self.text(name)
        if word not in known:
            raise self.wrong(name, f"{_shortened(word)} is not known")
        return word

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
        if not isinstance(values, list):
            raise self.wrong(name, "not a list of objects")
        for index, value in enumerate(values):
            if not isinstance(value, dict):
                raise self.wrong(f"{name}[{index}]", "not an object")
            yield Fields(value, f"{self._at(name)}[{index}]")

    def first(self, name: str) -> Fields:
        """The first object of a list that has to have one."""
        for value in self.objects(name):
            return value
        raise self.wrong(name, "missing, or empty")

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
        return f"{self.path}.{_shortened(name)}" if self.path else _shortened(name)


def _shortened(word: str) -> str:
    """Someone else's word as an error shows it: it goes to logs, and may be as long as a body."""
    return word if len(word) <= _SHOWN else f"{word[:_SHOWN]}…"
