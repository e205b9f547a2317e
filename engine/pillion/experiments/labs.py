"""The lab of an experiment: which one, and made anew."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from pillion import config
from pillion.config import LabSettings
from pillion.errors import ConfigError
from pillion.lab import up
from pillion.lab.assets import assets
from pillion.lab.state import LabState


def load(apps: Iterable[str], lab_file: Path | None, shipped: str) -> LabSettings:
    """The lab of an experiment that needs these apps: the user's, or the one that is shipped. Raises ConfigError."""
    path = lab_file or assets() / "compose" / shipped
    lab = config.load(path)
    if missing := set(apps) - set(lab.apps):
        problem = f"not a lab for this experiment: it lacks {', '.join(sorted(missing))}"
        raise ConfigError(problem, place=str(path), remedy=f"see {shipped}; the lab is made anew and removed")
    return lab


@contextlib.asynccontextmanager
async def fresh(lab: LabSettings, state: LabState) -> AsyncIterator[None]:
    """The lab made anew, whatever an earlier run left that was killed, and removed at the end. Raises as `up.up`."""
    await up.down(lab, state, purge=True)
    try:
        await up.up(lab, state)
        yield
    finally:
        await up.down(lab, state, purge=True)
