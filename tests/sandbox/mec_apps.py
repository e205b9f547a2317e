"""MEC apps for the tests: made by the control plane of a sandbox in lockstep, ready, registered, subscribed."""

from __future__ import annotations

from typing import Any

from tests.sandbox.lockstep import Answer, Lockstep

SUPPORT, SERVICES, AMS = "mec_app_support/v1", "mec_service_mgmt/v1", "amsi/v1"
APPLICATIONS = "sandbox-ctrl/v1/applications"
VEHICLE = "10.100.0.2"
IN_MEP1, IN_MEP2, IN_MEP3, OTHER_IN_MEP2 = "w1", "5g-small-cell-9", "w6", "4g-macro-cell-4"
"""POAs by the MEC platform of their zone."""
NOT_READY = {"detail": "App Instance not ready. Waiting for AppReadyConfirmation.", "status": 403}
UNKNOWN = {"detail": "App Instance not found", "status": 404}


async def make_app(s: Lockstep, id_: str, node: str = "mep1", name: str = "cam", *, ready: bool = True) -> str:
    """An instance with this id, ready unless it should not be; gives its id."""
    made = await s.send("POST", APPLICATIONS, {"id": id_, "name": name, "nodeName": node})
    assert made.status == 201, made
    if ready:
        confirmed = await s.send("POST", f"{SUPPORT}/applications/{id_}/confirm_ready", {"indication": "READY"})
        assert confirmed.status == 204, confirmed
    return id_


def device(ue: str = VEHICLE, **more: object) -> dict[str, Any]:
    """A device that may be moved."""
    return {
        "associateId": {"type": "UE_IPv4_ADDRESS", "value": ue},
        "appMobilityServiceLevel": "APP_MOBILITY_WITHOUT_CONFIRMATION",
        "contextTransferState": "NOT_TRANSFERRED",
    } | more


async def register(s: Lockstep, app_id: str, *devices: dict[str, Any]) -> dict[str, Any]:
    """Have an instance follow devices; gives the registration."""
    body = {"serviceConsumerId": {"appInstanceId": app_id}, "deviceInformation": list(devices)}
    made = await s.send("POST", f"{AMS}/app_mobility_services", body)
    assert made.status == 201, made
    document: dict[str, Any] = made.document
    return document


async def subscribe_to_mobility(s: Lockstep, app_id: str, path: str, **filters: object) -> Answer:
    """Have the moves of an instance's devices told at `path`."""
    criteria = {"appInstanceId": app_id} | filters
    return await _subscribed(s, AMS, "MobilityProcedureSubscription", path, filterCriteria=criteria)


async def subscribe_to_adjacent(s: Lockstep, app_id: str, path: str) -> Answer:
    """Have other instances of the same app told at `path`."""
    criteria = {"appInstanceId": app_id}
    return await _subscribed(s, AMS, "AdjacentAppInfoSubscription", path, filterCriteria=criteria)


async def subscribe_to_termination(s: Lockstep, app_id: str, path: str) -> Answer:
    """Have the end of an instance told at `path`."""
    at = f"{SUPPORT}/applications/{app_id}"
    return await _subscribed(s, at, "AppTerminationNotificationSubscription", path, appInstanceId=app_id)


async def _subscribed(s: Lockstep, at: str, type_: str, path: str, **asked: object) -> Answer:
    body = {"subscriptionType": type_, "callbackReference": s.callbacks.at(path)} | asked
    made = await s.send("POST", f"{at}/subscriptions", body)
    assert made.status == 201, made
    return made


def service(name: str = "faces", **more: object) -> dict[str, Any]:
    """A service that an instance may offer."""
    return {
        "serName": name,
        "version": "1",
        "state": "ACTIVE",
        "serializer": "JSON",
        "transportInfo": {
            "id": "t1",
            "name": "REST",
            "type": "REST_HTTP",
            "protocol": "HTTP",
            "version": "2.0",
            "endpoint": {"uris": ["http://10.0.0.9/faces/"]},
            "security": None,
        },
    } | more


def without_time(document: dict[str, Any]) -> dict[str, Any]:
    """A notification of MEC 021 but for its time, which has to be there in whole seconds."""
    stamp = document.pop("timeStamp")
    assert stamp["nanoSeconds"] == 0
    assert stamp["seconds"] > 1_700_000_000
    return document
