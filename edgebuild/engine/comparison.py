"""Two files, or two folders of builds, to be held side by side."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from edgebuild import hashing
from edgebuild.core.difference import Difference
from edgebuild.core.manifest import FILE_NAME, Manifest
from edgebuild.differences import Side, between
from edgebuild.engine import baselines, check
from edgebuild.errors import StepError, UsageError
from edgebuild.flatbuffer.inspecting import inspect

_ARTIFACT = ".tflite"


def compare(before: str | Path, after: str | Path, out: Path = Path("dist")) -> tuple[Difference, ...]:
    """The differences between two artifacts, or between the builds of two folders for the targets that both have.

    Args:
        before: a .tflite file, a manifest, one target's folder, a folder of targets, or a git ref, whose commit holds
            what is at the other side's path; "REF:PATH" is another file or folder of the repository.
        after: the same, of any of these.
        out: the folder that a ref holds where both sides are one.

    Raises:
        UsageError: there is nothing at one of these places, or no target is in both.
        StepError: a file or a manifest is damaged.
        OSError: a file cannot be opened.
    """
    with tempfile.TemporaryDirectory(prefix="edgebuild-") as scratch:
        names = [str(before), str(after)]
        paths = [Path(name) for name in names if not baselines.is_of_git(name)]
        meant = paths[0] if paths else out
        sides = []
        for number, name in enumerate(names):
            into = Path(scratch) / str(number)
            into.mkdir()
            sides.append(_of_commit(name, meant, into) if baselines.is_of_git(name) else _sides(Path(name)))
    return _compared(str(before), str(after), *sides)


def _compared(before: str, after: str, first: Mapping[str, Side], second: Mapping[str, Side]) -> tuple[Difference, ...]:
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


def _of_commit(named: str, meant: Path, scratch: Path) -> dict[str, Side]:
    """What a commit holds, by target, under its names there."""
    found: dict[str, Side] = {}
    for label, path in baselines.fetched(named, meant, scratch):
        for target, side in _sides(path).items():
            name = label if path.suffix == _ARTIFACT else f"{label.removesuffix(FILE_NAME)}{Path(side.name).name}"
            found[target] = side._replace(name=name)
    return found


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
