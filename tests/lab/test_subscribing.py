"""A lap followed by subscription, through the real gateways: the same handovers, far fewer questions, another name."""

import asyncio
import time
from itertools import pairwise

import pytest

from pillion import app
from pillion.core.events import HandoverCompleted, MigrationCompleted, NotificationsLost, NotificationsResumed
from pillion.experiments.http import control_sandbox
from pillion.journal import store
from pillion.lab import up

from .conftest import Lab
from .test_migrations import A2, MEC1, home

pytestmark = pytest.mark.lab

UE = "10.100.0.2"
LAP_S = 75.0
"""225 simulated seconds at the lab's speed."""
POLLS_S = 10.0
"""Questions a second with the lab's `poll_s`."""
BACK_S = 5.0


async def truth(lab: Lab) -> dict:
    return await control_sandbox(lab.settings, "GET", f"/truth?ue={UE}")


async def test_a_lap_is_followed_by_subscription_also_to_a_sandbox_under_another_name(lab: Lab) -> None:
    tracking = lab.settings.tracking.model_copy(update={"source": "subscribe"})
    settings = lab.settings.model_copy(update={"tracking": tracking})
    async with lab.engine() as driver:
        await home(lab, driver, A2, MEC1)
    since = store.last_seq(lab.state.journal)
    asked = len([query for query in (await truth(lab))["queries"] if query["agent"] == "pillion-engine"])
    try:
        async with app.engine(settings, lab.state):
            await control_sandbox(settings, "POST", "/drive", {"running": True})
            began_s = time.monotonic()
            await asyncio.sleep(LAP_S)
            seen = await truth(lab)
            await asyncio.sleep(1)
            told = [record.fact for record in store.read(lab.state.journal, since)]
            places = [(fact.poa, fact.zone) for fact in told if isinstance(fact, HandoverCompleted) and fact.ue == UE]
            questions = [query for query in seen["queries"] if query["agent"] == "pillion-engine"][asked:]
            assert len(questions) * 5 < POLLS_S * LAP_S
            true = [(change["poa"], change["zone"]) for change in seen["changes"] if change["monotonic_s"] >= began_s]
            assert len(true) >= 15
            assert any(places[first : first + len(true)] == true for first in range(len(places)))
            kinds = [type(fact) for fact in told]
            assert kinds.count(MigrationCompleted) >= 2
            assert kinds.count(NotificationsLost) == 0
            # Made anew under another name: only the gateways are told.
            mark = store.last_seq(lab.state.journal)
            await control_sandbox(settings, "POST", "/restart", {"name": "sbxother"})
            await asyncio.sleep(4)
            await up.point_gateways(settings, lab.state, f"http://{settings.sandbox_address}:8000/sbxother")
            pointed_s = time.monotonic()
            while NotificationsResumed not in [type(record.fact) for record in store.read(lab.state.journal, mark)]:
                assert time.monotonic() - pointed_s <= BACK_S
                await asyncio.sleep(0.1)
            handovers = [record.fact for record in store.read(lab.state.journal, mark)]
            handovers = [fact for fact in handovers if isinstance(fact, HandoverCompleted) and fact.ue == UE]
            assert all(one.poa == other.previous_poa for one, other in pairwise(handovers))
    finally:
        await control_sandbox(settings, "POST", "/drive", {"running": False})
        await control_sandbox(settings, "POST", "/restart", {"name": "sbxpillion"})
        await up.point_gateways(settings, lab.state, settings.sandbox_url)
