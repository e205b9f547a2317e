"""Real MEC hosts for the contract tests: containers of `pillion/mec-host` on a network of their own, and their keys."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from pillion.core.model import HostId
from pillion.hosts.docker import DockerHost
from pillion.hosts.docker_api import HostTimeouts
from pillion.hosts.ssh import SshSettings

IMAGE = "pillion/mec-host:latest"
BASE = "pillion/python:latest"
APP = "pillion-test/app:latest"
NETWORK = "pillion-test"
SUBNET = "172.29.77.0/24"
LAB = "hosttest"
START_TIMEOUT_S = 90.0
APP_NETWORK = "172.31.255.0/24"


def docker(*words: str, data: bytes | None = None) -> str:
    """What the outer Docker Engine says."""
    done = subprocess.run(["docker", *words], input=data, capture_output=True, timeout=300)
    if done.returncode != 0:
        raise RuntimeError(f"docker {' '.join(words)}: {done.stderr.decode().strip()}")
    return done.stdout.decode()


@dataclass(frozen=True)
class Machine:
    """One MEC host container."""

    name: str
    address: str
    keys: Path

    def run(self, *words: str, data: bytes | None = None) -> str:
        """What a program says that runs there as root."""
        return docker("exec", *(["-i"] if data is not None else []), self.container, *words, data=data)

    @property
    def container(self) -> str:
        return f"pillion-test-{self.name}"

    def settings(self) -> SshSettings:
        return SshSettings("root", self.address, 22, self.keys / "engine", self.keys / "known_hosts")

    def host(self, lab: str = LAB, timeouts: HostTimeouts | None = None) -> DockerHost:
        return DockerHost(HostId(self.name), self.address, lab, self.settings(), timeouts, network_image=APP)


def start(names: dict[str, str], folder: Path, *options: str) -> list[Machine]:
    """Start one MEC host for each name and last part of its address; returns when they can be steered."""
    keys = folder / "keys"
    if not keys.exists():
        keys.mkdir(parents=True)
        engine = asyncssh.generate_private_key("ssh-ed25519")
        engine.write_private_key(str(keys / "engine"))
        (keys / "engine.pub").write_bytes(engine.export_public_key())
    machines = []
    for name, last in names.items():
        machine = Machine(name, SUBNET.rpartition(".")[0] + f".{last}", keys)
        own = folder / name
        own.mkdir()
        host_key = asyncssh.generate_private_key("ssh-ed25519")
        host_key.write_private_key(str(own / "ssh_host_ed25519_key"))
        (own / "authorized_keys").write_bytes((keys / "engine.pub").read_bytes())
        with (keys / "known_hosts").open("ab") as known:
            known.write(machine.address.encode() + b" " + host_key.export_public_key())
        confinement = ["seccomp=unconfined", "apparmor=unconfined", "systempaths=unconfined"]
        docker(
            *("run", "--detach", "--name", machine.container, "--hostname", name, "--label", "pillion.test=hosts"),
            *("--network", NETWORK, "--ip", machine.address, "--cgroupns", "host", "--shm-size", "2g"),
            *("--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE", "--device-cgroup-rule", "a *:* rwm"),
            *(word for option in confinement for word in ("--security-opt", option)),
            *("--volume", f"{own}:/etc/pillion:ro", *options, IMAGE),
        )
        machines.append(machine)
    for machine in machines:
        _wait(machine)
    return machines


def _wait(machine: Machine) -> None:
    until = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            machine.run("python3", "-I", "-S", "/usr/local/lib/mec-host/health.py")
            return
        except RuntimeError as error:
            if time.monotonic() > until:
                log = docker("logs", "--tail", "20", machine.container)
                raise RuntimeError(f"{machine.container} cannot be steered: {error}\n{log}") from error
            time.sleep(0.2)


def prepare() -> None:
    """Remove what an earlier run left, make the network and the app's image."""
    for image in (IMAGE, BASE):
        if not docker("images", "--quiet", image):
            raise RuntimeError(f"image {image} is missing: run `make test`, which builds it")
    remove()
    docker("network", "create", "--subnet", SUBNET, "--label", "pillion.test=hosts", NETWORK)
    docker("create", "--name", "pillion-test-build", "--label", "pillion.test=hosts", BASE)
    docker("cp", str(Path(__file__).with_name("serve.py")), "pillion-test-build:/serve.py")
    command = 'CMD ["python3", "-I", "/serve.py"]'
    changes = [word for change in (command, "ENV KEPT=yes", "LABEL kept=yes") for word in ("--change", change)]
    docker("commit", *changes, "pillion-test-build", APP)
    docker("rm", "pillion-test-build")


def remove(*names: str) -> None:
    """Remove these machines, or everything that these tests make."""
    listed = docker("ps", "--all", "--quiet", "--filter", "label=pillion.test=hosts").split()
    containers = [f"pillion-test-{name}" for name in names] or listed
    if containers:
        docker("rm", "--force", "--volumes", *containers)
    if names:
        return
    if docker("network", "ls", "--quiet", "--filter", "label=pillion.test=hosts"):
        docker("network", "rm", NETWORK)
    if docker("images", "--quiet", APP):
        docker("rmi", APP)
