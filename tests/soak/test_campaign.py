"""The campaigns' pure pieces, and how a campaign is resumed; no Docker."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.soak import calibration, campaign, migrations
from tests.soak.calibration import Calibration
from tests.soak.campaign import Facts, Result, RunCase, Violation
from tests.soak.keys import MIGRATIONS, Keys
from tests.soak.migrations import BLOCKS, SIZE, Migrations, Tolerance, log_gaps, sums, tolerance


class Fake:
    """A part of three cases; `answer` says what comes of one."""

    name, title = "fake", "A fake"

    def __init__(self, answer: Callable[[str], Facts]) -> None:
        self.answer = answer
        self.ran: list[str] = []
        self.opened = 0
        self.wrong: list[str] = []

    def cases(self) -> Sequence[str]:
        return ["one", "two", "three"]

    @asynccontextmanager
    async def open(self) -> AsyncIterator[RunCase]:
        self.opened += 1

        async def run_case(case: str) -> Facts:
            self.ran.append(case)
            return self.answer(case)

        yield run_case

    def page(self, results: Sequence[Result]) -> str:
        return ", ".join(result.case for result in results)

    def failures(self, results: Sequence[Result]) -> Sequence[str]:
        return self.wrong


class World:
    """What a campaign runs in: the code under test, and where its page is written."""

    def __init__(self, folder: Path) -> None:
        self.code = "first"
        self._page = folder / "results" / "fake.md"

    def page(self) -> str:
        """The page of the fake part; empty if none was written."""
        return self._page.read_text() if self._page.exists() else ""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world without Docker and git."""
    made = World(tmp_path)

    async def code() -> str:
        return made.code

    async def conditions() -> dict[str, str]:
        return {"machine": "none"}

    monkeypatch.setattr(campaign, "WORK", tmp_path / "work")
    monkeypatch.setattr(campaign, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(campaign, "_code", code)
    monkeypatch.setattr(campaign, "conditions", conditions)
    return made


async def run(part: Fake, *, fresh: bool = False, limit_s: float = 60) -> int:
    return await campaign.campaign(part, fresh=fresh, limit_s=limit_s)


def fails_at(wrong: str, error: BaseException) -> Callable[[str], Facts]:
    def answer(case: str) -> Facts:
        if case == wrong:
            raise error
        return {}

    return answer


async def interrupted_at_two() -> None:
    with pytest.raises(asyncio.CancelledError):
        await run(Fake(fails_at("two", asyncio.CancelledError())))


async def test_an_interrupted_campaign_goes_on_where_it_stopped(world: World) -> None:
    await interrupted_at_two()
    resumed = Fake(lambda _: {})
    assert await run(resumed) == 0
    assert resumed.ran == ["two", "three"]
    assert "one, two, three" in world.page()


async def test_changed_code_and_a_fresh_start_begin_with_the_first_case(world: World) -> None:
    await interrupted_at_two()
    anew = Fake(lambda _: {})
    assert await run(anew, fresh=True) == 0
    assert anew.ran == ["one", "two", "three"]
    world.code = "second"
    changed = Fake(lambda _: {})
    await run(changed)
    assert changed.ran == ["one", "two", "three"]


async def test_time_that_is_up_leaves_the_rest_to_the_next_run(world: World) -> None:
    assert await run(Fake(lambda _: {}), limit_s=-1) == 3
    assert world.page() == ""


@pytest.mark.parametrize("error", [Violation("two hosts serve"), ValueError("two hosts serve")])
async def test_what_breaks_a_case_is_kept_and_the_lab_is_made_anew(world: World, error: Exception) -> None:
    part = Fake(fails_at("two", error))
    assert await run(part) == 1
    assert part.ran == ["one", "two", "three"]
    assert part.opened == 2
    assert "two: " in world.page()
    assert "two hosts serve" in world.page()


async def test_what_does_not_hold_of_all_cases_together_fails_the_campaign(world: World) -> None:
    part = Fake(lambda _: {})
    part.wrong = ["it grows"]
    assert await run(part) == 1
    assert "- it grows" in world.page()


# --- migrations-m2 ---


def block(**changes: Any) -> Facts:
    steps = dict.fromkeys(["fence", "last-bytes", "start", "prove", "switch", "kill"], 0.05)
    moved = {"migration": "a2-3", "status": "completed", "seconds": 0.7, "downtime_s": 0.3, "steps_s": steps}
    moved |= {"held": 60, "lost": 0, "stale": 0} | changes.pop("migration", {})
    counted = {"journal: bytes": 1000, "engine kB": 70_000, "mec1: images": 3} | changes.pop("counted", {})
    facts = {"lab": "l", "migrations": [moved] * SIZE, "counted": counted, "late_s": 0.01}
    zeros = dict.fromkeys(["failed", "stale", "went_back", "log_gaps", "counter_off"], 0)
    return facts | zeros | {"zone_changes": {"pre-relocation": 1, "relocation": 1}} | changes


def blocks(last: Facts) -> list[Result]:
    return [
        Result(case, 20.0, last if number == BLOCKS - 1 else block())
        for number, case in enumerate(Migrations("M2").cases())
    ]


def test_the_blocks_are_200_migrations() -> None:
    assert [len(Migrations("M2").cases()), BLOCKS * SIZE] == [10, 200]
    assert Migrations("M2").cases()[-1] == "migrations 181 to 200"


def test_200_equal_migrations_hold() -> None:
    assert Migrations("M2").failures(blocks(block())) == []
    assert "200 of 200 completed" in Migrations("M2").page(blocks(block()))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"migration": {"downtime_s": 0.346}}, "the downtime grew: last block to first 1.153"),
        ({"migration": {"downtime_s": None}}, "the downtime grew"),
        ({"migration": {"status": "failed"}}, "a2-3 failed"),
        ({"failed": 1}, "failed is 1"),
        ({"stale": 1}, "stale is 1"),
        ({"went_back": 1}, "went_back is 1"),
        ({"log_gaps": 1}, "log_gaps is 1"),
        ({"counter_off": -1}, "counter_off is -1"),
        ({"counter_off": None}, "counter_off is None"),
        ({"counted": {"mec1: images": 4}}, "mec1: images grew from 3 to 4"),
        ({"counted": {"engine kB": 80_600}}, "engine kB grew from 70,000 to 80,600"),
        ({"lab": "another"}, "start over"),
        ({"lab": "another", "migrations": []}, "start over"),
    ],
)
def test_each_thing_that_grows_or_is_lost_is_a_failure_and_the_page_is_still_written(
    changes: Mapping[str, Any], said: str
) -> None:
    results = blocks(block(**changes))
    assert any(said in line for line in Migrations("M2").failures(results))
    assert Migrations("M2").page(results)


def test_blocks_that_were_left_out_after_an_interruption_make_no_trend() -> None:
    results = [*blocks(block())[:-1], Result("migrations 181 to 200", 0.0, {"lab": "another", "left_out": True})]
    assert "start over" in Migrations("M2").failures(results)[0]
    assert "started over" in Migrations("M2").page(results)


def test_a_tolerance_is_for_growth_and_none_means_the_same() -> None:
    assert Tolerance(0.10, 2).flat(20, 22)
    assert not Tolerance(0.10, 2).flat(20, 23)
    assert Tolerance(0.10, 2).flat(100, 50)
    assert Tolerance(0, 0).flat(3, 3)
    assert not Tolerance(0, 0).flat(3, 2)
    assert tolerance("mec1: dockerd files") == Tolerance(0.10, 2)
    assert tolerance("engine files") == Tolerance(0.10, 4)
    assert tolerance("mec2: /var/lib/docker kB").share == 0 != tolerance("mec2: dockerd kB").share
    assert tolerance("layers of the app's image") == Tolerance(0, 0)


def test_what_several_processes_hold_is_added_up() -> None:
    assert sums("haproxy files 4\nhaproxy kB 100\nhaproxy files 46\n") == {"haproxy files": 50, "haproxy kB": 100}


def test_changes_that_no_migration_met_prove_nothing() -> None:
    results = [
        Result(case, 20.0, block(zone_changes={"pre-relocation": 2, "relocation": 0}))
        for case in Migrations("M2").cases()
    ]
    assert Migrations("M2").failures(results) == ["no zone change fell into the midst of relocation"]


def test_a_zone_change_counts_where_a_migration_was_under_way() -> None:
    zones = [(1.0, "zone01"), (2.0, "zone01"), (3.0, None), (4.0, "zone01"), (5.5, "zone02"), (9.0, "zone03")]
    truth = {"changes": [{"monotonic_s": at_s, "zone": zone} for at_s, zone in zones]}
    assert migrations.changes_in(truth, [(0.5, 2.5), (5.0, 6.0)]) == 2
    assert migrations.changes_in(truth, [(1.5, 5.0)]) == 0


def test_a_log_that_lacks_a_change_or_a_zone_has_gaps() -> None:
    log = [{"seq": 1, "event": "start"}, {"seq": 2, "event": "zone"}, {"seq": 3, "event": "phase"}]
    assert log_gaps({"seq": 3, "counter": 1, "log": log}) == 0
    assert log_gaps({"seq": 4, "counter": 1, "log": log}) == 1
    assert log_gaps({"seq": 3, "counter": 2, "log": log}) == 1
    assert log_gaps({"seq": 3, "counter": 1, "log": log[1:]}) == 1


# --- calibration ---


def stop(downtime_s: float, lower_bound_s: float) -> Facts:
    return {"slept_s": 0.050, "true_s": 0.050, "downtime_s": downtime_s, "lower_bound_s": lower_bound_s}


def stops(*each: Facts) -> Result:
    about = {"planned_s": 0.05, "resolution_s": 0.002, "latency_s": 0.0005, "late_s": 0.003, "failed": 0}
    return Result("stop of 50 ms", 5.0, {"stops": each, **about})


def pairs(slowed_by_s: float) -> Result:
    moved = [
        {"planned_s": sleep_s, "slept_s": sleep_s, "downtime_s": 0.3 + drift_s + (slowed_by_s if sleep_s else 0)}
        for drift_s in (0.0, 0.01, 0.02)
        for sleep_s in (0.0, 0.1)
    ]
    return Result("slowed start, block 1", 5.0, {"migrations": moved, "failed": 0, "late_s": 0.003})


def test_a_stop_between_the_two_figures_and_a_difference_as_planned_hold() -> None:
    results = [stops(stop(0.052, 0.0495)), pairs(0.1)]
    assert Calibration().failures(results) == []
    assert "1 of 1" in Calibration().page(results)
    assert "**100 ms**" in Calibration().page(results)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (stops(stop(0.0551, 0.0495)), "measured +5.1 ms off"),
        (stops(stop(0.0489, 0.0480)), "measured -1.1 ms off"),
        (stops(stop(0.0530, 0.0511)), "1 of 1 not between"),
        (pairs(0.116), "seen as 116 ms more, not 100"),
        (pairs(0.084), "seen as 84 ms more, not 100"),
    ],
)
def test_what_is_off_is_a_failure(wrong: Result, said: str) -> None:
    assert any(said in line for line in Calibration().failures([wrong]))
    assert Calibration().page([wrong])


def test_the_interval_of_a_difference_holds_it_and_is_the_same_each_time() -> None:
    plain_s, slowed_s = [0.30, 0.31, 0.35, 0.29], [0.40, 0.42, 0.44, 0.41]
    found, low, high = calibration.difference_s(plain_s, slowed_s)
    assert low < found < high
    assert calibration.difference_s(plain_s, slowed_s) == (found, low, high)


def test_the_ratio_is_of_the_last_block_to_the_first() -> None:
    faster = block(migration={"downtime_s": 0.15})
    assert migrations.ratio([block(), faster]) == pytest.approx(0.5)


def key_migrations(**last: Any) -> list[Result]:
    facts = {"lab": "l", "downtime_s": 0.5, "fenced_s": 0.45, "forecast_s": 0.6, "seconds": 4.0, "tries": 2.0}
    facts |= {
        "sent_bytes": {"send-checkpoint": 52_000_000},
        "reads": 400,
        "writes": 410,
        "cuts": [1] * 4,
        "keys": 10_000,
    }
    return [
        Result(case, 8.0, facts | last if number == MIGRATIONS - 1 else facts)
        for number, case in enumerate(Keys().cases())
    ]


def test_migrations_of_keys_hold_if_they_were_in_a_row_on_one_lab() -> None:
    assert Keys().failures(key_migrations()) == []
    assert "**20 of 20 succeeded**" in Keys().page(key_migrations())
    assert "500 (500 to 900)" in Keys().page(key_migrations(downtime_s=0.9))
    assert Keys().failures(key_migrations(lab="another"))


def test_the_page_of_keys_is_written_whatever_came_of_them() -> None:
    lost = [Result(case, 1.0, {}, "1 of 10000 keys missing") for case in Keys().cases()]
    assert "**0 of 20 succeeded**" in Keys().page(lost)
    assert Keys().failures(lost)
