"""Every call of an M2 migration made to fail, in each way in which a call can: the source serves again, or the target
does after the point of no return; the state is whole, nothing is left, and the next migration succeeds."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pillion.core.events import EngineStarted, MigrationRequested
from pillion.core.model import AppId, HostId
from pillion.core.state import Fleet
from pillion.errors import UserPlaneError
from pillion.hosts.base import ContainerState
from pillion.journal.store import Journal
from pillion.runtime.driver import Driver
from pillion.runtime.steps import Steps, StepTimeouts
from tests.core.examples import A2, MEC1, MEC2, PLANS, POLICY, engine_started
from tests.fakes.memory_host import MemoryWorld
from tests.fakes.memory_machine import Fault

TIMEOUTS = StepTimeouts(pre_relocation_s=2.0, relocation_s=2.0, clean_up_s=2.0, undo_s=2.0)
CALLS = [
    *((host, method) for host in (MEC1, MEC2) for method in ("claim", "container", "image", "call_app", "readiness")),
    *((MEC1, method) for method in ("open_link", "commit", "send_image", "send_volume", "ensure_paused")),
    *((MEC1, method) for method in ("ensure_killed", "remove_container", "remove_volume", "remove_image")),
    *((MEC2, method) for method in ("receive_image", "receive_volume", "ensure_volume", "ensure_container")),
    (MEC2, "ensure_started"),
]


class MemorySteering:
    """A user plane in memory."""

    def __init__(self) -> None:
        self.host: HostId | None = None
        self.failures = 0

    async def steer(self, app: AppId, host: HostId) -> None:
        if self.failures:
            self.failures -= 1
            raise UserPlaneError("broken on purpose")
        self.host = host

    async def hold(self, app: AppId) -> None:
        self.host = None

    async def serving(self, app: AppId) -> HostId | None:
        return self.host

    async def reaches(self, app: AppId, host: HostId) -> bool:
        return True


@dataclass
class Scene:
    """A2 on mec1, its UE, and an engine."""

    world: MemoryWorld
    steering: MemorySteering
    driver: Driver
    acknowledged: int = 0

    def ask(self) -> None:
        """The UE asks: a running instance that gets the traffic writes newer state before it answers."""
        assert self.steering.host is not None
        machine = self.world.machines[self.steering.host]
        running = [c for c in machine.containers.values() if c.state is ContainerState.RUNNING]
        assert len(running) <= 1
        for container in running:
            (volume,) = container.spec.volumes
            seq = int(machine.volumes[volume].files.get("seq", (b"0", 0o644))[0])
            assert seq == self.acknowledged, "an acknowledged update was lost"
            self.acknowledged += 1
            machine.volumes[volume].files["seq"] = (str(self.acknowledged).encode(), 0o644)

    async def move(self, host: HostId) -> None:
        """Ask for a migration and wait until it has ended and nothing is owed."""
        epoch = self.driver.fleet.next_epoch
        await self.driver.put(MigrationRequested(A2.id, host))
        await self.driver.until(lambda fleet: fleet.next_epoch > epoch)
        while self.driver.fleet.apps[A2.id].migration is not None:
            self.ask()
            await asyncio.sleep(0.002)
        await self.driver.until(lambda fleet: not fleet.debts)

    def check_at_rest(self) -> HostId:
        """Exactly one host serves, with all state, and nothing else is left; which host that is."""
        serving = self.driver.fleet.apps[A2.id].serving
        assert serving is not None
        assert self.steering.host == serving.host
        self.ask()
        containers = {(m.id, name): c.state for m in self.world.machines.values() for name, c in m.containers.items()}
        assert containers == {(serving.host, serving.container): ContainerState.RUNNING}
        volumes = {(machine.id, name) for machine in self.world.machines.values() for name in machine.volumes}
        assert volumes == {(serving.host, serving.volume)}
        images = {(machine.id, name) for machine in self.world.machines.values() for name in machine.images}
        originals = {(host, f"{A2.image}:latest") for host in (MEC1, MEC2)}
        assert images <= {(serving.host, serving.image), *originals}
        return serving.host


@asynccontextmanager
async def scene(folder: Path) -> AsyncIterator[Scene]:
    await asyncio.to_thread(folder.mkdir)
    world, steering = MemoryWorld(), MemorySteering()
    world.add_image(MEC1, A2.image)
    hosts = {host: world.host(host) for host in (MEC1, MEC2)}
    started: EngineStarted = engine_started()
    journal = await Journal.open(folder / "journal.db")
    driver = Driver(Fleet.empty(), started, journal, Steps(hosts, steering, PLANS, started.epoch, TIMEOUTS))
    driving = asyncio.create_task(driver.run(), name="drive")
    try:
        await driver.until(lambda fleet: any(s.serving and not s.migration for s in fleet.apps.values()))
        yield Scene(world, steering, driver)
    finally:
        driving.cancel()
        await asyncio.gather(driving, return_exceptions=True)
        for host in hosts.values():
            await host.close()
        await journal.close()


async def broken_once(folder: Path, host: HostId, method: str, fault: Fault) -> str:
    """One case: break a call once, then ask for the migration again if it did not come through."""
    async with asyncio.timeout(90), scene(folder) as there:
        there.world.fail(host, method, fault)
        await there.move(MEC2)
        came = there.check_at_rest()
        if came == MEC1:
            there.world.machine(host).faults.clear()
            await there.move(MEC2)
        assert there.check_at_rest() == MEC2
        await there.move(MEC1)
        assert there.check_at_rest() == MEC1
        return came


@pytest.mark.parametrize("fault", list(Fault))
async def test_any_call_that_fails_once_leaves_one_host_serving_with_all_state(tmp_path: Path, fault: Fault) -> None:
    cases = [(host, method) for host, method in CALLS]
    outcomes = await asyncio.gather(
        *(broken_once(tmp_path / f"{host}-{method}", host, method, fault) for host, method in cases),
        return_exceptions=True,
    )
    wrong = {
        f"{method} on {host}": outcome
        for (host, method), outcome in zip(cases, outcomes, strict=True)
        if isinstance(outcome, BaseException)
    }
    assert not wrong


async def test_a_user_plane_that_does_not_answer_after_the_proof_is_asked_until_it_does(tmp_path: Path) -> None:
    async with asyncio.timeout(30), scene(tmp_path / "scene") as there:
        there.steering.failures = 2
        await there.move(MEC2)
        assert there.check_at_rest() == MEC2


async def test_a_host_that_left_the_lab_file_is_an_error_of_its_own(tmp_path: Path) -> None:
    async with scene(tmp_path / "scene") as there:
        await there.driver.put(MigrationRequested(A2.id, next(iter(POLICY.hosts - {MEC1, MEC2}))))
        await asyncio.sleep(0.1)
        await there.driver.until(lambda fleet: not fleet.apps[A2.id].migration)
        assert there.check_at_rest() == MEC1
