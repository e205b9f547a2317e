"""What lies beside the project and not in it, for its licences: reference documents and traces."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared"


def needs(path: Path) -> pytest.MarkDecorator:
    """Skips a test where `path` is not there; with `PILLION_REQUIRE_SHARED` set, as in `.ci/run`, it runs and fails."""
    missing = not path.exists() and not os.environ.get("PILLION_REQUIRE_SHARED")
    return pytest.mark.skipif(missing, reason=f"{path.name} does not come with the sources")
