"""What is frozen goes on: by the freezer of either kind of cgroups, in a container and outside one."""

from __future__ import annotations

from pathlib import Path

import pytest

from pillion.hosts.helper.freezer import freeze, thaw

MOUNTED = "1 2 0:34 {root} {at} rw - {kind} cgroup rw{options}\n"


def host(folder: Path, *mounts: str, group: str) -> Path:
    """A proc file system with these mounts, and process 7 in that group."""
    proc = folder / "proc"
    for pid in ("self", "7"):
        (proc / pid).mkdir(parents=True)
    (proc / "self/mountinfo").write_text("".join(mounts))
    (proc / "7/cgroup").write_text(group)
    return proc


@pytest.mark.parametrize("root", ["/", "/docker/host"])
def test_a_frozen_group_of_version_1_is_thawed(tmp_path: Path, root: str) -> None:
    at = tmp_path / "freezer"
    inside = at / ("docker/host/docker/app" if root == "/" else "docker/app")
    inside.mkdir(parents=True)
    (inside / "freezer.state").write_text("FROZEN")
    mounts = [
        MOUNTED.format(root=root, at=tmp_path / "cpu", kind="cgroup", options=",cpu"),
        MOUNTED.format(root=root, at=at, kind="cgroup", options=",freezer"),
    ]
    proc = host(tmp_path, *mounts, group="4:cpu:/docker/host/docker/app\n3:freezer:/docker/host/docker/app\n0::/x\n")
    thaw(7, proc)
    assert (inside / "freezer.state").read_text() == "THAWED"
    freeze(7, proc)
    assert (inside / "freezer.state").read_text() == "FROZEN"


def test_a_frozen_group_of_version_2_is_thawed(tmp_path: Path) -> None:
    (tmp_path / "unified/app.scope").mkdir(parents=True)
    (tmp_path / "unified/app.scope/cgroup.freeze").write_text("1")
    mounted = MOUNTED.format(root="/", at=tmp_path / "unified", kind="cgroup2", options="")
    proc = host(tmp_path, mounted, group="0::/app.scope\n")
    thaw(7, proc)
    assert (tmp_path / "unified/app.scope/cgroup.freeze").read_text() == "0"
    freeze(7, proc)
    assert (tmp_path / "unified/app.scope/cgroup.freeze").read_text() == "1"


def test_a_process_that_is_gone_or_in_no_freezer_needs_nothing(tmp_path: Path) -> None:
    proc = host(tmp_path, MOUNTED.format(root="/", at=tmp_path, kind="cgroup2", options=""), group="0::/\n")
    thaw(7, proc)
    thaw(8, proc)
