"""Requests about subscriptions of the Location API v2, over real ports."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.sandbox.location_v2 import KEYS, SUBSCRIPTIONS, WHOLE, body_of, subscribe
from tests.sandbox.lockstep import Answer, lockstep

TYPE = "application/json; charset=UTF-8"


@pytest.mark.parametrize("kind", KEYS)
async def test_a_subscription_is_answered_as_it_is_kept_changed_and_removed(kind: str) -> None:
    async with lockstep() as s:
        url = f"{s.listening.api_url}/{SUBSCRIPTIONS}/{kind}"
        made = await subscribe(s, kind, clientCorrelator="c1")
        (stored,) = made.document.values()
        assert made.location is None, "the original sends none"
        assert made.media_type == TYPE
        assert stored["resourceURL"] == f"{url}/1"
        assert stored["clientCorrelator"] == "c1"
        assert stored.items() >= WHOLE[kind].items()
        assert (await s.send("GET", f"{url}/1")).document == made.document == {KEYS[kind]: stored}

        changed = stored | {"clientCorrelator": "c2", "resourceURL": "any/1"}
        put = await s.send("PUT", f"{url}/1", {KEYS[kind]: changed})
        assert (put.status, put.document) == (200, {KEYS[kind]: stored | {"clientCorrelator": "c2"}})

        await subscribe(s, kind)
        listed = (await s.send("GET", url)).document["notificationSubscriptionList"]
        assert listed["resourceURL"] == url
        assert [each["resourceURL"] for each in listed[KEYS[kind]]] == [f"{url}/1", f"{url}/2"]
        assert listed[KEYS[kind]][0] == put.document[KEYS[kind]]

        for id_, status in (("1", 204), ("1", 404), ("2", 204)):
            assert await s.send("DELETE", f"{url}/{id_}") == Answer(status, None, None, TYPE)
        assert await s.send("GET", f"{url}/1") == Answer(404, None, None, TYPE)
        assert (await s.send("GET", url)).document == {"notificationSubscriptionList": {"resourceURL": url}}


async def test_ids_are_counted_for_each_kind_and_not_used_again() -> None:
    async with lockstep() as s:
        for kind in KEYS:
            (stored,) = (await subscribe(s, kind)).document.values()
            assert stored["resourceURL"].endswith(f"/{kind}/1")
        await s.send("DELETE", f"{SUBSCRIPTIONS}/periodic/1")
        (stored,) = (await subscribe(s, "periodic")).document.values()
        assert stored["resourceURL"].endswith("/periodic/2")


async def test_one_platform_s_subscription_is_seen_by_all_with_the_path_it_was_made_by() -> None:
    async with lockstep() as s:
        made = await s.send(
            "POST", f"mep1/{SUBSCRIPTIONS}/userTracking", body_of("userTracking", s.callbacks.at("told"))
        )
        url = made.document["userTrackingSubscription"]["resourceURL"]
        assert url == f"{s.listening.api_url}/mep1/{SUBSCRIPTIONS}/userTracking/1"
        assert (await s.send("GET", f"{SUBSCRIPTIONS}/userTracking/1")).document == made.document


@pytest.mark.parametrize(
    ("kind", "missing"),
    [
        (kind, name)
        for kind, members in WHOLE.items()
        for name in members
        if name not in ("referenceAddress", "distance")
    ]
    + [(kind, "callbackReference") for kind in KEYS],
)
@pytest.mark.parametrize("nothing", ["absent", "null"])
async def test_what_is_mandatory_is_named_when_it_is_missing(kind: str, missing: str, nothing: str) -> None:
    async with lockstep() as s:
        body = body_of(kind, s.callbacks.at("told"))
        if nothing == "null":
            body[KEYS[kind]][missing] = None
        else:
            del body[KEYS[kind]][missing]
        answer = await s.send("POST", f"{SUBSCRIPTIONS}/{kind}", body)
        assert answer.status == 400
        assert missing in answer.document["detail"]
        assert answer.document["status"] == 400
        assert (await s.send("GET", f"{SUBSCRIPTIONS}/{kind}/1")).status == 404


@pytest.mark.parametrize(
    ("kind", "members"),
    [
        ("area/circle", {"latitude": 0}),
        ("area/circle", {"longitude": 0.0}),
        ("area/circle", {"radius": 0}),
        ("area/circle", {"frequency": 0}),
        ("area/circle", {"enteringLeavingCriteria": "Transferring"}),
        ("distance", {"frequency": -1}),
        ("periodic", {"frequency": 0}),
        ("userTracking", {"address": ""}),
        ("zonalTraffic", {"callbackReference": {"callbackData": "x"}}),
        ("zoneStatus", {"callbackReference": {"notifyURL": ""}}),
    ],
)
async def test_a_zero_or_a_word_that_means_nothing_is_refused(kind: str, members: dict[str, object]) -> None:
    async with lockstep() as s:
        answer = await s.send("POST", f"{SUBSCRIPTIONS}/{kind}", body_of(kind, "http://127.0.0.1/", members))
        assert answer.status == 400
        assert next(iter(members)) in answer.document["detail"]


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 500),
        (b"[]", 500),
        (b"", 500),
        (b'{"%s": []}', 500),
        (b'{"%s": {"callbackReference": "http://127.0.0.1/"}}', 500),
        (b'{"%s": {"callbackReference": {"notifyURL": 1}}}', 500),
        (b"{}", 400),
        (b'{"%s": null}', 400),
        (b'{"notifyURL": "http://127.0.0.1/"}', 400),
    ],
)
async def test_what_cannot_be_decoded_is_a_500_and_what_is_not_there_a_400(kind: str, body: bytes, status: int) -> None:
    async with lockstep() as s:
        answer = await s.send("POST", f"{SUBSCRIPTIONS}/{kind}", body.replace(b"%s", KEYS[kind].encode()))
        assert answer.status == answer.document["status"] == status
        assert answer.media_type == TYPE


async def test_a_member_that_is_ignored_has_to_be_of_its_type_all_the_same() -> None:
    async with lockstep() as s:
        body = body_of("zonalTraffic", "http://127.0.0.1/", {"duration": "60"})
        assert (await s.send("POST", f"{SUBSCRIPTIONS}/zonalTraffic", body)).status == 500


@pytest.mark.parametrize(
    ("url", "id_", "status"),
    [("x/2", "1", 400), (None, "1", 400), ("", "1", 400), ("x/9", "9", 404), ("x/one", "one", 404)],
)
async def test_a_put_has_to_name_the_subscription_in_its_body_too(url: str | None, id_: str, status: int) -> None:
    async with lockstep() as s:
        made = await subscribe(s, "userTracking")
        body = body_of("userTracking", s.callbacks.at("other"), {"resourceURL": url} if url is not None else {})
        answer = await s.send("PUT", f"{SUBSCRIPTIONS}/userTracking/{id_}", body)
        assert answer.status == status
        assert (answer.document is None) == (status == 404)
        assert (await s.send("GET", f"{SUBSCRIPTIONS}/userTracking/1")).document == made.document


async def test_strict_answers_have_a_location_and_problem_details() -> None:
    async with lockstep(strict=True) as s:
        made = await subscribe(s, "userTracking")
        assert made.location == made.document["userTrackingSubscription"]["resourceURL"]
        for body, status in ((b"{", 400), (b"{}", 400)):
            answer = await s.send("POST", f"{SUBSCRIPTIONS}/userTracking", body)
            assert (answer.status, answer.document["status"]) == (status, status)
            assert answer.media_type == "application/problem+json"
        assert (await s.send("DELETE", f"{SUBSCRIPTIONS}/userTracking/7")).document["title"] == "Not Found"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.data())
# Each example is a whole sandbox: shrinking one would take minutes, and says little more.
@settings(deadline=None, max_examples=10, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow])
async def test_whatever_is_sent_is_answered_and_the_world_ticks_on(data: st.DataObject) -> None:
    async with lockstep() as s:
        s.live.drive(True)
        await subscribe(s, "periodic", "still")
        for kind, members in WHOLE.items():
            names = st.sampled_from(
                [*members, "callbackReference", "count", "duration", "userEventCriteria", "distance"]
            )
            wrong = data.draw(st.dictionaries(names, _JSON | st.floats(-1e308, 1e308), max_size=3), label=kind)
            url = data.draw(st.just(s.callbacks.at("told")) | st.text(min_size=1, max_size=20), label="notifyURL")
            answer = await s.send("POST", f"{SUBSCRIPTIONS}/{kind}", body_of(kind, url, wrong))
            assert answer.status in (201, 400, 500)
            if answer.status == 500:
                assert "wrong type" in answer.document["detail"]
        for body in (_JSON, st.binary(max_size=20)):
            drawn = data.draw(body, label="body")
            assert (await s.send("POST", f"{SUBSCRIPTIONS}/distance", drawn)).status in (201, 400, 500)
        await s.tick(3)
        assert len(s.callbacks.documents("still")) == 3


async def test_with_the_scenario_all_subscriptions_end_and_ids_begin_at_1_again() -> None:
    async with lockstep() as s:
        for kind in KEYS:
            await subscribe(s, kind)
        s.live.drive(True)
        await s.tick()
        s.callbacks.taken()
        s.live.terminate()
        for path, key in (("users", "userList"), ("zones", "zoneList")):
            url = f"{s.listening.api_url}/location/v2/queries/{path}"
            assert (await s.send("GET", url)).document == {key: {"resourceURL": url}}
        for kind in KEYS:
            url = f"{s.listening.api_url}/{SUBSCRIPTIONS}/{kind}"
            assert (await s.send("GET", url)).document == {"notificationSubscriptionList": {"resourceURL": url}}
        s.live.activate("monaco")
        s.live.drive(True)
        await s.tick(2)
        assert s.callbacks.received == []
        for kind in KEYS:
            (stored,) = (await subscribe(s, kind)).document.values()
            assert stored["resourceURL"].endswith("/1")
