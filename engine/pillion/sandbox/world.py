"""The city in motion: where every UE is, what serves it, and the truth of every handover.

Two automations drive it, as in the original. MOVEMENT moves UEs and selects the POA that should serve each; MOBILITY
makes the selection known to the network. Only what the network knows is visible to the APIs: before MOBILITY has run
once there are no users. A UE's zone is the zone of its serving POA; its position never decides it.

The world reads no clock and does no I/O: each tick is told how many seconds pass, and at what instant.
Source: AdvantEDGE v1.9.2, go-apps/meep-gis-engine/server/gis-automation.go.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from pillion.sandbox.attachment import Coverage
from pillion.sandbox.geodesy import Point
from pillion.sandbox.movement import Track, advance, track_of
from pillion.sandbox.scenario import Poa, Scenario, Technology, Ue

CHANGES_KEPT = 1_000_000
"""Days of twelve UEs at speed 1; the oldest go first, and `changes_dropped` says how many went."""


class Automation(StrEnum):
    """What the sandbox can do by itself. The last two are switches without effect here: no API we serve shows it."""

    MOVEMENT = "MOVEMENT"
    MOBILITY = "MOBILITY"
    POAS_IN_RANGE = "POAS-IN-RANGE"
    NETWORK_CHARACTERISTICS_UPDATE = "NETWORK-CHARACTERISTICS-UPDATE"


@dataclass(frozen=True, slots=True)
class Change:
    """A true handover: which POA and zone serve the UE from this tick on. None means that it is out of coverage."""

    tick: int
    simulated_s: float
    monotonic_s: float
    ue: str
    poa: str | None
    zone: str | None
    previous_poa: str | None
    previous_zone: str | None
    erab_id: int | None = None
    """The radio access bearer from now on."""
    previous_erab_id: int | None = None


@dataclass(frozen=True, slots=True)
class User:
    """A UE as the network knows it: served by a POA."""

    ue: str
    poa: str
    zone: str
    at: Point
    erab_id: int | None = None
    """Its radio access bearer, which it has while a 4G POA serves it: numbered from 1, and kept from 4G to 4G."""


class Sample(NamedTuple):
    """One UE after one tick. POA and zone are None out of coverage."""

    tick: int
    ue: str
    lat_deg: float
    lon_deg: float
    poa: str | None
    zone: str | None


@dataclass(slots=True)
class _UeState:
    ue: Ue
    track: Track
    at: Point
    fraction: float
    selected: Poa | None
    serving: Poa | None
    erab_id: int | None = None


class World:
    """All UEs of one scenario. `tick` is the only thing that changes it."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.automation = dict.fromkeys(Automation, False)
        self.ticks = 0
        self.simulated_s = 0.0
        """Seconds that the UEs have been moving."""
        self.changes: deque[Change] = deque(maxlen=CHANGES_KEPT)
        self.changes_dropped = 0
        self._erabs = 0
        self._coverage = Coverage(scenario.poas)
        self._ues = {ue.id: self._at_rest(ue) for ue in scenario.ues}

    def __repr__(self) -> str:
        running = [name.value for name, on in self.automation.items() if on]
        return f"<World {self.scenario.name}: tick {self.ticks}, {len(self.users())} users, {running or 'at rest'}>"

    def tick(self, dt_s: float, *, monotonic_s: float = 0.0) -> list[Change]:
        """Let `dt_s` seconds pass: UEs move if MOVEMENT is on, then handovers become known if MOBILITY is on.

        Gives the handovers, in scenario order. Raises ValueError if time would go backward.
        """
        if dt_s < 0:
            raise ValueError(f"a tick cannot take {dt_s} s")
        self.ticks += 1
        if self.automation[Automation.MOVEMENT]:
            self.simulated_s += dt_s
            for state in self._ues.values():
                self._move(state, dt_s)
        if not self.automation[Automation.MOBILITY]:
            return []
        return [
            self._hand_over(state, state.selected, monotonic_s)
            for state in self._ues.values()
            if state.selected is not state.serving
        ]

    def hand_over(self, ue: str, poa: Poa | None, *, monotonic_s: float = 0.0) -> Change | None:
        """A handover by hand, None for out of coverage; gives nothing if the POA serves the UE already.

        With MOBILITY on, the next tick puts it right again. Raises KeyError if there is no such UE.
        """
        state = self._ues[ue]
        return None if state.serving is poa else self._hand_over(state, poa, monotonic_s)

    def place(self, ue: str, at: Point) -> None:
        """Put a UE elsewhere; its path stays, and takes it on from where it was. Raises KeyError if there is none."""
        state = self._ues[ue]
        state.at = at
        state.selected = self._coverage.select(at, state.ue.wireless_types, state.selected)

    def repath(self, ue: Ue) -> None:
        """Let a UE drive as this says, from the start of its path on; until it moves it stays where it is.

        Raises KeyError if there is none of that id.
        """
        state = self._ues[ue.id]
        state.ue, state.track, state.fraction = ue, track_of(ue), 0.0

    def ues(self) -> list[Ue]:
        """Every UE as it drives now, in scenario order."""
        return [state.ue for state in self._ues.values()]

    def place_of(self, ue: str) -> Point:
        """Where a UE is, whether the network knows it or not. Raises KeyError if there is none."""
        return self._ues[ue].at

    def in_range(self, ue: str) -> list[tuple[Poa, float]]:
        """The POAs whose radius reaches a UE, each with its distance in metres. Raises KeyError if there is none."""
        return self._coverage.in_range(self._ues[ue].at)

    def user(self, ue: str) -> User | None:
        """The UE as the network knows it; None if it is out of coverage, not attached yet, or no UE of ours."""
        state = self._ues.get(ue)
        if state is None or state.serving is None:
            return None
        return User(ue, state.serving.id, state.serving.zone, state.at, state.erab_id)

    def users(self) -> list[User]:
        """Every UE that the network knows, in scenario order."""
        return [user for ue in self._ues if (user := self.user(ue))]

    def users_per_poa(self) -> Counter[str]:
        return Counter(user.poa for user in self.users())

    def users_per_zone(self) -> Counter[str]:
        return Counter(user.zone for user in self.users())

    def samples(self) -> Iterator[Sample]:
        """Every UE as it is now, in scenario order."""
        for name, state in self._ues.items():
            poa = state.serving
            yield Sample(self.ticks, name, *state.at, poa.id if poa else None, poa.zone if poa else None)

    def _at_rest(self, ue: Ue) -> _UeState:
        start = ue.path[0]
        selected = self._coverage.select(start, ue.wireless_types, None)
        return _UeState(ue, track_of(ue), start, fraction=0.0, selected=selected, serving=None)

    def _move(self, state: _UeState, dt_s: float) -> None:
        if state.track.rate_per_s > 0:
            state.at, state.fraction = advance(state.track, state.fraction, dt_s)
            state.selected = self._coverage.select(state.at, state.ue.wireless_types, state.selected)

    def _hand_over(self, state: _UeState, after: Poa | None, monotonic_s: float) -> Change:
        before = state.serving
        bearer_before = state.erab_id
        state.serving = after
        if after is None or after.technology is not Technology.FOUR_G:
            state.erab_id = None
        elif state.erab_id is None:
            self._erabs += 1
            state.erab_id = self._erabs
        self.changes_dropped += len(self.changes) == CHANGES_KEPT
        change = Change(
            tick=self.ticks,
            simulated_s=self.simulated_s,
            monotonic_s=monotonic_s,
            ue=state.ue.id,
            poa=after.id if after else None,
            zone=after.zone if after else None,
            previous_poa=before.id if before else None,
            previous_zone=before.zone if before else None,
            erab_id=state.erab_id,
            previous_erab_id=bearer_before,
        )
        self.changes.append(change)
        return change


def drive(world: World, ticks: int, *, dt_s: float = 1.0) -> Iterator[Sample]:
    """What each UE of the world does in its next ticks of `dt_s` seconds, with MOVEMENT and MOBILITY on.

    Yields one sample per UE and tick. No clock is read, so a day passes in seconds.
    """
    world.automation[Automation.MOVEMENT] = world.automation[Automation.MOBILITY] = True
    for _ in range(ticks):
        world.tick(dt_s)
        yield from world.samples()
