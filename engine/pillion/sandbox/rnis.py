"""The Radio Network Information API's queries: what radio access bearers UEs have, the network, the cells' counters.

As in the original it knows 4G alone: a UE has a bearer (E-RAB) while a 4G POA serves it, and is not listed otherwise.
Source: ETSI GS MEC 012 V2.2.1, clause 7, as AdvantEDGE v1.9.2 implements it (meep-rnis).
"""

from __future__ import annotations

from collections import Counter
from http import HTTPStatus

from aiohttp import web

from pillion.sandbox.answers import LIVE, Refused, json_response, not_implemented, present, refuse_unknown, time_stamp
from pillion.sandbox.rnis_data import QCI, Cell, associate_id, plmn_document
from pillion.sandbox.scenario import Technology

_UE_FILTERS = ("app_ins_id", "cell_id", "ue_ipv4_address")
_IGNORED_UE_FILTERS = ("ue_ipv6_address", "nated_ip_address", "gtp_teid")
_BEARER_FILTERS = ("erab_id", "qci")
_IGNORED_BEARER_FILTERS = ("erab_mbr_dl", "erab_mbr_ul", "erab_gbr_dl", "erab_gbr_ul")
_COUNTERS = (
    *(f"{way}_{kind}_prb_usage_cell" for way in ("dl", "ul") for kind in ("gbr", "nongbr", "total")),
    "received_dedicated_preambles_cell",
    "received_randomly_selected_preambles_low_range_cell",
    "received_randomly_selected_preambles_high_range_cell",
    *(f"number_of_active_ue_{way}_{kind}_cell" for way in ("dl", "ul") for kind in ("gbr", "nongbr")),
    *(f"{way}_{kind}_pdr_cell" for way in ("dl", "ul") for kind in ("gbr", "nongbr")),
    *(
        f"{way}_{kind}_{counter}_ue"
        for counter in ("delay", "pdr", "throughput", "data_volume")
        for way in ("dl", "ul")
        for kind in ("gbr", "nongbr")
    ),
)
"""What layer2_meas may be asked to tell; it tells what it has."""


def add_routes(app: web.Application, root: str) -> None:
    """Serve the API under `root`."""
    app.router.add_get(f"{root}/queries/rab_info", _rab_info)
    app.router.add_get(f"{root}/queries/plmn_info", _plmn_info)
    app.router.add_get(f"{root}/queries/layer2_meas", _layer2_meas)
    app.router.add_get(f"{root}/queries/s1_bearer_info", not_implemented)


async def _rab_info(request: web.Request) -> web.Response:
    """`queries/rab_info`: filters of one name are alternatives, filters of different names must all fit."""
    refuse_unknown(request, *_UE_FILTERS, *_IGNORED_UE_FILTERS, *_BEARER_FILTERS, *_IGNORED_BEARER_FILTERS)
    query, world = request.query, request.app[LIVE].world
    cells, addresses = query.getall("cell_id", []), query.getall("ue_ipv4_address", [])
    bearers, qcis = _numbers(request, "erab_id"), _numbers(request, "qci")
    ues: dict[str, list[dict[str, object]]] = {}
    for user in world.users():
        fits = not addresses or user.ue in addresses
        if user.erab_id is not None and fits and (not bearers or user.erab_id in bearers) and (not qcis or QCI in qcis):
            bearer = {"erabId": user.erab_id, "erabQosParameters": {"qci": QCI}}
            about: dict[str, object] = {"associateId": [associate_id(user.ue)], "erabInfo": [bearer]}
            ues.setdefault(user.poa, []).append(about)
    listed: list[dict[str, object]] = [
        {"ecgi": Cell(world.scenario.plmn, poa.cell_id).ecgi(), "ueInfo": ues[poa.id]}
        for poa in world.scenario.poas
        if poa.id in ues and (not cells or poa.cell_id in cells)
    ]
    answer = {
        "appInstanceId": query.get("app_ins_id", ""),
        "requestId": "1",
        "timeStamp": time_stamp(),
    }
    return json_response(answer | present("cellUserInfo", listed))


async def _plmn_info(request: web.Request) -> web.Response:
    """`queries/plmn_info`: the one network there is, whoever asks; 404 if there is none."""
    refuse_unknown(request, "app_ins_id")
    live = request.app[LIVE]
    if not live.is_active:
        raise Refused(HTTPStatus.NOT_FOUND)
    network = {
        "appInstanceId": request.query.get("app_ins_id", ""),
        "plmn": [plmn_document(live.world.scenario.plmn)],
    }
    return json_response([network])


async def _layer2_meas(request: web.Request) -> web.Response:
    """`queries/layer2_meas`: every 4G cell with the UEs that are active in it, and each of these UEs.

    The original fills delay, loss and throughput from its network emulation. Ours has none, and what is 0 is absent in
    both. A filter by UE leaves the cells and their counters as they are.
    """
    refuse_unknown(request, *_UE_FILTERS, *_IGNORED_UE_FILTERS, *_COUNTERS)
    query, world = request.query, request.app[LIVE].world
    asked_cells, asked_ues = query.getall("cell_id", []), query.getall("ue_ipv4_address", [])
    cells = {
        poa.id: Cell(world.scenario.plmn, poa.cell_id)
        for poa in world.scenario.poas
        if poa.technology is Technology.FOUR_G and (not asked_cells or poa.cell_id in asked_cells)
    }
    users = [user for user in world.users() if user.poa in cells]
    active = Counter(cells[user.poa] for user in users)
    counted = ("number_of_active_ue_dl_nongbr_cell", "number_of_active_ue_ul_nongbr_cell")
    of_cells: list[dict[str, object]] = [
        {"ecgi": cell.ecgi()} | (dict.fromkeys(counted, active[cell]) if active[cell] else {})
        for cell in dict.fromkeys(cells.values())
    ]
    of_ues: list[dict[str, object]] = [
        {"associateId": associate_id(user.ue), "ecgi": cells[user.poa].ecgi()}
        for user in users
        if not asked_ues or user.ue in asked_ues
    ]
    answer = present("cellInfo", of_cells) | present("cellUEInfo", of_ues)
    return json_response(answer | {"timeStamp": time_stamp()})


def _numbers(request: web.Request, name: str) -> list[int]:
    """Raises Refused for what is no number."""
    try:
        return [int(value) for value in request.query.getall(name, [])]
    except ValueError:
        raise Refused(HTTPStatus.BAD_REQUEST) from None
