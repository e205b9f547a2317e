"""The docs say what is so: generated parts are fresh, links lead somewhere, commands parse, names exist."""

import re
import shlex
from pathlib import Path

import click
import pytest
from scripts import docs

from pillion import config
from pillion.cli import cli

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *docs.pages()]
SOURCES = [path for part in ("engine", "apps", "scripts", "tests") for path in (ROOT / part).rglob("*.py")]
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_MACHINE = re.compile(
    r"(?<![\w.$~/*-])/(?:work|root|home|tmp|mnt)\b|\b(?:[\w-]+\.)+(?:debian\.org|pypi\.org|ghcr\.io|quay\.io)\b"
)

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@every_page
def test_generated_parts_are_fresh(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert docs.generated(text) == text, "run scripts/docs.py"


@every_page
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in _LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        found = (page.parent / file).resolve() if file else page
        assert found.exists(), target
        if anchor:
            assert anchor in {slug(title) for title in headings(found)}, target


def test_every_page_is_linked_from_the_index() -> None:
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / target.partition("#")[0]).resolve() for target in _LINK.findall(prose(index))}
    assert set(docs.pages()) - {index} <= linked


@every_page
def test_every_command_shown_parses(page: Path) -> None:
    for line in shown_commands(page):
        words = shlex.split(re.split(r" [|>&]", line)[0])
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE), line
        elif words[0] == "pillion":
            parse(cli, words)


def parse(command: click.Command, words: list[str], parent: click.Context | None = None) -> None:
    """Parse a command line as click does, without carrying it out. Raises UsageError."""
    try:
        context = command.make_context(words[0], words[1:], parent)
    except click.exceptions.Exit:
        return  # --help, --version
    if isinstance(command, click.Group):
        rest = [*context._protected_args, *context.args]
        name, found, _ = command.resolve_command(context, rest)
        assert found is not None
        parse(found, [str(name), *rest[1:]], context)


@every_page
def test_no_page_names_a_place_of_one_machine(page: Path) -> None:
    assert not _MACHINE.findall(page.read_text(encoding="utf-8"))


@every_page
def test_every_function_and_file_that_is_named_exists(page: Path) -> None:
    spans = re.findall(r"`([^`\n]+)`", prose(page))
    source = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
    for span in spans:
        if call := re.fullmatch(r"(?:[\w.]+\.)?(\w+)\(\)", span):
            assert re.search(rf"\b(?:def|class) {call[1]}\b", source), span
        elif re.fullmatch(r"[\w./-]+\.(?:py|yml|toml|svg|db|sh|cfg)", span) and "/" in span:
            places = [ROOT, ROOT / "engine" / "pillion", ROOT / "engine", page.parent]
            assert any((place / span).exists() for place in places), span


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def headings(page: Path) -> list[str]:
    return re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)


def slug(title: str) -> str:
    """The anchor that a heading gets."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def shown_commands(page: Path) -> list[str]:
    blocks = re.findall(r"^```console\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


@every_page
def test_every_lab_file_shown_is_valid(page: Path, tmp_path: Path) -> None:
    for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        file = tmp_path / "shown.pillion.yml"
        file.write_text(block, encoding="utf-8")
        assert config.load(file).hosts
