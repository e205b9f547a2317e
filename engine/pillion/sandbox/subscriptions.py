"""Subscriptions of one kind, numbered from 1 as in the original: a new scenario starts at 1 again.

The platform's newer services (MEC 011, MEC 021) have ids without an order instead.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Generic, TypeVar

from pillion.sandbox.answers import Refused

T = TypeVar("T")


def unordered_id(_number: int = 0) -> str:
    """An id that says nothing of the others: 16 characters that a URL can have."""
    return secrets.token_urlsafe(12)


def unordered_subscription_id(_number: int = 0) -> str:
    """The same as a subscription has it."""
    return f"sub-{unordered_id()}"


class Numbered(Generic[T]):
    """Things by their number, which is also their id in URLs unless `id_of` gives another one.

    `missing` is what the refusal says where there is none; without it, it says nothing.
    """

    def __init__(self, id_of: Callable[[int], str] = str, *, missing: str = "") -> None:
        self._by_id: dict[str, T] = {}
        self._last = 0
        self._id_of = id_of
        self._missing = missing

    def __iter__(self) -> Iterator[T]:
        return iter(list(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, make: Callable[[str], T]) -> T:
        """Keep what `make` makes of the next id."""
        self._last += 1
        id_ = self._id_of(self._last)
        made = self._by_id[id_] = make(id_)
        return made

    def get(self, id_: str) -> T:
        """Raises Refused (404) if there is none."""
        if id_ not in self._by_id:
            raise Refused(HTTPStatus.NOT_FOUND, self._missing)
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
