"""The error tree: drawn as it is, one exit code for each branch, one line for each error."""

from __future__ import annotations

import re

import pytest

from pillion import errors
from pillion.errors import EngineError, InvalidTransition, MigrationError

DRAWN = re.compile(r"^    ([│├└─ ]*)(\w+)( +(\d+))?", re.MULTILINE)
DEPTH_PER_LEVEL = 4


def drawn() -> dict[str, tuple[str | None, int | None]]:
    """Each class of the picture in the module's docstring: its parent there, and the exit code beside it."""
    above: list[str] = []
    tree: dict[str, tuple[str | None, int | None]] = {}
    for indent, name, _, code in DRAWN.findall(errors.__doc__ or ""):
        depth = len(indent) // DEPTH_PER_LEVEL
        del above[depth:]
        tree[name] = (above[-1] if above else None, int(code) if code else None)
        above.append(name)
    return tree


def classes() -> dict[str, type[EngineError]]:
    return {
        name: value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, EngineError)
    }


def test_the_picture_shows_every_error_under_its_own_branch():
    assert {name: parent for name, (parent, _) in drawn().items() if parent} == {
        name: cls.__base__.__name__ for name, cls in classes().items() if cls is not EngineError
    }
    assert "EngineError" in drawn()


def test_the_picture_shows_the_exit_code_of_every_branch():
    codes = {name: code for name, (_, code) in drawn().items() if code is not None}
    assert codes == {cls.__name__: cls.exit_code for cls in EngineError.__subclasses__()}


def test_every_branch_has_an_exit_code_of_its_own_that_its_leaves_share():
    codes = [branch.exit_code for branch in EngineError.__subclasses__()]
    assert len(set(codes)) == len(codes)
    assert not {0, 1, 2} & set(codes), "1 is a traceback, 2 a wrong command line"
    for branch in EngineError.__subclasses__():
        assert {leaf.exit_code for leaf in branch.__subclasses__()} <= {branch.exit_code}


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        ({}, "it broke"),
        ({"place": "mec1"}, "mec1: it broke"),
        ({"remedy": "mend it"}, "it broke (mend it)"),
        ({"place": "mec1", "remedy": "mend it"}, "mec1: it broke (mend it)"),
    ],
)
def test_an_error_says_where_what_and_what_to_do(facts: dict[str, str], line: str):
    for name, cls in classes().items():
        if cls is not InvalidTransition:
            error = cls("it broke", **facts)
            assert str(error) == line, name
            assert (error.problem, error.place, error.remedy) == (
                "it broke",
                facts.get("place", ""),
                facts.get("remedy", ""),
            )


def test_an_error_is_one_line_although_another_program_said_several():
    assert str(MigrationError("no space:\n  layer 3\n", place="mec2")) == "mec2: no space: layer 3"


def test_an_impossible_event_keeps_state_and_event():
    error = InvalidTransition("prepared", "again")
    assert (error.state, error.event) == ("prepared", "again")
    assert str(error) == "'again' cannot happen in 'prepared'"
