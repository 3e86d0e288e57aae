"""Artifacts and manifests in the user's folder: written beside, then moved into place, each whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from edgebuild import documents
from edgebuild.core.delivery import PackedFile
from edgebuild.core.manifest import FILE_NAME, Manifest
from edgebuild.documents import DocumentError
from edgebuild.errors import StepError

_REMEDY = "Make room, or name another folder with --out."


def publish(manifest: Manifest, files: Mapping[str, bytes], folder: Path) -> None:
    """Put an artifact, what comes with it, and its manifest into a target's folder.

    All are complete on disk before the first is moved into place; what lay there before stays if anything fails. Files
    that an earlier build left with its artifact, and that are no part of this one, are taken away.

    Args:
        manifest: is written last.
        files: contents by path, relative to the folder with slashes; the artifact is one of them.
        folder: is made where there is none.

    Raises:
        StepError: the folder cannot be made or written.
    """
    encoded = documents.as_json(manifest) + b"\n"
    leave({**files, FILE_NAME: encoded}, folder, outdated=_left_before(folder) - {*files, FILE_NAME})


def leave(files: Mapping[str, bytes], folder: Path, outdated: Iterable[str] = ()) -> None:
    """Put files into a folder, all complete on disk before the first is moved into place, in this order.

    Args:
        files: contents by path, relative to the folder with slashes.
        folder: is made where there is none.
        outdated: is taken away once they are there.

    Raises:
        StepError: the folder cannot be made or written.
    """
    waiting: dict[str, str] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            waiting[name] = _write_beside(folder / name, data)
        for name in files:
            if (folder / name).is_dir():
                raise IsADirectoryError(f"{folder / name} is a folder")
        for name, temporary in waiting.items():
            Path(temporary).replace(folder / name)
        _take_away(folder, outdated)
    except OSError as error:
        raise StepError(f"{folder} cannot be written", str(error), _REMEDY) from None
    finally:
        for temporary in waiting.values():
            Path(temporary).unlink(missing_ok=True)


def _left_before(folder: Path) -> set[str]:
    """The files and reports that the manifest in a folder lists; none where there is none that can be read."""
    try:
        listing = documents.json(documents.read(folder / FILE_NAME), _Listing)
    except (OSError, DocumentError):
        return set()
    listed = (*(item.path for item in listing.files), *listing.reports)
    return {path for path in listed if (folder / path).resolve().is_relative_to(folder.resolve())}


def _take_away(folder: Path, names: Iterable[str]) -> None:
    """Files, and the folders that are empty without them."""
    for name in names:
        path = folder / name
        path.unlink(missing_ok=True)
        for above in path.parents:
            if above == folder or not above.is_dir() or any(above.iterdir()):
                break
            above.rmdir()


class _Listing(msgspec.Struct):
    """What is read of an earlier manifest, whatever else has changed in it since."""

    files: tuple[PackedFile, ...] = ()
    reports: tuple[str, ...] = ()


def require_writable(folder: Path) -> None:
    """Say before the long work that its result could not be left; nothing is created.

    Raises:
        StepError: the folder, or the closest one above it that exists, is no folder or cannot be written.
    """
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not existing.is_dir():
        raise StepError(f"{folder} cannot be written", f"{existing} is not a folder.", _REMEDY)
    if not os.access(existing, os.W_OK | os.X_OK):
        raise StepError(f"{folder} cannot be written", f"You may not write in {existing}.", _REMEDY)


def _write_beside(place: Path, data: bytes) -> str:
    descriptor, temporary = tempfile.mkstemp(prefix=f".{place.name}.", dir=place.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), 0o644)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise
    return temporary
