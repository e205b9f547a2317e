"""Watches the MEC hosts that serve an app: whether its container runs, and whether the host is there at all.

A container that does not run although nobody stopped it is told of: the core starts it again. A host is lost only when
the engine cannot reach it *and* the user plane cannot either, for a set time: a UE may be well served by a host that
merely does not listen to us. Only the lack of an answer counts, and an unknown user plane is none.

While all is at rest it also removes what a host has of an app that no state knows: a call that was given up (the SSH
connection was lost, the engine was killed) may be finished by the host after it was undone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from pillion.core.events import HostLost, HostReturned, InstanceStopped
from pillion.core.migration import PREPARABLE, Migration, Phase
from pillion.core.model import AppId, HostId
from pillion.core.plan import TakeCheckpoint
from pillion.core.state import AppState
from pillion.errors import HostError, UserPlaneError
from pillion.hosts.base import ContainerInfo, ContainerState, MecHost
from pillion.runtime import clock
from pillion.runtime.driver import Driver
from pillion.userplane import Steering

log = logging.getLogger(__name__)

_TIDY_LOOKS = 5
"""How many looks at rest between two of these removals; the first comes sooner."""
_IN_DOWNTIME = frozenset({Phase.RELOCATING, Phase.SWITCHING})


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """`look_s` between two looks, `answer_s` until one has failed, `lost_s` of silence until a host is lost."""

    look_s: float = 1.0
    answer_s: float = 3.0
    lost_s: float = 10.0


class Watch:
    """Looks after all hosts; `run` never returns by itself."""

    def __init__(
        self, hosts: Mapping[HostId, MecHost], steering: Steering, driver: Driver, settings: WatchSettings
    ) -> None:
        self._hosts = hosts
        self._steering = steering
        self._driver = driver
        self._settings = settings
        self._last_seen: dict[AppId, int] = {}
        self._paused: set[str] = set()
        """Containers that were seen paused at the last look."""

    async def run(self) -> None:
        """Watch every host until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for host in self._hosts.values():
                tasks.create_task(self._watch(host), name=f"watch {host.id}")

    async def _watch(self, host: MecHost) -> None:
        silent_since_s: float | None = None
        looks_at_rest = 0
        while True:
            await asyncio.sleep(self._settings.look_s)
            looks_at_rest = looks_at_rest + 1 if self._at_rest() else 0
            if looks_at_rest % _TIDY_LOOKS == 1:
                await self._tidy(host)
            served = self._served_by(host.id)
            if any(state.migration and state.migration.phase in _IN_DOWNTIME for state in served):
                continue  # Nothing is asked in a downtime that can be asked after it.
            is_lost = host.id in self._driver.fleet.lost
            if not served and not is_lost:
                silent_since_s = None
                continue
            asked_s = clock.now_s()
            running = await self._running(host)
            if running is not None:
                silent_since_s = None
                if is_lost:
                    await self._driver.put(HostReturned(host.id))
                for state in served:
                    await self._look_at(host, state, running)
            elif is_lost or await self._user_plane_reaches(served):
                silent_since_s = None
            else:
                silent_since_s = asked_s if silent_since_s is None else silent_since_s
                silent_s = clock.now_s() - silent_since_s
                if silent_s >= self._settings.lost_s:
                    seen = {s.app.id: self._last_seen[s.app.id] for s in served if s.app.id in self._last_seen}
                    await self._driver.put(HostLost(host.id, round(silent_s, 1), seen))
                    silent_since_s = None

    def _served_by(self, host: HostId) -> list[AppState]:
        return [s for s in self._driver.fleet.apps.values() if s.serving and s.serving.host == host]

    async def _running(self, host: MecHost) -> Mapping[str, ContainerInfo] | None:
        """The host's app containers by name; None if it does not answer."""
        try:
            async with asyncio.timeout(self._settings.answer_s):
                return {found.name: found for found in await host.containers()}
        except (HostError, TimeoutError):
            return None

    async def _look_at(self, host: MecHost, before: AppState, containers: Mapping[str, ContainerInfo]) -> None:
        now = self._driver.fleet.apps[before.app.id]
        serving = now.serving
        # Between the question and its answer a migration may have begun, or ended.
        if serving is None or now.serving != before.serving or now.migration != before.migration:
            return
        found = containers.get(serving.container)
        if (
            found
            and found.state is ContainerState.PAUSED
            and (_is_dumped(now.migration) or serving.container not in self._paused)
        ):
            # For the length of a checkpoint, and nobody may be waiting for that any more: another look will tell.
            self._paused.add(serving.container)
            return
        self._paused.discard(serving.container)
        if found is None or found.state is not ContainerState.RUNNING:
            may_start = now.migration is None or now.migration.phase in PREPARABLE
            if may_start and not now.stopped:
                state = found.state.value if found else "gone"
                await self._driver.put(InstanceStopped(now.app.id, serving, state))
            return
        ready = await self._ready(host, now)
        if ready is not None:
            self._last_seen[now.app.id] = ready

    async def _ready(self, host: MecHost, state: AppState) -> int | None:
        try:
            ready = await host.readiness(state.app)
        except HostError:
            return None
        return ready.seq if ready and state.serving and ready.epoch <= state.serving.epoch else None

    def _at_rest(self) -> bool:
        """Whether nothing moves; debts may be owed, for a stray can be what keeps one from being settled."""
        return not any(state.migration for state in self._driver.fleet.apps.values())

    async def _tidy(self, host: MecHost) -> None:
        """Remove what the host has of older epochs than any that is to come, but for the serving instances'."""
        fleet = self._driver.fleet
        for state in fleet.apps.values():
            here = state.serving is not None and state.serving.host == host.id
            if state.loss is None and host.id not in fleet.lost:
                try:
                    async with asyncio.timeout(self._settings.answer_s):
                        keep = state.serving.epoch if here and state.serving else None
                        removed = await host.remove_strays(state.app.id, keep, fleet.next_epoch)
                except (HostError, TimeoutError):
                    continue
                if removed:
                    log.warning("%s: removed what no state knows: %s", host.id, ", ".join(removed))

    async def _user_plane_reaches(self, served: list[AppState]) -> bool:
        """Whether the user plane reaches any app there; also True where it cannot be asked."""
        try:
            return any([await self._steering.reaches(s.app.id, s.serving.host) for s in served if s.serving])
        except UserPlaneError:
            return True


def _is_dumped(moving: Migration | None) -> bool:
    """Whether a checkpoint of the app is being taken right now."""
    if moving is None or moving.plan is None:
        return False
    return any(isinstance(moving.plan.step(step).work, TakeCheckpoint) for step in moving.running)
