"""Every kind of fact a journal can hold, and hypothesis strategies that make any of them from its type hints."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from enum import Enum
from functools import cache
from typing import Any

from hypothesis import strategies as st

from pillion.core import events

EVENTS: tuple[type, ...] = typing.get_args(events.Event)
ANNOUNCEMENTS: tuple[type, ...] = typing.get_args(events.Announcement)
FACTS = (*EVENTS, *ANNOUNCEMENTS)

_PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    int: st.integers(-(2**53), 2**53),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
}


def facts_of(cls: type) -> st.SearchStrategy[Any]:
    """Any fact of a class, with each field as its hint says."""
    hints = typing.get_type_hints(cls)
    return st.builds(cls, **{field.name: _values(hints[field.name]) for field in dataclasses.fields(cls)})


@cache
def _values(hint: Any) -> st.SearchStrategy[Any]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in _PLAIN:
        return _PLAIN[hint]
    if hint is types.NoneType:
        return st.none()
    if isinstance(hint, typing.NewType):
        return _values(hint.__supertype__)
    if origin in (typing.Union, types.UnionType):
        return st.one_of([_values(argument) for argument in arguments])
    if origin is tuple:
        return st.lists(_values(arguments[0]), max_size=3).map(tuple)
    if origin is frozenset:
        return st.frozensets(_values(arguments[0]), max_size=3)
    if origin is not None and issubclass(origin, Mapping):
        return st.dictionaries(_values(arguments[0]), _values(arguments[1]), max_size=3)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from(hint)
    if dataclasses.is_dataclass(hint):
        return facts_of(typing.cast(type, hint))
    raise TypeError(f"no values are known for {hint!r}")


FACT = st.one_of([facts_of(cls) for cls in FACTS])
