"""Which point of access serves a UE: keep what serves, unless something better is there."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pillion.sandbox.attachment import Coverage
from pillion.sandbox.geodesy import Point, geodesic_m
from pillion.sandbox.scenario import Poa, Technology

ORDER = (Technology.WIFI, Technology.FIVE_G, Technology.FOUR_G)
HERE = Point(43.73, 7.42)

RADII_M = {Technology.WIFI: 50.0, Technology.FIVE_G: 100.0, Technology.FOUR_G: 400.0, Technology.OTHER: 1000.0}


def poa(name: str, technology: Technology, east_m: float, radius_m: float | None = None) -> Poa:
    """A POA this far east of HERE; one degree of longitude is 80.5 km there."""
    at = Point(HERE.lat_deg, HERE.lon_deg + east_m / 80_500)
    return Poa(name, "zone01", technology, at, RADII_M[technology] if radius_m is None else radius_m)


PLACES = st.builds(Point, st.floats(43.726, 43.734), st.floats(7.415, 7.425))
POAS = st.lists(
    st.builds(
        lambda technology, at, radius_m: (technology, at, radius_m),
        st.sampled_from(Technology),
        PLACES,
        st.sampled_from([0.0, 50.0, 100.0, 400.0]),
    ),
    max_size=12,
).map(lambda rows: [Poa(f"poa-{index}", "zone01", *row) for index, row in enumerate(rows)])
PREFERENCES = st.lists(st.sampled_from(Technology), min_size=1, unique=True).map(tuple)


@given(POAS, PLACES)
def test_a_poa_reaches_a_ue_exactly_when_it_is_no_farther_than_its_radius(poas: list[Poa], place: Point) -> None:
    expected = [p for p in poas if p.radius_m > 0 and geodesic_m(place, p.at) <= p.radius_m]
    assert [p for p, _ in Coverage(poas).in_range(place)] == expected


@given(POAS, PLACES, PREFERENCES, st.data())
def test_selection_follows_the_rules_for_any_city(
    poas: list[Poa], place: Point, preferences: tuple[Technology, ...], data: st.DataObject
) -> None:
    current = data.draw(st.sampled_from([None, *poas]))
    selected = Coverage(poas).select(place, preferences, current)
    usable = {
        p.id: geodesic_m(place, p.at)
        for p in poas
        if p.radius_m > 0 and geodesic_m(place, p.at) <= p.radius_m and p.technology in preferences
    }
    if selected is None:
        assert not usable
        return
    assert selected.id in usable
    best = min(preferences.index(p.technology) for p in poas if p.id in usable)
    assert preferences.index(selected.technology) == best, "a better technology wins"
    if current is not None and current.id in usable and preferences.index(current.technology) == best:
        assert selected is current, "what serves and is as good as any is kept"
    else:
        assert usable[selected.id] == min(
            usable[p.id] for p in poas if p.id in usable and preferences.index(p.technology) == best
        )


def test_a_ue_stays_with_its_poa_though_one_of_the_same_technology_is_nearer() -> None:
    far, near = poa("far", Technology.FIVE_G, 95), poa("near", Technology.FIVE_G, 5)
    assert Coverage([far, near]).select(HERE, ORDER, far) is far
    assert Coverage([far, near]).select(HERE, ORDER, None) is near


def test_a_ue_leaving_a_radius_is_handed_over_to_the_nearest_of_the_best_technology_left() -> None:
    left = poa("left", Technology.FIVE_G, 101)
    nearer, farther = poa("nearer", Technology.FOUR_G, 120), poa("farther", Technology.FOUR_G, 300)
    assert Coverage([left, farther, nearer]).select(HERE, ORDER, left) is nearer


def test_a_better_technology_takes_a_ue_even_from_a_poa_next_to_it() -> None:
    macro, small = poa("macro", Technology.FOUR_G, 0), poa("small", Technology.FIVE_G, 99)
    assert Coverage([macro, small]).select(HERE, ORDER, macro) is small


def test_a_ue_that_prefers_4g_is_not_taken_by_wifi() -> None:
    macro, wifi = poa("macro", Technology.FOUR_G, 300), poa("wifi", Technology.WIFI, 1)
    assert Coverage([macro, wifi]).select(HERE, (Technology.FOUR_G, Technology.WIFI), None) is macro


def test_a_ue_out_of_every_radius_is_served_by_none_and_forgets_its_poa() -> None:
    gone = poa("gone", Technology.FIVE_G, 150)
    assert Coverage([gone]).select(HERE, ORDER, gone) is None


def test_a_technology_the_ue_cannot_use_does_not_serve_it() -> None:
    assert Coverage([poa("other", Technology.OTHER, 10)]).select(HERE, ORDER, None) is None


def test_a_poa_with_radius_0_serves_not_even_a_ue_that_stands_on_it() -> None:
    assert Coverage([poa("off", Technology.FIVE_G, 0, radius_m=0.0)]).select(HERE, ORDER, None) is None


def test_of_two_poas_equally_near_the_first_of_the_scenario_is_taken() -> None:
    first, second = poa("first", Technology.FIVE_G, 10), poa("second", Technology.FIVE_G, 10)
    assert Coverage([first, second]).select(HERE, ORDER, None) is first
