"""What this machine must offer before a lab can be made, looked at one by one, so that each lack has its own remedy."""

from __future__ import annotations

import json
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import IPv4Network

from pillion.config import LabSettings
from pillion.errors import EngineError, MachineError
from pillion.lab import compose
from pillion.lab.command import run


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: what was found, or the error that says what is missing and how to get it."""

    name: str
    found: str = ""
    error: EngineError | None = None


async def look(name: str, check: Callable[[], Awaitable[str]]) -> Finding:
    """The finding of one check."""
    try:
        return Finding(name, await check())
    except EngineError as error:
        return Finding(name, error=error)


async def require_machine(lab: LabSettings) -> None:
    """Raise the first lack that would keep the lab from being made."""
    for finding in await machine_findings(lab):
        if finding.error:
            raise finding.error


async def machine_findings(lab: LabSettings) -> list[Finding]:
    """Docker, Compose, the lab's network and ports, in order of weight; Docker alone if it is missing."""
    findings = [await look("Docker Engine", _engine)]
    if findings[0].error:
        return findings
    findings.append(await look("Compose", _compose))
    findings.append(await look(f"network {lab.network}", lambda: _network(lab)))
    for name, app in lab.apps.items():
        if app.publish:
            findings.append(await look(f"port {app.publish}", _port_check(lab, name, app.publish)))
    return findings


async def _engine() -> str:
    try:
        return f"version {(await run(['docker', 'version', '--format', '{{.Server.Version}}'], limit_s=20)).strip()}"
    except MachineError as error:
        denied = "permission denied" in error.problem
        raise MachineError(
            "this user may not speak to the Docker Engine" if denied else "no Docker Engine answers",
            place="this machine",
            remedy="be root, or a member of the group docker"
            if denied
            else "`make setup` as root installs and starts it",
        ) from error


async def _compose() -> str:
    try:
        return f"version {(await run(['docker', 'compose', 'version', '--short'], limit_s=20)).strip()}"
    except MachineError as error:
        raise MachineError("no Compose v2", place="this machine", remedy="`make setup` as root installs it") from error


async def _network(lab: LabSettings) -> str:
    """That no other Docker network overlaps the lab's."""
    ids = (await run(["docker", "network", "ls", "--quiet"], limit_s=20)).split()
    for network in json.loads(await run(["docker", "network", "inspect", *ids], limit_s=20)) if ids else []:
        if (network.get("Labels") or {}).get("pillion.lab") == lab.lab:
            continue
        for entry in (network.get("IPAM") or {}).get("Config") or []:
            subnet = entry.get("Subnet", "")
            if ":" not in subnet and subnet and IPv4Network(subnet).overlaps(lab.network):
                raise MachineError(
                    f"{lab.network} overlaps {subnet} of Docker's network {network['Name']}",
                    place="network",
                    remedy="choose another private network in the lab file",
                )
    return "free"


def _port_check(lab: LabSettings, app: str, port: int) -> Callable[[], Awaitable[str]]:
    async def check() -> str:
        name = f"{compose.project(lab)}-user-plane"
        ours = await run(["docker", "ps", "--quiet", "--filter", f"name=^{name}$"], limit_s=20)
        if ours.strip():
            return "ours"
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise MachineError(
                    f"port {port} of this machine is taken: {error.strerror}",
                    place=f"apps.{app}.publish",
                    remedy="stop what listens there, or choose another port in the lab file",
                ) from error
        return "free"

    return check
