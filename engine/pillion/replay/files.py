"""Files of traces: read whole, written whole or not at all, and packed where their name ends in `.gz`."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

from pillion.errors import ConfigError

_PACKED = ".gz"


@contextmanager
def reading(path: Path) -> Iterator[BinaryIO]:
    """The file, open for reading. Raises ConfigError, also in the block, if it cannot be read or unpacked."""
    try:
        with gzip.open(path) if path.suffix == _PACKED else path.open("rb") as file:
            yield cast(BinaryIO, file)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ConfigError(f"not gzip, or cut off: {error}", place=str(path), remedy="get the file again") from error
    except OSError as error:
        raise ConfigError(
            f"cannot be read: {error.strerror}", place=str(path), remedy="give a file that is there"
        ) from error


@contextmanager
def replacing(path: Path, *, force: bool) -> Iterator[BinaryIO]:
    """A file for writing that becomes `path` when the block ends well; else nothing is left of it.

    Raises ConfigError if `path` is there already and `force` is not given, or if it cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if path.exists() and not force:
            raise ConfigError("is there already", place=str(path), remedy="--force writes over it")
        with beside.open("wb") as file:
            if path.suffix == _PACKED:
                # Without name and time in it, the same trace is the same file.
                with gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as packed:
                    yield cast(BinaryIO, packed)
            else:
                yield file
        beside.replace(path)
    except OSError as error:
        raise ConfigError(
            f"cannot be written: {error.strerror}", place=str(path), remedy="name a file in a folder that can be"
        ) from error
    finally:
        with suppress(OSError):
            beside.unlink()
