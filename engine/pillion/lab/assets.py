"""Where the lab's build files are: in the wheel beside the package, in a clone at its top."""

from __future__ import annotations

from pathlib import Path

import pillion
from pillion.errors import MachineError

PACKAGE = Path(pillion.__file__).parent


def assets() -> Path:
    """The folder that holds `compose/`, `gateway/` and `apps/`."""
    for folder in (PACKAGE / "assets", PACKAGE.parent.parent):
        if (folder / "compose" / "images.sh").is_file():
            return folder
    raise MachineError("the lab's build files are missing", place=str(PACKAGE), remedy="install pillion again")
