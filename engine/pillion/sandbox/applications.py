"""The application instances of the sandbox, as its control plane, MEC 011 and MEC 021 know them.

An instance is made by the control plane, says itself that it is ready, and is deleted by the control plane. From then
on it is gone for all but MEC 011, which grants it some seconds to say that it has ended.
Source: AdvantEDGE v1.9.2, meep-applications; ETSI GS MEC 011 V2.2.1, clauses 5.2.2 and 5.2.3.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import quote

from pillion.sandbox.answers import Refused

USER = "USER"
SYSTEM = "SYSTEM"
"""The type of the platform's own instances."""
GLOBAL_NODE = "global"
"""Where the platform's own instances are: they belong to no MEC platform."""


@dataclass(frozen=True, slots=True)
class Application:
    """One instance. Those of the same name are the same app on different nodes."""

    id: str
    name: str
    node: str
    type: str = USER
    persist: bool = False
    """Whether it outlives the scenario."""

    @property
    def path(self) -> str:
        """Its place in a URL: an id is whatever the control plane was asked for."""
        return f"applications/{quote(self.id, safe='')}"

    def document(self) -> dict[str, object]:
        """As the control plane writes it."""
        written: dict[str, object] = {"id": self.id, "name": self.name, "nodeName": self.node, "type": self.type}
        return written | ({"persist": True} if self.persist else {})


def new_id() -> str:
    """The id of an instance that asks for none."""
    return str(uuid.uuid4())


def mep_of(zones: Sequence[str], zone: str) -> str:
    """The MEC platform of a zone: `mep1` of the scenario's first, and so on. It is the nodeName of the apps there."""
    return f"mep{zones.index(zone) + 1}"


class Applications:
    """All instances, the platform's own first."""

    def __init__(self, own: Sequence[str] = ()) -> None:
        """With an instance for each name in `own`, which is ready and outlives every scenario."""
        self._known: dict[str, Application] = {}
        self._ready: set[str] = set()
        self._leaving: dict[str, float] = {}
        for name in own:
            app = Application(new_id(), name, GLOBAL_NODE, SYSTEM, persist=True)
            self._known[app.id] = app
            self._ready.add(app.id)

    def __repr__(self) -> str:
        return f"<Applications: {len(self._known)}, {len(self._leaving)} of them leaving>"

    def __iter__(self) -> Iterator[Application]:
        """Those that have not been deleted."""
        return iter([app for app in self._known.values() if app.id not in self._leaving])

    def find(self, id_: str) -> Application | None:
        """One that has not been deleted."""
        return None if id_ in self._leaving else self._known.get(id_)

    def add(self, app: Application) -> None:
        """Raises Refused if there is one of that id, even if it is leaving."""
        if app.id in self._known:
            raise Refused(HTTPStatus.BAD_REQUEST, "AppInstanceId already exists")
        self._known[app.id] = app

    def confirm_ready(self, id_: str) -> None:
        """Let it use the platform. Raises Refused if there is none."""
        self._ready.add(self.known(id_).id)

    def known(self, id_: str) -> Application:
        """One, even if it is leaving. Raises Refused (404) if there is none."""
        if id_ not in self._known:
            raise Refused(HTTPStatus.NOT_FOUND, "App Instance not found")
        return self._known[id_]

    def ready(self, id_: str) -> Application:
        """One that may use the platform. Raises Refused: 404 if there is none, 403 if it has not said to be ready."""
        app = self.known(id_)
        if id_ not in self._ready:
            raise Refused(HTTPStatus.FORBIDDEN, "App Instance not ready. Waiting for AppReadyConfirmation.")
        return app

    def leave(self, id_: str, until_s: float) -> None:
        """It has been deleted, and has until then to end."""
        self._leaving[id_] = until_s

    def is_leaving(self, app: Application) -> bool:
        """Whether this very instance, and not a later one of its id, has been deleted and has not ended."""
        return app.id in self._leaving and self._known[app.id] is app

    def overdue(self, now_s: float) -> list[Application]:
        """Those whose time to end is over."""
        return [self._known[id_] for id_, until_s in self._leaving.items() if until_s <= now_s]

    def remove(self, id_: str) -> None:
        """It is gone."""
        del self._known[id_]
        self._ready.discard(id_)
        self._leaving.pop(id_, None)

    def clear(self) -> None:
        """Forget all that do not outlive a scenario."""
        for app in list(self._known.values()):
            if not app.persist or app.id in self._leaving:
                self.remove(app.id)
