"""Artifacts and manifests in the user's folder: written beside, then moved into place, each whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import msgspec

from edgebuild.core.manifest import FILE_NAME, Manifest
from edgebuild.errors import StepError

_REMEDY = "Make room, or name another folder with --out."


def publish(manifest: Manifest, artifact: Path, folder: Path) -> None:
    """Put an artifact and its manifest into a target's folder.

    Both are complete on disk before either is moved into place; what lay there before stays if anything fails.

    Raises:
        StepError: the folder cannot be made or written.
    """
    encoded = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
    files = {manifest.artifact.path: artifact.read_bytes(), FILE_NAME: encoded}
    waiting: dict[str, str] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            waiting[name] = _write_beside(folder, name, data)
        for name in files:
            if (folder / name).is_dir():
                raise IsADirectoryError(f"{folder / name} is a folder")
        for name, temporary in waiting.items():
            Path(temporary).replace(folder / name)
    except OSError as error:
        raise StepError(f"{folder} cannot be written", str(error), _REMEDY) from None
    finally:
        for temporary in waiting.values():
            Path(temporary).unlink(missing_ok=True)


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


def _write_beside(folder: Path, name: str, data: bytes) -> str:
    descriptor, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
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
