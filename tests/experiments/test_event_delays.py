"""From a true handover to its event: how the two are put together, and a short drive in each way."""

import pytest

from pillion.core.model import PoaId, UeId
from pillion.experiments.event_delays import Delays, Moment, Way, delays, measured, page

UE = UeId("10.100.0.2")
A, B = PoaId("a"), PoaId("b")


def test_each_true_handover_belongs_to_the_next_event_that_says_the_same() -> None:
    true = [Moment(10.0, A), Moment(20.0, None), Moment(30.0, A), Moment(40.0, B)]
    noticed = [Moment(1.0, A), Moment(10.25, A), Moment(30.5, A), Moment(40.125, B)]
    assert delays(Way.POLL, UE, true, noticed) == Delays(Way.POLL, UE, [0.25, 0.5, 0.125], 1)


def test_an_event_before_its_handover_is_none_of_it() -> None:
    assert delays(Way.POLL, UE, [Moment(10.0, A)], [Moment(9.9, A)]) == Delays(Way.POLL, UE, [], 1)


def test_the_page_has_a_row_for_each_way_and_for_what_was_missed() -> None:
    found = [Delays(Way.POLL, UE, [0.1, 0.3], 1), Delays(Way.SUBSCRIBE, UE, [], 0), Delays(Way.REPLAY, UE, [0.1], 0)]
    text = page(found, 60.0, {"kernel": "Linux 6"})
    assert "| asking | 2 | 1 | 0.200 | 0.200 | 0.300 |" in text
    assert "| 10.100.0.2 | replaying what was asked | 1 | 0 | 0.100 | 0.100 | 0.100 |" in text
    assert "| kernel | Linux 6 |" in text


@pytest.mark.lab  # by the clock, so with nothing beside it
async def test_a_short_drive_is_noticed_in_each_way() -> None:
    found = await measured(12.0)
    assert {each.way for each in found} == set(Way)
    by_way = {way: [each_s for each in found if each.way is way for each_s in each.seconds] for way in Way}
    assert sum(each.missed for each in found) == 0
    assert len(by_way[Way.POLL]) == len(by_way[Way.SUBSCRIBE]) == len(by_way[Way.REPLAY]) > 1
    assert all(0 <= delay_s < 5 for delays_s in by_way.values() for delay_s in delays_s)
