"""XML read element by element, so that a file may be larger than memory and each error has its line.

The parser is the standard library's expat. A document type is refused, and with it every entity that could be defined
and blown up: no format of ours has one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from pillion.errors import ConfigError

DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
_CHUNK_BYTES = 64 * 1024
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_CARRIAGE_RETURN = {"\r": "&#13;"}


class Start(NamedTuple):
    """An element begins. `place` is its file and line, `space` its namespace."""

    name: str
    parent: str
    space: str
    attributes: dict[str, str]
    place: str


class End(NamedTuple):
    """An element ends. `text` is what stood in it since its last child, so all of it where it has none."""

    name: str
    parent: str
    text: str
    place: str


def elements(file: BinaryIO, path: str, root: str) -> Iterator[Start | End]:
    """Where each element begins and ends. Raises ConfigError with the line if it is not XML, or of another root."""
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    found: list[Start | End] = []
    within = [""]
    text: list[str] = []

    def place() -> str:
        return f"{path}:{parser.CurrentLineNumber}"

    def begun(name: str, attributes: dict[str, str]) -> None:
        space, _, local = name.rpartition(" ")
        if len(within) == 1 and local != root:
            raise ConfigError(f"it is <{local}>, not <{root}>", place=place(), remedy="give a file of that format")
        found.append(Start(local, within[-1], space, attributes, place()))
        within.append(local)
        text.clear()

    def ended(_: str) -> None:
        local = within.pop()
        found.append(End(local, within[-1], "".join(text), place()))
        text.clear()

    def typed(*_: object) -> None:
        raise ConfigError("it has a document type", place=place(), remedy="remove the DOCTYPE: it is not needed")

    parser.StartElementHandler = begun
    parser.EndElementHandler = ended
    parser.CharacterDataHandler = text.append
    parser.StartDoctypeDeclHandler = typed
    more = True
    while more:
        chunk = file.read(_CHUNK_BYTES)
        more = bool(chunk)
        try:
            parser.Parse(chunk, not more)
        except expat.ExpatError as error:
            problem = f"not XML: {expat.ErrorString(error.code)}"
            raise ConfigError(problem, place=f"{path}:{error.lineno}", remedy="give a whole XML file") from error
        except (LookupError, ValueError) as error:
            raise ConfigError(f"not XML: {error}", place=place(), remedy="save it as UTF-8") from error
        yield from found
        found.clear()


def attribute(value: str) -> str:
    """A text as an attribute's value, in quotes. Raises ConfigError if XML cannot hold it."""
    return quoteattr(_possible(value), _CARRIAGE_RETURN)


def content(value: str) -> str:
    """A text as an element's content. Raises ConfigError if XML cannot hold it."""
    return escape(_possible(value), _CARRIAGE_RETURN)


def _possible(value: str) -> str:
    if _NOT_XML.search(value):
        raise ConfigError(f"XML cannot hold {value!r}", remedy="convert to csv, geojson or trace")
    return value
