"""The one loop: event → decide → journal → perform → event.

Only this loop changes the fleet. Whoever has something to say puts an event into the bounded inbox; the loop takes what
has come, decides, writes it down, and starts a task for each order. Orders answer with events, so nothing is awaited
here but the inbox and the journal. Records are committed before the orders that follow from them are carried out,
except in the downtime, where `Plan.commits_before_acting` names the two that must be.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol, TypeVar

from pillion.core.actions import Action, Announce, CancelStep, MakePlan, PerformStep, SetAlarm, UndoStep
from pillion.core.events import AlarmRang, Announcement, EngineStarted, Event, PlanMade, StepDone, StepFailed
from pillion.core.fleet import decide
from pillion.core.migration import Phase
from pillion.core.model import MigrationId, StepId
from pillion.core.state import Fleet
from pillion.journal.records import Record
from pillion.journal.store import Journal
from pillion.runtime import clock

log = logging.getLogger(__name__)

_Order = TypeVar("_Order")
_INBOX = 1000
_UNFINISHED = frozenset({Phase.RELOCATING, Phase.SWITCHING, Phase.CLEANING_UP, Phase.UNDOING})


class World(Protocol):
    """What carries out orders. Failures of the world come back as events; an exception is a bug and ends the engine."""

    async def plan(self, order: MakePlan) -> Event: ...

    async def perform(self, order: PerformStep) -> Event: ...

    async def undo(self, order: UndoStep) -> Event: ...


class Driver:
    """Holds the fleet and drives it. `run` never returns by itself; `drained` waits until it is safe to stop."""

    def __init__(self, fleet: Fleet, started: EngineStarted, journal: Journal, world: World) -> None:
        self.fleet = fleet
        self._started = started
        self._journal = journal
        self._world = world
        self._inbox: asyncio.Queue[tuple[float, Event]] = asyncio.Queue(_INBOX)
        self._steps: dict[tuple[MigrationId, StepId], asyncio.Task[None]] = {}
        self._changed = asyncio.Event()

    async def put(self, event: Event) -> None:
        """Hand an event in; waits while the inbox is full."""
        await self._inbox.put((clock.now_s(), event))

    async def run(self) -> None:
        """Drive until cancelled. Raises what no part of the engine expected."""
        await self.put(self._started)
        async with asyncio.TaskGroup() as tasks:
            while True:
                batch = [await self._inbox.get()]
                while not self._inbox.empty():
                    batch.append(self._inbox.get_nowait())
                orders, records = await self._decide(batch)
                for cause_s, order in orders:
                    self._carry_out(order, tasks, cause_s)
                asyncio.get_running_loop().call_soon(_tell, records)  # once the orders are under way

    async def until(self, holds: Callable[[Fleet], bool]) -> None:
        """Wait until something holds of the fleet."""
        while not holds(self.fleet):
            self._changed.clear()
            await self._changed.wait()

    async def drained(self) -> None:
        """Wait until no app is between two hosts: a stop then leaves every source or target serving."""
        await self.until(
            lambda fleet: not any(s.migration and s.migration.phase in _UNFINISHED for s in fleet.apps.values())
        )

    async def _decide(self, batch: list[tuple[float, Event]]) -> tuple[list[tuple[float, Action]], list[Record]]:
        """Decide on a batch of events and write it down.

        The orders that may now be carried out, each with the instant when the engine heard of its cause; the records.
        """
        orders: list[tuple[float, Action]] = []
        records: list[Record] = []
        must_wait = False
        for heard_s, event in batch:
            must_wait |= self._commits_before_acting(event)
            now_s = clock.now_s()
            records.append(self._record(event, "event", now_s))
            self.fleet, decided = decide(self.fleet, event, now_s)
            records += [self._record(order.fact, "decision", now_s) for order in decided if isinstance(order, Announce)]
            orders += [(heard_s, order) for order in decided if not isinstance(order, Announce)]
        written = self._journal.append(records)
        if must_wait:
            await written
        else:
            written.add_done_callback(self._written_late)
        self._changed.set()
        return orders, records

    def _commits_before_acting(self, event: Event) -> bool:
        if isinstance(event, StepDone):
            moving = self.fleet.migration(event.migration)
            if moving and moving.plan:
                return moving.plan.commits_before_acting(moving.plan.step(event.step))
        return True

    def _record(self, fact: Event | Announcement, role: str, now_s: float) -> Record:
        return Record(0, clock.utc(), now_s, self._started.epoch, role, fact)

    def _written_late(self, written: asyncio.Future[list[int]]) -> None:
        if not written.cancelled() and (error := written.exception()):
            # The next commit that is waited for fails as well and ends the engine; say now what is wrong.
            log.error("%s", error)

    def _carry_out(self, order: Action, tasks: asyncio.TaskGroup, cause_s: float) -> None:
        match order:
            case SetAlarm(app=app, at_s=at_s):
                tasks.create_task(self._ring(AlarmRang(app), at_s), name=f"alarm {app}")
            case MakePlan():
                tasks.create_task(self._answer(self._world.plan, order, cause_s), name=f"plan {order.migration}")
            case PerformStep():
                key = order.migration, order.step.id
                task = tasks.create_task(
                    self._answer(self._world.perform, order, cause_s),
                    name=f"perform {order.step.id} of {order.migration}",
                )
                self._steps[key] = task
                task.add_done_callback(lambda _: self._steps.pop(key, None))
            case CancelStep():
                # A step that has just ended has answered already, and its answer is in the inbox.
                if running := self._steps.get((order.migration, order.step.id)):
                    tasks.create_task(self._cancel(running, order), name=f"cancel {order.step.id} of {order.migration}")
            case UndoStep():
                tasks.create_task(
                    self._answer(self._world.undo, order, cause_s), name=f"undo {order.step.id} of {order.migration}"
                )
            case Announce():
                pass

    async def _answer(self, carry_out: Callable[[_Order], Awaitable[Event]], order: _Order, cause_s: float) -> None:
        event = await carry_out(order)
        if isinstance(event, (PlanMade, StepDone)) and event.outcome:
            told_to_wait_s = order.delay_s if isinstance(order, PerformStep) else 0.0
            deciding_s = max(0.0, event.outcome.began_s - cause_s - told_to_wait_s)
            event = replace(event, outcome=replace(event.outcome, deciding_s=deciding_s))
        await self.put(event)

    async def _cancel(self, running: asyncio.Task[None], order: CancelStep) -> None:
        running.cancel()
        await asyncio.wait({running})
        if running.cancelled():
            await self.put(StepFailed(order.migration, order.step.id, "cancelled"))

    async def _ring(self, alarm: AlarmRang, at_s: float) -> None:
        await asyncio.sleep(max(0.0, at_s - clock.now_s()))
        await self.put(alarm)


def _tell(records: list[Record]) -> None:
    for record in records:
        log.info("%s", record.line().partition(" ")[2])
