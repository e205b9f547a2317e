"""The race as it is reported: every single value, medians and spread, and the ratios that the targets speak of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from pillion.core.measures import Switchover
from pillion.core.model import HostId
from pillion.core.plan import Group, Place
from pillion.output import markdown_table, print_table


class Way(StrEnum):
    """What moves the app in a round."""

    SHELL = "manual, shell form"
    EXEC = "manual, exec form"
    ENGINE = "engine"


@dataclass(frozen=True, slots=True)
class Round:
    """One migration of the race, in seconds."""

    number: int
    way: Way
    source: HostId
    target: HostId
    seen: Switchover
    """What the UE saw of it."""
    stopped_s: float
    """The study's service downtime: `docker stop` given until the app has started on the target; the engine's is from
    the fence to the switch."""
    total_s: float
    """From the first word to the app until the UE's traffic goes to the target."""
    cleaned_s: float | None
    """The same until the source keeps nothing; None by hand, where nobody is timed tidying up."""
    phases: Mapping[tuple[Group, Place], float]
    lines: Sequence[tuple[str, float]]
    """Each line by hand, or each step of the engine's plan, and how long it took."""
    failures: Mapping[str, int]
    """Requests of the UE that failed, by kind."""
    went_back: int
    """Answers with a lower counter or sequence number than one before: the state was not kept."""
    lateness_s: float
    """How far the probe itself lagged at worst."""

    @property
    def state_kept(self) -> bool:
        """Whether the target went on from the source's state."""
        return self.went_back == 0


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
    """The engine's median over a manual one's, and the most that it is meant to be; None where nothing was promised."""

    measure: str
    baseline: Way
    value: float
    most: float | None

    @property
    def verdict(self) -> str:
        """`met`, `missed`, or nothing."""
        return "" if self.most is None else "met" if self.value <= self.most else "missed"


Measure = Callable[[Round], float]
MEASURES: dict[str, Measure] = {
    "UE-seen downtime": lambda one: one.seen.downtime_s,
    "stop to start": lambda one: one.stopped_s,
    "pre-relocation and relocation": lambda one: one.total_s,
}
_TARGETS = {
    ("UE-seen downtime", Way.SHELL): 0.4,
    ("UE-seen downtime", Way.EXEC): 0.4,
    ("pre-relocation and relocation", Way.EXEC): 0.7,
}


def spread(rounds: Iterable[Round], way: Way, measure: Measure) -> Spread:
    """A measure over all rounds of one way. Raises ValueError if there are none."""
    values = tuple(measure(one) for one in rounds if one.way is way)
    if not values:
        raise ValueError(f"no rounds of {way}")
    return Spread(values)


def ratios(rounds: Sequence[Round]) -> list[Ratio]:
    """The engine against both baselines, by medians."""
    found = []
    for name in ("UE-seen downtime", "pre-relocation and relocation"):
        mine = spread(rounds, Way.ENGINE, MEASURES[name]).median
        for baseline in (Way.SHELL, Way.EXEC):
            theirs = spread(rounds, baseline, MEASURES[name]).median
            found.append(Ratio(name, baseline, mine / theirs, _TARGETS.get((name, baseline))))
    return found


def measures_table(rounds: Sequence[Round]) -> list[list[str]]:
    """Rows of measure and way: median (min to max)."""
    return [[name, *(str(spread(rounds, way, measure)) for way in Way)] for name, measure in MEASURES.items()]


def ratios_table(rounds: Sequence[Round]) -> list[list[str]]:
    """Rows of measure, baseline, ratio, target, verdict."""
    return [
        [each.measure, each.baseline, f"{each.value:.2f}", f"{each.most:g}" if each.most else "", each.verdict]
        for each in ratios(rounds)
    ]


def page(rounds: Sequence[Round], machine: Mapping[str, str], rate_hz: float) -> str:
    """The results page, in Markdown."""
    counted = max(one.number for one in rounds)
    ways = [way.value for way in Way]
    kept = sum(one.state_kept for one in rounds)
    failed = sum(sum(one.failures.values()) for one in rounds)
    parts = [
        "# Bench results",
        f"Written by `pillion bench`; [what is compared with what, and what the numbers mean](../bench.md). {counted} "
        f"rounds of each way, in turn on the same two MEC hosts, after one that is not counted. Seconds; median (least "
        f"to most). The UE asks {rate_hz:g} times a second, so its downtime is at most {1000 / rate_hz:g} ms and one "
        "usual latency too long.",
        f"State kept in {kept} of {len(rounds)} migrations; {failed} requests of the UE failed.",
        markdown_table(["", *ways], measures_table(rounds)),
        "## Engine to manual",
        markdown_table(["ratio of medians", "to", "value", "at most", ""], ratios_table(rounds)),
        *_with_clean_up(rounds),
        "## By phase and place",
        markdown_table(["phase", "place", *ways], _phase_rows(rounds)),
        "## Every round",
        markdown_table(
            [
                *("round", "way", "from", "UE-seen", "resolution", "stop to start", "pre-relocation", "relocation"),
                *("both", "state", "failed requests", "probe late"),
            ],
            [_row(one) for one in rounds],
        ),
        "## Every line",
        *(f"### {way.capitalize()}\n\n{markdown_table(['line', 'seconds'], _line_rows(rounds, way))}" for way in Way),
        "## Machine",
        markdown_table(["", ""], [list(pair) for pair in machine.items()]),
    ]
    return "\n\n".join(parts) + "\n"


def print_bench(rounds: Sequence[Round]) -> None:
    """Print the figures of a race."""
    print_table("median (least to most), seconds", ["", *Way], measures_table(rounds))
    print_table("engine to manual", ["ratio of medians", "to", "value", "at most", ""], ratios_table(rounds))


def _with_clean_up(rounds: Sequence[Round]) -> list[str]:
    cleaned = Spread(tuple(one.cleaned_s for one in rounds if one.cleaned_s is not None))
    by_hand = spread(rounds, Way.EXEC, MEASURES["pre-relocation and relocation"]).median
    return [
        f"With its clean-up, which the procedure by hand does not have, the engine takes {cleaned}: "
        f"{cleaned.median / by_hand:.2f} of the exec form's."
    ]


def _phase_rows(rounds: Sequence[Round]) -> list[list[str]]:
    rows = []
    for group in (Group.PRE_RELOCATION, Group.RELOCATION):
        for place in Place:
            rows.append([group.value, place.value, *(str(spread(rounds, way, _spent(group, place))) for way in Way)])
    return rows


def _spent(group: Group, place: Place) -> Measure:
    return lambda one: one.phases.get((group, place), 0.0)


def _row(one: Round) -> list[str]:
    spent = {
        group: sum(seconds for (each, _), seconds in one.phases.items() if each is group)
        for group in (Group.PRE_RELOCATION, Group.RELOCATION)
    }
    figures = [one.seen.downtime_s, one.seen.resolution_s, one.stopped_s, *spent.values(), one.total_s]
    return [
        *(str(one.number), one.way.value, one.source),
        *(f"{figure:.3f}" for figure in figures),
        "kept" if one.state_kept else "lost",
        ", ".join(f"{count}: {error}" for error, count in one.failures.items()) or "none",
        f"{one.lateness_s:.3f}",
    ]


def _line_rows(rounds: Sequence[Round], way: Way) -> list[list[str]]:
    """The lines of the last round, each with its time in all rounds: they differ only in names and directions."""
    mine = [one.lines for one in rounds if one.way is way]
    last = mine[-1]
    return [
        [f"`{text}`".replace("|", "\\|"), str(Spread(tuple(lines[index][1] for lines in mine if index < len(lines))))]
        for index, (text, _) in enumerate(last)
    ]
