"""`python3 -m pillion.sandbox`: the sandbox where the rest of pillion is not installed, as in the lab's container."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys

from pillion.errors import EngineError
from pillion.sandbox.server import DEFAULT_CONTROL_PORT, DEFAULT_NAME, DEFAULT_PORT, serve


def main() -> int:
    """Serve until told to stop; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python3 -m pillion.sandbox", description="The embedded MEC sandbox.")
    parser.add_argument("--scenario", default="monaco", help="name of a scenario, or the path of its file")
    parser.add_argument("--speed", type=float, default=1.0, help="simulated seconds in one second")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="port of the APIs")
    parser.add_argument("--control-port", type=int, default=DEFAULT_CONTROL_PORT, help="port of drive and truth")
    parser.add_argument("--name", default=DEFAULT_NAME, help="the sandbox's name, first part of its URLs")
    parser.add_argument("--lockstep", action="store_true", help="tick only when POST /tick says so")
    parser.add_argument(
        "--strict-etsi", dest="strict", action="store_true", help="answer as the specifications have it"
    )
    parser.add_argument("--network", help="play this one of the scenario's networks only")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s: %(message)s")
    try:
        asyncio.run(serve(**vars(options)))
    except EngineError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
