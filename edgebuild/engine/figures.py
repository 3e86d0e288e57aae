"""From what the children answered to the figures of a manifest, judged."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from edgebuild import gate, hashing, stats
from edgebuild.budgets import HOST
from edgebuild.core.budget import Subject, Unit
from edgebuild.core.delivery import Leaner
from edgebuild.core.device import DeviceReport
from edgebuild.core.finding import Finding
from edgebuild.core.losses import Losses
from edgebuild.core.manifest import Accuracy, Artifact, DataRecord, Footprint, Inputs, Manifest, Shrinkage
from edgebuild.core.measurement import Measurement, Mode
from edgebuild.core.model import ArtifactSpec
from edgebuild.core.plan import Plan, Source
from edgebuild.core.settings import BenchSettings
from edgebuild.core.target import Kernels
from edgebuild.passes.jobs import Baseline, Splits
from edgebuild.runtimes.jobs import Bench

_FILE = "file"
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


_NOTHING_ASKED = DeviceFigures(DeviceReport(), ())


class Scored(NamedTuple):
    """The artifact's score, and the kernels that it was run on."""

    score: float
    samples: int
    kernels: str


def manifest(
    plan: Plan,
    *,
    data: bytes,
    spec: ArtifactSpec,
    inputs: Inputs,
    baseline: Baseline | None,
    score: Scored | None,
    bench: Bench,
    shrinkage: Shrinkage | None,
    versions: dict[str, str],
    machine: str,
    notes: tuple[str, ...],
    device: DeviceFigures = _NOTHING_ASKED,
    leaner: Leaner | None = None,
    losses: Losses | None = None,
    findings: tuple[Finding, ...] = (),
) -> Manifest:
    """Everything known of one build, with its verdict.

    Args:
        plan: what was done.
        data: the artifact's bytes.
        spec: the artifact as it was read back.
        inputs: what it was made from.
        baseline: the float network's score, or None where nothing was scored.
        score: the artifact's score, or None.
        bench: times and memory.
        shrinkage: what the passes before quantization took off, or None where there were none.
        versions: of the packages that made and ran it.
        machine: what the figures were measured on.
        notes: what was decided for the user.
        device: what the target's own runtime and compiler say.
        leaner: what packing took off the file.
        losses: what was lost against the float network.
        findings: the faults of the data.
    """
    artifact = describe(f"{plan.name}.tflite", data)
    accuracy = _accuracy(plan, baseline, score)
    measurements = (
        *of_file(artifact),
        in_file(Subject.ACTIVATIONS, spec.activations_bytes, Mode.ESTIMATED),
        *_of_scores(plan, accuracy, score.kernels if score else "", machine, versions),
        *of_bench(plan.runtime.kernels, plan.bench, bench, machine, versions),
        *device.measurements,
    )
    return Manifest(
        edgebuild=versions.get("edgebuild", ""),
        name=plan.name,
        target=plan.target,
        artifact=artifact,
        accuracy=accuracy,
        compression=shrinkage,
        losses=losses,
        leaner=leaner,
        device=device.report,
        lacking=dict(device.lacking),
        findings=findings,
        measurements=measurements,
        verdict=gate.judge(
            plan.budgets, measurements, lower_is_better=plan.metric.less_is_more, lacking=device.lacking
        ),
        plan=plan,
        network=spec,
        toolchain=versions,
        inputs=inputs,
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
    )


def _metric_unit(plan: Plan) -> Unit:
    """The unit of the score: the metric's own, or the one its budget was written in."""
    if plan.metric.is_share:
        return Unit.SHARE
    return next((budget.unit for budget in plan.budgets if budget.subject == Subject.ACCURACY), Unit.NUMBER)


def _of_scores(
    plan: Plan, accuracy: Accuracy | None, kernels: str, machine: str, versions: dict[str, str]
) -> tuple[Measurement, ...]:
    if accuracy is None:
        return ()
    lost = accuracy.baseline - accuracy.artifact
    drop = -lost if accuracy.lower_is_better else lost
    figures = [
        (Subject.ACCURACY, accuracy.artifact, accuracy.unit),
        (Subject.ACCURACY_DROP, drop, Unit.SHARE if plan.metric.is_share else Unit.NUMBER),
    ]
    if plan.metric.is_callable:
        # Its score may be a share or not: a budget may be written in either way, now or at a later check.
        other = Unit.NUMBER if accuracy.unit == Unit.SHARE else Unit.SHARE
        figures.append((Subject.ACCURACY, accuracy.artifact, other))
    if not plan.metric.is_share and accuracy.baseline:
        figures.append((Subject.ACCURACY_DROP, drop / abs(accuracy.baseline), Unit.RELATIVE))
    settings = {"samples": accuracy.samples}
    return tuple(_on_host(kernels, machine, versions, *figure, settings) for figure in figures)


def of_bench(
    kernels: Kernels, settings: BenchSettings, bench: Bench, machine: str, versions: dict[str, str]
) -> tuple[Measurement, ...]:
    """Latency and memory of an artifact on this machine."""
    samples = tuple(round(sample, 9) for sample in bench.samples_s)
    median = stats.median(samples)
    threads = {"threads": settings.threads}
    warmed = {**threads, "warmup_runs": settings.warmup_runs}
    return (
        _on_host(kernels, machine, versions, Subject.LATENCY, median, Unit.SECONDS, warmed, samples),
        _on_host(kernels, machine, versions, Subject.PEAK_MEMORY, bench.peak_memory_bytes, Unit.BYTES, threads),
    )


def _on_host(
    kernels: str,
    machine: str,
    versions: dict[str, str],
    subject: Subject,
    value: float,
    unit: Unit,
    settings: dict[str, int],
    samples: tuple[float, ...] = (),
) -> Measurement:
    """A figure that an interpreter gave on this machine."""
    package = TFLM_PACKAGE if kernels == TFLM_KERNELS else _LITERT
    return Measurement(
        subject=subject,
        value=value,
        unit=unit,
        mode=Mode.MEASURED,
        where=HOST,
        machine=machine,
        kernels=kernels,
        samples=samples,
        statistics=stats.summarize(samples) if samples else {},
        settings=settings,
        versions={package: versions.get(package, "")},
    )
