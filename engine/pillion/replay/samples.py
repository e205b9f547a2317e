"""Samples: what files of other formats hold of a UE. Where it was at an instant, and sometimes what served it.

Readers give samples as they stand in the file. What is wrong with one is said with its place there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice, pairwise
from typing import NamedTuple

from pillion.core.mobility import Located, Observation
from pillion.core.model import PoaId, Position, UeId, ZoneId
from pillion.errors import ConfigError
from pillion.replay.trace import Trace, when_s

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_NAMED_AT_MOST = 5


class Attachment(NamedTuple):
    """What serves a UE; None and None: nothing does."""

    poa: PoaId | None
    zone: ZoneId | None


@dataclass(frozen=True, slots=True)
class Sample:
    """One UE at one instant; `t_s` counts from an instant of the file's own."""

    t_s: float
    ue: UeId
    position: Position | None
    attachment: Attachment | None
    """None: the file says nothing of it, and it has to be found."""
    place: str
    """Where in the file it is."""


def samples_of(trace: Trace) -> list[Sample]:
    """What a trace says that other formats can hold: its answers, and the positions that were told between them.

    With such a position goes what the last answer said of POA and zone. Left out are messages, notices that were a
    reason to ask, positions before the first answer, and answers that were overtaken by later ones.
    """
    samples: list[Sample] = []
    attachment: Attachment | None = None
    for seen in trace.observations:
        at_s = when_s(seen)
        if samples and at_s < samples[-1].t_s:
            continue
        if isinstance(seen, Observation):
            attachment = Attachment(seen.poa, seen.zone)
            samples.append(Sample(at_s, trace.ue, seen.position, attachment, f"{at_s} s"))
        elif isinstance(seen, Located) and attachment is not None:
            samples.append(Sample(at_s, trace.ue, seen.position, attachment, f"{at_s} s"))
    return samples


def of_one_ue(samples: Iterable[Sample], ue: str | None, path: str) -> list[Sample]:
    """The samples of one UE, of which there may be only one where none is named.

    Raises ConfigError if there is no such UE or more than one, or if its samples are not in order of time.
    """
    found: dict[UeId, None] = {}
    kept: list[Sample] = []
    for sample in samples:
        found.setdefault(sample.ue)
        if sample.ue == (ue or next(iter(found))):
            kept.append(sample)
    if not found:
        raise ConfigError("it holds no UE's position", place=path, remedy="see docs/traces.md for what it has to hold")
    if ue is None and len(found) > 1:
        raise ConfigError(f"it holds {_named(found)}", place=path, remedy="choose one with --ue")
    if not kept:
        raise ConfigError(f"it holds no UE {ue}, but {_named(found)}", place=path, remedy="choose one of these")
    for before, after in pairwise(kept):
        if after.t_s < before.t_s:
            problem = f"time goes backward, from {before.t_s} s to {after.t_s} s"
            raise ConfigError(problem, place=after.place, remedy="sort each UE's samples by time")
    return kept


def _named(found: dict[UeId, None]) -> str:
    some = ", ".join(islice(found, _NAMED_AT_MOST))
    more = ", …" if len(found) > _NAMED_AT_MOST else ""
    return f"{len(found)} UE{'s' if len(found) > 1 else ''}: {some}{more}"


def number(value: object, what: str, place: str) -> float:
    """A finite number, from JSON or from text. Raises ConfigError."""
    match value:
        case str() if _NUMBER.fullmatch(value.strip()):
            found = float(value)
        case int() | float() if not isinstance(value, bool):
            found = float(value)
        case _:
            found = math.nan
    if not math.isfinite(found):
        raise ConfigError(f"{what} is {_shown(value)}", place=place, remedy="give a number")
    return found


def name(value: object, what: str, place: str) -> str:
    """A text that is not empty. Raises ConfigError."""
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{what} is {_shown(value)}", place=place, remedy="give it a name")
    return value


def position_of(latitude: object, longitude: object, place: str, *, remedy: str = "give degrees on WGS 84") -> Position:
    """A place from two numbers. Raises ConfigError."""
    degrees = []
    for value, what, bound in ((latitude, "latitude", 90), (longitude, "longitude", 180)):
        found = number(value, what, place)
        if abs(found) > bound:
            raise ConfigError(f"{what} {found} is outside ±{bound}", place=place, remedy=remedy)
        degrees.append(found)
    return Position(*degrees)


def attachment_of(poa: object, zone: object, place: str) -> Attachment:
    """What serves a UE, from a POA and a zone; nothing or an empty text in both: nothing does. Raises ConfigError."""
    if poa in (None, "") and zone in (None, ""):
        return Attachment(None, None)
    return Attachment(PoaId(name(poa, "poa", place)), ZoneId(name(zone, "zone", place)))


def instant(text: object, place: str) -> datetime:
    """An instant from ISO 8601, in UTC if it does not say otherwise. Raises ConfigError."""
    try:
        read = datetime.fromisoformat(str(text).strip())
    except ValueError as error:
        remedy = "write it as 2026-01-31T12:00:00Z"
        raise ConfigError(f"time is {_shown(text)}", place=place, remedy=remedy) from error
    return read if read.tzinfo else read.replace(tzinfo=UTC)


class Clock:
    """Seconds of a file's instants, from the whole second of its first one: a date's seconds would take the digits."""

    def __init__(self) -> None:
        self._from: datetime | None = None

    def seconds(self, at: datetime) -> float:
        """Seconds of an instant, exact to the microsecond."""
        if self._from is None:
            self._from = at.replace(microsecond=0)
        return (at - self._from).total_seconds()


def plain(value: float) -> str:
    """A number with all its digits and no exponent, which not every reader takes."""
    return format(Decimal(repr(value)), "f")


def _shown(value: object) -> str:
    return "missing" if value is None else repr(value)
