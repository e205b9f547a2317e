"""Points an Apache gateway at a sandbox: a new line of its configuration, then a graceful reload.

The sandbox's URL changes whenever it is made anew. Only the gateways learn of it; no app is touched, since each knows
its gateway by a name and an address that are the same on every MEC host.
"""

from __future__ import annotations

import re
from typing import Protocol

from pillion.errors import GatewayError

CONTAINER = "gateway-app"
"""The gateway's container on every MEC host, and the name under which apps know it."""
_CONFIGURATION = "/etc/pillion/sandbox.conf"
_URL = re.compile(r"https?://[A-Za-z0-9.-]+(:[1-9][0-9]{0,4})?(/[A-Za-z0-9._~%-]+)*")
"""What may become a line of Apache's configuration: one plain URL."""
_LAST_PORT = 65535


class GatewayHost(Protocol):
    """What pointing needs of a host that runs a gateway."""

    async def write_file(self, container: str, path: str, content: bytes) -> None: ...

    async def signal(self, container: str, signal: str) -> None: ...


def sandbox_line(url: str) -> str:
    """The line that names the sandbox to a gateway. Raises GatewayError if `url` is not a plain URL."""
    plain = url.rstrip("/")
    found = _URL.fullmatch(plain)
    # A line that Apache cannot read would end it at the reload.
    if not found or int((found[1] or ":80")[1:]) > _LAST_PORT:
        raise GatewayError(f"not a sandbox URL: {url}", remedy="http://host:port/name or https://host/name")
    return f"Define SANDBOX_URL {plain}\n"


async def point(host: GatewayHost, url: str) -> None:
    """Point the gateway of one host at the sandbox at `url`. Requests under way are finished. Raises HostError."""
    await host.write_file(CONTAINER, _CONFIGURATION, sandbox_line(url).encode())
    await host.signal(CONTAINER, "USR1")
