"""What figures were taken on: the part of every results page without which they mean nothing."""

from __future__ import annotations

import asyncio
import os
import platform
from datetime import UTC, datetime
from pathlib import Path

from pillion import __version__
from pillion.errors import MachineError
from pillion.lab.assets import PACKAGE
from pillion.lab.command import run


async def conditions() -> dict[str, str]:
    """Date, commit, versions and machine, by name, for a results page. Raises MachineError without a Docker Engine."""
    outer = await run(["docker", "version", "--format", "{{.Server.Version}}"], limit_s=20)
    return {**await this_machine(), "Docker Engine of the machine": outer.strip()}


async def this_machine() -> dict[str, str]:
    """The same of an experiment without containers."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": await commit(),
        "pillion, Python": f"{__version__}, {platform.python_version()}",
        "kernel": f"{platform.system()} {platform.release()}",
        "processor": await asyncio.to_thread(_processor),
    }


async def commit() -> str:
    """The commit that runs, and whether anything but results has been changed since."""
    try:
        git = ["git", "-C", str(PACKAGE)]
        name = (await run([*git, "rev-parse", "--short", "HEAD"], limit_s=20)).strip()
        words = ["status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)docs"]
        changed = (await run([*git, *words], limit_s=20)).strip()
    except MachineError:
        return "unknown: not a clone"
    return f"{name}, with changes" if changed else name


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    return f"{os.cpu_count()} x {model}, {platform.machine()}"
