"""The race's figures: medians, ratios and what they are held against."""

from dataclasses import replace

import pytest

from pillion.core.measures import Switchover
from pillion.core.model import HostId
from pillion.core.plan import Group, Place
from pillion.experiments.bench_report import MEASURES, Round, Spread, Way, page, ratios, spread


def one(way: Way, number: int, downtime_s: float, total_s: float, went_back: int = 0) -> Round:
    seen = Switchover("a2.1", 1, "a2.2", 2, 0.0, downtime_s, downtime_s, downtime_s, 0.005, 9, 9, downtime_s, 0)
    return Round(
        number=number,
        way=way,
        source=HostId("mec1"),
        target=HostId("mec2"),
        seen=seen,
        stopped_s=downtime_s + 0.1,
        total_s=total_s,
        cleaned_s=total_s + 1 if way is Way.ENGINE else None,
        phases={(Group.PRE_RELOCATION, Place.SOURCE): total_s - 1, (Group.RELOCATION, Place.TARGET): 1.0},
        lines=[("dd if=dv.tar | nc", 0.1)],
        failures={},
        went_back=went_back,
        lateness_s=0.002,
    )


ROUNDS = [
    *(one(Way.SHELL, n, 1.5, 15.0) for n in (1, 2, 3)),
    *(one(Way.EXEC, n, downtime_s, 5.0) for n, downtime_s in ((1, 1.0), (2, 9.0), (3, 1.2))),
    *(one(Way.ENGINE, n, 0.3, total_s) for n, total_s in ((1, 2.0), (2, 4.0), (3, 5.0))),
]


def test_one_slow_round_moves_no_median_but_shows_in_the_spread() -> None:
    assert str(spread(ROUNDS, Way.EXEC, MEASURES["UE-seen downtime"])) == "1.200 (1.000 to 9.000)"


def test_the_engine_is_held_against_both_baselines() -> None:
    found = {(each.measure, each.baseline): (round(each.value, 2), each.verdict) for each in ratios(ROUNDS)}
    assert found == {
        ("UE-seen downtime", Way.SHELL): (0.2, "met"),
        ("UE-seen downtime", Way.EXEC): (0.25, "met"),
        ("pre-relocation and relocation", Way.SHELL): (0.27, ""),
        ("pre-relocation and relocation", Way.EXEC): (0.8, "missed"),
    }


def test_a_way_without_rounds_has_no_figures() -> None:
    with pytest.raises(ValueError, match="no rounds"):
        spread([], Way.ENGINE, MEASURES["UE-seen downtime"])


def test_the_page_holds_every_round_and_where_it_was_taken() -> None:
    text = page(ROUNDS, {"kernel": "Linux 6"}, 200)
    assert text.count("| kept |") == len(ROUNDS)
    assert "| kernel | Linux 6 |" in text
    assert "dd if=dv.tar \\| nc" in text


def test_a_lost_state_is_said() -> None:
    text = page([*ROUNDS, one(Way.SHELL, 4, 1.0, 1.0, went_back=3)], {}, 200)
    assert "State kept in 9 of 10 migrations" in text
    assert "| lost |" in text


def test_requests_that_failed_are_counted_and_said_by_kind() -> None:
    text = page([*ROUNDS, replace(ROUNDS[0], failures={"status 502": 2})], {}, 200)
    assert "2 requests of the UE failed" in text
    assert "| 2: status 502 |" in text


def test_a_single_value_is_its_own_median() -> None:
    assert Spread((0.25,)).median == 0.25
