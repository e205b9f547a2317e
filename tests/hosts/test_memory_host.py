"""The host in memory keeps the contract, so that what the driver's tests show holds on real hosts too."""

from __future__ import annotations

import asyncio

import pytest

from pillion.errors import HostRefused, HostUnreachable
from pillion.hosts.base import MecHost, TransferLink
from tests.fakes.memory_host import MemoryHost, MemoryWorld
from tests.fakes.memory_machine import Fault, MemoryContainer, MemoryImage, MemoryVolume
from tests.hosts.bench import COPY, NAME, VOLUME, Tree, spec, started, state
from tests.hosts.contract import HostContract


class MemoryBench:
    original = "pillion-test/app:latest"
    lab = "lab"

    def __init__(self) -> None:
        self.world = MemoryWorld()
        for name in ("mec1", "mec2"):
            self.world.add_image(name, self.original)
        self.source: MecHost = self.world.host("mec1")
        self.target: MecHost = self.world.host("mec2")

    async def engine(self, host: MecHost) -> MecHost:
        return self.world.host(host.id)

    async def write(self, host: MecHost, volume: str, path: str, content: str, mode: str = "644") -> None:
        self.world.machine(host.id).volumes[volume].files[path] = (content.encode(), int(mode, 8))

    async def symlink(self, host: MecHost, volume: str, path: str, target: str) -> None:
        self.world.machine(host.id).volumes[volume].files[path] = (f"-> {target}".encode(), 0o777)

    async def delete(self, host: MecHost, volume: str, path: str) -> None:
        del self.world.machine(host.id).volumes[volume].files[path]

    async def tree(self, host: MecHost, volume: str) -> Tree:
        files = self.world.machine(host.id).volumes[volume].files
        return {path: (f"{mode:o}", content.decode()) for path, (content, mode) in files.items()}

    async def write_inside(self, host: MecHost, container: str, path: str, content: str | None) -> None:
        changed = None if content is None else (content.encode(), 0o644)
        self.world.machine(host.id).containers[container].changes[path] = changed

    async def read_inside(self, host: MecHost, container: str, path: str) -> str | None:
        found = self.world.machine(host.id).containers[container].files.get(path)
        return None if found is None else found[0].decode()

    async def settings(self, host: MecHost, image: str) -> tuple[object, object, dict[str, str]]:
        found = self.world.machine(host.id).images[image]
        return found.command, found.environment, found.labels

    async def add_foreign(self, host: MecHost, name: str) -> None:
        machine = self.world.machine(host.id)
        image = MemoryImage("sha256:theirs", ("theirs",), {}, {}, {})
        machine.images[f"{name}:latest"] = image
        machine.volumes[name] = MemoryVolume({})
        machine.containers[name] = MemoryContainer(spec(name, name, port=None), image, {})

    async def foreign(self, host: MecHost, name: str) -> list[str]:
        machine = self.world.machine(host.id)
        there = {
            "container": name in machine.containers,
            "image": f"{name}:latest" in machine.images,
            "volume": name in machine.volumes,
        }
        return [kind for kind, is_there in there.items() if is_there]

    async def cut_while_sending(self, link: TransferLink, host: MecHost, volume: str, target_volume: str) -> None:
        self.world.fail(host.id, "send_volume", Fault.HANG)
        sending = asyncio.ensure_future(link.send_volume(volume, target_volume))
        await asyncio.sleep(0)
        await link.close()
        await sending

    async def cut_filesystem_while_sending(self, link: TransferLink, container: str, image: str) -> None:
        self.world.fail(self.source.id, "send_filesystem", Fault.HANG)
        sending = asyncio.ensure_future(link.send_filesystem(container, image, f"{image}-base", {}))
        await asyncio.sleep(0)
        await link.close()
        await sending


@pytest.fixture
def bench() -> MemoryBench:
    return MemoryBench()


class TestMemoryHost(HostContract):
    pass


async def test_a_fault_hits_the_next_call_only(bench: MemoryBench) -> None:
    bench.world.fail("mec1", "ensure_volume", Fault.UNREACHABLE, Fault.REFUSED)
    with pytest.raises(HostUnreachable):
        await bench.source.ensure_volume(VOLUME, {})
    with pytest.raises(HostRefused):
        await bench.source.ensure_volume(VOLUME, {})
    assert not await bench.source.has_volume(VOLUME)
    await bench.source.ensure_volume(VOLUME, {})
    assert await bench.source.has_volume(VOLUME)


async def test_a_lost_answer_hides_that_the_work_was_done(bench: MemoryBench) -> None:
    await started(bench, bench.source)
    bench.world.fail("mec1", "ensure_killed", Fault.ANSWER_LOST)
    with pytest.raises(HostUnreachable):
        await bench.source.ensure_killed(NAME)
    assert str(await state(bench.source)) == "exited"


async def test_a_hanging_call_can_be_cancelled_and_closes_the_link(bench: MemoryBench) -> None:
    await bench.source.ensure_volume(VOLUME, {})
    await bench.target.ensure_volume(COPY, {})
    link = await bench.source.open_link(bench.target)
    bench.world.fail("mec1", "send_volume", Fault.HANG)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await link.send_volume(VOLUME, COPY)
    with pytest.raises(HostUnreachable):
        await link.send_volume(VOLUME, COPY)


async def test_an_unreachable_machine_answers_nothing(bench: MemoryBench) -> None:
    bench.world.machine("mec1").is_reachable = False
    with pytest.raises(HostUnreachable):
        await bench.source.containers()
    assert isinstance(bench.source, MemoryHost)
    assert bench.source.machine.calls == ["containers"]
