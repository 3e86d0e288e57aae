"""Artifacts measured at places, whoever made them, and held against a baseline."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from edgebuild import hashing
from edgebuild.core.benched import Benched
from edgebuild.core.budget import OF_NPU, SCORES, Budget, Subject, Unit
from edgebuild.core.manifest import FILE_NAME, Manifest
from edgebuild.core.measurement import Measurement, Mode
from edgebuild.core.place import Place
from edgebuild.core.settings import BenchSettings
from edgebuild.core.target import Interpreter, Kernels
from edgebuild.core.verdict import Requirement, Status
from edgebuild.errors import StepError
from edgebuild.execution.session import Session
from edgebuild.flatbuffer import requantization
from edgebuild.flatbuffer.inspecting import inspect
from edgebuild.gating import comparing, gate, judgeable
from edgebuild.pipeline import baselines, calibrations, check, device_figures, figures, places
from edgebuild.pipeline.baselines import Wanted
from edgebuild.pipeline.demands import Demand, Runnable
from edgebuild.pipeline.places import Placed

_ARTIFACT = ".tflite"
# Where a baseline is named and nothing is said of how much worse an artifact may be.
_ASSUMED = {Subject.LATENCY: 0.05, Subject.INSTRUCTIONS: 0.005}
_ASSUMPTION = "assumed where a baseline is named without a limit"


class Known(NamedTuple):
    """An artifact that may be run, and what was recorded of it; None where nothing was."""

    item: Runnable
    manifest: Manifest | None


# Gives the budgets that hold now for an artifact; its manifest is None where there is none.
Budgets = Callable[[Known], tuple[Budget, ...]]
# What a build found out of this very file, and no measurement of now changes.
_RECORDED = (*SCORES, *OF_NPU, Subject.FLASH, Subject.ARENA)


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
        UsageError: a place or the baseline cannot be meant, or a budget cannot be judged.
        StepError: an interpreter refused one, or its process ended or broke its limits.
    """
    wanted = [_with_assumed(known, budgets(known), settings) for known in artifacts]  # all, before any is run
    found = [_bench(known, settings, asked, session) for known, asked in zip(artifacts, wanted, strict=True)]
    if not operators:
        return found
    return [
        replace(item, operators=places.operator_times(known.item, settings, session))
        for known, item in zip(artifacts, found, strict=True)
    ]


def _bench(known: Known, settings: BenchSettings, budgets: tuple[Budget, ...], session: Session) -> Benched:
    """Measure what `[bench] on` and the budgets name, and judge every budget by that and by what the build recorded."""
    item, manifest = known
    baseline = _baseline(known, settings, session)
    demand = Demand(settings, budgets, baseline.artifact if baseline is not None else None)
    placed = places.measure(item, places.wanted(settings, budgets), demand, session, again=True)
    estimated = calibrations.estimates(item.path, placed.measurements)
    data = item.path.read_bytes()
    sizes = figures.of_file(figures.describe(item.path.name, data))
    measurements = (*sizes, *placed.measurements, *estimated.measurements)
    beside, lacking = _beside_costs(known, data, budgets, session)
    comparison = None
    if baseline is not None:
        before = places.with_reason(baseline.before, placed)
        comparison = comparing.compare(before, (*measurements, *beside), placed.turns)
    lower_is_better = manifest is not None and manifest.plan.metric.less_is_more
    verdict = gate.judge(
        budgets,
        (*measurements, *beside),
        lower_is_better=lower_is_better,
        lacking={**lacking, **placed.lacking},
        comparison=comparison,
        baseline_required=settings.baseline_required,
        requirements=_not_there(settings, placed),
    )
    return Benched(
        artifact=str(item.path),
        sha256=hashing.of_file(item.path),
        target=manifest.target if manifest is not None else "",
        measurements=measurements,
        verdict=verdict,
        has_costs_of_its_own=manifest is not None and manifest.plan.has_costs_of_its_own,
        lower_is_better=lower_is_better,
        comparison=comparison,
        lacking=dict(placed.lacking),
        notes=(*placed.notes, *estimated.notes, *_unassumed(known, settings, budgets)),
    )


def _beside_costs(
    known: Known, data: bytes, budgets: Sequence[Budget], session: Session
) -> tuple[tuple[Measurement, ...], dict[str, str]]:
    """The figures that no place decides: of the file, of the build that made it, and the arena; why one is lacking."""
    activations_bytes = inspect(data, known.item.path.name).graphs[0].memory.peak_bytes
    found = [figures.in_file(Subject.ACTIVATIONS, activations_bytes, Mode.ESTIMATED)]
    lacking: dict[str, str] = {}
    if known.manifest is not None:
        found += [figure for figure in known.manifest.measurements if figure.subject in _RECORDED]
        lacking |= known.manifest.lacking
    needs_arena = any(budget.subject == Subject.ARENA for budget in budgets)
    if needs_arena and not any(figure.subject == Subject.ARENA for figure in found):
        runtime = known.manifest.plan.runtime.name if known.manifest is not None else Interpreter.TFLM
        arena, why = device_figures.arena(known.item.path, runtime, session)
        found += [arena] if arena is not None else []
        lacking |= {str(Subject.ARENA): why} if why else {}
    return tuple(found), lacking


def _not_there(settings: BenchSettings, placed: Placed) -> tuple[Requirement, ...]:
    """The places that were named and gave no figures: they were asked for, with a limit or without."""
    missing = []
    for where in places.wanted(settings, ()):
        why = next((why for key, why in placed.lacking.items() if key.endswith(f" on {where.label}")), "")
        if why:
            missing.append(Requirement(what=f"figures on {where.label}", status=Status.INCONCLUSIVE, reason=why))
    return tuple(missing)


def _baseline(known: Known, settings: BenchSettings, session: Session) -> baselines.Baseline | None:
    if not settings.baseline:
        return None
    manifest = known.manifest
    wanted = Wanted()
    if manifest is not None:
        wanted = Wanted(manifest.name, manifest.target, str(manifest.plan.runtime.kernels))
    out = known.item.path.absolute().parent
    return baselines.find(settings.baseline, wanted, out.parent if manifest is not None else out, session.scratch())


def of(known: Known, settings: BenchSettings) -> judgeable.Of:
    """What budgets of an artifact are for."""
    has_baseline = bool(settings.baseline)
    if known.manifest is None:
        return judgeable.Of(known.item.path.name, None, has_baseline=has_baseline)
    return judgeable.Of.plan(known.manifest.plan, has_baseline=has_baseline)


def _with_assumed(known: Known, budgets: tuple[Budget, ...], settings: BenchSettings) -> tuple[Budget, ...]:
    """The budgets, and limits against the baseline where one is named and none is given.

    None on a cost of this host for a target whose costs are its own device's.
    """
    if not settings.baseline or any(budget.of_baseline for budget in budgets):
        return budgets
    at = places.wanted(settings, ())
    if of(known, settings).has_costs_of_its_own:
        at = [place for place in at if place.is_remote]
    assumed = (_assumed(Subject.INSTRUCTIONS if place.emulates else Subject.LATENCY, place) for place in at)
    return (*budgets, *assumed)


def _unassumed(known: Known, settings: BenchSettings, budgets: Sequence[Budget]) -> Iterator[str]:
    """That a baseline gates nothing, where no limit against it could be assumed."""
    if settings.baseline and not any(budget.of_baseline for budget in budgets):
        of_host = f"a latency on this host is none of {_target(known)}'s"
        yield f"nothing is limited against {settings.baseline}: {of_host}; name a limit, such as -b size=+2%"


def _target(known: Known) -> str:
    return known.manifest.target if known.manifest is not None else known.item.path.name


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
