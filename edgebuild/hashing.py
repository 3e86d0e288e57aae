"""SHA-256 over files, folders and plain data. Digests are hexadecimal and never shortened where they identify."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec


def of_bytes(data: bytes) -> str:
    """The digest of bytes."""
    return hashlib.sha256(data).hexdigest()


def of_file(path: Path) -> str:
    """The digest of a file's contents; raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_tree(path: Path) -> str:
    """The digest of a file, or of a folder's relative names and contents in sorted order; raises OSError."""
    if path.is_file():
        return of_file(path)
    return of_files(path, sorted(_files_below(path)))


def _files_below(path: Path) -> Iterator[Path]:
    """Every file of a folder, also behind links to folders, which networks and data are read through; no loop twice."""
    for folder, _, files in walk(path):
        yield from (Path(folder, name) for name in files if Path(folder, name).is_file())


def walk(root: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """As `os.walk`, also behind links to folders; no loop twice."""
    seen: set[Path] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        real = Path(folder).resolve()
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        yield folder, folders, files


def of_files(root: Path, files: Iterable[Path]) -> str:
    """The digest of the given files' names relative to `root` and of their contents; raises OSError."""
    return of_data([[file.relative_to(root).as_posix(), of_file(file)] for file in files])


def of_data(data: object) -> str:
    """The digest of plain data or frozen structs, whatever the order of their mappings' keys."""
    return of_bytes(msgspec.json.encode(data, order="deterministic"))
