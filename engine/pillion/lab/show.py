"""`pillion inspect`: what runs where, on this machine, on the hosts, and in the engine's mind."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import click
import orjson

from pillion.config import LabSettings
from pillion.core.events import Trigger
from pillion.errors import EngineError
from pillion.lab import compose
from pillion.lab.command import run
from pillion.lab.hosts import connect_hosts
from pillion.lab.state import LabState
from pillion.output import print_table
from pillion.runtime.control import ask
from pillion.runtime.requests import Requests


async def inspect(lab: LabSettings, state: LabState, form: str) -> None:
    """Print the lab's services, the containers on its hosts, and the apps as a running engine knows them."""
    found = {
        "services": await _services(lab),
        "containers": await _containers(lab, state) if state.compose_file.exists() else [],
        "apps": await ask(state.control_socket, "GET", "/fleet") or [],
        "requests": await asyncio.to_thread(_requests, lab, state),
    }
    if form == "json":
        click.echo(orjson.dumps(found))
        return
    for title, rows in found.items():
        if rows:
            print_table(f"{lab.lab}: {title}", rows[0].keys(), (row.values() for row in rows))
    if not found["services"]:
        click.echo(f"lab {lab.lab} is not up")
    elif not found["apps"]:
        click.echo("no engine runs: `pillion run` starts one")


async def _services(lab: LabSettings) -> list[dict[str, Any]]:
    words = ["docker", "ps", "--all", "--format", "{{json .}}", "--filter", f"label=pillion.lab={lab.lab}"]
    prefix = f"{compose.project(lab)}-"
    services = [json.loads(line) for line in (await run(words, limit_s=30)).splitlines()]
    return sorted(
        ({"service": each["Names"].removeprefix(prefix), "status": each["Status"]} for each in services),
        key=lambda each: each["service"],
    )


def _requests(lab: LabSettings, state: LabState) -> list[dict[str, Any]]:
    """Where UEs' clients may ask for a migration; an app knows its own by its environment."""
    if not lab.may_ask or not state.requests_key.exists():
        return []
    asking = Requests(state.requests_key.read_bytes(), lab.callback_url, lab.may_ask)
    return [{"app": app, "its UE asks at": url} for app in lab.may_ask if (url := asking.url(app, Trigger.UE))]


async def _containers(lab: LabSettings, state: LabState) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    async with connect_hosts(lab, state) as hosts:
        for name, host in hosts.items():
            try:
                for each in await host.containers():
                    row = {"host": name, "container": each.name, "state": each.state, "app": each.labels["pillion.app"]}
                    rows.append({**row, "problem": None})
            except EngineError as error:
                rows.append({"host": name, "container": None, "state": None, "app": None, "problem": str(error)})
    return rows
