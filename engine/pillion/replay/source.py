"""A recording as a source of events: the same sightings, at their own pace or as fast as they are taken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from pillion.core.mobility import Seen, Sighting
from pillion.core.model import UeId
from pillion.core.prediction import Layout
from pillion.errors import ConfigError
from pillion.replay.trace import Trace, when_s


class Replaying:
    """An EventSource that ends with its trace. `speed`: recorded seconds in one second; None: without waiting."""

    def __init__(self, trace: Trace, speed: float | None = None) -> None:
        self._trace = trace
        self._speed = speed

    async def layout(self) -> Layout:
        """The layout that was in force when the trace was recorded."""
        return self._trace.layout

    async def follow(self, ue: UeId) -> AsyncGenerator[Seen, None]:
        """What was seen of the UE, with the times of the recording. Raises ConfigError if the trace is another UE's."""
        if ue != self._trace.ue:
            raise ConfigError(f"a trace of {self._trace.ue}", place=ue, remedy="replay it for that UE")
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        for seen in self._trace.observations:
            # Of the rest a track makes nothing: it was a reason to ask, and the answer is a line of its own.
            if isinstance(seen, Sighting):
                if self._speed is not None:
                    await asyncio.sleep(began_s + when_s(seen) / self._speed - loop.time())
                yield seen
