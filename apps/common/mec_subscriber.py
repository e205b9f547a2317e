"""How A1 and A2 are told: subscriptions to a MEC API, and a question where there is reason.

What has to hold though notifications come late, twice, in another order, or not at all:

- *Subscriptions are looked for before they are made*, and recognised by type and callback URL. That has the app's name
  and no epoch in it, so the instance on the target finds its predecessor's and keeps them. One with other terms is
  changed (PUT). Nothing is deleted, not even at the end: a container that is killed cannot, and the next instance wants
  them. Ids are used again after a restart of the sandbox, so a subscription is read before it is changed.
- *A sandbox that was restarted has forgotten them all.* Every `check_s` one of them is read; if it is gone, each is
  looked for and made anew. To make one waits until no callback is under way, which can be long. So it is a task of its
  own, never done from within a callback, and questions do not wait for it.
- *A slow poll is the safety net*: the API is asked every `check_s` all the same, and once more after a subscription was
  made, because of what happened before.
- *As long as it may be deaf it polls*, every `poll_s`, as if nobody had subscribed: while subscriptions are missing,
  after a question that failed, and when the slow poll found what nobody had told of, until somebody tells something.

In good times these are two requests every `check_s`, for any number of subscriptions.

A checkpoint cuts the connections of both sides: a question fails once, and is asked again; a notification is sent again
by the user plane, and heard twice. The restored process finds its subscriptions where they were.
"""

from __future__ import annotations

import json
import threading

from mec_app import Answer, Settings, say
from mec_source import Source, Unusable, json_object

TYPE_CHECKING = False  # typing and collections.abc would add to every start
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping
    from typing import Any

SUBSCRIBE_TIMEOUT_S = 15.0  # it waits for callbacks under way, of which our sandbox gives each 10 s
RENEW_S = 1.0
ANSWER_S = 3.0  # a callback that is not answered holds up everyone's; one question takes half of this at most
TAKEN, NOT_NOW = ("204 No Content", b""), ("503 Service Unavailable", b"")


class Wanted:
    """A subscription that an app wants to have: its type, where its API keeps them, and its terms.

    This is MEC 012's form, where the type is a member and a list tells types and links; others differ in some methods.
    Source: ETSI GS MEC 012 V2.2.1, clause 6.3.
    """

    def __init__(self, type_: str, path: str, terms: dict[str, Any]) -> None:
        self.type, self.path, self.terms = type_, path, terms

    def document(self, there: dict[str, Any] | None = None) -> dict[str, Any]:
        """What is sent to make it, or to change what is `there`, which has to be named by its link."""
        link = {name: there[name] for name in ("resourceURL", "_links") if name in there} if there else {}
        return self.terms | link

    def terms_in(self, document: dict[str, Any]) -> dict[str, Any]:
        """The terms of one subscription as it is answered."""
        return document

    def listed(self, document: dict[str, Any]) -> list[str]:
        """The ids of those in a list that may be this one."""
        return self.linked(document["_links"])

    def linked(self, links: dict[str, Any]) -> list[str]:
        """The ids of those links that are of its type."""
        of_type = [each for each in links.get("subscription", []) if each["subscriptionType"] == self.type]
        return [each["href"].rpartition("/")[2] for each in of_type]

    def is_ours(self, there: dict[str, Any]) -> bool:
        """Whether terms are of this type and have our callback."""
        return there.get("subscriptionType") == self.type and self.tells_us(there)

    def tells_us(self, there: dict[str, Any]) -> bool:
        """Whether terms have our callback."""
        return includes(there.get("callbackReference"), self.terms["callbackReference"])


def id_in(terms: dict[str, Any]) -> str:
    """The id at the end of a subscription's link."""
    link = terms["resourceURL"] if "resourceURL" in terms else terms["_links"]["self"]["href"]
    return str(link).rpartition("/")[2]


def includes(there: object, wanted: object) -> bool:
    """Whether JSON has all that is wanted; objects may have more."""
    if isinstance(there, dict) and isinstance(wanted, dict):
        return all(name in there and includes(there[name], value) for name, value in wanted.items())
    return there == wanted


class Subscriber(Source):
    """Is told, and asks when there is reason.

    `wanted` gives the subscriptions that are wanted now. `hear` gets what is told: True when it has been taken, False
    if it cannot be now, None if it is of no use; it raises Unusable for what it cannot read. `asking` is called before
    each question.
    """

    def __init__(
        self,
        settings: Settings,
        path: str,
        query: Mapping[str, str],
        take: Callable[[dict[str, Any]], bool],
        begin: Callable[[], None] = lambda: None,
        *,
        wanted: Callable[[], list[Wanted]],
        hear: Callable[[dict[str, Any]], bool | None],
        asking: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(settings, path, query, take, begin)
        self._wanted, self._hear, self._asking = wanted, hear, asking
        self._kept: dict[str, tuple[str, dict[str, Any]]] = {}  # id and terms of what is known to be there, by type
        self._looks = 0
        self._is_subscribed = self._is_well = self._is_deaf = False
        self._news = threading.Condition()  # guards what follows, and told and ignored
        self._reasons = self._asked_for = self._tried_for = 0  # to ask: there are, were answered, were tried
        self._loop: asyncio.AbstractEventLoop | None = None

    def notified(self, body: bytes) -> Answer:
        """Hear a notification. It is acknowledged by 204, and only when it has been taken."""
        try:
            taken = self._hear(json_object(body))
        except Unusable as error:
            with self._news:
                self.ignored += 1
            return "400 Bad Request", json.dumps({"error": str(error)}).encode()
        with self._news:
            self.told += taken is True
            self.ignored += taken is None
            self._is_deaf = False
        return NOT_NOW if taken is False else TAKEN

    def ask(self) -> None:
        with self._news:
            self._reasons += 1
        self._wake("_ask_soon")

    def asked_anew(self) -> bool:
        """Whether a question that began after this call was answered, and the answer taken; within `ANSWER_S`."""
        self.ask()
        with self._news:
            reason = self._reasons
            self._news.wait_for(lambda: self._tried_for >= reason, ANSWER_S)
            return self._asked_for >= reason

    def renew(self) -> None:
        self._wake("_look_soon")

    def _wake(self, event: str) -> None:
        if self._loop is not None:  # else the thread has not begun, and will ask and look first of all
            self._loop.call_soon_threadsafe(getattr(self, event).set)

    async def _follow(self) -> None:
        import asyncio

        self._ask_soon, self._look_soon = asyncio.Event(), asyncio.Event()
        self._loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._ask_on(), name="ask")
            tasks.create_task(self._look_on(), name="keep the subscriptions")

    async def _ask_on(self) -> None:
        while True:
            self._ask_soon.clear()
            with self._news:
                reasons = self._reasons
            self._asking()
            is_taken = await self._tried("poll failed", self._question())
            with self._news:
                if is_taken:
                    # News that nobody told of, though all was well when it was asked before.
                    self._is_deaf |= self._was_news and self._is_well and self._reasons == self._asked_for
                    self._asked_for = reasons
                self._tried_for = reasons
                self._news.notify_all()
                self._is_well = is_taken and self._is_subscribed
                pause_s = self._settings.check_s if self._is_well and not self._is_deaf else self._settings.poll_s
            await within(pause_s, self._ask_soon)

    async def _look_on(self) -> None:
        while True:
            self._look_soon.clear()
            self._is_subscribed = await self._tried("subscribing failed", self._look())
            await within(self._settings.check_s if self._is_subscribed else RENEW_S, self._look_soon)

    async def _look(self) -> None:
        """See that the subscriptions are there, and make or change those that are not as they are wanted."""
        wanted = self._wanted()
        self._looks += 1
        one = wanted[self._looks % len(wanted)]
        if one.type in self._kept and not one.is_ours(await self._stored(one, self._kept[one.type][0])):
            self._kept.clear()  # who has forgotten one has forgotten them all
            self._is_subscribed = False
            self.ask()
        for each in wanted:
            if each.type not in self._kept or self._kept[each.type][1] != each.terms:
                await self._keep(each)

    async def _keep(self, wanted: Wanted) -> None:
        """Have a subscription with these terms."""
        import aiohttp

        patience: dict[str, Any] = {"timeout": aiohttp.ClientTimeout(total=SUBSCRIBE_TIMEOUT_S)}
        there = await self._found(wanted)
        is_as_wanted = includes(there, wanted.terms)
        if there is None:
            made = await self._call("POST", wanted.path, 201, json=wanted.document(), **patience)
            there = wanted.terms_in(json_object(made))
        elif not is_as_wanted:
            path = f"{wanted.path}/{id_in(there)}"
            await self._call("PUT", path, json=wanted.document(there), **patience)
        self._kept[wanted.type] = (id_in(there), wanted.terms)
        if not is_as_wanted:
            say("subscribed", type=wanted.type, id=id_in(there))
            self.ask()  # what happened before was told to nobody

    async def _found(self, wanted: Wanted) -> dict[str, Any] | None:
        """The terms of the one that is there for our callback."""
        if wanted.type in self._kept:
            there = await self._stored(wanted, self._kept[wanted.type][0])
            if wanted.is_ours(there):
                return there
        listed = await self._there(wanted.path)
        for id_ in wanted.listed(listed) if listed else ():
            if wanted.is_ours(there := await self._stored(wanted, id_)):
                return there
        return None

    async def _stored(self, wanted: Wanted, id_: str) -> dict[str, Any]:
        """The terms under an id; none if there are none."""
        there = await self._there(f"{wanted.path}/{id_}")
        return wanted.terms_in(there) if there else {}

    async def _there(self, path: str) -> dict[str, Any]:
        """What the API answers; nothing if nothing is there, which MEC 013 V3.1.1 may say of an empty list as well."""
        try:
            return json_object(await self._call("GET", path))
        except Unusable as error:
            if str(error) == "the API answered 404":
                return {}
            raise


async def within(limit_s: float, event: asyncio.Event) -> None:
    """Return when it is set, and after `limit_s` anyway."""
    import asyncio

    try:
        async with asyncio.timeout(limit_s):
            await event.wait()
    except TimeoutError:
        return
