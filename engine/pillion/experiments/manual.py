"""The source study's procedure by hand, literally: its three strategies line by line, typed on the host they belong to.

It is the baseline that the engine is raced against, so it is made neither slower nor faster than it was: every host has
a shell left open, as an operator has it, and a line's time is from its typing until the shell is back. Nothing of the
engine is in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType

from pillion.core.model import App, HostId, Instance
from pillion.core.plan import Group, Place
from pillion.errors import HostRefused, HostUnreachable

NC_PORT = 5555
_MARK = "--back-in-the-shell"
_LINE_S = 120.0
_END_S = 5.0
_KEY = ".ssh/id_ed25519"
_FILES = "i.tar dv.tar cp cp2"
_LISTENS = f"grep -qs ':{NC_PORT:04X} 0*:0000 0A' /proc/net/tcp /proc/net/tcp6"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the procedure, the host it is typed on, and what the study counts it as."""

    group: Group
    place: Place
    on: HostId
    text: str


@dataclass(frozen=True, slots=True)
class Typed:
    """A line that was typed; seconds on the monotonic clock of the machine that types."""

    line: Line
    began_s: float
    seconds: float

    @property
    def ended_s(self) -> float:
        """When the shell was back."""
        return self.began_s + self.seconds


def moved_image(app: App) -> str:
    """`app:m`, the name of the image that a migration by hand makes."""
    return f"pillion-bench/{app.id}:m"


def run_options(app: App, instance: Instance, lab: str, network: str) -> str:
    """OPT: what the engine gives a container too, so that both race with the same one."""
    words = ["--name", instance.container, "--network", network, "--publish", f"{app.port}:{app.port}"]
    if app.volume is not None:
        words += ["--volume", f"{instance.volume}:{app.volume.mount}"]
    words += ["--log-driver", "json-file", "--log-opt", "max-size=10m", "--log-opt", "max-file=2"]
    environment = {
        "PILLION_APP": app.id,
        "PILLION_UE": app.ue,
        "PILLION_INSTANCE": instance.container,
        "PILLION_EPOCH": instance.epoch,
        "PILLION_PORT": app.port,
    }
    labels = {
        "pillion.lab": lab,
        "pillion.app": app.id,
        "pillion.ue": app.ue,
        "pillion.epoch": instance.epoch,
        "pillion.migration": f"{app.id}-{instance.epoch}",
    }
    for option, facts in (("--env", environment), ("--label", labels)):
        for name, value in facts.items():
            words += [option, f"{name}={value}"]
    return shlex.join(words)


def start(app: App, instance: Instance, options: str) -> list[Line]:
    """The app's first start, from its own image."""
    made = f"docker volume create {instance.volume}"
    volume = [Line(Group.PRE_RELOCATION, Place.TARGET, instance.host, made)] if app.volume else []
    return [*volume, Line(Group.RELOCATION, Place.TARGET, instance.host, f"docker run -d {options} {app.image}")]


def procedure(
    strategy: str, app: App, source: Instance, target: Instance, addresses: Mapping[HostId, str], options: str
) -> list[Line]:
    """The study's M1, M2 or M3, in the order in which it is typed. `options` are those of the target's `docker run`."""
    return _Procedure(strategy, app, source, target, addresses, options).lines()


@dataclass(frozen=True, slots=True)
class _Procedure:
    strategy: str
    app: App
    source: Instance
    target: Instance
    addresses: Mapping[HostId, str]
    options: str

    def lines(self) -> list[Line]:
        return [*self._ahead(), *self._stopped(), *self._volume(), *self._started()]

    def _source(self, group: Group, place: Place, text: str) -> Line:
        return Line(group, place, self.source.host, text)

    def _target(self, group: Group, place: Place, text: str) -> Line:
        return Line(group, place, self.target.host, text)

    def _ahead(self) -> list[Line]:
        """What is done while the app serves."""
        pre, c, image = Group.PRE_RELOCATION, self.source.container, moved_image(self.app)
        to = self.addresses[self.target.host]
        lines = []
        if self.app.phase_hook and self.strategy != "M3":
            told = _get(self.addresses[self.source.host], self.app.port, f"{self.app.phase_hook}?inMigration=1")
            lines.append(self._source(pre, Place.SOURCE, told))
        if self.strategy == "M1":
            return [
                *lines,
                self._source(pre, Place.SOURCE, f"docker export {c} -o i.tar"),
                self._source(pre, Place.TRANSFER, f"scp i.tar {to}:"),
                self._target(pre, Place.TARGET, f"docker import i.tar {image}"),
            ]
        lines += [
            self._source(pre, Place.SOURCE, f"docker commit {c} {image}"),
            self._source(pre, Place.SOURCE, f"docker save {image} -o i.tar"),
        ]
        if self.strategy == "M3":
            first = f"docker checkpoint create --leave-running --checkpoint-dir $PWD/cp {c} cp"
            lines.append(self._source(pre, Place.SOURCE, first))
            lines.append(self._source(pre, Place.TRANSFER, f"scp -r i.tar cp {to}:"))
        else:
            lines.append(self._source(pre, Place.TRANSFER, f"scp i.tar {to}:"))
        return [*lines, self._target(pre, Place.TARGET, "docker load -i i.tar")]

    def _stopped(self) -> list[Line]:
        """The app's end on the source."""
        move, c = Group.RELOCATION, self.source.container
        stop = self._source(move, Place.SOURCE, f"docker stop {c}")
        if self.strategy != "M3":
            return [stop]
        # A fresh one, which stops the app; in a folder of its own, since the first has the name.
        last = f"docker checkpoint create --checkpoint-dir $PWD/cp2 {c} cp"
        return [self._source(move, Place.SOURCE, last), stop]

    def _volume(self) -> list[Line]:
        """The checkpoint's changes and the DV, copied."""
        move, to = Group.RELOCATION, self.addresses[self.target.host]
        lines = []
        if self.strategy == "M3":
            lines.append(self._source(move, Place.TRANSFER, f"rsync -az -e ssh cp2/ {to}:cp/"))
        if self.app.volume is None:
            return lines
        return [
            *lines,
            self._source(move, Place.SOURCE, f"tar -C {_mountpoint(self.source)} -cf dv.tar ."),
            # Typed before the source's line; here nobody's fingers take the time in which it comes to listen.
            self._target(move, Place.TRANSFER, f"nc -l -p {NC_PORT} > dv.tar & until {_LISTENS}; do :; done"),
            self._source(move, Place.TRANSFER, f"dd if=dv.tar | nc -N {to} {NC_PORT}"),
            self._target(move, Place.TRANSFER, "wait $!"),
            self._target(move, Place.TARGET, f"docker volume create {self.target.volume}"),
            self._target(move, Place.TARGET, f"tar -C {_mountpoint(self.target)} -xf dv.tar"),
        ]

    def _started(self) -> list[Line]:
        move, image, c = Group.RELOCATION, moved_image(self.app), self.target.container
        # By hand, since an imported image has none; and again with every image that is made from such a container.
        command = shlex.join(self.app.command or ()) if self.strategy == "M1" else ""
        if self.strategy != "M3":
            return [self._target(move, Place.TARGET, f"docker run -d {self.options} {image} {command}".rstrip())]
        checkpoints = f"/var/lib/docker/containers/$(docker inspect --format '{{{{.Id}}}}' {c})/checkpoints"
        return [
            self._target(move, Place.TARGET, f"docker create {self.options} {image}"),
            self._target(move, Place.TARGET, f"mkdir -p {checkpoints} && mv cp/cp {checkpoints}/"),
            self._target(move, Place.TARGET, f"docker start --checkpoint cp {c}"),
        ]


def tidy(strategy: str, app: App, source: Instance, target: Instance, addresses: Mapping[HostId, str]) -> list[Line]:
    """What is done after the race, and not timed: the app is told of the end, the source keeps its layers alone."""
    volume = f" && docker volume rm {source.volume}" if app.volume else ""
    lines = [
        Line(Group.CLEAN_UP, Place.SOURCE, source.host, f"docker rm {source.container}{volume}; rm -rf {_FILES}"),
        Line(
            Group.CLEAN_UP,
            Place.SOURCE,
            source.host,
            f"docker image rm --force {moved_image(app)}; docker image prune --force",
        ),
        Line(Group.CLEAN_UP, Place.TARGET, target.host, f"rm -rf {_FILES}; docker image prune --force"),
    ]
    if app.phase_hook and strategy != "M3":
        ended = _get(addresses[target.host], app.port, app.phase_hook)
        lines.insert(0, Line(Group.CLEAN_UP, Place.TARGET, target.host, ended))
    return lines


def clear(app: App, source: Instance, target: Instance) -> list[Line]:
    """What is done after a line was refused, so that the app can be started anew: nothing of either instance stays."""
    words = [f"docker rm --force {source.container} {target.container}"]
    if app.volume:
        words.append(f"docker volume rm --force {source.volume} {target.volume}")
    words += [f"docker image rm --force {moved_image(app)}", "docker image prune --force", f"rm -rf {_FILES}"]
    hosts = ((Place.SOURCE, source.host), (Place.TARGET, target.host))
    return [Line(Group.CLEAN_UP, place, host, "; ".join(words)) for place, host in hosts]


def stop_to_start_s(typed: Sequence[Typed]) -> float:
    """The study's service downtime: from the line that stops the app until it has started on the target."""
    stop = next(each for each in typed if each.line.group is Group.RELOCATION)
    return typed[-1].ended_s - stop.began_s


def phases(typed: Sequence[Typed]) -> dict[tuple[Group, Place], float]:
    """Seconds by group and place; the lines follow each other, so they add up."""
    spent: dict[tuple[Group, Place], float] = {}
    for each in typed:
        key = each.line.group, each.line.place
        spent[key] = spent.get(key, 0.0) + each.seconds
    return spent


def _get(address: str, port: int, path: str) -> str:
    # What `curl http://S:3000/…` does; a MEC host has nc and needs no curl.
    return f"printf 'GET {path} HTTP/1.0\\r\\n\\r\\n' | nc {address} {port} | grep '200 OK'"


def _mountpoint(instance: Instance) -> str:
    return f"/var/lib/docker/volumes/{instance.volume}/_data"


class Terminal:
    """A shell left open on a MEC host of the lab, in its user's home. Open it with `async with`."""

    def __init__(self, host: HostId, container: str) -> None:
        self.host = host
        self.command: tuple[str, ...] = ("docker", "exec", "--interactive", container, "sh")

    async def __aenter__(self) -> Terminal:
        self._process = await asyncio.create_subprocess_exec(
            *self.command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        await self.type("cd")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), _END_S)
        except TimeoutError:  # in the middle of a line, after Ctrl-C
            self._process.kill()
            await self._process.wait()

    async def type(self, text: str) -> tuple[float, float, str]:
        """Type a line; when it began, the seconds until the shell was back, and what it said.

        Raises HostRefused if it failed, HostUnreachable if the shell is gone or the line takes too long.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        said: list[str] = []
        clock = asyncio.get_running_loop().time
        began_s = clock()
        try:
            async with asyncio.timeout(_LINE_S):
                stdin.write(f"{{ {text}\n}} </dev/null 2>&1; printf '\\n{_MARK} %s\\n' $?\n".encode())
                while not (heard := (await stdout.readline()).decode(errors="replace")).startswith(_MARK):
                    if not heard:
                        raise HostUnreachable("the shell ended", place=self.host, remedy=f"it was asked: {text}")
                    said.append(heard.strip())
        except TimeoutError as late:
            raise HostUnreachable(f"no end after {_LINE_S:g} s: {text}", place=self.host) from late
        seconds = clock() - began_s
        answer = "\n".join(filter(None, said))
        if heard.split()[1] != "0":
            raise HostRefused(f"{text}: {answer or 'failed'}", place=self.host)
        return began_s, seconds, answer


async def type_all(lines: Sequence[Line], terminals: Mapping[HostId, Terminal]) -> list[Typed]:
    """Type the lines one after the other. Raises HostError at the first that fails."""
    typed = []
    for line in lines:
        began_s, seconds, _ = await terminals[line.on].type(line.text)
        typed.append(Typed(line, began_s, seconds))
    return typed


async def exchange_keys(
    terminals: Mapping[HostId, Terminal], addresses: Mapping[HostId, str], known_hosts: str
) -> None:
    """Give each host a key of its own for `scp`, which the others accept, and the pinned keys of the others."""
    for host, terminal in terminals.items():
        await terminal.type(f"ssh-keygen -q -t ed25519 -N '' -C bench-{host} -f {_KEY}")
        await terminal.type(f"printf %s {shlex.quote(known_hosts)} > .ssh/known_hosts")
        _, _, public = await terminal.type(f"cat {_KEY}.pub")
        for other in terminals.values():
            if other is not terminal:
                await other.type(f"echo {shlex.quote(public)} >> .ssh/authorized_keys")
    for host, terminal in terminals.items():
        for name, address in addresses.items():
            if name != host:
                await terminal.type(f"ssh -o BatchMode=yes {address} true")


async def remove_keys(terminals: Mapping[HostId, Terminal]) -> None:
    """Take the keys of `exchange_keys` back; content if a host is gone, or a line is still running there."""
    for terminal in terminals.values():
        with contextlib.suppress(HostRefused, HostUnreachable, ConnectionError):
            await terminal.type(f"rm -f {_KEY} {_KEY}.pub .ssh/known_hosts; sed -i '/ bench-/d' .ssh/authorized_keys")
