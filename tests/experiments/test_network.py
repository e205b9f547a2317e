"""When a network condition holds, and what a measured rate is."""

from __future__ import annotations

import pytest

from pillion.config import CONDITIONS, ConditionSettings
from pillion.core.model import HostId
from pillion.experiments import network
from pillion.experiments.network import MeasuredCondition
from pillion.hosts.base import Transferred
from tests.fakes.memory_host import MemoryWorld

THERE, BACK = (HostId("mec1"), HostId("mec2")), (HostId("mec2"), HostId("mec1"))


def measured(asked: ConditionSettings, there: float, back: float, round_trip_ms: float = 0.3) -> MeasuredCondition:
    return MeasuredCondition(asked, {THERE: there, BACK: back}, {THERE: round_trip_ms, BACK: round_trip_ms})


@pytest.mark.parametrize(
    ("there", "back", "holds"),
    [(1000, 1000, True), (900, 1100, True), (899, 1000, False), (1000, 1101, False), (100, 100, False)],
)
def test_a_condition_holds_if_every_direction_is_within_a_tenth_of_the_rate(
    there: float, back: float, holds: bool
) -> None:
    assert measured(CONDITIONS["N1"], there, back).holds is holds


def test_a_delay_that_is_not_there_does_not_hold_and_neither_does_what_was_not_measured() -> None:
    delayed = ConditionSettings(rate_mbit=100, delay_ms=10)
    assert measured(delayed, 100, 100, 20.4).holds
    assert not measured(delayed, 100, 100, 17.9).holds
    assert not MeasuredCondition(CONDITIONS["N1"], {}, {}).holds


def test_a_rate_counts_the_headers_of_each_frame() -> None:
    # 1 Gbit/s of full frames: what is inside them is 956.4 Mbit.
    assert network.rate_mbit(Transferred(119_550_859, 1.0)) == pytest.approx(1000, rel=1e-6)


def test_it_names_the_condition_and_every_direction() -> None:
    assert str(measured(CONDITIONS["N2"], 99.6, 120)) == "N2 (mec1→mec2 100, mec2→mec1 120 Mbit/s): does not hold"
    assert measured(ConditionSettings(rate_mbit=50, delay_ms=2), 50, 50).name == "50 Mbit/s, 2 ms"


async def test_each_direction_is_measured_and_no_link_is_left_open() -> None:
    world = MemoryWorld()
    hosts = [world.host(name) for name in ("mec1", "mec2", "mec3")]
    found = await network.measure(hosts, CONDITIONS["N1"], 0.5)
    assert len(found.rates_mbit) == 6
    assert found.round_trips_ms[THERE] == pytest.approx(1.0)
    assert not any(link.is_open for host in hosts for link in host._links)
