"""`make soak [PART=…]`: the long campaigns. Exit code 0 all hold, 1 something does not, 3 run again to go on."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Coroutine
from functools import partial

from tests.soak.calibration import Calibration
from tests.soak.campaign import Part, campaign
from tests.soak.faults import Faults
from tests.soak.keys import Keys
from tests.soak.migrations import TOLD, Migrations
from tests.soak.sandbox_faults import SandboxFaults

STRATEGIES = ("M1", "M2", "M3")
PARTS: dict[str, Callable[[], Part]] = {
    **{f"faults-{name.lower()}": partial(Faults, name) for name in STRATEGIES},
    **{f"migrations-{name.lower()}": partial(Migrations, name) for name in STRATEGIES},
    **{f"migrations-told-{name.lower()}": partial(Migrations, name, TOLD) for name in STRATEGIES},
    "keys": Keys,
    "sandbox-faults": SandboxFaults,
    "calibration": Calibration,
}


def main() -> int:
    """Run one part, or all in turn."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("part", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all by default")
    parser.add_argument("--fresh", action="store_true", help="start over instead of going on")
    parser.add_argument("--minutes", type=float, default=28.0, help="per part; then stop, to be resumed (%(default)s)")
    options = parser.parse_args()
    if unknown := set(options.part) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.INFO, stream=sys.stderr)
    for noisy in ("asyncssh", "asyncio", "pillion.lab", "pillion.runtime"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    codes = []
    for name in options.part or PARTS:
        codes.append(
            asyncio.run(_until_told(campaign(PARTS[name](), fresh=options.fresh, limit_s=60 * options.minutes)))
        )
    return max(codes, key=(0, 3, 1).index)


async def _until_told(work: Coroutine[None, None, int]) -> int:
    """What the campaign gives; SIGTERM and SIGINT end it, and it takes its lab down: 3, to be resumed."""
    running = asyncio.ensure_future(work)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    try:
        return await running
    except asyncio.CancelledError:
        return 3


if __name__ == "__main__":
    sys.exit(main())
