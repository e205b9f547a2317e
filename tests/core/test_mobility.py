"""From what the Location API answers to what happened, whatever is late, repeated or lost."""

from __future__ import annotations

from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from pillion.core.events import HandoverCompleted, MobilityEvent, UeDisconnected, ZoneChangePredicted
from pillion.core.mobility import Observation, Track
from pillion.core.model import PoaId, Position, ZoneId
from pillion.core.prediction import Layout, Poa

from .examples import UE

Place = tuple[PoaId, ZoneId] | None
P1, P2, P3 = ((PoaId(poa), ZoneId(zone)) for poa, zone in (("p1", "zone01"), ("p2", "zone01"), ("p3", "zone02")))
PLACES = st.sampled_from([P1, P2, P3, None])


def seen(at_s: float, place: Place, position: Position | None = None) -> Observation:
    poa, zone = place or (None, None)
    return Observation(UE, at_s, poa, zone, position)


def observed(observations: list[Observation], layout: Layout | None = None) -> tuple[Track, list[MobilityEvent]]:
    track, happened = Track(UE), []
    for observation in observations:
        track, events = track.saw(observation, layout or {}, 20.0)
        happened += events
    return track, happened


def handovers_of(places: list[Place]) -> list[MobilityEvent]:
    """What a UE that was at these places, in this order, went through."""
    happened: list[MobilityEvent] = []
    before: Place = None
    for place, _ in groupby(places):
        if place is not None:
            happened.append(HandoverCompleted(UE, *place, *(before or (None, None))))
        elif before is not None:
            happened.append(UeDisconnected(UE, *before))
        before = place
    return happened


def test_the_first_sight_of_a_ue_is_a_handover_from_nowhere_and_the_next_one_tells_where_it_came_from():
    _, happened = observed([seen(0, P1), seen(1, P1), seen(2, P3)])
    assert happened == [
        HandoverCompleted(UE, PoaId("p1"), ZoneId("zone01")),
        HandoverCompleted(UE, PoaId("p3"), ZoneId("zone02"), PoaId("p1"), ZoneId("zone01")),
    ]


def test_a_ue_that_goes_away_and_comes_back_is_disconnected_once_and_then_handed_over_from_nowhere():
    track, happened = observed([seen(0, P1), seen(1, None), seen(2, None), seen(3, P1)])
    assert happened == [
        HandoverCompleted(UE, PoaId("p1"), ZoneId("zone01")),
        UeDisconnected(UE, PoaId("p1"), ZoneId("zone01")),
        HandoverCompleted(UE, PoaId("p1"), ZoneId("zone01")),
    ]
    assert (track.poa, track.zone) == P1


def test_a_ue_that_was_never_seen_is_not_disconnected():
    assert observed([seen(0, None), seen(1, None)])[1] == []


def test_an_answer_that_an_answer_to_a_later_question_has_overtaken_changes_nothing():
    track, _ = observed([seen(10, P1), seen(12, P3)])
    for late in (seen(11, P1), seen(12, P2), seen(0, None), seen(11.9, P2, Position(43.7, 7.4))):
        assert track.saw(late, {}, 20.0) == (track, [])


def test_an_answer_with_a_poa_and_no_zone_counts_as_absent():
    half = Observation(UE, 1.0, PoaId("p1"), None, None)
    assert observed([half])[1] == []
    assert isinstance(observed([seen(0, P1), half])[1][-1], UeDisconnected)


@given(st.lists(PLACES, max_size=40), st.data())
def test_what_is_late_or_repeated_changes_nothing_and_the_rest_is_told_once_and_in_order(
    places: list[Place], data: st.DataObject
):
    asked = [seen(float(at_s), place) for at_s, place in enumerate(places)]
    arrived: list[Observation] = []
    for observation in asked:
        arrived.append(observation)
        if data.draw(st.booleans()):
            arrived.append(data.draw(st.sampled_from(arrived)))  # repeated, or an old one that took long
    assert observed(arrived)[1] == handovers_of(places)


@given(st.lists(st.tuples(PLACES, st.booleans()), max_size=40))
def test_lost_answers_lose_no_more_than_what_they_would_have_told(told: list[tuple[Place, bool]]):
    arrived = [seen(float(at_s), place) for at_s, (place, comes) in enumerate(told) if comes]
    assert observed(arrived)[1] == handovers_of([place for place, comes in told if comes])


@given(st.lists(st.tuples(st.integers(0, 30), PLACES), max_size=40))
def test_whatever_order_answers_come_in_the_last_question_understood_decides_where_the_ue_is(
    answers: list[tuple[int, Place]],
):
    arrived = [seen(float(at_s), place) for at_s, place in answers]
    track, happened = observed(arrived)
    newest: Observation | None = None
    kept: list[Place] = []
    for observation, (_, place) in zip(arrived, answers, strict=True):
        if newest is None or observation.asked_s > newest.asked_s:
            newest = observation
            kept.append(place)
    assert happened == handovers_of(kept)
    assert (track.poa, track.zone) == ((newest.poa, newest.zone) if newest else (None, None))


LAYOUT = {
    PoaId(name): Poa(PoaId(name), ZoneId(zone), Position(43.7, longitude), "Macro", 400.0)
    for name, zone, longitude in (("west", "zone02", 7.400), ("middle", "zone01", 7.410), ("east", "zone03", 7.420))
}
WEST, MIDDLE = (PoaId("west"), ZoneId("zone02")), (PoaId("middle"), ZoneId("zone01"))


def eastward(place: Place, seconds: range) -> list[Observation]:
    """About 16 m/s eastward along the POAs."""
    return [seen(at_s, place, Position(43.7, 7.400 + at_s * 0.0002)) for at_s in seconds]


def predictions(happened: list[MobilityEvent]) -> list[ZoneId]:
    return [event.zone for event in happened if isinstance(event, ZoneChangePredicted)]


def test_an_expected_zone_is_told_once_and_the_next_one_after_the_ue_has_got_there():
    _, happened = observed(eastward(WEST, range(25)), LAYOUT)
    assert predictions(happened) == [ZoneId("zone01")]
    _, happened = observed([*eastward(WEST, range(25)), *eastward(MIDDLE, range(25, 75))], LAYOUT)
    assert predictions(happened) == [ZoneId("zone01"), ZoneId("zone03")]


def test_a_ue_that_was_away_is_not_judged_by_the_course_it_had_before():
    gone = [*eastward(WEST, range(5)), seen(5, None), seen(6, WEST, Position(43.7, 7.403))]
    track, happened = observed(gone, LAYOUT)
    assert track.motion.velocity_mps() is None
    assert predictions(happened[-1:]) == []


def test_an_answer_without_a_position_still_tells_the_handover():
    _, happened = observed([*eastward(WEST, range(5)), seen(9, MIDDLE)], LAYOUT)
    assert happened[-1] == HandoverCompleted(UE, *MIDDLE, *WEST)
