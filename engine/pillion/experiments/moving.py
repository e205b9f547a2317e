"""Moving an app in an experiment: through an engine in this process, until all is at rest again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

from pillion.config import LabSettings
from pillion.core.events import MigrationRequested
from pillion.core.model import AppId, HostId
from pillion.core.reports import MigrationReport, migration_reports
from pillion.core.state import AppState, Fleet
from pillion.errors import MachineError, MigrationError
from pillion.journal import store
from pillion.lab.state import LabState
from pillion.runtime.driver import Driver

Engine = Callable[[LabSettings, LabState], AbstractAsyncContextManager[Driver]]
"""Starts an engine on a lab. Handed in, since the composition root stands above the experiments."""
T = TypeVar("T")
_SERVES_S = 60.0
_MIGRATES_S = 120.0


def rests(app: AppState) -> bool:
    """Whether an app is served and nothing of it is under way."""
    return app.serving is not None and app.migration is None


async def all_serve(driver: Driver) -> None:
    """Wait until every app of the lab is served. Raises TimeoutError."""
    async with asyncio.timeout(_SERVES_S):
        await driver.until(lambda fleet: bool(fleet.apps) and all(rests(app) for app in fleet.apps.values()))


def serving_host(driver: Driver, app: AppId) -> HostId:
    """The MEC host that serves an app."""
    serving = driver.fleet.apps[app].serving
    assert serving is not None, "asked between migrations"
    return serving.host


async def move(
    driver: Driver, state: LabState, app: AppId, target: HostId, strategy: str, *, forced: bool = False
) -> MigrationReport:
    """Ask for a migration and wait until it has ended, well or not; its report.

    Raises MigrationError if it was refused, TimeoutError if it does not end.
    """
    written = await asyncio.to_thread(store.last_seq, state.journal)
    epoch = driver.fleet.next_epoch
    await driver.put(MigrationRequested(app, target, strategy, forced))

    def ended(fleet: Fleet) -> bool:
        return fleet.next_epoch > epoch and rests(fleet.apps[app]) and not fleet.debts

    async with asyncio.timeout(_MIGRATES_S):
        await driver.until(ended)
    return await asyncio.to_thread(_report, state, written)


def _report(state: LabState, after: int) -> MigrationReport:
    reports = migration_reports((record.now_s, record.fact) for record in store.read(state.journal, after))
    if not reports:
        raise MigrationError("no migration was started", place="engine", remedy="see the log above")
    return reports[0]


async def unless(stop: asyncio.Event, what: str, work: Awaitable[T]) -> T:
    """What the work gives. It is cancelled, and tidies up, once `stop` is set; then MachineError."""
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if working.done():
        return working.result()
    working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working
    raise MachineError("interrupted", place=what, remedy="run it again")
