"""The fault switchboard: name a step of a plan and a fault, and it happens exactly there, from outside the engine.

A fault is done to the step's own host with the host's own tools, and taken back. Which faults a step is spared, and
why, stands with each fault: `cases_of` makes all the others.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pillion.core.model import HostId, StepId
from pillion.core.plan import (
    CloseLink,
    CommitImage,
    CreateContainer,
    CreateNetwork,
    CreateVolume,
    FenceSource,
    KillSource,
    OpenLink,
    Plan,
    ProveTarget,
    RemoveCheckpoints,
    RemoveImage,
    RemoveInstance,
    StartTarget,
    Step,
    SwitchTraffic,
    TakeCheckpoint,
    TellApp,
    TransferCheckpoint,
    TransferFiles,
    TransferFilesystem,
    TransferImage,
    TransferOwnImage,
    TransferVolume,
    Work,
)
from tests.soak.campaign import Violation
from tests.soak.engine import Do, Trap
from tests.soak.world import EngineProcess, Lab, Shell

SOURCE, TARGET = HostId("source"), HostId("target")
"""The hosts of a plan that is not made for real ones."""
USER_PLANE = "user-plane"
_INTO_S = 0.03
"""How far into a step its midst is: past the questions that come first, and well before the end."""
_HURT_S = 1.0
"""A step that took this long was hurt: each takes a fraction of it."""


_WHEN = {Do.MIDST: "in the midst of", Do.END: "at the end of"}


class Hurts(StrEnum):
    """What a fault has to do to its step; if it does not, the case has shown nothing."""

    FAILS = "the step fails"
    SUFFERS = "the step fails, or takes more than a second"
    MAY = "the step may succeed: what follows has to cope"


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of fault: when it strikes, for how long, and the kinds of work that it cannot hurt, each with the reason.

    `lasts_s`: how long at least; None: until the step has ended. `only`: what it takes to be hurt at all.
    """

    name: str
    do: Do
    hurts: Hurts
    spares: Mapping[type[Work], str] = field(default_factory=dict, hash=False)
    lasts_s: float | None = None
    only: Callable[[Work], bool] = lambda _: True
    otherwise: str = ""
    """Why all other work cannot be hurt."""

    def __str__(self) -> str:
        return f"{self.name} {_WHEN.get(self.do, '')}".strip()


_APP_ITSELF = "speaks to the app itself"
_HAPROXY = "speaks to HAProxy alone"
_WITHOUT_HELPER: tuple[type[Work], ...] = (
    *(TellApp, CommitImage, CreateVolume, CreateNetwork, CreateContainer, FenceSource, ProveTarget),
    *(SwitchTraffic, KillSource, RemoveImage),
)
_OF_ONE_HOST: tuple[type[Work], ...] = (
    *_WITHOUT_HELPER,
    StartTarget,
    TakeCheckpoint,
    RemoveCheckpoints,
    RemoveInstance,
)
_NO_TRANSFER = dict.fromkeys(_OF_ONE_HOST, "sends nothing from host to host")
_FULL_DISK: dict[type[Work], str] = {
    OpenLink: "writes nothing: the helpers run since the plan was made",
    FenceSource: "needs no room: the Docker Engine goes on without the note that it cannot write",
    ProveTarget: "writes nothing; the app answers what it has, and writes its start down when there is room",
    SwitchTraffic: _HAPROXY,
    KillSource: "writes nothing that the Docker Engine needs",
    CloseLink: "writes nothing",
    RemoveInstance: "needs no room",
    RemoveImage: "needs no room",
    RemoveCheckpoints: "needs no room",
}
_BETWEEN_HELPERS = "goes on between the helpers"
_SHORT = dict.fromkeys(
    (
        *(TellApp, OpenLink, CreateVolume, TransferVolume, TransferFiles, FenceSource, ProveTarget, SwitchTraffic),
        *(RemoveImage, RemoveCheckpoints, CloseLink),
    ),
    "is too short to have a midst",
)
_NO_DOCKERD: dict[type[Work], str] = {
    TellApp: _APP_ITSELF,
    SwitchTraffic: _HAPROXY,
    OpenLink: _BETWEEN_HELPERS,
    CloseLink: _BETWEEN_HELPERS,
}

_SENDS_LITTLE: dict[type[Work], str] = {
    OpenLink: "sends little",
    TransferFiles: "sends little: A2 writes to its DV when it is moved by M3",
    TransferOwnImage: "sends little: the target has the original image",
}


def _runs_criu(work: Work) -> bool:
    return isinstance(work, TakeCheckpoint) or (isinstance(work, StartTarget) and work.restored)


FAULTS = (
    Fault("kill-engine", Do.BEGIN, Hurts.MAY),
    Fault("kill-engine", Do.MIDST, Hurts.MAY, _SHORT),
    Fault("kill-engine", Do.END, Hurts.MAY),
    Fault("kill-dockerd", Do.BEGIN, Hurts.MAY, _NO_DOCKERD),
    Fault("kill-dockerd", Do.MIDST, Hurts.MAY, _SHORT),
    Fault("cut-ssh", Do.BEGIN, Hurts.MAY, {TellApp: _APP_ITSELF, SwitchTraffic: _HAPROXY}),
    Fault("cut-link", Do.BEGIN, Hurts.SUFFERS, {**_NO_TRANSFER, CloseLink: "asks nothing of the other host"}, 3.0),
    Fault("slow-link", Do.BEGIN, Hurts.SUFFERS, {**_NO_TRANSFER, CloseLink: "sends nothing", **_SENDS_LITTLE}),
    Fault("fill-disk", Do.BEGIN, Hurts.FAILS, _FULL_DISK),
    Fault("refuse", Do.REFUSE, Hurts.FAILS),
    Fault("unheard", Do.UNHEARD, Hurts.FAILS),
    Fault("time-out", Do.BEGIN, Hurts.FAILS),
    Fault(
        "kill-helper",
        Do.BEGIN,
        Hurts.MAY,
        dict.fromkeys(_WITHOUT_HELPER, "does not need the helper"),
        only=lambda work: not isinstance(work, StartTarget) or work.restored,
        otherwise="does not need the helper",
    ),
    Fault("kill-criu", Do.BEGIN, Hurts.MAY, only=_runs_criu, otherwise="runs no CRIU"),
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a fault is done: at a step, on the host in one of its two roles, the other one across the link."""

    fault: Fault
    step: StepId
    role: HostId

    def __str__(self) -> str:
        return f"{self.fault.name} {_WHEN.get(self.fault.do, 'at')} {self.step} ({self.role})"


def cases_of(plan: Plan) -> Iterator[Place]:
    """Every fault at every step of a plan from `SOURCE` to `TARGET`, but those that cannot hurt it; step by step."""
    for step in plan.steps:
        for fault in FAULTS:
            if type(step.work) not in fault.spares and fault.only(step.work):
                for role in _roles(fault, step.work):
                    yield Place(fault, step.id, role)


_AT_ONE_END = ("kill-engine", "cut-link", "slow-link", "refuse", "unheard")


def _roles(fault: Fault, work: Work) -> tuple[HostId, ...]:
    """The hosts of a piece of work to which a fault is done in turn."""
    match work:
        case OpenLink() | CloseLink() | TransferImage() | TransferOwnImage() | TransferFilesystem():
            if fault.name in _AT_ONE_END:
                return (SOURCE,)
            if fault.name == "fill-disk" and isinstance(work, TransferFilesystem):
                return (TARGET,)  # the source reads
            return (SOURCE, TARGET)
        case TransferVolume() | TransferFiles() | TransferCheckpoint():
            if fault.name in _AT_ONE_END:
                return (SOURCE,)
            return (TARGET,) if fault.name == "fill-disk" else (SOURCE, TARGET)
        case _:
            return (work.instance.host,)


class Switchboard:
    """Does faults to a lab's hosts, each once, and takes them back."""

    def __init__(self, lab: Lab, engine: EngineProcess, shells: Mapping[str, Shell]) -> None:
        self._lab = lab
        self._engine = engine
        self._shells = shells
        self.struck_s = 0.0
        """When the last fault struck, on the monotonic clock."""

    async def arm(self, place: Place) -> None:
        """Set the trap for a fault; the next time the engine comes to the step it is met."""
        await self._engine.set([Trap(place.step, place.fault.do)])

    async def meet(
        self, place: Place, step: Callable[[StepId], Step], source: HostId, target: HostId
    ) -> dict[str, object]:
        """Wait until the engine is there, let it happen, and take it back: how the step ended, if the engine lives.

        `step`: a step of the plan under way. Raises Violation if the fault did nothing to the step.
        """
        fault = place.fault
        if fault.do in (Do.REFUSE, Do.UNHEARD):
            ended = await self._engine.told("ended")
            self.struck_s = time.monotonic()
            return _judged(place, ended)
        await self._engine.told("reached")
        if fault.do is Do.MIDST:
            await asyncio.sleep(_INTO_S)
        if fault.name == "kill-engine":
            self.struck_s = time.monotonic()
            await self._engine.kill()
            return {}
        work = step(place.step).work
        host, other = (source, target) if place.role == SOURCE else (target, source)
        where = self._shells[USER_PLANE if isinstance(work, SwitchTraffic) else host]
        strike, take_back = self._scripts(fault.name, work, host, other)
        self.struck_s = time.monotonic()
        try:
            await where.run(strike)
            if fault.do is Do.BEGIN:
                self._engine.go()
            ended = await self._engine.told("ended")
            if fault.lasts_s:
                await asyncio.sleep(max(0.0, self.struck_s + fault.lasts_s - time.monotonic()))
        finally:
            await where.run(take_back)
        return _judged(place, ended)

    def _scripts(self, fault: str, work: Work, host: HostId, other: HostId) -> tuple[str, str]:
        """How a fault is done on a host, and taken back."""
        match fault:
            case "kill-dockerd":
                return "pkill -KILL -x dockerd", "true"
            case "cut-ssh":
                return "pkill -KILL -x sshd-session", "true"
            case "kill-criu":
                return _KILL_CRIU, "test -e /run/criu-killed"
            case "kill-helper":
                return f"pkill -KILL -f '{_HELPER}'", "true"
            case "cut-link":
                address = self._lab.settings.hosts[other].address
                return f"ip route add blackhole {address}/32", f"ip route del blackhole {address}/32"
            case "slow-link":
                return _slow(str(self._lab.settings.hosts[other].address)), "tc qdisc del dev eth0 root"
            case "time-out":
                return _signal(work, "STOP"), _signal(work, "CONT")
            case "fill-disk":
                return self._full_disk(work, host)
        raise ValueError(fault)

    def _full_disk(self, work: Work, host: HostId) -> tuple[str, str]:
        """A file system without room for one file, over the folder into which the step writes on that host."""
        docker = "/var/lib/docker"
        match work:
            case TellApp(instance=instance, in_migration=in_migration):
                folder = "/data" if in_migration else "/app/state"
                inside = f"nsenter -m -p -t $(docker inspect -f '{{{{.State.Pid}}}}' {instance.container})"
                return f"{inside} {_FULL} {folder}", f"{inside} umount -l {folder}"
            case CommitImage():
                folder = f"{docker}/image/overlay2/layerdb/tmp"
            case TransferImage(source=source) | TransferOwnImage(source=source) if source.host == host:
                folder = f"/var/lib/pillion/{self._lab.settings.lab}/tmp-$(pgrep -f '{_HELPER}')"
            case TransferImage() | TransferOwnImage():
                folder = f"{docker}/tmp"
            case TransferFilesystem():
                folder = f"{docker}/image/overlay2/layerdb/tmp"
            case TransferFiles(target=target):
                upper = f"docker inspect -f '{{{{.GraphDriver.Data.UpperDir}}}}' {target.container}"
                folder = f"$(dirname $({upper}))"
            case TakeCheckpoint() | TransferCheckpoint():
                folder = f"/dev/shm/pillion/{self._lab.settings.lab}"
                return f"mkdir -p {folder} && {_FULL} {folder}", _EMPTY
            case CreateVolume():
                folder = f"{docker}/volumes"
            case TransferVolume(target=target):
                folder = f"{docker}/volumes/{target.volume}"
            case CreateContainer() | CreateNetwork():
                folder = f"{docker}/containers"
            case StartTarget(instance=instance):
                folder = f"{docker}/containers/$(docker inspect -f '{{{{.Id}}}}' {instance.container})"
            case _:
                raise ValueError(f"{work} writes nothing")
        return f"{_FULL} {folder}", _EMPTY


_FULL = "mount -t tmpfs -o size=4k,nr_inodes=1 full"
_EMPTY = """
awk '$1 == "full" { print $2 }' /proc/mounts | xargs -r umount -l
! grep -q '^full ' /proc/mounts
""".strip()
"""What the Docker Engine has unmounted itself meanwhile is gone as well."""
_HELPER = "helper-[0-9a-f]*.pyz"
_KILL_CRIU = """
rm -f /run/criu-killed
( for i in $(seq 800); do pkill -KILL -x criu && touch /run/criu-killed && break; sleep 0.005; done ) >/dev/null 2>&1 &
""".strip()
"""It strikes when the step has come to run it; that it did is asked for afterwards."""
_SLOW = """
tc qdisc add dev eth0 root handle 1: htb default 1
tc class add dev eth0 parent 1: classid 1:1 htb rate 1gbit
tc class add dev eth0 parent 1: classid 1:2 htb rate 1gbit
tc qdisc add dev eth0 parent 1:2 tbf rate 4kbit burst 1600 limit 100000
tc filter add dev eth0 parent 1: protocol ip u32 match ip dst ADDRESS/32 flowid 1:2
bash -c 'for i in 1 2; do printf "%1400s" > /dev/udp/ADDRESS/9; done'
"""
"""Only what goes to one address is slow. TBF takes large packets apart, which HTB alone lets through as they come. It
starts with a burst in store, and a few last bytes would go at once: one packet uses it up, another is in their way."""


def _slow(address: str) -> str:
    return _SLOW.strip().replace("ADDRESS", address).replace("\n", " && ")


def _signal(work: Work, name: str) -> str:
    """A signal to what a step waits for: the app where it speaks to the app, else HAProxy, dockerd or the helper."""
    match work:
        case TellApp() | ProveTarget():
            return f"pkill -{name} -f a2.py"
        case SwitchTraffic():  # its container has no pkill, and its first process, which serves nobody, goes on
            return f'for p in /proc/[0-9]*; do [ "$(cat $p/comm)" != haproxy ] || kill -{name} ${{p#/proc/}}; done'
        case (
            OpenLink() | CloseLink() | TransferImage() | TransferOwnImage() | TransferFilesystem() | RemoveCheckpoints()
        ):
            return f"pkill -{name} -f '^dockerd|{_HELPER}'"
        case TransferVolume() | TransferFiles() | TransferCheckpoint() | TakeCheckpoint():
            return f"pkill -{name} -f '^dockerd|{_HELPER}'"
        case _:
            return f"pkill -{name} -x dockerd"


def _judged(place: Place, ended: dict[str, object]) -> dict[str, object]:
    """How the step ended, in words for the table. Raises Violation if the fault did nothing to it."""
    failed, seconds = ended["ended"] == "StepFailed", float(str(ended["seconds"]))
    hurts = place.fault.hurts
    if (hurts is Hurts.FAILS and not failed) or (hurts is Hurts.SUFFERS and not failed and seconds < _HURT_S):
        raise Violation(f"the fault did not hurt the step: {hurts} was expected, and it was done in {seconds:.2f} s")
    return {"step": f"failed: {ended['problem']}" if failed else "done", "step_s": round(seconds, 2)}
