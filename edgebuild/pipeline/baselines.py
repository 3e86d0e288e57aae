"""Baselines: what the user names to compare with, found and looked through; two files or folders side by side.

A baseline that is damaged, foreign or not there is no error: a first release has none. It is said why nothing, or not
everything, can be compared.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from edgebuild import hashing, repository
from edgebuild.core.budget import Subject
from edgebuild.core.difference import Difference
from edgebuild.core.manifest import FILE_NAME, Manifest
from edgebuild.core.measurement import Measurement, Mode
from edgebuild.core.target import Kernels
from edgebuild.errors import StepError, UsageError
from edgebuild.flatbuffer.inspecting import inspect
from edgebuild.gating.comparing import Before
from edgebuild.gating.differences import Side, between
from edgebuild.pipeline import check, figures
from edgebuild.repository import GitError, UnknownRefError

_ARTIFACT = ".tflite"
_GIT = "git:"
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"


class Wanted(NamedTuple):
    """The artifact that is held against a baseline: what it must have in common with that, empty for anything.

    `kernels` are those of its target; artifacts for other kernels are not measured in turn.
    """

    name: str = ""
    target: str = ""
    kernels: str = ""


class Baseline(NamedTuple):
    """A baseline as far as it can be used.

    Attributes:
        before: what was recorded of it, to be compared; empty where it cannot be used, with the reason.
        artifact: its file, sound and the one that was recorded, to be measured in turn; None where it is not to be had,
            for which `before.lacking` gives the reason.
        manifest: where there is one.
    """

    before: Before
    artifact: Path | None = None
    manifest: Manifest | None = None


class _UnusableError(Exception):
    """Why there is no comparison; the text goes on from "no comparison: "."""


class _Candidate(NamedTuple):
    """A manifest that may be meant: its name for people, where it lies, and what brings a file from beside it."""

    label: str
    path: Path
    fetch: Callable[[str], Path]


def find(named: str, wanted: Wanted, out: Path, scratch: Path) -> Baseline:
    """The baseline of an artifact.

    A path that is there comes before a git ref of that name; "git:REF" is a ref in any case.

    Args:
        named: a manifest, a .tflite file, one target's folder, a folder of targets, a git ref ("v1.2", "HEAD~3"), whose
            commit holds what is built into `out`, or "REF:PATH" for another file or folder of its repository. A .tflite
            file is meant whatever it is of; everything else must have a manifest that fits what is wanted.
        wanted: what the baseline must fit.
        out: the folder that is built into now; it need not be there. It says which repository a ref is of.
        scratch: an empty folder, for what is read from a repository; it must last as long as the baseline's artifact.

    Raises:
        UsageError: what is named can be neither a path nor a ref.
    """
    bare = named.removeprefix(_GIT)
    if not bare or bare.startswith("-") or not bare.isprintable():
        raise UsageError(
            f"{named!r} cannot be a baseline", remedy="Name a manifest, a .tflite file, a folder, or a git ref."
        )
    path = Path(named)
    try:
        if not named.startswith(_GIT) and path.exists():
            return _on_disk(named, path, wanted)
        return _in_git(named, wanted, out, scratch)
    except _UnusableError as reason:
        return Baseline(Before(named, "", (), str(reason)))
    except OSError as error:
        return Baseline(Before(named, "", (), f"{error.filename or named} cannot be read: {error.strerror}"))


def _on_disk(named: str, path: Path, wanted: Wanted) -> Baseline:
    if path.suffix == _ARTIFACT and path.is_file():
        return _bare(named, path, wanted)
    try:
        manifests = check.find(path)
    except UsageError:
        raise _UnusableError(f"{path} holds no {FILE_NAME}") from None
    return _chosen(named, [_Candidate(str(found), found, found.parent.joinpath) for found in manifests], wanted)


def _in_git(named: str, wanted: Wanted, out: Path, scratch: Path) -> Baseline:
    """What a commit holds, read into `scratch` as far as it is needed."""
    try:
        tree, place = _tree(named, out, scratch)
        if place.suffix == _ARTIFACT:
            tree.fetch(place.parent, FILE_NAME)
            return _bare(named, tree.fetch(place.parent, place.name), wanted)
        return _chosen(named, tree.require(place), wanted)
    except GitError as error:
        # A commit that is there, and holds nothing, is not absent.
        is_absent = isinstance(error, UnknownRefError) and not named.startswith(_GIT)
        raise _UnusableError(f"there is no {named}, and {error}" if is_absent else str(error)) from None


def _fetched(named: str, out: Path, scratch: Path) -> list[tuple[str, Path]]:
    """What a commit holds, read into a folder: each manifest with its artifact, or the one file that is meant.

    Args:
        named: a ref, or "REF:PATH", as `find` takes them.
        out: the folder or the .tflite file that is meant where no path is named.
        scratch: an empty folder.

    Returns:
        For each what it is called, and where it lies now.

    Raises:
        UsageError: git knows no such commit, or it holds nothing there.
    """
    try:
        tree, place = _tree(named, out, scratch)
        if place.suffix == _ARTIFACT:
            tree.fetch(place.parent, FILE_NAME)
            files = [(f"{tree.ref}:{place}", tree.fetch(place.parent, place.name))]
        else:
            files = [(manifest.label, manifest.path) for manifest in tree.require(place)]
            for manifest in tree.require(place):
                manifest.fetch(Path(check.read(manifest.path).artifact.path).name)
    except GitError as error:
        remedy = "Name a .tflite file, a manifest, a folder that was built into, a git ref, or REF:PATH."
        raise UsageError(f"there is no {named}: no such path, and no such commit", f"{error}.", remedy) from None
    for label, file in files:
        if not file.is_file():
            raise UsageError(f"{label} is not there", remedy="Name another path: REF:PATH.")
    return files


def _is_of_git(named: str) -> bool:
    """Whether a name is of a commit: a path that is there comes before a ref, and so does a file that is missing."""
    is_file = Path(named).suffix in (_ARTIFACT, Path(FILE_NAME).suffix) and ":" not in named
    return named.startswith(_GIT) or not (is_file or Path(named).exists())


def _tree(named: str, out: Path, scratch: Path) -> tuple[_Tree, PurePosixPath]:
    """The commit that is named, and where in it to look; raises GitError."""
    ref, _, inside = named.removeprefix(_GIT).partition(":")
    top = repository.top(out)
    tree = _Tree(top, repository.resolve(top, ref), ref, scratch)
    return tree, PurePosixPath(inside or out.resolve().relative_to(top.resolve()).as_posix())


class _Tree(NamedTuple):
    """The files of a commit; each that is asked for is written into a folder of its own below `scratch`."""

    top: Path
    sha: str
    ref: str
    scratch: Path

    def manifests(self, place: PurePosixPath) -> Iterator[_Candidate]:
        """The manifests at a place: itself, that in a target's folder, or those of a folder of targets."""
        listed = {PurePosixPath(path) for path in repository.files(self.top, self.sha, str(place))}
        one = next((path for path in (place, place / FILE_NAME) if path in listed), None)
        several = sorted(path for path in listed if path.name == FILE_NAME and path.parent.parent == place)
        for path in [one] if one is not None else several:
            fetch = functools.partial(self.fetch, path.parent)
            yield _Candidate(f"{self.ref}:{path}", fetch(path.name), fetch)

    def require(self, place: PurePosixPath) -> list[_Candidate]:
        """The manifests at a place; raises GitError where there is none."""
        found = list(self.manifests(place))
        if not found:
            raise GitError(f"{self.ref} ({self.sha[:10]}) holds no {FILE_NAME} at {place}")
        return found

    def fetch(self, folder: PurePosixPath, name: str) -> Path:
        """A file of the commit; where it has none of that name there is nothing at the path that is returned."""
        path = folder / name
        into = self.scratch / hashing.of_bytes(f"{self.sha}:{folder}".encode())
        if str(path) in repository.files(self.top, self.sha, str(path)):
            into.mkdir(exist_ok=True)
            (into / path.name).write_bytes(repository.read(self.top, self.sha, str(path)))
        return into / path.name


def _bare(named: str, artifact: Path, wanted: Wanted) -> Baseline:
    """An artifact that is named itself; what is recorded beside it counts if it is of this very file."""
    if not artifact.is_file():
        raise _UnusableError(f"there is no {artifact.name} in it")
    data = artifact.read_bytes()
    if data.startswith(_LFS_POINTER):
        raise _UnusableError(f"{artifact.name} is a git-lfs pointer, not the file (git lfs pull brings that)")
    found = _measured(data, artifact.name, wanted)
    sha256 = hashing.of_bytes(data)
    try:
        manifest = check.read(artifact.with_name(FILE_NAME))
    except StepError:
        return Baseline(Before(named, sha256, found), artifact)
    if manifest.artifact.sha256 != sha256:
        return Baseline(Before(named, sha256, found), artifact)
    return Baseline(Before(named, sha256, _together(found, manifest)), artifact, manifest)


def _measured(data: bytes, name: str, wanted: Wanted) -> tuple[Measurement, ...]:
    """The figures that a sound file tells by itself."""
    try:
        inspection = inspect(data, name)
    except StepError as error:
        raise _UnusableError(error.what) from None
    if inspection.doubts:
        raise _UnusableError(f"{name} is damaged: {inspection.doubts[0]}")
    if inspection.warnings and wanted.kernels in ("", Kernels.XNNPACK):
        raise _UnusableError(f"{name} does not run: {inspection.warnings[0]}")
    sizes = figures.of_file(figures.describe(name, data))
    peak_bytes = inspection.graphs[0].memory.peak_bytes
    return (*sizes, figures.in_file(Subject.ACTIVATIONS, peak_bytes, Mode.ESTIMATED))


def _chosen(named: str, candidates: Sequence[_Candidate], wanted: Wanted) -> Baseline:
    """The one manifest that fits what is wanted, with its artifact."""
    unreadable: dict[str, str] = {}
    targets: list[str] = []
    for candidate in candidates:
        try:
            manifest = check.read(candidate.path)
        except StepError as error:
            unreadable[PurePosixPath(candidate.label).parent.name] = f"{candidate.label} cannot be read: {error.why}"
            continue
        targets.append(manifest.target)
        if wanted.target == manifest.target or (not wanted.target and len(candidates) == 1):
            return _fitting(named, candidate, manifest, wanted)
    if len(candidates) == len(unreadable) == 1 or wanted.target in unreadable:
        raise _UnusableError(unreadable.get(wanted.target) or next(iter(unreadable.values())))
    if not wanted.target:
        raise _UnusableError(f"it holds several targets ({', '.join(targets)}): name one target's folder, or a file")
    raise _UnusableError(f"it is of {', '.join(targets) or 'no target that can be read'}, not of {wanted.target}")


def _fitting(named: str, candidate: _Candidate, manifest: Manifest, wanted: Wanted) -> Baseline:
    """A baseline of the right target, with its artifact where that is to be had."""
    if wanted.name and manifest.name != wanted.name:
        raise _UnusableError(f"it is of the network {manifest.name}, not of {wanted.name}")
    known = Before(named, manifest.artifact.sha256, manifest.measurements)
    name = Path(manifest.artifact.path).name
    artifact = candidate.fetch(name)
    data = artifact.read_bytes() if artifact.is_file() else _LFS_POINTER
    if data.startswith(_LFS_POINTER):
        why = "is a git-lfs pointer (git lfs pull brings the file)" if artifact.is_file() else "is not there"
        return Baseline(known._replace(lacking=f"{name} beside {candidate.label} {why}"), manifest=manifest)
    if hashing.of_bytes(data) != manifest.artifact.sha256:
        raise _UnusableError(f"{name} is not the file that {candidate.label} describes")
    kernels = str(manifest.plan.runtime.kernels)
    if wanted.kernels not in ("", kernels):
        why = f"it was built for {kernels} kernels, this for {wanted.kernels}"
        return Baseline(known._replace(lacking=why), manifest=manifest)
    return Baseline(known._replace(measurements=_together(_measured(data, name, wanted), manifest)), artifact, manifest)


def _together(found: Sequence[Measurement], manifest: Manifest) -> tuple[Measurement, ...]:
    """What a file tells now, since another machine's gzip may have made another size of it, and what is recorded."""
    subjects = {measurement.subject for measurement in found}
    return (*found, *(recorded for recorded in manifest.measurements if recorded.subject not in subjects))


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
        paths = [Path(name) for name in names if not _is_of_git(name)]
        meant = paths[0] if paths else out
        sides = []
        for number, name in enumerate(names):
            into = Path(scratch) / str(number)
            into.mkdir()
            sides.append(_of_commit(name, meant, into) if _is_of_git(name) else _sides(Path(name)))
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
    for label, path in _fetched(named, meant, scratch):
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
