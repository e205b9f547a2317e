"""What keeps M3, or an image, from being moved between two hosts: one sentence for each reason, and none without."""

from dataclasses import replace
from typing import Any

import pytest

from pillion.core.host_facts import unfit_for_checkpoint, unfit_for_images
from tests.core.examples import FIT

NEW_KERNEL = "6.16.0"

UNFIT: dict[str, tuple[dict[str, Any], str]] = {
    "an engine without annotations": (
        {"engine_version": "23.0.6", "api_version": (1, 42)},
        "Docker 23.0.6 passes no annotations to CRIU (install Docker 24 or newer)",
    ),
    "no experimental features": (
        {"experimental": False},
        'Docker\'s experimental features are off (set `"experimental": true` in its daemon.json)',
    ),
    "images in containerd's store": (
        {"containerd_store": True, "storage_driver": "overlayfs"},
        "Docker keeps its images in containerd's store "
        '(set `"features": {"containerd-snapshotter": false}` in its daemon.json)',
    ),
    "another storage driver": (
        {"storage_driver": "btrfs"},
        'Docker\'s storage driver is btrfs (set `"storage-driver": "overlay2"` in its daemon.json)',
    ),
    "no CRIU": ({"criu_version": None}, "no CRIU runs there (install CRIU 3.19 or newer)"),
    "no CRIU on a new kernel": (
        {"criu_version": None, "kernel": NEW_KERNEL},
        "no CRIU runs there (install CRIU 4.2 or newer)",
    ),
    "an old CRIU": (
        {"criu_version": (3, 18)},
        "CRIU 3.18 is too old for Linux 6.12.48+deb13-amd64 (install CRIU 3.19 or newer)",
    ),
    "an old CRIU on a new kernel": (
        {"criu_version": (4, 1, 1), "kernel": NEW_KERNEL},
        "CRIU 4.1.1 is too old for Linux 6.16.0 (install CRIU 4.2 or newer)",
    ),
    "a kernel that lacks something": (
        {"criu_problem": "ns_last_pid sysctl is inaccessible"},
        "`criu check` fails: ns_last_pid sysctl is inaccessible (use a kernel with what CRIU needs, and root)",
    ),
    "too little memory": (
        {"shm_free_bytes": 64_000_000 - 1},
        "64 MB free on /dev/shm, 64 MB needed (make it larger)",
    ),
}


@pytest.mark.parametrize("case", UNFIT)
def test_each_lack_of_either_host_is_one_sentence_with_its_remedy(case: str):
    lack, said = UNFIT[case]
    unfit = replace(FIT, **lack)
    assert unfit_for_checkpoint(unfit, FIT, 0, 32_000_000) == [f"source: {said}"]
    assert unfit_for_checkpoint(FIT, unfit, 0, 32_000_000) == [f"target: {said}"]


@pytest.mark.parametrize(
    "enough",
    [
        {"api_version": (1, 43)},
        {"api_version": (2, 0)},
        {"criu_version": (4, 1, 1), "kernel": "6.15.9"},
        {"criu_version": (4, 2), "kernel": NEW_KERNEL},
        {"criu_version": (4, 2, 1), "kernel": "7.0.0-rc1"},
        {"criu_version": (3, 19, 1), "kernel": "5.4.0-42-generic"},
        {"shm_free_bytes": 64_000_000},
    ],
    ids=str,
)
def test_what_is_just_enough_is_enough(enough: dict[str, Any]):
    host = replace(FIT, **enough)
    assert unfit_for_checkpoint(host, host, 0, 32_000_000) == []


def test_processes_of_another_user_need_a_source_that_may_read_their_limits():
    confined = replace(FIT, can_raise_limits=False)
    said = (
        "source: CRIU may not read the limits of processes of uid 101 "
        "(let the app run as root, or give the host CAP_SYS_RESOURCE)"
    )
    assert unfit_for_checkpoint(confined, FIT, 101, 0) == [said]
    for source, target, uid in ((FIT, confined, 101), (confined, FIT, 0), (confined, FIT, None)):
        assert unfit_for_checkpoint(source, target, uid, 0) == []


def test_the_target_s_cpu_may_offer_more_than_the_source_s_but_not_less():
    more = replace(FIT, cpu_features=FIT.cpu_features | {"avx512f", "amx"})
    assert unfit_for_checkpoint(FIT, more, 0, 0) == []
    assert unfit_for_checkpoint(more, FIT, 0, 0) == [
        "target: its CPU lacks amx, avx512f (choose hosts whose CPUs are alike)"
    ]


def test_all_lacks_are_told_at_once():
    bare = replace(FIT, criu_version=None, experimental=False)
    assert len(unfit_for_checkpoint(bare, bare, 0, 0)) == 4


def test_an_image_needs_room_on_both_hosts():
    full = replace(FIT, free_bytes=1_999_999_999)
    said = "2000 MB free for its Docker Engine, 2000 MB needed (free some disk space)"
    assert unfit_for_images(FIT, FIT, 2 * 10**9) == []
    assert unfit_for_images(full, FIT, 2 * 10**9) == [f"source: {said}"]
    assert unfit_for_images(FIT, full, 2 * 10**9) == [f"target: {said}"]
    assert unfit_for_images(full, full, 1_999_999_999) == []
