"""Migrations on real engines, and what breaks them: the source goes on serving, and the target keeps nothing."""

import asyncio
import contextlib

import aiohttp
import pytest

from pillion.core.events import MigrationCompleted, MigrationFailed, MigrationRequested
from pillion.core.model import AppId, HostId
from pillion.core.plan import Group, Place
from pillion.core.reports import MigrationReport, migration_reports
from pillion.errors import UserPlaneError
from pillion.journal import store
from pillion.runtime.driver import Driver
from pillion.userplane import HaproxySteering

from .conftest import Lab

pytestmark = pytest.mark.lab

_THEIRS = [
    "docker",
    "run",
    "-d",
    "--name",
    "theirs",
    "-p",
    "3000:80",
    "--entrypoint",
    "sleep",
    "pillion/gateway",
    "600",
]
MEC1, MEC2 = HostId("mec1"), HostId("mec2")
A2, FRAGILE = AppId("a2"), AppId("fragile")


async def move(lab: Lab, driver: Driver, app: AppId, target: HostId) -> MigrationReport:
    """Ask for a migration and wait for its end."""
    before = len(_reports(lab))
    await driver.put(MigrationRequested(app, target))
    async with asyncio.timeout(90):
        while True:
            await driver.until(lambda fleet: fleet.apps[app].migration is None)
            reports = _reports(lab)[before:]
            if reports and isinstance(reports[0].ending, MigrationCompleted | MigrationFailed):
                return reports[0]
            await asyncio.sleep(0.05)


def _reports(lab: Lab) -> list[MigrationReport]:
    return migration_reports((r.now_s, r.fact) for r in store.read(lab.state.journal))


async def home(lab: Lab, driver: Driver, app: AppId, host: HostId) -> None:
    """See to it that an app is on a host before a test begins."""
    serving = driver.fleet.apps[app].serving
    if serving is None or serving.host != host:
        assert (await move(lab, driver, app, host)).status == "completed"


async def answers(address: object, port: int) -> bool:
    """Whether anything answers on a host's own port."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.3)) as session,
            session.get(f"http://{address}:{port}/") as answer,
        ):
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


async def test_a2_moves_there_and_back_with_its_state_and_no_request_fails(lab: Lab) -> None:
    async with lab.engine() as driver:
        await home(lab, driver, A2, MEC1)
        async with lab.asked(3000) as summaries:
            there = await move(lab, driver, A2, MEC2)
            assert await answers(lab.settings.hosts["mec2"].address, 3000)
            assert not await answers(lab.settings.hosts["mec1"].address, 3000)
            back = await move(lab, driver, A2, MEC1)
            assert not await answers(lab.settings.hosts["mec2"].address, 3000)
        (seen,) = summaries
    for report in (there, back):
        assert report.status == "completed"
        assert report.proven_seq
        assert {Place.SOURCE, Place.TRANSFER, Place.TARGET} == {
            place for group, place in report.phases if group is Group.PRE_RELOCATION
        }
    assert seen.failed == 0
    assert seen.stale == 0
    assert seen.counter_went_back == seen.seq_went_back == 0
    assert [switch.to_epoch for switch in seen.switchovers] == [
        there.started.target.epoch,
        back.started.target.epoch,
    ]
    assert all(switch.held == switch.taken_over for switch in seen.switchovers)


async def test_only_the_difference_to_the_original_image_travels_once_both_hosts_have_it(lab: Lab) -> None:
    async with lab.engine() as driver:
        await home(lab, driver, A2, MEC1)
        await move(lab, driver, A2, MEC2)
        again = await move(lab, driver, A2, MEC1)
    assert again.phases[Group.PRE_RELOCATION, Place.TRANSFER].sent_bytes < 200_000


async def failed_migration(lab: Lab, app: AppId, port: int) -> tuple[MigrationReport, float]:
    """Move an app to mec2, which does not succeed; check what the UE saw, and that the target keeps nothing."""
    async with lab.engine() as driver:
        await home(lab, driver, app, MEC1)
    before = lab.objects("mec2")
    serving_before = lab.objects("mec1")
    async with lab.engine() as driver, lab.asked(port) as summaries:
        report = await move(lab, driver, app, MEC2)
        await driver.until(lambda fleet: not fleet.debts)
        assert driver.fleet.apps[app].serving.host == MEC1
    (seen,) = summaries
    assert report.status == "failed"
    assert seen.failed == 0
    assert seen.switchovers == ()
    assert lab.objects("mec2") - before <= {f"images {lab.settings.apps[app].image}:latest"}
    assert lab.objects("mec1") == serving_before
    assert await answers(lab.settings.hosts["mec1"].address, port)
    return report, seen.latency_max_s


async def test_a_container_that_does_not_come_up_leaves_the_source_serving(lab: Lab) -> None:
    report, held_s = await failed_migration(lab, FRAGILE, 3001)
    assert "ended by itself (it said: fragile: broken on purpose)" in report.ending.reason
    assert held_s < 5 + 1  # the relocation's time-out, and the way back
    lab.exec("mec1", "sh", "-c", "for d in /var/lib/docker/volumes/fragile.*.dv/_data; do touch $d/sound; done")
    async with lab.engine() as driver:
        assert (await move(lab, driver, FRAGILE, MEC2)).status == "completed"


async def test_a_port_taken_by_a_foreign_container_fails_with_its_name_and_leaves_that_container_alone(
    lab: Lab,
) -> None:
    async with lab.engine() as driver:
        await home(lab, driver, A2, MEC2)
        await home(lab, driver, A2, MEC1)
    lab.exec("mec2", *_THEIRS)
    try:
        report, _ = await failed_migration(lab, A2, 3000)
        assert "3000" in report.ending.reason
        assert lab.exec("mec2", "docker", "inspect", "-f", "{{.State.Running}}", "theirs").strip() == "true"
    finally:
        lab.exec("mec2", "docker", "rm", "-f", "theirs")
    async with lab.engine() as driver:
        assert (await move(lab, driver, A2, MEC2)).status == "completed"


async def test_a_target_that_cannot_be_reached_costs_the_ue_nothing(lab: Lab) -> None:
    async with lab.engine() as driver:
        await home(lab, driver, A2, MEC1)
        async with lab.asked(3000) as summaries:
            network = f"pillion-{lab.settings.lab}_lab"
            container = f"pillion-{lab.settings.lab}-mec2"
            await docker("network", "disconnect", network, container)
            try:
                report = await move(lab, driver, A2, MEC2)
            finally:
                address = str(lab.settings.hosts["mec2"].address)
                await docker("network", "connect", "--ip", address, network, container)
        assert report.status == "failed"
        assert driver.fleet.apps[A2].serving.host == MEC1
        assert summaries[0].failed == 0
        assert (await move(lab, driver, A2, MEC2)).status == "completed"


async def test_a_full_disk_on_the_target_leaves_the_source_serving(lab: Lab) -> None:
    """The engine's folder for what it unpacks is given a file system of one page, which is full at once."""
    async with lab.engine() as driver:
        await home(lab, driver, FRAGILE, MEC1)
    lab.exec("mec2", "sh", "-c", "docker image rm -f pillion-test/fragile >/dev/null 2>&1 || true")
    lab.exec("mec2", "mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", "/var/lib/docker/tmp")
    try:
        report, _ = await failed_migration(lab, FRAGILE, 3001)
    finally:
        lab.exec("mec2", "umount", "/var/lib/docker/tmp")
    assert "no space left" in report.ending.reason


async def test_a_user_plane_that_restarts_is_steered_anew(lab: Lab) -> None:
    async with lab.engine() as driver:
        await home(lab, driver, A2, MEC2)
        await docker("restart", "--time", "1", f"pillion-{lab.settings.lab}-user-plane")
        steering = HaproxySteering(lab.state.admin_socket)
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(UserPlaneError):
                    if await steering.serving(A2) == MEC2:
                        break
                await asyncio.sleep(0.1)
        assert await answers(lab.settings.user_plane_address, 3000)


async def docker(*words: str) -> None:
    process = await asyncio.create_subprocess_exec("docker", *words, stdout=asyncio.subprocess.DEVNULL)
    assert await process.wait() == 0
