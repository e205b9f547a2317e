"""Watches by the user plane whether anybody is connected to an app whose target waits prepared.

A relocation at such a moment costs the UE nothing, so it need not wait until a visit has lasted. No connection counts
as open between two looks only if none was opened meanwhile either.
"""

from __future__ import annotations

import asyncio
from collections.abc import Set

from pillion.core.events import AppIdle
from pillion.core.migration import Phase
from pillion.core.model import AppId
from pillion.errors import UserPlaneError
from pillion.runtime import clock
from pillion.runtime.driver import Driver
from pillion.userplane import Steering

_LOOK_S = 0.25
_IDLE_S = 1.0


async def watch_idle(apps: Set[AppId], steering: Steering, driver: Driver) -> None:
    """Tell the driver of each of these apps that nobody is connected to it. Runs until cancelled."""
    since: dict[AppId, tuple[float, int]] = {}
    while True:
        for app in apps:
            opened = await _all_closed(app, steering) if _waits(app, driver) else None
            if opened is None:
                since.pop(app, None)
                continue
            since_s, before = since.setdefault(app, (clock.now_s(), opened))
            if opened != before:
                since[app] = (clock.now_s(), opened)
            elif clock.now_s() - since_s >= _IDLE_S:
                del since[app]
                await driver.put(AppIdle(app))
        await asyncio.sleep(_LOOK_S)


def _waits(app: AppId, driver: Driver) -> bool:
    """Whether its UE has come to where its target is prepared."""
    state = driver.fleet.apps.get(app)
    moving = state.migration if state else None
    if state is None or state.visit is None or moving is None:
        return False
    return moving.phase is Phase.PREPARED and moving.target.host == state.visit.host


async def _all_closed(app: AppId, steering: Steering) -> int | None:
    """How many connections were ever opened, if none is open now; None if one is, or the user plane does not say."""
    try:
        is_open, opened = await steering.connections(app)
    except UserPlaneError:
        return None
    return None if is_open else opened
