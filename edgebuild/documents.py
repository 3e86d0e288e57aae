"""Documents that anyone may have written, TOML and JSON: read from regular files alone, within limits."""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path
from typing import TypeVar

import msgspec

T = TypeVar("T")

# A configuration is written by hand. A manifest has lines for each tensor of a network.
_MOST_TOML_BYTES = 4 * 2**20
_MOST_JSON_BYTES = 256 * 2**20
# Of tables and arrays within each other: what reads them further on goes down as deep.
_DEEPEST = 32


class DocumentError(ValueError):
    """A document that cannot be used, and why, in a sentence without its end."""


def read(path: Path, most_bytes: int = _MOST_JSON_BYTES) -> bytes:
    """All of a file.

    Raises:
        DocumentError: it is no regular file, or larger.
        OSError: it cannot be read.
    """
    # Without waiting for somebody to write into what is a pipe.
    opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(opened)
        if not stat.S_ISREG(found.st_mode):
            raise DocumentError("it is no regular file")
        if found.st_size > most_bytes:
            raise DocumentError(f"it has {found.st_size:,} bytes, more than any such file")
        with os.fdopen(opened, "rb", closefd=False) as file:
            return file.read(most_bytes)
    finally:
        os.close(opened)


def toml(path: Path) -> dict[str, object]:
    """The tables of a TOML file.

    Raises:
        DocumentError: it is none, or nobody's that is written by hand: too large, nested too deeply.
        OSError: it cannot be read.
    """
    try:
        return toml_of(read(path, _MOST_TOML_BYTES).decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DocumentError(str(error)) from None


def toml_of(text: str) -> dict[str, object]:
    """The tables of a text in TOML; raises DocumentError as `toml` does."""
    try:
        tables = tomllib.loads(text)
    except RecursionError:
        raise DocumentError("it is nested too deeply") from None
    except tomllib.TOMLDecodeError as error:
        raise DocumentError(str(error)) from None
    except ValueError:
        raise DocumentError("it holds a number of thousands of digits") from None
    if _is_deeper(tables, _DEEPEST):
        raise DocumentError("it is nested too deeply")
    return tables


def json(data: bytes, kind: type[T]) -> T:
    """A document in JSON, of a type.

    Raises:
        DocumentError: it is none of that type, or nested too deeply.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except RecursionError:
        raise DocumentError("it is nested too deeply") from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise DocumentError(str(error)) from None


def as_json(value: object) -> bytes:
    """A value as a document in JSON that people can read."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2)


def _is_deeper(value: object, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(levels == 0 or _is_deeper(item, levels - 1) for item in inner)
