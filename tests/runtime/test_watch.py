"""The watch over hosts in virtual time: what counts as a stopped app, a lost host, and one that has returned."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from pillion.core.events import HostLost, HostReturned, InstanceStopped
from pillion.core.migration import Migration, Phase
from pillion.core.model import App, AppId, Epoch, HostId, Instance, MigrationId, Readiness, StepId
from pillion.core.plan import Situation
from pillion.core.state import AppState, Fleet
from pillion.errors import HostUnreachable, UserPlaneError
from pillion.hosts.base import ContainerInfo, ContainerState
from pillion.runtime.watch import Watch, WatchSettings
from tests.core.examples import A2, MEC1, MEC2, PLANS
from tests.runtime.told import Driver

SERVING = Instance(A2.id, MEC1, Epoch(2))
pytestmark = pytest.mark.looptime


@dataclass
class Host:
    """A MEC host as the watch asks it."""

    id: HostId
    state: ContainerState | None = ContainerState.RUNNING
    answers: bool = True
    hangs: bool = False
    asked: int = 0
    tidied: list[tuple[Epoch | None, Epoch]] = field(default_factory=list)

    async def containers(self) -> list[ContainerInfo]:
        self.asked += 1
        if self.hangs:
            await asyncio.sleep(3600)
        if not self.answers:
            raise HostUnreachable("away", place=self.id)
        return [] if self.state is None else [ContainerInfo(SERVING.container, self.state, "", {})]

    async def remove_strays(self, app: AppId, keep: Epoch | None, before: Epoch) -> list[str]:
        self.tidied.append((keep, before))
        return []

    async def readiness(self, app: App) -> Readiness | None:
        return Readiness(SERVING.container, SERVING.epoch, 17)


@dataclass
class UserPlane:
    reach: bool | None = True

    async def reaches(self, app: AppId, host: HostId) -> bool:
        if self.reach is None:
            raise UserPlaneError("restarting")
        return self.reach


@dataclass
class Scene:
    host: Host
    user_plane: UserPlane
    driver: Driver

    def change(self, change: Callable[[AppState], AppState]) -> None:
        state = change(self.driver.fleet.apps[A2.id])
        self.driver.fleet = replace(self.driver.fleet, apps={A2.id: state})


@asynccontextmanager
async def watched() -> AsyncIterator[Scene]:
    fleet = replace(Fleet.empty(), apps={A2.id: AppState(A2, SERVING)})
    scene = Scene(Host(MEC1), UserPlane(), Driver(fleet))
    watch = Watch({MEC1: scene.host, MEC2: Host(MEC2)}, scene.user_plane, scene.driver, WatchSettings())
    watching = asyncio.create_task(watch.run())
    try:
        yield scene
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_a_sound_host_is_nothing_to_tell_of():
    async with watched() as scene:
        await asyncio.sleep(100)
        assert scene.driver.events == []
        assert scene.host.asked > 90


@pytest.mark.parametrize("state", [ContainerState.EXITED, ContainerState.PAUSED, ContainerState.CREATED, None])
async def test_a_container_that_does_not_run_is_told_of(state: ContainerState | None):
    async with watched() as scene:
        scene.host.state = state
        await asyncio.sleep(2.5 if state is ContainerState.PAUSED else 1.5)
        assert set(scene.driver.events) == {InstanceStopped(A2.id, SERVING, state.value if state else "gone")}


async def test_a_pause_that_is_seen_once_may_be_a_checkpoint_that_nobody_waits_for():
    async with watched() as scene:
        for _ in range(3):
            scene.host.state = ContainerState.PAUSED
            await asyncio.sleep(1.0)
            scene.host.state = ContainerState.RUNNING
            await asyncio.sleep(1.0)
        assert scene.driver.events == []


async def test_not_while_its_migration_stops_it_nor_twice():
    async with watched() as scene:
        scene.host.state = ContainerState.PAUSED
        moving = Migration(MigrationId("a2-3"), A2, SERVING, Instance(A2.id, MEC2, Epoch(3)), "M2")
        for phase in Phase:
            asked = scene.host.asked
            scene.change(lambda state, phase=phase: replace(state, migration=replace(moving, phase=phase)))
            await asyncio.sleep(3)
            if phase in (Phase.RELOCATING, Phase.SWITCHING):
                assert scene.host.asked == asked, "nothing is asked in a downtime"
            if phase in (Phase.PLANNING, Phase.PRE_RELOCATING, Phase.PREPARED):
                assert scene.driver.events
            else:
                assert scene.driver.events == []
            scene.driver.events.clear()
        scene.change(lambda state: replace(state, migration=None, stopped="it was paused"))
        await asyncio.sleep(50)
        assert scene.driver.events == []


async def test_a_pause_for_a_checkpoint_is_no_stop():
    async with watched() as scene:
        scene.host.state = ContainerState.PAUSED
        target = Instance(A2.id, MEC2, Epoch(3))
        plan = PLANS["M3"].plan(Situation(A2, SERVING, target))
        moving = Migration(MigrationId("a2-3"), A2, SERVING, target, "M3", Phase.PRE_RELOCATING, plan)
        taking = replace(moving, running=frozenset({StepId("first-checkpoint")}))
        scene.change(lambda state: replace(state, migration=taking))
        await asyncio.sleep(5)
        assert scene.driver.events == []
        sending = replace(moving, running=frozenset({StepId("send-checkpoint")}))
        scene.change(lambda state: replace(state, migration=sending))
        await asyncio.sleep(1.5)
        assert InstanceStopped(A2.id, SERVING, "paused") in scene.driver.events


@pytest.mark.parametrize("way", ["answers", "hangs"])
async def test_a_host_that_nobody_reaches_is_lost_after_the_set_time_with_what_was_last_seen(way: str):
    async with watched() as scene:
        await asyncio.sleep(5)
        scene.host.answers, scene.host.hangs = way != "answers", way == "hangs"
        scene.user_plane.reach = False
        await asyncio.sleep(10)
        assert scene.driver.events == []
        await asyncio.sleep(8)
        (lost,) = scene.driver.events
        assert isinstance(lost, HostLost)
        assert lost.host == MEC1
        assert lost.silent_s >= 10
        assert lost.last_seen == {A2.id: 17}


@pytest.mark.parametrize("reach", [True, None])
async def test_a_host_that_only_we_cannot_reach_is_not_lost_nor_one_of_which_the_user_plane_cannot_tell(
    reach: bool | None,
):
    async with watched() as scene:
        scene.host.answers, scene.user_plane.reach = False, reach
        await asyncio.sleep(600)
        assert scene.driver.events == []


async def test_a_host_that_answers_again_in_between_has_its_time_counted_anew():
    async with watched() as scene:
        scene.user_plane.reach = False
        for _ in range(10):
            scene.host.answers = False
            await asyncio.sleep(9)
            scene.host.answers = True
            await asyncio.sleep(2)
        assert scene.driver.events == []


async def test_a_lost_host_is_looked_for_and_told_of_once_it_answers():
    async with watched() as scene:
        scene.driver.fleet = replace(scene.driver.fleet, lost=frozenset({MEC1}), apps={})
        scene.host.answers = False
        await asyncio.sleep(60)
        assert scene.driver.events == []
        scene.host.answers = True
        await asyncio.sleep(1.5)
        assert scene.driver.events[0] == HostReturned(MEC1)


async def test_at_rest_what_no_state_knows_is_removed_and_never_what_serves_or_is_to_come():
    async with watched() as scene:
        moving = Migration(MigrationId("a2-3"), A2, SERVING, Instance(A2.id, MEC2, Epoch(3)), "M2")
        scene.change(lambda state: replace(state, migration=moving))
        await asyncio.sleep(20)
        assert scene.host.tidied == []
        scene.change(lambda state: replace(state, migration=None))
        await asyncio.sleep(2)
        assert scene.host.tidied == [(SERVING.epoch, scene.driver.fleet.next_epoch)]
        await asyncio.sleep(20)
        assert 4 <= len(scene.host.tidied) <= 6
        scene.change(lambda state: replace(state, serving=None))
        scene.host.tidied.clear()
        await asyncio.sleep(10)
        assert {keep for keep, _ in scene.host.tidied} == {None}
