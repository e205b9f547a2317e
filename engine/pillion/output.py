"""How data reaches people: tables as wide as the terminal, or wide enough where there is none; facts as `key=value`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

_WIDE = 150


def print_table(title: str, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """A table on standard output."""
    from rich.console import Console  # only here: the engine itself prints no tables, and these take long to import
    from rich.table import Table

    table = Table(*columns, title=title, title_justify="left", title_style="bold", header_style="")
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    console = Console(width=None if sys.stdout.isatty() else _WIDE, highlight=False)
    console.print(table)


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table for a results page."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_page(path: Path, text: str) -> None:
    """Write a results page; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def words(facts: Mapping[str, Any]) -> str:
    """`key=value …`, leaving out what is empty."""
    said = {key: value for key, value in facts.items() if value is not False and value not in (None, {}, [], "")}
    return " ".join(f"{key}={_word(value)}" for key, value in said.items())


def _word(value: Any) -> str:
    if isinstance(value, Mapping):
        parts = [_word(part) for key, part in value.items() if key != "is" and part not in (None, {}, 0)]
        return "/".join(parts)
    return f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
