"""The journals of every release, kept for ever: today's code still reads them and recovers from them."""

import shutil
from pathlib import Path

import pytest

from pillion import app
from pillion.config import all_plans
from pillion.core.events import EngineStarted
from pillion.core.fleet import decide
from pillion.core.plan import Group
from pillion.core.state import Fleet
from pillion.journal import store
from pillion.lab.state import LabState
from pillion.replay.player import NominalWorld, Player

JOURNALS = sorted((Path(__file__).parents[1] / "data").glob("journal-*.db"))
A_STEP_S = dict.fromkeys(Group, 0.1)


@pytest.fixture(params=JOURNALS, ids=lambda path: path.stem)
def state(request: pytest.FixtureRequest, tmp_path: Path) -> LabState:
    """A lab whose engine stopped at the end of an old journal."""
    lab = LabState(tmp_path)
    shutil.copy(request.param, lab.journal)
    return lab


def test_an_old_journal_folds_into_a_fleet_that_serves(state: LabState) -> None:
    fleet = app.restored(state)
    assert fleet.apps
    assert all(each.serving for each in fleet.apps.values())
    assert not fleet.debts


def test_an_engine_that_starts_on_an_old_journal_comes_to_rest_with_every_app_where_its_ue_is(state: LabState) -> None:
    records = list(store.read(state.journal))
    first = next(record.fact for record in records if isinstance(record.fact, EngineStarted))
    fleet = app.restored(state)
    player = Player(fleet, NominalWorld(all_plans(), A_STEP_S))
    player.put(records[-1].now_s + 1.0, EngineStarted(fleet.next_epoch, first.policy, first.apps))
    player.run()
    assert_at_rest(player.fleet)


def test_a_crash_after_any_record_of_an_old_journal_is_recovered_from(state: LabState) -> None:
    records = list(store.read(state.journal))
    first = next(record.fact for record in records if isinstance(record.fact, EngineStarted))
    fleet = Fleet.empty()
    for record in records:
        if record.role != "event":
            continue
        fleet, _ = decide(fleet, record.fact, record.now_s)
        player = Player(fleet, NominalWorld(all_plans(), A_STEP_S))
        player.put(records[-1].now_s + 1.0, EngineStarted(fleet.next_epoch, first.policy, first.apps))
        player.run()
        assert_at_rest(player.fleet)


def assert_at_rest(fleet: Fleet) -> None:
    """Every app is served by the host of the place where its UE was last seen, and nothing is owed."""
    assert not fleet.debts
    for each in fleet.apps.values():
        assert each.serving
        if each.poa and each.zone:
            assert each.serving.host == fleet.policy.placement.host_for(each.poa, each.zone)
