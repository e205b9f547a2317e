"""A container's processes made to stand still, or let go on after something froze them and went away.

CRIU freezes the container's cgroup for its dump, and so does runc for a pause. If the Docker Engine is killed in the
midst of a checkpoint, CRIU is killed with it, and nobody is left who knows that the app stands still.
Source: Linux Documentation, cgroup-v1/freezer-subsystem.rst (`freezer.state`), cgroup-v2.rst (`cgroup.freeze`).
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path, PurePosixPath


def thaw(pid: int, proc: Path = Path("/proc")) -> None:
    """Let the cgroup of a process go on; content if it is not frozen, or gone."""
    _set(pid, proc, "THAWED", "0")


def freeze(pid: int, proc: Path = Path("/proc")) -> None:
    """Let the cgroup of a process stand still; content if it does, or is gone."""
    _set(pid, proc, "FROZEN", "1")


def _set(pid: int, proc: Path, state: str, flag: str) -> None:
    with suppress(OSError):
        groups = [line.split(":", 2) for line in (proc / str(pid) / "cgroup").read_text().splitlines()]
        for _, controllers, group in groups:
            if controllers == "freezer":
                _write(proc, "cgroup", "freezer", group, "freezer.state", state)
            elif not controllers:
                _write(proc, "cgroup2", "", group, "cgroup.freeze", flag)


def _write(proc: Path, kind: str, option: str, group: str, name: str, value: str) -> None:
    for line in (proc / "self" / "mountinfo").read_text().splitlines():
        here, _, there = line.partition(" - ")
        root, mounted = here.split()[3:5]
        found, _, options = there.split(" ", 2)
        # In a container the mount shows a part of the tree only, and groups are told from the tree's root.
        if found == kind and (not option or option in options.split(",")) and PurePosixPath(group).is_relative_to(root):
            path = Path(mounted, PurePosixPath(group).relative_to(root), name)
            if path.is_file():
                path.write_text(value)
                return
