"""What a migration costs, computed from what was observed: first of all the service downtime as the UE sees it.

The UE's probe sends at planned instants and keeps each request's fate as a `Sample`; every instant is of one
monotonic clock, the probe's. An *answer* here is a good one: it has come, and it is no error. A *switchover* is the
first answer of an epoch higher than any before it, or of the same epoch from another MEC host: a restored process keeps
the epoch that it was born with, and only the user plane can say where it is.

::

    source answers  | | | |         gap           | | | |  target answers
                          ^ last_source_s         ^ first_target_s
                            x x x x x x x x x x x    held: sent, and pending when the gap ended
                            ^ the first that had to wait

    downtime_s    = first_target_s - last_source_s: the time without answers. Not below the true outage; above it by at
                    most the sending interval (`resolution_s`) and one usual latency.
    lower_bound_s = first_target_s - the sending of the first request that had to wait (no earlier than last_source_s).
                    A UE that asked at that instant waited this long. Between the two lies the true outage,
                    give or take one usual latency.

Both give or take what the probe itself lagged on a busy machine, of which `lateness_max_s` is the measure.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sample:
    """One request of the probe and its fate; instants in seconds on the probe's monotonic clock."""

    n: int
    """Its number from 0; it was planned `n` sending intervals after the first."""
    planned_s: float
    sent_s: float
    answered_s: float | None
    """When an answer with a status had come; None if none did."""
    status: int | None
    instance: str | None
    epoch: int | None
    seq: int | None
    counter: int | None
    error: str | None
    """Why this request failed; None if it was answered well."""
    host: str | None = None
    """The MEC host that the user plane had the answer from; None if it does not say."""


@dataclass(frozen=True, slots=True)
class Switchover:
    """One change of the instance that answers, as the UE saw it."""

    from_instance: str
    from_epoch: int
    to_instance: str
    to_epoch: int
    last_source_s: float
    """Arrival of the source's last answer before the target's first."""
    first_target_s: float
    downtime_s: float
    lower_bound_s: float
    resolution_s: float
    """The planned sending interval."""
    held: int
    """Requests sent before the target's first answer that the source had left unanswered."""
    taken_over: int
    """Those of them that the target answered; the others failed."""
    longest_hold_s: float
    """Longest time from sending to the target's answer among those taken over."""
    stale: int
    """Answers of an older epoch that came after this target's first (and before the next switchover): must be 0."""
    to_host: str | None = None
    """The target's MEC host, if the user plane says so."""


@dataclass(frozen=True, slots=True)
class ProbeSummary:
    """All that the UE saw. Latencies are from sending to the answer, of good answers, held ones included."""

    sent: int
    answered: int
    failed: int
    errors: dict[str, int]
    """How often each kind of failure was met."""
    lateness_max_s: float
    """How far behind its planned instant the worst request was sent: the probe's own fault, not the service's."""
    latency_p50_s: float
    latency_p99_s: float
    latency_max_s: float
    held: int
    longest_hold_s: float
    stale: int
    counter_went_back: int
    """Answers whose counter is below one that had arrived before their request was sent: must be 0."""
    seq_went_back: int
    """The same of the state sequence number: must be 0."""
    switchovers: tuple[Switchover, ...]


@dataclass(frozen=True, slots=True)
class _Answer:
    """A sample that is a good answer, with what is then never None."""

    sample: Sample
    at_s: float
    epoch: int

    def follows(self, other: _Answer) -> bool:
        """Whether another instance than the other's has answered, and a later one."""
        moved = None not in (self.sample.host, other.sample.host) and self.sample.host != other.sample.host
        return self.epoch > other.epoch or (self.epoch == other.epoch and moved)


def switchovers(samples: Sequence[Sample]) -> list[Switchover]:
    """Each change to a later instance, in order of arrival; samples may come in any order.

    Answers without an epoch (an app that tells none) take no part.
    """
    answers = _answers(samples)
    firsts: list[int] = []
    for index, answer in enumerate(answers):
        if not firsts or answer.follows(answers[firsts[-1]]):
            firsts.append(index)
    interval_s = resolution_s(samples)
    bounds = [*firsts[1:], len(answers)]
    return [
        _switchover(samples, answers[:first], answers[first:until], interval_s)
        for first, until in zip(firsts[1:], bounds[1:], strict=True)
    ]


def _switchover(
    samples: Sequence[Sample], before: Sequence[_Answer], after: Sequence[_Answer], interval_s: float
) -> Switchover:
    target = after[0]
    from_epoch = max(answer.epoch for answer in before)
    source = [answer for answer in before if answer.epoch == from_epoch][-1]
    stale = sum(answer.epoch < target.epoch for answer in after)
    taken_over = [a for a in after if a.epoch == target.epoch and a.sample.sent_s < target.at_s]
    lost = [sample for sample in samples if sample.error is not None and source.at_s <= sample.sent_s < target.at_s]
    waited_from_s = min(sample.sent_s for sample in [*(a.sample for a in taken_over), *lost])
    return Switchover(
        from_instance=source.sample.instance or "",
        from_epoch=from_epoch,
        to_instance=target.sample.instance or "",
        to_epoch=target.epoch,
        last_source_s=source.at_s,
        first_target_s=target.at_s,
        downtime_s=target.at_s - source.at_s,
        lower_bound_s=target.at_s - max(waited_from_s, source.at_s),
        resolution_s=interval_s,
        held=len(taken_over) + len(lost),
        taken_over=len(taken_over),
        longest_hold_s=max(a.at_s - a.sample.sent_s for a in taken_over),
        stale=stale,
        to_host=target.sample.host,
    )


def summarise(samples: Sequence[Sample]) -> ProbeSummary:
    """All figures of one probe's run; zeros where nothing was sent or answered."""
    good = [sample for sample in samples if sample.error is None and sample.answered_s is not None]
    latencies = sorted(sample.answered_s - sample.sent_s for sample in good if sample.answered_s is not None)
    errors = Counter(sample.error for sample in samples if sample.error is not None)
    changes = switchovers(samples)
    return ProbeSummary(
        sent=len(samples),
        answered=len(good),
        failed=len(samples) - len(good),
        errors=dict(errors),
        lateness_max_s=max((sample.sent_s - sample.planned_s for sample in samples), default=0.0),
        latency_p50_s=_percentile(latencies, 0.50),
        latency_p99_s=_percentile(latencies, 0.99),
        latency_max_s=_percentile(latencies, 1.0),
        held=sum(change.held for change in changes),
        longest_hold_s=max((change.longest_hold_s for change in changes), default=0.0),
        stale=sum(change.stale for change in changes),
        counter_went_back=_went_back((s.sent_s, s.answered_s, s.counter) for s in good),
        seq_went_back=_went_back((s.sent_s, s.answered_s, s.seq) for s in good),
        switchovers=tuple(changes),
    )


def resolution_s(samples: Sequence[Sample]) -> float:
    """The planned sending interval; 0 if fewer than two requests tell it."""
    if len(samples) < 2:
        return 0.0
    first, last = min(samples, key=lambda s: s.n), max(samples, key=lambda s: s.n)
    return (last.planned_s - first.planned_s) / (last.n - first.n)


def _answers(samples: Iterable[Sample]) -> list[_Answer]:
    good = [
        _Answer(sample, sample.answered_s, sample.epoch)
        for sample in samples
        if sample.error is None and sample.answered_s is not None and sample.epoch is not None
    ]
    return sorted(good, key=lambda answer: (answer.at_s, answer.epoch))


def _went_back(told: Iterable[tuple[float, float | None, int | None]]) -> int:
    """How many of (sent, answered, value) tell less than one that was answered before they were sent."""
    # Two requests under way at the same time may be answered in either order: their order of arrival proves nothing.
    known = [(sent_s, at_s, value) for sent_s, at_s, value in told if at_s is not None and value is not None]
    arrivals = sorted((at_s, value) for _, at_s, value in known)
    highest, arrived, went_back = -1, 0, 0
    for sent_s, _, value in sorted(known):
        while arrived < len(arrivals) and arrivals[arrived][0] < sent_s:
            highest = max(highest, arrivals[arrived][1])
            arrived += 1
        went_back += value < highest
    return went_back


def _percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest of the ordered values that at least `share` of them do not exceed (nearest rank); 0 of none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0
