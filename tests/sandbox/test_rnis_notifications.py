"""What subscribers are told of handovers in the radio network, over real ports; and the end of a subscription."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest

from pillion.sandbox.faults import Fault
from pillion.sandbox.rnis_notifications import event_of_handover
from pillion.sandbox.world import Change
from tests.sandbox.radio import FIVE_G, FOUR_G, OTHER_4G, OTHER_5G, PLMN, POAS, VEHICLE, WIFI, ecgi, subscriber


@pytest.mark.parametrize("elsewhere", [FIVE_G, WIFI, None])
async def test_a_bearer_is_established_on_coming_to_4g_and_released_on_leaving_it(elsewhere: str | None) -> None:
    async with subscriber() as s:
        await s.subscribe("changes", "CellChange")
        established = await s.subscribe("established", "RabEst")
        assert await s.hand_over(elsewhere) == []
        about = {"associateId": [{"type": 1, "value": VEHICLE}]}
        assert await s.hand_over(FOUR_G) == [
            (
                "established",
                about
                | {
                    "notificationType": "RabEstNotification",
                    "_links": {"subscription": {"href": established}},
                    "ecgi": ecgi(FOUR_G),
                    "erabId": s.bearer(),
                    "erabQosParameters": {"qci": 80},
                },
            )
        ]
        bearer = s.bearer()
        for other in (bearer + 1, 80):
            await s.subscribe("others", "RabRel", filterCriteriaQci={"qci": 80, "erabId": other})
        released = await s.subscribe("released", "RabRel", filterCriteriaQci={"qci": 5, "erabId": bearer})
        assert await s.hand_over(elsewhere) == [
            (
                "released",
                about
                | {
                    "notificationType": "RabRelNotification",
                    "_links": {"subscription": {"href": released}},
                    "ecgi": ecgi(FOUR_G),
                    "erabReleaseInfo": {"erabId": bearer},
                },
            )
        ]


async def test_from_4g_to_4g_the_cell_changes_and_the_bearer_stays() -> None:
    async with subscriber() as s:
        await s.hand_over(FOUR_G)
        changes = await s.subscribe("changes", "CellChange", filterCriteriaAssocHo={"hoStatus": [1]})
        await s.subscribe("established", "RabEst")
        await s.subscribe("released", "RabRel", filterCriteriaQci={"qci": 80, "erabId": s.bearer()})
        assert await s.hand_over(OTHER_4G) == [
            (
                "changes",
                {
                    "notificationType": "CellChangeNotification",
                    "associateId": [{"type": 1, "value": VEHICLE}],
                    "_links": {"subscription": {"href": changes}},
                    "hoStatus": 3,
                    "srcEcgi": ecgi(FOUR_G),
                    "trgEcgi": [ecgi(OTHER_4G)],
                },
            )
        ]


async def test_between_5g_wifi_and_nothing_there_is_nothing_to_tell() -> None:
    async with subscriber() as s:
        await s.subscribe("changes", "CellChange")
        await s.subscribe("established", "RabEst")
        for bearer in range(1, 6):
            await s.subscribe("released", "RabRel", filterCriteriaQci={"qci": 80, "erabId": bearer})
        for poa in (FIVE_G, OTHER_5G, WIFI, FIVE_G, None, WIFI, None):
            assert await s.hand_over(poa) == []


async def test_a_lap_is_told_in_full_to_one_who_follows_it() -> None:
    def cell(document: dict[str, Any]) -> str:
        ids: list[str] = [
            document[name]["cellId"] if name != "trgEcgi" else document[name][0]["cellId"]
            for name in ("srcEcgi", "trgEcgi", "ecgi")
            if name in document
        ]
        return " ".join(id_[0] for id_ in ids)

    async with subscriber() as s:
        await s.subscribe("changes", "CellChange")
        await s.subscribe("established", "RabEst")
        s.live.drive(True)
        lap: list[str] = []
        bearers: list[int] = []
        while s.live.world.ticks < 225:
            for name, document in await s.tick():
                if document["associateId"] == [{"type": 1, "value": VEHICLE}]:
                    lap.append(f"{name} {cell(document)}")
                    if name == "established":
                        # A release is told only to those who know the bearer.
                        bearers.append(document["erabId"])
                        criteria = {"qci": 80, "erabId": bearers[-1]}
                        await s.subscribe("released", "RabRel", filterCriteriaQci=criteria)
                    elif name == "released":
                        assert document["erabReleaseInfo"] == {"erabId": bearers[-1]}
        # Of cells N0N0N0N the N. What lies between a release and the next bearer is 5G.
        assert lap == [
            "established 5",
            "changes 5 4",
            "released 4",
            "established 4",
            "released 4",
            "established 4",
            "released 4",
            "established 3",
            "changes 3 6",
            "changes 6 3",
            "released 3",
            "established 4",
            "released 4",
        ]
        assert len(set(bearers)) == len(bearers)


async def test_a_filter_lets_pass_what_it_names_and_a_cell_change_may_be_named_by_either_cell() -> None:
    other_plmn = {"mcc": "001", "mnc": "01"}
    async with subscriber() as s:
        filters: dict[str, dict[str, Any]] = {
            "source": {"ecgi": [ecgi(FOUR_G)]},
            "target": {"ecgi": [ecgi("4g-macro-cell-1"), ecgi(OTHER_4G)]},
            "neither": {"ecgi": [ecgi("4g-macro-cell-1")]},
            "elsewhere": {"ecgi": [ecgi(FOUR_G) | {"plmn": other_plmn}]},
            "no cell": {"ecgi": []},
            "null": {"ecgi": None, "associateId": None, "appInstanceId": ""},
            "ue": {"associateId": [{"type": 1, "value": "10.100.0.1"}, {"type": 1, "value": VEHICLE}]},
            "other ue": {"associateId": [{"type": 1, "value": "10.100.0.1"}]},
            "ue by another address": {"associateId": [{"type": 3, "value": VEHICLE}]},
            "ue but not cell": {"associateId": [{"type": 1, "value": VEHICLE}], "ecgi": [ecgi("4g-macro-cell-1")]},
            "no ue": {"associateId": []},
            "app": {"appInstanceId": "a1"},
        }
        for name, criteria in filters.items():
            await s.subscribe(name.replace(" ", "-"), "CellChange", filterCriteriaAssocHo=criteria)
        await s.hand_over(FOUR_G)
        assert [name for name, _ in await s.hand_over(OTHER_4G)] == ["source", "target", "null", "ue"]


async def test_bearers_can_be_filtered_by_their_cell_and_by_an_app_nothing_can() -> None:
    async with subscriber() as s:
        filters: dict[str, dict[str, Any]] = {
            "cell": {"ecgi": [ecgi(FOUR_G)]},
            "other": {"ecgi": [ecgi(OTHER_4G)]},
            "app": {"appInstanceId": "a1"},
        }
        for name, criteria in filters.items():
            await s.subscribe(f"established-{name}", "RabEst", filterCriteriaQci={"qci": 80} | criteria)
            of_first = {"qci": 80, "erabId": 1} | criteria
            await s.subscribe(f"released-{name}", "RabRel", filterCriteriaQci=of_first)
        assert [name for name, _ in await s.hand_over(FOUR_G)] == ["established-cell"]
        assert [name for name, _ in await s.hand_over(FIVE_G)] == ["released-cell"]


def test_from_4g_to_4g_of_the_same_identity_no_cell_changes() -> None:
    same = {poa.id: replace(poa, cell_id="FFFFFFF") for poa in (POAS[FOUR_G], POAS[OTHER_4G])}
    change = Change(1, 1.0, 0.0, VEHICLE, FOUR_G, "zone02", OTHER_4G, "zone02", erab_id=1, previous_erab_id=1)
    assert event_of_handover(change, same, PLMN) is None
    assert event_of_handover(change, POAS, PLMN) is not None


@pytest.mark.parametrize("strict", [False, True])
async def test_a_subscription_whose_time_is_up_is_told_so_once_and_is_gone(strict: bool) -> None:
    async with subscriber(strict=strict) as s:
        past = {"nanoSeconds": 7, "seconds": int(time.time())}
        expiring = {
            "CellChange": await s.subscribe("CellChange", "CellChange", expiryDeadline=past),
            "RabEst": await s.subscribe("RabEst", "RabEst", expiryDeadline=past),
            "RabRel": await s.subscribe(
                "RabRel", "RabRel", filterCriteriaQci={"qci": 80, "erabId": 1}, expiryDeadline=past
            ),
        }
        lasting = {
            "later": await s.subscribe("later", "RabEst", expiryDeadline={"seconds": past["seconds"] + 3600}),
            "endless": await s.subscribe("endless", "RabEst"),
        }
        reports = await s.subscribe("reports", "NrMeasRepUe", expiryDeadline=past)
        (expiring if strict else lasting)["reports"] = reports
        # Nobody is attached yet, so nothing else is told.
        told = await s.tick()
        assert sorted(told, key=lambda each: each[0]) == [
            (
                name,
                {
                    "notificationType": "ExpiryNotification",
                    "expiryDeadline": past,
                    "_links": {"subscription": {"href": url}},
                },
            )
            for name, url in sorted(expiring.items())
        ]
        assert {await s.status(url) for url in expiring.values()} == {404}
        assert {await s.status(url) for url in lasting.values()} == {200}
        assert await s.tick() == []


@pytest.mark.parametrize("strict", [False, True])
async def test_a_test_notification_is_sent_by_specification_only(strict: bool) -> None:
    async with subscriber(strict=strict) as s:
        await s.subscribe("unasked", "RabEst")
        url = await s.subscribe("asked", "RabEst", requestTestNotification=True)
        await s.live.told()
        test = {"notificationType": "TestNotification", "_links": {"subscription": {"href": url}}}
        assert s.callbacks.told == ([("asked", test)] if strict else [])


async def test_a_test_notification_goes_wrong_on_demand_as_well() -> None:
    async with subscriber(strict=True) as s:
        s.live.faults.begin(Fault.LOST, 60)
        await s.subscribe("asked", "RabEst", requestTestNotification=True)
        await s.live.told()
        assert s.callbacks.told == []


async def test_nothing_is_told_after_the_scenario_has_ended() -> None:
    async with subscriber() as s:
        await s.subscribe("established", "RabEst")
        await s.subscribe("reports", "MeasRepUe")
        s.live.terminate()
        s.live.activate("4g-macro")
        s.live.drive(True)
        assert await s.tick() == []
        assert s.live.world.users()


@pytest.mark.parametrize("strict", [False, True])
async def test_a_client_that_subscribes_while_it_is_being_told_waits_for_itself_but_not_by_specification(
    strict: bool,
) -> None:
    async with subscriber(strict=strict) as s:
        url = await s.subscribe("established", "RabEst")
        s.callbacks.answering.clear()
        s.live.hand_over(VEHICLE, POAS[FOUR_G])
        await s.callbacks.asked.wait()
        subscribing = asyncio.create_task(s.subscribe("another", "RabEst"), name="subscribe")
        assert await s.status(url) == 200, "reading waits for nobody"
        await asyncio.wait([subscribing], timeout=0.5)
        assert subscribing.done() is strict
        s.callbacks.answering.set()
        assert (await subscribing).endswith("/2")
        await s.live.told()
