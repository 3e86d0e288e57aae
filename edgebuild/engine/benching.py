"""Artifacts measured at places, whoever made them, and held against a baseline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from edgebuild import comparing, gate, hashing
from edgebuild.core.benched import Benched
from edgebuild.core.budget import SCORES, Budget, Subject, Unit
from edgebuild.core.manifest import FILE_NAME, Manifest
from edgebuild.core.place import Place
from edgebuild.core.settings import BenchSettings
from edgebuild.core.target import Kernels
from edgebuild.engine import baselines, calibrations, check, figures, operator_timing, places
from edgebuild.engine.baselines import Wanted
from edgebuild.engine.place_steps import Demand, Runnable
from edgebuild.engine.session import Session
from edgebuild.errors import StepError
from edgebuild.flatbuffer import requantization
from edgebuild.flatbuffer.inspecting import inspect

_ARTIFACT = ".tflite"
# Where a baseline is named and nothing is said of how much worse an artifact may be.
_ASSUMED = {Subject.LATENCY: 0.05, Subject.INSTRUCTIONS: 0.005}
_ASSUMPTION = "assumed where a baseline is named without a limit"


class Known(NamedTuple):
    """An artifact that may be run, and what was recorded of it; None where nothing was."""

    item: Runnable
    manifest: Manifest | None


# Gives the budgets that hold now for an artifact; its manifest is None where there is none.
Budgets = Callable[[Manifest | None], tuple[Budget, ...]]


def find(path: Path, kernels: Kernels | None) -> list[Known]:
    """The artifacts at a path, looked through before anything runs them.

    Args:
        path: a .tflite file, a manifest, one target's folder, or a folder of targets.
        kernels: None for those of each artifact's target, and XNNPACK's for files of which nothing is known.

    Raises:
        UsageError: there is nothing at the path.
        StepError: a file or a manifest is damaged, or a file is not what the manifest beside it describes.
        OSError: a file cannot be opened.
    """
    is_file = path.suffix == _ARTIFACT
    found = []
    for place in _beside(path) if is_file else check.find(path):
        manifest = check.read(place)
        check.require_unchanged(manifest, place)
        artifact = place.parent / Path(manifest.artifact.path).name
        found.append(Known(Runnable(artifact, kernels or manifest.plan.runtime.kernels), manifest))
    if is_file and not any(known.item.path.resolve() == path.resolve() for known in found):
        found = [Known(Runnable(path, kernels or Kernels.XNNPACK), None)]
    for known in found:
        _require_sound(known.item)
    return found


def bench(
    artifacts: Sequence[Known], settings: BenchSettings, budgets: Budgets, session: Session, *, operators: bool
) -> list[Benched]:
    """Measure each at all places, compare it with the baseline where one is named, and judge it.

    Args:
        artifacts: as `find` returns them.
        settings: where, how, and against what.
        budgets: gives the budgets that hold for each.
        session: where steps are done.
        operators: whether to see where the time goes as well.

    Raises:
        UsageError: a place or the baseline cannot be meant.
        StepError: an interpreter refused one, or its process ended or broke its limits.
    """
    at = places.wanted(settings, ())
    found = [_bench(known, at, settings, budgets(known.manifest), session) for known in artifacts]
    if not operators:
        return found
    return [
        replace(item, operators=operator_timing.operator_times(known.item, settings, session))
        for known, item in zip(artifacts, found, strict=True)
    ]


def _bench(
    known: Known, at: Sequence[Place], settings: BenchSettings, budgets: Sequence[Budget], session: Session
) -> Benched:
    item, manifest = known
    baseline = _baseline(known, settings, session)
    concerning = _concerning(budgets, at, settings)
    demand = Demand(settings, tuple(concerning), baseline.artifact if baseline is not None else None)
    placed = places.measure(item, at, demand, session, again=True)
    estimated = calibrations.estimates(item.path, placed.measurements)
    sizes = figures.of_file(figures.describe(item.path.name, item.path.read_bytes()))
    measurements = (*sizes, *placed.measurements, *estimated.measurements)
    comparison = None
    if baseline is not None:
        comparison = comparing.compare(places.with_reason(baseline.before, placed), measurements, placed.turns)
    verdict = gate.judge(
        concerning,
        measurements,
        lower_is_better=False,
        lacking=placed.lacking,
        comparison=comparison,
    )
    return Benched(
        artifact=str(item.path),
        sha256=hashing.of_file(item.path),
        target=manifest.target if manifest is not None else "",
        measurements=measurements,
        verdict=verdict,
        comparison=comparison,
        lacking=dict(placed.lacking),
        notes=(*placed.notes, *estimated.notes),
    )


def _baseline(known: Known, settings: BenchSettings, session: Session) -> baselines.Baseline | None:
    if not settings.baseline:
        return None
    manifest = known.manifest
    wanted = Wanted()
    if manifest is not None:
        wanted = Wanted(manifest.name, manifest.target, str(manifest.plan.runtime.kernels))
    out = known.item.path.absolute().parent
    return baselines.find(settings.baseline, wanted, out.parent if manifest is not None else out, session.scratch())


def _concerning(budgets: Sequence[Budget], at: Sequence[Place], settings: BenchSettings) -> list[Budget]:
    """The budgets on what is measured here, and limits against the baseline where none is given."""
    here = {place.label for place in at}
    # Scoring takes data, which are not asked for here.
    measured = [budget for budget in budgets if budget.subject not in SCORES]
    concerned = [budget for budget in measured if budget.on in here or (budget.of_baseline and budget.on is None)]
    if settings.baseline and not any(budget.of_baseline for budget in concerned):
        concerned += [_assumed(Subject.INSTRUCTIONS if place.emulates else Subject.LATENCY, place) for place in at]
    return concerned


def _assumed(subject: Subject, place: Place) -> Budget:
    return Budget(
        subject=subject,
        limit=_ASSUMED[subject],
        unit=Unit.RELATIVE,
        on=place.label,
        of_baseline=True,
        origin=_ASSUMPTION,
    )


def _beside(artifact: Path) -> list[Path]:
    """The manifest of this file's name, where there is one beside it."""
    path = artifact.parent / FILE_NAME
    if not path.is_file():
        return []
    try:
        named = Path(check.read(path).artifact.path).name
    except StepError:
        return []
    return [path] if named == artifact.name else []


def _require_sound(item: Runnable) -> None:
    name = item.path.name
    inspection = inspect(item.path.read_bytes(), name)
    if inspection.doubts:
        raise StepError(
            f"{name} is doubtful and is not run", "\n".join(inspection.doubts), "Build or download it again."
        )
    if inspection.warnings and item.kernels == Kernels.XNNPACK:
        raise StepError(
            f"{name} is not run on {item.kernels} kernels, which refuse it",
            "\n".join(inspection.warnings),
            requantization.REMEDY,
        )
