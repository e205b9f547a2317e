"""The network condition between the MEC hosts, as an HTB shape on each: made so, or taken away.

Each host shapes what leaves it for another MEC host's address. The engine, the UE and the user plane are not slowed.
A condition has to be measured before it is used (`experiments/network.py`): what is asked of `tc` is not yet what is.
Source: tc(8), tc-htb(8), tc-netem(8).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from pillion.config import ConditionSettings
from pillion.core.model import HostId
from pillion.errors import HostRefused

_TC = ("env", "PATH=/usr/sbin:/sbin:/usr/bin:/bin", "tc")
"""The PATH of an SSH session that is not root's often lacks where `tc` is."""
_HANDLE = "b1:"
"""By this handle our shape is told from another's."""
_LEAST_BURST_BYTES = 1 << 16
_BURST_S = 0.001
_QUANTUM_BYTES = 60_000
"""What a class sends before the next one's turn: about one segment as the kernel hands it down, 64 KiB at most."""
_NO_NETEM = "qdisc kind is unknown"


class Shapeable(Protocol):
    """What is needed of a MEC host; a `DockerHost` is one."""

    id: HostId
    address: str

    async def run(self, words: Sequence[str]) -> str: ...


async def bring_about(hosts: Iterable[Shapeable], condition: ConditionSettings | None) -> None:
    """Make the network between these hosts what the condition says; None: unshaped. Safe to repeat.

    On failure some may be shaped and others not. Raises HostError: also if a host's interface is shaped by somebody
    else, and if a delay is asked for where the kernel has no netem.
    """
    hosts = list(hosts)
    for host in hosts:
        await _shape(host, [other.address for other in hosts if other is not host], condition)


async def _shape(host: Shapeable, others: Sequence[str], condition: ConditionSettings | None) -> None:
    # Made anew each time: HTB cannot be changed in place (`replace` is refused), and classes of old hosts go as well.
    for device in await _shaped(host):
        await host.run([*_TC, "qdisc", "del", "dev", device, "root"])
    if condition is None:
        return
    devices: dict[str, list[str]] = {}
    for address in others:
        (route,) = json.loads(await host.run(["ip", "-j", "route", "get", address]))
        devices.setdefault(route["dev"], []).append(address)
    for device, addresses in devices.items():
        await _refuse_foreign(host, device)
        for words in shape(device, addresses, condition):
            try:
                await host.run(words)
            except HostRefused as error:
                if "netem" not in words or _NO_NETEM not in error.problem:
                    raise
                await host.run([*_TC, "qdisc", "del", "dev", device, "root"])
                remedy = "leave delay_ms out, or use a host whose kernel has CONFIG_NET_SCH_NETEM"
                raise HostRefused("its kernel has no netem, so no delay", place=host.id, remedy=remedy) from error


async def _shaped(host: Shapeable) -> list[str]:
    """The host's interfaces that carry our shape. Asks `tc`, which a host may lack, only where there is any HTB."""
    links = json.loads(await host.run(["ip", "-j", "link", "show"]))
    return [
        link["ifname"] for link in links if link.get("qdisc") == "htb" and await _root(host, link["ifname"]) == _HANDLE
    ]


async def _root(host: Shapeable, device: str) -> str:
    """Handle of the interface's root qdisc; `0:` is the kernel's own choice."""
    listed: list[Mapping[str, str]] = json.loads(await host.run([*_TC, "-j", "qdisc", "show", "dev", device]))
    return next((each["handle"] for each in listed if "root" in each), "0:")


async def _refuse_foreign(host: Shapeable, device: str) -> None:
    handle = await _root(host, device)
    if handle != "0:":
        remedy = f"remove it there (tc qdisc del dev {device} root), or set no condition"
        raise HostRefused(f"{device} is shaped by another (qdisc {handle})", place=host.id, remedy=remedy)


def shape(device: str, addresses: Sequence[str], condition: ConditionSettings) -> list[list[str]]:
    """The `tc` commands, in order, that shape what leaves an unshaped interface for these IPv4 addresses.

    Anything else passes HTB unshaped, since there is no default class. A burst of a millisecond lets the rate be
    reached although timers are late, and is little against what a transfer sends.
    """
    bits = f"{condition.rate_mbit * 10**6:.0f}bit"
    burst = f"{max(_LEAST_BURST_BYTES, round(condition.rate_mbit * 10**6 / 8 * _BURST_S))}b"
    limits = ["rate", bits, "ceil", bits, "burst", burst, "cburst", burst, "quantum", str(_QUANTUM_BYTES)]
    commands = [[*_TC, "qdisc", "add", "dev", device, "root", "handle", _HANDLE, "htb"]]
    for number, address in enumerate(addresses, 1):
        class_id = f"{_HANDLE}{number:x}"
        commands.append([*_TC, "class", "add", "dev", device, "parent", _HANDLE, "classid", class_id, "htb", *limits])
        match = ["protocol", "ip", "prio", "1", "u32", "match", "ip", "dst", f"{address}/32", "flowid", class_id]
        commands.append([*_TC, "filter", "add", "dev", device, "parent", _HANDLE, *match])
        if condition.delay_ms:
            # Twice the packets that are under way at this rate: netem drops what it cannot hold. 1000 is its own limit.
            limit = max(1000, round(2 * condition.rate_mbit * condition.delay_ms * 1000 / 8 / 1500))
            delay = ["netem", "delay", f"{condition.delay_ms:g}ms", "limit", str(limit)]
            commands.append([*_TC, "qdisc", "add", "dev", device, "parent", class_id, *delay])
    return commands
