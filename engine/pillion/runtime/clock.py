"""The engine's two clocks: a monotonic one for durations and alarms, and the wall clock for people to read."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime


def now_s() -> float:
    """Seconds on the running loop's monotonic clock; on Linux the same clock in every process of the machine."""
    return asyncio.get_running_loop().time()


def utc() -> str:
    """The wall clock, UTC, ISO 8601 with milliseconds. Never subtracted from another."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
