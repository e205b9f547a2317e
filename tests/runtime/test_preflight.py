"""Before a migration that carries memory both hosts are asked whether they can: a lack fails the plan, not the app."""

from dataclasses import replace
from typing import Any

import pytest

from pillion.core.actions import MakePlan
from pillion.core.events import Event, PlanFailed, PlanMade
from pillion.core.model import Epoch, HostId, Instance, MigrationId
from pillion.hosts.base import ContainerSpec
from pillion.runtime.steps import Steps
from tests.core.examples import A2, FIT, MEC1, MEC2, PLANS
from tests.fakes.memory_host import MemoryWorld
from tests.fakes.memory_machine import Fault, MemoryProcess
from tests.runtime.test_steps import TIMEOUTS, MemorySteering

SOURCE, TARGET = Instance(A2.id, MEC1, Epoch(1)), Instance(A2.id, MEC2, Epoch(2))


class Scene:
    """A2 running on mec1, and the steps of an engine that may move it to mec2."""

    def __init__(self) -> None:
        self.world = MemoryWorld()
        self.world.add_image(MEC1, A2.image)
        self.hosts = {host: self.world.host(host) for host in (MEC1, MEC2)}
        self.steps = Steps(self.hosts, MemorySteering(), PLANS, Epoch(2), TIMEOUTS)

    async def plan(self, strategy: str) -> Event:
        spec = ContainerSpec(SOURCE.container, A2.image, A2.port, labels={"pillion.app": A2.id})
        await self.hosts[MEC1].ensure_container(spec)
        await self.hosts[MEC1].ensure_started(SOURCE.container)
        return await self.steps.plan(MakePlan(MigrationId("a2-2"), A2, SOURCE, TARGET, strategy))

    def asked(self, host: HostId) -> set[str]:
        return {"facts", "processes"} & set(self.world.machine(host).calls)

    def change(self, host: HostId, **facts: Any) -> None:
        self.world.machine(host).facts = replace(FIT, **facts)


async def test_two_fit_hosts_are_asked_and_the_plan_is_made() -> None:
    scene = Scene()
    assert isinstance(await scene.plan("M3"), PlanMade)
    assert (scene.asked(MEC1), scene.asked(MEC2)) == ({"facts", "processes"}, {"facts"})


async def test_a_move_without_memory_asks_for_nothing_that_it_does_not_need() -> None:
    scene = Scene()
    scene.change(MEC2, criu_version=None)
    assert isinstance(await scene.plan("M2"), PlanMade)
    assert scene.asked(MEC1) | scene.asked(MEC2) == set()


@pytest.mark.parametrize(
    ("host", "lack", "said"),
    [
        (MEC1, {"experimental": False}, "source: Docker's experimental features are off"),
        (MEC2, {"criu_version": None}, "target: no CRIU runs there"),
        (MEC1, {"shm_free_bytes": 10**7}, "source: 10 MB free on /dev/shm, 20 MB needed"),
        (MEC2, {"free_bytes": 10**8}, "target: 100 MB free for its Docker Engine, 1000 MB needed"),
    ],
)
async def test_an_unfit_host_fails_the_plan_with_its_remedy_until_it_is_mended(
    host: HostId, lack: dict[str, Any], said: str
) -> None:
    scene = Scene()
    scene.change(host, **lack)
    failed = await scene.plan("M3")
    assert isinstance(failed, PlanFailed)
    assert failed.problem.startswith(f"mec1→mec2: {said}")
    assert failed.problem.endswith(")")
    scene.change(host)
    assert isinstance(await scene.plan("M3"), PlanMade)


async def test_an_app_that_is_not_root_s_is_refused_where_its_limits_cannot_be_read() -> None:
    scene = Scene()
    scene.change(MEC1, can_raise_limits=False)
    assert isinstance(await scene.plan("M3"), PlanMade)
    scene.world.machine(MEC1).containers[SOURCE.container].process = MemoryProcess({}, uid=101)
    failed = await scene.plan("M3")
    assert isinstance(failed, PlanFailed)
    assert "processes of uid 101" in failed.problem


@pytest.mark.parametrize("method", ["facts", "processes"])
@pytest.mark.parametrize("fault", [Fault.UNREACHABLE, Fault.REFUSED, Fault.HANG])
async def test_a_host_that_does_not_say_what_it_is_fails_the_plan(method: str, fault: Fault) -> None:
    scene = Scene()
    scene.world.fail(MEC1, method, fault)
    assert isinstance(await scene.plan("M3"), PlanFailed)
    assert isinstance(await scene.plan("M3"), PlanMade)
