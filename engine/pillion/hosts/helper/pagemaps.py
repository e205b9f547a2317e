"""CRIU's pagemaps: which addresses a checkpoint's memory belongs to, and where in its pages file each lies.

Source: CRIU, images/pagemap.proto (message fields), criu/include/magic.h, criu/image.c (an image is magic numbers and
then messages, each after its length, 4 bytes little endian), criu/pagemap.c (only entries that are PRESENT have bytes).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pillion.hosts.helper.wire import Refused

PAGE_BYTES = 4096
_COMMON_MAGIC = 0x54564319
_WORD = struct.Struct("<I")
_HEAD_PAGES_ID = 1
_ADDRESS, _COMPAT_PAGES, _IN_PARENT, _FLAGS, _PAGES = 1, 2, 3, 4, 5
_PRESENT = 1 << 2


@dataclass(frozen=True)
class Segment:
    """Consecutive pages: their first address, length in bytes, and where the pages file has them."""

    address: int
    length: int
    offset: int


def pages_file(pagemap: Path) -> str:
    """The name of the file with this pagemap's pages. Raises Refused."""
    head = _fields(next(_messages(pagemap)), pagemap)
    return f"pages-{head[_HEAD_PAGES_ID]}.img"


def segments(pagemap: Path) -> list[Segment]:
    """Where each range of addresses lies in the pages file, in order of both. Raises Refused."""
    messages = _messages(pagemap)
    next(messages)
    found = []
    offset = 0
    for message in messages:
        fields = _fields(message, pagemap)
        flags = fields.get(_FLAGS)
        if fields.get(_IN_PARENT):
            raise Refused(f"{pagemap.name} points to a parent checkpoint, which none of ours has")
        length = fields.get(_PAGES, fields.get(_COMPAT_PAGES, 0)) * PAGE_BYTES
        if flags is None or flags & _PRESENT:
            found.append(Segment(fields[_ADDRESS], length, offset))
            offset += length
    return found


def _messages(path: Path) -> Iterator[bytes]:
    data = path.read_bytes()
    at = 8 if len(data) >= 8 and _WORD.unpack_from(data)[0] == _COMMON_MAGIC else 4
    if len(data) < at + 4:
        raise Refused(f"{path.name} is no pagemap of CRIU")
    while at < len(data):
        if len(data) < at + 4:
            raise Refused(f"{path.name} ends too early")
        (length,) = _WORD.unpack_from(data, at)
        at += 4
        if len(data) < at + length:
            raise Refused(f"{path.name} ends too early")
        yield data[at : at + length]
        at += length


def _fields(message: bytes, path: Path) -> dict[int, int]:
    """A protobuf message's numbers by field. Source: Protocol Buffers, "Encoding": varints (wire type 0)."""
    found: dict[int, int] = {}
    at = 0
    try:
        while at < len(message):
            key, at = _varint(message, at)
            if key & 7:
                raise Refused(f"{path.name} has a field of an unknown kind")
            found[key >> 3], at = _varint(message, at)
    except IndexError:
        raise Refused(f"{path.name} has a broken message") from None
    return found


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
