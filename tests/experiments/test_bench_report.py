"""The race's figures: medians, ratios and what they are held against."""

import pytest

from pillion.core.model import HostId
from pillion.core.plan import Group, Place
from pillion.experiments.bench_report import (
    Cell,
    Failed,
    Round,
    Spread,
    Way,
    downtimes,
    page,
    pre_relocations,
    print_bench,
    spread,
)
from pillion.experiments.observed import Seen

M2, M3, LOSSY = Cell("a2", "M2"), Cell("a2", "M3"), Cell("a3", "M2")


def one(
    cell: Cell, way: Way, number: int, downtime_s: float, pre_s: float, kept: bool = True, **failures: int
) -> Round:
    return Round(
        number=number,
        cell=cell,
        way=way,
        source=HostId("mec1"),
        seen=Seen(downtime_s, 0.005, failures, kept, "never went back", 0.002),
        foretold=cell == LOSSY,
        stopped_s=downtime_s + 0.1,
        pre_s=pre_s,
        total_s=pre_s + downtime_s,
        phases={(Group.PRE_RELOCATION, Place.SOURCE): pre_s, (Group.RELOCATION, Place.TARGET): downtime_s},
        lines=[("dd if=dv.tar | nc", 0.1)],
    )


ROUNDS = [
    *(one(M2, Way.MANUAL, n, downtime_s, 5.0) for n, downtime_s in ((1, 1.0), (2, 9.0), (3, 1.2))),
    *(one(M2, Way.ENGINE, n, 0.3, pre_s) for n, pre_s in ((1, 2.0), (2, 4.0), (3, 5.0))),
    *(one(M3, Way.MANUAL, n, 1.0, 6.0) for n in (1, 2, 3)),
    *(one(M3, Way.ENGINE, n, 0.45, 1.0) for n in (1, 2, 3)),
]


def test_one_slow_round_moves_no_median_but_shows_in_the_spread() -> None:
    assert str(spread(ROUNDS, M2, Way.MANUAL, lambda one: one.seen.downtime_s)) == "1.200 (1.000 to 9.000)"


def test_each_cell_is_held_against_the_procedure_by_hand() -> None:
    found = {str(cell): (round(each.value, 2), each.most, each.verdict) for cell, each in downtimes(ROUNDS).items()}
    assert found == {"a2-M2": (0.25, 0.4, "met"), "a2-M3": (0.45, 0.5, "met")}
    found = {
        str(cell): (round(each.value, 2), each.most, each.verdict) for cell, each in pre_relocations(ROUNDS).items()
    }
    assert found == {"a2-M2": (0.8, 0.7, "missed"), "a2-M3": (0.17, 0.7, "met")}


def test_a_cell_without_rounds_has_no_figures() -> None:
    with pytest.raises(ValueError, match="no rounds of a2-M2 engine"):
        spread([], M2, Way.ENGINE, lambda one: one.pre_s)


def test_the_page_holds_every_round_and_where_it_was_taken() -> None:
    text = page(ROUNDS, [], {"kernel": "Linux 6"}, 200)
    assert "No migration by hand had to be begun anew" in text
    assert sum(line.startswith(("| 1 | a2-", "| 2 | a2-", "| 3 | a2-")) for line in text.splitlines()) == len(ROUNDS)
    assert "| kernel | Linux 6 |" in text
    assert "dd if=dv.tar \\| nc" in text
    assert "### a2-M3, by hand" in text


def test_a_lost_state_and_failures_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    lossy = [one(LOSSY, way, 1, 1.0, 1.0, kept=False) for way in Way]
    rounds = [*ROUNDS, one(M2, Way.ENGINE, 4, 0.3, 2.0, kept=False, cut=2), *lossy]
    text = page(rounds, [Failed(M3, 2, "docker start --checkpoint: no")], {}, 200)
    assert "1 migrations by hand had to be begun anew" in text
    assert "- a2-M3, round 2: docker start --checkpoint: no" in text
    assert "| a2-M2 | kept in 3 of 3; 0 requests or connections failed | kept in 3 of 4; 2 requests" in text
    assert "| a3-M2 | kept in 0 of 1, as foretold; " in text
    assert "2: cut" in text
    print_bench(rounds, [])
    assert "as foretold" in capsys.readouterr().out


def test_a_single_value_is_its_own_median() -> None:
    assert Spread((0.25,)).median == 0.25
