"""Composition root: settings in, adapters built, one TaskGroup started. The only file that knows everybody.

Reading order: here, then `runtime/driver.py`, `core/fleet.py`, `core/migration.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from aiohttp import web

from pillion.config import LabSettings, all_plans
from pillion.core.actions import Action, Announce
from pillion.core.events import EngineStarted, MigrationStarted, Trigger
from pillion.core.fleet import decide
from pillion.core.mobility import Heard
from pillion.core.state import Fleet
from pillion.errors import JournalError
from pillion.journal import store
from pillion.lab.hosts import connect_hosts
from pillion.lab.state import LabState
from pillion.mec import wire
from pillion.mec.callbacks import Callbacks, serve_callbacks
from pillion.mec.location import LocationClient
from pillion.mec.polling import Polling
from pillion.mec.subscribing import Subscribing, SubscribingSettings
from pillion.mec.subscriptions import SubscriptionClient
from pillion.runtime.control import serve_control
from pillion.runtime.driver import Driver
from pillion.runtime.idle import watch_idle
from pillion.runtime.requests import Requests, kept_key
from pillion.runtime.steps import Steps, StepTimeouts
from pillion.runtime.tracking import EventSource, TrackingSettings, track
from pillion.runtime.watch import Watch, WatchSettings
from pillion.userplane import HaproxySteering

log = logging.getLogger(__name__)

_DRAIN_S = 20.0
"""How long a stop waits for a relocation under way; after that a restart goes on from the journal."""


def restored(state: LabState) -> Fleet:
    """The fleet as the journal tells it: the fold of `decide` over its events.

    Raises JournalError if a migration was begun that would not be begun now, by other rules than it was written under.
    """
    fleet = Fleet.empty()
    decided: list[Action] = []
    for record in store.read(state.journal):
        if record.role == "event":
            fleet, decided = decide(fleet, record.fact, record.now_s)  # type: ignore[arg-type]  # no decisions
        elif isinstance(record.fact, MigrationStarted) and Announce(record.fact) not in decided:
            raise JournalError(
                f"record {record.seq}: migration {record.fact.migration} does not follow from what came before",
                place=str(state.journal),
                remedy="use the pillion that wrote it until the lab is down, or `pillion down` and `up`",
            )
    return fleet


@asynccontextmanager
async def engine(lab: LabSettings, state: LabState, *, follow: bool = True) -> AsyncIterator[Driver]:
    """A running engine: it holds the lab's lock, follows the UEs if asked to, and stops safely at the end.

    Raises JournalError if another engine holds the lab.
    """
    async with AsyncExitStack() as closing:
        lock = store.Lock.take(state.lock)
        closing.callback(lock.release)
        fleet = restored(state)
        started = EngineStarted(fleet.next_epoch, lab.policy(), tuple(lab.app_list()))
        journal = await store.Journal.open(state.journal)
        closing.push_async_callback(journal.close)
        sockets = await asyncio.to_thread(state.emptied_sockets)
        hosts = await closing.enter_async_context(connect_hosts(lab, state, sockets, started.epoch))
        timeouts = StepTimeouts(**lab.timeouts.model_dump(exclude={"retry_s", "host_lost_s"}))
        steered = {app_id: app.serving.host for app_id, app in fleet.apps.items() if app.serving}
        steering = HaproxySteering(state.admin_socket, steered)
        asking = await requests(lab, state)
        told = {app: {"PILLION_MIGRATE_URL": url} for app in lab.may_ask if (url := asking.url(app, Trigger.APP))}
        steps = Steps(hosts, steering, all_plans(), started.epoch, timeouts, lab.link_rate_bytes_s, told)
        driver = Driver(fleet, started, journal, steps)
        callbacks = None
        if lab.may_ask or (follow and lab.tracking.source == "subscribe"):
            callbacks = await closing.enter_async_context(_callbacks(lab, [asking.route(driver.put)]))
        source = await closing.enter_async_context(event_source(lab, callbacks=callbacks)) if follow else None
        control = await serve_control(driver, state.control_socket)
        closing.push_async_callback(control.cleanup)
        async with asyncio.TaskGroup() as tasks:
            driving = tasks.create_task(driver.run(), name="drive")
            watch = Watch(hosts, steering, driver, WatchSettings(lost_s=lab.timeouts.host_lost_s))
            keeping = [
                tasks.create_task(steering.keep(), name="keep steering"),
                tasks.create_task(watch.run(), name="watch hosts"),
            ]
            if lab.moved_when_idle:
                idle = watch_idle(lab.moved_when_idle, steering, driver)
                keeping.append(tasks.create_task(idle, name="watch connections"))
            following = [
                tasks.create_task(track(ue, source, _tracking(lab), driver.put), name=f"follow {ue}")
                for ue in sorted({app.ue for app in started.apps})
                if source
            ]
            try:
                await driver.until(lambda fleet: fleet.next_epoch > started.epoch)
                yield driver
            finally:
                for task in following:
                    task.cancel()
                if not driving.done():
                    await _drain(driver)
                for task in (*keeping, driving):
                    task.cancel()


async def run(lab: LabSettings, state: LabState, stop: asyncio.Event) -> None:
    """The daemon: an engine until `stop` is set."""
    async with engine(lab, state):
        log.info("following %s", ", ".join(f"{app.ue} with {app.id}" for app in lab.app_list()))
        await stop.wait()


@asynccontextmanager
async def event_source(
    lab: LabSettings, heard: Heard | None = None, callbacks: Callbacks | None = None
) -> AsyncIterator[EventSource]:
    """What the lab file says UEs are followed by. Raises MachineError if the callbacks' port cannot be had."""
    async with AsyncExitStack() as closing:
        client = LocationClient(lab.location_url, lab.tracking.radius_m, heard=heard)
        location = await closing.enter_async_context(client)
        if lab.tracking.source == "poll":
            yield Polling(location, lab.tracking.poll_s)
            return
        if callbacks is None:
            callbacks = await closing.enter_async_context(_callbacks(lab))
        kinds = wire.KINDS[lab.sandbox.location]
        subscriptions = await closing.enter_async_context(SubscriptionClient(lab.gateway_url, kinds))
        settings = SubscribingSettings(poll_s=lab.tracking.poll_s)
        yield Subscribing(location, subscriptions, callbacks, settings, heard)


def _callbacks(lab: LabSettings, routes: Sequence[web.RouteDef] = ()) -> AbstractAsyncContextManager[Callbacks]:
    return serve_callbacks(str(lab.callback_address), lab.callbacks.port, lab.callback_url, routes=routes)


async def requests(lab: LabSettings, state: LabState) -> Requests:
    """The URLs by which apps and UEs ask for a migration, if the lab file lets any of them."""
    key = await asyncio.to_thread(kept_key, state.requests_key) if lab.may_ask else b""
    return Requests(key, lab.callback_url, lab.may_ask)


async def _drain(driver: Driver) -> None:
    try:
        async with asyncio.timeout(_DRAIN_S):
            await driver.drained()
    except TimeoutError:
        log.warning("stopping with a migration under way: the next start goes on from the journal")


def _tracking(lab: LabSettings) -> TrackingSettings:
    return TrackingSettings(lab.tracking.lookahead_s, lab.tracking.silent_s)
