"""App A1, the RAB reader: reads and logs which radio access bearers its UE has, and keeps no state.

It asks the MEC Radio Network Information Service every 100 ms, and answers the UE over HTTP. Only a UE on 4G has a
bearer: an answer that lists none is a reading like any other. The number of readings is in memory alone, so a
container that starts anew begins at 0.

`GET /` readings, failures, and the last reading; `/ready` instance, epoch, and seq, which without state is 0; else 404.
"""

from __future__ import annotations

import os
import sys

from mec_app import NOT_FOUND, Poller, Settings, Unusable, end_on_signals, ok, say, serve, stamp

TYPE_CHECKING = False  # typing and collections.abc would add to every start
if TYPE_CHECKING:
    from typing import Any


def bearers_in(answer: dict[str, Any], ue: str) -> list[dict[str, object]]:
    """The bearers of `ue` in an answer to `queries/rab_info`, none if it is not on 4G. Raises Unusable if unreadable.

    Source: ETSI GS MEC 012 V2.2.1, clause 7.3; the sandbox leaves `cellUserInfo` out where nobody has a bearer.
    """
    try:
        answer["requestId"]  # mandatory, and so what tells "no bearer" from an answer of something else
        return [
            {"cellId": cell["ecgi"]["cellId"], "erabId": erab["erabId"], "qci": erab["erabQosParameters"]["qci"]}
            for cell in answer.get("cellUserInfo", [])
            for user in cell["ueInfo"]
            if any(associate["value"] == ue for associate in user["associateId"])
            for erab in user["erabInfo"]
        ]
    except (KeyError, TypeError) as error:
        raise Unusable("the RNIS answered no RabInfo") from error


class A1:
    """The readings so far, and what the UE and the engine are told of them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # Replaced as a whole, so that the UE is told number and reading of one moment.
        self._read: tuple[int, dict[str, object] | None] = (0, None)
        self.poller = Poller(settings, "queries/rab_info", {"ue_ipv4_address": settings.ue}, self._took)

    def _took(self, answer: dict[str, object]) -> None:
        last: dict[str, object] = {"at": stamp(), "bearers": bearers_in(answer, self._settings.ue)}
        self._read = (self._read[0] + 1, last)
        say("rab_info", readings=self._read[0], bearers=last["bearers"])

    def answer(self, path: str, query: str) -> tuple[str, bytes]:
        """Status and body of an answer."""
        who = self._settings.who
        match path:
            case "/":
                readings, last = self._read
                return ok(who | {"seq": 0, "readings": readings, "failures": self.poller.failures, "last": last})
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
    return serve(settings.port, a1.answer, a1.poller)


if __name__ == "__main__":
    sys.exit(main())
