"""Service management (MEC 011) over a real port: what is found, what apps may offer, and who is told of it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.sandbox.junk import is_about_decoding, spoiled
from tests.sandbox.lockstep import Answer, Lockstep, lockstep
from tests.sandbox.mec_apps import APPLICATIONS, NOT_READY, SERVICES, UNKNOWN, make_app, service

ALL = f"{SERVICES}/services"
CATEGORY = {"href": "catalogue", "id": "vision", "name": "Vision", "version": "v1"}
SUBSCRIPTION = {
    "subscriptionType": "SerAvailabilityNotificationSubscription",
    "callbackReference": "http://127.0.0.1:9/services?at=100%25",
}
FILLED_IN: dict[str, Any] = {"scopeOfLocality": "MEC_HOST", "consumedLocalOnly": True, "isLocal": True}


async def offer(s: Lockstep, app_id: str, name: str = "faces", **more: object) -> Answer:
    made = await s.send("POST", f"{SERVICES}/applications/{app_id}/services", service(name, **more))
    assert made.status == 201, made
    return made


async def subscribe(s: Lockstep, app_id: str, path: str, **criteria: object) -> Answer:
    body = SUBSCRIPTION | {"callbackReference": s.callbacks.at(path)}
    body |= {"filteringCriteria": criteria} if criteria else {}
    made = await s.send("POST", f"{SERVICES}/applications/{app_id}/subscriptions", body)
    assert made.status == 201, made
    return made


async def named(s: Lockstep, query: str) -> list[str]:
    """The names of the services that a query finds."""
    answer = await s.send("GET", f"{ALL}{query}")
    assert answer.status == 200
    return [each["serName"] for each in answer.document]


@pytest.mark.parametrize(
    ("category", "id_", "api"),
    [("Location", "locationId", "location/v2/"), ("RNI", "rniId", "rni/v2/"), ("AMSI", "amsId", "amsi/v1/")],
)
async def test_the_root_of_an_api_is_found_by_its_category_at_once(category: str, id_: str, api: str) -> None:
    async with lockstep() as s:
        for asked in (category, id_):
            (found,) = (await s.send("GET", f"{ALL}?ser_category_id={asked}")).document
            assert (found["serCategory"]["id"], found["serCategory"]["name"]) == (id_, category)
            assert found["transportInfo"]["endpoint"]["uris"] == [f"{s.listening.api_url}/{api}"]
            assert (found["state"], found["serializer"], found["isLocal"]) == ("ACTIVE", "JSON", True)
            assert (await s.send("GET", f"{ALL}/{found['serInstanceId']}")).document == found
        below = f"{s.listening.api_url}/mep2"
        (found,) = (await s.send("GET", f"{below}/{ALL}?ser_category_id={category}")).document
        assert found["transportInfo"]["endpoint"]["uris"] == [f"{below}/{api}"]


async def test_a_root_that_was_found_can_be_asked() -> None:
    async with lockstep() as s:
        (found,) = (await s.send("GET", f"{ALL}?ser_category_id=Location")).document
        (root,) = found["transportInfo"]["endpoint"]["uris"]
        assert (await s.send("GET", f"{root}queries/zones")).status == 200


async def test_a_service_is_offered_found_suspended_and_taken_back() -> None:
    async with lockstep() as s:
        await make_app(s, "a1")
        made = await offer(s, "a1", serCategory=CATEGORY)
        assert made.location is not None
        id_ = made.document["serInstanceId"]
        assert made.location == f"{s.listening.api_url}/{SERVICES}/applications/a1/services/{id_}"
        assert made.document == service(serCategory=CATEGORY) | FILLED_IN | {
            "serInstanceId": id_,
            "_links": {"self": {"href": made.location}},
        }
        assert (await s.send("GET", made.location)).document == made.document
        assert (await s.send("GET", f"{ALL}/{id_}")).document == made.document
        assert (await s.send("GET", f"{SERVICES}/applications/a1/services")).document == [made.document]
        changed = await s.send("PUT", made.location, made.document | {"state": "SUSPENDED", "isLocal": False})
        assert (changed.status, changed.document) == (200, made.document | {"state": "SUSPENDED"})
        assert (await s.send("GET", f"{ALL}/{id_}")).document == changed.document
        assert (await s.send("DELETE", made.location)).status == 204
        for path in (made.location, f"{ALL}/{id_}"):
            gone = await s.send("GET", path)
            assert (gone.status, gone.document) == (404, None)
        assert (await s.send("GET", f"{SERVICES}/applications/a1/services")).document == []


@pytest.mark.parametrize(
    "members",
    [
        {"serName": "others"},
        {"version": "2"},
        {"serializer": "XML"},
        {"state": None},
        {"state": "RESTING"},
        {"consumedLocalOnly": False},
        {"scopeOfLocality": "ZONE"},
        {"serInstanceId": "another"},
        {"_links": None},
        {"transportInfo": None},
    ],
)
async def test_nothing_but_the_state_of_a_service_can_be_changed(members: dict[str, object]) -> None:
    async with lockstep() as s:
        await make_app(s, "a1")
        made = await offer(s, "a1")
        assert made.location is not None
        changed = await s.send("PUT", made.location, made.document | {"state": "INACTIVE"} | members)
        assert (changed.status, changed.document["status"]) == (400, 400)
        assert (await s.send("GET", made.location)).document == made.document


TRANSPORT: dict[str, Any] = service()["transportInfo"]


@pytest.mark.parametrize(
    "members",
    [
        {"serName": ""},
        {"version": None},
        {"state": None},
        {"state": "active"},
        {"serializer": None},
        {"scopeOfLocality": "HERE"},
        {"serInstanceId": "mine"},
        {"_links": {}},
        {"serCategory": {"href": "catalogue", "id": "vision", "name": "Vision"}},
        {"transportInfo": None},
        {"transportId": "sandboxTransport"},
        {"transportInfo": TRANSPORT | {"type": None}},
        {"transportInfo": TRANSPORT | {"type": "PIGEON"}},
        {"transportInfo": TRANSPORT | {"endpoint": None}},
        {"transportInfo": TRANSPORT | {"protocol": ""}},
    ],
)
async def test_a_service_that_lacks_something_or_says_too_much_is_refused(members: dict[str, object]) -> None:
    async with lockstep() as s:
        await make_app(s, "a1")
        answer = await s.send("POST", f"{SERVICES}/applications/a1/services", service() | members)
        assert (answer.status, answer.document["status"]) == (400, 400)
        assert (await s.send("GET", f"{SERVICES}/applications/a1/services")).document == []


async def test_a_service_may_use_the_platform_s_transport_or_be_reached_in_other_ways() -> None:
    async with lockstep() as s:
        await make_app(s, "a1")
        by_id = await offer(s, "a1", transportInfo=None, transportId="sandboxTransport")
        assert "transportInfo" not in by_id.document
        for endpoint in ({"addresses": [{"host": "10.0.0.9", "port": 80}]}, {"alternative": {"topic": "faces"}}):
            made = await offer(s, "a1", transportInfo=TRANSPORT | {"endpoint": endpoint})
            assert made.document["transportInfo"]["endpoint"] == endpoint
        (transport,) = (await s.send("GET", f"{SERVICES}/transports")).document
        assert transport["endpoint"]["uris"] == [f"{s.listening.api_url}/{SERVICES}/"]
        assert (transport["id"], transport["type"]) == ("sandboxTransport", "REST_HTTP")


async def test_services_are_found_by_name_id_category_and_locality() -> None:
    async with lockstep() as s:
        own = ["meep-loc-serv", "meep-rnis", "meep-ams"]
        assert await named(s, "") == own
        await make_app(s, "a1")
        faces = await offer(s, "a1", "faces", serCategory=CATEGORY)
        plates = await offer(s, "a1", "plates", scopeOfLocality="ZONE", consumedLocalOnly=False)
        ids = [made.document["serInstanceId"] for made in (faces, plates)]
        assert await named(s, "") == [*own, "faces", "plates"]
        assert await named(s, "?ser_name=faces&ser_name=plates&ser_name=none") == ["faces", "plates"]
        assert await named(s, f"?ser_instance_id={ids[1]}&ser_instance_id={ids[0]}") == ["faces", "plates"]
        assert await named(s, "?ser_category_id=Vision") == ["faces"]
        assert await named(s, "?ser_category_id=none") == []
        assert await named(s, "?scope_of_locality=ZONE") == ["plates"]
        assert await named(s, "?consumed_local_only=false") == ["plates"]
        assert await named(s, "?consumed_local_only=true&ser_name=plates") == []
        assert await named(s, "?is_local=true") == [*own, "faces", "plates"]
        assert await named(s, "?consumed_local_only=perhaps&is_local=perhaps") == [*own, "faces", "plates"]


@pytest.mark.parametrize("query", ["?cache=1", "?ser_name=a&ser_category_id=b", "?ser_instance_id=a&ser_name=b"])
async def test_a_query_with_an_unknown_name_or_two_ways_to_choose_is_refused(query: str) -> None:
    async with lockstep() as s:
        await make_app(s, "a1")
        for path in (ALL, f"{SERVICES}/applications/a1/services"):
            answer = await s.send("GET", f"{path}{query}")
            assert (answer.status, answer.document["status"]) == (400, 400)


PER_APP = [
    ("GET", "services", None),
    ("POST", "services", service()),
    ("GET", "services/x", None),
    ("PUT", "services/x", service()),
    ("DELETE", "services/x", None),
    ("GET", "subscriptions", None),
    ("POST", "subscriptions", SUBSCRIPTION),
    ("GET", "subscriptions/x", None),
    ("DELETE", "subscriptions/x", None),
]


@pytest.mark.parametrize(("method", "path", "body"), PER_APP)
async def test_a_call_for_an_app_is_404_without_it_and_403_before_it_is_ready(
    method: str, path: str, body: object
) -> None:
    async with lockstep() as s:
        url = f"{SERVICES}/applications/a1/{path}"
        answer = await s.send(method, url, body)
        assert (answer.status, answer.document) == (404, UNKNOWN)
        await make_app(s, "a1", ready=False)
        answer = await s.send(method, url, body)
        assert (answer.status, answer.document) == (403, NOT_READY)


async def test_another_app_s_service_can_be_seen_by_all_and_changed_by_none() -> None:
    async with lockstep() as s:
        await make_app(s, "a1")
        await make_app(s, "a2")
        made = await offer(s, "a1")
        assert made.location is not None
        other = made.location.replace("/a1/", "/a2/")
        for method in ("GET", "PUT", "DELETE"):
            answer = await s.send(method, other, made.document)
            assert (answer.status, answer.document) == (404, None)
        assert (await s.send("GET", made.location)).document == made.document


async def test_who_subscribed_is_told_when_a_service_comes_changes_its_state_and_goes() -> None:
    async with lockstep() as s:
        await make_app(s, "a1")
        await make_app(s, "a2")
        subscribed = await subscribe(s, "a2", "told")
        made = await offer(s, "a1")
        assert made.location is not None
        await s.send("PUT", made.location, made.document)
        await s.send("PUT", made.location, made.document | {"state": "INACTIVE"})
        await s.send("DELETE", made.location)
        await s.live.told()
        reference = {
            "link": {"href": f"{s.listening.api_url}/{ALL}/{made.document['serInstanceId']}"},
            "serName": "faces",
            "serInstanceId": made.document["serInstanceId"],
        }
        changes = [("ACTIVE", "ADDED"), ("INACTIVE", "STATE_CHANGED"), ("INACTIVE", "REMOVED")]
        assert s.callbacks.documents("told") == [
            {
                "notificationType": "SerAvailabilityNotification",
                "serviceReferences": [reference | {"state": state, "changeType": change}],
                "_links": {"subscription": {"href": subscribed.location}},
            }
            for state, change in changes
        ]


async def test_an_app_that_is_gone_has_its_services_removed_and_is_told_no_more() -> None:
    async with lockstep() as s:
        await make_app(s, "a1")
        await make_app(s, "a2")
        await subscribe(s, "a1", "gone")
        await subscribe(s, "a2", "still")
        await offer(s, "a1")
        await s.live.told()
        s.callbacks.taken()
        await s.send("DELETE", f"{APPLICATIONS}/a1")
        await s.live.told()
        (told,) = s.callbacks.taken()
        assert told.path == "still"
        assert told.document["serviceReferences"][0]["changeType"] == "REMOVED"


async def test_a_subscriber_is_told_of_what_its_filters_let_pass() -> None:
    async with lockstep() as s:
        await make_app(s, "a1")
        other = CATEGORY | {"version": "v2"}
        await subscribe(s, "a1", "all", isLocal=True, serNames=[])
        await subscribe(s, "a1", "name", serNames=["plates", "faces"])
        await subscribe(s, "a1", "other-name", serNames=["plates"])
        await subscribe(s, "a1", "category", serCategories=[CATEGORY])
        await subscribe(s, "a1", "other-category", serCategories=[other])
        await subscribe(s, "a1", "state", states=["INACTIVE"])
        made = await offer(s, "a1", serCategory=CATEGORY)
        assert made.location is not None
        await s.live.told()
        assert {told.path for told in s.callbacks.taken()} == {"all", "name", "category"}
        await subscribe(s, "a1", "id", serInstanceIds=[made.document["serInstanceId"]])
        await subscribe(s, "a1", "other-id", serInstanceIds=["none"])
        await s.send("PUT", made.location, made.document | {"state": "INACTIVE"})
        await s.live.told()
        assert {told.path for told in s.callbacks.taken()} == {"all", "name", "category", "state", "id"}
        await offer(s, "a1", "without a category")
        await s.live.told()
        assert {told.path for told in s.callbacks.taken()} == {"all"}


@pytest.mark.parametrize(
    "members",
    [
        {"callbackReference": None},
        {"subscriptionType": "AppTerminationNotificationSubscription"},
        {"filteringCriteria": {"serNames": ["a"], "serInstanceIds": ["b"]}},
        {"filteringCriteria": {"serNames": ["a"], "serCategories": [CATEGORY]}},
        {"filteringCriteria": {"serCategories": [{"id": "vision"}]}},
        {"filteringCriteria": {"states": ["RESTING"]}},
    ],
)
async def test_a_subscription_that_lacks_something_or_filters_twice_is_refused(members: dict[str, object]) -> None:
    async with lockstep() as s:
        await make_app(s, "a1")
        answer = await s.send("POST", f"{SERVICES}/applications/a1/subscriptions", SUBSCRIPTION | members)
        assert (answer.status, answer.document["status"]) == (400, 400)


async def test_a_subscription_is_found_by_its_location_listed_and_ended() -> None:
    async with lockstep() as s:
        await make_app(s, "a1")
        body = SUBSCRIPTION | {"filteringCriteria": {"serNames": ["faces"], "isLocal": True}}
        listed = f"{SERVICES}/applications/a1/subscriptions"
        made = await s.send("POST", listed, body)
        assert made.location is not None
        assert made.document == body | {"_links": {"self": {"href": made.location}}}
        assert (await s.send("GET", made.location)).document == made.document
        links = (await s.send("GET", listed)).document["_links"]
        assert links == {
            "self": {"href": f"{s.listening.api_url}/{listed}"},
            "subscriptions": [{"href": made.location, "subscriptionType": body["subscriptionType"]}],
        }
        assert (await s.send("DELETE", made.location)).status == 204
        assert (await s.send("DELETE", made.location)).status == 404


@given(st.data())
@settings(deadline=None, max_examples=10, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow])
async def test_whatever_is_sent_is_granted_or_refused(data: st.DataObject) -> None:
    async with lockstep() as s:
        await make_app(s, "a1")
        made = await offer(s, "a1", serCategory=CATEGORY)
        await subscribe(s, "a1", "told")
        criteria = {"serCategories": [CATEGORY], "states": ["ACTIVE"], "isLocal": True}
        own = f"{SERVICES}/applications/a1"
        calls: list[tuple[str, str, dict[str, Any]]] = [
            ("POST", f"{own}/services", service(serCategory=CATEGORY)),
            ("PUT", str(made.location), made.document),
            ("POST", f"{own}/subscriptions", SUBSCRIPTION | {"filteringCriteria": criteria}),
        ]
        for method, path, good in calls:
            for body in data.draw(st.lists(spoiled(good), min_size=1, max_size=4), label=path):
                answer = await s.send(method, path, body)
                assert answer.status in (200, 201, 400, 500)
                if answer.status == 500:
                    assert is_about_decoding(answer.document["detail"])
        await offer(s, "a1", "at last")
        await s.live.told()
        assert s.callbacks.documents("told")[-1]["serviceReferences"][0]["serName"] == "at last"


@pytest.mark.parametrize("strict", [False, True])
async def test_what_is_nested_too_deeply_to_be_answered_with_is_refused_and_not_kept(strict: bool) -> None:
    async with lockstep(strict=strict) as s:
        await make_app(s, "a1")
        url = f"{SERVICES}/applications/a1/services"
        body = service()
        body["transportInfo"]["security"] = {"oAuth2Info": "DEEP"}
        for deep in (300, 5000):
            sent = orjson.dumps(body).replace(b'"DEEP"', b"[" * deep + b"]" * deep)
            assert (await s.send("POST", url, sent)).status == (400 if strict else 500)
        assert (await s.send("GET", url)).document == []
