"""What a lab goes through that is no migration: engines, gateways, sandbox and SSH that restart, and hosts that go."""

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from pillion.core.events import (
    AppLost,
    Event,
    HandoverCompleted,
    HostLost,
    HostReturned,
    InstanceStopped,
    TrackingLost,
    TrackingResumed,
    ZoneChangePredicted,
)
from pillion.core.migration import Phase
from pillion.core.model import HostId, PoaId, Readiness, UeId, ZoneId
from pillion.core.reports import migration_reports
from pillion.hosts.app_calls import AppCalls
from pillion.journal import store
from pillion.runtime.driver import Driver
from pillion.userplane import HaproxySteering

from .conftest import Lab
from .test_migrations import A2, MEC1, MEC2, answers, docker, home, move

pytestmark = pytest.mark.lab
UE = UeId("10.100.0.2")
TAKEN_IN = 32
"""Requests at one server at a time (`maxconn`): what a host that goes had taken in may stay without an answer."""


def told(lab: Lab, after: int, *kinds: type[Event]) -> list[Event]:
    return [record.fact for record in store.read(lab.state.journal, after) if isinstance(record.fact, kinds)]


async def until(holds: Callable[[], Awaitable[object]], limit_s: float = 60) -> None:
    async with asyncio.timeout(limit_s):
        while not await holds():
            await asyncio.sleep(0.1)


async def ready(lab: Lab, host: HostId) -> Readiness | None:
    """What A2 on a host says of itself, asked past the user plane."""
    calls = AppCalls(host, str(lab.settings.hosts[host].address))
    try:
        return await calls.readiness(3000, "/ready", 1.0)
    finally:
        await calls.close()


def engine_answers(lab: Lab, host: HostId) -> bool:
    try:
        lab.exec(host, "docker", "info")
    except subprocess.CalledProcessError:
        return False
    return True


def container(lab: Lab, service: str) -> str:
    return f"pillion-{lab.settings.lab}-{service}"


@asynccontextmanager
async def cut_off(lab: Lab, host: HostId) -> AsyncIterator[None]:
    """The host is gone for all others; what runs on it goes on."""
    network, name = f"pillion-{lab.settings.lab}_lab", container(lab, host)
    await docker("network", "disconnect", network, name)
    try:
        yield
    finally:
        await docker("network", "connect", "--ip", str(lab.settings.hosts[host].address), network, name)


async def test_an_inner_engine_that_is_killed_comes_back_and_its_apps_have_never_stopped(lab: Lab) -> None:
    async with lab.engine() as driver:
        await home(lab, driver, A2, MEC1)
        written = store.last_seq(lab.state.journal)
        before = await ready(lab, MEC1)
        async with lab.asked(3000) as summaries:
            lab.exec("mec1", "pkill", "-KILL", "-x", "dockerd")
            report = await move(lab, driver, A2, MEC2)
            if report.status != "completed":  # begun before the engine was back
                await until(lambda: asyncio.to_thread(engine_answers, lab, MEC1))
                report = await move(lab, driver, A2, MEC2)
        assert report.status == "completed"
        assert summaries[0].failed == summaries[0].stale == summaries[0].counter_went_back == 0
        assert told(lab, written, HostLost, InstanceStopped) == []
        assert before
        assert report.proven_seq >= before.seq


async def test_a_gateway_and_a_sandbox_that_restart_are_followed_again(lab: Lab) -> None:
    async with lab.engine(follow=True):
        for service in ("gateway", "sandbox"):
            written = store.last_seq(lab.state.journal)

            async def resumed(after: int = written) -> bool:
                return bool(told(lab, after, TrackingResumed))

            await docker("stop", "--time", "1", container(lab, service))
            await until(lambda after=written: asyncio.sleep(0, bool(told(lab, after, TrackingLost))))
            await docker("start", container(lab, service))
            await until(resumed)


async def test_a_host_that_only_the_engine_cannot_reach_goes_on_serving_and_nothing_is_started(lab: Lab) -> None:
    async with lab.engine() as driver:
        await home(lab, driver, A2, MEC1)
        serving, written = driver.fleet.apps[A2].serving, store.last_seq(lab.state.journal)
        async with lab.asked(3000) as summaries:
            lab.exec("mec1", "iptables", "-I", "INPUT", "-p", "tcp", "--dport", "22", "-j", "DROP")
            try:
                await asyncio.sleep(3 * lab.settings.timeouts.host_lost_s)
            finally:
                lab.exec("mec1", "iptables", "-D", "INPUT", "-p", "tcp", "--dport", "22", "-j", "DROP")
        assert told(lab, written, HostLost, InstanceStopped, AppLost) == []
        assert driver.fleet.apps[A2].serving == serving
        assert summaries[0].failed == 0
        assert (await _moved_at_last(lab, driver, MEC2)).status == "completed"


async def _moved_at_last(lab: Lab, driver: Driver, host: HostId):
    """The connection may have to be found dead before it is made anew: the second try has to succeed."""
    report = await move(lab, driver, A2, host)
    return report if report.status == "completed" else await move(lab, driver, A2, host)


async def test_a_host_that_is_switched_off_and_on_starts_its_app_again_with_all_its_state(lab: Lab) -> None:
    async with lab.engine() as driver:
        await home(lab, driver, A2, MEC1)
        serving, before = driver.fleet.apps[A2].serving, await ready(lab, MEC1)
        assert before
        written = store.last_seq(lab.state.journal)
        async with lab.asked(3000) as summaries:
            await docker("restart", "--time", "5", container(lab, "mec1"))
            await until(lambda: asyncio.sleep(0, bool(told(lab, written, InstanceStopped))))
            async with asyncio.timeout(60):
                await driver.until(lambda fleet: not fleet.apps[A2].migration and not fleet.apps[A2].stopped)
        after = await ready(lab, MEC1)
        assert after
        assert after.epoch == serving.epoch
        assert after.seq >= before.seq
        assert summaries[0].counter_went_back == summaries[0].seq_went_back == 0
        assert summaries[0].failed <= TAKEN_IN, summaries[0].errors
        assert told(lab, written, AppLost) == []
        assert (await _moved_at_last(lab, driver, MEC2)).status == "completed"


async def test_a_host_is_switched_off_at_once_also_with_a_paused_app_and_the_next_engine_starts_it(lab: Lab) -> None:
    async with lab.engine() as driver:
        await home(lab, driver, A2, MEC1)
        serving, before = driver.fleet.apps[A2].serving, await ready(lab, MEC1)
    assert before
    lab.exec("mec1", "docker", "pause", serving.container)
    began_s = time.monotonic()
    await docker("restart", "--time", "20", container(lab, "mec1"))
    assert time.monotonic() - began_s < 15, "a frozen process takes no SIGKILL before it is thawed"
    async with lab.engine() as driver:
        async with asyncio.timeout(60):
            await until(lambda: ready(lab, MEC1))
        after = await ready(lab, MEC1)
        assert after
        assert (after.instance, after.epoch) == (serving.container, serving.epoch)
        assert after.seq >= before.seq


@pytest.mark.parametrize("copied", [True, False], ids=["with a copy", "without a copy"])
async def test_an_app_whose_host_is_lost_starts_elsewhere_and_the_report_says_what_was_lost(
    lab: Lab, copied: bool
) -> None:
    async with lab.engine() as driver:
        await home(lab, driver, A2, MEC1)
        if copied:
            await driver.put(ZoneChangePredicted(UE, ZoneId("zone01"), PoaId("p1"), 5.0))
            async with asyncio.timeout(60):
                await driver.until(
                    lambda fleet: bool(
                        (moving := fleet.apps[A2].migration)
                        and moving.phase is Phase.PREPARED
                        and moving.target.host == MEC2
                    )
                )
        await asyncio.sleep(2)  # the watch has seen how far the app had come
        written, before = store.last_seq(lab.state.journal), await ready(lab, MEC1)
        async with lab.asked(3000) as summaries:
            async with cut_off(lab, MEC1):
                await until(lambda: asyncio.sleep(0, bool(told(lab, written, AppLost))))
                await driver.put(HandoverCompleted(UE, PoaId("p1"), ZoneId("zone01")))
                async with asyncio.timeout(60):
                    await driver.until(lambda fleet: (at := fleet.apps[A2].serving) is not None and at.host == MEC2)
                    await driver.until(lambda fleet: not fleet.apps[A2].migration)
                assert "a2." in lab.exec("mec1", "docker", "ps", "--format", "{{.Names}}"), "it runs on there, unseen"
            await until(lambda: asyncio.sleep(0, bool(told(lab, written, HostReturned))))
            async with asyncio.timeout(60):
                await driver.until(lambda fleet: not fleet.debts)
        assert await HaproxySteering(lab.state.admin_socket).serving(A2) == MEC2
        assert not await answers(lab.settings.hosts["mec1"].address, 3000)
        left = {name for name in lab.objects("mec1") if "a2." in name or "pillion-migration/a2" in name}
        assert left == set()
        assert summaries[0].stale == 0
        assert summaries[0].failed <= TAKEN_IN, summaries[0].errors
        story = [(record.now_s, record.fact) for record in store.read(lab.state.journal, written)]
        (report,) = [each for each in migration_reports(story) if each.lost and each.lost.app == A2]
        lost = report.as_json()["lost"]
        assert lost["from_copy"] is copied
        assert lost["last_seen_seq"] == before.seq
        assert (lost["restored_seq"] > 1) is copied
        assert report.status == "completed"
        await driver.put(HandoverCompleted(UE, PoaId("p2"), ZoneId("zone02")))
        async with asyncio.timeout(60):
            await driver.until(lambda fleet: (at := fleet.apps[A2].serving) is not None and at.host == MEC1)
