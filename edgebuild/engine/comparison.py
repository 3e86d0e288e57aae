"""Two files, or two folders of builds, to be held side by side."""

from __future__ import annotations

from pathlib import Path

from edgebuild import hashing
from edgebuild.core.difference import Difference
from edgebuild.core.manifest import FILE_NAME, Manifest
from edgebuild.differences import Side, between
from edgebuild.engine import check
from edgebuild.errors import StepError, UsageError
from edgebuild.flatbuffer.inspecting import inspect

_ARTIFACT = ".tflite"


def compare(before: Path, after: Path) -> tuple[Difference, ...]:
    """The differences between two artifacts, or between the builds of two folders for the targets that both have.

    Args:
        before: a .tflite file, a manifest, one target's folder, or a folder of targets.
        after: the same, of any of these.

    Raises:
        UsageError: there is nothing at one of these places, or no target is in both.
        StepError: a file or a manifest is damaged.
        OSError: a file cannot be opened.
    """
    first, second = _sides(before), _sides(after)
    if len(first) == len(second) == 1:
        return (between(*first.values(), *second.values()),)
    common = [target for target in first if target in second]
    if not common:
        raise UsageError(
            f"{before} and {after} have no target in common",
            f"There are {', '.join(first)} and {', '.join(second)}.",
            "Name a file or one target's folder on each side.",
        )
    return tuple(between(first[target], second[target]) for target in common)


def _sides(place: Path) -> dict[str, Side]:
    """What is at a place, by target; a file without a manifest beside it stands for itself."""
    if place.suffix == _ARTIFACT or (place.is_file() and place.suffix != ".json"):
        return {place.name: Side(str(place), inspect(place.read_bytes(), place.name), _manifest_beside(place))}
    found = {}
    for path in check.find(place):
        manifest = check.read(path)
        artifact = path.parent / Path(manifest.artifact.path).name
        found[manifest.target] = Side(str(artifact), inspect(artifact.read_bytes(), artifact.name), manifest)
    return found


def _manifest_beside(artifact: Path) -> Manifest | None:
    """The manifest of this very file; nothing recorded of another holds for it."""
    try:
        manifest = check.read(artifact.parent / FILE_NAME)
    except StepError:
        return None
    return manifest if _describes(manifest, artifact) else None


def _describes(manifest: Manifest, artifact: Path) -> bool:
    return manifest.artifact.sha256 == hashing.of_bytes(artifact.read_bytes())
