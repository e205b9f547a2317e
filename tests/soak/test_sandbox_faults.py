"""What the campaign `sandbox-faults` takes for a wrong migration, a wrong handover, and a clear event."""

import pytest

from pillion import config
from pillion.core.events import NotificationsLost, TrackingLost
from pillion.sandbox.faults import Fault
from tests.soak.sandbox_faults import _CASES, _FORGOTTEN, LAB_FILE, LONG_S, Case, Truth, is_subsequence

A, B, C = ("a", "zone01"), ("b", "zone01"), ("c", "zone02")


def test_late_is_no_fault_and_wrong_is() -> None:
    assert is_subsequence([], [A])
    assert is_subsequence([A, C], [A, B, C])
    assert not is_subsequence([C, A], [A, B, C])
    assert not is_subsequence([A, A], [A, B])
    assert not is_subsequence([("x", "zone01")], [A, B])


def test_where_the_ue_was_in_a_span_begins_with_where_it_was_before() -> None:
    truth = Truth([(10.0, A), (20.0, B), (30.0, C)])
    assert truth.places(25.0, 35.0) == [B, C]
    assert truth.places(5.0, 20.0) == [A, B]
    assert truth.places(31.0, 32.0) == [C]


@pytest.mark.parametrize(
    ("case", "tracking", "notifications"),
    [
        (Case(Fault.ERRORS, "poll"), (1, 1), (0, 0)),
        (Case(Fault.ERRORS, "subscribe"), (0, 1), (0, 0)),
        (Case(Fault.SILENCE, "subscribe", LONG_S), (1, 1), (1, 1)),
        (Case(Fault.LOST, "poll"), (0, 0), (0, 0)),
        (Case(Fault.LOST, "subscribe"), (0, 0), (1, 1)),
        (Case(Fault.DUPLICATE, "subscribe"), (0, 0), (0, 0)),
        (Case(_FORGOTTEN, "subscribe"), (0, 0), (1, 1)),
    ],
)
def test_each_fault_is_told_of_once_and_nothing_else_is(
    case: Case, tracking: tuple[int, int], notifications: tuple[int, int]
) -> None:
    assert case.losses() == {TrackingLost: tracking, NotificationsLost: notifications}


def test_every_fault_of_the_sandbox_is_met_in_both_ways_with_every_app_in_both_forms() -> None:
    for source in ("poll", "subscribe"):
        assert set(Fault) <= {case.what for case in _CASES.values() if case.source == source}
    assert set(config.load(LAB_FILE).apps) == {"a1", "a1-told", "a2", "a2-told"}
