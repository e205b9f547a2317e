"""Whether an app came through a migration with its state: the app is asked through the user plane, and compared."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from pillion.config import LabSettings
from pillion.core.model import App
from pillion.core.model import Protocol as Speaks
from pillion.errors import EngineError
from pillion.experiments.drive import zone_changes_at_request_times
from pillion.experiments.http import ask_json, control_sandbox
from pillion.experiments.keys import Address, Truth, fill, make_items, prove

_STILL_S = 1.0
"""Longer than an app's polling interval and its answer: then what it has asked for has been answered."""
_READS_S = 6.0
"""Longer than the interval in which an app that is told asks nevertheless."""
_LOOK_S = 0.1
_READING_S = 20.0
_KEYS, _KEYS_BYTES = 500, 2_000_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the state is what it must be, and what was found."""

    holds: bool
    found: str


class StateProof(Protocol):
    """One app's: `prepare` gives it a state worth proving, `check` compares what it has with the truth."""

    async def prepare(self) -> None: ...

    async def check(self) -> Verdict: ...


class ServesProof:
    """A1 has no state: it must serve, and go on reading."""

    def __init__(self, lab: LabSettings, app: App) -> None:
        self._url = f"http://{lab.user_plane_address}:{app.port}/"

    async def prepare(self) -> None:
        """Wait until it reads: it starts to once it serves."""
        async with asyncio.timeout(_READING_S):
            while not (await self.check()).holds:
                pass

    async def check(self) -> Verdict:
        before, read = (await ask_json("GET", self._url, limit_s=5.0))["readings"], 0
        clock = asyncio.get_running_loop().time
        began_s = clock()
        while not read and clock() - began_s < _READS_S:
            await asyncio.sleep(_LOOK_S)
            read = (await ask_json("GET", self._url, limit_s=5.0))["readings"] - before
        if not read:
            return Verdict(False, f"serves, and has read nothing in {_READS_S:g} s")
        return Verdict(True, f"serves, and reads on within {clock() - began_s:.1f} s")


class CounterProof:
    """A2 must have counted the true number of zone changes at the instants when it asked, while its vehicle drives."""

    def __init__(self, lab: LabSettings, app: App) -> None:
        self._lab, self._app = lab, app

    async def prepare(self) -> None:
        """Nothing to prepare: the vehicle drives."""

    async def check(self) -> Verdict:
        await control_sandbox(self._lab, "POST", "/drive", {"running": False})
        try:
            await asyncio.sleep(_STILL_S)
            url = f"http://{self._lab.user_plane_address}:{self._app.port}/"
            counter = (await ask_json("GET", url, limit_s=5.0))["counter"]
            truth = await control_sandbox(self._lab, "GET", f"/truth?ue={self._app.ue}")
            # Another app may follow the same UE; an instance is named after its app.
            of_app = f"a2/{self._app.id}."
            truth["queries"] = [query for query in truth["queries"] if query["agent"].startswith(of_app)]
            true_changes = zone_changes_at_request_times(truth)
        finally:
            await control_sandbox(self._lab, "POST", "/drive", {"running": True})
        return Verdict(counter == true_changes, f"counter {counter}, true {true_changes}")


class KeysProof:
    """A3 must have every key, value, flag and TTL."""

    def __init__(self, lab: LabSettings, app: App) -> None:
        self._address = Address(str(lab.user_plane_address), app.port)
        self._truth = Truth()

    async def prepare(self) -> None:
        """Fill it anew."""
        self._truth = await fill(self._address, make_items(_KEYS, _KEYS_BYTES))

    async def check(self) -> Verdict:
        proof = await prove(self._address, self._truth)
        return Verdict(proof.holds, str(proof))


def proof_of(lab: LabSettings, app: App) -> StateProof:
    """The proof that fits the app: its keys if it is a memcached, its counter if it keeps a DV, else that it serves."""
    if app.protocol is Speaks.MEMCACHED:
        return KeysProof(lab, app)
    return CounterProof(lab, app) if app.volume else ServesProof(lab, app)


async def verdict(proof: StateProof) -> Verdict:
    """What a proof says; an app that does not answer has not kept its state."""
    try:
        return await proof.check()
    except (EngineError, KeyError) as error:
        return Verdict(False, f"no good answer: {error}")
