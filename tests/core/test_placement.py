"""Which MEC host serves a UE: the POA's, else the zone's, else the default."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillion.core.model import HostId, PoaId, ZoneId
from pillion.core.placement import Placement

PLACEMENT = Placement(
    default=HostId("mec1"),
    by_zone={ZoneId("zone01"): HostId("mec2"), ZoneId("zone04"): HostId("mec3")},
    by_poa={PoaId("5g-small-cell-5"): HostId("mec4"), PoaId("4g-macro-cell-1"): HostId("mec1")},
)


@pytest.mark.parametrize(
    ("poa", "zone", "host"),
    [
        ("5g-small-cell-5", "zone01", "mec4"),
        ("5g-small-cell-5", "zone09", "mec4"),
        ("4g-macro-cell-1", "zone01", "mec1"),
        ("4g-macro-cell-2", "zone01", "mec2"),
        ("4g-macro-cell-2", "zone04", "mec3"),
        ("4g-macro-cell-2", "zone09", "mec1"),
    ],
)
def test_the_poa_s_host_goes_before_the_zone_s_and_that_before_the_default(poa: str, zone: str, host: str):
    assert PLACEMENT.host_for(PoaId(poa), ZoneId(zone)) == host


NAMES = st.sampled_from(["a", "b", "c", "d"])
HOSTS = st.builds(HostId, NAMES)


@given(HOSTS, st.dictionaries(NAMES.map(ZoneId), HOSTS), st.dictionaries(NAMES.map(PoaId), HOSTS), NAMES, NAMES)
def test_every_place_has_a_host_and_a_poa_that_is_named_always_has_its_own(default, by_zone, by_poa, poa, zone):
    host = Placement(default, by_zone, by_poa).host_for(PoaId(poa), ZoneId(zone))
    assert host == by_poa.get(PoaId(poa), by_zone.get(ZoneId(zone), default))
