"""A driver that keeps what it is told, over a fleet that a test sets."""

from __future__ import annotations

from dataclasses import dataclass, field

from pillion.core.events import Event
from pillion.core.state import Fleet


@dataclass
class Driver:
    """What the watches need of one."""

    fleet: Fleet
    events: list[Event] = field(default_factory=list)

    async def put(self, event: Event) -> None:
        self.events.append(event)
