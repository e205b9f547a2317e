"""Fills A3: for each zone of the city, the list of its usable access points, from the MEC Location API.

    docker run --rm pillion/a3-loader LOCATION_URL HOST:PORT

    LOCATION_URL  base of the Location API, as http://gateway/location/v2
    HOST:PORT     where A3 is served: the user plane's address of it

Usable is an access point whose `operationStatus` is Serviceable. Stored as JSON under `zone:<zoneId>`; safe to repeat.
Exit codes: 0 all zones stored; 2 wrong arguments; 4 the API or A3 does not answer as it should, said with the reason.
Source: ETSI GS MEC 013 v2.2.1, clauses 7.3.2 and 7.3.6; memcached, doc/protocol.txt.
"""

from __future__ import annotations

import json
import socket
import sys
import urllib.request
from http.client import HTTPException
from urllib.parse import quote

TIMEOUT_S = 10.0


def asked(url: str) -> dict[str, object]:
    """The JSON object at `url`. Raises OSError, ValueError."""
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
        found = json.load(answer)
    if not isinstance(found, dict):
        raise ValueError(f"{url} is not answered with a JSON object")
    return found


def listed(answer: dict[str, object], outer: str, inner: str) -> list[dict[str, object]]:
    """The list in an answer; the API leaves an empty one out. Raises ValueError."""
    found = answer.get(outer)
    entries = found.get(inner, []) if isinstance(found, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"the Location API's answer lacks {outer}.{inner}, a list of objects")
    return entries


def usable(location_url: str) -> dict[str, list[dict[str, object]]]:
    """Usable access points by zone. Raises OSError, ValueError."""
    base = location_url.rstrip("/")
    found = {}
    for zone in listed(asked(f"{base}/queries/zones"), "zoneList", "zone"):
        if not isinstance(zone_id := zone.get("zoneId"), str):
            raise ValueError("the Location API lists a zone without zoneId")
        answer = asked(f"{base}/queries/zones/{quote(zone_id)}/accessPoints")
        points = listed(answer, "accessPointList", "accessPoint")
        found[zone_id] = [point for point in points if point.get("operationStatus") == "Serviceable"]
    return found


def store(address: tuple[str, int], items: dict[str, bytes]) -> None:
    """Store every item, each acknowledged. Raises OSError, ValueError."""
    with socket.create_connection(address, timeout=TIMEOUT_S) as connection, connection.makefile("rb") as answers:
        for key, value in items.items():
            connection.sendall(b"set %b 0 0 %d\r\n%b\r\n" % (key.encode(), len(value), value))
            if (said := answers.readline()) != b"STORED\r\n":
                raise ValueError(f"A3 answered {said!r} to {key}")


def main(arguments: list[str]) -> int:
    """Load once."""
    try:
        location_url, address = arguments
        host, _, port = address.rpartition(":")
        target = (host, int(port))
    except ValueError:
        sys.stderr.write("usage: loader.py LOCATION_URL HOST:PORT\n")
        return 2
    try:
        zones = usable(location_url)
        store(target, {f"zone:{zone}": json.dumps(points).encode() for zone, points in zones.items()})
    except (OSError, ValueError, HTTPException) as error:
        sys.stderr.write(f"loader: {error}; remedy: see that {location_url} and {address} answer\n")
        return 4
    sys.stdout.write(json.dumps({"zones": {zone: len(points) for zone, points in zones.items()}}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
