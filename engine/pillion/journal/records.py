"""What a journal holds, and how a fact becomes a line of it and a fact again.

The journal is the engine's memory: the fleet is the fold of `fleet.decide` over its events, in order of `seq`. Each
record is one fact as JSON, in a form that a person can read in `sqlite3`:

- `role` is `event` (an input, replayed at start) or `decision` (made known by the core, not replayed);
- `kind` is the class name of the fact in `core/events.py`, `body` its fields; nested facts carry their class as `is`;
- `now_s` is the engine's monotonic clock when the fact was taken in, `at_utc` the wall clock, for people only;
- `epoch` is the engine that wrote it.

A record is committed or absent, never half. A reader takes defaults for fields that an older engine did not write, and
refuses kinds and fields that it does not know: they were written by a newer one.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import orjson

from pillion.core import events, model, placement, plan
from pillion.errors import JournalError
from pillion.output import words

_NOT_IN_LINE = frozenset({"migration", "plan", "policy", "apps"})


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the journal. `seq` is 0 until it is written."""

    seq: int
    at_utc: str
    now_s: float
    epoch: int
    role: str
    fact: events.Event | events.Announcement

    @property
    def kind(self) -> str:
        """The fact's class name."""
        return type(self.fact).__name__

    @property
    def subject(self) -> str:
        """What the fact is about: a migration, an app or a UE."""
        for name in ("migration", "app", "ue"):
            if value := getattr(self.fact, name, None):
                return str(value)
        return ""

    def line(self) -> str:
        """`<time> <kind> <subject> (key=value …)`, one line for people."""
        facts = {key: value for key, value in encode_fields(self.fact).items() if key not in _NOT_IN_LINE}
        if outcome := facts.pop("outcome", None):
            moved = {"sent_bytes": outcome["sent_bytes"]} if outcome["sent_bytes"] else {}
            facts |= {"seconds": outcome["seconds"], **moved, **outcome["detail"]}
        told = f"({said})" if (said := words(facts)) else ""
        # One line, whatever a host had to say.
        return " ".join(f"{self.at_utc} {self.kind} {self.subject} {told}".split())

    def as_json(self) -> dict[str, Any]:
        """The record for programs, as `pillion events --format json` prints it."""
        return {
            "seq": self.seq,
            "at_utc": self.at_utc,
            "now_s": round(self.now_s, 6),
            "epoch": self.epoch,
            "role": self.role,
            "kind": self.kind,
            "subject": self.subject,
            **encode_fields(self.fact),
        }


def _named_classes() -> dict[str, type]:
    found: dict[str, type] = {}
    for module in (events, model, placement, plan):
        for name, value in vars(module).items():
            if isinstance(value, type) and dataclasses.is_dataclass(value) and value.__module__ == module.__name__:
                found[name] = value
    return found


_CLASSES = _named_classes()


def encode(value: object) -> Any:
    """Plain JSON for a fact or a part of one."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {"is": type(value).__name__, **encode_fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, frozenset):
        return sorted(encode(item) for item in value)
    if isinstance(value, tuple | list):
        return [encode(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    return value


def encode_fields(fact: Any) -> dict[str, Any]:
    """The fields of a dataclass as plain JSON, without its name."""
    return {field.name: encode(getattr(fact, field.name)) for field in dataclasses.fields(fact)}


def dumps(fact: object) -> str:
    """The body of a record."""
    return orjson.dumps(encode_fields(fact)).decode()


def loads(kind: str, body: str) -> Any:
    """The fact of a record. Raises JournalError if its kind or a field is unknown, or a value has the wrong shape."""
    try:
        return _decode_class(_class(kind), orjson.loads(body))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise JournalError(
            f"a {kind} record cannot be read: {error}",
            remedy="it was written by another version of pillion: use that version, or move the journal away",
        ) from error


def _class(kind: str) -> type:
    if kind not in _CLASSES:
        raise ValueError(f"unknown kind {kind!r}")
    return _CLASSES[kind]


def _decode_class(cls: type, fields: dict[str, Any]) -> Any:
    hints = typing.get_type_hints(cls)
    values = {name: value for name, value in fields.items() if name != "is"}
    if unknown := values.keys() - hints.keys():
        raise ValueError(f"unknown field {sorted(unknown)[0]!r}")
    return cls(**{name: _decode(hints[name], value) for name, value in values.items()})


def _decode(hint: Any, value: Any) -> Any:
    if value is None:
        return None
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if isinstance(value, dict) and "is" in value:
            return _decode_class(_class(value["is"]), value)
        return _decode(next(argument for argument in arguments if argument is not type(None)), value)
    if origin is tuple:
        return tuple(_decode(arguments[0], item) for item in value)
    if origin is frozenset:
        return frozenset(_decode(arguments[0], item) for item in value)
    if origin is not None and issubclass(origin, Mapping):
        return {key: _decode(arguments[1], item) for key, item in value.items()}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    if dataclasses.is_dataclass(hint):
        return _decode_class(_class(value["is"]), value)
    return value
