"""The race as it is reported: every single value, medians and spread, and the ratios that the targets speak of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

import click

from pillion.core.model import HostId
from pillion.core.plan import Group, Place
from pillion.experiments.observed import Seen
from pillion.output import markdown_table, print_table


class Way(StrEnum):
    """What moves the app in a round."""

    MANUAL = "by hand"
    ENGINE = "engine"


@dataclass(frozen=True, slots=True)
class Cell:
    """One app of the study and one strategy."""

    app: str
    strategy: str

    def __str__(self) -> str:
        return f"{self.app}-{self.strategy}"


@dataclass(frozen=True, slots=True)
class Round:
    """One migration of the race, in seconds."""

    number: int
    cell: Cell
    way: Way
    source: HostId
    seen: Seen
    """What the UE saw of it."""
    foretold: bool
    """Whether the strategy loses something of the app by its nature; then it was forced."""
    stopped_s: float
    """The study's service downtime: from the line that stops the app until it has started on the target; the engine's
    is from the fence to the switch."""
    pre_s: float
    """Pre-relocation: from the first word until the target is prepared."""
    total_s: float
    """From the first word until the source is killed, or the last line typed."""
    phases: Mapping[tuple[Group, Place], float]
    lines: Sequence[tuple[str, float]]
    """Each line by hand, or each step of the engine's plan, and how long it took."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A migration by hand that had to be begun anew with a fresh app: a host refused one of its lines, or what was
    restored answered nobody."""

    cell: Cell
    number: int
    problem: str


@dataclass(frozen=True, slots=True)
class Spread:
    """Single values with their median and range."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle value."""
        return median(self.values)

    def __str__(self) -> str:
        return f"{self.median:.3f} ({min(self.values):.3f} to {max(self.values):.3f})"


@dataclass(frozen=True, slots=True)
class Ratio:
    """The engine's median over the one by hand, and the most that it is meant to be."""

    mine: Spread
    theirs: Spread
    most: float

    @property
    def value(self) -> float:
        return self.mine.median / self.theirs.median

    @property
    def verdict(self) -> str:
        """`met` or `missed`."""
        return "met" if self.value <= self.most else "missed"

    def row(self) -> list[str]:
        """By hand, engine, ratio, target, verdict."""
        return [str(self.theirs), str(self.mine), f"{self.value:.2f}", f"{self.most:g}", self.verdict]


Measure = Callable[[Round], float]
_PRE_RELOCATION_MOST = 0.7
_COLUMNS = ("cell", "by hand, s", "engine, s", "ratio", "at most", "")


def _downtime_most(cell: Cell) -> float:
    return 0.5 if cell.strategy == "M3" else 0.4


def spread(rounds: Iterable[Round], cell: Cell, way: Way, measure: Measure) -> Spread:
    """A measure over all rounds of one cell and way. Raises ValueError if there are none."""
    values = tuple(measure(one) for one in rounds if one.way is way and one.cell == cell)
    if not values:
        raise ValueError(f"no rounds of {cell} {way}")
    return Spread(values)


def cells(rounds: Iterable[Round]) -> list[Cell]:
    """The cells that were raced, in order."""
    return list(dict.fromkeys(one.cell for one in rounds))


def downtimes(rounds: Sequence[Round]) -> dict[Cell, Ratio]:
    """UE-seen downtime, the engine's to that by hand."""
    return _ratios(rounds, lambda one: one.seen.downtime_s, _downtime_most)


def pre_relocations(rounds: Sequence[Round]) -> dict[Cell, Ratio]:
    """Total time of pre-relocation, the engine's to that by hand."""
    return _ratios(rounds, lambda one: one.pre_s, lambda _: _PRE_RELOCATION_MOST)


def _ratios(rounds: Sequence[Round], measure: Measure, most: Callable[[Cell], float]) -> dict[Cell, Ratio]:
    return {
        cell: Ratio(spread(rounds, cell, Way.ENGINE, measure), spread(rounds, cell, Way.MANUAL, measure), most(cell))
        for cell in cells(rounds)
    }


def _rows(ratios: Mapping[Cell, Ratio]) -> list[list[str]]:
    return [[str(cell), *ratio.row()] for cell, ratio in ratios.items()]


def page(rounds: Sequence[Round], failed: Sequence[Failed], machine: Mapping[str, str], rate_hz: float) -> str:
    """The results page, in Markdown."""
    counted = max(one.number for one in rounds)
    parts = [
        "# Bench results",
        f"Written by `pillion bench`; [what is compared with what, and what the numbers mean](../bench.md). {counted} "
        f"rounds of each cell both ways, in turn on the same two MEC hosts, after one that is not counted. Seconds; "
        f"median (least to most). The UE asks {rate_hz:g} times a second, so its downtime is at most "
        f"{1000 / rate_hz:g} ms and one usual latency too long.",
        "## UE-seen downtime",
        markdown_table(_COLUMNS, _rows(downtimes(rounds))),
        "## Pre-relocation, in all",
        markdown_table(_COLUMNS, _rows(pre_relocations(rounds))),
        "## The study's own downtime",
        "From the line that stops the app until it has started on the target; the engine's: fence to switch.",
        markdown_table(
            ("cell", "by hand, s", "engine, s"),
            (
                [str(cell), *(str(spread(rounds, cell, way, lambda one: one.stopped_s)) for way in Way)]
                for cell in cells(rounds)
            ),
        ),
        "## State",
        markdown_table(("cell", "by hand", "engine"), _state_rows(rounds)),
        "## Begun anew by hand",
        _failures(failed),
        *(f"- {one.cell}, round {one.number}: {one.problem.splitlines()[0]}" for one in failed),
        "## By phase and place",
        markdown_table(("cell", "phase", "place", "by hand, s", "engine, s"), _phase_rows(rounds)),
        "## Every round",
        markdown_table(
            ("round", "cell", "way", "from", "UE-seen", "stopped", "pre-relocation", "in all", "failed", "UE late"),
            [_row(one) for one in rounds],
        ),
        "## Every line",
        *(_lines(rounds, cell, way) for cell in cells(rounds) for way in Way),
        "## Machine",
        markdown_table(("", ""), [list(pair) for pair in machine.items()]),
    ]
    return "\n\n".join(parts) + "\n"


def _failures(failed: Sequence[Failed]) -> str:
    count = f"{len(failed)} migrations by hand" if failed else "No migration by hand"
    why = "a host refused a line, or what was restored answered nobody"
    return f"{count} had to be begun anew with a fresh app: {why}."


def print_bench(rounds: Sequence[Round], failed: Sequence[Failed]) -> None:
    """Print the figures of a race."""
    print_table("UE-seen downtime, seconds: median (least to most)", _COLUMNS, _rows(downtimes(rounds)))
    print_table("pre-relocation in all", _COLUMNS, _rows(pre_relocations(rounds)))
    print_table("state kept", ("cell", "by hand", "engine"), _state_rows(rounds))
    click.echo(_failures(failed))


def _state_rows(rounds: Sequence[Round]) -> list[list[str]]:
    rows = []
    for cell in cells(rounds):
        row = [str(cell)]
        for way in Way:
            mine = [one for one in rounds if one.cell == cell and one.way is way]
            kept = sum(one.seen.state_kept for one in mine)
            failed = sum(sum(one.seen.failures.values()) for one in mine)
            lost = ", as foretold" if any(one.foretold for one in mine) else ""
            row.append(f"kept in {kept} of {len(mine)}{lost}; {failed} requests or connections failed")
        rows.append(row)
    return rows


def _phase_rows(rounds: Sequence[Round]) -> list[list[str]]:
    return [
        [str(cell), group, place, *(str(spread(rounds, cell, way, _spent(group, place))) for way in Way)]
        for cell in cells(rounds)
        for group in (Group.PRE_RELOCATION, Group.RELOCATION)
        for place in Place
    ]


def _spent(group: Group, place: Place) -> Measure:
    return lambda one: one.phases.get((group, place), 0.0)


def _row(one: Round) -> list[str]:
    figures = [one.seen.downtime_s, one.stopped_s, one.pre_s, one.total_s]
    return [
        *(str(one.number), str(one.cell), one.way.value, one.source),
        *(f"{figure:.3f}" for figure in figures),
        ", ".join(f"{count}: {error}" for error, count in one.seen.failures.items()) or "none",
        f"{one.seen.lateness_s:.3f}",
    ]


def _lines(rounds: Sequence[Round], cell: Cell, way: Way) -> str:
    """The lines of the last round, each with its time in all rounds: they differ only in names and directions."""
    mine = [one.lines for one in rounds if one.cell == cell and one.way is way]
    rows = [
        [f"`{text}`".replace("|", "\\|"), str(Spread(tuple(lines[index][1] for lines in mine if index < len(lines))))]
        for index, (text, _) in enumerate(mine[-1])
    ]
    return f"### {cell}, {way}\n\n{markdown_table(('line', 'seconds'), rows)}"
