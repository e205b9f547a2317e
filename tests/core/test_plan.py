"""Plans and their check: what the strategies plan is right, and every rule that a plan could break is noticed."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillion.core import plan as plans
from pillion.core.model import App, Epoch, Instance, StateKind, StepId
from pillion.core.plan import (
    FenceSource,
    Group,
    KillSource,
    Place,
    Plan,
    ProveTarget,
    Situation,
    StartTarget,
    Step,
    Strategy,
    SwitchTraffic,
    TransferVolume,
    ancestors,
    check,
)
from pillion.core.preflight import losses
from pillion.errors import PlanError
from pillion.strategies.checkpoint import CHECKPOINT
from pillion.strategies.commit_save import COMMIT_SAVE
from pillion.strategies.deploy import DEPLOY
from pillion.strategies.export_import import EXPORT_IMPORT

from .examples import A2, MEC1, MEC2

SOURCE, TARGET = Instance(A2.id, MEC1, Epoch(3)), Instance(A2.id, MEC2, Epoch(4))
APPS = [
    pytest.param(replace(A2, volume=volume, phase_hook=hook), id=f"{'DV' if volume else 'no DV'}, {hook or 'no hook'}")
    for volume in (A2.volume, None)
    for hook in (A2.phase_hook, None)
]


def m2(app: App = A2) -> Plan:
    return COMMIT_SAVE.build(Situation(app, SOURCE, TARGET))


def m3(app: App = A2) -> Plan:
    return CHECKPOINT.build(Situation(app, SOURCE, TARGET))


def ids(steps: tuple[Step, ...]) -> list[str]:
    return [step.id for step in steps]


def with_step(plan: Plan, step_id: str, **changes: object) -> Plan:
    steps = tuple(replace(step, **changes) if step.id == step_id else step for step in plan.steps)
    return replace(plan, steps=steps)


def without(plan: Plan, step_id: str) -> Plan:
    """The plan without a step; who waited for it waits for what it waited for."""
    gone = plan.step(StepId(step_id))
    steps = (
        replace(step, after=(step.after - {gone.id}) | gone.after) if gone.id in step.after else step
        for step in plan.steps
        if step.id != gone.id
    )
    return replace(plan, steps=tuple(steps))


def with_extra(plan: Plan, group: Group, work: plans.Work, *after: str) -> Plan:
    """The plan with one more step at the end of a group."""
    extra = Step(StepId("extra"), group, Place.SOURCE, work, frozenset(map(StepId, after)))
    groups = list(Group)
    place = sum(groups.index(step.group) <= groups.index(group) for step in plan.steps)
    return replace(plan, steps=(*plan.steps[:place], extra, *plan.steps[place:]))


@pytest.mark.parametrize("app", APPS)
def test_the_plans_of_the_strategies_and_of_a_first_start_break_no_rule(app: App):
    check(EXPORT_IMPORT.plan(Situation(replace(app, command=("serve",)), SOURCE, TARGET)))
    check(COMMIT_SAVE.plan(Situation(app, SOURCE, TARGET)))
    check(CHECKPOINT.plan(Situation(app, SOURCE, TARGET)))
    check(DEPLOY.plan(Situation(app, None, TARGET)))


MEMORY = replace(A2, volume=None, phase_hook=None, state=StateKind.MEMORY)
BY_HAND = replace(A2, command=("serve",))
LOSES = {
    "M1 the configuration": (EXPORT_IMPORT, A2, "command and environment"),
    "M1 memory": (EXPORT_IMPORT, replace(MEMORY, command=("serve",)), "in memory alone"),
    "M2 memory": (COMMIT_SAVE, MEMORY, "in memory alone"),
}


@pytest.mark.parametrize(("strategy", "app", "said"), LOSES.values(), ids=LOSES)
def test_a_strategy_that_would_lose_what_the_app_needs_is_refused_unless_forced(
    strategy: Strategy, app: App, said: str
):
    with pytest.raises(PlanError, match=f"{strategy.name} would lose .*{said}") as refused:
        strategy.plan(Situation(app, SOURCE, TARGET))
    assert "--force" in refused.value.remedy
    forced = strategy.plan(Situation(app, SOURCE, TARGET, forced=True))
    assert forced.proof.work == ProveTarget(TARGET, lossy=True)


def test_nothing_is_lost_of_what_a_strategy_carries_or_the_lab_file_gives():
    for strategy, app in ((EXPORT_IMPORT, BY_HAND), (COMMIT_SAVE, A2), (CHECKPOINT, MEMORY), (CHECKPOINT, A2)):
        assert losses(app, strategy.carries) == []
        assert strategy.plan(Situation(app, SOURCE, TARGET)).proof.work.lossy is False
    assert len(losses(replace(A2, state=StateKind.MEMORY), frozenset())) == 3


def test_m3_takes_both_checkpoints_of_a_source_that_stays_and_tells_the_app_nothing():
    plan = m3()
    works = [type(step.work) for step in plan.steps]
    assert plans.TellApp not in works
    assert [step.id for step in plan.of(Group.PRE_RELOCATION)][-2:] == ["first-checkpoint", "send-checkpoint"]
    assert ids(plan.of(Group.RELOCATION)) == [
        *("fence", "last-bytes", "last-checkpoint", "last-files", "last-pages"),
        *("start", "prove", "switch", "kill"),
    ]
    # The dump and the last bytes do not wait for each other.
    assert plan.step(StepId("last-checkpoint")).after == {"fence"}
    assert plan.step(StepId("last-bytes")).after == {"fence"}


@pytest.mark.parametrize("app", APPS)
def test_the_downtime_of_m2_holds_the_fence_the_last_bytes_the_start_the_proof_and_the_switch(app: App):
    last_bytes = ["last-bytes"] if app.volume else []
    assert ids(m2(app).of(Group.RELOCATION)) == ["fence", *last_bytes, "start", "prove", "switch", "kill"]


@pytest.mark.parametrize("app", APPS)
def test_in_the_downtime_each_step_waits_for_the_one_before(app: App):
    fence, *rest = m2(app).of(Group.RELOCATION)
    assert not fence.after, "the downtime begins at once"
    for before, step in itertools.pairwise([fence, *rest]):
        assert step.after == {before.id}


@pytest.mark.parametrize("app", APPS)
def test_inside_the_downtime_only_the_fence_and_the_proof_are_committed_before_anything_follows(app: App):
    for plan in (m2(app), DEPLOY.build(Situation(app, None, TARGET))):
        held = [step.id for step in plan.of(Group.RELOCATION) if plan.commits_before_acting(step)]
        assert held == [name for name in ("fence", "prove") if name in ids(plan.steps)]
        outside = (*plan.of(Group.PRE_RELOCATION), *plan.of(Group.CLEAN_UP))
        assert all(plan.commits_before_acting(step) for step in outside)


def test_an_app_with_a_hook_is_told_before_its_filesystem_and_its_dv_are_read_and_after_it_has_moved():
    plan = m2()
    for reader in ("commit", "copy-volume"):
        assert "tell-source" in ancestors(plan, plan.step(StepId(reader)))
    assert plan.step(StepId("tell-target")).group is Group.CLEAN_UP
    assert not {"tell-source", "tell-target"} & set(ids(m2(replace(A2, phase_hook=None)).steps))


def test_an_app_without_a_dv_has_none_made():
    bare = replace(A2, volume=None)
    for plan in (m2(bare), DEPLOY.build(Situation(bare, None, TARGET))):
        assert not {"create-volume", "copy-volume", "last-bytes"} & set(ids(plan.steps))


def test_m2_starts_no_app_from_nothing():
    with pytest.raises(PlanError, match="it cannot start one"):
        COMMIT_SAVE.plan(Situation(A2, None, TARGET))


def test_the_proof_is_the_point_of_no_return_and_an_unknown_step_is_a_key_error():
    assert isinstance(m2().proof.work, ProveTarget)
    with pytest.raises(KeyError):
        m2().step(StepId("teleport"))


BROKEN = {
    "a plan proves its target exactly once, this one 0 times": without(m2(), "prove"),
    "a plan proves its target exactly once, this one 2 times": with_extra(m2(), Group.RELOCATION, ProveTarget(TARGET)),
    "create: step breaks a rule: step ids are unique": replace(m2(), steps=(*m2().steps, m2().step(StepId("create")))),
    "send-image: .* a step waits only for steps before it": replace(
        m2(), steps=tuple(sorted(m2().steps, key=lambda step: step.id != "send-image"))
    ),
    "commit: .* a step waits only for steps before it": with_step(m2(), "commit", after=frozenset({StepId("commit")})),
    "fence: .* groups follow one another": replace(
        m2(), steps=tuple(sorted(m2().steps, key=lambda step: step.group is Group.RELOCATION))
    ),
    "extra: .* the source serves throughout pre-relocation": with_extra(
        m2(), Group.PRE_RELOCATION, FenceSource(SOURCE)
    ),
    "removed only in the clean-up": with_extra(m2(), Group.RELOCATION, plans.RemoveInstance(SOURCE), "switch"),
    "extra: .* removed only in the clean-up": with_extra(
        m2(), Group.PRE_RELOCATION, plans.RemoveImage(SOURCE, "pillion/a2")
    ),
    "no traffic is steered and no source killed before": with_step(m2(), "switch", after=frozenset({StepId("start")})),
    "no traffic is steered": with_step(m2(), "kill", after=frozenset({StepId("fence")})),
    "kill: .* killed only after the switch": with_step(m2(), "kill", after=frozenset({StepId("prove")})),
    "kill: .* was fenced before": without(m2(replace(A2, volume=None)), "fence"),
    "last-bytes: .* behind the fence": with_step(m2(), "last-bytes", after=frozenset()),
    "start: .* the fenced source's last bytes": with_step(m2(), "start", after=frozenset({StepId("fence")})),
    "start: .* fenced source": with_step(m2(replace(A2, volume=None)), "start", after=frozenset()),
    "prove: .* proven after its start": with_step(m2(), "prove", after=frozenset({StepId("last-bytes")})),
    "extra: .* before the point of no return": with_extra(m2(), Group.CLEAN_UP, FenceSource(SOURCE)),
    "extra: .* starts and is proven before": with_extra(m2(), Group.CLEAN_UP, StartTarget(TARGET)),
    "extra: .* state moves": with_extra(m2(), Group.CLEAN_UP, TransferVolume(SOURCE, TARGET)),
    "last-checkpoint: .* behind the fence": with_step(m3(), "last-checkpoint", after=frozenset()),
    "last-pages: .* behind the fence": with_step(m3(), "last-pages", after=frozenset()),
    "start: .* from a checkpoint": with_step(without(m3(), "last-checkpoint"), "start", id=StepId("start")),
    "start: .* last bytes": with_step(m3(), "start", after=frozenset({StepId("last-checkpoint")})),
    "extra: .* only in the clean-up": with_extra(m3(), Group.RELOCATION, plans.RemoveCheckpoints(TARGET), "fence"),
}


@pytest.mark.parametrize(("rule", "plan"), BROKEN.items(), ids=BROKEN)
def test_a_plan_that_breaks_a_rule_is_refused_with_the_rule_and_the_step(rule: str, plan: Plan):
    with pytest.raises(PlanError, match=rule):
        check(plan)


@pytest.mark.parametrize("kind", [SwitchTraffic, KillSource, ProveTarget, FenceSource])
def test_nothing_that_ends_the_source_s_service_is_planned_before_relocation(kind: type):
    plan = with_extra(without(m2(), "prove") if kind is ProveTarget else m2(), Group.PRE_RELOCATION, kind(SOURCE))
    with pytest.raises(PlanError, match=r"extra: .*the source serves throughout pre-relocation"):
        check(plan)


@pytest.mark.parametrize(
    "work",
    [
        plans.CommitImage(SOURCE, "image"),
        plans.TransferImage("image", "original", SOURCE, TARGET),
        plans.TransferOwnImage("original", SOURCE, TARGET),
        plans.TransferFilesystem(SOURCE, TARGET),
        plans.CreateContainer(TARGET, "image"),
        plans.CreateVolume(TARGET),
        plans.OpenLink(SOURCE, TARGET),
        plans.TellApp(SOURCE, in_migration=True),
    ],
    ids=lambda work: type(work).__name__,
)
def test_nothing_is_planned_into_the_downtime_that_could_be_done_before_or_after(work: plans.Work):
    with pytest.raises(PlanError, match=r"extra: .*nothing in the downtime"):
        check(with_extra(m2(), Group.RELOCATION, work))
    check(with_extra(m2(), Group.PRE_RELOCATION, work))


def test_a_proof_in_the_clean_up_is_none():
    steps = [step for step in m2().steps if step.id not in ("prove", "switch", "kill")]
    proof = Step(StepId("prove"), Group.CLEAN_UP, Place.TARGET, ProveTarget(TARGET), frozenset({StepId("start")}))
    with pytest.raises(PlanError, match=r"prove: .*before the point of no return"):
        check(Plan("late", (*steps, proof)))


def relocation_pairs(plan: Plan) -> list[tuple[Step, Step]]:
    steps = plan.of(Group.RELOCATION)
    return list(itertools.pairwise(steps))


@given(st.sampled_from([m2(), m2(replace(A2, volume=None)), m3(), m3(replace(A2, volume=None))]), st.data())
def test_no_dependency_of_the_downtime_can_be_left_out(plan: Plan, data: st.DataObject):
    _, step = data.draw(st.sampled_from(relocation_pairs(plan)))
    with pytest.raises(PlanError):
        check(with_step(plan, step.id, after=frozenset()))


@given(st.sampled_from([m2(), m2(replace(A2, volume=None))]), st.data())
def test_no_two_steps_of_the_downtime_can_change_places(plan: Plan, data: st.DataObject):
    steps = plan.of(Group.RELOCATION)
    one, other = sorted(data.draw(st.permutations(range(len(steps))))[:2])
    works = {steps[one].id: steps[other].work, steps[other].id: steps[one].work}
    swapped = tuple(replace(step, work=works.get(step.id, step.work)) for step in plan.steps)
    with pytest.raises(PlanError):
        check(replace(plan, steps=swapped))


@given(st.data())
def test_whatever_the_steps_wait_for_an_accepted_plan_keeps_the_order_that_the_state_needs(data: st.DataObject):
    drawn: list[Step] = []
    for step in m2().steps:
        earlier = st.frozensets(st.sampled_from([before.id for before in drawn]), max_size=2) if drawn else st.nothing()
        drawn.append(replace(step, after=data.draw(st.one_of(st.just(step.after), earlier))))
    plan = Plan("M2", tuple(drawn))
    try:
        check(plan)
    except PlanError:
        return
    for before, step in itertools.pairwise(plan.of(Group.RELOCATION)):
        assert before.id in ancestors(plan, step)
