"""The one loop with a real journal and a scripted world: what is on disk when, who answers, and where it stops."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pillion import app
from pillion.core.actions import CancelStep, MakePlan, PerformStep, UndoStep
from pillion.core.events import (
    EngineStarted,
    Event,
    HandoverCompleted,
    MigrationAbandoned,
    MigrationCompleted,
    MigrationFailed,
    MigrationRequested,
    Outcome,
    PlanMade,
    RequestRefused,
    StepDone,
    StepFailed,
    StepUndone,
    VisitSatOut,
)
from pillion.core.migration import Phase
from pillion.core.model import Epoch, Instance, MigrationId, PoaId, ZoneId
from pillion.core.plan import Situation
from pillion.core.state import Fleet
from pillion.errors import JournalError
from pillion.journal.records import Record
from pillion.journal.store import Journal, read
from pillion.lab.state import LabState
from pillion.runtime import clock
from pillion.runtime.driver import Driver

from ..core.examples import A2, MEC1, MEC2, PLANS, UE, engine_started

PATIENCE_S = 20.0
A_MOMENT_S = 0.05


class Script:
    """A world where everything succeeds at once, except the steps that are held, fail, or do something first."""

    def __init__(self, journal: Path) -> None:
        self.journal = journal
        self.performed: list[str] = []
        self.undone: list[str] = []
        self.on_disk: dict[str, list[str]] = {}
        """For each step, which steps' outcomes of its migration were on disk when it was performed."""
        self.held: dict[str, asyncio.Event] = {}
        self.first: dict[str, Callable[[], object]] = {}
        self.failing: set[str] = set()

    def hold(self, step: str) -> asyncio.Event:
        return self.held.setdefault(step, asyncio.Event())

    async def plan(self, order: MakePlan) -> Event:
        if first := self.first.get("plan"):
            first()
        return PlanMade(order.migration, PLANS[order.strategy].plan(Situation(order.app, order.source, order.target)))

    async def perform(self, order: PerformStep) -> Event:
        step, began_s = order.step.id, clock.now_s()
        self.performed.append(step)
        done = [record.fact for record in self.records() if isinstance(record.fact, StepDone)]
        self.on_disk[step] = [fact.step for fact in done if fact.migration == order.migration]
        if first := self.first.get(step):
            first()
        if step in self.held:
            await self.held[step].wait()
        if step in self.failing:
            return StepFailed(order.migration, step, "broken on purpose")
        return StepDone(order.migration, step, Outcome(began_s, 0.0))

    async def undo(self, order: UndoStep) -> Event:
        self.undone.append(order.step.id)
        return StepUndone(order.migration, order.step.id)

    def records(self) -> list[Record]:
        return list(read(self.journal))

    def told(self, kind: type) -> list:
        return [record.fact for record in self.records() if isinstance(record.fact, kind)]


class Engine:
    """A driver that runs on the journal of a state folder, and the world it drives."""

    def __init__(self, journal: Journal, world: Script, driver: Driver) -> None:
        self.journal = journal
        self.world = world
        self.driver = driver

    @property
    def a2(self):
        return self.driver.fleet.apps[A2.id]

    async def until(self, holds: Callable[[], bool]) -> None:
        await self.driver.until(lambda _: holds())

    async def settled(self) -> None:
        """Wait until this engine has begun and the app is served with no migration under way."""
        epoch = self.driver._started.epoch
        await self.until(lambda: self.driver.fleet.next_epoch > epoch and self.a2.serving and not self.a2.migration)

    async def begun(self) -> None:
        """Wait until the app is served, and forget what was done for that."""
        await self.settled()
        self.world.performed.clear()
        self.world.on_disk.clear()

    async def phase(self, phase: Phase) -> None:
        await self.until(lambda: self.a2.migration is not None and self.a2.migration.phase is phase)


def started(fleet: Fleet, **rules: float) -> EngineStarted:
    first = engine_started(fleet.next_epoch)
    return replace(first, policy=replace(first.policy, **rules))


@asynccontextmanager
async def engine(folder: Path, settle_s: float = 0.0, retry_s: float = 10.0) -> AsyncIterator[Engine]:
    """An engine that takes up what the folder's journal holds; it is killed at the end of the block."""
    state = LabState(folder)
    fleet = await asyncio.to_thread(app.restored, state)
    journal = await Journal.open(state.journal)
    world = Script(state.journal)
    driver = Driver(fleet, started(fleet, settle_s=settle_s, retry_s=retry_s), journal, world)
    running = asyncio.create_task(driver.run(), name="drive")
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield Engine(journal, world, driver)
    finally:
        running.cancel()
        await asyncio.wait([running])
        await journal.close()


def handover(zone: str) -> HandoverCompleted:
    return HandoverCompleted(UE, PoaId(f"poa-{zone}"), ZoneId(zone))


async def test_an_app_is_started_and_moved_and_every_step_is_in_the_journal(tmp_path: Path):
    async with engine(tmp_path) as there:
        await there.begun()
        assert there.a2.serving.host == MEC1
        await there.driver.put(handover("zone01"))
        await there.until(lambda: there.a2.serving.host == MEC2)
        await there.settled()
        done = [fact.step for fact in there.world.told(StepDone) if fact.migration == "a2-3"]
    assert sorted(done) == sorted(there.world.performed)
    assert len(there.world.told(MigrationCompleted)) == 2


async def test_what_a_step_waits_for_is_on_disk_before_it_is_performed(tmp_path: Path):
    async with engine(tmp_path) as there:
        await there.settled()
        await there.driver.put(MigrationRequested(A2.id, MEC2))
        await there.until(lambda: there.a2.migration is not None and there.a2.migration.plan is not None)
        plan = there.a2.migration.plan
        await there.settled()
    for step in plan.steps:
        must_be_there = {before for before in step.after if plan.commits_before_acting(plan.step(before))}
        assert must_be_there <= set(there.world.on_disk[step.id]), step.id


async def test_in_the_downtime_nothing_waits_for_the_disk_but_what_follows_the_fence_and_the_proof(tmp_path: Path):
    async with engine(tmp_path) as there:
        await there.begun()
        disk_is_free = threading.Event()

        def hold_the_disk() -> None:
            there.journal._thread.submit(disk_is_free.wait, PATIENCE_S)

        there.world.first["last-bytes"] = hold_the_disk
        proven = there.world.hold("prove")
        try:
            await there.driver.put(MigrationRequested(A2.id, MEC2))
            while "prove" not in there.world.performed:
                await asyncio.sleep(0.001)
            assert not {"last-bytes", "start"} & set(there.world.on_disk["prove"]), "the disk is held"
            assert "fence" in there.world.on_disk["last-bytes"]
            proven.set()
            await asyncio.sleep(A_MOMENT_S)
            assert "switch" not in there.world.performed, "no traffic is steered before the proof is on disk"
        finally:
            disk_is_free.set()
        await there.settled()
        assert "prove" in there.world.on_disk["switch"]
    steps = [fact.step for fact in there.world.told(StepDone) if fact.migration == "a2-3"]
    assert steps.index("fence") < steps.index("last-bytes") < steps.index("start") < steps.index("prove")


async def test_each_step_says_how_long_it_was_from_its_cause_to_its_begin(tmp_path: Path):
    async with engine(tmp_path) as there:
        await there.settled()
        await there.driver.put(handover("zone01"))
        await there.until(lambda: there.a2.serving.host == MEC2)
        await there.settled()
        deciding_s = {fact.step: fact.outcome.deciding_s for fact in there.world.told(StepDone)}
    assert all(0 < seconds < PATIENCE_S for seconds in deciding_s.values())


async def test_an_event_and_the_decisions_about_it_are_written_in_one_commit(tmp_path: Path):
    async with engine(tmp_path) as there:
        await there.settled()
        await there.driver.put(MigrationRequested(A2.id, MEC1))
        while not there.world.told(RequestRefused):
            await asyncio.sleep(0.001)
        last = there.world.records()[-2:]
    assert [(record.role, record.kind) for record in last] == [
        ("event", "MigrationRequested"),
        ("decision", "RequestRefused"),
    ]
    assert last[0].now_s == last[1].now_s
    assert {record.epoch for record in there.world.records()} == {1}


async def test_a_step_that_is_cancelled_answers_exactly_once(tmp_path: Path):
    async with engine(tmp_path, settle_s=60.0) as there:
        await there.settled()
        there.world.hold("commit")
        there.world.hold("copy-volume")
        await there.driver.put(handover("zone01"))
        await there.until(lambda: there.a2.migration is not None and "commit" in there.a2.migration.running)
        await there.driver.put(handover("zone02"))
        await there.settled()
        answers = [fact for kind in (StepDone, StepFailed) for fact in there.world.told(kind)]
        answered = [fact.step for fact in answers if fact.migration == "a2-3"]
    assert sorted(answered) == sorted(set(answered))
    assert {fact.problem for fact in there.world.told(StepFailed)} == {"cancelled"}
    assert there.world.told(MigrationAbandoned)
    assert there.world.told(VisitSatOut)
    assert set(there.world.undone) == set(answered), "what was begun is undone, also what was cancelled"


async def test_steps_that_are_cancelled_in_the_moment_they_are_ordered_answer_exactly_once(tmp_path: Path):
    async with engine(tmp_path, settle_s=60.0) as there:
        await there.settled()
        # Right behind the plan comes the change of mind: both are decided on in one batch.
        loop = asyncio.get_running_loop()
        there.world.first["plan"] = lambda: loop.call_soon(
            there.driver._inbox.put_nowait, (clock.now_s(), handover("zone02"))
        )
        for step in ("tell-source", "open-link"):
            there.world.hold(step)
        await there.driver.put(handover("zone01"))
        await there.until(lambda: there.a2.migration is not None)
        await there.settled()
        answers = [fact for kind in (StepDone, StepFailed) for fact in there.world.told(kind)]
        answered = sorted(fact.step for fact in answers if fact.migration == "a2-3")
    assert answered == ["create-volume", "network", "open-link", "tell-source"]


async def test_a_task_that_is_cancelled_before_it_has_begun_is_answered_for(tmp_path: Path):
    journal = await Journal.open(tmp_path / "journal.db")
    driver = Driver(Fleet.empty(), engine_started(), journal, Script(journal.path))
    source, target = Instance(A2.id, MEC1, Epoch(2)), Instance(A2.id, MEC2, Epoch(3))
    order = PerformStep(MigrationId("a2-3"), A2, PLANS["M2"].plan(Situation(A2, source, target)).steps[0])
    async with asyncio.TaskGroup() as tasks:
        driver._carry_out(CancelStep(order.migration, order.step), tasks, 0.0)  # none runs: nothing to cancel
        driver._carry_out(order, tasks, 0.0)
        driver._steps[order.migration, order.step.id].cancel()
        driver._carry_out(CancelStep(order.migration, order.step), tasks, 0.0)
    assert driver._inbox.get_nowait()[1] == StepFailed(order.migration, order.step.id, "cancelled")
    assert driver._inbox.empty()
    assert not driver._steps
    await journal.close()


async def test_a_restart_folds_the_journal_to_the_same_fleet(tmp_path: Path):
    async with engine(tmp_path) as there:
        await there.settled()
        await there.driver.put(handover("zone02"))
        await there.driver.put(handover("zone01"))
        await there.until(lambda: there.a2.serving.host == MEC2)
        await there.settled()
        there.world.failing.add("commit")
        await there.driver.put(MigrationRequested(A2.id, MEC1))
        while not there.world.told(MigrationFailed):
            await asyncio.sleep(0.001)
        await there.journal.append([])  # what was handed over before is on disk after this
        assert app.restored(LabState(tmp_path)) == there.driver.fleet


@pytest.mark.parametrize("step", ["commit", "fence", "prove", "switch", "remove-source"])
async def test_an_engine_that_is_killed_in_any_step_is_followed_by_one_that_finishes(tmp_path: Path, step: str):
    async with engine(tmp_path) as killed:
        await killed.begun()
        killed.world.hold(step)
        await killed.driver.put(handover("zone01"))
        while step not in killed.world.performed:
            await asyncio.sleep(0.001)
        proven = killed.a2.serving.host == MEC2
    async with engine(tmp_path, retry_s=0.05) as there:
        await there.until(lambda: there.driver.fleet.next_epoch > killed.driver.fleet.next_epoch)
        assert (there.a2.serving.host == MEC2) == proven
        await there.until(lambda: there.a2.serving.host == MEC2 and there.a2.migration is None)
        if proven:
            assert not there.world.undone
            assert step in there.world.performed, "what was under way is performed again"
        else:
            assert there.world.undone[0] == step if step == "fence" else step in there.world.undone
            assert "commit" in there.world.undone, "what was begun is taken back before it is begun anew"


async def test_the_state_written_by_one_engine_gives_the_next_one_a_larger_epoch(tmp_path: Path):
    for engines in (1, 2, 3):
        async with engine(tmp_path) as there:
            await there.settled()
            epochs = [fact.epoch for fact in there.world.told(EngineStarted)]
            assert len(epochs) == engines
            assert epochs == sorted(set(epochs))


async def test_the_inbox_is_bounded_so_that_who_floods_it_waits(tmp_path: Path):
    journal = await Journal.open(tmp_path / "journal.db")
    driver = Driver(Fleet.empty(), engine_started(), journal, Script(tmp_path / "journal.db"))
    for _ in range(1000):
        await driver.put(handover("zone01"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(A_MOMENT_S):
            await driver.put(handover("zone01"))
    await journal.close()


async def test_a_flood_of_handovers_is_taken_in_and_none_is_dropped(tmp_path: Path):
    async with engine(tmp_path, settle_s=60.0) as there:
        await there.settled()
        before = len(there.world.told(HandoverCompleted))
        for number in range(3000):
            await there.driver.put(HandoverCompleted(UE, PoaId(f"p{number}"), ZoneId("zone02")))
        await there.until(lambda: there.a2.poa == "p2999")
        await there.journal.append([])  # what was handed over before is on disk after this
        poas = [fact.poa for fact in there.world.told(HandoverCompleted)][before:]
    assert poas == [f"p{number}" for number in range(3000)]


async def test_what_no_part_of_the_engine_expected_ends_it(tmp_path: Path):
    journal = await Journal.open(tmp_path / "journal.db")
    world = Script(tmp_path / "journal.db")

    def bug() -> None:
        raise ZeroDivisionError("a bug of ours")

    world.first["create"] = bug
    driver = Driver(Fleet.empty(), engine_started(), journal, world)
    with pytest.raises(ExceptionGroup) as raised:
        async with asyncio.timeout(PATIENCE_S):
            await driver.run()
    assert raised.group_contains(ZeroDivisionError, match="a bug of ours")
    await journal.close()
    assert [fact.step for fact in world.told(StepDone)] == ["hold", "create-volume"]


async def test_a_journal_that_cannot_be_written_ends_the_engine_before_it_acts(tmp_path: Path):
    journal = await Journal.open(tmp_path / "journal.db")
    world = Script(journal.path)
    await asyncio.get_running_loop().run_in_executor(
        journal._thread, journal._connection.execute, "PRAGMA query_only=1"
    )
    driver = Driver(Fleet.empty(), engine_started(), journal, world)
    with pytest.raises(ExceptionGroup) as raised:
        async with asyncio.timeout(PATIENCE_S):
            await driver.run()
    assert raised.group_contains(JournalError, match="cannot be written")
    assert world.performed == []
    await journal.close()


async def test_a_stop_waits_for_a_relocation_and_not_for_a_preparation(tmp_path: Path):
    async with engine(tmp_path, settle_s=0.05) as there:
        await there.settled()
        await there.driver.drained()
        sent, begun, cleaned = (there.world.hold(step) for step in ("send-image", "start", "remove-source"))
        await there.driver.put(handover("zone01"))
        await there.phase(Phase.PRE_RELOCATING)
        await there.driver.drained()
        sent.set()
        await there.phase(Phase.RELOCATING)
        draining = asyncio.create_task(there.driver.drained())
        for release in (begun, cleaned):
            await asyncio.sleep(A_MOMENT_S)
            assert not draining.done()
            release.set()
        await draining
        assert there.a2.serving.host == MEC2
        assert there.a2.migration is None


async def test_a_visit_is_looked_at_again_when_it_has_settled(tmp_path: Path):
    async with engine(tmp_path, settle_s=1.0) as there:
        await there.settled()
        clock = asyncio.get_running_loop().time
        await there.driver.put(handover("zone01"))
        await there.phase(Phase.PREPARED)
        entered_s = there.a2.visit.since_s
        await there.until(lambda: there.a2.serving.host == MEC2)
        assert clock() - entered_s >= 1.0
        await there.settled()
