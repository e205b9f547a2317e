"""Who may start a migration, on the lab: the app from inside its container, the UE's client, and an idle data plane."""

import asyncio

import aiohttp
import pytest

from pillion import app
from pillion.core.events import Api, HandoverCompleted, MigrationStarted, RelocationBegan, Trigger
from pillion.core.model import PoaId, UeId, ZoneId
from pillion.experiments.moving import move
from pillion.journal import store
from pillion.runtime import requests
from pillion.runtime.driver import Driver

from .conftest import Lab
from .test_migrations import A2, MEC1, MEC2, home

pytestmark = pytest.mark.lab

_LONG_S = 120.0
"""No visit lasts that long here."""
_ASK = """
import os, urllib.request
print(urllib.request.urlopen(urllib.request.Request(os.environ["PILLION_MIGRATE_URL"], data=BODY)).status)
"""


async def comes_to(driver: Driver, host: str) -> None:
    async with asyncio.timeout(60):
        await driver.until(
            lambda fleet: fleet.apps[A2].serving.host == host and not fleet.apps[A2].migration and not fleet.debts
        )


async def test_app_ue_rnis_and_data_plane_start_migrations_and_the_journal_says_which(lab: Lab) -> None:
    a2 = lab.settings.apps[A2].model_copy(update={"triggers": ("app", "ue", "data-plane")})
    tracking = lab.settings.tracking.model_copy(update={"settle_s": _LONG_S})
    settings = lab.settings.model_copy(update={"apps": {**lab.settings.apps, A2: a2}, "tracking": tracking})
    async with lab.engine() as driver:
        await home(lab, driver, A2, MEC1)
    async with app.engine(settings, lab.state, follow=False) as driver:
        # Its container has to be made by an engine that lets it ask.
        assert (await move(driver, lab.state, A2, MEC2, "M2")).status == "completed"
        since = store.last_seq(lab.state.journal)
        serving = driver.fleet.apps[A2].serving
        script = _ASK.replace("BODY", repr(b'{"to": "mec1"}'))
        said = await asyncio.to_thread(lab.exec, MEC2, "docker", "exec", serving.container, "python3", "-c", script)
        assert said.strip() == "202"
        await comes_to(driver, MEC1)
        asking = await app.requests(settings, lab.state)
        async with aiohttp.ClientSession() as http:
            async with http.post(str(asking.url(A2, Trigger.UE)), data=b'{"to": "mec2", "strategy": "M2"}') as answer:
                assert answer.status == 202
            await comes_to(driver, MEC2)
            await asyncio.sleep(requests._EVERY_S)
            async with http.post(str(asking.url(A2, Trigger.UE)), data=b'{"to": "mec1"}') as answer:
                assert answer.status == 202
        await comes_to(driver, MEC1)
        # The RNIS has told of a handover. The UE is not connected, so that the visit need not last.
        ue, poa, zone = UeId(str(a2.ue)), PoaId("w1"), ZoneId("zone01")
        await driver.put(HandoverCompleted(ue, poa, zone, learned_by=Api.RNIS))
        await comes_to(driver, MEC2)
        facts = [record.fact for record in store.read(lab.state.journal, since)]
        started = [fact.trigger for fact in facts if isinstance(fact, MigrationStarted) and fact.app == A2]
        began = [fact.trigger for fact in facts if isinstance(fact, RelocationBegan)]
        assert started == [Trigger.APP, Trigger.UE, Trigger.UE, Trigger.RNIS]
        assert began == [Trigger.APP, Trigger.UE, Trigger.UE, Trigger.DATA_PLANE]
        for fact in facts:
            assert "migrate/" not in str(fact), "no token is in the journal"
        await driver.put(HandoverCompleted(ue, PoaId("w6"), ZoneId("zone02")))
        await comes_to(driver, MEC1)
