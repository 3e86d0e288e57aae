"""From what the children answered to the figures of a manifest, judged."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from edgebuild import hashing
from edgebuild.actions.datasets import Splits
from edgebuild.actions.scores import Baseline
from edgebuild.core.budget import Subject, Unit
from edgebuild.core.delivery import Leaner
from edgebuild.core.device import DeviceReport
from edgebuild.core.finding import Finding
from edgebuild.core.losses import Losses, OutputLoss
from edgebuild.core.manifest import Accuracy, Artifact, DataRecord, Footprint, FurtherScore, Inputs, Manifest, Shrinkage
from edgebuild.core.measurement import Measurement, Mode, Paired
from edgebuild.core.metric import Metric
from edgebuild.core.model import ArtifactSpec
from edgebuild.core.plan import Plan, Source
from edgebuild.core.settings import MetricKind
from edgebuild.gating import gate, pairing
from edgebuild.gating.budgets import HOST
from edgebuild.gating.comparing import Before, Turns, compare

_FILE = "file"
# Scores that are the share of samples that are right.
_COUNTED = (MetricKind.ACCURACY, MetricKind.TOP_K)
_LITERT = "ai-edge-litert"
TFLM_PACKAGE = "tflite-micro"
TFLM_KERNELS = "tflm"
# A compressor's level is part of the figure: it is what app stores and `gzip -9` use.
_GZIP_LEVEL = 9


class DeviceFigures(NamedTuple):
    """What the target's own runtime and compiler said, its figures, and why there are not more, by subject."""

    report: DeviceReport
    measurements: tuple[Measurement, ...]
    lacking: Mapping[str, str] = MappingProxyType({})


class Scored(NamedTuple):
    """An artifact's score, and what it was run on."""

    score: float
    samples: int
    kernels: str
    machine: str
    where: str = HOST
    mode: Mode = Mode.MEASURED
    further: Mapping[str, float] = MappingProxyType({})


class Origin(NamedTuple):
    """What an artifact comes from.

    Attributes:
        inputs: what it was made from.
        baseline: the float network's score, or None where nothing was scored.
        shrinkage: what the passes before quantization took off, or None where there were none.
        findings: the faults of the data.
        versions: of the packages that made and ran it.
    """

    inputs: Inputs
    baseline: Baseline | None
    shrinkage: Shrinkage | None
    findings: tuple[Finding, ...]
    versions: dict[str, str]


class Found(NamedTuple):
    """What is known of an artifact.

    Attributes:
        score: on the kernels that compute like its target's; None where nothing was scored.
        measurements: of the places that it was run at.
        device: what the target's own runtime and compiler say.
        baseline: what it is held against; None where nothing was named.
        turns: what was measured of that in turn with it.
        leaner: what packing took off the file; None where it was not packed.
        losses: what was lost against the float network.
        lacking: why a figure could not be had, by its subject, or "SUBJECT on PLACE".
    """

    score: Scored | None
    measurements: tuple[Measurement, ...]
    device: DeviceFigures
    baseline: Before | None
    turns: tuple[Turns, ...]
    leaner: Leaner | None
    losses: Losses | None
    lacking: Mapping[str, str]


def manifest(
    plan: Plan, data: bytes, spec: ArtifactSpec, origin: Origin, found: Found, notes: tuple[str, ...]
) -> Manifest:
    """Everything known of one build, with its verdict.

    Args:
        plan: what was done.
        data: the artifact's bytes.
        spec: the artifact as it was read back.
        origin: what it comes from.
        found: what is known of it.
        notes: what was decided for the user.
    """
    artifact = describe(f"{plan.name}.tflite", data)
    accuracy = _accuracy(plan, origin.baseline, found.score)
    paired = _paired(plan.metric, accuracy, found.losses.output if found.losses is not None else None)
    measurements = (
        *of_file(artifact),
        in_file(Subject.ACTIVATIONS, spec.activations_bytes, Mode.ESTIMATED),
        *of_score(plan, origin.baseline, found.score, origin.versions, paired),
        *found.measurements,
        *found.device.measurements,
    )
    lacking = {**found.device.lacking, **found.lacking}
    comparison = compare(found.baseline, measurements, found.turns) if found.baseline is not None else None
    return Manifest(
        edgebuild=origin.versions.get("edgebuild", ""),
        name=plan.name,
        target=plan.target,
        artifact=artifact,
        accuracy=accuracy,
        compression=origin.shrinkage,
        losses=found.losses,
        leaner=found.leaner,
        device=found.device.report,
        lacking=lacking,
        findings=origin.findings,
        measurements=measurements,
        comparison=comparison,
        verdict=gate.judge(
            plan.budgets,
            measurements,
            lower_is_better=plan.metric.less_is_more,
            lacking=lacking,
            comparison=comparison,
            baseline_required=plan.bench.baseline_required,
        ),
        plan=plan,
        network=spec,
        toolchain=origin.versions,
        inputs=origin.inputs,
        notes=notes,
    )


def describe(path: str, data: bytes) -> Artifact:
    """An artifact's digest and sizes."""
    return Artifact(
        path=path,
        sha256=hashing.of_bytes(data),
        size_bytes=len(data),
        size_gzip_bytes=len(gzip.compress(data, _GZIP_LEVEL, mtime=0)),
    )


def footprint(data: bytes, spec: ArtifactSpec) -> Footprint:
    """What an artifact of these bytes takes."""
    sizes = describe("", data)
    return Footprint(
        size_bytes=sizes.size_bytes,
        size_gzip_bytes=sizes.size_gzip_bytes,
        activations_bytes=spec.activations_bytes,
        macs=spec.macs,
    )


def of_file(artifact: Artifact) -> tuple[Measurement, ...]:
    """The figures that the file alone decides."""
    return (
        in_file(Subject.SIZE, artifact.size_bytes, Mode.MEASURED),
        in_file(Subject.GZIP_SIZE, artifact.size_gzip_bytes, Mode.MEASURED),
    )


def data_record(source: Source, splits: Splits) -> DataRecord:
    """The data as they were used."""
    return DataRecord(
        source=source,
        train_samples=splits.train_samples,
        calibration_samples=splits.calibration_samples,
        evaluation_samples=splits.evaluation_samples,
        calibration_sha256=splits.calibration_sha256,
        evaluation_sha256=splits.evaluation_sha256,
        labels=splits.labels,
        validation_samples=splits.validation_samples,
        resizing=splits.resizing,
    )


def in_file(subject: Subject, value: float, mode: Mode) -> Measurement:
    """A figure that the file alone decides."""
    return Measurement(subject=subject, value=value, unit=subject.unit, mode=mode, where=_FILE)


def _accuracy(plan: Plan, baseline: Baseline | None, score: Scored | None) -> Accuracy | None:
    if baseline is None or score is None:
        return None
    return Accuracy(
        metric=plan.metric.label,
        baseline=baseline.score,
        artifact=score.score,
        samples=score.samples,
        lower_is_better=plan.metric.less_is_more,
        unit=_metric_unit(plan),
        why=plan.metric.why,
        further=_further(baseline, score),
    )


def _further(baseline: Baseline, score: Scored) -> tuple[FurtherScore, ...]:
    """Other scores that both have."""
    return tuple(
        FurtherScore(metric=name, baseline=value, artifact=score.further[name], unit=_unit_of(name))
        for name, value in baseline.further.items()
        if name in score.further
    )


def _unit_of(name: str) -> Unit:
    return Unit.SHARE if Metric(name=name).is_share else Unit.NUMBER


def _metric_unit(plan: Plan) -> Unit:
    """The unit of the score: the metric's own, or the one its budget was written in."""
    if plan.metric.is_share:
        return Unit.SHARE
    return next((budget.unit for budget in plan.budgets if budget.subject == Subject.ACCURACY), Unit.NUMBER)


def _paired(metric: Metric, accuracy: Accuracy | None, output: OutputLoss | None) -> Paired | None:
    """The two scores compared sample by sample; None where not all samples were compared, or the score is no mean."""
    if accuracy is None or output is None or output.samples != accuracy.samples:
        return None
    if output.fell_by is not None:
        mean, deviation = output.fell_by
        return pairing.of_means(
            output.worse, output.better, mean, deviation, output.samples, is_share=accuracy.unit == Unit.SHARE
        )
    answers = output.answers
    if metric.name not in _COUNTED or answers is None or answers.total != output.samples:
        return None
    return pairing.of_pairs(output.worse, output.better, output.samples)


def of_score(
    plan: Plan,
    baseline: Baseline | None,
    scored: Scored | None,
    versions: dict[str, str],
    paired: Paired | None = None,
) -> tuple[Measurement, ...]:
    """The figures of an artifact's score; none where nothing was scored. `paired` is of its drop."""
    accuracy = _accuracy(plan, baseline, scored)
    if accuracy is None or scored is None:
        return ()
    lost = accuracy.baseline - accuracy.artifact
    drop = -lost if accuracy.lower_is_better else lost
    figures = [
        (Subject.ACCURACY, accuracy.artifact, accuracy.unit),
        (Subject.ACCURACY_DROP, drop, Unit.SHARE if plan.metric.is_share else Unit.NUMBER),
    ]
    if plan.metric.is_open:
        # Its score may be a share or not: a budget may be written in either way, now or at a later check.
        other = Unit.NUMBER if accuracy.unit == Unit.SHARE else Unit.SHARE
        figures.append((Subject.ACCURACY, accuracy.artifact, other))
    if not plan.metric.is_share and accuracy.baseline:
        figures.append((Subject.ACCURACY_DROP, drop / abs(accuracy.baseline), Unit.RELATIVE))
    package = TFLM_PACKAGE if scored.kernels == TFLM_KERNELS else _LITERT
    return tuple(
        Measurement(
            subject=subject,
            value=value,
            unit=unit,
            mode=scored.mode,
            where=scored.where,
            machine=scored.machine,
            kernels=scored.kernels,
            settings={"samples": accuracy.samples},
            versions={package: versions.get(package, "")},
            paired=_of_drop(paired, unit, accuracy.baseline) if subject == Subject.ACCURACY_DROP else None,
        )
        for subject, value, unit in figures
    )


def _of_drop(paired: Paired | None, unit: Unit, baseline: float) -> Paired | None:
    return pairing.scaled(paired, 1 / abs(baseline)) if paired is not None and unit == Unit.RELATIVE else paired
