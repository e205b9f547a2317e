"""Hands for the contract tests on real MEC hosts: what an app, another user or bad luck does there."""

from __future__ import annotations

import asyncio
import json
from asyncio import Task

from pillion.core.model import HostId
from pillion.hosts.base import MecHost, TransferLink, Transferred
from pillion.hosts.docker import DockerHost
from pillion.hosts.docker_api import HostTimeouts
from tests.hosts import mec_hosts
from tests.hosts.bench import Tree
from tests.hosts.mec_hosts import Machine


class DockerBench:
    original = mec_hosts.APP
    lab = mec_hosts.LAB

    def __init__(self, machines: list[Machine]) -> None:
        self.machines = {HostId(machine.name): machine for machine in machines}
        self.opened: list[DockerHost] = []
        self.source: DockerHost = self.open(machines[0])
        self.target: DockerHost = self.open(machines[1])

    def open(self, machine: Machine, timeouts: HostTimeouts | None = None) -> DockerHost:
        self.opened.append(machine.host(timeouts=timeouts))
        return self.opened[-1]

    def machine(self, host: MecHost) -> Machine:
        return self.machines[host.id]

    async def run(self, host: MecHost, *words: str, data: str | None = None) -> str:
        encoded = None if data is None else data.encode()
        return await asyncio.to_thread(self.machine(host).run, *words, data=encoded)

    async def engine(self, host: MecHost) -> MecHost:
        return self.open(self.machine(host))

    def path(self, volume: str, path: str = "") -> str:
        return f"/var/lib/docker/volumes/{volume}/_data/{path}"

    async def write(self, host: MecHost, volume: str, path: str, content: str, mode: str = "644") -> None:
        script = 'mkdir -p "$(dirname "$1")" && cat > "$1" && chmod "$2" "$1"'
        await self.run(host, "sh", "-c", script, "sh", self.path(volume, path), mode, data=content)

    async def symlink(self, host: MecHost, volume: str, path: str, target: str) -> None:
        await self.run(host, "ln", "-s", target, self.path(volume, path))

    async def delete(self, host: MecHost, volume: str, path: str) -> None:
        await self.run(host, "rm", self.path(volume, path))

    async def tree(self, host: MecHost, volume: str) -> Tree:
        script = """
import os, pathlib, sys, json, stat, hashlib
root, tree = pathlib.Path(sys.argv[1]), {}
for path in [root, *root.rglob("*")]:
    stats = os.lstat(path)
    kind = f"{stats.st_mode:o} {stats.st_uid} {stats.st_gid} {stats.st_mtime_ns}"
    if path.is_symlink(): content = "-> " + os.readlink(path)
    elif path.is_file(): content = hashlib.sha256(path.read_bytes()).hexdigest()
    else: content = "folder"
    tree[str(path.relative_to(root))] = [kind, content]
print(json.dumps(tree))
"""
        listed = json.loads(await self.run(host, "python3", "-c", script, self.path(volume)))
        return {path: (kind, content) for path, (kind, content) in listed.items()}

    async def write_inside(self, host: MecHost, container: str, path: str, content: str | None) -> None:
        if content is None:
            await self.run(host, "docker", "exec", container, "rm", "-f", path)
        else:
            inside = ("sh", "-c", 'cat > "$1"', "sh", path)
            await self.run(host, "docker", "exec", "-i", container, *inside, data=content)

    async def read_inside(self, host: MecHost, container: str, path: str) -> str | None:
        try:
            return await self.run(host, "docker", "exec", container, "cat", path)
        except RuntimeError as error:
            if "No such file" not in str(error):
                raise
            return None

    async def settings(self, host: MecHost, image: str) -> tuple[object, object, dict[str, str]]:
        (found,) = json.loads(await self.run(host, "docker", "image", "inspect", image))
        return found["Config"]["Cmd"], found["Config"]["Env"], found["Config"]["Labels"]

    async def add_foreign(self, host: MecHost, name: str) -> None:
        await self.run(host, "docker", "import", "-", name, data=_EMPTY_TAR)
        await self.run(host, "docker", "volume", "create", name)
        await self.run(
            host,
            "docker",
            "run",
            "-d",
            "--name",
            name,
            "-e",
            "PILLION_INSTANCE=x",
            "-e",
            "PILLION_EPOCH=0",
            self.original,
        )

    async def foreign(self, host: MecHost, name: str) -> list[str]:
        found = []
        if (
            await self.run(host, "docker", "ps", "-q", "--filter", f"name=^{name}$", "--filter", "status=running")
        ).strip():
            found.append("container")
        if (await self.run(host, "docker", "images", "-q", name)).strip():
            found.append("image")
        if (await self.run(host, "docker", "volume", "ls", "-q", "--filter", f"name=^{name}$")).strip():
            found.append("volume")
        return found

    async def cut_while_sending(self, link: TransferLink, host: MecHost, volume: str, target_volume: str) -> None:
        await self.run(host, "truncate", "-s", "2G", self.path(volume, "large"))
        sending = asyncio.create_task(link.send_volume(volume, target_volume))
        staging = f"/var/lib/docker/volumes/{target_volume}/.pillion-*/*"
        wait = f"until [ -n \"$(find {staging} -size +10M 2>/dev/null)\" ]; do :; done; pgrep -f 'helper-.*hosttest'"
        pid = (await self.run(self.target, "timeout", "20", "sh", "-c", wait)).split()[0]
        await self.run(self.target, "kill", "-9", pid)
        try:
            await sending
        finally:
            await self.delete(host, volume, "large")

    async def sending_filesystem(self, link: TransferLink, container: str, image: str, then: str) -> Task[Transferred]:
        """Start to send a container's filesystem with 200 MB in it, and run `then` on the target in the midst of it."""
        await self.run(self.source, "docker", "exec", container, "sh", "-c", "yes | head -c 200000000 > /large")
        sending = asyncio.create_task(link.send_filesystem(container, image, f"{image}-base", {}))
        arriving = "find /var/lib/docker/overlay2 -maxdepth 3 -path '*/diff/large' -size +10M"
        wait = f'until [ -n "$({arriving})" ]; do :; done'
        await self.run(self.target, "timeout", "30", "sh", "-c", f"{wait}; {then}")
        return sending

    async def cut_filesystem_while_sending(self, link: TransferLink, container: str, image: str) -> None:
        then = "kill -9 $(pgrep -f '[h]elper-.*hosttest')"
        try:
            await (await self.sending_filesystem(link, container, image, then))
        finally:
            await self.run(self.source, "docker", "exec", container, "rm", "/large")

    async def clean(self) -> None:
        """Everything these tests make, also what is not ours."""
        for host in self.opened:
            await host.close()
        script = """
docker ps -aq | xargs -r docker rm -fv >/dev/null
docker volume ls -q | xargs -r docker volume rm >/dev/null
docker images --format '{{.ID}} {{.Repository}}' | grep -v 'pillion-test/app$' | cut -d' ' -f1 | sort -u |
    xargs -r docker rmi -f >/dev/null
rm -rf /var/lib/pillion /dev/shm/pillion
"""
        for machine in self.machines.values():
            await asyncio.to_thread(machine.run, "sh", "-c", script)


_EMPTY_TAR = "\0" * 10240
