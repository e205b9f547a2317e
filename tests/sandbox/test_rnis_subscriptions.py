"""Subscriptions to the radio network over a real port: made, listed, changed, ended; and what is refused."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pillion.sandbox.server import Listening, sandbox
from tests.sandbox.junk import JUNK, spoiled

TYPE = "application/json; charset=UTF-8"
NOWHERE = "http://127.0.0.1:9/nobody"
"""A callback that refuses at once: port 9 has no server."""
PLMN = {"mcc": "001", "mnc": "001"}
ECGI = {"cellId": "4040404", "plmn": PLMN}
NRCGI = {"nrcellId": "5555509", "plmn": PLMN}
UE = {"type": 1, "value": "10.100.0.2"}

FULL: dict[str, dict[str, Any]] = {
    "CellChange": {
        "filterCriteriaAssocHo": {"appInstanceId": "a1", "associateId": [UE], "ecgi": [ECGI], "hoStatus": [1, 3]},
        "expiryDeadline": {"nanoSeconds": 5, "seconds": 2_000_000_000},
        "requestTestNotification": True,
        "websockNotifConfig": {"requestWebsocketUri": True, "websocketUri": "ws://x/y"},
    },
    "RabEst": {"filterCriteriaQci": {"appInstanceId": "a1", "ecgi": [ECGI], "qci": 9}},
    "RabRel": {"filterCriteriaQci": {"appInstanceId": "a1", "ecgi": [ECGI], "qci": 9, "erabId": 7}},
    "MeasRepUe": {"filterCriteriaAssocTri": {"associateId": [UE], "ecgi": [ECGI], "trigger": [1, 10]}},
    "NrMeasRepUe": {"filterCriteriaNrMrs": {"associateId": [UE], "nrcgi": [NRCGI], "triggerNr": [1, 10]}},
}
"""Of each kind a subscription with all that it can have."""


def body_of(kind: str, **members: object) -> dict[str, Any]:
    return {"subscriptionType": f"{kind}Subscription", "callbackReference": NOWHERE} | FULL[kind] | members


class Client:
    """One client of one sandbox in lockstep."""

    def __init__(self, listening: Listening, http: aiohttp.ClientSession) -> None:
        self.live = listening.live
        self.url = f"{listening.api_url}/rni/v2/subscriptions"
        self._http = http

    async def call(self, method: str, path: str = "", body: object = None) -> tuple[int, Any]:
        """Status, and the JSON or the empty body of the answer; `body` is JSON, or bytes as they are."""
        data = body if isinstance(body, bytes) else orjson.dumps(body) if body is not None else None
        url = path if path.startswith("http") else f"{self.url}{path}"
        async with self._http.request(method, url, data=data) as answer:
            assert answer.headers["Content-Type"] == TYPE
            assert "Location" not in answer.headers
            raw = await answer.read()
            return answer.status, orjson.loads(raw) if raw else b""

    async def subscribe(self, kind: str, **members: object) -> dict[str, Any]:
        status, made = await self.call("POST", body=body_of(kind, **members))
        assert status == 201
        assert isinstance(made, dict)
        return made

    async def listed(self, query: str = "") -> list[tuple[str, str]]:
        status, answer = await self.call("GET", query)
        assert status == 200
        assert answer["_links"]["self"] == {"href": self.url}
        return [
            (each["href"].removeprefix(self.url), each["subscriptionType"])
            for each in answer["_links"].get("subscription", [])
        ]


@asynccontextmanager
async def client() -> AsyncIterator[Client]:
    async with sandbox(port=0, control_port=0, lockstep=True) as listening, aiohttp.ClientSession() as http:
        yield Client(listening, http)


async def test_each_kind_is_kept_as_it_was_sent_with_a_link_and_the_next_id_of_one_sequence() -> None:
    async with client() as c:
        for id_, kind in enumerate(FULL, start=1):
            made = await c.subscribe(kind)
            assert made == body_of(kind) | {"_links": {"self": {"href": f"{c.url}/{id_}"}}}
            assert await c.call("GET", f"/{id_}") == (200, made)


async def test_what_is_absent_is_filled_in_and_what_is_empty_or_unknown_is_left_out() -> None:
    async with client() as c:
        bare: dict[str, Any] = {"associateId": [], "ecgi": None, "appInstanceId": "", "colour": "red"}
        assert (await c.subscribe("CellChange", filterCriteriaAssocHo=bare, expiryDeadline={}, colour="red")) == {
            "_links": {"self": {"href": f"{c.url}/1"}},
            "subscriptionType": "CellChangeSubscription",
            "callbackReference": NOWHERE,
            "filterCriteriaAssocHo": {"hoStatus": [3]},
            "expiryDeadline": {"nanoSeconds": 0, "seconds": 0},
            "requestTestNotification": True,
            "websockNotifConfig": {"requestWebsocketUri": True, "websocketUri": "ws://x/y"},
        }
        made = await c.subscribe("MeasRepUe", filterCriteriaAssocTri={})
        assert made["filterCriteriaAssocTri"] == {"trigger": [1]}
        made = await c.subscribe("NrMeasRepUe", filterCriteriaNrMrs={"triggerNr": [20]})
        assert made["filterCriteriaNrMrs"] == {"triggerNr": [20, 1]}


@pytest.mark.parametrize("type_", ["RabModSubscription", "MeasTaSubscription", "CaReconfSubscription", "S1", "", None])
async def test_a_type_that_the_original_does_not_have_is_a_400_without_a_word(type_: str | None) -> None:
    async with client() as c:
        assert await c.call("POST", body=body_of("RabEst", subscriptionType=type_)) == (400, b"")


INCOMPLETE: list[tuple[str, dict[str, object], str]] = [
    ("CellChange", {"callbackReference": None}, "callbackReference"),
    ("CellChange", {"callbackReference": "", "subscriptionType": "none"}, "callbackReference"),
    ("CellChange", {"filterCriteriaAssocHo": None}, "filterCriteriaAssocHo"),
    ("RabEst", {"filterCriteriaQci": {}}, "filterCriteriaQci.qci"),
    ("RabEst", {"filterCriteriaQci": {"qci": 0}}, "filterCriteriaQci.qci"),
    ("RabRel", {"filterCriteriaQci": {"qci": 80}}, "filterCriteriaQci.erabId"),
    ("RabRel", {"filterCriteriaQci": {"qci": 80, "erabId": 0}}, "filterCriteriaQci.erabId"),
    ("MeasRepUe", {"filterCriteriaAssocTri": {"ecgi": [ECGI, {"plmn": PLMN}]}}, "filterCriteriaAssocTri.ecgi.cellId"),
    ("MeasRepUe", {"filterCriteriaAssocTri": {"ecgi": [{"cellId": "1"}]}}, "filterCriteriaAssocTri.ecgi.plmn"),
    ("NrMeasRepUe", {"filterCriteriaNrMrs": {"nrcgi": [{"nrCellId": "1"} | {"plmn": {}}]}}, "nrcgi.nrcellId"),
]


@pytest.mark.parametrize(("kind", "members", "missing"), INCOMPLETE)
async def test_what_is_missing_is_named_and_takes_no_id(kind: str, members: dict[str, object], missing: str) -> None:
    async with client() as c:
        status, refusal = await c.call("POST", body=body_of(kind, **members))
        assert (status, refusal["status"]) == (400, 400)
        assert missing in refusal["detail"]
        assert (await c.subscribe("RabEst"))["_links"]["self"]["href"] == f"{c.url}/1"


UNDECODABLE = [
    b"",
    b"{",
    b"[]",
    b"7",
    orjson.dumps(body_of("RabEst", callbackReference=7)),
    orjson.dumps(body_of("RabEst", filterCriteriaQci=[])),
    orjson.dumps(body_of("RabEst", filterCriteriaQci={"qci": "80"})),
    orjson.dumps(body_of("CellChange", filterCriteriaAssocHo={"associateId": [{"type": "UE_IPv4_ADDRESS"}]})),
    orjson.dumps(body_of("CellChange", expiryDeadline=2_000_000_000)),
]


@pytest.mark.parametrize("body", UNDECODABLE)
async def test_what_cannot_be_decoded_is_a_500_with_a_word(body: bytes) -> None:
    async with client() as c:
        for method, path in (("POST", ""), ("PUT", "/1")):
            status, refusal = await c.call(method, path, body)
            assert (status, refusal["status"]) == (500, 500)
            assert refusal["detail"]


async def test_by_specification_it_is_a_400_and_what_is_made_has_a_location() -> None:
    async with (
        sandbox(port=0, control_port=0, lockstep=True, strict=True) as listening,
        aiohttp.ClientSession() as http,
    ):
        url = f"{listening.api_url}/rni/v2/subscriptions"
        async with http.post(url, data=b"{") as answer:
            assert (answer.status, answer.content_type) == (400, "application/problem+json")
        async with http.post(url, json=body_of("RabEst")) as answer:
            assert (answer.status, answer.headers["Location"]) == (201, f"{url}/1")


async def test_subscriptions_are_listed_by_kind_and_an_empty_list_is_absent() -> None:
    async with client() as c:
        assert await c.call("GET") == (200, {"_links": {"self": {"href": c.url}}})
        for kind in (*FULL, "RabEst"):
            await c.subscribe(kind)
        types = [f"{kind}Subscription" for kind in (*FULL, "RabEst")]
        assert await c.listed() == [(f"/{id_}", type_) for id_, type_ in enumerate(types, start=1)]
        names = ("cell_change", "rab_est", "rab_rel", "meas_rep_ue", "nr_meas_rep_ue")
        for name, kind in zip(names, FULL, strict=True):
            found = await c.listed(f"?subscription_type={name}")
            assert {type_ for _, type_ in found} == {f"{kind}Subscription"}
            assert len(found) == 1 + (kind == "RabEst")
        for name in ("rab_mod", "timing_advance_ue", "ca_reconf", "s1_bearer"):
            assert await c.listed(f"?subscription_type={name}") == []
        for query in ("?subscription_type=everything", "?subscription_type=", "?type=rab_est"):
            assert await c.call("GET", query) == (400, b"")


async def test_what_was_ended_is_gone_and_its_id_is_not_given_again() -> None:
    async with client() as c:
        await c.subscribe("RabEst")
        assert await c.call("DELETE", "/1") == (204, b"")
        for method in ("GET", "DELETE"):
            assert await c.call(method, "/1") == (404, b"")
        assert (await c.subscribe("RabEst"))["_links"]["self"]["href"] == f"{c.url}/2"


async def test_a_changed_subscription_keeps_the_link_as_the_client_sent_it() -> None:
    async with client() as c:
        await c.subscribe("RabEst")
        link = {"_links": {"self": {"href": "proxy/seen/from/outside/1"}}}
        new = body_of("RabEst", filterCriteriaQci={"qci": 5}) | link
        assert await c.call("PUT", "/1", new) == (200, new)
        assert await c.call("GET", "/1") == (200, new)
        assert await c.listed() == [("proxy/seen/from/outside/1", "RabEstSubscription")]


async def test_a_change_needs_the_right_link_and_a_subscription_of_that_kind() -> None:
    async with client() as c:
        made = await c.subscribe("RabEst")
        wrong: list[object] = [
            None,
            {},
            {"self": {}},
            {"self": {"href": f"{c.url}/2"}},
            {"self": {"href": f"{c.url}/1/"}},
        ]
        for links in wrong:
            status, refusal = await c.call("PUT", "/1", made | {"_links": links})
            assert (status, refusal["status"]) == (400, 400)
            assert "_links.self.href" in refusal["detail"]
        assert await c.call("PUT", "/1", body_of("CellChange") | {"_links": made["_links"]}) == (404, b"")
        assert await c.call("PUT", "/2", made | {"_links": {"self": {"href": "2"}}}) == (404, b"")
        assert await c.call("GET", "/1") == (200, made)


async def test_when_the_scenario_ends_all_subscriptions_do_and_ids_start_at_1_again() -> None:
    async with client() as c:
        await c.subscribe("RabEst")
        await c.subscribe("CellChange")
        c.live.terminate()
        assert await c.listed() == []
        assert await c.call("GET", "/1") == (404, b"")
        c.live.activate("monaco")
        assert (await c.subscribe("CellChange"))["_links"]["self"]["href"] == f"{c.url}/1"


async def test_a_mec_platform_has_the_same_subscriptions_under_links_of_its_own() -> None:
    async with client() as c:
        below = c.url.replace("/rni/", "/mep1/rni/")
        status, made = await c.call("POST", below, body_of("RabEst"))
        assert (status, made["_links"]["self"]["href"]) == (201, f"{below}/1")
        assert (await c.call("GET", "/1")) == (200, made)


def full(kind: str) -> dict[str, Any]:
    """A good subscription with everything in it, as a PUT has it."""
    return body_of(kind) | {"_links": {"self": {"href": "1"}}}


@given(
    st.lists(
        st.sampled_from(sorted(FULL)).map(full).flatmap(spoiled) | JUNK | st.binary(max_size=12),
        min_size=1,
        max_size=15,
    )
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
async def test_whatever_is_sent_is_granted_or_refused_and_never_breaks_a_tick(bodies: list[Any]) -> None:
    async with client() as c:
        c.live.drive(True)
        for body in bodies:
            raw = body if isinstance(body, bytes) else json.dumps(body).encode()
            for method, path in (("POST", ""), ("PUT", "/1")):
                status, answer = await c.call(method, path, raw)
                assert status in ({201, 400, 500} if method == "POST" else {200, 400, 404, 500})
                if status == 500:
                    # What breaks on its way gets a 500 too, but not in these words.
                    assert answer["detail"].startswith("not ") or answer["detail"].endswith("wrong type")
        c.live.tick(1.0)
        await c.live.told()
