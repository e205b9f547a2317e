"""Commands from the engine, one JSON object a line, and the host's newest engine epoch.

    in   {"id": 7, "do": "send_volume", "link": "…", "volume": "…"}
    out  {"id": 7, "ok": {…}}
    out  {"id": 7, "error": "refused" | "cut" | "stale", "problem": …, "remedy": …, "place": …}
    out  {"stale": 12}                      a newer engine has claimed the host: unasked, at any time

Commands run side by side, but for those about one container's checkpoints: they come one after another, so that what is
taken late, for an engine that has given up, is removed all the same. A removal ends the CRIU that it waits for. The
helper ends when its input does, which is when the engine or the SSH connection is gone, and takes its links and its
files with it.

The folder's file `epoch` holds the highest epoch claimed. What an older engine asks for after that is refused, and it
is told at once (dnotify: fcntl's F_NOTIFY), so that it stops using the Docker Engine as well.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from pillion.hosts.helper import links
from pillion.hosts.helper.checkpoints import Checkpoints
from pillion.hosts.helper.engine import DockerEngine
from pillion.hosts.helper.facts import facts
from pillion.hosts.helper.wire import Cut, Refused, refused_by_system

_END_TIMEOUT_S = 2.0
_IN_TURN = ("take_checkpoint", "restore", "remove_checkpoints")
_LOOK_S = 0.1


class StaleEpoch(Exception):
    """A newer engine has claimed this host; `epoch` is its."""

    def __init__(self, epoch: int) -> None:
        super().__init__(epoch)
        self.epoch = epoch


class EpochFile:
    """The highest epoch that an engine has claimed this host with; 0: nobody has."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    def highest(self) -> int:
        return int(os.pread(self._fd, 32, 0) or b"0")

    def claim(self, epoch: int) -> None:
        """Raises StaleEpoch if a higher one is there."""
        fcntl.lockf(self._fd, fcntl.LOCK_EX)
        try:
            highest = self.highest()
            if highest > epoch:
                raise StaleEpoch(highest)
            # As wide as any before it: readers take no lock, and never see half of it.
            os.pwrite(self._fd, b"%020d" % epoch, 0)
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN)


class Helper:
    """One engine's helper on this host."""

    def __init__(self, folder: Path, epoch: int) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lab = folder.name
        self._epoch = epoch
        self._epochs = EpochFile(folder / "epoch")
        if epoch:
            self._epochs.claim(epoch)
        for leftover in folder.glob("tmp-*"):
            if not Path("/proc", leftover.name[4:]).exists():
                shutil.rmtree(leftover, ignore_errors=True)
        self._temp = folder / f"tmp-{os.getpid()}"
        self._temp.mkdir(mode=0o700)
        self._checkpoints = Checkpoints(folder)
        self._links: dict[str, links.Link] = {}
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._last: dict[str | None, threading.Thread] = {}
        """For each container the latest command of those that come in turn."""
        self._watch(folder)

    def run(self) -> None:
        """Carry out what standard input asks for, until it ends."""
        for line in sys.stdin.buffer:
            request = json.loads(line)
            turn = request["container"] if request["do"] in _IN_TURN else None
            with self._lock:
                before = self._last.get(turn)
                thread = threading.Thread(target=self._perform, args=(request, turn, before), daemon=True)
                self._threads.add(thread)
                if turn is not None:
                    self._last[turn] = thread
            thread.start()

    def end(self) -> None:
        """Cut every link, wait shortly for what was under way to tidy up, and remove this helper's files."""
        with self._lock:
            open_links, threads = list(self._links.values()), list(self._threads)
        for link in open_links:
            link.cut()
        for thread in threads:
            thread.join(_END_TIMEOUT_S)
        shutil.rmtree(self._temp, ignore_errors=True)

    def _perform(self, request: dict[str, Any], turn: str | None, before: threading.Thread | None) -> None:
        number, command = request.pop("id"), request.pop("do")
        reply: dict[str, Any]
        if before is not None:
            self._wait_for(before, turn if command == "remove_checkpoints" else None)
        try:
            reply = {"ok": self._answer(command, request)}
        except StaleEpoch as error:
            reply = {"error": "stale", "problem": f"engine epoch {error.epoch} has taken this host over"}
        except Refused as error:
            reply = {"error": "refused", "problem": error.problem, "remedy": error.remedy, "place": error.place}
        except Cut as error:
            reply = {"error": "cut", "problem": str(error)}
        except OSError as error:
            refused = refused_by_system("the host cannot do it", error)
            reply = {"error": "refused", "problem": refused.problem, "remedy": refused.remedy}
        self._say({"id": number, **reply})
        with self._lock:
            self._threads.discard(threading.current_thread())
            if self._last.get(turn) is threading.current_thread():
                del self._last[turn]

    def _wait_for(self, before: threading.Thread, given_up: str | None) -> None:
        """Wait for an earlier command; `given_up`: a container, if what it does to that is for nobody any more."""
        while before.is_alive():
            if given_up is not None:
                with suppress(Refused, Cut):
                    self._checkpoints.end_criu(DockerEngine(), given_up)
            before.join(_LOOK_S)

    def _answer(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if command == "claim":
            # Ours first: the watcher must not take our own claim for another engine's.
            before, self._epoch = self._epoch, arguments["epoch"]
            try:
                self._epochs.claim(self._epoch)
            except StaleEpoch:
                self._epoch = before
                raise
            return {}
        if command == "facts":
            return facts(arguments["docker_root"])
        if command == "close":
            with self._lock:
                closing = self._links.pop(arguments["link"], None)
            if closing is not None:
                closing.cut()
            return {}
        self._refuse_if_stale()
        if command == "take_checkpoint":
            container, thread = arguments["container"], threading.current_thread()

            def wanted() -> bool:  # nothing has come after it
                return self._last.get(container) is thread

            return self._checkpoints.take(DockerEngine(), container, arguments["round"], wanted)
        if command == "restore":
            self._checkpoints.restore(DockerEngine(), arguments["container"])
            return {}
        if command == "checkpoints":
            return {"containers": self._checkpoints.containers()}
        if command == "remove_checkpoints":
            self._checkpoints.remove(DockerEngine(), arguments["container"], resume=arguments["resume"])
            return {}
        name = arguments.pop("link")
        with self._lock:
            if command in ("listen", "connect"):
                self._links[name] = links.Link(self._lab, self._temp, self._checkpoints)
            link = self._links.get(name)
        if link is None:
            raise Cut("the link is closed")
        return links.run(link, command, arguments)

    def _refuse_if_stale(self) -> None:
        highest = self._epochs.highest()
        if highest > self._epoch:
            raise StaleEpoch(highest)

    def _watch(self, folder: Path) -> None:
        """Say it when another engine claims this host."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGIO})
        watched = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)  # stays open: closing it ends the watch
        fcntl.fcntl(watched, fcntl.F_NOTIFY, fcntl.DN_MODIFY | fcntl.DN_MULTISHOT)

        def tell() -> None:
            while True:
                signal.sigwait({signal.SIGIO})
                highest = self._epochs.highest()
                if highest > self._epoch:
                    self._say({"stale": highest})

        threading.Thread(target=tell, daemon=True).start()

    def _say(self, message: dict[str, Any]) -> None:
        line = json.dumps(message).encode() + b"\n"
        with self._lock:
            try:
                sys.stdout.buffer.write(line)
                sys.stdout.buffer.flush()
            except OSError:
                pass  # nobody listens any more: standard input ends as well


def main() -> int:
    """The helper's program; its exit code. 3: an older epoch than the host's."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--epoch", type=int, required=True)
    arguments = parser.parse_args()
    # The engine ends a helper by closing its input; a terminal's or a closing session's signals would skip the tidying.
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    try:
        helper = Helper(arguments.dir, arguments.epoch)
    except StaleEpoch as error:
        sys.stdout.write(json.dumps({"stale": error.epoch}) + "\n")
        return 3
    sys.stdout.write(json.dumps({"ready": True}) + "\n")
    sys.stdout.flush()
    try:
        helper.run()
    finally:
        helper.end()
    return 0
