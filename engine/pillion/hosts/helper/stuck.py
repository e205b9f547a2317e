"""What is left of a CRIU whose checkpoint or restore has gone wrong.

One that was killed may leave a child behind, for which runc, and so the Docker Engine, waits for ever. While a
checkpoint is taken or restored this looks now and then whether that has happened, and ends what is left of CRIU. Then
runc reports the failure, and the container is as it was. One that hangs is ended once nobody waits for it any more. If
the Docker Engine itself was killed, CRIU may be at work for a moment more, or be dead and have left the app frozen.
Source: proc(5); runc, `checkpoint` and `restore`, whose last word is the container's id, as it is a word of the command
line of containerd's shim, which orphans come to.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_LOOK_S = 0.25
_LAST_WORK_S = 3.0
"""What a CRIU for which nobody waits may still take; killed at a bad instant it could hurt the app."""
_KILLS = 20
"""Looks at which what is left is killed: children come to light when their parent is gone."""


@contextmanager
def freed(container_id: str, proc: Path = Path("/proc")) -> Iterator[None]:
    """Watch over a checkpoint or restore of that container for as long as it is under way."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_LOOK_S):
            _kill(orphans(container_id, proc))

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield
    finally:
        over.set()
        watching.join()


def ended(container_id: str, proc: Path = Path("/proc")) -> None:
    """Wait until no CRIU is at work on this container; one that takes too long is killed."""
    limit_s = time.monotonic() + _LAST_WORK_S
    while states := _states(container_id, proc):
        if time.monotonic() > limit_s + _KILLS * _LOOK_S:
            return
        if time.monotonic() > limit_s:
            _kill(states)
        time.sleep(_LOOK_S)


def orphans(container_id: str, proc: Path = Path("/proc")) -> list[int]:
    """CRIU's processes for this container, if one of them has died and nobody has asked how; else none."""
    states = _states(container_id, proc)
    return [pid for pid, state in states.items() if state != "Z"] if "Z" in states.values() else []


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with suppress(OSError):  # it may have ended by itself
            os.kill(pid, signal.SIGKILL)


def _states(container_id: str, proc: Path) -> dict[int, str]:
    """CRIU's processes for this container, each with its state as proc(5) has it."""
    states: dict[int, str] = {}
    for entry in proc.iterdir():
        with suppress(OSError, ValueError, IndexError):  # it ended while we looked
            stat = (entry / "stat").read_text()
            name, _, rest = stat.partition("(")[2].rpartition(")")
            state, parent = rest.split()[:2]
            if name == "criu" and container_id.encode() in (proc / parent / "cmdline").read_bytes().split(b"\0"):
                states[int(entry.name)] = state
    return states
