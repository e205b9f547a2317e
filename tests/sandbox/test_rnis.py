"""Queries about the radio network over a real port: who has a bearer, in which cell, and what is counted there."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from pillion.sandbox.scenario import Technology
from pillion.sandbox.server import Listening, sandbox
from pillion.sandbox.world import World

TYPE = "application/json; charset=UTF-8"
LAP_TICKS = 240


@asynccontextmanager
async def driving(ticks: int = 1) -> AsyncIterator[tuple[Listening, aiohttp.ClientSession]]:
    """A sandbox in lockstep after some ticks, and a client."""
    async with sandbox(port=0, control_port=0, lockstep=True) as listening, aiohttp.ClientSession() as http:
        listening.live.drive(True)
        for _ in range(ticks):
            listening.live.tick(1.0)
        yield listening, http


async def asked(
    listening: Listening, http: aiohttp.ClientSession, query: str = "", *, about: str = "rab_info"
) -> tuple[int, bytes, Any]:
    async with http.get(f"{listening.api_url}/rni/v2/queries/{about}{query}") as answer:
        assert answer.headers["Content-Type"] == TYPE
        body = await answer.read()
        return answer.status, body, await answer.json() if body else None


def bearers(answer: Any) -> dict[str, tuple[str, int]]:
    """UE to cell and bearer."""
    return {
        about["associateId"][0]["value"]: (cell["ecgi"]["cellId"], about["erabInfo"][0]["erabId"])
        for cell in answer.get("cellUserInfo", [])
        for about in cell["ueInfo"]
    }


def served_by_4g(world: World) -> dict[str, str]:
    """UE to the id of its cell, by the world's own account."""
    poas = {poa.id: poa for poa in world.scenario.poas}
    return {user.ue: poas[user.poa].cell_id for user in world.users() if poas[user.poa].technology is Technology.FOUR_G}


async def test_a_bearer_has_the_shape_of_the_original() -> None:
    async with driving() as (listening, http):
        status, _, answer = await asked(listening, http, "?app_ins_id=a1")
        assert status == 200
        assert answer["appInstanceId"] == "a1"
        assert answer["requestId"] == "1"
        assert answer["timeStamp"]["nanoSeconds"] == 0
        assert abs(answer["timeStamp"]["seconds"] - time.time()) < 60
        cell = answer["cellUserInfo"][0]
        assert cell["ecgi"]["plmn"] == {"mcc": "001", "mnc": "001"}
        about = cell["ueInfo"][0]
        assert about["associateId"] == [{"type": 1, "value": about["associateId"][0]["value"]}]
        assert about["erabInfo"] == [
            {"erabId": about["erabInfo"][0]["erabId"], "erabQosParameters": {"qci": 80}},
        ]


async def test_ues_on_4g_are_listed_by_cell_and_no_others() -> None:
    async with driving() as (listening, http):
        others = 0
        for _ in range(LAP_TICKS):
            listening.live.tick(1.0)
            _, _, answer = await asked(listening, http)
            truth = served_by_4g(listening.live.world)
            assert {ue: cell for ue, (cell, _) in bearers(answer).items()} == truth
            others += len(listening.live.world.users()) - len(truth)
        assert others, "a drive on 4G alone proves nothing of the others"


async def test_a_bearer_is_kept_from_4g_to_4g_and_is_another_after_anything_else() -> None:
    async with driving(ticks=0) as (listening, http):
        kept = anew = 0
        before: dict[str, tuple[str, int]] = {}
        seen: set[int] = set()
        for _ in range(LAP_TICKS):
            listening.live.tick(1.0)
            _, _, answer = await asked(listening, http)
            now = bearers(answer)
            assert len({bearer for _, bearer in now.values()}) == len(now)
            for ue, (cell, bearer) in now.items():
                if ue in before:
                    assert bearer == before[ue][1]
                    kept += cell != before[ue][0]
                else:
                    assert bearer not in seen
                    anew += bool(seen)
            before, seen = now, seen | {bearer for _, bearer in now.values()}
        assert kept
        assert anew
        assert min(seen) == 1


async def test_each_filter_leaves_only_what_fits() -> None:
    async with driving() as (listening, http):
        everyone = bearers((await asked(listening, http))[2])
        assert len(everyone) > 1
        ue, (cell, bearer) = next(iter(everyone.items()))

        async def left(query: str) -> dict[str, tuple[str, int]]:
            return bearers((await asked(listening, http, query))[2])

        assert await left(f"?ue_ipv4_address={ue}") == {ue: (cell, bearer)}
        both = "&".join(f"ue_ipv4_address={each}" for each in everyone)
        assert await left(f"?{both}") == everyone
        assert await left(f"?cell_id={cell}") == {u: found for u, found in everyone.items() if found[0] == cell}
        assert await left(f"?erab_id={bearer}") == {ue: (cell, bearer)}
        assert await left("?qci=80") == everyone
        assert await left("?qci=9") == {}
        assert await left("?gtp_teid=1") == everyone  # the specification has it; the original looks at it no further


async def test_nobody_fits_means_no_list_at_all() -> None:
    async with driving() as (listening, http):
        status, _, answer = await asked(listening, http, "?ue_ipv4_address=10.9.9.9")
        assert status == 200
        assert "cellUserInfo" not in answer


@pytest.mark.parametrize("query", ["?unknown=1", "?erab_id=one", "?qci=low"])
async def test_what_cannot_be_asked_is_a_400_without_a_word(query: str) -> None:
    async with driving() as (listening, http):
        status, body, _ = await asked(listening, http, query)
        assert (status, body) == (400, b"")


async def test_before_the_drive_nobody_has_a_bearer() -> None:
    async with sandbox(port=0, control_port=0, lockstep=True) as listening, aiohttp.ClientSession() as http:
        _, _, answer = await asked(listening, http)
        assert "cellUserInfo" not in answer


async def test_the_network_s_codes_are_told_to_whoever_asks() -> None:
    async with driving() as (listening, http):
        network = {"appInstanceId": "", "plmn": [{"mcc": "001", "mnc": "001"}]}
        assert (await asked(listening, http, about="plmn_info"))[2] == [network]
        assert (await asked(listening, http, "?app_ins_id=a1", about="plmn_info"))[2] == [
            network | {"appInstanceId": "a1"}
        ]
        assert (await asked(listening, http, "?cell_id=1010101", about="plmn_info"))[:2] == (400, b"")


async def test_without_a_scenario_there_is_no_network() -> None:
    async with driving() as (listening, http):
        listening.live.terminate()
        assert (await asked(listening, http, about="plmn_info"))[:2] == (404, b"")
        listening.live.activate("4g-macro")
        assert (await asked(listening, http, about="plmn_info"))[0] == 200


async def test_every_4g_cell_is_measured_and_counts_the_ues_that_are_active_in_it() -> None:
    async with driving() as (listening, http):
        _, _, answer = await asked(listening, http, about="layer2_meas")
        assert abs(answer["timeStamp"]["seconds"] - time.time()) < 60
        truth = served_by_4g(listening.live.world)
        all_cells = [p.cell_id for p in listening.live.world.scenario.poas if p.technology is Technology.FOUR_G]
        assert [cell["ecgi"]["cellId"] for cell in answer["cellInfo"]] == all_cells
        idle = 0
        for cell in answer["cellInfo"]:
            active = list(truth.values()).count(cell.pop("ecgi")["cellId"])
            counted = ("number_of_active_ue_dl_nongbr_cell", "number_of_active_ue_ul_nongbr_cell")
            assert cell == (dict.fromkeys(counted, active) if active else {})
            idle += not active
        assert 0 < idle < len(all_cells), "all cells alike prove little"
        plmn = {"mcc": "001", "mnc": "001"}
        assert answer["cellUEInfo"] == [
            {"associateId": {"type": 1, "value": ue}, "ecgi": {"cellId": cell, "plmn": plmn}}
            for ue, cell in truth.items()
        ]


async def test_measurements_are_filtered_by_cell_and_ue_and_a_ue_leaves_the_cells_as_they_are() -> None:
    async with driving() as (listening, http):
        whole = (await asked(listening, http, about="layer2_meas"))[2]
        ue, cell = next(iter(served_by_4g(listening.live.world).items()))
        _, _, of_ue = await asked(listening, http, f"?ue_ipv4_address={ue}", about="layer2_meas")
        assert of_ue["cellInfo"] == whole["cellInfo"]
        assert [each["associateId"]["value"] for each in of_ue["cellUEInfo"]] == [ue]
        _, _, of_cell = await asked(listening, http, f"?cell_id={cell}", about="layer2_meas")
        assert of_cell["cellInfo"] == [each for each in whole["cellInfo"] if each["ecgi"]["cellId"] == cell]
        assert of_cell["cellUEInfo"] == [each for each in whole["cellUEInfo"] if each["ecgi"]["cellId"] == cell]
        _, _, of_none = await asked(listening, http, "?cell_id=FFFFFFF", about="layer2_meas")
        assert set(of_none) == {"timeStamp"}
        status, _, of_counter = await asked(listening, http, "?dl_nongbr_delay_ue=1&gtp_teid=2", about="layer2_meas")
        assert (status, of_counter["cellInfo"]) == (200, whole["cellInfo"])
        assert (await asked(listening, http, "?dl_nongbr_delay_cell=1", about="layer2_meas"))[:2] == (400, b"")


async def test_bearers_of_the_core_network_are_not_implemented() -> None:
    async with driving() as (listening, http):
        assert (await asked(listening, http, about="s1_bearer_info"))[:2] == (501, b"")
