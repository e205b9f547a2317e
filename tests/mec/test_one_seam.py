"""Asked, told, or replayed: a drive gives the same events, in the same order. In lockstep, one tick a second."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path

import pytest

from pillion.config import TrackingSettings
from pillion.core.events import Api, HandoverCompleted, MobilityEvent, NotificationsLost, ZoneChangePredicted
from pillion.core.mobility import Located, Notice, Observation, Seen, Track
from pillion.core.model import UeId
from pillion.core.prediction import Layout
from pillion.mec import wire
from pillion.mec.callbacks import Callbacks, serve_callbacks
from pillion.mec.location import LocationClient
from pillion.mec.subscribing import Subscribing, SubscribingSettings
from pillion.mec.subscriptions import SubscriptionClient
from pillion.replay.source import Replaying
from pillion.replay.trace import Raw, TraceWriter, read_trace
from pillion.sandbox.server import Listening, sandbox

UE = UeId("10.100.0.2")
LOOKAHEAD_S = 20.0
HOUR_S = 3600
NOT_BY_THE_CLOCK = SubscribingSettings(poll_s=1e6, check_s=1e6, deaf_s=1e6)
"""Only what is told gives reason to ask."""


class Drive:
    """A sandbox in lockstep, and the time that all clients go by: its ticks."""

    def __init__(self, listening: Listening) -> None:
        self.listening = listening
        self.requests = 0

    def now_s(self) -> float:
        return float(self.listening.live.world.ticks)


class Counted(LocationClient):
    """A client that says when it is asking, so that a test can wait until nobody does."""

    asking = 0
    asked = 0

    async def user(self, ue: UeId, prompted_by: Api = Api.LOCATION) -> Observation:
        self.asking += 1
        self.asked += 1
        try:
            return await super().user(ue, prompted_by)
        finally:
            self.asking -= 1


class Follower:
    """A track fed by a source, and what it showed to have happened."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._track = Track(UE)
        self.events: list[MobilityEvent] = []
        self.seen: list[Seen] = []

    def take(self, seen: Seen) -> None:
        self.seen.append(seen)
        if isinstance(seen, Observation | Located):
            self._track, events = self._track.saw(seen, self._layout, LOOKAHEAD_S)
            self.events += events


@asynccontextmanager
async def told(
    drive: Drive, version: str, closing: AsyncExitStack
) -> AsyncIterator[tuple[Follower, Counted, Callbacks, io.StringIO]]:
    """A follower by subscription, at work."""
    callbacks = await closing.enter_async_context(serve_callbacks("127.0.0.1", 0, clock=drive.now_s))
    url, radius_m = drive.listening.api_url, TrackingSettings().radius_m
    recorded = io.StringIO()
    recording: list[TraceWriter] = []

    def heard(seen: Observation | Notice, source: str, body: bytes) -> None:
        for writer in recording:
            writer.add(seen, Raw(source, body.decode()))

    client = await closing.enter_async_context(Counted(f"{url}/location/{version}", radius_m, drive.now_s, heard))
    subscriptions = await closing.enter_async_context(SubscriptionClient(url, wire.KINDS[version]))
    follower = Follower(await client.layout())
    recording.append(TraceWriter(recorded, UE, await client.layout()))

    async def follow() -> None:
        source = Subscribing(client, subscriptions, callbacks, NOT_BY_THE_CLOCK, heard)
        async with aclosing(source.follow(UE)) as sightings:
            async for seen in sightings:
                follower.take(seen)

    following = asyncio.create_task(follow(), name="follow")
    try:
        async with asyncio.timeout(20):
            while await subscriptions.missing(callbacks_url(callbacks)):
                await asyncio.sleep(0.05)
        yield follower, client, callbacks, recorded
    finally:
        following.cancel()
        await asyncio.wait([following])


def callbacks_url(callbacks: Callbacks) -> str:
    """Where the follower's notifications go; empty while it has no box."""
    return next((box.url for box in callbacks._boxes.values()), "")


async def at_rest(client: Counted, callbacks: Callbacks) -> None:
    """Until what was told has been read, and what was asked for it has been answered."""
    quiet = 0
    while quiet < 5:
        await asyncio.sleep(0)
        waiting = any(not box._waiting.empty() for box in callbacks._boxes.values())
        quiet = 0 if waiting or client.asking else quiet + 1


async def replayed(folder: Path, text: str) -> list[MobilityEvent]:
    """What a recording shows to have happened."""
    path = folder / "recorded.trace"
    path.write_text(text)
    source = Replaying(read_trace(path))
    follower = Follower(await source.layout())
    async for seen in source.follow(UE):
        follower.take(seen)
    return follower.events


@pytest.mark.parametrize(
    ("version", "strict", "seconds"),
    [
        *(("v2", False, 300), ("v3", False, 300), ("v3", True, 300)),
        *(pytest.param(version, False, HOUR_S, marks=pytest.mark.lab) for version in ("v2", "v3")),
    ],
)
async def test_a_drive_asked_told_and_replayed_gives_the_same_events(
    tmp_path: Path, version: str, strict: bool, seconds: int
) -> None:
    if seconds == HOUR_S:  # asyncio's debug mode doubles the time, and has seen it all in five minutes of the drive
        asyncio.get_running_loop().set_debug(False)
    async with sandbox(port=0, control_port=0, lockstep=True, strict=strict) as listening, AsyncExitStack() as closing:
        drive = Drive(listening)
        client = await closing.enter_async_context(
            LocationClient(f"{listening.api_url}/location/{version}", TrackingSettings().radius_m, drive.now_s)
        )
        asked = Follower(await client.layout())
        recorded = io.StringIO()
        writer = TraceWriter(recorded, UE, await client.layout())
        async with told(drive, version, closing) as (by_notice, notified, callbacks, what_was_told):
            listening.live.drive(True)
            before = notified.asked
            for _ in range(seconds):
                listening.live.tick(1.0)
                await listening.live.told()
                await at_rest(notified, callbacks)
                seen = await client.user(UE)
                asked.take(seen)
                writer.add(seen)
            questions = notified.asked - before
    assert by_notice.events == asked.events
    for text in (recorded.getvalue(), what_was_told.getvalue()):
        assert await replayed(tmp_path, text) == asked.events
    handovers = [event for event in asked.events if isinstance(event, HandoverCompleted)]
    assert len(handovers) == pytest.approx(18 * seconds / 224.6, abs=4)
    assert sum(isinstance(event, ZoneChangePredicted) for event in asked.events) > seconds / 100
    assert not any(isinstance(seen, NotificationsLost) for seen in by_notice.seen)
    # Told, it asked about once for each handover, and not once a second.
    assert questions < 4 * len(handovers)
