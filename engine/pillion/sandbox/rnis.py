"""The Radio Network Information API: what radio access bearers UEs have.

As in the original it knows 4G alone: a UE has a bearer (E-RAB) while a 4G POA serves it, and is not listed otherwise.
Source: ETSI GS MEC 012 V2.2.1, clause 7.3, as AdvantEDGE v1.9.2 implements it (meep-rnis).
"""

from __future__ import annotations

import time
from http import HTTPStatus

from aiohttp import web

from pillion.sandbox.answers import LIVE, Refused, json_response, present, refuse_unknown
from pillion.sandbox.scenario import Plmn, Poa

API = "rni/v2"

QCI = 80
"""Of every bearer; 3GPP TS 23.203 has it for low latency applications."""

_IPV4 = 1
_ACTING = ("app_ins_id", "cell_id", "ue_ipv4_address", "erab_id", "qci")
_IGNORED = (
    "ue_ipv6_address",
    "nated_ip_address",
    "gtp_teid",
    "erab_mbr_dl",
    "erab_mbr_ul",
    "erab_gbr_dl",
    "erab_gbr_ul",
)


def add_routes(app: web.Application, root: str) -> None:
    """Serve the API under `root`."""
    app.router.add_get(f"{root}/queries/rab_info", _rab_info)


async def _rab_info(request: web.Request) -> web.Response:
    """`queries/rab_info`: filters of one name are alternatives, filters of different names must all fit."""
    refuse_unknown(request, *_ACTING, *_IGNORED)
    query, world = request.query, request.app[LIVE].world
    cells, addresses = query.getall("cell_id", []), query.getall("ue_ipv4_address", [])
    bearers, qcis = _numbers(request, "erab_id"), _numbers(request, "qci")
    ues: dict[str, list[dict[str, object]]] = {}
    for user in world.users():
        fits = not addresses or user.ue in addresses
        if user.erab_id is not None and fits and (not bearers or user.erab_id in bearers) and (not qcis or QCI in qcis):
            bearer = {"erabId": user.erab_id, "erabQosParameters": {"qci": QCI}}
            about: dict[str, object] = {"associateId": [{"type": _IPV4, "value": user.ue}], "erabInfo": [bearer]}
            ues.setdefault(user.poa, []).append(about)
    listed: list[dict[str, object]] = [
        {"ecgi": _ecgi(poa, world.scenario.plmn), "ueInfo": ues[poa.id]}
        for poa in world.scenario.poas
        if poa.id in ues and (not cells or poa.cell_id in cells)
    ]
    answer = {
        "appInstanceId": query.get("app_ins_id", ""),
        "requestId": "1",
        "timeStamp": {"nanoSeconds": 0, "seconds": int(time.time())},
    }
    return json_response(answer | present("cellUserInfo", listed))


def _ecgi(poa: Poa, plmn: Plmn) -> dict[str, object]:
    return {"cellId": poa.cell_id, "plmn": {"mcc": plmn.mcc, "mnc": plmn.mnc}}


def _numbers(request: web.Request, name: str) -> list[int]:
    """Raises Refused for what is no number."""
    try:
        return [int(value) for value in request.query.getall(name, [])]
    except ValueError:
        raise Refused(HTTPStatus.BAD_REQUEST) from None
