"""The main job on the lab: a vehicle drives a lap, its service follows it, and every claim of the report holds."""

import asyncio
from collections import Counter

import pytest

from pillion.core.events import VisitSatOut
from pillion.experiments import drive

from .conftest import Lab
from .test_migrations import A2, MEC1, home

pytestmark = pytest.mark.lab


async def test_a_lap_of_the_vehicle_moves_its_app_there_and_back_and_sits_the_short_visit_out(lab: Lab) -> None:
    async with lab.engine() as driver:
        await home(lab, driver, A2, MEC1)
    report = await drive.drive(lab.file, lab.settings, lab.state, "10.100.0.2", 225.0, asyncio.Event())
    assert [check for check in report.checks if not check.holds] == []
    status = Counter(migration.status for migration in report.migrations)
    assert status["completed"] >= 2
    assert status["failed"] == 0
    performed = [migration for migration in report.migrations if migration.status == "completed"]
    assert [migration.started.target.host for migration in performed[:2]] == ["mec2", "mec1"]
    short = [record.fact for record in report.records if isinstance(record.fact, VisitSatOut)]
    assert len(performed) + 2 * len(short) == 4, "each of the four zone changes is either served or sat out"
    assert report.probe.sent > 60 * drive.RATE_HZ
    for migration in performed:
        seen = report.switchover(migration)
        assert seen is not None
        assert seen.held == seen.taken_over
