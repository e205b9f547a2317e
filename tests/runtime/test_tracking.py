"""Following a UE on the loop's clock: planned instants, silence, and every handover in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pillion.core.events import (
    Event,
    HandoverCompleted,
    TrackingLost,
    TrackingResumed,
    UeDisconnected,
    ZoneChangePredicted,
)
from pillion.core.mobility import Located, Observation, Seen
from pillion.core.model import PoaId, Position, UeId, ZoneId
from pillion.core.prediction import Layout, Poa
from pillion.errors import MecError
from pillion.mec.polling import Polling
from pillion.runtime.tracking import TrackingSettings, track

from ..core.examples import UE

pytestmark = pytest.mark.looptime

SETTINGS = TrackingSettings(lookahead_s=20.0, silent_s=5.0)
POLL_S = 0.25
LAYOUT = {
    PoaId(name): Poa(PoaId(name), ZoneId(zone), Position(43.7, longitude), "Macro", 400.0)
    for name, zone, longitude in (("west", "zone02", 7.400), ("east", "zone01", 7.410))
}


class Api:
    """A Location API whose UE drives eastward through two zones, 16 m/s; it can be slow, and silent for a while."""

    def __init__(self) -> None:
        self.asked_s: list[float] = []
        self.layouts_s: list[float] = []
        self.answer_s = 0.0
        self.silent: list[tuple[float, float]] = []
        self.absent: list[tuple[float, float]] = []
        self.began_s = asyncio.get_running_loop().time()

    @property
    def now_s(self) -> float:
        return asyncio.get_running_loop().time() - self.began_s

    async def user(self, ue: UeId, prompted_by: object = None) -> Observation:
        asked_s = self.now_s
        self.asked_s.append(round(asked_s, 6))
        await asyncio.sleep(self.answer_s)
        self._speak(asked_s)
        if any(since <= asked_s < until for since, until in self.absent):
            return Observation(ue, asked_s, None, None, None)
        at = Position(43.7, 7.400 + 0.0002 * int(asked_s))
        poa = LAYOUT[PoaId("west" if at.longitude <= 7.405 else "east")]
        return Observation(ue, asked_s, poa.id, poa.zone, at)

    async def layout(self) -> Layout:
        self.layouts_s.append(round(self.now_s, 6))
        self._speak(self.now_s)
        return LAYOUT

    def _speak(self, now_s: float) -> None:
        if any(since <= now_s < until for since, until in self.silent):
            raise MecError("no answer: refused", place="http://gateway")


@asynccontextmanager
async def following(api: Api, settings: TrackingSettings = SETTINGS) -> AsyncIterator[list[tuple[float, Event]]]:
    """What is put, with the time it was put at, while the block runs."""
    happened: list[tuple[float, Event]] = []

    async def put(event: Event) -> None:
        happened.append((round(api.now_s, 6), event))

    task = asyncio.create_task(track(UE, Polling(api, POLL_S), settings, put), name="follow")
    try:
        yield happened
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled(), task.exception()


def kinds(happened: list[tuple[float, Event]]) -> list[type]:
    return [type(event) for _, event in happened]


async def test_a_ue_is_asked_for_at_planned_instants_however_long_an_answer_takes(looptime: int):
    api = Api()
    api.answer_s = 0.1
    async with following(api):
        await asyncio.sleep(100)
    assert api.asked_s == [number * 0.25 for number in range(400)]


async def test_instants_that_were_missed_are_not_made_up_for(looptime: int):
    api = Api()
    api.answer_s = 0.6
    async with following(api):
        await asyncio.sleep(10)
    assert api.asked_s == pytest.approx([number * 0.6 for number in range(17)])


async def test_handovers_and_predictions_are_put_in_order_and_once(looptime: int):
    async with following(Api()) as happened:
        await asyncio.sleep(45)
    assert [event for _, event in happened] == [
        HandoverCompleted(UE, PoaId("west"), ZoneId("zone02")),
        ZoneChangePredicted(UE, ZoneId("zone01"), PoaId("east"), 20.0),
        HandoverCompleted(UE, PoaId("east"), ZoneId("zone01"), PoaId("west"), ZoneId("zone02")),
    ]
    seconds = [at_s for at_s, _ in happened]
    assert (seconds[0], seconds[2]) == (0.0, 26.0)


async def test_a_ue_that_goes_away_and_comes_back_is_told(looptime: int):
    api = Api()
    api.absent = [(2.0, 4.0)]
    async with following(api) as happened:
        await asyncio.sleep(5)
    assert kinds(happened) == [HandoverCompleted, UeDisconnected, HandoverCompleted]
    assert [at_s for at_s, _ in happened] == [0.0, 2.0, 4.0]


async def test_silence_is_told_once_when_it_has_lasted_and_its_end_before_what_is_seen_then(looptime: int):
    api = Api()
    api.silent = [(10.0, 40.0)]
    async with following(api) as happened:
        await asyncio.sleep(60)
    assert kinds(happened) == [
        HandoverCompleted,
        ZoneChangePredicted,
        TrackingLost,
        TrackingResumed,
        HandoverCompleted,
    ]
    (lost_s, lost), (resumed_s, _) = happened[2:4]
    assert (lost_s, lost) == (14.75, TrackingLost(5.0, "http://gateway: no answer: refused"))
    assert resumed_s == 40.0
    assert happened[4][0] == 40.0, "the handover of second 26 is told as soon as it is seen"


async def test_a_short_silence_is_not_worth_telling(looptime: int):
    api = Api()
    api.silent = [(10.0, 14.5)]
    async with following(api) as happened:
        await asyncio.sleep(20)
    assert not {TrackingLost, TrackingResumed} & set(kinds(happened))


async def test_the_layout_is_asked_for_once_and_again_after_a_silence(looptime: int):
    api = Api()
    api.silent = [(10.0, 30.0)]
    async with following(api):
        await asyncio.sleep(60)
    assert api.layouts_s[0] == 0.0
    assert api.layouts_s[-1] == 30.0
    assert all(10.0 <= at_s <= 30.0 for at_s in api.layouts_s[1:])


async def test_an_api_that_is_silent_from_the_beginning_is_waited_for(looptime: int):
    api = Api()
    api.silent = [(0.0, 12.0)]
    async with following(api) as happened:
        await asyncio.sleep(20)
    assert kinds(happened)[:3] == [TrackingLost, TrackingResumed, HandoverCompleted]
    assert [at_s for at_s, _ in happened][:3] == [5.0, 12.0, 12.0]


async def test_positions_alone_while_questions_are_in_vain_are_a_loss_too(looptime: int):
    class Told(Polling):
        """A source that also tells positions, as one that subscribes does."""

        async def follow(self, ue: UeId) -> AsyncGenerator[Seen, None]:
            async for seen in super().follow(ue):
                yield Located(ue, api.now_s, Position(43.7, 7.4))
                yield seen

    api, happened = Api(), []

    async def put(event: Event) -> None:
        happened.append((round(api.now_s, 6), type(event)))

    api.silent = [(10.0, 20.0)]
    task = asyncio.create_task(track(UE, Told(api, POLL_S), SETTINGS, put))
    await asyncio.sleep(25)
    task.cancel()
    await asyncio.wait([task])
    changes = [each for each in happened if each[1] in (TrackingLost, TrackingResumed)]
    assert changes == [(15.0, TrackingLost), (20.0, TrackingResumed)]


async def test_two_silences_are_told_as_two(looptime: int):
    api = Api()
    api.silent = [(10.0, 20.0), (30.0, 40.0)]
    async with following(api) as happened:
        await asyncio.sleep(60)
    assert [kind for kind in kinds(happened) if kind in (TrackingLost, TrackingResumed)] == [
        TrackingLost,
        TrackingResumed,
    ] * 2


async def test_a_full_inbox_holds_the_questions_up_and_loses_no_handover(looptime: int):
    api = Api()
    taken: list[Event] = []

    async def slow(event: Event) -> None:
        await asyncio.sleep(7)
        taken.append(event)

    task = asyncio.create_task(track(UE, Polling(api, POLL_S), SETTINGS, slow))
    await asyncio.sleep(80)
    task.cancel()
    await asyncio.wait([task])
    assert [type(event) for event in taken] == [HandoverCompleted, ZoneChangePredicted, HandoverCompleted]


async def test_what_is_not_an_error_of_the_api_ends_the_following(looptime: int):
    class Broken(Api):
        async def user(self, ue: UeId, prompted_by: object = None) -> Observation:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await track(UE, Polling(Broken(), POLL_S), SETTINGS, asyncio.Queue[Event]().put)
