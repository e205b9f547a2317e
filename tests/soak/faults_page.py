"""The results of the fault campaign as Markdown."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from statistics import median

from pillion.core.plan import Plan
from tests.soak.campaign import Result, table
from tests.soak.switchboard import FAULTS, cases_of
from tests.soak.world import RATE_HZ

_OUTCOMES = ("completed", "failed", "abandoned", "never begun")
_LONGEST = 110
_STATE = re.compile(r"/\S*/pillion/(?=soak/)")
"""Where the state folder lies differs from machine to machine."""


def page(results: Sequence[Result], plan: Plan, edges: Sequence[str]) -> str:
    """Counts by fault, every case, and what is no case; `edges` tells of the journal's."""
    violations = sum(result.violation is not None for result in results)
    kinds = list(dict.fromkeys(map(_kind, results)))
    lines = [
        f"{len(results)} cases, {violations} violations. In each the UE asks {RATE_HZ:g} times a second, one fault",
        "strikes, everything comes to rest by itself, and the next migration, which nothing disturbs, has to succeed.",
        "At both times of rest exactly one host serves and is steered to, and nothing is left behind on the hosts or",
        "in the lab's folder. No request of the UE failed or was answered by an older instance, nothing acknowledged",
        "is lost, and A2's counter is the true number of zone changes.",
        "",
        *edges,
        "",
        table(
            ["fault", "cases", "violations", *_OUTCOMES, "held ms: median, most", "recovery s: median, most"],
            [_counts(kind, [result for result in results if _kind(result) == kind]) for kind in kinds],
        ),
        "",
        "## Every case",
        "",
        "`held`: the longest that a request of the UE waited for its answer until everything was at rest. `recovery`:",
        "from the fault until then.",
        "",
        table(["case", "the step", "outcome", "serves then", "held ms", "recovery s"], list(map(_row, results))),
        "",
        "## What is no case",
        "",
        table(["fault", "it cannot hurt", "because the step"], _spared(plan)),
    ]
    return "\n".join(lines)


def _kind(result: Result) -> str:
    return result.case.partition(" ")[0]


def _counts(kind: str, results: Sequence[Result]) -> list[object]:
    outcomes = Counter(result.facts.get("outcome") for result in results)
    violations = sum(result.violation is not None for result in results)
    return [
        kind,
        len(results),
        violations,
        *(outcomes[word] for word in _OUTCOMES),
        _spread([result.facts["held_ms"] for result in results if result.facts], 0),
        _spread([result.facts["recovery_s"] for result in results if result.facts], 1),
    ]


def _spread(values: Sequence[float], digits: int) -> str:
    return f"{median(values):.{digits}f}, {max(values):.{digits}f}" if values else ""


def _row(result: Result) -> list[object]:
    facts = result.facts
    return [
        result.case,
        _STATE.sub("", str(facts.get("step", ""))).replace("|", "/")[:_LONGEST],
        "**violation**" if result.violation else facts["outcome"],
        *(facts.get(what, "") for what in ("on", "held_ms", "recovery_s")),
    ]


def _spared(plan: Plan) -> list[list[object]]:
    """Fault, steps and reason, of what the switchboard makes no case of."""
    made = {(place.fault, place.step) for place in cases_of(plan)}
    rows: dict[tuple[str, str], list[str]] = {}
    for fault in FAULTS:
        for step in plan.steps:
            if (fault, step.id) not in made:
                reason = fault.spares.get(type(step.work)) or fault.otherwise
                rows.setdefault((str(fault), reason), []).append(step.id)
    return [[fault, ", ".join(steps), reason] for (fault, reason), steps in rows.items()]
