"""Pulling the plug anywhere in a migration of A2: every edge of the journal, every fault at every step, each strategy.

The edges and steps are not listed here: they are what the core decides when the plan is performed, and a migration
recorded on the lab has to show the same. One case: A2 is at rest on one host, the UE asks all the while, a migration is
asked for, and one fault strikes. Then everything has to come to rest by itself, and the next migration to succeed.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from pillion import config
from pillion.config import LabSettings
from pillion.core.actions import MakePlan, PerformStep, UndoStep
from pillion.core.events import (
    AlarmRang,
    EngineStarted,
    Event,
    LeftBehind,
    MigrationAbandoned,
    MigrationCompleted,
    MigrationFailed,
    MigrationRequested,
    MigrationStarted,
    Outcome,
    PlanMade,
    StepDone,
    StepFailed,
    StepUndone,
    TargetProven,
)
from pillion.core.fleet import decide
from pillion.core.model import Epoch, HostId, MigrationId, StepId
from pillion.core.plan import Plan, Situation, Step, TransferFilesystem
from pillion.core.state import Fleet
from pillion.errors import JournalError
from pillion.experiments.http import ask_json, control_sandbox
from pillion.lab import up
from pillion.lab.state import LabState
from pillion.runtime.control import ask
from tests.soak.campaign import Facts, Result, RunCase, Violation
from tests.soak.checks import check_counter, check_rest, listed, not_a2s
from tests.soak.engine import Do, Trap, edge
from tests.soak.faults_page import page
from tests.soak.switchboard import SOURCE, TARGET, USER_PLANE, Place, Switchboard, cases_of
from tests.soak.world import (
    A2,
    EngineProcess,
    Lab,
    Shell,
    Story,
    asking,
)

LAB_FILE = Path(__file__).parent / "lab.pillion.yml"
LEAST_EDGES = 20
_TO_THE_DV = "/changePhase?inMigration=1"
REFUSED = StepId("prove")
"""Where a migration is made to fail, to have the edges of its way back: as late as it can."""


@dataclass(frozen=True, slots=True)
class KillAtEdge:
    """The engine is killed at the commit of a record; `on_the_way_back`: of a migration that fails at `REFUSED`."""

    edge: str
    do: Do
    on_the_way_back: bool = False

    def __str__(self) -> str:
        when = "before" if self.do is Do.KILL_BEFORE else "after"
        return f"kill-engine {when} commit of {self.edge}" + (f", {REFUSED} refused" if self.on_the_way_back else "")

    @property
    def traps(self) -> list[Trap]:
        """What is set for it."""
        back = [Trap(REFUSED, Do.REFUSE)] if self.on_the_way_back else []
        return [*back, Trap(self.edge, self.do)]


@dataclass(frozen=True, slots=True)
class Anew:
    """A fault while M1 flattens the whole filesystem: it does so with an app that M2 has moved, whose image has a
    configuration. Else what M1 flattened once is on both hosts, and it sends what was written since."""

    place: Place

    def __str__(self) -> str:
        return f"{self.place}, flattened anew"


Case = KillAtEdge | Place | Anew


def performed(lab: LabSettings, strategy: str, refused: StepId | None = None) -> tuple[Plan, list[str]]:
    """The plan of a migration of A2 by a strategy, and the edges of its journal, in order.

    The core decides; a world in which everything succeeds but the step `refused` answers.
    """
    app = next(app for app in lab.app_list() if app.id == A2)
    policy = replace(lab.policy(), hosts=frozenset({SOURCE, TARGET}), start={A2: SOURCE})
    strategies, fleet, plans, edges = config.all_plans(), Fleet.empty(), list[Plan](), list[str]()
    for first in (EngineStarted(Epoch(1), policy, (app,)), MigrationRequested(A2, TARGET, strategy)):
        moves = isinstance(first, MigrationRequested)
        events: list[Event] = [first]
        for event in events:
            edges += [edge(event)] if moves else []
            fleet, orders = decide(fleet, event, 0.0)
            for order in orders:
                match order:
                    case MakePlan():
                        situation = Situation(order.app, order.source, order.target)
                        plans.append(strategies[order.strategy].plan(situation))
                        events.append(PlanMade(order.migration, plans[-1]))
                    case PerformStep() if moves and order.step.id == refused:
                        events.append(StepFailed(order.migration, order.step.id, "refused"))
                    case PerformStep():
                        events.append(StepDone(order.migration, order.step.id, Outcome(0.0, 0.0)))
                    case UndoStep():
                        events.append(StepUndone(order.migration, order.step.id))
    return plans[-1], edges


@cache
def all_cases(strategy: str) -> Mapping[str, Case]:
    """Every case of a strategy, along the course of the migration, so that no host meets a fault twice running."""
    lab = config.load(LAB_FILE)
    plan, forth = performed(lab, strategy)
    _, back = performed(lab, strategy, REFUSED)
    kills = [KillAtEdge(at, do) for at in forth for do in (Do.KILL_BEFORE, Do.KILL_AFTER)]
    kills += [KillAtEdge(at, do, True) for at in back if at not in forth for do in (Do.KILL_BEFORE, Do.KILL_AFTER)]
    places = [*cases_of(plan)]
    anew = [Anew(place) for place in places if isinstance(plan.step(place.step).work, TransferFilesystem)]
    both: tuple[Sequence[Case], ...] = (kills, places, anew)
    spread = [(at / len(some), case) for some in both for at, case in enumerate(some)]
    return {str(case): case for _, case in sorted(spread, key=lambda each: each[0])}


class Bench:
    """A lab, an engine under the switchboard, and what was on the hosts before."""

    def __init__(self, lab: Lab, strategy: str, shells: Mapping[str, Shell]) -> None:
        self.lab = lab
        self._strategy = strategy
        self.story = Story(lab.state.journal)
        self._shells = shells
        self._engine = EngineProcess(lab)
        self._board = Switchboard(lab, self._engine, shells)
        self._others: dict[str, set[str]] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, lab: Lab, strategy: str) -> AsyncIterator[Bench]:
        """The bench of a lab that is up and has no engine; everything is stopped at the end."""
        async with AsyncExitStack() as closing:
            services = [*lab.settings.hosts, USER_PLANE]
            shells = {name: await closing.enter_async_context(Shell.of(lab, name)) for name in services}
            bench = cls(lab, strategy, shells)
            closing.push_async_callback(bench._engine.stop)
            await bench._start()
            for host in lab.settings.hosts:
                bench._others[host] = not_a2s(lab, await listed(lab, shells[host]))
            yield bench

    async def _start(self) -> None:
        self.story.look()
        before = len(self.story.facts(EngineStarted))
        await self._engine.start()
        await self.story.until(lambda: len(self.story.facts(EngineStarted)) > before, "an engine starts")
        await self.story.at_rest()

    def _other_host(self) -> HostId:
        return next(HostId(host) for host in self.lab.settings.hosts if host != self.story.serving.host)

    async def move(self, strategy: str | None = None) -> list[str]:
        """A migration to the other host that nothing disturbs; the edges that its journal shows. Raises Violation."""
        self.story.begin()
        target = self._other_host()
        await self._ask(target, strategy)
        await self.story.until(lambda: self.story.facts(MigrationStarted), "a migration starts")
        await self.story.at_rest()
        if not self.story.facts(MigrationCompleted) or self.story.serving.host != target:
            started = self.story.facts(MigrationStarted)[0].migration
            raise Violation(f"the next migration did not complete: {self._ending(started)}")
        return [
            edge(record.fact)
            for record in self.story.records
            if record.role == "event" and not isinstance(record.fact, AlarmRang)
        ]

    async def _ask(self, target: HostId, strategy: str | None = None) -> None:
        order = {"app": A2, "to": target, "strategy": strategy or self._strategy}
        if await ask(self.lab.state.control_socket, "POST", "/migrate", order) is None:
            raise Violation("no engine takes commands")

    async def run(self, case: Case) -> Facts:
        """Run one case; what it found. Raises Violation."""
        await self.story.at_rest()
        if isinstance(case, Anew):
            await self.move("M2")
            case = case.place
        self.story.begin()
        source, target = self.story.serving.host, self._other_host()
        async with asking(self.lab) as ue:
            step: Mapping[str, object] = {}
            if isinstance(case, KillAtEdge):
                await self._engine.set(case.traps)
                with contextlib.suppress(JournalError):  # it may be killed before it has answered
                    await self._ask(target)
                await self._engine.ended()
                struck_s = time.monotonic()
            else:
                await self._board.arm(case)
                await self._ask(target)
                step = await self._board.meet(case, self._step, source, target)
                struck_s = self._board.struck_s
            if not self._engine.is_running:
                await self._start()
            await self.story.at_rest()
            rested_s = time.monotonic()
            outcome = self._outcome(source, target)
            killed = isinstance(case, Place) and case.fault.name == "kill-helper"
            await check_rest(self.lab, self._shells, self.story, self._others, helper_killed=killed)
            again_s = time.monotonic()
            await self.move()
            await check_rest(self.lab, self._shells, self.story, self._others)
        await check_counter(self.lab, self.story, ue.check())
        return {
            **outcome,
            **step,
            "held_ms": ue.longest_ms(again_s),
            "recovery_s": round(rested_s - struck_s, 2),
        }

    def _step(self, step: StepId) -> Step:
        """A step of the plan under way."""
        self.story.look()
        return self.story.facts(PlanMade)[-1].plan.step(step)

    def _ending(self, moved: MigrationId | None) -> str:
        """How a migration ended; an app's start after a stop is one too, but no move."""
        endings = [
            fact
            for kind in (MigrationCompleted, MigrationFailed, MigrationAbandoned)
            for fact in self.story.facts(kind)
            if fact.migration == moved
        ]
        return "; ".join(f"{type(each).__name__} {getattr(each, 'reason', '')}".strip() for each in endings)

    def _outcome(self, source: HostId, target: HostId) -> dict[str, object]:
        """How the migration ended, and where. Raises Violation if its proof, or the lack of it, wants it elsewhere."""
        moved = next((fact.migration for fact in self.story.facts(MigrationStarted) if fact.source), None)
        ended = self._ending(moved)
        proven = any(fact.migration == moved for fact in self.story.facts(TargetProven))
        serving = self.story.serving.host
        if serving != (target if proven else source):
            raise Violation(f"{serving} serves, with {target} {'proven' if proven else 'not proven'}: {ended}")
        word = ended.partition(" ")[0].removeprefix("Migration").lower() or "never begun"
        return {
            "outcome": word,
            "on": "target" if proven else "source",
            "left_behind": len(self.story.facts(LeftBehind)),
        }


@dataclass(frozen=True)
class SoakLab:
    """The campaigns' lab as the bench takes it."""

    file: Path
    settings: LabSettings
    state: LabState


def _compare(recorded: Sequence[str], derived: Sequence[str]) -> None:
    """Raises Violation if a recorded migration has other edges than those that the cases were made from."""
    if Counter(recorded) != Counter(derived):
        raise Violation(f"a migration's journal has the edges {recorded}, not {derived}")


class Faults:
    """The campaigns `faults-m1`, `faults-m2` and `faults-m3`."""

    def __init__(self, strategy: str) -> None:
        self.name = f"faults-{strategy.lower()}"
        self.title = f"Every fault at every step of an {strategy} migration"
        self._strategy = strategy

    def cases(self) -> Sequence[str]:
        """Their names."""
        return list(all_cases(self._strategy))

    @asynccontextmanager
    async def open(self) -> AsyncIterator[RunCase]:
        """The lab with A2 in it, a vehicle that drives, and an engine under the switchboard."""
        settings = config.load(LAB_FILE)
        lab = SoakLab(LAB_FILE, settings, LabState.of(settings.lab))
        await up.down(settings, lab.state, purge=True)  # what an earlier run left that was killed
        try:
            await up.up(settings, lab.state)
            async with Bench.open(lab, self._strategy) as bench:
                if self._strategy == "M3":  # it is not told of migrations; this way what it writes is in its DV
                    await ask_json("GET", f"http://{settings.user_plane_address}:{settings.apps[A2].port}{_TO_THE_DV}")
                await control_sandbox(settings, "POST", "/drive", {"running": True})
                for _ in lab.settings.hosts:
                    _compare(await bench.move(), performed(settings, self._strategy)[1])
                yield lambda case: bench.run(all_cases(self._strategy)[case])
        finally:
            await up.down(settings, lab.state, purge=True)

    def page(self, results: Sequence[Result]) -> str:
        """The results as Markdown."""
        lab = config.load(LAB_FILE)
        plan, forth = performed(lab, self._strategy)
        back = set(performed(lab, self._strategy, REFUSED)[1]) - set(forth)
        edges = [
            f"The journal of an {self._strategy} migration has {len(forth)} edges, and the engine is killed before and",
            f"after the commit of each; the way back of one that fails at `{REFUSED}` has {len(back)} more.",
        ]
        return page(results, plan, edges)

    def failures(self, results: Sequence[Result]) -> Sequence[str]:
        """What does not hold of all."""
        cases = all_cases(self._strategy)
        missing = set(cases) - {result.case for result in results}
        at_edges = sum(isinstance(case, KillAtEdge) for case in cases.values())
        few = [f"the engine is killed at {at_edges} places of the journal"] if at_edges < LEAST_EDGES else []
        return [*few, *(f"not run: {name}" for name in sorted(missing))]
