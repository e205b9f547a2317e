"""What an app uses: how it is read of the kernel, and how two forms are compared."""

import pytest

from pillion import config
from pillion.core.model import AppId
from pillion.experiments.app_forms import FORMS, LAB_FILE, Form, Used, kernel_account, page, saved
from pillion.experiments.proofs import Verdict
from pillion.lab.assets import assets

STAT = "1 (a (strange) name) S 0 1 1 0 -1 4194560 9178 10 0 0 1250 325 7 8 20 0 3 0 1234 100 200\n"
DEVICES = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier
    lo:  999999     100    0    0    0     0          0         0   999999     100    0    0    0     0       0
  eth0:1500       10    0    0    0     0          0         0     2500      20    0    0    0     0       0
  eth1:       1       1    0    0    0     0          0         0        2       1    0    0    0     0       0
"""


def form(app: str, asked: int, told: int = 0, sent_bytes: int = 0, cpu_s: float = 0.0) -> Form:
    return Form(AppId(app), Used(asked, told, sent_bytes, cpu_s), 10.0, Verdict(True, "right"))


FOUND = [
    form("a1", 1000, 0, 2_000_000, 4.0),
    form("a1-told", 50, 50, 100_000, 0.5),
    form("a2", 500, 0, 1_000_000, 2.0),
    form("a2-told", 0),
]


def test_bytes_of_both_directions_but_not_of_the_loopback_and_user_and_system_time_are_read() -> None:
    assert kernel_account(STAT, DEVICES) == (4003, 15.75)


def test_what_was_used_is_what_came_to_it_since_the_reading_before() -> None:
    assert Used(9, 8, 700, 6.5).since(Used(1, 2, 300, 4.0)) == Used(8, 6, 400, 2.5)


def test_each_app_is_compared_with_its_other_form() -> None:
    assert saved(FOUND) == {"a1": (20.0, 10.0, 20.0, 8.0), "a2": (float("inf"),) * 4}


def test_the_page_shows_each_form_and_what_is_saved() -> None:
    text = page(FOUND, {"kernel": "Linux 6"})
    assert "| a1-told | subscribing | 50 | 5.00 | 50 | 100 | 0.50 | 5.00% | right |" in text
    assert "| a1 | 20.0 | 10.0 | 20.0 | 8.0 |" in text
    assert "| kernel | Linux 6 |" in text


@pytest.mark.parametrize(("polls", "is_told"), FORMS.items())
def test_in_its_lab_an_app_differs_from_its_other_form_in_its_source_alone(polls: AppId, is_told: AppId) -> None:
    apps = config.load(assets() / "compose" / LAB_FILE).apps
    one, other = (apps[name].model_dump(exclude={"port", "publish", "environment"}) for name in (polls, is_told))
    assert one == other
    assert apps[polls].environment == {}
    assert list(apps[is_told].environment.values()) == ["subscribe"]
