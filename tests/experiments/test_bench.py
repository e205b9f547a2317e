"""The race around its rounds: what it refuses, and how it ends early."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from pillion.errors import ConfigError, MachineError
from pillion.experiments import bench
from pillion.experiments.moving import unless

ROOT = Path(__file__).parents[2]


async def test_another_lab_is_refused_before_anything_of_it_is_removed(tmp_path: Path) -> None:
    def engine(*_: object) -> Any:
        raise AssertionError("nothing is started")

    with pytest.raises(ConfigError, match="lacks a1, a1-manual"):
        await bench.bench(ROOT / "lab.pillion.yml", 1, None, tmp_path, engine, asyncio.Event())
    assert not await asyncio.to_thread(lambda: list(tmp_path.iterdir()))


async def test_an_interrupted_race_removes_its_lab_before_it_says_so() -> None:
    stop, tidied = asyncio.Event(), []

    async def race() -> Any:
        try:
            stop.set()
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0)
            tidied.append("lab")

    with pytest.raises(MachineError, match="interrupted"):
        await unless(stop, "bench", race())
    assert tidied == ["lab"]


async def test_a_race_that_fails_fails_with_its_own_error() -> None:
    async def race() -> Any:
        raise MachineError("no Docker Engine answers")

    with pytest.raises(MachineError, match="no Docker"):
        await unless(asyncio.Event(), "bench", race())
