"""A UE followed by asking: the portable way, which every release of the Location API answers alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Protocol

from pillion.core.events import Api
from pillion.core.mobility import Observation, Seen, Unanswered
from pillion.core.model import UeId
from pillion.core.prediction import Layout
from pillion.errors import MecError


class Location(Protocol):
    """What is asked of the Location API. Both raise MecError."""

    async def user(self, ue: UeId, prompted_by: Api = Api.LOCATION) -> Observation: ...

    async def layout(self) -> Layout: ...


class Polling:
    """Asks at planned instants, `poll_s` apart."""

    def __init__(self, location: Location, poll_s: float) -> None:
        self._location = location
        self._poll_s = poll_s

    async def layout(self) -> Layout:
        """Every POA with its position. Raises MecError."""
        return await self._location.layout()

    async def follow(self, ue: UeId) -> AsyncGenerator[Seen, None]:
        """Each answer, until it is closed."""
        now_s = asyncio.get_running_loop().time
        planned_s = now_s()
        while True:
            yield await answer(self._location, ue)
            # Planned instants do not drift; those that were missed are not made up for.
            planned_s = max(planned_s + self._poll_s, now_s())
            await asyncio.sleep(planned_s - now_s())


async def answer(location: Location, ue: UeId, prompted_by: Api = Api.LOCATION) -> Observation | Unanswered:
    """What the Location API says of a UE now, or that it says nothing of use. `prompted_by`: who gave reason to ask."""
    try:
        return await location.user(ue, prompted_by)
    except MecError as error:
        return Unanswered(str(error))
