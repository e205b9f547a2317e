"""What `pillion doctor` says of migrations by M3, from what the hosts told."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from pillion.core.model import HostId
from pillion.lab.doctor import live_migrations
from tests.core.examples import FIT

from .conftest import Lab

MEC1, MEC2 = HostId("mec1"), HostId("mec2")


def test_each_way_is_looked_at_and_says_for_whom_it_is():
    confined = replace(FIT, can_raise_limits=False)
    findings = live_migrations({MEC1: FIT, MEC2: confined}, wanted=True)
    assert [(each.name, each.found, each.error) for each in findings] == [
        ("M3 mec1→mec2", "possible", None),
        ("M3 mec2→mec1", "possible for apps that run as root", None),
    ]


@pytest.mark.parametrize("wanted", [True, False])
def test_a_way_that_is_not_possible_is_a_lack_only_where_an_app_is_to_move_by_it(wanted: bool):
    small = replace(FIT, shm_free_bytes=64 * 2**20, criu_version=None)
    _, back = live_migrations({MEC1: FIT, MEC2: small}, wanted=wanted)
    said = str(back.error) if wanted else back.found.removeprefix("not possible: ")
    assert said == (
        "source: no CRIU runs there (install CRIU 3.19 or newer); "
        "source: 67 MB free on /dev/shm, 200 MB needed (make it larger)"
    )
    assert (back.error is not None and back.error.exit_code == 6) == wanted


def test_one_host_alone_has_nowhere_to_move_to():
    assert live_migrations({MEC1: FIT}, wanted=True) == []


@pytest.mark.lab
def test_the_lab_s_own_hosts_can_move_apps_by_m3_each_way(lab: Lab):
    command = [sys.executable, "-m", "pillion", "doctor", "-t", str(lab.file), "--format", "json"]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout
    found = {check["check"]: check["found"] for check in json.loads(done.stdout)}
    hosts = list(lab.settings.hosts)
    assert all(", CRIU " in found[f"host {host}"] for host in hosts)
    ways = [found[f"M3 {source}→{target}"] for source in hosts for target in hosts if source != target]
    assert ways
    assert all(way.startswith("possible") for way in ways)
