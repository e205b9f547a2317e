"""A sandbox on its bad days, with the engine and the apps at work: no wrong migration, no crash, and soon back.

The vehicle drives on through each fault. The engine follows it by polling or by subscription; A1 and A2 run in both
forms. Whatever the sandbox answers or tells, or does not, the engine may only know late, never wrongly.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from pillion.config import LabSettings
from pillion.core.events import (
    HandoverCompleted,
    InstanceStopped,
    MigrationCompleted,
    MigrationStarted,
    NotificationsLost,
    NotificationsResumed,
    RelocationBegan,
    TrackingLost,
    TrackingResumed,
    Trigger,
    UeDisconnected,
)
from pillion.core.measures import summarise
from pillion.core.model import UeId
from pillion.errors import MecError
from pillion.experiments.http import ask, ask_json, control_sandbox
from pillion.experiments.ue import Ue, asking
from pillion.journal import store
from pillion.journal.records import Record
from pillion.lab import up
from pillion.lab.state import LabState
from pillion.mec import wire
from pillion.sandbox.faults import Fault
from tests.soak.campaign import Facts, Result, RunCase, Violation, table
from tests.soak.campaign_lab import engine, fresh_lab

LAB_FILE = Path(__file__).parent / "sandbox-lab.pillion.yml"
APPS = ("a1", "a1-told", "a2", "a2-told")
SOURCES = ("poll", "subscribe")
UE = "10.100.0.2"
LASTS_S = 8.0
"""Longer than the engine waits until tracking counts as lost."""
LONG_S = 60.0
BACK_S = 5.0
"""How soon the engine has to follow again once the sandbox is well."""
_APPS_BACK_S = 12.0
"""An app that is told asks every 5 s for what nobody told it of, and may be on its way to another host."""
_LOOK_S = 0.05
_FOLLOWED_S = 20.0
_WAS_THERE_S = 10.0
"""A UE that has just left a zone may not have been seen to."""
_STRANGERS = 3
_RATE_HZ = 20.0
_NAME, _OTHER_NAME = "sbxpillion", "sbxother"
_ANSWERS = (Fault.ERRORS, Fault.EMPTY, Fault.TRUNCATED, Fault.NAN, Fault.SILENCE)
_TOLD = (Fault.LOST, Fault.DUPLICATE, Fault.LATE, Fault.REORDERED)
_OTHER_URL = "another URL"
_FORGOTTEN = "all subscriptions forgotten, their ids used again"
_STALLED = "a stalled callback of a stranger"

Where = tuple[str | None, str | None]
"""A POA and its zone; out of coverage both are None."""


@dataclass(frozen=True, slots=True)
class Case:
    """What the sandbox does wrong, and how the engine follows the UE meanwhile."""

    what: str
    source: str
    lasts_s: float = LASTS_S

    def __str__(self) -> str:
        return f"{self.what} for {self.lasts_s:g} s ({self.source})"

    def losses(self) -> Mapping[type, tuple[int, int]]:
        """How often, at least and at most, the journal has to say that something was lost.

        Who is told asks now and then only, and so may not meet a short fault of answers.
        """
        tracking = notifications = (0, 0)
        if self.what in _ANSWERS or self.what == _OTHER_URL:
            tracking = (int(self.source == "poll" or self.what == Fault.SILENCE), 1)
        if self.source == "subscribe" and self.what in (Fault.SILENCE, Fault.LOST, _OTHER_URL, _FORGOTTEN):
            notifications = (1, 1)
        if self.source == "subscribe" and self.what in (Fault.LATE, _STALLED):
            notifications = (0, 1)
        return {TrackingLost: tracking, NotificationsLost: notifications}


@dataclass(frozen=True, slots=True)
class Truth:
    """What the sandbox did with the UE."""

    changes: Sequence[tuple[float, Where]]

    @classmethod
    async def now(cls, lab: LabSettings) -> Truth:
        told = await control_sandbox(lab, "GET", f"/truth?ue={UE}")
        return cls([(each["monotonic_s"], (each["poa"], each["zone"])) for each in told["changes"]])

    def places(self, since_s: float, until_s: float) -> list[Where]:
        """Where the UE was in this span, in order, from where it was at its begin."""
        before = [where for at_s, where in self.changes if at_s <= since_s]
        return [*before[-1:], *(where for at_s, where in self.changes if since_s < at_s <= until_s)]


def is_subsequence(found: Sequence[Where], true: Sequence[Where]) -> bool:
    """Whether all that was found is true, in this order; some of what is true may not have been found."""
    left = iter(true)
    return all(place in left for place in found)


class SandboxFaults:
    """The campaign `sandbox-faults`."""

    name = "sandbox-faults"
    title = "The sandbox goes wrong"

    def cases(self) -> Sequence[str]:
        """Their names."""
        return list(_CASES)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[RunCase]:
        """A lab with the apps in both forms, and a vehicle that drives."""
        async with fresh_lab(*APPS, file=LAB_FILE) as (lab, state):
            await control_sandbox(lab, "POST", "/drive", {"running": True})
            yield lambda case: run_case(lab, state, _CASES[case])

    def page(self, results: Sequence[Result]) -> str:
        """The results as Markdown."""
        rows = [
            [
                result.case,
                result.facts.get("back_s", ""),
                result.facts.get("apps_back_s", ""),
                result.facts.get("events", ""),
                result.facts.get("handovers", ""),
                result.facts.get("migrations", ""),
            ]
            for result in results
        ]
        return "\n".join([_ABOUT, "", table(_HEAD, rows)])

    def failures(self, results: Sequence[Result]) -> Sequence[str]:
        """What does not hold of all together."""
        moved = sum(int(result.facts.get("migrations", 0)) for result in results)
        return [] if moved else ["no app was migrated: nothing could have been migrated wrongly"]


_HEAD = ["fault", "followed again after, s", "apps right after, s", "journal", "handovers", "migrations"]
_ABOUT = """\
The vehicle drives on, the engine follows it, A1 and A2 run in the polling and in the subscribing form, and the sandbox
goes wrong in one way. In each case every handover in the journal is a true one, in the true order; no app is relocated
to a host whose zone the UE was not in; engine and apps run on, and no request of the UEs fails; the engine follows the
UE again within 5 s after the sandbox is well; what was lost and came back is in the journal once; the apps read and
count again; subscriptions of a stranger are left alone."""
_CASES = {
    str(case): case
    for source in SOURCES
    for case in (
        *(Case(what, source) for what in (*_ANSWERS, *_TOLD, _OTHER_URL, _FORGOTTEN, _STALLED)),
        Case(Fault.SILENCE, source, LONG_S),
    )
}


async def run_case(lab: LabSettings, state: LabState, case: Case) -> Facts:
    """Let the sandbox go wrong once; what came of it. Raises Violation."""
    async with engine(lab, state, LAB_FILE, case.source), AsyncExitStack() as closing:
        begun = _Journal(state)
        await begun.until_followed(lab, _FOLLOWED_S)
        ues = [await closing.enter_async_context(asking(lab, state, lab.apps[app].port, _RATE_HZ)) for app in APPS]
        for ue in ues:
            await _answered(ue)
        began_s, journal, place = time.monotonic(), _Journal(state), begun.known_after()
        try:
            strangers = await _go_wrong(lab, state, case)
            well_s = time.monotonic()
            await journal.until_followed(lab, BACK_S, place, case.losses())
            back_s = time.monotonic() - well_s
            await _apps_right(lab, well_s + _APPS_BACK_S)
            apps_back_s = time.monotonic() - well_s
            await _check_strangers(strangers)
            truth, ended_s = await Truth.now(lab), time.monotonic()
            journal.look()
        finally:
            if case.what == _OTHER_URL:
                await control_sandbox(lab, "POST", "/restart", {"name": _NAME})
                await up.point_gateways(lab, state, lab.sandbox_url)
    for app, ue in zip(APPS, ues, strict=True):
        seen = summarise(await ue.samples())
        if seen.failed or seen.stale:
            raise Violation(f"the UE of {app}: {seen.failed} requests failed, {seen.stale} were stale: {seen.errors}")
    journal.check(lab, case, truth.places(began_s, ended_s), truth)
    return {
        "back_s": round(back_s, 2),
        "apps_back_s": round(apps_back_s, 2),
        "events": ", ".join(f"{kind.__name__} {journal.count(kind)}" for kind in _SAID if journal.count(kind)),
        "handovers": journal.count(HandoverCompleted),
        "migrations": journal.count(MigrationCompleted),
    }


async def _answered(ue: Ue) -> None:
    """Wait until a UE has been answered, by whichever instance: its app may be on its way. Raises Violation."""
    end_s = time.monotonic() + _FOLLOWED_S
    while not any(sample.error is None for sample in await ue.samples()):
        if time.monotonic() > end_s:
            raise Violation(f"a UE was not answered within {_FOLLOWED_S:g} s")
        await asyncio.sleep(_LOOK_S)


_SAID = (TrackingLost, TrackingResumed, NotificationsLost, NotificationsResumed)


class _Journal:
    """What the engine has journaled from now on."""

    def __init__(self, state: LabState) -> None:
        self._journal = state.journal
        self._seq = store.last_seq(state.journal)
        self.records: list[Record] = []

    def look(self) -> None:
        """Take in what is new."""
        for record in store.read(self._journal, self._seq):
            self._seq = record.seq
            self.records.append(record)

    def count(self, kind: type) -> int:
        """How many events of a kind there were."""
        return sum(isinstance(record.fact, kind) for record in self.records)

    def known_after(self) -> Where | None:
        """Where the UE was by what was journaled up to now."""
        self.look()
        return self.places()[-1] if self.places() else None

    def places(self) -> list[Where]:
        """Where the UE came to, by the journal."""
        found: list[Where] = []
        for record in self.records:
            match record.fact:
                case HandoverCompleted(ue=ue, poa=poa, zone=zone) if ue == UE:
                    found.append((poa, zone))
                case UeDisconnected(ue=ue) if ue == UE:
                    found.append((None, None))
        return found

    async def until_followed(
        self,
        lab: LabSettings,
        limit_s: float,
        before: Where | None = None,
        losses: Mapping[type, tuple[int, int]] | None = None,
    ) -> None:
        """Wait until the engine knows where the UE is, and has said that it found again whatever it had lost.

        `before`: what it knew when this journal began; `losses`: how many it has to speak of. Raises Violation.
        """
        end_s = time.monotonic() + limit_s
        while True:
            true = (await Truth.now(lab)).changes[-1][1]
            self.look()
            known = self.places()[-1] if self.places() else before
            open_ = [kind.__name__ for kind, found in _PAIRS.items() if self.count(kind) != self.count(found)]
            waits = [kind.__name__ for kind, (least, _) in (losses or {}).items() if self.count(kind) < least]
            if known == true and not open_ and not waits:
                return
            if time.monotonic() > end_s:
                problem = f"not followed again within {limit_s:g} s: known {known}, true {true}"
                raise Violation(f"{problem}; not found again {open_}, not said {waits}")
            await asyncio.sleep(_LOOK_S)

    def check(self, lab: LabSettings, case: Case, true: Sequence[Where], truth: Truth) -> None:
        """Raises Violation if it tells of a handover that was none, of a wrong migration, or of a stop."""
        found = self.places()
        if not is_subsequence(found, true):
            raise Violation(f"handovers that were none: the journal has {found}, true are {true}")
        if stopped := self.count(InstanceStopped):
            raise Violation(f"{stopped} apps stopped")
        for kind, (least, most) in case.losses().items():
            if not least <= self.count(kind) <= most:
                raise Violation(f"{kind.__name__} {self.count(kind)} times, not {least} to {most}")
        targets = {
            record.fact.migration: record.fact.target.host
            for record in store.read(self._journal)
            if isinstance(record.fact, MigrationStarted)
        }
        for record in self.records:
            match record.fact:
                case RelocationBegan(migration=migration, trigger=Trigger.HANDOVER):
                    zones = [zone for _, zone in truth.places(record.now_s - _WAS_THERE_S, record.now_s)]
                    hosts = {lab.placement.zones.get(str(zone), lab.placement.default) for zone in zones}
                    if targets[migration] not in hosts:
                        raise Violation(f"{migration} went to {targets[migration]}, while the UE was in {zones}")


_PAIRS = {TrackingLost: TrackingResumed, NotificationsLost: NotificationsResumed}


async def _go_wrong(lab: LabSettings, state: LabState, case: Case) -> list[str]:
    """The sandbox goes wrong, and is well again at the end; subscriptions of a stranger that have to stay."""
    match case.what:
        case what if what == _OTHER_URL:
            await control_sandbox(lab, "POST", "/restart", {"name": _OTHER_NAME})
            await asyncio.sleep(case.lasts_s)
            await up.point_gateways(lab, state, f"http://{lab.sandbox_address}:8000/{_OTHER_NAME}")
            return []
        case what if what == _FORGOTTEN:
            await control_sandbox(lab, "POST", "/restart", {})
            return [await _subscribe(lab, f"http://{lab.sandbox_address}:1/stranger") for _ in range(_STRANGERS)]
        case what if what == _STALLED:
            async with _stalling(str(lab.callback_address)) as callback:
                stranger = await _subscribe(lab, callback)
                await asyncio.sleep(case.lasts_s)
                await _unsubscribe(stranger)
            return []
        case fault:
            await control_sandbox(lab, "POST", "/faults", {"fault": fault, "seconds": case.lasts_s})
            await asyncio.sleep(case.lasts_s)
            return []


@asynccontextmanager
async def _stalling(address: str) -> AsyncIterator[str]:
    """A callback that takes notifications and answers none."""
    over = asyncio.Event()

    async def take(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    server = await asyncio.start_server(take, address, 0)
    try:
        yield f"http://{address}:{server.sockets[0].getsockname()[1]}/stranger"
    finally:
        over.set()
        server.close()


async def _subscribe(lab: LabSettings, callback: str) -> str:
    """A stranger's subscription to the UE's handovers, past the gateway; its URL."""
    kind = next(kind for kind in wire.KINDS["v2"] if kind.path.endswith("userTracking"))
    made = await ask_json("POST", f"{lab.sandbox_url}/{kind.api}/{kind.path}", kind.body(UeId(UE), callback))
    (subscription,) = made.values()
    return str(subscription["resourceURL"])


async def _unsubscribe(url: str) -> None:
    async with aiohttp.ClientSession() as http:
        await ask(http, "DELETE", url)


async def _check_strangers(urls: Sequence[str]) -> None:
    """Raises Violation if a stranger's subscription is gone; removes them."""
    for url in urls:
        try:
            await ask_json("GET", url)
        except MecError as error:
            raise Violation(f"a stranger's subscription is gone: {error}") from error
        await _unsubscribe(url)


async def _apps_right(lab: LabSettings, until_s: float) -> None:
    """Wait until A2 knows the true zone and A1 has read more, in both forms. Raises Violation."""
    waiting, first = set(APPS), {app: await _said(lab, app) for app in APPS}
    while waiting:
        zone = (await Truth.now(lab)).changes[-1][1][1]
        for app in [*waiting]:
            said = await _said(lab, app)
            if said["zone"] == zone if "zone" in said else said["readings"] > first[app]["readings"]:
                waiting.remove(app)
        if waiting and time.monotonic() > until_s:
            raise Violation(f"not right again within {_APPS_BACK_S:g} s: {', '.join(sorted(waiting))}")
        await asyncio.sleep(_LOOK_S)


async def _said(lab: LabSettings, app: str) -> dict[str, Any]:
    """What an app tells its UE."""
    said: dict[str, Any] = await ask_json("GET", f"http://{lab.user_plane_address}:{lab.apps[app].port}/")
    return said
