"""Artifacts that were built before, gated again: sizes and digests from the files, the rest from their manifests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from edgebuild import documents, hashing
from edgebuild.core.budget import COSTS, SCORES, Budget, Subject
from edgebuild.core.manifest import FILE_NAME, SCHEMA_VERSION, Manifest
from edgebuild.core.measurement import Measurement
from edgebuild.core.plan import Source
from edgebuild.core.verdict import Verdict
from edgebuild.documents import DocumentError
from edgebuild.errors import EdgebuildError, StepError, UsageError
from edgebuild.gating import gate, judgeable
from edgebuild.pipeline import figures, publish

# Gives the budgets that hold now, for a manifest and those that it recorded.
Budgets = Callable[[Manifest], tuple[Budget, ...]]


class Checked(NamedTuple):
    """One manifest, and what the gate says of it now, or why it cannot say anything."""

    path: Path
    manifest: Manifest | None
    verdict: Verdict | None
    error: EdgebuildError | None


class Demands(NamedTuple):
    """What is asked of artifacts now.

    The budgets, the digests of network and data (empty for any), a baseline, formats of reports to write.
    """

    budgets: Budgets
    model_sha256: str = ""
    data_sha256: str = ""
    baseline_required: bool = False
    reports: tuple[str, ...] = ()


def find(place: Path, wanted: Sequence[Path] = ()) -> list[Path]:
    """The manifests at a place: itself, the one in a folder of a target, those of a folder of targets or of builds.

    Args:
        place: where to look.
        wanted: folders of targets that must be among them, whether there is a manifest or not.

    Raises:
        UsageError: there is none.
    """
    if place.is_file():
        return [place]
    found = [place / FILE_NAME] if (place / FILE_NAME).is_file() else sorted(place.glob(f"*/{FILE_NAME}"))
    found = found or sorted(place.glob(f"*/*/{FILE_NAME}"))  # of several builds
    if not found:
        why = "There is no such folder." if not place.exists() else f"It holds no {FILE_NAME}."
        raise UsageError(f"nothing to check at {place}", why, "Build first, or name the folder given as --out.")
    return [*found, *(folder / FILE_NAME for folder in wanted if folder / FILE_NAME not in found)]


def check(paths: list[Path], demands: Demands) -> list[Checked]:
    """Gate each manifest; one that cannot be judged leaves the others alone."""
    return [_check(path, demands) for path in paths]


def read(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        StepError: it cannot be read, is damaged, or was written by a newer edgebuild.
    """
    try:
        data = documents.read(path)
        version = documents.json(data, _Version).schema_version
        if version > SCHEMA_VERSION:
            raise StepError(f"{path} was written by a newer edgebuild", f"Its schema is version {version}.", "Update.")
        return documents.json(data, Manifest)
    except (OSError, DocumentError) as error:
        raise StepError(f"{path} is no manifest that can be read", str(error), "Build again.") from None


class _Version(msgspec.Struct):
    schema_version: int


def _check(path: Path, demands: Demands) -> Checked:
    try:
        if not path.exists():
            raise StepError(f"{path} is missing", "Its target is to be built, and was not.", "Build again.")
        manifest = read(path)
        require_unchanged(manifest, path)
        _require_same_source(manifest.inputs.model, demands.model_sha256, path)
        if manifest.inputs.data is not None:
            _require_same_source(manifest.inputs.data.source, demands.data_sha256, path)
        budgets = demands.budgets(manifest)
        verdict = gate.judge(
            budgets,
            manifest.measurements,
            lower_is_better=manifest.plan.metric.less_is_more,
            lacking={**_not_measured(budgets), **manifest.lacking},
            comparison=manifest.comparison,
            baseline_required=demands.baseline_required or manifest.plan.bench.baseline_required,
        )
        if demands.reports:
            _report(msgspec.structs.replace(manifest, verdict=verdict), demands.reports, path.parent)
    except EdgebuildError as error:
        return Checked(path, None, None, error)
    return Checked(path, manifest, verdict, None)


def _report(manifest: Manifest, reports: Sequence[str], folder: Path) -> None:
    """Write reports of what the gate says now; the manifest stays as it was built."""
    from edgebuild.report import formats  # of use to few

    publish.leave(formats.files(manifest, reports), folder)


def _not_measured(budgets: Sequence[Budget]) -> dict[str, str]:
    """What to do where a figure was not recorded: nothing is run here."""
    measures, scores = "edgebuild bench measures it", "build with labelled evaluation data (--data)"
    return {
        f"{budget.subject} on {budget.on}" if budget.on else str(budget.subject): (
            scores if budget.subject in SCORES else measures
        )
        for budget in budgets
        if budget.subject in (*COSTS, *SCORES, Subject.INSTRUCTIONS)
    }


def of(manifest: Manifest) -> judgeable.Of:
    """What budgets of a build are for, when it is gated again."""
    return judgeable.Of.plan(manifest.plan, has_baseline=manifest.comparison is not None, is_recorded=True)


def _require_same_source(source: Source, sha256: str, path: Path) -> None:
    """An artifact of an earlier network or of earlier data is not what the configuration names now."""
    if sha256 and source.sha256 and sha256 != source.sha256:
        raise StepError(
            f"{path} is of an earlier build: {source.path} has changed since, or another is configured",
            f"Its SHA-256 was {source.sha256}, it is {sha256}.",
            "Build again.",
        )


def _holds(manifest: Manifest, found: tuple[Measurement, ...]) -> bool:
    return all(measurement in manifest.measurements for measurement in found)


def require_unchanged(manifest: Manifest, path: Path) -> None:
    """What was measured holds for the measured file alone, and its sizes are those that were recorded.

    Raises:
        StepError: the artifact beside a manifest, or a file that was left with it, is another or is missing.
    """
    artifact = path.parent / Path(manifest.artifact.path).name
    data = _read(artifact)
    found = figures.describe(manifest.artifact.path, data)
    if found != manifest.artifact or not _holds(manifest, figures.of_file(found)):
        raise StepError(
            f"{artifact} is not the file that {path} describes",
            f"Its SHA-256 is {found.sha256}, its size {found.size_bytes:,} bytes: nothing recorded holds for it.",
            "Build again.",
        )
    for item in manifest.files:
        place = path.parent / item.path
        if hashing.of_bytes(_read(place)) != item.sha256:
            raise StepError(
                f"{place} is not the file that {path} describes",
                "It was left with the artifact and has changed since, or is of another build.",
                "Build again.",
            )


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise StepError(f"{file} cannot be read", str(error), "Build again.") from None
