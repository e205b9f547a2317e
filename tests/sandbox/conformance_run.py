"""One sandbox that is asked everything in many states, and what of it is not as documents have it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.sandbox.conformance import Answered, Document
from tests.sandbox.conformance_requests import APIS, FIVE_G, FOUR_G, OTHER_4G, Api
from tests.sandbox.deviations import Correction, Finding
from tests.sandbox.location_v2 import CENTRE, OTHER, VEHICLE
from tests.sandbox.lockstep import Answer, Lockstep

LAP_S, TICK_S = 225, 15.0
"""A coarse lap: it is what is told that counts here, and not when."""


class Conformance:
    """One sandbox that is asked, and all that was not as the documents have it."""

    def __init__(self, s: Lockstep, documents: Mapping[str, Sequence[Document]]) -> None:
        """`documents`: what to hold each API against, by the API's root."""
        self._s = s
        self._of = documents
        self._granted: set[tuple[str, str]] = set()
        self._told: set[tuple[str, str]] = set()
        self.findings: dict[Finding, Any] = {}
        """Each with the first that showed it."""

    async def ask(self, api: Api, method: str, path: str, body: object = None) -> Answer:
        """Ask, and hold the answer against the documents; `path` is under the API's root, or a whole URL."""
        root = f"{self._s.listening.api_url}/{api.root}/"
        url = path if path.startswith("http") else root + path
        answer = await self._s.send(method, url, body)
        below = "/" + url.removeprefix(root).partition("?")[0]
        media_type = answer.media_type.partition(";")[0]
        for document in self._of[api.root]:
            answered = Answered(method, below, answer.status, media_type, answer.document)
            for finding in document.findings_of_answer(answered):
                self.findings.setdefault(finding, answered)
            if answer.status < 300:
                self._granted.add((document.name, document.operation_of(method, below)))
        return answer

    def listen(self, api: Api) -> None:
        """Hold against the documents what the API has told since the last time."""
        for received in [each for each in self._s.callbacks.received if each.path == api.root]:
            for document in self._of[api.root]:
                if not document.notifications:
                    continue
                for finding in document.findings_of_notification(received.document):
                    self.findings.setdefault(finding, received.document)
                self._told.add((document.name, document.schema_of(received.document)[0]))
        self._s.callbacks.received = [each for each in self._s.callbacks.received if each.path != api.root]

    @property
    def corrected(self) -> set[Correction]:
        return {
            correction for documents in self._of.values() for document in documents for correction in document.corrected
        }

    def close(self) -> None:
        """Add what the documents describe and was never granted or told."""
        for document in [each for documents in self._of.values() for each in documents]:
            for operation in document.operations:
                if (document.name, operation) not in self._granted:
                    self.findings[Finding(document.name, operation, "$", "never granted")] = None
            for name in document.notifications:
                if (document.name, name) not in self._told:
                    self.findings[Finding(document.name, name, "$", "never told")] = None


async def ask_everything(seen: Conformance, s: Lockstep) -> None:
    """Ask every query, make, list, get, put and delete every kind of subscription, and take what is told.

    Before anybody is attached, by hand, out of coverage, during a lap, and when the scenario has ended.
    """
    await _ask_all(seen)
    subscribed = [(api, await _subscribed(seen, s, api)) for api in APIS]
    # By hand, whatever a lap may bring: 4G and 5G, the next cell, near each other, out of coverage.
    for poa in (FOUR_G, OTHER_4G, FIVE_G, FOUR_G):
        await s.attach(OTHER, FOUR_G, CENTRE)
        await s.attach(VEHICLE, poa, CENTRE)
        await s.tick()
    await _ask_all(seen)
    await s.attach(VEHICLE, None)
    await s.tick(3)
    await _ask_all(seen)
    s.live.drive(True)
    await s.tick(int(LAP_S / TICK_S), TICK_S)
    await _ask_all(seen)
    for api, urls in subscribed:
        seen.listen(api)
        for url in urls:
            await _change_and_end(seen, api, url)
        await _refused(seen, api)
    s.live.terminate()
    await _ask_all(seen)
    seen.close()


async def _ask_all(seen: Conformance) -> None:
    for api in APIS:
        for query in api.queries:
            await seen.ask(api, "GET", query)
        for path in _collections(api):
            await seen.ask(api, "GET", path)


async def _subscribed(seen: Conformance, s: Lockstep, api: Api) -> list[str]:
    """Subscribe in every way; gives the URLs."""
    urls = []
    for path, make in api.subscriptions:
        answer = await seen.ask(api, "POST", path, make(s.callbacks.at(api.root)))
        assert answer.status == 201, answer
        urls.append(_url_of(answer))
    return urls


async def _change_and_end(seen: Conformance, api: Api, url: str) -> None:
    """A subscription that has expired is gone."""
    kept = await seen.ask(api, "GET", url)
    if kept.status == 200:
        assert (await seen.ask(api, "PUT", url, kept.document)).status == 200
        assert (await seen.ask(api, "DELETE", url)).status == 204
    assert (await seen.ask(api, "DELETE", url)).status == 404


async def _refused(seen: Conformance, api: Api) -> None:
    for path in _collections(api):
        for method, where in (("POST", path), ("PUT", f"{path}/99")):
            for body in (b"{", {}, {"subscriptionType": "nonsense", "callbackReference": "http://localhost/x"}):
                assert (await seen.ask(api, method, where, body)).status in (400, 500)
        assert (await seen.ask(api, "GET", f"{path}/99")).status == 404


def _collections(api: Api) -> list[str]:
    return list(dict.fromkeys(path for path, _ in api.subscriptions))


def _url_of(answer: Answer) -> str:
    """Where what was made is: some say it in a header, the others within."""
    if answer.location:
        return answer.location
    body = answer.document
    if len(body) == 1:
        (body,) = body.values()
    return str(body.get("resourceURL") or body["_links"]["self"]["href"])
