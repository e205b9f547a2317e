"""App A1, the RAB reader: reads and logs which radio access bearers its UE has, and keeps no state.

It learns them from the MEC Radio Network Information Service, and answers the UE over HTTP. Only a UE on 4G has a
bearer: an answer that lists none is a reading like any other. The number of readings is in memory alone, so a container
that starts anew begins at 0.

How it reads: it asks every 100 ms (`A1_SOURCE=poll`), or is told, and asks every 5 s (`subscribe`). *Told, each
notification that follows from the last reading is the next one*: RabEst gives a UE without a bearer one that is younger
than all before (their ids are counted up), CellChange moves the bearer from the cell where it was, RabRel ends the one
that was there. What does not follow is late, repeated, or from after one that was lost, and is a reason to ask; the
answer is the reading then. An answer to a question that was asked before something was told is older than it, and is
not taken: it is asked again. What is late and follows all the same is put right by the next question.

RabRel has to be subscribed to for one bearer, which is known by RabEst or an answer. There is one such subscription,
which is changed for each bearer; until then, and if it comes too late, the question after it tells of the release.
RabEst cannot be had for one UE alone: those of others are ignored.

`GET /` readings, failures, requests and notifications, and the last reading; `POST /callbacks/…` a notification;
`/ready` instance, epoch, and seq, which without state is 0; else 404.
"""

from __future__ import annotations

import os
import sys
import threading

from mec_app import NOT_FOUND, Answer, Settings, end_on_signals, ok, say, serve, stamp
from mec_source import Poller, Source, Unusable
from mec_subscriber import Subscriber, Wanted

TYPE_CHECKING = False  # typing and collections.abc would add to every start
if TYPE_CHECKING:
    from typing import Any

    Bearer = dict[str, Any]  # cellId, erabId, qci

QCI = 80  # mandatory in a subscription, and without effect in the sandbox
KINDS = ("CellChangeNotification", "RabEstNotification", "RabRelNotification")


def bearer(ecgi: dict[str, Any], erab: dict[str, Any]) -> Bearer:
    """A bearer and its cell. Raises KeyError or TypeError if something is missing or wrong."""
    if type(erab["erabId"]) is not int:
        raise TypeError("erabId is no number")
    return {"cellId": ecgi["cellId"], "erabId": erab["erabId"], "qci": erab["erabQosParameters"]["qci"]}


def bearers_in(answer: dict[str, Any], ue: str) -> list[Bearer]:
    """The bearers of `ue` in an answer to `queries/rab_info`, none if it is not on 4G. Raises Unusable if unreadable.

    Source: ETSI GS MEC 012 V2.2.1, clause 7.3; the sandbox leaves `cellUserInfo` out where nobody has a bearer.
    """
    try:
        answer["requestId"]  # mandatory, and so what tells "no bearer" from an answer of something else
        return [
            bearer(cell["ecgi"], erab)
            for cell in answer.get("cellUserInfo", [])
            for user in cell["ueInfo"]
            if any(associate["value"] == ue for associate in user["associateId"])
            for erab in user["erabInfo"]
        ]
    except (KeyError, TypeError) as error:
        raise Unusable("the RNIS answered no RabInfo") from error


def bearers_after(told: dict[str, Any], bearers: list[Bearer], newest: int) -> list[Bearer] | None:
    """What follows from a notification for a UE with these bearers; None if it does not follow from them.

    `newest` is the highest id of a bearer so far. Raises Unusable for what is no notification of KINDS.
    Source: ETSI GS MEC 012 V2.2.1, clause 6.4.
    """
    kind = told.get("notificationType")
    try:
        if kind == "RabEstNotification":
            established = bearer(told["ecgi"], told)
            return None if bearers or established["erabId"] <= newest else [established]
        if kind == "CellChangeNotification":
            source, target = told["srcEcgi"]["cellId"], told["trgEcgi"][0]["cellId"]
            moved = [each | {"cellId": target} for each in bearers if each["cellId"] == source]
            return moved if moved and len(moved) == len(bearers) else None
        released = told["erabReleaseInfo"]["erabId"]
    except (KeyError, TypeError, IndexError) as error:
        raise Unusable(f"no {kind}") from error
    left = [each for each in bearers if each["erabId"] != released]
    return left if len(left) < len(bearers) else None


def is_told_of(told: dict[str, Any], ue: str) -> bool:
    """Whether a notification is about `ue`. Raises Unusable if it does not say."""
    try:
        return any(associate["value"] == ue for associate in told["associateId"])
    except (KeyError, TypeError) as error:
        raise Unusable("a notification without associateId") from error


def newest_of(bearers: list[Bearer]) -> int:
    """The highest id of some bearers."""
    return max(int(each["erabId"]) for each in bearers)


class A1:
    """The readings so far, and what the UE and the engine are told of them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # Replaced as a whole, so that the UE is told number and reading of one moment.
        self._read: tuple[int, dict[str, object] | None] = (0, None)
        self._reading = threading.Lock()  # guards what follows, and who replaces `_read`
        self._bearers: list[Bearer] = []
        self._newest = 0
        self._told = self._told_before = 0  # notifications, in all and before the question under way
        question = (settings, "queries/rab_info", {"ue_ipv4_address": settings.ue}, self._took)
        self.source: Source
        if settings.subscribes:
            self.source = Subscriber(*question, wanted=self._wanted, hear=self._heard, asking=self._asking)
        else:
            self.source = Poller(*question)

    def _wanted(self) -> list[Wanted]:
        """The subscriptions: RabRel once there is a bearer to be released."""
        about = [{"type": 1, "value": self._settings.ue}]
        wanted = [
            self._subscription("CellChangeSubscription", "filterCriteriaAssocHo", associateId=about),
            self._subscription("RabEstSubscription", "filterCriteriaQci", qci=QCI),
        ]
        if bearers := self._bearers:
            erab = newest_of(bearers)
            wanted.append(self._subscription("RabRelSubscription", "filterCriteriaQci", qci=QCI, erabId=erab))
        return wanted

    def _subscription(self, type_: str, filter_: str, **criteria: object) -> Wanted:
        callback = f"{self._settings.callback_url}/rni"
        terms = {"subscriptionType": type_, "callbackReference": callback, filter_: criteria}
        return Wanted(type_, "subscriptions", terms)

    def _asking(self) -> None:
        self._told_before = self._told

    def _took(self, answer: dict[str, object]) -> bool:
        bearers = bearers_in(answer, self._settings.ue)
        with self._reading:
            if self._told != self._told_before:
                self.source.ask()
                return False
            return self._take(bearers)

    def _heard(self, told: dict[str, object]) -> bool | None:
        if told.get("notificationType") not in KINDS:
            raise Unusable("a notification of another kind")
        if not is_told_of(told, self._settings.ue):
            return None
        with self._reading:
            bearers = bearers_after(told, self._bearers, self._newest)
            self._told += 1
            if bearers is None:
                self.source.ask()
            else:
                self._take(bearers)
        return True

    def _take(self, bearers: list[Bearer]) -> bool:
        """The next reading; whether it has a bearer that was not known."""
        before, self._bearers = self._bearers, bearers
        self._read = (self._read[0] + 1, {"at": stamp(), "bearers": bearers})
        say("rab_info", readings=self._read[0], bearers=bearers)
        if not bearers or (before and newest_of(before) == newest_of(bearers)):
            return False
        self._newest = newest_of(bearers)
        self.source.renew()  # RabRel is for one bearer
        return True

    def answer(self, path: str, query: str) -> Answer:
        """Status and body of an answer."""
        who = self._settings.who
        match path:
            case "/":
                (readings, last), failures = self._read, self.source.failures
                read = {"seq": 0, "readings": readings, "failures": failures, "last": last}
                return ok(who | read | self.source.counts())
            case "/ready":
                return ok(who | {"seq": 0})
        return NOT_FOUND


def main() -> int:
    """Serve until a signal ends the process; 2 if the environment is wrong, 1 if the port cannot be had."""
    end_on_signals()
    try:
        settings = Settings(os.environ, "A1", poll_s=0.1, api="RNIS", api_url="http://gateway-app/rni/v2")
    except ValueError as error:
        say("wrong environment", problem=str(error))
        return 2
    a1 = A1(settings)
    return serve(settings.port, a1.answer, a1.source)


if __name__ == "__main__":
    sys.exit(main())
