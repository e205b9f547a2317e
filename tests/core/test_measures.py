"""The downtime found in a probe's samples is the one that was put into them."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillion.core.measures import Sample, resolution_s, summarise, switchovers

INTERVAL_S = 0.01
LATENCY_S = 0.001
LENGTH_S = 4.0


def sample(n: int, sent_s: float, answered_s: float | None, epoch: int | None, **facts: object) -> Sample:
    made = Sample(
        n=n,
        planned_s=n * INTERVAL_S,
        sent_s=sent_s,
        answered_s=answered_s,
        status=200,
        instance=f"a2.{epoch}",
        epoch=epoch,
        seq=epoch,
        counter=epoch,
        error=None,
    )
    return replace(made, **facts)  # type: ignore[arg-type]  # mypy cannot match keyword arguments to fields


def drive(outages: list[tuple[float, float]], late_s: float = 0.0) -> list[Sample]:
    """What a probe sees of a service that is away in each outage (from, until) and has the next epoch after it.

    What is sent in an outage is held, and answered by the next epoch when it is over.
    """
    samples = []
    for n in range(round(LENGTH_S / INTERVAL_S)):
        sent_s = n * INTERVAL_S + late_s
        at_s = sent_s + LATENCY_S
        epoch = 1
        for begun_s, ended_s in outages:
            if begun_s < at_s <= ended_s:
                at_s = ended_s + LATENCY_S
            epoch += at_s > ended_s
        samples.append(sample(n, sent_s, at_s, epoch))
    return samples


@st.composite
def outages(draw: st.DrawFn) -> list[tuple[float, float]]:
    """Up to three outages, each after some good answers."""
    found, now_s = [], 0.0
    for _ in range(draw(st.integers(1, 3))):
        begun_s = now_s + draw(st.floats(0.05, 0.4))
        now_s = begun_s + draw(st.floats(0.0, 0.8))
        found.append((begun_s, now_s))
    return found


@settings(deadline=None)
@given(outages(), st.floats(0, 0.009), st.integers(0, 2**32))
def test_each_outage_is_found_within_one_interval_and_one_latency(
    away: list[tuple[float, float]], late_s: float, order: int
) -> None:
    samples = drive(away, late_s)
    random.Random(order).shuffle(samples)
    found = switchovers(samples)
    assert [(change.from_epoch, change.to_epoch) for change in found] == [(n, n + 1) for n in range(1, len(away) + 1)]
    for change, (begun_s, ended_s) in zip(found, away, strict=True):
        told = [s.answered_s for s in samples if s.answered_s is not None]
        assert change.last_source_s == max(at_s for at_s in told if at_s <= begun_s)
        assert change.first_target_s == min(at_s for at_s in told if at_s > ended_s)
        assert change.downtime_s == change.first_target_s - change.last_source_s
        assert change.resolution_s == pytest.approx(INTERVAL_S)
        outage_s = ended_s - begun_s
        assert outage_s <= change.downtime_s <= outage_s + INTERVAL_S + LATENCY_S + 1e-9
        assert outage_s - INTERVAL_S - 1e-9 <= change.lower_bound_s <= outage_s + 2 * LATENCY_S + INTERVAL_S
        assert change.lower_bound_s <= change.downtime_s
        waited = [s for s in samples if s.sent_s + LATENCY_S > begun_s and s.sent_s < change.first_target_s]
        assert (change.held, change.taken_over, change.stale) == (len(waited), len(waited), 0)
        assert change.longest_hold_s == max((s.answered_s or 0.0) - s.sent_s for s in waited)
    total = summarise(samples)
    assert (total.sent, total.answered, total.failed) == (len(samples), len(samples), 0)
    assert total.held == sum(change.held for change in found)
    assert total.longest_hold_s == max(change.longest_hold_s for change in found)
    assert total.lateness_max_s == pytest.approx(late_s)
    assert (total.stale, total.counter_went_back, total.seq_went_back) == (0, 0, 0)


@settings(deadline=None)
@given(outages(), st.sets(st.integers(0, 399), max_size=20))
def test_an_answer_of_an_older_epoch_after_the_newer_ones_first_is_stale_and_no_switchover(
    away: list[tuple[float, float]], picked: set[int]
) -> None:
    samples = drive(away)
    after_switch = [s for s in samples if s.epoch is not None and s.epoch > 1 and s.n in picked]
    firsts = {change.first_target_s for change in switchovers(samples)}
    turned = {s.n for s in after_switch if s.answered_s not in firsts}
    spoiled = [replace(s, epoch=(s.epoch or 0) - 1) if s.n in turned else s for s in samples]
    assert summarise(spoiled).stale == len(turned)
    assert [c.first_target_s for c in switchovers(spoiled)] == [c.first_target_s for c in switchovers(samples)]


@settings(deadline=None)
@given(outages(), st.data())
def test_requests_that_failed_in_the_gap_are_held_and_not_taken_over(
    away: list[tuple[float, float]], data: st.DataObject
) -> None:
    samples = drive(away)
    change = switchovers(samples)[0]
    # One of those that the target answered first stays: it is the switchover.
    first = next(s for s in samples if s.answered_s == change.first_target_s)
    pending = [s.n for s in samples if change.last_source_s <= s.sent_s < change.first_target_s and s is not first]
    lost = data.draw(st.sets(st.sampled_from(pending))) if pending else set()
    cut = [
        replace(s, error="the connection was lost", answered_s=None, epoch=None) if s.n in lost else s for s in samples
    ]
    seen = switchovers(cut)[0]
    assert (seen.held, seen.taken_over) == (change.held, change.held - len(lost))
    assert (seen.downtime_s, seen.lower_bound_s) == (change.downtime_s, change.lower_bound_s), "a failure waited too"
    total = summarise(cut)
    assert (total.failed, total.errors) == (len(lost), {"the connection was lost": len(lost)} if lost else {})


def test_an_answer_with_an_error_is_no_answer_of_the_target() -> None:
    samples = [
        sample(0, 0.0, 0.001, 1),
        sample(1, 0.01, 0.011, 2, status=503, error="status 503"),
        sample(2, 0.02, 0.5, 2),
    ]
    [change] = switchovers(samples)
    assert (change.last_source_s, change.first_target_s) == (0.001, 0.5)
    assert change.lower_bound_s == pytest.approx(0.49)
    assert (change.held, change.taken_over) == (2, 1)


def test_answers_that_overtake_each_other_are_no_step_back_but_one_asked_for_later_is() -> None:
    overtaken = [sample(0, 0.0, 0.05, 1, counter=3, seq=8), sample(1, 0.01, 0.02, 1, counter=4, seq=9)]
    assert (summarise(overtaken).counter_went_back, summarise(overtaken).seq_went_back) == (0, 0)
    back = [*overtaken, sample(2, 0.03, 0.04, 1, counter=3, seq=9), sample(3, 0.06, 0.07, 1, counter=4, seq=8)]
    assert (summarise(back).counter_went_back, summarise(back).seq_went_back) == (1, 1)


def test_a_service_that_tells_no_epoch_has_latencies_and_no_switchover() -> None:
    samples = [sample(n, n * 0.01, n * 0.01 + 0.001 * (n + 1), None, counter=None, seq=None) for n in range(100)]
    total = summarise(samples)
    assert total.switchovers == ()
    assert (total.answered, total.counter_went_back, total.held, total.longest_hold_s) == (100, 0, 0, 0.0)
    assert total.latency_p50_s == pytest.approx(0.050)
    assert total.latency_p99_s == pytest.approx(0.099)
    assert total.latency_max_s == pytest.approx(0.100)


def test_nothing_sent_gives_zeros_and_no_error() -> None:
    total = summarise([])
    assert (total.sent, total.failed, total.latency_p99_s, total.lateness_max_s, total.switchovers) == (0, 0, 0, 0, ())
    assert resolution_s([sample(0, 0.0, None, None)]) == 0
