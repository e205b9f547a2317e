"""App A2, the zone counter: counts the zones its UE has travelled through, and never forgets one it has told of.

It asks the MEC Location API where its UE is, and answers the UE over HTTP. The first zone counts as one; a UE that is
not listed (out of range) has not changed its zone.

When it asks: every 200 ms (`A2_SOURCE=poll`), or when it is told that its UE enters another zone than the one counted
last, and every 5 s (`subscribe`). *What it is told is a reason to ask; what it is answered is counted.* A notification
that comes late, twice or after a younger one would be a zone too many, and another one to come back. The answer is the
zone at the instant of the question, and so the counter is right against the zones at these instants, which is what a
client that polls can promise too. The price: a visit that is over before the question is answered is not counted. The
shortest last a second or two, and question and answer some milliseconds; a relocation can hold a notification for
longer, but during it the polling form asks nothing either. Nothing is counted that was not.

A notification is answered (204) when the zone it led to is on disk, for whoever is answered may forget it; if the
question fails or the disk refuses, 503, and it is asked again until it can be taken. The question is no change of
subscriptions, so it does not wait for the callback's own end.

What is kept: the state (counter, zone, run-time log) is one JSON file with a sequence number that grows by one with
each change. A write is a temporary file, fsync, rename, fsync of the folder; only then is the new state told to anyone.
Hence a stop at any instant, SIGKILL too, loses nothing that was acknowledged; a zone seen but not yet written is seen
again by the next poll, and counted once.

Where it is kept: on the container's own filesystem (`A2_OWN_DIR`) or, while a migration runs, in the DV (`A2_DV_DIR`).
*The phase is a part of the state.* `/changePhase?inMigration=1` writes the full state, now marked `inMigration`, to
the DV before it answers; from then on nothing is written elsewhere. A start reads both places and goes on from the
valid state with the highest number, in that state's phase. So a container that was moved in mid-migration and has not
been told of the end finds the DV's state to be the newest, knows by it that it is in migration, and goes on in the DV:
the only place that is read late if it has to move once more. (Had it guessed "no migration", what it then wrote to its
own filesystem could miss the next move; the guess "in migration" loses nothing.) `/changePhase` brings the full state
back to the own filesystem.

The start is logged in the state once the UE is being answered, not before: the time to there is service downtime.

`GET /` counter, zone, requests and notifications; `/ready` instance, epoch, seq; `/state` all with the log;
`/changePhase` as above; `POST /callbacks/…` a notification; else 404.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import threading

from mec_app import NOT_FOUND, Answer, Settings, end_on_signals, ok, say, serve, stamp
from mec_source import Poller, Source, Unusable
from mec_subscriber import Subscriber, Wanted, id_in

TYPE_CHECKING = False  # typing and collections.abc would add to every start
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

LOG_ENTRIES = 10_000
ENTERING_V3 = "ENTERING_AREA_EVENT"


class A2Settings(Settings):
    """What the environment says to A2. Raises ValueError naming the variable that is missing or wrong."""

    def __init__(self, env: Mapping[str, str]) -> None:
        super().__init__(env, "A2", poll_s=0.2, api="LOCATION", api_url="http://gateway-app/location/v2")
        self.own_dir, self.dv_dir = env.get("A2_OWN_DIR", "/app/state"), env.get("A2_DV_DIR", "/data")


class State:
    """What A2 knows, frozen: a change makes a new one. The log is kept as JSON text, one entry each, so that
    a write never has to encode ten thousand of them."""

    def __init__(self, seq: int, counter: int, zone: str | None, in_migration: bool, log: list[str]) -> None:
        self.seq, self.counter, self.zone, self.in_migration, self.log = seq, counter, zone, in_migration, log

    def document(self, **head: object) -> bytes:
        """The state as one JSON object, the log last and one entry a line; `head` is added in front."""
        head |= {"seq": self.seq, "counter": self.counter, "zone": self.zone, "inMigration": self.in_migration}
        return (json.dumps(head)[:-1] + ', "log": [\n' + ",\n".join(self.log) + "\n]}\n").encode()

    @classmethod
    def read(cls, raw: bytes, ue: str) -> State:
        """The state in a file's bytes. Raises ValueError if it is broken, torn, or another UE's."""
        data = json.loads(raw)
        if not isinstance(data, dict) or data.get("ue") != ue:
            raise ValueError("not a state of this UE")
        seq, counter, zone, phase = data.get("seq"), data.get("counter"), data.get("zone"), data.get("inMigration")
        if not (isinstance(seq, int) and isinstance(counter, int) and isinstance(phase, bool) and 0 <= counter <= seq):
            raise ValueError("seq, counter or inMigration is missing or out of range")
        if not isinstance(zone, str | None) or not isinstance(data.get("log"), list):
            raise ValueError("zone or log is missing or wrong")
        log = [line.rstrip(",") for line in raw.decode().split("\n")[1:-2]]
        if len(log) != len(data["log"]):  # valid, but not laid out by us
            log = [json.dumps(entry) for entry in data["log"]]
        return cls(seq, counter, zone, phase, log)


class Keeper:
    """Holds the state; what it shows is always on disk already. Changes are made one at a time."""

    def __init__(self, settings: A2Settings) -> None:
        self._settings = settings
        self._changing = threading.Lock()
        self.state, self.origin = self._load()

    def _load(self) -> tuple[State, str]:
        best, origin = State(0, 0, None, False, []), "nothing yet"
        for folder in (self._settings.own_dir, self._settings.dv_dir):
            path = f"{folder}/state.json"
            try:
                with open(path, "rb") as file:
                    found = State.read(file.read(), self._settings.ue)
            except FileNotFoundError:
                continue
            except (OSError, ValueError) as error:
                say("state ignored", path=path, problem=str(error))
                continue
            if found.seq > best.seq:
                best, origin = found, path
        return best, origin

    def _store(self, state: State) -> None:
        """Make `state` durable in the place of its phase. Raises OSError, and then the old file is still whole."""
        folder = self._settings.dv_dir if state.in_migration else self._settings.own_dir
        if not state.in_migration:
            os.makedirs(folder, exist_ok=True)  # never the DV: a folder made in its place would not move
        fresh = f"{folder}/.state.json.new"
        with open(fresh, "wb") as file:
            file.write(state.document(app=self._settings.app, ue=self._settings.ue))
            file.flush()
            os.fsync(file.fileno())
        os.rename(fresh, f"{folder}/state.json")
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def _change(self, counter: int, zone: str | None, in_migration: bool, entry: Mapping[str, object]) -> None:
        seq = self.state.seq + 1
        who = {"instance": self._settings.instance, "epoch": self._settings.epoch}
        line = json.dumps({"seq": seq, "at": stamp(), **entry, **who})
        fresh = State(seq, counter, zone, in_migration, [*self.state.log[1 - LOG_ENTRIES :], line])
        self._store(fresh)
        self.state = fresh  # told from here on, and not before
        say("state", seq=seq, counter=counter, inMigration=in_migration, change=entry)

    def started(self) -> None:
        """Log this start in the state. Raises OSError if it cannot be written."""
        with self._changing:
            now, entry = self.state, {"event": "start", "detail": f"state from {self.origin}"}
            self._change(now.counter, now.zone, now.in_migration, entry)

    def saw(self, zone: str) -> bool:
        """Count `zone` if it is another one than before, and give whether it is. Raises OSError if it cannot be
        written: then it is not counted."""
        with self._changing:
            now = self.state
            is_other = zone != now.zone
            if is_other:
                self._change(now.counter + 1, zone, now.in_migration, {"event": "zone", "zone": zone})
            return is_other

    def change_phase(self, in_migration: bool) -> None:
        """Bring the full state to the phase's place; a repeat changes nothing. Raises OSError if it cannot."""
        with self._changing:
            now, detail = self.state, "migration begins" if in_migration else "migration ended"
            if now.in_migration != in_migration:
                self._change(now.counter, now.zone, in_migration, {"event": "phase", "detail": detail})


def zone_in(answer: dict[str, object], ue: str) -> str | None:
    """The zone of `ue` in an answer to `queries/users`; None if it is not listed. Raises Unusable if unreadable.

    Source: ETSI GS MEC 013 V2.2.1, resource `queries/users`; the sandbox leaves `user` out where nobody matches.
    """
    listing = answer.get("userList")
    users = listing.get("user", []) if isinstance(listing, dict) else None
    if not isinstance(users, list):
        raise Unusable("the Location API answered no userList")
    for user in users:
        if isinstance(user, dict) and user.get("address") == ue:
            zone = user.get("zoneId")
            if not isinstance(zone, str) or not zone:
                raise Unusable("the Location API listed the UE without zoneId")
            return zone
    return None


def zone_entered(told: dict[str, object], ue: str) -> str | None:
    """The zone that `ue` enters by a notification; None if it tells something else. Raises Unusable if unreadable.

    Source: ETSI GS MEC 013 V2.2.1, clause 6.4.2 (ZonalPresenceNotification); V3.1.1, clause 6.4.4
    (UserLocationEventNotification), of which it is not settled whether it is under a key of its name: both are read.
    """
    presence = told.get("zonalPresenceNotification") or told.get("userLocationEventNotification", told)
    if not isinstance(presence, dict) or not ("userEventType" in presence or "userLocationEvent" in presence):
        raise Unusable("a notification of another kind")
    event = presence.get("userEventType", presence.get("userLocationEvent"))
    if presence.get("address") != ue or event not in ("Entering", ENTERING_V3):
        return None
    zone = presence.get("zoneId")
    if not isinstance(zone, str) or not zone:
        raise Unusable("a notification without zoneId")
    return zone


class WantedOfV2(Wanted):
    """Of each zone that the UE enters, by Location v2: sent and answered under a key, and listed whole.

    Source: ETSI GS MEC 013 V2.2.1, clause 6.3 (UserTrackingSubscription).
    """

    def __init__(self, ue: str, callback: str) -> None:
        terms = {"address": ue, "callbackReference": {"notifyURL": callback}, "userEventCriteria": ["Entering"]}
        super().__init__("userTrackingSubscription", "subscriptions/userTracking", terms)

    def document(self, there: dict[str, Any] | None = None) -> dict[str, Any]:
        return {self.type: super().document(there)}

    def terms_in(self, document: dict[str, Any]) -> dict[str, Any]:
        return document[self.type]

    def listed(self, document: dict[str, Any]) -> list[str]:
        listed = document["notificationSubscriptionList"].get(self.type, [])
        return [id_in(each) for each in listed if self.is_ours(each)]

    def is_ours(self, there: dict[str, Any]) -> bool:
        return self.tells_us(there)


class WantedOfV3(Wanted):
    """The same by Location v3: sent under a key, answered with or without it, listed by links.

    Source: ETSI GS MEC 013 V3.1.1, clause 6.3.4 (UserLocationEventSubscription).
    """

    def __init__(self, ue: str, callback: str) -> None:
        type_ = "UserLocationEventSubscription"
        terms = {"subscriptionType": type_, "address": ue, "callbackReference": callback}
        super().__init__(type_, "subscriptions/users", terms | {"locationEventCriteria": [ENTERING_V3]})
        self._key = type_[0].lower() + type_[1:]

    def document(self, there: dict[str, Any] | None = None) -> dict[str, Any]:
        return {self._key: super().document(there)}

    def terms_in(self, document: dict[str, Any]) -> dict[str, Any]:
        return document.get(self._key, document)

    def listed(self, document: dict[str, Any]) -> list[str]:
        return self.linked(document["notificationSubscriptionList"])


class A2:
    """What the UE and the engine are told, and what is taken from the Location API."""

    def __init__(self, settings: A2Settings, keeper: Keeper) -> None:
        self._settings, self._keeper = settings, keeper
        self._served = itertools.count(1)
        question = (settings, "queries/users", {"address": settings.ue}, self._took, keeper.started)
        self.source: Source
        if settings.subscribes:
            of_version = WantedOfV3 if settings.api_url.endswith("/v3") else WantedOfV2
            tracking = of_version(settings.ue, f"{settings.callback_url}/location")
            self.source = self._subscriber = Subscriber(*question, wanted=lambda: [tracking], hear=self._heard)
        else:
            self.source = Poller(*question)

    def _took(self, answer: dict[str, object]) -> bool:
        zone = zone_in(answer, self._settings.ue)
        return zone is not None and self._keeper.saw(zone)

    def _heard(self, told: dict[str, object]) -> bool | None:
        zone = zone_entered(told, self._settings.ue)
        if zone is None:
            return None
        return zone == self._keeper.state.zone or self._subscriber.asked_anew()

    def answer(self, path: str, query: str) -> Answer:
        """Status and body of an answer."""
        settings, state, who = self._settings, self._keeper.state, self._settings.who
        match path, query:
            case "/", _:
                about = {"app": settings.app, "ue": settings.ue, "counter": state.counter, "zone": state.zone}
                count = {"seq": state.seq, "inMigration": state.in_migration, "errors": self.source.failures}
                return ok(about | count | who | self.source.counts() | {"served": next(self._served)})
            case "/ready", _:
                return ok(who | {"seq": state.seq})
            case "/state", _:
                about = {"app": settings.app, "ue": settings.ue, "errors": self.source.failures}
                return "200 OK", state.document(**about, **who)
            case "/changePhase", "" | "inMigration=0" | "inMigration=1":
                try:
                    self._keeper.change_phase(query == "inMigration=1")
                except OSError as error:
                    say("phase refused", problem=str(error))
                    return "503 Service Unavailable", json.dumps(who | {"error": str(error)}).encode()
                now = self._keeper.state
                return ok(who | {"seq": now.seq, "inMigration": now.in_migration})
        return NOT_FOUND


def main() -> int:
    """Serve until a signal ends the process; 2 if the environment is wrong, 1 if the port cannot be had."""
    end_on_signals()
    try:
        settings = A2Settings(os.environ)
    except ValueError as error:
        say("wrong environment", problem=str(error))
        return 2
    keeper = Keeper(settings)
    a2, state = A2(settings, keeper), keeper.state
    facts = {"seq": state.seq, "counter": state.counter, "inMigration": state.in_migration}
    return serve(settings.port, a2.answer, a2.source, **facts)


if __name__ == "__main__":
    sys.exit(main())
