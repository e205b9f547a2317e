"""Facts become lines and facts again; what another version wrote is read or refused, never guessed."""

from __future__ import annotations

import dataclasses
import json
import typing
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pillion.core.events import (
    EngineStarted,
    HandoverCompleted,
    MigrationRequested,
    Outcome,
    PlanMade,
    StepDone,
    StepFailed,
    TrackingLost,
)
from pillion.core.model import Epoch, Instance, MigrationId, PoaId, StepId, ZoneId
from pillion.core.placement import Policy
from pillion.core.plan import Situation
from pillion.errors import JournalError
from pillion.journal.records import Record, dumps, encode, loads
from pillion.strategies.deploy import DEPLOY

from ..core.examples import A2, MEC2, UE, engine_started
from .facts import EVENTS, FACT, FACTS, facts_of

MOVED = HandoverCompleted(UE, PoaId("5g-1"), ZoneId("zone01"))


def record(fact: typing.Any, role: str = "event") -> Record:
    return Record(7, "2026-11-24T22:00:00.000+00:00", 12.5, 3, role, fact)


@pytest.mark.parametrize("cls", FACTS, ids=lambda cls: cls.__name__)
def test_every_kind_of_fact_comes_back_as_it_was(cls: type):
    @given(facts_of(cls))
    @settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def comes_back(fact: object) -> None:
        body = dumps(fact)
        assert loads(cls.__name__, body) == fact
        assert dumps(loads(cls.__name__, body)) == body

    comes_back()


def test_an_unknown_kind_is_refused_with_what_to_do():
    with pytest.raises(JournalError, match=r"unknown kind 'Teleported'.*written by another version of pillion"):
        loads("Teleported", "{}")


def test_an_unknown_field_is_refused_since_a_newer_engine_meant_something_by_it():
    body = json.loads(dumps(MOVED)) | {"rsrp": 40}
    with pytest.raises(JournalError, match=r"a HandoverCompleted record .* unknown field 'rsrp'"):
        loads("HandoverCompleted", json.dumps(body))


def test_an_unknown_field_deep_inside_is_refused_too():
    body = json.loads(dumps(engine_started()))
    body["policy"]["placement"]["by_moon"] = {}
    with pytest.raises(JournalError, match="unknown field 'by_moon'"):
        loads("EngineStarted", json.dumps(body))


def test_a_field_that_an_older_engine_did_not_write_takes_its_default():
    assert loads("HandoverCompleted", '{"ue": "10.100.0.2", "poa": "5g-1", "zone": "zone01"}') == MOVED
    body = json.loads(dumps(engine_started()))
    del body["policy"]["settle_s"], body["policy"]["retry_s"]
    read = loads("EngineStarted", json.dumps(body))
    defaults = {field.name: field.default for field in dataclasses.fields(Policy)}
    assert read.policy.settle_s == defaults["settle_s"]
    done = '{"migration": "a2-2", "step": "fence", "outcome": {"is": "Outcome", "began_s": 1.0, "seconds": 0.5}}'
    assert loads("StepDone", done) == StepDone(MigrationId("a2-2"), StepId("fence"), Outcome(1.0, 0.5))


def test_a_field_without_a_default_that_is_missing_is_refused():
    with pytest.raises(JournalError, match="zone"):
        loads("HandoverCompleted", '{"ue": "10.100.0.2", "poa": "5g-1"}')


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("HandoverCompleted", "[]"),
        ("HandoverCompleted", "7"),
        ("HandoverCompleted", "not JSON"),
        ("HandoverCompleted", ""),
        ("StepDone", '{"migration": "m", "step": "s", "outcome": {"began_s": 1.0, "seconds": 0.5}}'),
        ("StepDone", '{"migration": "m", "step": "s", "outcome": {"is": ["Outcome"]}}'),
        ("StepDone", '{"migration": "m", "step": "s", "outcome": {"is": "Outcome", "detail": []}}'),
        ("PlanMade", '{"migration": "m", "plan": {"is": "Plan", "strategy": "M2", "steps": 7}}'),
        ("MigrationStarted", '{"migration": "m", "app": "a", "source": null, "target": {"is": "Moon"}}'),
        ("RelocationBegan", '{"migration": "m", "trigger": "whim", "reason": "none"}'),
    ],
)
def test_a_body_of_the_wrong_shape_is_refused(kind: str, body: str):
    with pytest.raises(JournalError, match=f"a {kind} record cannot be read"):
        loads(kind, body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4) | st.just({"is": "Plan"}),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["is", "x", "steps"]), inner, max_size=2)
    ),
    max_leaves=5,
)


@given(FACT, st.data())
@settings(max_examples=200, deadline=None)
def test_a_damaged_field_is_refused_or_read_and_never_a_crash(fact: object, data: st.DataObject):
    body = json.loads(dumps(fact))
    if body:
        body[data.draw(st.sampled_from(sorted(body)))] = data.draw(JSON)
    with suppress(JournalError):
        loads(type(fact).__name__, json.dumps(body))


@given(FACT)
@settings(deadline=None)
def test_every_fact_is_one_line_for_people_and_plain_json_for_programs(fact: object):
    line = record(fact).line()
    assert len(line.splitlines()) == 1
    assert type(fact).__name__ in line
    said = record(fact).as_json()
    assert json.loads(json.dumps(said)) == said
    assert {"seq", "at_utc", "now_s", "epoch", "role", "kind", "subject"} <= said.keys()


def test_a_line_has_the_time_the_kind_what_it_is_about_and_the_facts_that_are_not_empty():
    told = "(ue=10.100.0.2 poa=5g-1 zone=zone01 learned_by=location)"
    assert record(MOVED).line() == f"2026-11-24T22:00:00.000+00:00 HandoverCompleted 10.100.0.2 {told}"
    failed = StepFailed(MigrationId("a2-2"), StepId("start"), "docker said:\n  no space")
    assert record(failed).line().endswith("StepFailed a2-2 (step=start problem=docker said: no space)")


def test_what_a_record_is_about_is_its_migration_its_app_or_its_ue():
    assert record(MOVED).subject == UE
    assert record(MigrationRequested(A2.id, MEC2)).subject == A2.id
    assert record(StepFailed(MigrationId("a2-2"), StepId("start"), "")).subject == "a2-2"
    assert record(TrackingLost(5.0, "no answer")).subject == ""


def test_a_plan_keeps_the_kind_of_each_piece_of_work():
    plan = DEPLOY.plan(Situation(A2, None, Instance(A2.id, MEC2, Epoch(1))))
    work = encode(PlanMade(MigrationId("a2-2"), plan))["plan"]["steps"][1]["work"]
    assert work["is"] == "CreateVolume"


def test_the_kinds_that_are_replayed_are_those_that_decide_takes():
    assert EngineStarted in EVENTS
    assert len({cls.__name__ for cls in FACTS}) == len(FACTS)
