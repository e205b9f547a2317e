"""How a long campaign runs: case by case, each result on disk as soon as it is known, so that it can be resumed.

`.soak/<part>.jsonl` has one line of conditions, then one line a case. A run of the same code goes on where the last one
stopped; changed code starts over. When every case has run, `docs/results/<part>.md` is written. A case that broke an
invariant stays recorded as a violation, and the lab is made anew before the next one.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import orjson

from pillion.experiments.conditions import conditions
from pillion.lab.command import run

log = logging.getLogger(__name__)

TOP = Path(__file__).parents[2]
WORK = TOP / ".soak"
RESULTS = TOP / "docs" / "results"
CODE = ["engine", "apps", "compose", "gateway", "tests/soak", "tests/lab"]
"""What a result is a result of."""
LONGEST_CASE_S = 300.0

Facts = Mapping[str, Any]
"""What a case found out, in JSON's types."""
RunCase = Callable[[str], Awaitable[Facts]]


class Violation(Exception):
    """An invariant does not hold."""


@dataclass(frozen=True)
class Result:
    """One case: what it found, and what was wrong (None: nothing)."""

    case: str
    seconds: float
    facts: Facts
    violation: str | None = None


class Part(Protocol):
    """One campaign. `name` is what `make soak PART=` takes and the results page is called."""

    name: str
    title: str

    def cases(self) -> Sequence[str]:
        """Names of its cases, each once, in order."""

    def open(self) -> AbstractAsyncContextManager[RunCase]:
        """Make the lab and all that the cases need, and remove it at the end; gives what runs one case.

        A case raises Violation if an invariant broke; any other exception counts as one.
        """

    def page(self, results: Sequence[Result]) -> str:
        """The results as Markdown, without title and conditions."""

    def failures(self, results: Sequence[Result]) -> Sequence[str]:
        """What does not hold of all results together, beyond the violations of single cases."""


async def campaign(part: Part, *, fresh: bool, limit_s: float) -> int:
    """Run what has not been run yet, for about `limit_s`; 0 all hold, 1 something does not, 3 not all have run yet."""
    WORK.mkdir(exist_ok=True)
    kept = WORK / f"{part.name}.jsonl"
    code = await _code()
    if fresh or _code_of(kept) != code:
        kept.write_bytes(orjson.dumps({"code": code, "conditions": await conditions()}) + b"\n")
    end_s = time.monotonic() + limit_s
    while waiting := _waiting(part, kept):
        log.info("%s: %d of %d cases to go", part.name, len(waiting), len(part.cases()))
        async with AsyncExitStack() as closing:
            run_case = await closing.enter_async_context(part.open())
            for case in waiting:
                if time.monotonic() > end_s:
                    log.info("time is up: the same command goes on from here")
                    return 3
                result = await _result(run_case, case)
                _keep(kept, result)
                log.info("%6.1f s  %-44s %s", result.seconds, case, result.violation or dict(result.facts))
                if result.violation:
                    break  # the lab may be in any state: made anew
    return _finish(part, kept)


def engine_log(lab: str) -> Path:
    """Where the engines of a lab write what they say: not in its state folder, which goes with it after a violation."""
    WORK.mkdir(exist_ok=True)
    return WORK / f"{lab}-engine.log"


async def _result(run_case: RunCase, case: str) -> Result:
    began_s = time.monotonic()
    try:
        async with asyncio.timeout(LONGEST_CASE_S):
            facts = await run_case(case)
    except Exception as error:  # whatever breaks a case is a finding, not the end of the campaign
        if not isinstance(error, Violation):
            log.error("%s", traceback.format_exc())
        said = str(error) or type(error).__name__
        return Result(case, time.monotonic() - began_s, {}, said if isinstance(error, Violation) else repr(error))
    return Result(case, time.monotonic() - began_s, facts)


def _finish(part: Part, kept: Path) -> int:
    results = _results(kept)
    wrong = [f"{result.case}: {result.violation}" for result in results if result.violation]
    wrong += part.failures(results)
    about = orjson.loads(kept.read_bytes().splitlines()[0])["conditions"]
    rows = [f"| {name} | {value} |" for name, value in about.items()]
    lines = [f"# {part.title}", "", f"Made by `make soak PART={part.name}`.", ""]
    lines += ["| | |", "| --- | --- |", *rows, "", part.page(results), ""]
    lines += ["## Violations", "", *([f"- {line}" for line in wrong] or ["None."]), ""]
    page = RESULTS / f"{part.name}.md"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("\n".join(lines))
    log.info("%d cases, %d violations; every one: %s", len(results), len(wrong), page)
    return 1 if wrong else 0


def _waiting(part: Part, kept: Path) -> list[str]:
    have = {result.case for result in _results(kept)}
    return [case for case in part.cases() if case not in have]


def _results(kept: Path) -> list[Result]:
    return [Result(**orjson.loads(line)) for line in kept.read_bytes().splitlines()[1:]]


def _keep(kept: Path, result: Result) -> None:
    with kept.open("ab") as file:
        file.write(orjson.dumps(result) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _code_of(kept: Path) -> str | None:
    if not kept.exists() or not (lines := kept.read_bytes().splitlines()):
        return None
    code: str = orjson.loads(lines[0])["code"]
    return code


async def _code() -> str:
    """A digest of the code that runs, committed or not."""
    git = ["git", "-C", str(TOP)]
    trees = [await run([*git, "rev-parse", f"HEAD:{folder}"], limit_s=20) for folder in CODE]
    changes = await run([*git, "diff", "HEAD", "--", *CODE], limit_s=20)
    return hashlib.sha256("".join([*trees, changes]).encode()).hexdigest()


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(str(cell) for cell in row)} |" for row in rows)])
