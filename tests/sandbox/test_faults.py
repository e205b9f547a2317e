"""A sandbox that goes wrong on demand, over a real port: what each fault does to answers, and that it ends."""

from __future__ import annotations

import json

import aiohttp
import pytest

from pillion.sandbox.faults import Fault
from pillion.sandbox.server import sandbox

TRACKING = {
    "userTrackingSubscription": {"address": "10.100.0.2", "callbackReference": {"notifyURL": "http://127.0.0.1:9/x"}}
}


async def test_each_fault_of_answers_does_what_it_says_and_ends() -> None:
    async with sandbox(port=0, control_port=0, lockstep=True) as listening, aiohttp.ClientSession() as http:
        listening.live.drive(True)
        listening.live.tick(1.0)
        url = f"{listening.api_url}/location/v2/queries/users"

        async def answer() -> tuple[int, bytes]:
            async with http.get(url) as given:
                return given.status, await given.read()

        async def begin(fault: Fault, seconds: float) -> None:
            document = {"fault": fault, "seconds": seconds}
            async with http.post(f"{listening.control_url}/faults", json=document) as given:
                assert given.status == 200

        status, whole = await answer()
        assert status == 200
        for fault, expected in {
            Fault.ERRORS: (500, b""),
            Fault.EMPTY: (200, b""),
            Fault.TRUNCATED: (200, whole[: len(whole) // 2]),
        }.items():
            await begin(fault, 60)
            assert await answer() == expected
            await begin(fault, 0)
            assert await answer() == (200, whole)
        await begin(Fault.NAN, 60)
        status, body = await answer()
        assert b'"latitude":[NaN]' in body
        assert len(json.loads(body)["userList"]["user"]) == 12  # Python's reader takes NaN
        await begin(Fault.NAN, 0)
        await begin(Fault.SILENCE, 60)
        with pytest.raises(aiohttp.ClientError):
            await answer()
        await begin(Fault.SILENCE, 0)
        assert await answer() == (200, whole)


async def test_without_a_fault_an_answer_has_all_its_headers() -> None:
    async with (
        sandbox(port=0, control_port=0, lockstep=True, strict=True) as listening,
        aiohttp.ClientSession() as http,
    ):
        url = f"{listening.api_url}/location/v2/subscriptions/userTracking"
        async with http.post(url, json=TRACKING) as given:
            assert given.headers["Location"] == f"{url}/1"


@pytest.mark.parametrize(
    ("path", "document", "said"),
    [
        ("/faults", {"fault": "gremlins", "seconds": 1}, '"fault" has to be one of errors'),
        ("/faults", {"fault": "errors"}, '"seconds" has to be a number'),
        ("/faults", {"fault": "errors", "seconds": -1}, '"seconds" has to be a number'),
        ("/restart", {"name": "../x"}, '"name" has to be letters and digits'),
    ],
)
async def test_a_wrong_order_is_refused_with_what_is_wanted(path: str, document: object, said: str) -> None:
    async with (
        sandbox(port=0, control_port=0, lockstep=True) as listening,
        aiohttp.ClientSession() as http,
        http.post(listening.control_url + path, json=document) as given,
    ):
        assert given.status == 400
        assert said in await given.text()
