"""Each strategy on real engines: A2 goes there and back with its state, and what it took adds up.

M1 comes last: what it has flattened shares no layer with the original, so the others would send it whole once more.
"""

import pytest

from pillion.core.model import HostId
from pillion.core.plan import Group, Place
from pillion.core.reports import MigrationReport
from pillion.experiments.moving import move
from tests.soak.faults import Bench, all_cases

from .conftest import Lab
from .test_migrations import A2, MEC1, MEC2, home

pytestmark = pytest.mark.lab

LEAST_COVERAGE = 0.98
"""The share of a migration's time that its steps, its planning and the decisions on them account for."""
COUNTED_BYTES = 10_000_000
"""Above this, what the steps say they sent is compared with the interface's own counter."""


def sent_by(lab: Lab, host: HostId) -> int:
    """Bytes that a MEC host has sent on the lab's network, by its kernel's account."""
    # Its interface has another number once it was away from the network.
    return int(lab.exec(host, "sh", "-c", "cat /sys/class/net/eth*/statistics/tx_bytes"))


def layers_on(lab: Lab, host: HostId) -> int:
    """Image layers that a MEC host's engine keeps, also those that no image has any more, but for M1's base."""
    layers = int(lab.exec(host, "sh", "-c", "ls /var/lib/docker/image/overlay2/layerdb/sha256 | wc -l"))
    return layers - len(lab.exec(host, "docker", "images", "--quiet", "pillion-base/a2").split())


def bytes_of(report: MigrationReport) -> int:
    return sum(each.outcome.sent_bytes for each in report.steps)


@pytest.mark.parametrize("strategy", ["M2", "M3", "M1"])
async def test_a2_moves_there_and_back_with_its_state_by_each_strategy(lab: Lab, strategy: str) -> None:
    async with lab.engine() as driver:
        await home(lab, driver, A2, MEC1)
        async with lab.asked(3000) as summaries:
            reports, counted, layers = [], [], layers_on(lab, MEC2)
            for source, target in ((MEC1, MEC2), (MEC2, MEC1)):
                before = sent_by(lab, source)
                reports.append(await move(driver, lab.state, A2, target, strategy))
                counted.append(sent_by(lab, source) - before)
        (seen,) = summaries
        assert layers_on(lab, MEC2) == layers
    assert [report.status for report in reports] == ["completed", "completed"]
    assert (seen.failed, seen.stale, seen.counter_went_back, seen.seq_went_back) == (0, 0, 0, 0)
    assert [switch.to_host for switch in seen.switchovers] == [MEC2, MEC1]
    assert all(switch.held == switch.taken_over for switch in seen.switchovers)
    for report, wire_bytes in zip(reports, counted, strict=True):
        assert report.coverage is not None
        assert report.coverage >= LEAST_COVERAGE
        assert report.forecast_s is not None
        assert {group for group, _ in report.phases} == set(Group)
        if bytes_of(report) > COUNTED_BYTES:
            assert bytes_of(report) == pytest.approx(wire_bytes, rel=0.05)
    if strategy == "M3":
        first, last = (
            next(step.outcome.sent_bytes for step in reports[-1].steps if step.step.id == name)
            for name in ("send-checkpoint", "last-pages")
        )
        assert last < first / 3
        assert (Group.CLEAN_UP, Place.TARGET) in reports[-1].phases


async def test_what_a_strategy_would_lose_is_refused_and_nothing_happens(lab: Lab) -> None:
    async with lab.engine() as driver:
        await home(lab, driver, A2, MEC1)
        fragile = driver.fleet.apps["fragile"].serving
        assert fragile is not None
        other = MEC2 if fragile.host == MEC1 else MEC1
        refused = await move(driver, lab.state, fragile.app, other, "M1")
    assert refused.status == "failed"
    assert "M1 would lose its command and environment" in refused.ending.reason
    assert refused.steps == ()


async def test_a_fault_in_a_migration_by_m1_leaves_the_source_serving_and_the_next_one_succeeds(lab: Lab) -> None:
    case = all_cases("M1")["kill-dockerd in the midst of send-filesystem (target), flattened anew"]
    async with Bench.open(lab, "M1") as bench:
        assert (await bench.run(case))["on"] == "source"
