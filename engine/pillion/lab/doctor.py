"""`pillion doctor`: everything that a lab needs, looked at before it is missed; each lack with its remedy."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Coroutine, Mapping
from itertools import permutations
from pathlib import Path
from typing import Any

import aiohttp
import click
import orjson

from pillion import config
from pillion.config import LabSettings
from pillion.core.host_facts import HostFacts, dotted, unfit_for_checkpoint
from pillion.core.model import AppId, HostId
from pillion.errors import ConfigError, GatewayError, HostRefused, MachineError
from pillion.hosts.docker import DockerHost
from pillion.lab import compose
from pillion.lab.command import run
from pillion.lab.hosts import connect_hosts
from pillion.lab.machine import Finding, look, machine_findings
from pillion.lab.state import LabState
from pillion.output import print_table
from pillion.userplane import HaproxySteering

_FREE_BYTES = 2_000_000_000
"""What a host needs for two images of an app and the archive between them."""
_MEMORY_BYTES = 100_000_000
"""Memory of an app that a host should be able to move by M3; each migration looks at its own app's."""


async def doctor(lab_file: Path, form: str) -> int:
    """Print what was found; the exit code of the first lack, or 0."""
    findings = await _findings(lab_file)
    if form == "json":
        rows = [{"check": f.name, "found": f.found, "problem": str(f.error) if f.error else None} for f in findings]
        click.echo(orjson.dumps(rows))
    else:
        print_table(
            "doctor",
            ("", "check", "found"),
            (("✗" if f.error else "✓", f.name, str(f.error) if f.error else f.found) for f in findings),
        )
    return next((f.error.exit_code for f in findings if f.error), 0)


async def _findings(lab_file: Path) -> list[Finding]:
    try:
        lab = config.load(lab_file)
    except ConfigError as error:
        return [Finding("lab file", error=error)]
    state = LabState.of(lab.lab)
    findings = [Finding("lab file", f"{lab_file}: {len(lab.hosts)} hosts, {len(lab.apps)} apps")]
    findings.append(await look("user", _user))
    findings += await machine_findings(lab)
    if any(finding.error for finding in findings):
        return findings  # without these there is no lab to look at
    findings += await _base_image()
    if not state.compose_file.exists():
        return [*findings, Finding("lab", "not up; `pillion up` makes it")]
    known: dict[HostId, HostFacts] = {}
    async with connect_hosts(lab, state) as hosts:
        for name, host in hosts.items():
            findings.append(await look(f"host {name}", _host_check(host, known)))
    findings += live_migrations(known, wanted=any(app.strategy == "M3" for app in lab.apps.values()))
    findings.append(await look("gateway", lambda: _gateway(lab)))
    for app in lab.app_list():
        findings.append(await look(f"user plane of {app.id}", _steering_check(state, app.id)))
    return findings


async def _user() -> str:
    if os.geteuid() == 0:
        return "root"
    return "not root: `make setup` cannot install what may be missing"


async def _base_image() -> list[Finding]:
    async def check() -> str:
        try:
            await run(["docker", "image", "inspect", "--format", "{{.Id}}", compose.image("mec-host")], limit_s=30)
        except MachineError:
            if os.geteuid() != 0:
                return "not built yet: needs a registry, or root and debootstrap"
            return "not built yet; `pillion up` builds them"
        return f"built; kernel {platform.release()}"

    return [await look("images", check)]


def _host_check(host: DockerHost, known: dict[HostId, HostFacts]) -> Callable[[], Coroutine[Any, Any, str]]:
    async def check() -> str:
        known[host.id] = facts = await host.facts()
        if facts.free_bytes < _FREE_BYTES:
            raise HostRefused(
                f"only {facts.free_bytes / 1e9:.1f} GB free",
                place=host.id,
                remedy="free space for two images of an app",
            )
        return (
            f"Docker {facts.engine_version} on {facts.storage_driver}, Linux {facts.kernel}, "
            f"cgroup v{facts.cgroup_version}, "
            f"{f'CRIU {dotted(facts.criu_version)}' if facts.criu_version else 'no CRIU'}, "
            f"Python {facts.python_version}, {facts.free_bytes / 1e9:.0f} GB free, "
            f"{facts.shm_free_bytes / 1e9:.1f} GB for checkpoints"
        )

    return check


def live_migrations(known: Mapping[HostId, HostFacts], *, wanted: bool) -> list[Finding]:
    """Whether M3 is possible from each host to each other; that it is not is a lack where an app is to move by it."""
    findings = []
    for (source, has), (target, other) in permutations(known.items(), 2):
        name = f"M3 {source}→{target}"
        unfit = "; ".join(unfit_for_checkpoint(has, other, None, _MEMORY_BYTES))
        if unfit and wanted:
            findings.append(Finding(name, error=HostRefused(unfit)))
        elif unfit:
            findings.append(Finding(name, f"not possible: {unfit}"))
        else:
            findings.append(Finding(name, "possible" if has.can_raise_limits else "possible for apps that run as root"))
    return findings


async def _gateway(lab: LabSettings) -> str:
    url = f"{lab.location_url}/queries/zones"
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(url, timeout=aiohttp.ClientTimeout(total=3)) as answer,
        ):
            if answer.status != 200:
                raise GatewayError(f"status {answer.status}", place=url, remedy="`pillion gateway point URL`")
    except (aiohttp.ClientError, TimeoutError) as error:
        raise GatewayError(f"no answer: {error}", place=url, remedy="`pillion up` brings it back") from error
    return "answers for the sandbox"


def _steering_check(state: LabState, app: str) -> Callable[[], Coroutine[Any, Any, str]]:
    async def check() -> str:
        host = await HaproxySteering(state.admin_socket).serving(AppId(app))
        return f"steers to {host}"

    return check
