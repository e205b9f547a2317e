"""Which instance of an app holds a device's context, and when it has to hand it over: the rule of MEC 021.

Each registration tracks devices, and remembers for each which instance owns its context. That is at first, and in
silence, an instance on the MEC platform of the zone that serves the device. When the device's zone changes and the
owner is not on the new zone's platform, the context goes to a registered instance of the same app there; where there
is none, it stays. It stays as well where mobility is not allowed, and once a transfer is marked as completed: a client
has to write NOT_TRANSFERRED, that is to register anew, to be moved again.
Source: ETSI GS MEC 021 V2.2.1, clauses 6.2.2 and 5.3, as AdvantEDGE v1.9.2 implements them (meep-ams).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from pillion.sandbox.applications import Application

NOT_ALLOWED = "APP_MOBILITY_NOT_ALLOWED"
COMPLETED = "USER_CONTEXT_TRANSFER_COMPLETED"


@dataclass(slots=True)
class Device:
    """A device that one registration tracks."""

    ue: str
    is_allowed: bool
    is_transferred: bool
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class Registration:
    """One application mobility service."""

    id: str
    app: Application
    devices: tuple[Device, ...]
    document: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Move:
    """A context that went from one instance to another; told to the one that had it."""

    ue: str
    source: str
    target: str


class Owners:
    """All registrations, in the order in which they were made."""

    def __init__(self, node_of: Callable[[str], str | None]) -> None:
        """`node_of` gives the MEC platform of the zone that serves a UE; None where none does."""
        self._node_of = node_of
        self._by_id: dict[str, Registration] = {}

    def __iter__(self) -> Iterator[Registration]:
        return iter(list(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, id_: str) -> Registration | None:
        return self._by_id.get(id_)

    def put(self, registration: Registration) -> list[Move]:
        """Keep it in place of one of the same id; gives what moves because of it."""
        self._by_id[registration.id] = registration
        return self.refresh(registration.app.name)

    def remove(self, id_: str) -> list[Move]:
        """Forget one; gives what moves because of it."""
        return self.refresh(self._by_id.pop(id_).app.name)

    def drop(self, app_id: str) -> None:
        """Forget those of an instance that is gone."""
        self._by_id = {id_: each for id_, each in self._by_id.items() if each.app.id != app_id}

    def clear(self) -> None:
        self._by_id.clear()

    def moved(self, ue: str) -> list[Move]:
        """What moves because a UE has come to another zone."""
        names = {each.app.name: None for each in self if any(device.ue == ue for device in each.devices)}
        return [move for name in names for move in self.refresh(name, only=ue)]

    def refresh(self, app_name: str, *, only: str | None = None) -> list[Move]:
        """Give each context of an app to the instance that should have it; gives those that its owner is told of.

        Only a registration of the old owner itself tells: others that track the same device keep silent.
        """
        moves = []
        for registration in self:
            if registration.app.name != app_name:
                continue
            for device in registration.devices:
                if device.is_allowed and only in (None, device.ue):
                    before = device.owner
                    if self._give(device, app_name) and before == registration.app.id:
                        moves.append(Move(device.ue, before, str(device.owner)))
        return moves

    def _give(self, device: Device, app_name: str) -> bool:
        """Whether the context went from one instance to another."""
        targets = self._targets(app_name, device.ue)
        if not targets or device.owner in targets:
            return False
        if device.owner is None:
            device.owner = targets[0]
            return False
        if device.is_transferred:
            return False
        device.owner = targets[0]
        return True

    def _targets(self, app_name: str, ue: str) -> list[str]:
        """The registered instances of the app where the UE is, in alphabetical order."""
        node = self._node_of(ue)
        if node is None:
            return []
        return sorted({each.app.id for each in self if each.app.name == app_name and each.app.node == node})
