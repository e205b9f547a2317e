"""Application support (MEC 011) over a real port: the order of a MEC app's life, and what is refused out of order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote

import aiohttp
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pillion.sandbox.faults import Fault
from pillion.sandbox.server import sandbox
from tests.sandbox.callbacks import callbacks
from tests.sandbox.junk import is_about_decoding, spoiled
from tests.sandbox.lockstep import Lockstep, lockstep
from tests.sandbox.mec_apps import (
    APPLICATIONS,
    NOT_READY,
    SERVICES,
    SUPPORT,
    UNKNOWN,
    device,
    make_app,
    register,
    service,
    subscribe_to_termination,
)

TERMINATING = {"operationAction": "TERMINATING"}
SUBSCRIPTION = {
    "subscriptionType": "AppTerminationNotificationSubscription",
    "callbackReference": "http://127.0.0.1:9/end?at=100%25",
    "appInstanceId": "a1",
}


async def status(s: Lockstep, method: str, path: str, body: object = None) -> int:
    return (await s.send(method, path, body)).status


async def test_a_mec_app_is_made_gets_ready_subscribes_is_told_to_end_confirms_and_is_gone() -> None:
    async with lockstep() as s:
        await make_app(s, "a1")
        made = await subscribe_to_termination(s, "a1", "end")
        url = f"{s.listening.api_url}/{SUPPORT}"
        assert await status(s, "DELETE", f"{APPLICATIONS}/a1") == 204
        await s.live.told()
        assert s.callbacks.documents("end") == [
            {
                "notificationType": "AppTerminationNotification",
                "operationAction": "TERMINATING",
                "maxGracefulTimeout": 10,
                "_links": {
                    "subscription": {"href": made.location},
                    "confirmTermination": {"href": f"{url}/confirm_termination"},
                },
            }
        ]
        assert (await s.send("GET", f"{APPLICATIONS}?app=cam")).document == []
        assert await status(s, "GET", f"{SUPPORT}/applications/a1/subscriptions") == 200
        assert await status(s, "POST", f"{SUPPORT}/applications/a1/confirm_termination", TERMINATING) == 204
        answer = await s.send("GET", f"{SUPPORT}/applications/a1/subscriptions")
        assert (answer.status, answer.document) == (404, UNKNOWN)


async def test_by_specification_the_link_to_confirm_with_names_the_instance_and_works() -> None:
    async with lockstep(strict=True) as s:
        await make_app(s, "a1")
        await subscribe_to_termination(s, "a1", "end")
        await s.send("DELETE", f"{APPLICATIONS}/a1")
        await s.live.told()
        (told,) = s.callbacks.documents("end")
        assert await status(s, "POST", told["_links"]["confirmTermination"]["href"], TERMINATING) == 204
        assert await status(s, "GET", f"{SUPPORT}/applications/a1/subscriptions") == 404


async def test_an_app_that_does_not_confirm_is_gone_after_ten_simulated_seconds() -> None:
    async with lockstep() as s:
        await make_app(s, "a1")
        await subscribe_to_termination(s, "a1", "end")
        await s.tick(3)
        await s.send("DELETE", f"{APPLICATIONS}/a1")
        await s.tick(9)
        assert await status(s, "GET", f"{SUPPORT}/applications/a1/subscriptions") == 200
        await s.tick()
        assert await status(s, "GET", f"{SUPPORT}/applications/a1/subscriptions") == 404
        await s.tick(20)
        assert len(s.callbacks.documents("end")) == 1


@asynccontextmanager
async def by_the_clock() -> AsyncIterator[Lockstep]:
    """A sandbox that ticks by itself once it is driven, which nobody does."""
    async with callbacks() as taking, sandbox(port=0, control_port=0) as listening, aiohttp.ClientSession() as http:
        yield Lockstep(listening, http, taking)


@pytest.mark.looptime
async def test_an_app_that_does_not_confirm_is_gone_after_ten_seconds_though_nothing_moves() -> None:
    async with by_the_clock() as s:
        await make_app(s, "a1")
        await subscribe_to_termination(s, "a1", "end")
        await s.send("DELETE", f"{APPLICATIONS}/a1")
        await asyncio.sleep(9)
        assert await status(s, "GET", f"{SUPPORT}/applications/a1/subscriptions") == 200
        await asyncio.sleep(1.1)
        assert await status(s, "GET", f"{SUPPORT}/applications/a1/subscriptions") == 404
        assert s.live.world.ticks == 0


@pytest.mark.looptime
async def test_an_app_that_confirmed_takes_none_of_the_time_of_the_next_one_of_its_id() -> None:
    async with by_the_clock() as s:
        for wait_s in (6, 6):
            await make_app(s, "a1")
            await subscribe_to_termination(s, "a1", "end")
            await s.send("DELETE", f"{APPLICATIONS}/a1")
            await asyncio.sleep(wait_s)
            assert await status(s, "POST", f"{SUPPORT}/applications/a1/confirm_termination", TERMINATING) == 204


async def test_an_app_that_nobody_asked_to_be_told_of_is_gone_at_once() -> None:
    async with lockstep() as s:
        await make_app(s, "a1")
        assert await status(s, "DELETE", f"{APPLICATIONS}/a1") == 204
        assert await status(s, "POST", f"{SUPPORT}/applications/a1/confirm_ready", {"indication": "READY"}) == 404
        await make_app(s, "a1", ready=False)
        answer = await s.send("GET", f"{SUPPORT}/applications/a1/subscriptions")
        assert (answer.status, answer.document) == (403, NOT_READY)


async def test_a_leaving_app_s_id_cannot_be_given_again_until_it_is_gone() -> None:
    async with lockstep() as s:
        await make_app(s, "a1")
        await subscribe_to_termination(s, "a1", "end")
        await s.send("DELETE", f"{APPLICATIONS}/a1")
        again = {"id": "a1", "name": "cam", "nodeName": "mep1"}
        url = f"{s.listening.api_url}/{APPLICATIONS}"
        async with aiohttp.ClientSession() as http, http.post(url, json=again) as answer:
            assert (answer.status, await answer.text()) == (400, "AppInstanceId already exists\n")
        assert await status(s, "DELETE", f"{APPLICATIONS}/a1") == 204
        await s.tick(10)
        assert len(s.callbacks.documents("end")) == 1, "to delete it again changes nothing"
        await make_app(s, "a1")


async def test_a_callback_that_confirms_before_it_answers_waits_for_itself_but_not_by_specification() -> None:
    for strict in (False, True):
        async with lockstep(strict=strict) as s:
            await make_app(s, "a1")
            await subscribe_to_termination(s, "a1", "end")
            s.callbacks.hold()
            await s.send("DELETE", f"{APPLICATIONS}/a1")
            await s.callbacks.arrived(1)
            confirm = s.send("POST", f"{SUPPORT}/applications/a1/confirm_termination", TERMINATING)
            confirming = asyncio.create_task(confirm, name="confirm from within the callback")
            done, _ = await asyncio.wait([confirming], timeout=0.3)
            assert bool(done) is strict
            s.callbacks.release()
            assert (await confirming).status == 204


PER_APP = [
    ("GET", "subscriptions", None),
    ("POST", "subscriptions", SUBSCRIPTION),
    ("GET", "subscriptions/sub-x", None),
    ("DELETE", "subscriptions/sub-x", None),
    ("POST", "confirm_termination", TERMINATING),
]


@pytest.mark.parametrize(("method", "path", "body"), PER_APP)
async def test_a_call_for_an_app_is_404_without_it_and_403_before_it_is_ready(
    method: str, path: str, body: object
) -> None:
    async with lockstep() as s:
        for expected in ((404, UNKNOWN), (403, NOT_READY)):
            answer = await s.send(method, f"{SUPPORT}/applications/a1/{path}", body)
            assert (answer.status, answer.document) == expected
            if expected[0] == 404:
                await make_app(s, "a1", ready=False)


@pytest.mark.parametrize("body", [{}, {"indication": ""}, {"indication": "ready"}])
async def test_only_ready_makes_an_app_ready(body: object) -> None:
    async with lockstep() as s:
        await make_app(s, "a1", ready=False)
        assert await status(s, "POST", f"{SUPPORT}/applications/a1/confirm_ready", body) == 400
        assert await status(s, "GET", f"{SUPPORT}/applications/a1/subscriptions") == 403


async def test_a_termination_that_is_not_pending_or_not_meant_cannot_be_confirmed() -> None:
    async with lockstep() as s:
        await make_app(s, "a1")
        await subscribe_to_termination(s, "a1", "end")
        confirm = f"{SUPPORT}/applications/a1/confirm_termination"
        assert await status(s, "POST", confirm, TERMINATING) == 400
        await s.send("DELETE", f"{APPLICATIONS}/a1")
        for body in ({}, {"operationAction": "DANCING"}):
            assert await status(s, "POST", confirm, body) == 400
        assert await status(s, "POST", confirm, {"operationAction": "STOPPING"}) == 204


async def test_a_subscription_is_found_by_its_location_listed_with_rel_and_ended() -> None:
    async with lockstep() as s:
        await make_app(s, "a1")
        await make_app(s, "a2")
        listed = f"{SUPPORT}/applications/a1/subscriptions"
        own = {"self": {"href": f"{s.listening.api_url}/{listed}"}}
        assert (await s.send("GET", listed)).document == {"_links": own}
        made = await s.send("POST", listed, SUBSCRIPTION)
        assert made.status == 201
        assert made.location is not None
        id_ = made.location.removeprefix(f"{own['self']['href']}/")
        assert id_.startswith("sub-")
        assert len(id_) == 20
        assert made.document == SUBSCRIPTION | {"_links": {"self": {"href": made.location}}}
        assert (await s.send("GET", made.location)).document == made.document
        link = {"href": made.location, "rel": "AppTerminationNotificationSubscription"}
        assert (await s.send("GET", listed)).document == {"_links": own | {"subscriptions": [link]}}
        other = made.location.replace("/a1/", "/a2/")
        for method in ("GET", "DELETE"):
            answer = await s.send(method, other)
            assert (answer.status, answer.document["detail"]) == (404, "Subscription not found")
        assert await status(s, "DELETE", made.location) == 204
        assert await status(s, "GET", made.location) == 404
        assert await status(s, "DELETE", made.location) == 404


@pytest.mark.parametrize(
    "members",
    [
        {"subscriptionType": "SerAvailabilityNotificationSubscription"},
        {"subscriptionType": None},
        {"callbackReference": ""},
        {"appInstanceId": None},
        {"appInstanceId": "a2"},
    ],
)
async def test_a_subscription_that_lacks_something_or_names_another_app_is_refused(members: dict[str, object]) -> None:
    async with lockstep() as s:
        await make_app(s, "a1")
        answer = await s.send("POST", f"{SUPPORT}/applications/a1/subscriptions", SUBSCRIPTION | members)
        assert (answer.status, answer.document["status"]) == (400, 400)


async def test_an_app_that_is_gone_takes_its_services_with_it() -> None:
    async with lockstep() as s:
        await make_app(s, "a1")
        made = await s.send("POST", f"{SERVICES}/applications/a1/services", service())
        assert await status(s, "GET", f"{SERVICES}/services/{made.document['serInstanceId']}") == 200
        await s.send("DELETE", f"{APPLICATIONS}/a1")
        assert await status(s, "GET", f"{SERVICES}/services/{made.document['serInstanceId']}") == 404


async def test_the_time_is_told_in_whole_seconds() -> None:
    async with lockstep() as s:
        caps = (await s.send("GET", f"{SUPPORT}/timing/timing_caps")).document
        now = (await s.send("GET", f"{SUPPORT}/timing/current_time")).document
        assert abs(now.pop("seconds") - time.time()) < 5
        assert now == {"nanoSeconds": 0, "timeSourceStatus": "TRACEABLE"}
        assert abs(caps["timeStamp"].pop("seconds") - time.time()) < 5
        assert caps == {"timeStamp": {"nanoSeconds": 0}}


@pytest.mark.parametrize("rules", ["dns_rules", "traffic_rules"])
async def test_rules_are_not_implemented(rules: str) -> None:
    async with lockstep() as s:
        for method, path in (("GET", rules), ("GET", f"{rules}/1"), ("PUT", f"{rules}/1")):
            answer = await s.send(method, f"{SUPPORT}/applications/a1/{path}", {})
            assert (answer.status, answer.document) == (501, None)


async def test_a_mec_platform_has_the_same_apps_under_links_of_its_own() -> None:
    async with lockstep() as s:
        await make_app(s, "a1")
        below = f"{s.listening.api_url}/mep1/{SUPPORT}/applications/a1/subscriptions"
        made = await s.send("POST", below, SUBSCRIPTION)
        assert made.location is not None
        assert made.location.startswith(f"{below}/sub-")
        assert await status(s, "GET", made.location.replace("/mep1/", "/")) == 200


@given(st.data())
@settings(deadline=None, max_examples=10, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow])
async def test_whatever_is_sent_is_granted_or_refused(data: st.DataObject) -> None:
    async with lockstep() as s:
        await make_app(s, "a1")
        await subscribe_to_termination(s, "a1", "end")
        goods: dict[str, dict[str, object]] = {
            "subscriptions": SUBSCRIPTION,
            "confirm_ready": {"indication": "READY"},
            "confirm_termination": TERMINATING,
        }
        await s.send("DELETE", f"{APPLICATIONS}/a1")
        for path, good in goods.items():
            answer = await s.send("POST", f"{SUPPORT}/applications/a1/{path}", data.draw(spoiled(good), label=path))
            assert answer.status in (201, 204, 400, 500)
            if answer.status == 500:
                assert is_about_decoding(answer.document["detail"])
        await s.tick(11)
        assert await status(s, "GET", f"{SUPPORT}/applications/a1/subscriptions") == 404


@pytest.mark.parametrize("id_", ["a/b", "a?b#c", "a\r\nX-Injected: yes", "ü %2F"])
async def test_whatever_id_an_instance_asked_for_its_links_lead_to_what_is_its_own(id_: str) -> None:
    async with lockstep(strict=True) as s:
        made = await s.send("POST", APPLICATIONS, {"id": id_, "name": "cam", "nodeName": "mep1"})
        assert made.status == 201
        path = quote(id_, safe="")
        assert await status(s, "POST", f"{SUPPORT}/applications/{path}/confirm_ready", {"indication": "READY"}) == 204
        body = SUBSCRIPTION | {"appInstanceId": id_, "callbackReference": s.callbacks.at("end")}
        subscribed = await s.send("POST", f"{SUPPORT}/applications/{path}/subscriptions", body)
        offered = await s.send("POST", f"{SERVICES}/applications/{path}/services", service())
        for each in (subscribed, offered):
            assert each.status == 201
            assert await status(s, "GET", each.location) == 200
        assert await status(s, "DELETE", f"{APPLICATIONS}/{path}") == 204
        await s.live.told()
        (told,) = s.callbacks.documents("end")
        assert await status(s, "POST", told["_links"]["confirmTermination"]["href"], TERMINATING) == 204


async def test_what_a_request_has_told_goes_wrong_on_demand_as_well() -> None:
    async with lockstep() as s:
        await make_app(s, "a1")
        await subscribe_to_termination(s, "a1", "end")
        s.live.faults.begin(Fault.LOST, 60)
        await s.send("DELETE", f"{APPLICATIONS}/a1")
        await s.live.told()
        assert s.callbacks.documents("end") == []


async def test_who_registers_or_deletes_waits_for_no_callback() -> None:
    async with lockstep() as s:
        for id_ in ("a1", "a2"):
            await make_app(s, id_)
            await subscribe_to_termination(s, id_, "end")
        s.callbacks.hold()
        await s.send("DELETE", f"{APPLICATIONS}/a1")
        await s.callbacks.arrived(1)
        async with asyncio.timeout(5):
            assert (await s.send("POST", f"{SERVICES}/applications/a2/services", service())).status == 201
            await register(s, "a2", device())
            assert await status(s, "DELETE", f"{APPLICATIONS}/a2") == 204
        s.callbacks.release()
