"""First process of a MEC host: keeps its Docker Engine and its sshd running, and ends the host at once when told.

A MEC host's engine may be killed by a fault campaign, or die by itself: the containers that it started go on
(live-restore) and the engine comes back. The host ends like a machine that is switched off; its volume keeps all.

An engine that was killed is started twice: Docker Engine 26.1, killed while it starts a container, takes that one's
port mapping over from its notes and keeps the port, until it is started after an orderly end. The first of the two
starts listens where nobody asks, so that the engine is away once and not twice.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

LAB = Path("/etc/pillion")  # mounted read-only: authorized_keys, ssh_host_ed25519_key
CGROUPS = Path("/sys/fs/cgroup")
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0
LOOK_S = 0.1
RECOVERY_SOCKET = "/run/docker-recovery.sock"
SOUND_AFTER_S = 30.0  # a service that ran this long starts over with the shortest pause
ENGINE_STOP_S = 3.0
GRACE_S = 0.7


def log(text: str) -> None:
    sys.stderr.write(f"mec-host: {text}\n")


class Service:
    """A program that has to run as long as the host does."""

    def __init__(
        self, name: str, command: list[str], prepare: Callable[[], None], after_kill: list[str] | None = None
    ) -> None:
        self.name = name
        self.command = command
        self.after_kill = after_kill or command
        self.prepare = prepare
        self.pid: int | None = None
        self.started_s = 0.0
        self.pause_s = FIRST_PAUSE_S
        self.due_s = 0.0
        self.was_killed = False

    def start(self) -> None:
        self.prepare()
        command = self.after_kill if self.was_killed else self.command
        # A session of its own, and the signals as a program expects to find them.
        self.pid = os.posix_spawnp(
            command[0], command, os.environ, setsid=True, setsigmask=[], setsigdef=[signal.SIGPIPE]
        )
        self.started_s = time.monotonic()
        log(f"{self.name} started, pid {self.pid}")

    def ended(self, status: int) -> None:
        now_s = time.monotonic()
        if now_s - self.started_s > SOUND_AFTER_S:
            self.pause_s = FIRST_PAUSE_S
        self.due_s = now_s + self.pause_s
        log(f"{self.name} ended with {os.waitstatus_to_exitcode(status)}; again in {self.pause_s:.1f} s")
        self.pause_s = min(2 * self.pause_s, LONGEST_PAUSE_S)
        self.was_killed = os.WIFSIGNALED(status)
        self.pid = None


def reap() -> dict[int, int]:
    """Every child that has ended, adopted ones too: pid to wait status."""
    ended = {}
    with contextlib.suppress(ChildProcessError):
        while (child := os.waitpid(-1, os.WNOHANG))[0]:
            ended[child[0]] = child[1]
    return ended


def open_cgroups() -> None:
    """Make the cgroup trees writable, which Docker mounts read-only into all but privileged containers."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        mount_point, options, kind = fields[4], fields[5].split(","), fields[fields.index("-") + 1]
        if kind in ("cgroup", "cgroup2") and "ro" in options and Path(mount_point).is_relative_to(CGROUPS):
            # Without "bind" the kernel takes it for the superblock that the outer machine uses too, and says busy.
            subprocess.run(["mount", "-o", "remount,bind,rw", mount_point], check=True)
    hand_down_controllers()


def hand_down_controllers() -> None:
    """On cgroup v2, in a namespace of our own: leave its root, as a group with processes hands no controller down."""
    controllers = CGROUPS / "cgroup.controllers"
    if not controllers.exists() or Path("/proc/self/cgroup").read_text().strip() != "0::/":
        return
    (CGROUPS / "init").mkdir(exist_ok=True)
    for pid in (CGROUPS / "cgroup.procs").read_text().split():
        with contextlib.suppress(OSError):  # a process that has just ended
            (CGROUPS / "init" / "cgroup.procs").write_text(pid)
    wanted = " ".join(f"+{name}" for name in controllers.read_text().split())
    (CGROUPS / "cgroup.subtree_control").write_text(wanted)


def mount_run() -> None:
    """Give the host a /run in memory as a real one has: CRIU keeps what it found out about the kernel only there."""
    if not os.path.ismount("/run"):
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755,nosuid,nodev", "tmpfs", "/run"], check=True)


def install_keys() -> None:
    """Copy the lab's keys to where sshd accepts them: the mount may belong to any user, sshd wants root's alone."""
    for name, target in (("authorized_keys", "/root/.ssh"), ("ssh_host_ed25519_key", "/etc/ssh")):
        if not (LAB / name).is_file():
            sys.exit(f"mec-host: {LAB / name} is missing; remedy: mount the lab's folder for this host at {LAB}")
        os.makedirs(target, mode=0o700, exist_ok=True)
        copy = Path(target, name)
        copy.unlink(missing_ok=True)
        with open(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write((LAB / name).read_bytes())


def clear_engine_pid() -> None:
    """Remove a killed engine's pid file: it stops the next one where another process has that number by now."""
    Path("/run/docker.pid").unlink(missing_ok=True)


def make_sshd_run() -> None:
    os.makedirs("/run/sshd", mode=0o755, exist_ok=True)


def engine_has_recovered() -> bool:
    """Whether the first start of a Docker Engine that was killed has come up."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1)
        connection.connect(RECOVERY_SOCKET)
        connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
        with connection.makefile("rb") as answer:  # to its end: the engine logs an error for each one cut short
            return b" 200 " in answer.read()
    return False


def supervise(services: list[Service], engine: Service) -> None:
    """Keep all services running until SIGTERM or SIGINT."""
    while True:
        if engine.was_killed and engine.pid is not None and engine_has_recovered():
            log("dockerd has recovered from its kill: a second start, after an orderly end")
            engine.was_killed, engine.pause_s = False, FIRST_PAUSE_S
            os.kill(engine.pid, signal.SIGTERM)
        for service in services:
            if service.pid is None and service.due_s <= time.monotonic():
                service.start()
        dues = [service.due_s for service in services if service.pid is None]
        wait_s = max(0.0, min(dues) - time.monotonic()) if dues else LOOK_S if engine.was_killed else 3600.0
        caught = signal.sigtimedwait({signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}, wait_s)
        if caught is not None and caught.si_signo != signal.SIGCHLD:
            return
        ended = reap()
        for service in services:
            if service.pid in ended:
                service.ended(ended[service.pid])


def shut_down(engine: Service) -> None:
    """End the engine, then everything else on the host; within some 4 s whatever they do."""
    if engine.pid is not None:
        os.kill(engine.pid, signal.SIGTERM)
        wait_until(lambda: engine.pid in reap(), ENGINE_STOP_S)
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGTERM)  # every process of this host but this one
        wait_until(is_alone, GRACE_S)
        os.kill(-1, signal.SIGKILL)
        thaw()
        wait_until(is_alone, GRACE_S)


def thaw() -> None:
    """Let the processes of paused containers take the SIGKILL that waits for them; on cgroup v2 they do so frozen."""
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    freezers = [(fields[3], fields[4]) for fields in mounts if "freezer" in fields[-1].split(",")]
    for process in Path("/proc").glob("[0-9]*/cgroup"):
        with contextlib.suppress(OSError):  # a process that has just ended
            for line in process.read_text().splitlines():
                _, controllers, path = line.split(":", 2)
                for root, point in freezers if controllers == "freezer" else []:
                    state = Path(point, os.path.relpath(path, root), "freezer.state")
                    if state.read_text().strip() != "THAWED":
                        state.write_text("THAWED")


def is_alone() -> bool:
    reap()
    try:
        os.kill(-1, 0)
    except ProcessLookupError:
        return True
    return False


def wait_until(done: Callable[[], bool], limit_s: float) -> None:
    end_s = time.monotonic() + limit_s
    while not done() and time.monotonic() < end_s:
        signal.sigtimedwait({signal.SIGCHLD}, 0.05)


def main() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD})
    open_cgroups()
    mount_run()
    install_keys()
    after_kill = ["dockerd", "--host", f"unix://{RECOVERY_SOCKET}"]
    engine = Service("dockerd", ["dockerd"], clear_engine_pid, after_kill)
    supervise([Service("sshd", ["/usr/sbin/sshd", "-D", "-e"], make_sshd_run), engine], engine)
    log("ending")
    shut_down(engine)


if __name__ == "__main__":
    main()
