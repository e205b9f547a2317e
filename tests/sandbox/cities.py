"""Cities for the tests: Monaco with one vehicle, and a street with nothing else on it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from pillion.sandbox.geodesy import Point
from pillion.sandbox.scenario import DEFAULT_WIRELESS_TYPES, EndOfPath, Poa, Scenario, Technology, Ue, load_scenario

METRE_EAST_DEG = 1 / 80_500
"""One metre eastward at the latitude of Monaco."""


@cache
def monaco() -> Scenario:
    return load_scenario("monaco")


def monaco_with_only(ue: str) -> Scenario:
    return replace(monaco(), ues=tuple(each for each in monaco().ues if each.id == ue))


def street() -> Scenario:
    """A street of 1000 m eastward, there and back at 20 m/s: `west` to 90 m, `east` from 310 to 490 m."""

    def at(east_m: float) -> Point:
        return Point(43.73, 7.42 + east_m * METRE_EAST_DEG)

    return Scenario(
        name="street",
        attribution={},
        zones=("left", "right", "empty"),
        poas=(
            Poa("west", "left", Technology.FIVE_G, at(0), 90.0),
            Poa("east", "right", Technology.FOUR_G, at(400), 90.0),
        ),
        ues=(
            Ue("10.0.0.1", (at(0), at(1000)), EndOfPath.REVERSE, 20.0, DEFAULT_WIRELESS_TYPES),
            Ue("10.0.0.2", (at(390),), EndOfPath.LOOP, 0.0, DEFAULT_WIRELESS_TYPES),
        ),
    )
