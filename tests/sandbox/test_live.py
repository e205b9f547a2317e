"""The ticker, on the loop's clock: how long ticks are, and what a pause does to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pillion.errors import ConfigError
from pillion.sandbox import live as live_module
from pillion.sandbox.live import LiveWorld
from pillion.sandbox.world import Automation
from tests.sandbox.cities import street

pytestmark = pytest.mark.looptime


@asynccontextmanager
async def ticking(speed: float = 1.0) -> AsyncIterator[LiveWorld]:
    live = LiveWorld(street(), name="sbxtest", speed=speed, clock=asyncio.get_running_loop().time)
    ticker = asyncio.create_task(live.run(), name="tick sbxtest")
    yield live
    ticker.cancel()
    await asyncio.wait([ticker])


async def test_nothing_ticks_before_the_drive_is_started() -> None:
    async with ticking() as live:
        await asyncio.sleep(100)
        assert live.world.ticks == 0


async def test_at_speed_1_a_tick_takes_a_second() -> None:
    async with ticking() as live:
        await asyncio.sleep(7.3)
        live.drive(True)
        await asyncio.sleep(60.5)
        assert live.world.ticks == 60
        assert live.world.simulated_s == pytest.approx(60.0)
        assert live.driving


async def test_at_speed_20_twenty_simulated_seconds_pass_in_one() -> None:
    async with ticking(speed=20) as live:
        live.drive(True)
        await asyncio.sleep(10.01)
        assert live.world.ticks == 200
        assert live.world.simulated_s == pytest.approx(200.0)


async def test_a_pause_is_not_made_up_for() -> None:
    async with ticking() as live:
        live.drive(True)
        await asyncio.sleep(3.5)
        live.drive(False)
        await asyncio.sleep(1000)
        assert (live.world.ticks, live.driving) == (3, False)
        live.drive(True)
        await asyncio.sleep(2.5)
        assert live.world.ticks == 5
        assert live.world.simulated_s == pytest.approx(5.0)


async def test_a_pause_shorter_than_a_tick_leaves_a_shorter_tick() -> None:
    async with ticking() as live:
        live.drive(True)
        await asyncio.sleep(1.2)
        live.drive(False)
        await asyncio.sleep(0.5)
        live.drive(True)
        await asyncio.sleep(0.4)
        assert live.world.ticks == 2
        assert live.world.simulated_s == pytest.approx(1.3), "0.2 s before the pause are lost with it"


async def test_a_late_tick_is_a_longer_one_and_missed_ones_are_not_made_up_for() -> None:
    async with ticking() as live:
        world, late_by_s = live.world, 2.6
        live.drive(True)
        await asyncio.sleep(1.5)
        clock, live._clock = live._clock, lambda: clock() + late_by_s  # the process was not scheduled for 2.6 s
        await asyncio.sleep(0.6)
        assert world.ticks == 2
        assert world.simulated_s == pytest.approx(2.0 + late_by_s)
        await asyncio.sleep(1.0)
        assert world.ticks == 3
        assert world.simulated_s == pytest.approx(3.0 + late_by_s)


async def test_switching_mobility_alone_ticks_without_moving_anyone() -> None:
    async with ticking() as live:
        live.automate(Automation.MOBILITY, True)
        await asyncio.sleep(5.5)
        assert (live.world.ticks, live.world.simulated_s, live.driving) == (5, 0.0, False)
        live.automate(Automation.MOVEMENT, True)
        await asyncio.sleep(1.0)
        assert live.world.simulated_s == pytest.approx(0.5), "the first movement counts from its switching on"


async def test_the_log_of_questions_is_bounded_and_says_how_many_went(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "QUERIES_KEPT", 3)
    live = LiveWorld(street(), name="sbxtest")
    for number in range(5):
        live.note(f"app/{number}", "10.0.0.1", None)
    assert [told.agent for told in live.queries] == ["app/2", "app/3", "app/4"]
    assert live.queries_dropped == 2


@pytest.mark.parametrize("speed", [0.0, -1.0, 1e6, float("nan")])
async def test_a_speed_that_is_none_is_refused(speed: float) -> None:
    with pytest.raises(ConfigError, match="is no speed"):
        LiveWorld(street(), name="sbxtest", speed=speed)
