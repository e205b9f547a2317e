"""What a move would lose of an app: judged before it begins, from what the app needs and what a strategy carries."""

from __future__ import annotations

from collections.abc import Set
from enum import StrEnum

from pillion.core.model import App, StateKind


class Part(StrEnum):
    """What an instance consists of. Source: the study, table 6.1."""

    FILESYSTEM = "filesystem"
    CONFIGURATION = "configuration"
    """Command, environment, user and working directory of its image."""
    VOLUME = "volume"
    MEMORY = "memory"


def losses(app: App, carries: Set[Part]) -> list[str]:
    """What the app would lose with a strategy that carries these parts, one phrase each; empty: nothing it needs."""
    lost = []
    if app.command is None and Part.CONFIGURATION not in carries:
        lost.append("its command and environment, which `command` in the lab file can give by hand")
    if app.volume is not None and Part.VOLUME not in carries:
        lost.append(f"its DV at {app.volume.mount}")
    if app.state is StateKind.MEMORY and Part.MEMORY not in carries:
        lost.append("its state, which it keeps in memory alone")
    return lost
