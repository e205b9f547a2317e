"""The fault campaigns' pages: every case has a row, and what is no case has its reason."""

import pytest

from tests.soak.campaign import Result
from tests.soak.faults import Faults

FACTS = {"outcome": "failed", "on": "source", "held_ms": 10, "recovery_s": 0.5}


@pytest.mark.parametrize("strategy", ["M1", "M2", "M3"])
def test_a_page_has_every_case_and_a_reason_for_what_is_none(strategy: str) -> None:
    part = Faults(strategy)
    results = [Result(case, 1.0, FACTS) for case in part.cases()]
    assert part.failures(results) == []
    page = part.page([*results[:-1], Result(results[-1].case, 1.0, {}, "wrong")])
    assert page.count("| failed | source |") == len(results) - 1
    assert "**violation**" in page
    spared = [line.split("|") for line in page.partition("## What is no case")[2].splitlines() if line.startswith("|")]
    assert all(reason.strip() for *_, reason, _ in spared)
    assert "runs no CRIU" in page
    assert ("kill-criu at" in page) == (strategy == "M3")
