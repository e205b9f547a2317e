"""The world on the wall clock: what ticks it, what was told to whom, and the services that tell of it.

A test that judges an app has to know two truths: where the UE was, and what the app could have known when it asked. The
first is the world's; the second is kept here, one line for each question about a single UE.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from pillion.errors import ConfigError
from pillion.sandbox.faults import Faults
from pillion.sandbox.notifications import Line, Notification
from pillion.sandbox.scenario import Poa, Scenario
from pillion.sandbox.world import Automation, Change, User, World

TICK_S = 1.0
"""Simulated seconds between two ticks; the original's ticker too has one second for everything."""

QUERIES_KEPT = 100_000
"""Five hours of an app that asks five times a second; the oldest go first."""


@dataclass(frozen=True, slots=True)
class Told:
    """What one question about one UE was answered. Zone and POA are None where the answer did not list the UE."""

    monotonic_s: float
    tick: int
    agent: str
    ue: str
    zone: str | None
    poa: str | None


class Service(Protocol):
    """One API with subscriptions."""

    line: Line

    def changed(self, changes: Sequence[Change]) -> Iterable[Notification]:
        """What has to be told of handovers, in order; before anything else of their tick."""
        ...

    def refreshed(self) -> Iterable[Notification]:
        """What has to be told once a tick, when positions and measurements are new."""
        ...

    def forget(self) -> None:
        """Drop all subscriptions: the scenario has ended, or the service was started anew."""
        ...


class LiveWorld:
    """A world that its ticker (`run`), or in lockstep a test, moves; served by the API and the control app.

    `strict`: answer as the specifications have it, and not as the original does.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        name: str,
        speed: float = 1.0,
        lockstep: bool = False,
        strict: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not 0 < speed <= 1000:
            raise ConfigError(f"{speed:g} is no speed", place="sandbox", remedy="give a number above 0, up to 1000")
        self.world = World(scenario)
        self.name = name
        self.speed = speed
        self.lockstep = lockstep
        self.strict = strict
        self.services: list[Service] = []
        self.faults = Faults(clock)
        self.is_active = True
        """Whether a scenario runs; without one there are no zones, POAs or UEs to be asked about."""
        self.queries: deque[Told] = deque(maxlen=QUERIES_KEPT)
        self.queries_dropped = 0
        self.refreshed_s = int(time.time())
        """Wall clock of the last tick, whole seconds since 1970: the time stamp of every position."""
        self.elapsed_s = 0.0
        """Simulated seconds of all ticks, whether anyone moved or not: it never goes back."""
        self._scenario = scenario
        self._clock = clock
        self._automated = asyncio.Event()
        self._moved_at_s = clock()

    def __repr__(self) -> str:
        return f"<LiveWorld {self.name}: speed {self.speed:g}, {self.world!r}>"

    @property
    def scenarios(self) -> list[str]:
        """What can be activated: the scenario itself, and each of its networks by its name."""
        return [self._scenario.name, *self._scenario.networks]

    def activate(self, name: str) -> None:
        """Let a scenario begin: nobody moves, and nobody is attached. Raises ConfigError if there is none such."""
        scenario = self._scenario if name == self._scenario.name else self._scenario.network(name)
        self.terminate()
        self.world = World(replace(scenario, name=name))
        self.is_active = True

    def terminate(self) -> None:
        """End the scenario: its UEs are gone, and every subscription with them."""
        for automation in Automation:
            self.automate(automation, False)
        self.world = World(Scenario("none", {}, (), (), ()))
        self.is_active = False
        for service in self.services:
            service.line.clear()
            service.forget()

    @property
    def driving(self) -> bool:
        automation = self.world.automation
        return automation[Automation.MOVEMENT] and automation[Automation.MOBILITY]

    def drive(self, running: bool) -> None:
        """Start the drive, or pause it where it is. Safe to repeat."""
        self.automate(Automation.MOVEMENT, running)
        self.automate(Automation.MOBILITY, running)

    def automate(self, automation: Automation, running: bool) -> None:
        """Switch one automation. UEs do not catch up on the time for which MOVEMENT was off."""
        if automation is Automation.MOVEMENT and running and not self.world.automation[automation]:
            self._moved_at_s = self._clock()
        self.world.automation[automation] = running
        if any(self.world.automation.values()):
            self._automated.set()
        else:
            self._automated.clear()

    def tick(self, dt_s: float) -> None:
        """Let `dt_s` simulated seconds pass, now, and have the services tell of it: handovers first."""
        self.refreshed_s = int(time.time())
        self.elapsed_s += dt_s
        self._tell(self.world.tick(dt_s, monotonic_s=self._clock()))
        for service in self.services:
            self.faults.deliver(service.line, service.refreshed())

    def hand_over(self, ue: str, poa: Poa | None) -> None:
        """A handover by hand, now; None: out of coverage. Raises KeyError if there is no such UE."""
        change = self.world.hand_over(ue, poa, monotonic_s=self._clock())
        self._tell([change] if change else [])

    def restart(self, name: str) -> None:
        """As a sandbox that was made anew: under another name, and every subscription forgotten; UEs drive on."""
        self.name = name
        for service in self.services:
            service.line.clear()
            service.forget()

    async def told(self) -> None:
        """Until every notification has been answered, or given up."""
        for service in self.services:
            await service.line.drained()

    def _tell(self, changes: Sequence[Change]) -> None:
        for service in self.services if changes else []:
            self.faults.deliver(service.line, service.changed(changes))

    def note(self, agent: str, ue: str, told: User | None) -> None:
        """Keep what a question about one UE was answered."""
        zone, poa = (told.zone, told.poa) if told else (None, None)
        self.queries_dropped += len(self.queries) == QUERIES_KEPT
        self.queries.append(Told(self._clock(), self.world.ticks, agent, ue, zone, poa))

    async def run(self) -> None:
        """Tick for ever, once a simulated second while any automation is on.

        The interval is held on average, and each tick moves UEs by the time that truly passed: a late tick is a longer
        one, and ticks that were missed altogether are not made up for.
        """
        period_s = TICK_S / self.speed
        while True:
            await self._automated.wait()
            due_s = self._clock() + period_s
            while self._automated.is_set():
                await asyncio.sleep(due_s - self._clock())
                now_s = self._clock()
                due_s = due_s + period_s if due_s + period_s > now_s else now_s + period_s
                if self._automated.is_set():
                    dt_s = (now_s - self._moved_at_s) * self.speed
                    self._moved_at_s = now_s
                    self.tick(dt_s)
