"""What a downtime is expected to be: the longest way through the relocation, and what it grows with."""

from dataclasses import replace

import pytest

from pillion.core.forecast import DIRTY_SHARE, downtime_s, step_s
from pillion.core.model import App, Epoch, Instance, StepId
from pillion.core.plan import Plan, Situation
from pillion.strategies.checkpoint import CHECKPOINT
from pillion.strategies.commit_save import COMMIT_SAVE
from pillion.strategies.deploy import DEPLOY

from .examples import A2, MEC1, MEC2

SOURCE, TARGET = Instance(A2.id, MEC1, Epoch(3)), Instance(A2.id, MEC2, Epoch(4))
N1, N2 = 125e6, 12.5e6


def m3(app: App = A2) -> Plan:
    return CHECKPOINT.build(Situation(app, SOURCE, TARGET))


def test_the_downtime_is_the_sum_of_steps_that_follow_each_other():
    plan = COMMIT_SAVE.build(Situation(A2, SOURCE, TARGET))
    in_turn = sum(
        step_s(plan.step(StepId(step)), 0, N1) for step in ("fence", "last-bytes", "start", "prove", "switch")
    )
    assert downtime_s(plan, 0, N1) == pytest.approx(in_turn)


def test_what_overlaps_counts_once():
    plan = m3()
    on_the_way = ("fence", "last-checkpoint", "last-pages", "start", "prove", "switch")
    expected = sum(step_s(plan.step(StepId(step)), 10**7, N1) for step in on_the_way)
    assert downtime_s(plan, 10**7, N1) == pytest.approx(expected)


def test_memory_and_a_slow_link_cost_what_they_must():
    small, large = downtime_s(m3(), 10**7, N1), downtime_s(m3(), 10**8, N1)
    slow = downtime_s(m3(), 10**8, N2)
    assert small is not None
    assert large is not None
    assert slow is not None
    assert 0.3 < small < large < slow
    assert slow - large == pytest.approx(10**8 * DIRTY_SHARE * (1 / N2 - 1 / N1))
    assert downtime_s(m3(replace(A2, volume=None)), 10**7, N1) == pytest.approx(small)


def test_a_plan_without_a_source_has_no_downtime_to_tell():
    assert downtime_s(DEPLOY.build(Situation(A2, None, TARGET)), 0, N1) is None
