"""What must hold once everything is at rest after a fault, looked at from outside; each check raises Violation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

from pillion.core.model import Instance
from pillion.errors import MachineError, MecError
from pillion.experiments.drive import zone_changes_at_request_times
from pillion.experiments.http import ask_json, control_sandbox
from pillion.lab.state import LabState
from pillion.runtime.control import ask
from pillion.userplane import HaproxySteering
from tests.soak.campaign import Violation
from tests.soak.world import A2, Lab, Shell, Story

_LOOK_S = 0.05
_TIDY_S = 15.0
"""How long a killed dockerd may take to answer again, and a helper whose engine is gone to end."""
_TRUTH_S = 5.0
_POLL_S = 0.6
"""Three of A2's polling intervals: a zone change that is older has been seen and written down."""


async def check_rest(
    lab: Lab, shells: Mapping[str, Shell], story: Story, others: Mapping[str, set[str]], *, helper_killed: bool = False
) -> None:
    """That exactly one host serves A2, and that nothing else is left of it anywhere.

    `others`: what the hosts hold that is not A2's. `helper_killed`: a folder of a helper that was killed may still be
    there, which nobody but the next helper on its host can remove. Raises Violation.
    """
    serving, port = story.serving, lab.settings.apps[A2].port
    steered = await HaproxySteering(lab.state.admin_socket).serving(A2)
    if steered != serving.host:
        raise Violation(f"the user plane sends to {steered}, not to {serving.host}")
    told = await asyncio.gather(*(_answer(str(host.address), port) for host in lab.settings.hosts.values()))
    answering = dict(zip(lab.settings.hosts, told, strict=True))
    # A restored process tells the epoch that it was born with.
    epochs = {host: epoch for host, epoch in answering.items() if epoch is not None}
    if list(epochs) != [serving.host] or epochs[serving.host] > serving.epoch:
        raise Violation(
            f"asked directly, epochs answer as {answering}; serving is {serving.container} on {serving.host}"
        )
    fleet = await ask(lab.state.control_socket, "GET", "/fleet") or []
    if [(each["host"], each["migration"]) for each in fleet if each["app"] == A2] != [(serving.host, None)]:
        raise Violation(f"the engine says {fleet}")
    end_s = time.monotonic() + _TIDY_S
    while wrong := await _left(lab, shells, serving, others, helper_killed):
        if time.monotonic() > end_s:
            raise Violation(f"left behind: {'; '.join(wrong)}")
        await asyncio.sleep(0.2)


async def _answer(address: str, port: int) -> int | None:
    """The epoch that answers on a host's own port."""
    try:
        answer = await ask_json("GET", f"http://{address}:{port}/", limit_s=1.0)
    except MecError:
        return None
    return int(answer["epoch"])


_LIST = """
set -e
docker ps --all --format 'container {{.Names}} {{.State}}'
docker images --format 'image {{.Repository}}:{{.Tag}}'
docker volume ls --format 'volume {{.Name}}'
ls -A /var/lib/pillion/LAB | sed 's/^/file /'
for kept in /dev/shm/pillion/LAB/* /var/lib/pillion/LAB/criu/*; do [ ! -e "$kept" ] || echo "checkpoint $kept"; done
pgrep -f 'helper-[0-9a-f]*.pyz' | sed 's/^/helper /'
"""


async def listed(lab: Lab, shell: Shell) -> list[str]:
    """Everything on a host that could be left behind, one line each. Raises MachineError while dockerd is away."""
    return (await shell.run(_LIST.replace("LAB", lab.settings.lab))).splitlines()


def not_a2s(lab: Lab, lines: Sequence[str]) -> set[str]:
    """Those of the lines that are containers, images and volumes, and not of A2's instances."""
    objects = [line for line in lines if line.partition(" ")[0] in ("container", "image", "volume")]
    stay = {f"image {lab.settings.apps[A2].image}:latest", f"image pillion-base/{A2}:latest"}
    return {line for line in objects if not _is_a2s(line)} - stay


def _is_a2s(line: str) -> bool:
    return line.split()[1].startswith((f"{A2}.", f"pillion-migration/{A2}:"))


async def _left(
    lab: Lab, shells: Mapping[str, Shell], serving: Instance, others: Mapping[str, set[str]], helper_killed: bool
) -> list[str]:
    """What is on the hosts and in the lab's folder and should not be, or is not and should be."""
    wrong = []
    for host in lab.settings.hosts:
        try:
            lines = await listed(lab, shells[host])
        except MachineError as error:
            wrong.append(str(error))
            continue
        found = {line for line in lines if _is_a2s(line)}
        wanted = set()
        if host == serving.host:
            wanted = {
                f"container {serving.container} running",
                f"container {serving.container}.net running",
                f"volume {serving.volume}",
            }
        may_be = wanted | ({f"image {serving.image}"} if wanted else set())
        wrong += [f"{host}: {line}" for line in sorted(found - may_be)]
        wrong += [f"{host}: no {line}" for line in sorted(wanted - found)]
        wrong += [f"{host}: not as before: {line}" for line in sorted(not_a2s(lab, lines) ^ others[host])]
        helpers = [line.split()[1] for line in lines if line.startswith("helper ")]
        if len(helpers) > 1:
            wrong.append(f"{host}: {len(helpers)} transfer helpers")
        files = {line.removeprefix("file ") for line in lines if line.startswith("file ")}
        wrong += [f"{host}: {line}" for line in lines if line.startswith("checkpoint ")]
        files -= {"epoch", "criu", *(f"tmp-{pid}" for pid in helpers)}
        allowed = ("helper-", "tmp-") if helper_killed else ("helper-",)
        wrong += [f"{host}: file {name}" for name in sorted(files) if not name.startswith(allowed)]
    return wrong + _left_in(lab.state)


_OF_A_LAB = {"ssh", "hosts", "user-plane", "ue", "compose.json", "journal.db", "journal.db-wal", "journal.db-shm"}
_OF_AN_ENGINE = {"lock", "engine.sock", "sockets", "engine.log"}  # the log: of `pillion demo`'s engine


def _left_in(state: LabState) -> list[str]:
    names = {path.name for path in state.root.iterdir()} - _OF_A_LAB - _OF_AN_ENGINE
    sockets, hosts = (len(list(folder.iterdir())) for folder in (state.sockets, state.root / "hosts"))
    wrong = [f"state folder: {name}" for name in sorted(names)]
    return wrong + ([f"state folder: {sockets} sockets, of {hosts} hosts"] if sockets > hosts else [])


async def check_counter(lab: Lab, story: Story, least_seq: int) -> None:
    """That A2's counter is the true number of zone changes at its request times, and no update is lost.

    Only the requests of instances that served count: a target that was being proven and then undone asked as well, but
    what it saw is gone with it. A restored one asks in its source's name: what was asked while that stood still was not
    asked by it. Raises Violation.
    """
    agents = {f"a2/{container}" for container in story.served}
    url = f"http://{lab.settings.user_plane_address}:{lab.settings.apps[A2].port}/"
    end_s = time.monotonic() + _TRUTH_S
    while True:
        before = await ask_json("GET", url)
        truth = await control_sandbox(lab.settings, "GET", f"/truth?ue={lab.settings.apps[A2].ue}")
        after = await ask_json("GET", url)
        truth["queries"] = [
            query
            for query in truth["queries"]
            if query["agent"] in agents
            and not any(since <= query["monotonic_s"] <= until for since, until in story.stood_still)
        ]
        if truth["dropped"]["queries"] or truth["dropped"]["changes"]:
            raise Violation("the sandbox has forgotten part of the truth: make the lab anew")
        asked_s = truth["queries"][-1]["monotonic_s"] if truth["queries"] else 0.0
        changed_s = truth["changes"][-1]["monotonic_s"] if truth["changes"] else 0.0
        if before["counter"] == after["counter"] and asked_s > changed_s + _POLL_S:
            break
        if time.monotonic() > end_s:
            raise Violation(f"A2 does not come to rest between two zone changes: {before}, then {after}")
        await asyncio.sleep(_LOOK_S)
    true_changes = await asyncio.to_thread(zone_changes_at_request_times, truth)
    if after["counter"] != true_changes:
        raise Violation(f"A2 counted {after['counter']} zone changes, {true_changes} are true")
    if after["seq"] < least_seq:
        raise Violation(f"A2 has state {after['seq']}, but {least_seq} was acknowledged")
