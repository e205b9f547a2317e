"""Plays events through the same `decide` as the engine's, in virtual time.

The world is simulated: it answers each order with an event some seconds later. So a day's trace replays in seconds, a
lab's rules can be tried without a lab, and the property tests drive the core through every order of events.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Protocol

from pillion.core.actions import Announce, CancelStep, MakePlan, PerformStep, SetAlarm, UndoStep
from pillion.core.events import (
    AlarmRang,
    Announcement,
    EngineStarted,
    Event,
    Outcome,
    PlanFailed,
    PlanMade,
    StepDone,
    StepFailed,
    StepUndone,
    UndoFailed,
)
from pillion.core.fleet import decide
from pillion.core.mobility import Sighting, Track
from pillion.core.plan import Group, Situation, Strategy
from pillion.core.state import Fleet
from pillion.replay.trace import Trace, when_s

Fact = Event | Announcement


class World(Protocol):
    """Answers an order with an event, so many seconds after it was given."""

    def answer(self, order: MakePlan | PerformStep | UndoStep, now_s: float) -> tuple[float, Event]: ...


class NominalWorld:
    """A world where everything succeeds, each step in the time given for its group."""

    def __init__(self, strategies: dict[str, Strategy], step_s: dict[Group, float]) -> None:
        self._strategies = strategies
        self._step_s = step_s

    def answer(self, order: MakePlan | PerformStep | UndoStep, now_s: float) -> tuple[float, Event]:
        """Success, after the nominal time."""
        match order:
            case MakePlan():
                situation = Situation(order.app, order.source, order.target)
                return 0.0, PlanMade(order.migration, self._strategies[order.strategy].plan(situation))
            case PerformStep():
                took_s = self._step_s[order.step.group]
                return order.delay_s + took_s, StepDone(order.migration, order.step.id, Outcome(now_s, took_s))
            case UndoStep():
                return order.delay_s, StepUndone(order.migration, order.step.id)


class Player:
    """Holds a fleet, the events still to come, and the story so far: `(seconds, fact)` in order."""

    def __init__(self, fleet: Fleet, world: World, check: Callable[[Fleet], None] | None = None) -> None:
        self.fleet = fleet
        self.story: list[tuple[float, Fact]] = []
        self.now_s = 0.0
        self._world = world
        self._check = check
        self._order = itertools.count()
        self._coming: list[tuple[float, int, Event]] = []

    def put(self, at_s: float, event: Event) -> None:
        """Let an event happen at a time that has not passed."""
        heapq.heappush(self._coming, (at_s, next(self._order), event))

    def run(self, until_s: float = float("inf")) -> None:
        """Play everything that happens up to `until_s`."""
        while self._coming and self._coming[0][0] <= until_s:
            self.step()

    def step(self) -> None:
        """Play the next event."""
        self.now_s, _, event = heapq.heappop(self._coming)
        self.story.append((self.now_s, event))
        self.fleet, orders = decide(self.fleet, event, self.now_s)
        for order in orders:
            self._carry_out(order)
        if self._check:
            self._check(self.fleet)

    @property
    def coming(self) -> list[Event]:
        """What is still going to happen, in order."""
        return [event for _, _, event in sorted(self._coming)]

    @property
    def pending(self) -> bool:
        """Whether anything is still going to happen."""
        return bool(self._coming)

    def forget_answers(self) -> None:
        """What a crash of the engine does: answers and alarms that were on their way are lost."""
        lost = PlanMade | PlanFailed | StepDone | StepFailed | StepUndone | UndoFailed | AlarmRang
        self._coming = [coming for coming in self._coming if not isinstance(coming[2], lost)]
        heapq.heapify(self._coming)

    def _carry_out(self, order: Announce | SetAlarm | MakePlan | PerformStep | CancelStep | UndoStep) -> None:
        match order:
            case Announce(fact=fact):
                self.story.append((self.now_s, fact))
            case SetAlarm(app=app, at_s=at_s):
                self.put(max(at_s, self.now_s), AlarmRang(app))
            case CancelStep(migration=migration, step=step):
                self._cancel(StepFailed(migration, step.id, "cancelled"))
            case _:
                after_s, event = self._world.answer(order, self.now_s)
                self.put(self.now_s + after_s, event)

    def _cancel(self, instead: StepFailed) -> None:
        for index, (_, number, event) in enumerate(self._coming):
            if isinstance(event, StepDone | StepFailed) and (event.migration, event.step) == (
                instead.migration,
                instead.step,
            ):
                self._coming[index] = (self.now_s, number, instead)
                heapq.heapify(self._coming)
                return


def play_trace(trace: Trace, started: EngineStarted, world: World, lookahead_s: float) -> Player:
    """The player after a whole trace has gone through mobility, prediction, placement and the fleet."""
    player = Player(Fleet.empty(), world)
    player.put(0.0, started)
    track = Track(trace.ue)
    for seen in trace.observations:
        # Of the rest a track makes nothing: it was a reason to ask, and the answer is a line of its own.
        if isinstance(seen, Sighting):
            track, events = track.saw(seen, trace.layout, lookahead_s)
            for event in events:
                player.put(when_s(seen), event)
    player.run()
    return player
