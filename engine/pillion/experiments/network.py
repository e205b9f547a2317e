"""What the network between the MEC hosts really gives, measured before an experiment relies on it.

An experiment's cell whose condition does not hold is void.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

from pillion.config import ConditionSettings
from pillion.core.model import HostId
from pillion.hosts.base import MecHost, Transferred

TOLERANCE = 0.1
"""How far from what was asked a condition may be and still hold."""
_FRAME_BYTES = 1514
_PAYLOAD_BYTES = 1448
"""HTB counts Ethernet frames, a link what is inside: 95.6 % of it (headers: Ethernet 14 bytes, IPv4 20, TCP 32 with
timestamps). For an MTU of 1500; with a larger one the rate comes out too high by 4 % at most."""
_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class MeasuredCondition:
    """A network condition as it was asked for, and as it was measured from each MEC host to each other one."""

    asked: ConditionSettings
    rates_mbit: Mapping[tuple[HostId, HostId], float]
    """By source and target; Ethernet headers counted, as in what was asked."""
    round_trips_ms: Mapping[tuple[HostId, HostId], float]
    """Of one question over an open link; what is asked is one way, so twice that is to be expected."""

    @property
    def name(self) -> str:
        return self.asked.name

    @property
    def holds(self) -> bool:
        """Whether every rate is within `TOLERANCE` of what was asked, and no round trip lacks more of the delay."""
        asked, delays_ms = self.asked.rate_mbit, 2 * self.asked.delay_ms
        return (
            bool(self.rates_mbit)
            and all(abs(rate - asked) <= TOLERANCE * asked for rate in self.rates_mbit.values())
            and all(took >= (1 - TOLERANCE) * delays_ms for took in self.round_trips_ms.values())
        )

    def __str__(self) -> str:
        rates = ", ".join(f"{source}→{target} {rate:.0f}" for (source, target), rate in self.rates_mbit.items())
        return f"{self.name} ({rates} Mbit/s): {'holds' if self.holds else 'does not hold'}"


def rate_mbit(measured: Transferred) -> float:
    """The rate that the bytes took up on the network, Ethernet headers counted."""
    return measured.sent_bytes * 8 / 10**6 / measured.seconds * _FRAME_BYTES / _PAYLOAD_BYTES


async def measure(hosts: Sequence[MecHost], asked: ConditionSettings, seconds: float = _SECONDS) -> MeasuredCondition:
    """Measure each direction between each two hosts, one after the other, `seconds` each. Raises HostError.

    The hosts must be those of the engine that has claimed them, or of a lab where none has yet.
    """
    rates, round_trips = {}, {}
    for source, target in permutations(hosts, 2):
        link = await source.open_link(target)
        try:
            measured = await link.measure(seconds)
        finally:
            await link.close()
        rates[source.id, target.id] = rate_mbit(measured)
        round_trips[source.id, target.id] = measured.detail["round trip"] * 1000
    return MeasuredCondition(asked, rates, round_trips)
