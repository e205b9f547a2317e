"""`pillion up` and `down`: the lab on this machine, made with Compose and provisioned over SSH like any other hosts.

Making a lab is safe to repeat: what is there and right stays as it is. Removing it removes all that carries its label,
on this machine and on hosts that are not ours to remove.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import shutil

import aiohttp
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from pillion import gateway as gateways
from pillion.config import LabSettings
from pillion.errors import GatewayError, HostUnreachable, MachineError
from pillion.hosts.base import ContainerSpec, ContainerState
from pillion.hosts.docker import DockerHost
from pillion.journal import store
from pillion.lab import compose, conditions
from pillion.lab.assets import PACKAGE, assets
from pillion.lab.command import run, stream
from pillion.lab.hosts import connect_hosts
from pillion.lab.keys import ensure_keys
from pillion.lab.machine import require_machine
from pillion.lab.state import LabState

log = logging.getLogger(__name__)

_IMAGES_S = 1200.0
_COMPOSE_S = 180.0
_READY_S = 60.0


async def up(lab: LabSettings, state: LabState) -> None:
    """Make the lab. Raises MachineError, HostError or GatewayError, each with its remedy."""
    await require_machine(lab)
    log.info("images: those that are missing or have changed are built")
    folder = assets()
    await run(
        [str(folder / "compose" / "images.sh"), str(folder), "pillion", str(PACKAGE)], limit_s=_IMAGES_S, show=True
    )
    state.ensure()
    ensure_keys(lab, state)
    (state.user_plane / "haproxy.cfg").write_text(compose.haproxy_configuration(lab))
    model = compose.compose_model(lab, state, privileged=await _may_be_privileged())
    state.compose_file.write_text(json.dumps(model, indent=2))
    log.info("containers: %s", ", ".join(model["services"]))
    await run([*_compose(lab, state), "up", "--detach", "--remove-orphans", "--quiet-pull"], limit_s=_COMPOSE_S)
    async with connect_hosts(lab, state) as hosts:
        async with asyncio.TaskGroup() as tasks:
            for host in hosts.values():
                tasks.create_task(_provision(lab, host), name=f"provision {host.id}")
            tasks.create_task(_answers(f"{lab.location_url}/queries/zones"), name="gateway")
        # Last: what is loaded onto the hosts does not come from one another, but they have to be reachable.
        await conditions.bring_about(hosts.values(), lab.condition)
    if lab.condition:
        log.info("network condition between the MEC hosts: %s", lab.condition.name)
    log.info("lab %s is up: the UE reaches its apps at %s", lab.lab, lab.user_plane_address)


async def down(lab: LabSettings, state: LabState, *, purge: bool = False) -> None:
    """Remove the lab; `purge` also its state folder. Content if there is none.

    The journal tells of containers that are gone then, so it is put aside. Raises JournalError while an engine runs.
    """
    if state.root.exists():
        lock = store.Lock.take(state.lock)
        try:
            await _remove(lab, state)
        finally:
            lock.release()
    if purge and state.root.exists():
        await asyncio.to_thread(shutil.rmtree, state.root)
        if state.root.parent.name == "pillion":
            with contextlib.suppress(OSError):  # other labs have their state there
                state.root.parent.rmdir()


async def _remove(lab: LabSettings, state: LabState) -> None:
    async with connect_hosts(lab, state) as hosts:
        for name, host in hosts.items():
            if lab.hosts[name].key_file:  # not one of ours, which go as a whole
                for gone in await host.sweep():
                    log.info("%s: removed %s", name, gone)
                await conditions.bring_about([host], None)
    if state.compose_file.exists():
        log.info("removing the containers, volumes and network of lab %s", lab.lab)
        words = [*_compose(lab, state), "--profile", "ue", "down", "--volumes", "--remove-orphans", "--timeout", "5"]
        await run(words, limit_s=_COMPOSE_S)
        state.compose_file.unlink()
    await asyncio.to_thread(store.put_aside, state.journal)


async def point_gateways(lab: LabSettings, state: LabState, url: str) -> None:
    """Point every gateway of the lab at the sandbox at `url`, the hosts' and the engine's own, until the next `up`.

    All at once, so that engine and apps see one sandbox. Raises GatewayError for a bad URL; HostError and MachineError
    if one cannot be pointed, when all the others have been.
    """
    gateways.sandbox_line(url)
    own = run(["docker", "exec", f"{compose.project(lab)}-gateway", "gateway-point", url], limit_s=20)
    async with connect_hosts(lab, state) as hosts:
        apps = [gateways.point(host, url) for host in hosts.values()]
        failures = await asyncio.gather(own, *apps, return_exceptions=True)
    for failure in failures:
        if isinstance(failure, BaseException):
            raise failure
    log.info("the gateways of lab %s point at %s", lab.lab, url)


def _compose(lab: LabSettings, state: LabState) -> list[str]:
    return ["docker", "compose", "--project-name", compose.project(lab), "--file", str(state.compose_file)]


async def _may_be_privileged() -> bool:
    """Whether this machine can give a container all capabilities; sandboxes and some clouds cannot."""
    try:
        await run(
            ["docker", "run", "--rm", "--privileged", "--network", "none", compose.image("python"), "true"], limit_s=60
        )
    except MachineError as error:
        log.info("no privileged containers here (%s): MEC hosts get what they need one by one", error.problem[-80:])
        return False
    return True


async def _provision(lab: LabSettings, host: DockerHost) -> None:
    """Bring a host to where a migration can use it: reachable, with its gateway and the apps' images."""
    await _reachable(host)
    await host.ensure_network(compose.INNER_NETWORK, compose.INNER_SUBNET)
    # Every app's image on every host: an app whose host is lost has to start on any other.
    for name in sorted({compose.image("gateway"), *(app.image for app in lab.apps.values())}):
        await _ensure_image(host, name)
    gateway = ContainerSpec(
        name=gateways.CONTAINER,
        image=compose.image("gateway"),
        port=None,
        environment={"SANDBOX_URL": lab.sandbox_url},
        address=compose.INNER_GATEWAY,
        network=compose.INNER_NETWORK,
        restarts=True,
    )
    await host.ensure_container(gateway)
    await host.ensure_started(gateway.name)
    found = await host.container(gateway.name)
    if found is None or found.state is not ContainerState.RUNNING:
        raise GatewayError("the gateway does not run", place=host.id, remedy=f"see `docker logs {gateway.name}` there")
    log.info("host %s is ready", host.id)


async def _ensure_image(host: DockerHost, name: str) -> None:
    here = (await run(["docker", "image", "inspect", "--format", "{{.Id}}", name], limit_s=30)).strip()
    found = await host.image(name)
    if found is None or found.id != here:
        log.info("host %s: loading %s", host.id, name)
        await host.load_images(stream(["docker", "save", name]))


@retry(
    retry=retry_if_exception_type(HostUnreachable), wait=wait_fixed(0.5), stop=stop_after_delay(_READY_S), reraise=True
)
async def _reachable(host: DockerHost) -> None:
    facts = await host.facts()
    log.info("host %s answers: Docker %s, %s", host.id, facts.engine_version, facts.storage_driver)


@retry(retry=retry_if_exception_type(GatewayError), wait=wait_fixed(0.3), stop=stop_after_delay(_READY_S), reraise=True)
async def _answers(url: str) -> None:
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(url, timeout=aiohttp.ClientTimeout(total=3)) as answer,
        ):
            if answer.status == 200:
                return
            problem = f"status {answer.status}"
    except (aiohttp.ClientError, TimeoutError) as error:
        problem = str(error) or "no answer"
    raise GatewayError(problem, place=url, remedy="`docker logs` of the lab's gateway and sandbox tell why")
