"""What a MEC host is and has, and what keeps an app from being moved between two of them.

Each judgement is one line: which of the two hosts, what is wrong with it, and in brackets what to do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What `pillion doctor` and the preflight ask of a host."""

    engine_version: str
    api_version: tuple[int, int]
    """Newest Docker Engine API that it speaks."""
    experimental: bool
    """Whether the Docker Engine's experimental features are on, of which checkpoints are one."""
    storage_driver: str
    containerd_store: bool
    cgroup_version: int
    python_version: str
    free_bytes: int
    """Free on the file system that holds the engine's data."""
    shm_free_bytes: int
    """Free on /dev/shm, where checkpoints are kept."""
    kernel: str
    """Release of its Linux. Source: uname(2)."""
    criu_version: tuple[int, ...] | None
    """None: no CRIU runs there."""
    criu_problem: str
    """What `criu check` says is missing; empty: nothing. Source: criu(8), category 1."""
    can_raise_limits: bool
    """Whether CAP_SYS_RESOURCE is effective there. Source: capabilities(7)."""
    cpu_features: frozenset[str]
    """What its processor offers to programs. Source: proc_cpuinfo(5), `flags`; `Features` on ARM."""


_NEEDED_API = (1, 43)
"""`HostConfig.Annotations`, by which CRIU is told where to write. Source: Docker Engine API, version history, v1.43."""
_NEEDED_CRIU = (3, 19)
"""`network-lock skip`. Source: CRIU's history, v3.19."""
_NEEDED_CRIU_BY_NEW_KERNEL = (4, 2)
_NEW_KERNEL = (6, 16)
"""From here on TCP sockets have no SO_PASSCRED, which an older CRIU asks for. Source: CRIU, issue 2705."""
_STORAGE_DRIVER = "overlay2"


def unfit_for_checkpoint(source: HostFacts, target: HostFacts, uid: int | None, memory_bytes: int) -> list[str]:
    """What keeps M3 from moving an app with so much memory from source to target; empty: nothing.

    `uid` is what its processes run as, None where nobody knows.
    """
    unfit = [f"{place}: {said}" for place, host in _both(source, target) for said in _unfit(host, memory_bytes)]
    if uid and not source.can_raise_limits:
        # Source: prlimit(2): the limits of another user's process.
        unfit.append(
            f"source: CRIU may not read the limits of processes of uid {uid} "
            "(let the app run as root, or give the host CAP_SYS_RESOURCE)"
        )
    if lacks := source.cpu_features - target.cpu_features:
        # A restored program uses what it found where it began. Source: criu(8), `--cpu-cap`.
        unfit.append(f"target: its CPU lacks {', '.join(sorted(lacks))} (choose hosts whose CPUs are alike)")
    return unfit


def unfit_for_images(source: HostFacts, target: HostFacts, needed_bytes: int) -> list[str]:
    """What keeps an image from being made on the source and loaded on the target, each of which needs so much disk."""
    return [
        f"{place}: {_mb(host.free_bytes)} free for its Docker Engine, {_mb(needed_bytes)} needed (free some disk space)"
        for place, host in _both(source, target)
        if host.free_bytes < needed_bytes
    ]


def _both(source: HostFacts, target: HostFacts) -> tuple[tuple[str, HostFacts], ...]:
    return ("source", source), ("target", target)


def _unfit(host: HostFacts, memory_bytes: int) -> Iterator[str]:
    """What is wrong with one host, source or target alike."""
    if host.api_version < _NEEDED_API:
        yield f"Docker {host.engine_version} passes no annotations to CRIU (install Docker 24 or newer)"
    if not host.experimental:
        yield 'Docker\'s experimental features are off (set `"experimental": true` in its daemon.json)'
    if host.containerd_store:
        yield (
            "Docker keeps its images in containerd's store "
            '(set `"features": {"containerd-snapshotter": false}` in its daemon.json)'
        )
    elif host.storage_driver != _STORAGE_DRIVER:
        # Files are sent through the upper folder of the container's overlay.
        yield (
            f"Docker's storage driver is {host.storage_driver} "
            f'(set `"storage-driver": "{_STORAGE_DRIVER}"` in its daemon.json)'
        )
    needed = _NEEDED_CRIU_BY_NEW_KERNEL if _version(host.kernel) >= _NEW_KERNEL else _NEEDED_CRIU
    if host.criu_version is None:
        yield f"no CRIU runs there (install CRIU {dotted(needed)} or newer)"
    elif host.criu_version < needed:
        yield (
            f"CRIU {dotted(host.criu_version)} is too old for Linux {host.kernel} "
            f"(install CRIU {dotted(needed)} or newer)"
        )
    if host.criu_problem:
        yield f"`criu check` fails: {host.criu_problem} (use a kernel with what CRIU needs, and root)"
    needed_bytes = 2 * memory_bytes  # The first checkpoint and the last.
    if host.shm_free_bytes < needed_bytes:
        yield f"{_mb(host.shm_free_bytes)} free on /dev/shm, {_mb(needed_bytes)} needed (make it larger)"


def dotted(version: tuple[int, ...]) -> str:
    """A version as people write it."""
    return ".".join(map(str, version))


def _version(release: str) -> tuple[int, ...]:
    """The first two numbers of a kernel's release."""
    return tuple(int(number) for number in re.findall(r"\d+", release)[:2])


def _mb(size: int) -> str:
    return f"{size / 1e6:.0f} MB"
