"""Subscriptions of one kind, numbered from 1 as in the original: a new scenario starts at 1 again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Generic, TypeVar

from pillion.sandbox.answers import Refused

T = TypeVar("T")


class Numbered(Generic[T]):
    """Things by their number, which is also their id in URLs."""

    def __init__(self) -> None:
        self._by_id: dict[str, T] = {}
        self._last = 0

    def __iter__(self) -> Iterator[T]:
        return iter(list(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, make: Callable[[str], T]) -> T:
        """Keep what `make` makes of the next id."""
        self._last += 1
        made = self._by_id[str(self._last)] = make(str(self._last))
        return made

    def get(self, id_: str) -> T:
        """Raises Refused (404, empty) if there is none."""
        if id_ not in self._by_id:
            raise Refused(HTTPStatus.NOT_FOUND)
        return self._by_id[id_]

    def put(self, id_: str, thing: T) -> None:
        """Replace one. Raises Refused if there is none."""
        self.get(id_)
        self._by_id[id_] = thing

    def remove(self, id_: str) -> None:
        """Raises Refused if there is none."""
        self.get(id_)
        del self._by_id[id_]

    def clear(self) -> None:
        """Forget all; numbers start at 1 again."""
        self._by_id.clear()
        self._last = 0
