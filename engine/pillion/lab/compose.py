"""A lab file as Compose and HAProxy are given it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from typing import Any

from pillion.config import AppSettings, LabSettings
from pillion.core.model import HostId, Protocol
from pillion.lab.state import LabState
from pillion.userplane import CHECKED, HELD, SERVED_BY

INNER_NETWORK = "pillion"
INNER_SUBNET = "172.31.255.0/24"
INNER_GATEWAY = "172.31.255.2"
"""The gateway has the same name and address in every host's own engine, so that no app is touched by a migration."""

_LIKE_PRIVILEGED: dict[str, Any] = {
    "cap_add": ["ALL"],
    "cap_drop": ["SYS_RESOURCE"],
    "security_opt": ["seccomp=unconfined", "apparmor=unconfined", "systempaths=unconfined"],
    "device_cgroup_rules": ["a *:* rwm"],
}
"""What a MEC host needs where this machine itself may not give CAP_SYS_RESOURCE, so that `privileged` fails."""


def project(lab: LabSettings) -> str:
    """The lab's Compose project; also the prefix of its containers' names."""
    return f"pillion-{lab.lab}"


def image(name: str) -> str:
    """One of the lab's own images."""
    return f"pillion/{name}:latest"


def compose_model(lab: LabSettings, state: LabState, *, privileged: bool) -> dict[str, Any]:
    """The lab as a Compose file (compose-spec), every service on one network at its fixed address."""
    services = {
        name: _mec_host(state, HostId(name), privileged=privileged) | _at(host.address)
        for name, host in lab.hosts.items()
        if host.key_file is None
    }
    owner = f"{os.getuid()}:{os.getgid()}"
    services["gateway"] = {
        "image": image("gateway"),
        "environment": {"SANDBOX_URL": lab.sandbox_url, "CALLBACKS": " ".join(_callbacks(lab))},
        **_at(lab.gateway_address),
    }
    services["user-plane"] = {
        "image": image("user-plane"),
        "user": owner,
        "volumes": [f"{state.user_plane}:/run/pillion"],
        "ports": [f"127.0.0.1:{app.publish}:{app.port}" for app in lab.apps.values() if app.publish],
        "labels": {"pillion.configuration": hashlib.sha256(haproxy_configuration(lab).encode()).hexdigest()},
        **_at(lab.user_plane_address),
    }
    if lab.sandbox.url is None:
        sandbox = lab.sandbox
        services["sandbox"] = {
            "image": image("tools"),
            "command": [
                *("python3", "-m", "pillion.sandbox", "--host", "0.0.0.0", "--port", "8000", "--control-port", "8001"),
                *("--scenario", sandbox.scenario, "--speed", str(sandbox.speed), "--name", "sbxpillion"),
            ],
            **_at(lab.sandbox_address),
        }
    services["ue"] = {
        "image": image("tools"),
        "user": owner,
        "profiles": ["ue"],
        "volumes": [f"{state.ue}:/ue"],
        **_at(lab.ue_address),
    }
    for name, service in services.items():
        service["container_name"] = f"{project(lab)}-{name}"
        service["labels"] = {"pillion.lab": lab.lab, **service.get("labels", {})}
        service["logging"] = {"driver": "json-file", "options": {"max-size": "5m", "max-file": "2"}}
        service["pull_policy"] = "never"
    labels = {"pillion.lab": lab.lab}
    return {
        "name": project(lab),
        "services": services,
        "networks": {"lab": {"ipam": {"config": [{"subnet": str(lab.network)}]}, "labels": labels}},
        "volumes": {f"{name}-engine": {"labels": labels} for name, host in lab.hosts.items() if host.key_file is None},
    }


def _callbacks(lab: LabSettings) -> Iterator[str]:
    """Who takes notifications in behind the gateway: the engine, and each app at its one address, wherever it is."""
    yield f"engine=http://{lab.callback_address}:{lab.callbacks.port}"
    for name, app in lab.apps.items():
        if app.protocol is Protocol.HTTP:
            yield f"app-{name}=http://{lab.user_plane_address}:{app.port}"


def _at(address: object) -> dict[str, Any]:
    return {"networks": {"lab": {"ipv4_address": str(address)}}}


def _mec_host(state: LabState, name: HostId, *, privileged: bool) -> dict[str, Any]:
    return {
        "image": image("mec-host"),
        "hostname": name,
        "cgroup": "host",
        # Checkpoints are kept in memory. A limit, and no allocation; Docker's own is 64 MB.
        "shm_size": "2g",
        "volumes": [f"{name}-engine:/var/lib/docker", f"{state.host(name)}:/etc/pillion:ro"],
        **({"privileged": True} if privileged else _LIKE_PRIVILEGED),
    }


def haproxy_configuration(lab: LabSettings) -> str:
    """The user plane's configuration: for each app one address, with every MEC host a server of which one gets enabled.

    While the serving instance is paused, up to `maxconn` requests wait in its sockets, the rest here, in order. After
    `enable server a2/mec2; disable server a2/mec1` and the kill of the source the waiting ones go to the target; those
    that the source had taken in fail there with an empty answer and are sent again. If the source is unpaused instead,
    it answers them all. Source: HAProxy configuration manual 3.0, `retry-on`, `option redispatch`.
    """
    http = Protocol.HTTP
    apps = (
        _app(lab, name, app) if app.protocol is http else _tcp_app(lab, name, app) for name, app in lab.apps.items()
    )
    return "\n".join([_HAPROXY, *apps])


_HAPROXY = """\
# Made by `pillion up` from the lab file; steered by the engine over admin.sock.
global
    log stdout format raw local0 warning
    stats socket /run/pillion/admin.sock mode 600 level admin
    # HAProxy takes its limits from how many files it may open, which in a container may be a thousand million.
    fd-hard-limit 16384
    # More than a lab needs, and the order of the held requests stays what it was.
    nbthread 1

defaults all
    log global
    # Longer than any hold.
    timeout queue 120s
    # A host that is gone sends no reset. Found dead like this (a paused app's host still answers), what waits for it is
    # sent again; else the host could answer it when it returns, long after another one has taken over. The servers'
    # `tcp-ut` does the same for what was not even acknowledged (set as `default-server` it has no effect).
    option srvtcpka
    srvtcpka-idle 1s
    srvtcpka-intvl 1s
    srvtcpka-cnt 2
    # A refused or unanswered connect is tried again after this time, so it is also the pause between two tries.
    timeout connect 50ms
    retries 1000
    # After each failed try the server is chosen anew: that is how a held request gets from the source to the target.
    option redispatch 1

defaults http from all
    mode http
    timeout client 120s
    timeout server 120s
    timeout http-request 10s
    timeout http-keep-alive 60s
    # What a lost server looks like, and no status code: an app's own 500 or 503 is its answer and must reach the UE.
    retry-on conn-failure empty-response response-timeout
    # A request can be sent twice only if it is here as a whole before it is sent.
    option http-buffer-request

defaults tcp from all
    mode tcp
    # A UE keeps its connections, and may say nothing for long.
    timeout client 1h
    timeout server 1h
    option clitcpka
"""

_MAXCONN = 32
"""Requests at one server. Without it they pile up in the paused source's accept queue (128), and beyond that each tries
a connection every 50 ms: after 10 s of it requests failed."""


def _app(lab: LabSettings, name: str, app: AppSettings) -> str:
    # Servers of traffic are not checked: only the engine says who serves. The checked ones tell it who can be reached.
    servers = "".join(
        f"    server {host} {each.address}:{app.port} maxconn {_MAXCONN} tcp-ut 3s disabled\n"
        for host, each in lab.hosts.items()
    )
    # Nothing listens on port 1 here: a try fails at once, and the request is tried again until a host is enabled.
    held = f"    server {HELD} 127.0.0.1:1 maxconn {_MAXCONN}\n"
    return (
        f"frontend {name} from http\n    bind :{app.port}\n    default_backend {name}\n\n"
        f"backend {name} from http\n    http-response set-header {SERVED_BY} %s\n{held}{servers}\n"
        f"{_checked(lab, name, app)}"
    )


def _tcp_app(lab: LabSettings, name: str, app: AppSettings) -> str:
    """The same for an app whose connections last: new ones wait, and those to a host that is taken out are closed.

    A connection cannot be handed over, so each is cut once, at the switch. Those to the held server wait, and are not
    closed. No `maxconn`: connections stay, so that all beyond it would wait for good. Source: HAProxy configuration
    manual 3.0, `on-marked-down`; that `disable server` counts as down is held by a test.
    """
    servers = "".join(
        f"    server {host} {each.address}:{app.port} tcp-ut 3s on-marked-down shutdown-sessions disabled\n"
        for host, each in lab.hosts.items()
    )
    return (
        f"frontend {name} from tcp\n    bind :{app.port}\n    default_backend {name}\n\n"
        f"backend {name} from tcp\n    server {HELD} 127.0.0.1:1\n{servers}\n{_checked(lab, name, app)}"
    )


def _checked(lab: LabSettings, name: str, app: AppSettings) -> str:
    servers = "".join(
        f"    server {host} {settings.address}:{app.port} check\n" for host, settings in lab.hosts.items()
    )
    kind = "http" if app.protocol is Protocol.HTTP else "tcp"
    return (
        f"backend {name}{CHECKED} from {kind}\n    timeout connect 1s\n"
        f"    default-server inter 1s fall 2 rise 1\n{servers}"
    )
