"""The race around its rounds: what it refuses, and how it ends early."""

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from pillion import config
from pillion.core.model import AppId, Epoch, HostId, Instance
from pillion.errors import ConfigError, HostRefused, MachineError
from pillion.experiments import bench
from pillion.experiments.bench_report import Cell
from pillion.experiments.moving import unless
from pillion.experiments.observed import Seen
from pillion.lab.assets import assets
from pillion.lab.state import LabState

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


class Terminal:
    """A host's shell that refuses some of the lines about a restore."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.typed: list[str] = []

    async def type(self, text: str) -> tuple[float, float, str]:
        if "start --checkpoint" in text and self.refusals:
            self.refusals -= 1
            raise HostRefused(f"{text}: criu failed", place="mec2")
        self.typed.append(text)
        return float(len(self.typed)), 0.5, ""


class Steering:
    async def steer(self, app: AppId, host: HostId) -> None:
        pass


def race_by_hand(monkeypatch: pytest.MonkeyPatch, refusals: int) -> tuple[Any, dict[HostId, Terminal]]:
    """A race with A3 served by hand on mec1; mec2 refuses so many restores."""

    async def observed(*words: Any) -> tuple[Any, Seen]:
        return await words[-1](), Seen(1.0, 0.005, {}, True, "whole", 0.0)

    monkeypatch.setattr(bench, "observed", observed)
    lab = config.load(assets() / "compose" / bench.LAB_FILE)
    terminals = {HostId("mec1"): Terminal(0), HostId("mec2"): Terminal(refusals)}
    race = bench._Race(lab, LabState.of(lab.lab), cast(Any, None), cast(Any, terminals))
    race._steering = cast(Any, Steering())
    race._serving[AppId("a3-manual")] = Instance(AppId("a3-manual"), HostId("mec1"), Epoch(1))
    return race, terminals


async def test_a_migration_by_hand_that_a_host_refused_is_begun_anew_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    race, terminals = race_by_hand(monkeypatch, 1)
    one = await race._manual_round(2, Cell("a3", "M3"))
    assert (one.source, one.number) == ("mec1", 2)
    assert [(str(each.cell), each.number) for each in race.failed] == [("a3-M3", 2)]
    assert "criu failed" in race.failed[0].problem
    for terminal in terminals.values():
        assert sum("docker rm --force a3-manual.1 a3-manual.2" in text for text in terminal.typed) == 1
    assert race._serving[AppId("a3-manual")] == Instance(AppId("a3-manual"), HostId("mec2"), Epoch(4))


async def test_a_host_that_always_refuses_ends_the_race(monkeypatch: pytest.MonkeyPatch) -> None:
    race, _ = race_by_hand(monkeypatch, 9)
    with pytest.raises(HostRefused, match="criu failed"):
        await race._manual_round(1, Cell("a3", "M3"))
    assert len(race.failed) == bench._ATTEMPTS
