"""What the conformance test asks of MEC 011, MEC 021 and the control plane: a MEC app's life, and what is refused.

Unlike the other APIs' their requests build on one another, so each has its place in a story.
"""

from __future__ import annotations

from typing import Any

from tests.sandbox.conformance_requests import FIVE_G, FOUR_G, PAST, TIME, Api
from tests.sandbox.conformance_run import Conformance
from tests.sandbox.lockstep import Answer, Lockstep
from tests.sandbox.mec_apps import IN_MEP1, IN_MEP2, VEHICLE, device, service

SUPPORT = Api("mec_app_support/v1", ("app-support.yaml",), (), ())
SERVICES = Api("mec_service_mgmt/v1", ("service-mgmt.yaml",), (), ())
AMS = Api("amsi/v1", ("ams.yaml",), (), ())
CONTROL = Api("sandbox-ctrl/v1", (), (), ())
GIS = Api("gis/v1", (), (), ())
PLATFORM = (SUPPORT, SERVICES, AMS, CONTROL, GIS)

CALLBACK = "http://127.0.0.1:9/told"
END = {"subscriptionType": "AppTerminationNotificationSubscription", "callbackReference": CALLBACK}
SERVICE_CHANGES = {"subscriptionType": "SerAvailabilityNotificationSubscription", "callbackReference": CALLBACK}
MOVES = {"subscriptionType": "MobilityProcedureSubscription", "callbackReference": CALLBACK}
OTHERS = {"subscriptionType": "AdjacentAppInfoSubscription", "callbackReference": CALLBACK}
CATEGORY = {"href": "http://10.0.0.9/catalogue", "id": "vision", "name": "Vision", "version": "v1"}
READY, TERMINATING = {"indication": "READY"}, {"operationAction": "TERMINATING"}
UE = {"type": "UE_IPv4_ADDRESS", "value": VEHICLE}


async def ask_platform(seen: Conformance, s: Lockstep) -> None:
    """Ask everything, granted and refused, with a scenario and without."""
    await _Story(seen, s).told()
    seen.close()


class _Story:
    def __init__(self, seen: Conformance, s: Lockstep) -> None:
        self._seen, self._s = seen, s
        self._undecodable = 400 if s.live.strict else 500

    async def told(self) -> None:
        await self._scenarios()
        await self._by_hand()
        await self._map()
        await self._instances()
        await self._support()
        await self._services()
        await self._mobility()
        await self._subscribers()
        await self._end()

    async def _ask(self, status: int, api: Api, method: str, path: str, body: object = None) -> Answer:
        answer = await self._seen.ask(api, method, path, body)
        assert answer.status == status, (method, path, answer)
        return answer

    async def _refused(self, api: Api, method: str, path: str) -> None:
        """What is no object, and one that lacks everything."""
        await self._ask(self._undecodable, api, method, path, b"[")
        await self._ask(400, api, method, path, {})

    async def _scenarios(self) -> None:
        await self._ask(200, CONTROL, "GET", "active")
        await self._ask(400, CONTROL, "POST", "active/4g-macro")
        await self._ask(200, CONTROL, "DELETE", "active")
        for method, path in (("GET", "active"), ("DELETE", "active"), ("POST", "events/MOBILITY")):
            await self._ask(404, CONTROL, method, path)
        await self._ask(200, GIS, "GET", "geodata")
        for method, path in (("GET", ""), ("POST", ""), ("POST", "/distanceTo"), ("POST", "/withinRange")):
            await self._ask(404, GIS, method, f"geodata/{VEHICLE}{path}", {} if method == "POST" else None)
        await self._ask(404, CONTROL, "POST", "active/nowhere")
        await self._ask(200, CONTROL, "POST", "active/monaco")

    async def _by_hand(self) -> None:
        for dest in (FOUR_G, "DISCONNECTED", FIVE_G):
            event = {"type": "MOBILITY", "eventMobility": {"elementName": VEHICLE, "dest": dest}}
            await self._ask(200, CONTROL, "POST", "events/MOBILITY", event)
        for body in ({}, b"[", {"eventMobility": {"elementName": VEHICLE, "dest": "nowhere"}}):
            await self._ask(400, CONTROL, "POST", "events/MOBILITY", body)
        await self._ask(400, CONTROL, "POST", "events/RAIN", {})
        for run in ("true", "false"):
            await self._ask(200, GIS, "POST", f"automation/MOVEMENT?run={run}")
            await self._ask(200, GIS, "GET", "automation")
            await self._ask(200, GIS, "GET", "automation/MOVEMENT")
        for method in ("GET", "POST"):
            await self._ask(500, GIS, method, "automation/RAIN")

    async def _map(self) -> None:
        for query in ("", "?excludePath=true", "?assetType=POA&subType=POA-5G", "?assetType=NONE"):
            await self._ask(200, GIS, "GET", f"geodata{query}")
        for asset in (FIVE_G, f"{VEHICLE}?excludePath=true", VEHICLE):
            asked = await self._ask(200, GIS, "GET", f"geodata/{asset}")
        await self._ask(404, GIS, "GET", "geodata/nothing")
        where = f"geodata/{VEHICLE}"
        path = {"type": "LineString", "coordinates": [[7.42, 43.73], [7.43, 43.73]]}
        for change in ({}, {"path": path, "velocity": None}, {"path": path, "velocity": 10}):
            await self._ask(200, GIS, "POST", where, asked.document | change)
            await self._ask(200, GIS, "GET", where)
        await self._refused(GIS, "POST", where)
        for question in ("distanceTo", "withinRange"):
            for target in ({"assetName": FIVE_G}, {"latitude": 43.73, "longitude": 7.42, "radius": 1000}):
                await self._ask(200, GIS, "POST", f"{where}/{question}", target)
            await self._ask(400, GIS, "POST", f"{where}/{question}", {"assetName": "nothing"})
            await self._ask(self._undecodable, GIS, "POST", f"{where}/{question}", b"[")

    async def _instances(self) -> None:
        """Two of the same app, not ready yet, and what that keeps them from."""
        for id_, node, more in (("a1", "mep1", {}), ("a2", "mep2", {"persist": True})):
            made = {"id": id_, "name": "cam", "nodeName": node, "type": "USER"} | more
            await self._ask(201, CONTROL, "POST", "applications", made)
        await self._refused(CONTROL, "POST", "applications")
        for query in ("", "?app=cam&nodeName=mep1&type=USER", "?app=none"):
            await self._ask(200, CONTROL, "GET", f"applications{query}")
        await self._ask(400, CONTROL, "GET", "applications?nonsense=1")
        await self._ask(200, CONTROL, "GET", "applications/a1")
        await self._ask(404, CONTROL, "GET", "applications/nobody")
        await self._ask(204, CONTROL, "DELETE", "applications/nobody")
        for status, app in ((403, "a1"), (404, "nobody")):
            of = f"applications/{app}"
            await self._ask(status, SUPPORT, "POST", f"{of}/confirm_termination", TERMINATING)
            for api, body in ((SUPPORT, END), (SERVICES, SERVICE_CHANGES)):
                for method, path in (("GET", ""), ("POST", ""), ("GET", "/sub-x"), ("DELETE", "/sub-x")):
                    sent = body if method == "POST" else None
                    await self._ask(status, api, method, f"{of}/subscriptions{path}", sent)
            for method, path in (("GET", ""), ("POST", ""), ("GET", "/x"), ("PUT", "/x"), ("DELETE", "/x")):
                sent = service() if method in ("POST", "PUT") else None
                await self._ask(status, SERVICES, method, f"{of}/services{path}", sent)
        await self._refused(SUPPORT, "POST", "applications/a1/confirm_ready")
        await self._ask(404, SUPPORT, "POST", "applications/nobody/confirm_ready", READY)
        for app in ("a1", "a2"):
            await self._ask(204, SUPPORT, "POST", f"applications/{app}/confirm_ready", READY)

    async def _support(self) -> None:
        await self._ask(400, SUPPORT, "POST", "applications/a1/confirm_termination", TERMINATING)
        await self._subscriptions(SUPPORT, "applications/a1/subscriptions", END | {"appInstanceId": "a1"})
        for path in ("timing/timing_caps", "timing/current_time"):
            await self._ask(200, SUPPORT, "GET", path)
        for rules in ("dns_rules", "traffic_rules"):
            for method, path in (("GET", ""), ("GET", "/1"), ("PUT", "/1")):
                await self._ask(501, SUPPORT, method, f"applications/a1/{rules}{path}")

    async def _services(self) -> None:
        own, transport = "applications/a1/services", service()["transportInfo"]
        token = {"grantTypes": ["OAUTH2_CLIENT_CREDENTIALS"], "tokenEndpoint": "http://10.0.0.9/token"}
        full = transport | {"description": "d", "security": {"oAuth2Info": token}}
        by_port = {"addresses": [{"host": "10.0.0.9", "port": 80}]}
        for more in (
            {"serCategory": CATEGORY, "scopeOfLocality": "ZONE", "consumedLocalOnly": False},
            {"transportInfo": full | {"endpoint": by_port}},
            {"transportInfo": full | {"endpoint": {"alternative": {"by": "pigeon"}}}},
            {"transportInfo": None, "transportId": "sandboxTransport"},
        ):
            made = await self._ask(201, SERVICES, "POST", own, service(**more))
        await self._refused(SERVICES, "POST", own)
        for path in ("services", own):
            for query in ("", "?ser_name=faces&consumed_local_only=true", "?ser_category_id=AMSI&is_local=true"):
                await self._ask(200, SERVICES, "GET", f"{path}{query}")
            await self._ask(400, SERVICES, "GET", f"{path}?nonsense=1")
        url, id_ = made.location, made.document["serInstanceId"]
        assert url is not None
        for each in (url, f"services/{id_}"):
            await self._ask(200, SERVICES, "GET", each)
        await self._ask(200, SERVICES, "PUT", url, made.document | {"state": "SUSPENDED"})
        await self._refused(SERVICES, "PUT", url)
        criteria = ({}, {"serNames": ["faces"]}, {"serCategories": [CATEGORY], "states": ["ACTIVE"], "isLocal": True})
        bodies = [SERVICE_CHANGES | {"filteringCriteria": each} for each in criteria]
        await self._subscriptions(SERVICES, "applications/a1/subscriptions", SERVICE_CHANGES, *bodies)
        await self._ask(204, SERVICES, "DELETE", url)
        for method, path in (("GET", f"services/{id_}"), ("GET", url), ("PUT", url), ("DELETE", url)):
            await self._ask(404, SERVICES, method, path, service() if method == "PUT" else None)
        await self._ask(200, SERVICES, "GET", "transports")

    async def _mobility(self) -> None:
        registrations = "app_mobility_services"
        for consumer, more in (
            ({"appInstanceId": "a1"}, {"deviceInformation": [device()], "expiryTime": 7}),
            ({"mepId": "a2"}, {}),
        ):
            made = await self._ask(201, AMS, "POST", registrations, {"serviceConsumerId": consumer} | more)
        await self._refused(AMS, "POST", registrations)
        await self._ask(200, AMS, "GET", registrations)
        where = f"{registrations}/{made.document['appMobilityServiceId']}"
        await self._ask(200, AMS, "GET", where)
        await self._ask(200, AMS, "PUT", where, made.document)
        await self._refused(AMS, "PUT", where)
        await self._ask(204, AMS, "DELETE", where)
        for method in ("GET", "PUT", "DELETE"):
            await self._ask(404, AMS, method, where, made.document if method == "PUT" else None)
        await self._ask(501, AMS, "POST", f"{where}/deregister_task")
        await self._ask(501, AMS, "GET", "queries/adjacent_app_instances")
        of: dict[str, Any] = {"filterCriteria": {"appInstanceId": "a1"}}
        full = {"filterCriteria": of["filterCriteria"] | {"associateId": [UE]}, "expiryDeadline": TIME}
        await self._ask(404, AMS, "POST", "subscriptions", MOVES | {"filterCriteria": {"appInstanceId": "nobody"}})
        for query in ("?subscriptionType=mobility_proc", "?subscriptionType=adj_app_info"):
            await self._ask(200, AMS, "GET", f"subscriptions{query}")
        for query in ("?subscriptionType=nonsense", "?nonsense=1"):
            await self._ask(400, AMS, "GET", f"subscriptions{query}")
        await self._subscriptions(AMS, "subscriptions", MOVES | of, MOVES | full, OTHERS | of, changed=True)

    async def _subscriptions(self, api: Api, path: str, *bodies: dict[str, Any], changed: bool = False) -> None:
        """Make, list, get, and end some; `changed`: they can be changed as well."""
        urls = []
        for body in bodies:
            made = await self._ask(201, api, "POST", path, body)
            assert made.location is not None
            urls.append(made.location)
        await self._refused(api, "POST", path)
        await self._ask(200, api, "GET", path)
        for url in urls:
            kept = await self._ask(200, api, "GET", url)
            if changed:
                await self._ask(200, api, "PUT", url, kept.document)
                await self._refused(api, "PUT", url)
            await self._ask(204, api, "DELETE", url)
            for method in ("GET", "PUT", "DELETE") if changed else ("GET", "DELETE"):
                await self._ask(404, api, method, url, kept.document if method == "PUT" else None)

    async def _subscribers(self) -> None:
        """Each kind of subscriber is told something: of a service, an adjacent instance, a move, its own end."""
        await self._ask(
            201, SERVICES, "POST", "applications/a1/subscriptions", self._told_here(SERVICES, SERVICE_CHANGES)
        )
        await self._ask(201, SERVICES, "POST", "applications/a2/services", service())
        of = {"filterCriteria": {"appInstanceId": "a1"}}
        for body in (MOVES, OTHERS, MOVES | {"expiryDeadline": PAST}):
            await self._ask(201, AMS, "POST", "subscriptions", self._told_here(AMS, body | of))
        for app in ("a1", "a2"):
            body = {"serviceConsumerId": {"appInstanceId": app}, "deviceInformation": [device()]}
            await self._ask(201, AMS, "POST", "app_mobility_services", body)
        for poa in (IN_MEP1, IN_MEP2):
            await self._s.attach(VEHICLE, poa)
        await self._ask(201, CONTROL, "POST", "applications", {"id": "a3", "name": "cam", "nodeName": "mep2"})
        await self._s.tick()

    def _told_here(self, api: Api, body: dict[str, Any]) -> dict[str, Any]:
        """A subscription whose notifications are held against the documents at the end."""
        return body | {"callbackReference": self._s.callbacks.at(api.root)}

    async def _end(self) -> None:
        """An instance that is deleted, and confirms that it has ended."""
        asked = self._told_here(SUPPORT, END | {"appInstanceId": "a1"})
        await self._ask(201, SUPPORT, "POST", "applications/a1/subscriptions", asked)
        await self._ask(204, CONTROL, "DELETE", "applications/a1")
        await self._refused(SUPPORT, "POST", "applications/a1/confirm_termination")
        await self._ask(204, SUPPORT, "POST", "applications/a1/confirm_termination", TERMINATING)
        await self._s.live.told()
        for api in PLATFORM:
            self._seen.listen(api)
