"""What UEs report of the cells they hear, over real ports: each tick, in the right numbers, to those who asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pillion.sandbox.geodesy import geodesic_m
from pillion.sandbox.rnis_notifications import event_of_measurement
from pillion.sandbox.scenario import Poa, Technology
from pillion.sandbox.world import User
from tests.sandbox.cities import monaco
from tests.sandbox.radio import (
    FIVE_G,
    FOUR_G,
    OTHER_4G,
    OTHER_5G,
    PLMN,
    PLMN_TOLD,
    POAS,
    VEHICLE,
    WIFI,
    Subscriber,
    ecgi,
    nrcgi,
    subscriber,
)


def heard_from(s: Subscriber, ue: str) -> tuple[str, dict[str, tuple[int, int]]]:
    """The serving POA, and of each POA of 4G and 5G in range what the UE reports: rsrp and rsrq."""
    user = s.live.world.user(ue)
    assert user is not None
    heard: dict[str, tuple[int, int]] = {}
    for poa in POAS.values():
        q = 1 - geodesic_m(user.at, poa.at) / poa.radius_m
        if q >= 0 and poa.technology is Technology.FOUR_G:
            heard[poa.id] = (int(40 + 30 * q), int(-2 + 30 * q))
        elif q >= 0 and poa.technology is Technology.FIVE_G:
            heard[poa.id] = (int(42 + 50 * q), int(47 + 30 * q))
    return user.poa, heard


def values(rsrp: int, rsrq: int, prefix: str = "rs") -> dict[str, int]:
    """As they are told of neighbours: without what is 0."""
    return {name: value for name, value in ((f"{prefix}rp", rsrp), (f"{prefix}rq", rsrq)) if value}


def report_of(s: Subscriber, ue: str) -> tuple[str, dict[str, Any]] | None:
    """The report that is due, by the name of its kind."""
    serving, heard = heard_from(s, ue)
    if serving not in heard:
        return None
    rsrp, rsrq = heard.pop(serving)
    lte = [
        {"ecgi": ecgi(poa)} | values(*signal)
        for poa, signal in heard.items()
        if POAS[poa].technology is Technology.FOUR_G
    ]
    nr = {poa: signal for poa, signal in heard.items() if POAS[poa].technology is Technology.FIVE_G}
    about = {"associateId": [{"type": 1, "value": ue}]}
    if POAS[serving].technology is Technology.FOUR_G:
        report: dict[str, Any] = {"ecgi": ecgi(serving), "rsrp": rsrp, "rsrq": rsrq, "trigger": 1}
        if lte:
            report["eutranNeighbourCellMeasInfo"] = lte
        if nr:
            report["newRadioMeasNeiInfo"] = [
                {"nrNCellInfo": [{"nrNCellGId": POAS[poa].cell_id, "nrNCellPlmn": [PLMN_TOLD]}]}
                | values(*signal, "nrNCellRs")
                for poa, signal in nr.items()
            ]
        return "MeasRepUe", about | report

    cell: dict[str, Any] = {
        "nrcgi": nrcgi(serving),
        "sCell": {"measQuantityResultsSsbCell": values(rsrp, rsrq)},
    }
    report = {"triggerNr": 1, "servCellMeasInfo": [cell]}
    if nr:
        cell["nCell"] = {"measQuantityResultsSsbCell": values(*list(nr.values())[-1])}
        report["nrNeighCellMeasInfo"] = [
            {"nrcgi": nrcgi(poa), "measQuantityResultsSsbCell": values(*signal)} for poa, signal in nr.items()
        ]
    elif lte:
        report["eutraNeighCellMeasInfo"] = lte
    return "NrMeasRepUe", about | report


async def subscribed_to_reports(s: Subscriber, criteria: dict[str, Any]) -> Callable[[str, dict[str, Any]], Any]:
    """Subscribe to both; gives what makes of a kind and its own members all that is told."""
    urls = {
        "MeasRepUe": await s.subscribe("MeasRepUe", "MeasRepUe", filterCriteriaAssocTri=criteria),
        "NrMeasRepUe": await s.subscribe("NrMeasRepUe", "NrMeasRepUe", filterCriteriaNrMrs=criteria),
    }

    def told(kind: str, report: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        links = {"_links": {"subscription": {"href": urls[kind]}}}
        return kind, {"notificationType": f"{kind}Notification"} | links | report

    return told


async def test_each_tick_the_vehicle_reports_what_it_hears_on_4g_one_way_and_on_5g_the_other() -> None:
    async with subscriber() as s:
        told = await subscribed_to_reports(s, {"associateId": [{"type": 1, "value": VEHICLE}]})
        s.live.drive(True)
        members: set[str] = set()
        for _ in range(225):
            reports = await s.tick()
            due = report_of(s, VEHICLE)
            assert due is not None, "the vehicle is on 4G or 5G all the way"
            assert reports == [told(*due)]
            members |= set(due[1]) | set(due[1].get("servCellMeasInfo", [{}])[0])
        assert members >= {"eutranNeighbourCellMeasInfo", "eutraNeighCellMeasInfo", "nrNeighCellMeasInfo", "nCell"}


async def test_on_4g_the_5g_cells_in_range_are_reported_beside_those_of_4g() -> None:
    async with subscriber() as s:
        told = await subscribed_to_reports(s, {"associateId": [{"type": 1, "value": VEHICLE}]})
        # 5G reaches the vehicle where it starts, and would serve it.
        await s.hand_over(OTHER_4G)
        due = report_of(s, VEHICLE)
        assert due is not None
        assert [each["nrNCellInfo"][0]["nrNCellGId"] for each in due[1]["newRadioMeasNeiInfo"]] == ["5555509"]
        assert await s.tick() == [told(*due)]


async def test_without_a_filter_every_ue_on_4g_and_5g_reports_and_those_on_wifi_do_not() -> None:
    async with subscriber() as s:
        told = await subscribed_to_reports(s, {"appInstanceId": "reports are not filtered by it"})
        s.live.drive(True)
        on_wifi = 0
        for _ in range(3):
            reports = await s.tick()
            due = [report_of(s, ue.id) for ue in monaco().ues]
            assert reports == [told(*each) for each in due if each]
            on_wifi += due.count(None)
        assert on_wifi, "no UE on WiFi: nothing is proved of them"


async def test_reports_can_be_filtered_by_the_serving_cell_alone() -> None:
    async with subscriber() as s:
        s.live.drive(True)
        await s.tick()
        serving, heard = heard_from(s, VEHICLE)
        assert POAS[serving].technology is Technology.FIVE_G
        neighbour = next(poa for poa in heard if POAS[poa].technology is Technology.FOUR_G)

        await s.subscribe("own", "NrMeasRepUe", filterCriteriaNrMrs={"nrcgi": [nrcgi(serving)]})
        await s.subscribe("other", "NrMeasRepUe", filterCriteriaNrMrs={"nrcgi": [nrcgi("5g-small-cell-20")]})
        await s.subscribe("heard", "MeasRepUe", filterCriteriaAssocTri={"ecgi": [ecgi(neighbour)]})
        s.live.drive(False)
        reports = await s.tick()
        users = {user.ue: user.poa for user in s.live.world.users()}

        def served_by(poa: str) -> list[str]:
            return [ue for ue, its in users.items() if its == poa]

        for name, poa in (("own", serving), ("other", "5g-small-cell-20"), ("heard", neighbour)):
            ues = [document["associateId"][0]["value"] for told_at, document in reports if told_at == name]
            assert ues == served_by(poa)
        assert VEHICLE in served_by(serving)


async def test_a_ue_that_is_served_from_out_of_range_reports_nothing() -> None:
    async with subscriber() as s:
        await subscribed_to_reports(s, {"associateId": [{"type": 1, "value": VEHICLE}]})
        await s.hand_over("4g-macro-cell-10")
        assert await s.tick() == []


@pytest.mark.parametrize(
    ("distance_m", "signal"),
    [(0.0, (70, 28)), (13.0, (69, 27)), (200.0, (55, 13)), (380.0, (41, 0)), (400.0, (40, -2))],
)
def test_a_4g_cell_is_heard_by_distance_and_a_neighbour_s_zero_is_left_out(
    distance_m: float, signal: tuple[int, int]
) -> None:
    here, own, other = POAS[FOUR_G].at, POAS[FOUR_G], POAS[OTHER_4G]
    event = event_of_measurement(User(VEHICLE, own.id, own.zone, here), [(own, distance_m), (other, distance_m)], PLMN)
    assert event is not None
    assert (event.facts["rsrp"], event.facts["rsrq"]) == signal
    neighbours = event.facts["eutranNeighbourCellMeasInfo"]
    assert neighbours == [{"ecgi": ecgi(OTHER_4G)} | values(*signal)]


@pytest.mark.parametrize(("distance_m", "signal"), [(0.0, (92, 77)), (50.5, (66, 61)), (100.0, (42, 47))])
def test_a_5g_cell_is_heard_by_distance_and_the_last_5g_neighbour_is_the_one_by_its_side(
    distance_m: float, signal: tuple[int, int]
) -> None:
    own, near, far = POAS[FIVE_G], POAS[OTHER_5G], POAS["5g-small-cell-7"]
    heard: list[tuple[Poa, float]] = [
        (near, 1.0),
        (own, distance_m),
        (far, 99.0),
        (POAS[FOUR_G], 1.0),
        (POAS[WIFI], 1.0),
    ]
    event = event_of_measurement(User(VEHICLE, own.id, own.zone, own.at), heard, PLMN)
    assert event is not None
    cells: Any = event.facts["servCellMeasInfo"]
    (serving,) = cells
    assert serving["sCell"] == {"measQuantityResultsSsbCell": {"rsrp": signal[0], "rsrq": signal[1]}}
    assert serving["nCell"] == {"measQuantityResultsSsbCell": {"rsrp": 42, "rsrq": 47}}
    assert "eutraNeighCellMeasInfo" not in event.facts
