"""Following by being told, on the loop's clock: what is a reason to ask, and what happens when nobody tells."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest

from pillion.core.events import Api, NotificationsLost, NotificationsResumed
from pillion.core.mobility import Located, Observation, Seen, Unanswered
from pillion.core.model import PoaId, UeId, ZoneId
from pillion.core.prediction import Layout
from pillion.errors import MecError
from pillion.mec.callbacks import Callbacks
from pillion.mec.subscribing import Subscribing, SubscribingSettings

pytestmark = pytest.mark.looptime

UE = UeId("10.100.0.2")
AT = {"latitude": [43.7], "longitude": [7.4]}
SETTINGS = SubscribingSettings(poll_s=0.25, check_s=5.0, deaf_s=3.0, renew_s=1.0)
PRESENCE_S = 1.0
"""Between two notifications of the periodic subscription."""


class Sandbox:
    """A UE's place, and notifications to whoever has subscribed."""

    def __init__(self, callbacks: Callbacks) -> None:
        self._callbacks = callbacks
        self.place: tuple[str, str] | None = ("p1", "zone01")
        self.asked_s: list[float] = []
        self.subscribed: set[str] = set()
        self.removed: list[str] = []
        self.refuses = False
        self.mute = False
        self.silent = False

    @property
    def now_s(self) -> float:
        return round(asyncio.get_running_loop().time(), 6)

    async def user(self, ue: UeId, prompted_by: Api = Api.LOCATION) -> Observation:
        self.asked_s.append(self.now_s)
        if self.silent:
            raise MecError("no answer: refused", place="http://gateway")
        poa, zone = self.place or (None, None)
        where = PoaId(poa) if poa else None, ZoneId(zone) if zone else None
        return Observation(ue, self.now_s, *where, None, prompted_by)

    async def layout(self) -> Layout:
        return {}

    async def ensure(self, ue: UeId, callback_url: str) -> None:
        if self.refuses:
            raise MecError("status 503", place="http://gateway")
        self.subscribed.add(callback_url)

    async def remove(self, ue: UeId, callback_url: str) -> None:
        self.subscribed.discard(callback_url)
        self.removed.append(callback_url)

    def tell(self, document: object) -> None:
        for url in self.subscribed if not self.mute else ():
            box = self._callbacks._boxes[url.rpartition("/")[2]]
            box.put(self.now_s, json.dumps(document).encode())

    def tell_event(self, event: str, poa: str, zone: str) -> None:
        self.tell(
            {
                "zonalPresenceNotification": {
                    "address": UE,
                    "currentAccessPointId": poa,
                    "zoneId": zone,
                    "userEventType": event,
                }
            }
        )

    def tell_zone_event(self, event: str, zone: str) -> None:
        """As Location v3 has it, without a POA."""
        about = {"address": UE, "userLocationEvent": event, "zoneId": zone}
        self.tell({"notificationType": "ZoneLocationEventNotification"} | about)

    def tell_report(self, poa: str, zone: str) -> None:
        """What Location v3 tells each second."""
        about = {"address": UE, "result": "SUCCESS", "zoneId": zone, "accessPointId": poa, "locationInfo": AT}
        self.tell({"notificationType": "UserLocationPeriodicNotification"} | about)

    def tell_cell(self, cell: str) -> None:
        self.tell(
            {
                "notificationType": "RabEstNotification",
                "associateId": [{"type": 1, "value": UE}],
                "ecgi": {"cellId": cell},
            }
        )

    async def tell_positions(self) -> None:
        while True:
            await asyncio.sleep(PRESENCE_S)
            self.tell({"subscriptionNotification": {"terminalLocation": [{"address": UE, "currentLocation": AT}]}})


@asynccontextmanager
async def following() -> AsyncIterator[tuple[Sandbox, list[tuple[float, Seen]]]]:
    callbacks = Callbacks()
    sandbox = Sandbox(callbacks)
    seen: list[tuple[float, Seen]] = []

    async def follow() -> None:
        async with aclosing(Subscribing(sandbox, sandbox, callbacks, SETTINGS).follow(UE)) as sightings:
            async for each in sightings:
                seen.append((sandbox.now_s, each))

    tasks = [asyncio.create_task(follow()), asyncio.create_task(sandbox.tell_positions())]
    await asyncio.sleep(0.5)
    try:
        yield sandbox, seen
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def places(seen: list[tuple[float, Seen]]) -> list[tuple[float, str | None]]:
    return [(at_s, each.poa) for at_s, each in seen if isinstance(each, Observation)]


async def test_a_ue_that_is_told_of_is_asked_for_at_the_beginning_and_then_every_five_seconds() -> None:
    async with following() as (sandbox, seen):
        await asyncio.sleep(60)
        assert [at_s for at_s in sandbox.asked_s if at_s > 1.5] == pytest.approx(
            [5.75 + 5 * n for n in range(11)], abs=0.5
        )
        assert sum(isinstance(each, Located) for _, each in seen) == 60
        assert not any(isinstance(each, NotificationsLost) for _, each in seen)


@pytest.mark.parametrize(
    ("event", "poa", "zone", "asks"),
    [
        ("Entering", "p2", "zone02", True),
        ("Transferring", "p2", "zone01", True),
        ("Leaving", "p1", "zone01", True),
        ("Entering", "p1", "zone01", False),
        ("Leaving", "p9", "zone09", False),
    ],
)
async def test_what_the_last_answer_did_not_say_is_a_reason_to_ask(event: str, poa: str, zone: str, asks: bool) -> None:
    async with following() as (sandbox, seen):
        await asyncio.sleep(2.2)
        asked, sandbox.place = len(sandbox.asked_s), ("p3", "zone03")
        sandbox.tell_event(event, poa, zone)
        await asyncio.sleep(0.01)
        assert len(sandbox.asked_s) - asked == asks
        # What the notification said is not believed: the answer is.
        assert places(seen)[-1][1] == ("p3" if asks else "p1")


@pytest.mark.parametrize(
    ("event", "zone", "asks"),
    [
        ("ENTERING_AREA_EVENT", "zone02", True),
        ("ENTERING_AREA_EVENT", "zone01", False),
        ("LEAVING_AREA_EVENT", "zone01", True),
        ("LEAVING_AREA_EVENT", "zone02", False),
    ],
)
async def test_a_zone_told_without_a_poa_is_a_reason_to_ask(event: str, zone: str, asks: bool) -> None:
    async with following() as (sandbox, seen):
        await asyncio.sleep(2.2)
        asked, sandbox.place = len(sandbox.asked_s), ("p3", "zone03")
        sandbox.tell_zone_event(event, zone)
        await asyncio.sleep(0.01)
        assert len(sandbox.asked_s) - asked == asks
        assert places(seen)[-1][1] == ("p3" if asks else "p1")


async def test_another_poa_in_a_report_is_asked_about_before_its_position_is_taken() -> None:
    async with following() as (sandbox, seen):
        await asyncio.sleep(2.2)
        asked, before, sandbox.place = len(sandbox.asked_s), len(seen), ("p2", "zone01")
        for _ in range(3):
            sandbox.tell_report("p2", "zone01")
            await asyncio.sleep(0.01)
        assert len(sandbox.asked_s) - asked == 1
        assert [type(each) for _, each in seen[before:]] == [Observation, Located, Located, Located]


async def test_another_cell_is_a_reason_to_ask_and_the_same_one_is_none() -> None:
    async with following() as (sandbox, _):
        await asyncio.sleep(2.2)
        asked = len(sandbox.asked_s)
        for cell in ("a", "a", "a", "b", "b"):
            sandbox.tell_cell(cell)
            await asyncio.sleep(0.01)
        assert len(sandbox.asked_s) - asked == 2


async def test_where_callbacks_do_not_arrive_it_polls_and_says_so_once_and_when_they_come_again() -> None:
    async with following() as (sandbox, seen):
        await asyncio.sleep(10)
        sandbox.mute, muted_s = True, sandbox.now_s
        await asyncio.sleep(30)
        sandbox.mute, heard_s = False, sandbox.now_s
        await asyncio.sleep(10)
    changes = [(at_s, each) for at_s, each in seen if isinstance(each, NotificationsLost | NotificationsResumed)]
    (lost_s, lost), (resumed_s, resumed) = changes
    assert lost == NotificationsLost(UE, 3.0)
    assert muted_s + 2 <= lost_s <= muted_s + 3
    assert resumed == NotificationsResumed(UE)
    assert heard_s <= resumed_s <= heard_s + 1
    polls = [at_s for at_s in sandbox.asked_s if lost_s < at_s < resumed_s]
    assert len(polls) == pytest.approx((resumed_s - lost_s) / SETTINGS.poll_s, abs=2)


async def test_a_sandbox_that_has_forgotten_the_subscriptions_is_subscribed_to_again() -> None:
    async with following() as (sandbox, seen):
        await asyncio.sleep(10)
        url, forgot_s = sandbox.subscribed.pop(), sandbox.now_s
        await asyncio.sleep(6)
        assert sandbox.subscribed == {url}
        resumed_s = next(at_s for at_s, each in seen if isinstance(each, NotificationsResumed))
        assert resumed_s - forgot_s <= 5.0


async def test_a_sandbox_that_refuses_subscriptions_is_polled() -> None:
    async with following() as (sandbox, seen):
        sandbox.refuses = True
        sandbox.subscribed.clear()
        await asyncio.sleep(10)
        assert sum(isinstance(each, NotificationsLost) for _, each in seen) == 1
        assert len(sandbox.asked_s) == pytest.approx(10.5 / SETTINGS.poll_s, abs=3)


async def test_an_api_that_does_not_answer_is_told_as_unanswered() -> None:
    async with following() as (sandbox, seen):
        sandbox.silent = sandbox.mute = True
        await asyncio.sleep(8)
        assert any(isinstance(each, Unanswered) for _, each in seen)


async def test_a_question_in_vain_is_asked_again_soon_and_keeps_its_reason() -> None:
    async with following() as (sandbox, seen):
        await asyncio.sleep(10)
        sandbox.silent, sandbox.place = True, ("p2", "zone02")
        sandbox.tell_cell("cell2")
        await asyncio.sleep(2)
        asked = [at_s for at_s in sandbox.asked_s if at_s >= 10]
        assert len(asked) == pytest.approx(2 / SETTINGS.poll_s, abs=2)
        sandbox.silent, spoke_s = False, sandbox.now_s
        await asyncio.sleep(3)
        at_s, found = next((at_s, each) for at_s, each in seen if isinstance(each, Observation) and at_s >= spoke_s)
        assert at_s - spoke_s <= SETTINGS.poll_s
        assert (found.poa, found.prompted_by) == ("p2", Api.RNIS)
        assert len([at_s for at_s in sandbox.asked_s if at_s >= spoke_s]) == 1, "then it is told again"


async def test_nonsense_from_the_sandbox_is_left_aside() -> None:
    async with following() as (sandbox, seen):
        await asyncio.sleep(2.2)
        asked = len(sandbox.asked_s)
        sandbox.tell({"zonalPresenceNotification": {"address": 5}})
        sandbox.tell(
            {"subscriptionNotification": {"terminalLocation": [{"address": "10.9.9.9", "currentLocation": {}}]}}
        )
        await asyncio.sleep(0.1)
        assert len(sandbox.asked_s) == asked
        await asyncio.sleep(3)
        assert isinstance(seen[-1][1], Located)


async def test_at_the_end_its_subscriptions_are_removed() -> None:
    async with following() as (sandbox, _):
        (url,) = sandbox.subscribed
        assert sandbox.removed == []
    assert sandbox.removed == [url]


async def test_an_answer_tells_whose_notification_gave_reason_to_ask() -> None:
    async with following() as (sandbox, seen):
        sandbox.place = ("p2", "zone01")
        sandbox.tell_cell("2345678")
        await asyncio.sleep(0.2)
        sandbox.place = ("p3", "zone02")
        sandbox.tell_event("Entering", "p3", "zone02")
        await asyncio.sleep(0.2)
    found = [(each.poa, each.prompted_by) for _, each in seen if isinstance(each, Observation)]
    assert found[-2:] == [("p2", Api.RNIS), ("p3", Api.LOCATION)]
