"""When nobody is connected to an app whose target waits, in virtual time."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

import pytest

from pillion.core.events import AppIdle, Event
from pillion.core.migration import Migration, Phase
from pillion.core.model import AppId, Epoch, Instance, MigrationId, ZoneId
from pillion.core.state import AppState, Fleet, Visit
from pillion.errors import UserPlaneError
from pillion.runtime.idle import watch_idle
from tests.core.examples import A2, MEC1, MEC2
from tests.runtime.told import Driver

pytestmark = pytest.mark.looptime

TARGET = Instance(A2.id, MEC2, Epoch(3))
MOVING = Migration(MigrationId("a2-3"), A2, Instance(A2.id, MEC1, Epoch(2)), TARGET, "M2", Phase.PREPARED)
VISIT = Visit(MEC2, ZoneId("zone01"), 0.0)


@dataclass
class UserPlane:
    """What HAProxy counts: open, and ever opened; None: it does not answer."""

    counts: tuple[int, int] | None = (0, 7)
    asked: int = 0

    async def connections(self, app: AppId) -> tuple[int, int]:
        self.asked += 1
        if self.counts is None:
            raise UserPlaneError("away")
        return self.counts


async def told_within(seconds: float, plane: UserPlane, state: AppState, busy: bool = False) -> list[Event]:
    """What the driver is told; `busy`: one connection after another is opened and closed."""
    driver = Driver(Fleet.empty().with_app(state))
    watching = asyncio.create_task(watch_idle({A2.id}, cast(Any, plane), cast(Any, driver)))
    for _ in range(round(seconds / 0.1)):
        await asyncio.sleep(0.1)
        if busy and plane.counts:
            plane.counts = (0, plane.counts[1] + 1)
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
    return driver.events


WAITS = AppState(A2, migration=MOVING, visit=VISIT)


async def test_nobody_connected_for_a_second_is_told() -> None:
    assert await told_within(0.8, UserPlane(), WAITS) == []
    assert await told_within(1.6, UserPlane(), WAITS) == [AppIdle(A2.id)]


async def test_one_that_is_open_or_that_came_and_went_meanwhile_counts() -> None:
    assert await told_within(5, UserPlane((1, 7)), WAITS) == []
    assert await told_within(5, UserPlane(), WAITS, busy=True) == []


async def test_a_user_plane_that_does_not_say_tells_nothing() -> None:
    assert await told_within(5, UserPlane(None), WAITS) == []


@pytest.mark.parametrize(
    "state",
    [
        AppState(A2),
        AppState(A2, migration=MOVING),
        AppState(A2, migration=MOVING, visit=Visit(MEC1, ZoneId("zone02"), 0.0)),
        AppState(A2, migration=Migration(MOVING.id, A2, MOVING.source, TARGET, "M2", Phase.RELOCATING), visit=VISIT),
    ],
)
async def test_the_user_plane_is_asked_only_while_a_target_waits_where_the_ue_is(state: AppState) -> None:
    plane = UserPlane()
    assert await told_within(5, plane, state) == []
    assert plane.asked == 0
