"""A CRIU that was killed may leave a child behind, for which runc, and so the Docker Engine, waits for ever.

While a checkpoint is taken this looks now and then whether that has happened, and ends what is left of CRIU. Then runc
reports the failure, and the container is as it was. Source: proc(5); runc, `checkpoint`, whose last word is the
container's id, as it is a word of the command line of containerd's shim, which orphans come to.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_LOOK_S = 0.25


@contextmanager
def freed(container_id: str, proc: Path = Path("/proc")) -> Iterator[None]:
    """Watch over a checkpoint of that container for as long as it is under way."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_LOOK_S):
            for pid in orphans(container_id, proc):
                with suppress(OSError):  # it may have ended by itself
                    os.kill(pid, signal.SIGKILL)

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield
    finally:
        over.set()
        watching.join()


def orphans(container_id: str, proc: Path = Path("/proc")) -> list[int]:
    """CRIU's processes for this container, if one of them has died and nobody has asked how; else none."""
    states: dict[int, str] = {}
    for entry in proc.iterdir():
        with suppress(OSError, ValueError, IndexError):  # it ended while we looked
            stat = (entry / "stat").read_text()
            name, _, rest = stat.partition("(")[2].rpartition(")")
            state, parent = rest.split()[:2]
            if name == "criu" and container_id.encode() in (proc / parent / "cmdline").read_bytes().split(b"\0"):
                states[int(entry.name)] = state
    return [pid for pid, state in states.items() if state != "Z"] if "Z" in states.values() else []
