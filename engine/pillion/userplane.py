"""Steers an app's traffic: one stable address for the UE, one MEC host behind it.

HAProxy knows every host as a server of the app's backend, all but one disabled, and holds what arrives while that one
does not answer. To switch is to enable the target and then disable the source, in this order: with no server enabled
HAProxy would refuse at once. One more server answers nobody; with it enabled instead of a host, what arrives is held.
HAProxy starts like that, so that no host gets traffic of which the driver does not know. Only the driver steers.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from pillion.core.model import AppId, HostId
from pillion.errors import UserPlaneError

log = logging.getLogger(__name__)

_ANSWER_S = 2.0
_LOOK_S = 1.0
HELD = HostId(".held")
"""The server that answers nobody, in each app's backend."""
CHECKED = ".reach"
"""Ends the name of the backend that gets no traffic and whose servers HAProxy checks."""
SERVED_BY = "X-Served-By"
"""Header of each HTTP answer that names the MEC host it came from: a restored app cannot tell that itself."""
_RUNNING = 2
_TAKEN_OUT = 0x3B
"""The bits of `srv_admin_state` that keep a server from traffic: maintenance and drain. Bit 0x04 does not: it only says
that the configuration named the server `disabled`, and stays set when it has been enabled since."""


class Steering(Protocol):
    """What the driver needs of a user plane. All calls are safe to repeat; failures leave as UserPlaneError."""

    async def steer(self, app: AppId, host: HostId) -> None:
        """Send the app's traffic to `host` and nowhere else."""

    async def hold(self, app: AppId) -> None:
        """Send the app's traffic to no host, and hold what arrives."""

    async def serving(self, app: AppId) -> HostId | None:
        """The one host that gets the app's traffic; None if it is none or several."""

    async def connections(self, app: AppId) -> tuple[int, int]:
        """Connections to the app: how many are open now, and how many were ever opened, held ones included."""

    async def reaches(self, app: AppId, host: HostId) -> bool:
        """Whether something listens on the app's port of `host`, as the user plane itself last tried."""


class HaproxySteering:
    """Steers through HAProxy's runtime API on its admin socket. Source: HAProxy management guide 3.0, clause 9.3."""

    def __init__(self, socket: Path, steered: Mapping[AppId, HostId] | None = None) -> None:
        """`steered`: where traffic has been sent so far, which `keep` holds to."""
        self._socket = socket
        self._steered = dict(steered or {})
        self._steering = asyncio.Lock()

    async def steer(self, app: AppId, host: HostId) -> None:
        """Enable the host's server, then disable every other one that is enabled."""
        self._steered[app] = host
        async with self._steering:
            await self._apply(app, host)

    async def hold(self, app: AppId) -> None:
        """Enable the server that answers nobody, then disable every host's."""
        await self.steer(app, HELD)

    async def keep(self) -> None:
        """Steer anew what HAProxy has forgotten, as it does whenever it restarts. Runs until cancelled."""
        while True:
            for app, host in list(self._steered.items()):
                with contextlib.suppress(UserPlaneError):  # away for now: looked at again in a moment
                    async with self._steering:
                        # Asked under the lock, so that a switch under way is never taken back.
                        if self._steered[app] == host and await self._only(app) != host:
                            log.warning("the user plane did not send %s to %s: steered anew", app, host)
                            await self._apply(app, host)
            await asyncio.sleep(_LOOK_S)

    async def _apply(self, app: AppId, host: HostId) -> None:
        enabled = await self._enabled(app)
        if not enabled.get(host):
            _raise_if_said(await self._say(f"enable server {app}/{host}"))
        if others := [other for other, on in enabled.items() if on and other != host]:
            _raise_if_said(await self._say("; ".join(f"disable server {app}/{other}" for other in others)))

    async def serving(self, app: AppId) -> HostId | None:
        """The one enabled server of the app's backend, unless it is the one that answers nobody."""
        only = await self._only(app)
        return None if only == HELD else only

    async def _only(self, app: AppId) -> HostId | None:
        enabled = [host for host, on in (await self._enabled(app)).items() if on]
        return enabled[0] if len(enabled) == 1 else None

    async def connections(self, app: AppId) -> tuple[int, int]:
        """`scur` and `stot` of the app's frontend. Source: HAProxy management guide 3.0, clause 9.1."""
        rows = csv.DictReader((await self._say("show stat")).removeprefix("# ").splitlines())
        for row in rows:
            if (row["pxname"], row["svname"]) == (app, "FRONTEND"):
                return int(row["scur"]), int(row["stot"])
        raise self._unknown(app)

    async def reaches(self, app: AppId, host: HostId) -> bool:
        """What HAProxy's own check of the host says; the traffic's backend has none, as only the driver steers."""
        states = await self._states(f"{app}{CHECKED}")
        return states.get(host, (_RUNNING, 0))[0] == _RUNNING

    async def _enabled(self, app: AppId) -> dict[HostId, bool]:
        return {host: not admin & _TAKEN_OUT for host, (_, admin) in (await self._states(app)).items()}

    async def _states(self, app: str) -> dict[HostId, tuple[int, int]]:
        """`srv_op_state` and `srv_admin_state` of each server of a backend."""
        answer = await self._say(f"show servers state {app}")
        found: dict[HostId, tuple[int, int]] = {}
        for line in answer.splitlines():
            fields = line.split()
            # be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state …
            if len(fields) > 6 and fields[1] == app:
                found[HostId(fields[3])] = int(fields[5]), int(fields[6])
        if not found:
            raise self._unknown(app)
        return found

    def _unknown(self, app: str) -> UserPlaneError:
        return UserPlaneError(
            f"HAProxy knows no app {app}",
            place=str(self._socket),
            remedy="its configuration is made by `pillion up`: run it again after changing the lab file",
        )

    async def _say(self, command: str) -> str:
        try:
            async with asyncio.timeout(_ANSWER_S):
                reader, writer = await asyncio.open_unix_connection(str(self._socket))
                try:
                    writer.write(f"{command}\n".encode())
                    return (await reader.read()).decode()
                finally:
                    writer.close()
        except (OSError, TimeoutError) as error:
            raise UserPlaneError(
                f"HAProxy does not answer: {str(error) or 'timed out'}",
                place=str(self._socket),
                remedy="`pillion inspect` shows whether the user plane runs",
            ) from error


def _raise_if_said(answer: str) -> None:
    """HAProxy answers a command that succeeded with nothing."""
    if said := answer.strip():
        raise UserPlaneError(f"HAProxy refused: {said}")
