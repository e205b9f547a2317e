"""How long after a true handover the engine knows of it: by asking, by being told, and by replaying what was asked.

No lab is needed: the embedded sandbox drives at its own pace, in real time, in this process. The engine's own sources
follow the study's vehicles over HTTP. What was asked is recorded and replayed afterwards, at the pace it had.
"""

from __future__ import annotations

import asyncio
import io
import logging
import math
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from statistics import fmean, median
from typing import NamedTuple

import aiohttp
import click

from pillion.config import TrackingSettings
from pillion.core.events import Event, HandoverCompleted, UeDisconnected
from pillion.core.model import PoaId, UeId
from pillion.errors import MecError
from pillion.experiments.conditions import this_machine
from pillion.experiments.http import ask, ask_json
from pillion.experiments.moving import unless
from pillion.experiments.time_available import SCENARIO, VEHICLES
from pillion.mec import wire
from pillion.mec.callbacks import serve_callbacks
from pillion.mec.location import LocationClient
from pillion.mec.polling import Polling
from pillion.mec.subscribing import Subscribing, SubscribingSettings
from pillion.mec.subscriptions import SubscriptionClient
from pillion.output import markdown_table, print_table, write_page
from pillion.replay.source import Replaying
from pillion.replay.trace import Raw, Recorded, TraceWriter, read_trace, when_s
from pillion.runtime import clock
from pillion.runtime.tracking import EventSource, track
from pillion.runtime.tracking import TrackingSettings as TrackBy
from pillion.sandbox.server import Listening, sandbox

log = logging.getLogger(__name__)

DRIVE_S = 240.0
"""A little more than a lap of the study's vehicle."""
_SETTINGS = TrackingSettings()
_SUBSCRIBED_S = 10.0
_LOOK_S = 0.05
_COLUMNS = ("followed by", "handovers", "missed", "mean, s", "median, s", "worst, s")


class Way(StrEnum):
    """How a UE is followed."""

    POLL = "asking"
    SUBSCRIBE = "being told"
    REPLAY = "replaying what was asked"


class Moment(NamedTuple):
    """A handover, true or noticed, on the engine's clock; no POA: out of coverage."""

    at_s: float
    poa: PoaId | None


@dataclass
class Recording:
    """A trace as it is written; its clock begins with the whole second in which the first thing was seen."""

    text: io.StringIO = field(default_factory=io.StringIO)
    from_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Delays:
    """What one way made of one UE's true handovers."""

    way: Way
    ue: UeId
    seconds: Sequence[float]
    missed: int


def delays(way: Way, ue: UeId, true: Sequence[Moment], noticed: Sequence[Moment]) -> Delays:
    """Each true handover with the next event that says the same; one that has none was missed."""
    seconds, waiting = [], list(noticed)
    for change in true:
        for index, event in enumerate(waiting):
            if event.poa == change.poa and event.at_s >= change.at_s:
                seconds.append(event.at_s - change.at_s)
                del waiting[: index + 1]
                break
    return Delays(way, ue, seconds, len(true) - len(seconds))


async def event_delays(results: Path, stop: asyncio.Event) -> None:
    """Drive, print the table, write the results page. Raises MachineError if stopped before the end, MecError."""
    found = await unless(stop, "event-delays", measured(DRIVE_S))
    print_table("from a true handover to its event", _COLUMNS, _rows(found))
    written = results / "event-delays.md"
    await asyncio.to_thread(write_page, written, page(found, DRIVE_S, await this_machine()))
    click.echo(f"every value: {written}")


async def measured(drive_s: float) -> list[Delays]:
    """Let the vehicles drive that long, followed in both ways at once, then replay: every delay. Raises MecError."""
    log.info("%.0f s of driving, then as long of replaying", drive_s)
    async with sandbox(SCENARIO, port=0, control_port=0) as listening, AsyncExitStack() as closing:
        recordings = {ue: Recording() for ue in VEHICLES}
        noticed: dict[tuple[Way, UeId], list[Moment]] = {}
        for ue in VEHICLES:
            asking = await closing.enter_async_context(_asking(listening, ue, recordings[ue]))
            told = await closing.enter_async_context(_told(listening))
            for way, source in ((Way.POLL, asking), (Way.SUBSCRIBE, told)):
                noticed[way, ue] = await closing.enter_async_context(_following(ue, source))
            await asyncio.sleep(_SETTINGS.poll_s / len(VEHICLES))  # questions fall on other parts of a tick for each
        await _subscribed(listening, len(VEHICLES))
        began_s = clock.now_s()
        await ask_json("POST", f"{listening.control_url}/drive", {"running": True})
        await asyncio.sleep(drive_s)
        ended_s = clock.now_s() - 2 * _SETTINGS.poll_s  # what came later need not have been noticed
        true = {ue: await _true(listening, ue, began_s, ended_s) for ue in VEHICLES}
    found = [delays(way, ue, true[ue], events) for (way, ue), events in noticed.items()]
    return [*found, *await _replayed(recordings, true)]


@asynccontextmanager
async def _asking(listening: Listening, ue: UeId, recording: Recording) -> AsyncIterator[EventSource]:
    writers: list[TraceWriter] = []

    def heard(seen: Recorded, source: str, body: bytes) -> None:
        for writer in writers:
            writer.add(seen, Raw(source, body.decode()))
            recording.from_s = recording.from_s or math.floor(when_s(seen))

    async with _client(listening, heard) as client:
        writers.append(TraceWriter(recording.text, ue, await client.layout()))
        yield Polling(client, _SETTINGS.poll_s)


@asynccontextmanager
async def _told(listening: Listening) -> AsyncIterator[EventSource]:
    async with (
        _client(listening) as client,
        SubscriptionClient(listening.api_url, wire.KINDS["v2"]) as subscriptions,
        serve_callbacks("127.0.0.1", 0) as callbacks,
    ):
        yield Subscribing(client, subscriptions, callbacks, SubscribingSettings(poll_s=_SETTINGS.poll_s))


def _client(listening: Listening, heard: Callable[[Recorded, str, bytes], None] | None = None) -> LocationClient:
    return LocationClient(f"{listening.api_url}/location/v2", _SETTINGS.radius_m, heard=heard)


@asynccontextmanager
async def _following(ue: UeId, source: EventSource) -> AsyncIterator[list[Moment]]:
    """What becomes an event, as `track` puts it, with the time of that."""
    noticed: list[Moment] = []
    following = asyncio.create_task(_follow(ue, source, noticed), name=f"follow {ue}")
    try:
        yield noticed
    finally:
        following.cancel()
        await asyncio.wait([following])


async def _follow(ue: UeId, source: EventSource, noticed: list[Moment]) -> None:
    async def put(event: Event) -> None:
        match event:
            case HandoverCompleted(poa=poa):
                noticed.append(Moment(clock.now_s(), poa))
            case UeDisconnected():
                noticed.append(Moment(clock.now_s(), None))

    await track(ue, source, TrackBy(_SETTINGS.lookahead_s, _SETTINGS.silent_s), put)


async def _subscribed(listening: Listening, followers: int) -> None:
    """Wait until each follower has all its subscriptions. Raises MecError if that takes too long."""
    wanted = Counter(f"{listening.api_url}/{kind.api}/{kind.path}" for kind in wire.KINDS["v2"])
    try:
        async with asyncio.timeout(_SUBSCRIBED_S), aiohttp.ClientSession() as http:
            while wanted:
                url, kinds = next(iter(wanted.items()))
                if len(wire.parse_subscription_list(await ask(http, "GET", url))) == kinds * followers:
                    del wanted[url]
                else:
                    await asyncio.sleep(_LOOK_S)
    except TimeoutError as error:
        raise MecError("not everything is subscribed to", place=listening.api_url) from error


async def _true(listening: Listening, ue: UeId, since_s: float, until_s: float) -> list[Moment]:
    """The UE's true handovers between two instants, on the sandbox's clock, which is the engine's."""
    told = await ask_json("GET", f"{listening.control_url}/truth?ue={ue}")
    times = [Moment(change["monotonic_s"], change["poa"]) for change in told["changes"]]
    return [each for each in times if since_s <= each.at_s <= until_s]


async def _replayed(recordings: Mapping[UeId, Recording], true: Mapping[UeId, Sequence[Moment]]) -> list[Delays]:
    """What was asked, once more at the pace it had; delays from the same true handovers."""
    with tempfile.TemporaryDirectory() as folder:
        replays = (_replay(Path(folder) / ue, ue, recording, true[ue]) for ue, recording in recordings.items())
        return list(await asyncio.gather(*replays))


async def _replay(file: Path, ue: UeId, recording: Recording, true: Sequence[Moment]) -> Delays:
    await asyncio.to_thread(file.write_text, recording.text.getvalue())
    trace = await asyncio.to_thread(read_trace, file)
    noticed: list[Moment] = []
    began_s = clock.now_s()
    await _follow(ue, Replaying(trace, speed=1.0), noticed)
    as_recorded = [Moment(event.at_s - began_s + recording.from_s, event.poa) for event in noticed]
    return delays(Way.REPLAY, ue, true, as_recorded)


def _rows(found: Sequence[Delays]) -> list[list[str]]:
    """The table: each way over all vehicles."""
    return [_row([way], [each for each in found if each.way is way]) for way in Way]


def _row(head: list[str], found: Sequence[Delays]) -> list[str]:
    seconds = [each_s for each in found for each_s in each.seconds]
    missed = sum(each.missed for each in found)
    figures = [fmean(seconds), median(seconds), max(seconds)] if seconds else []
    return [*head, str(len(seconds)), str(missed), *(f"{figure:.3f}" for figure in figures)]


def page(found: Sequence[Delays], drive_s: float, machine: Mapping[str, str]) -> str:
    """The results page."""
    parts = [
        "# From a true handover to its event",
        "Written by `pillion experiment run event-delays`: the embedded sandbox drives at its own pace, and the "
        "engine's sources follow its vehicles over HTTP, all in one process and without a gateway. The true handover "
        "is the sandbox's own record, the event is what the engine would journal; both are on one monotonic clock.",
        markdown_table(_COLUMNS, _rows(found)),
        _READINGS,
        "## By vehicle",
        markdown_table(("vehicle", *_COLUMNS), (_row([each.ue, each.way], [each]) for each in found)),
        "## Conditions",
        markdown_table(
            ("", ""),
            [
                ["scenario", f"{SCENARIO}, {drive_s:g} s at its own pace, moved once a second"],
                ["asking", f"every {_SETTINGS.poll_s:g} s"],
                *([name, value] for name, value in machine.items()),
            ],
        ),
    ]
    return "\n\n".join(parts) + "\n"


_READINGS = """\
*Asking* finds a handover at the next question, so on average after half the time between two; the vehicles' questions
are spread over that time. *Being told* takes the notification's way and one question after it. *Replaying* gives each
answer when it was asked for in the recording, so it lacks the time that the answer took."""
