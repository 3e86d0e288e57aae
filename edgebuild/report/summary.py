"""The terminal summary of builds and checks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

from edgebuild.core.budget import Subject, Unit
from edgebuild.core.finding import Finding
from edgebuild.core.manifest import Manifest
from edgebuild.core.measurement import Measurement
from edgebuild.core.verdict import Check, Status, Verdict, worst
from edgebuild.report import device, losses, wording
from edgebuild.units import format_bytes

# Takes a text and the name of its style ("pass", "fail", "dim", ...) and returns it styled, or as it is.
Paint = Callable[[str, str], str]

_LABEL = 10


def plain(text: str, _style: str) -> str:
    """The paint of a place without colours."""
    return text


def of_build(manifest: Manifest, folder: str, paint: Paint = plain, *, said: Collection[str] = ()) -> str:
    """What was built for one target: artifact, score, latency, memory, budgets; notes and warnings not yet `said`."""
    lines = [_headline(manifest.target, manifest.verdict.status, paint)]
    lines += [_row(label, text) for label, text in _facts(manifest, folder)]
    lines += _checks(manifest.verdict, manifest, paint)
    lines += [_row("note", paint(note, "dim")) for note in manifest.notes if note not in said]
    for finding in manifest.findings:
        lines += _warning(finding, paint) if finding.what not in said else []
    return "\n".join(lines)


def of_check(manifest: Manifest, verdict: Verdict, paint: Paint = plain) -> str:
    """What the gate says of artifacts that were built before."""
    artifact = manifest.artifact
    lines = [
        _headline(manifest.target, verdict.status, paint),
        _row("artifact", f"{artifact.path}  {format_bytes(artifact.size_bytes)}"),
        *_checks(verdict, manifest, paint),
    ]
    return "\n".join(lines)


def closing(statuses: Sequence[Status], failed: Sequence[str], paint: Paint, lacks: str) -> str:
    """The last line: the verdict over all targets, or what is lacking for those that failed."""
    if failed:
        return f"verdict: {paint('failed', 'fail')}, {lacks} {', '.join(failed)}"
    status = worst(statuses)
    return f"verdict: {paint(status, status)}"


def _headline(target: str, status: Status, paint: Paint) -> str:
    return f"{paint(target, 'title')}: {paint(status, status)}"


def _row(label: str, text: str) -> str:
    return f"  {label:<{_LABEL}} {text}"


def _warning(finding: Finding, paint: Paint) -> list[str]:
    """What was found, why it matters, and what to do."""
    first = _row("warning", f"{paint(finding.what, 'warn')} ({finding.code})")
    return [first, *(_row("", paint(text, "dim")) for text in (finding.why, finding.remedy))]


def _facts(manifest: Manifest, folder: str) -> Iterator[tuple[str, str]]:
    artifact = manifest.artifact
    yield "artifact", f"{folder}/{artifact.path}  ({wording.ends(manifest.plan.quantize)})"
    yield "size", f"{artifact.size_bytes:,} bytes, {artifact.size_gzip_bytes:,} gzipped"
    if manifest.compression is not None:
        yield "compressed", wording.shrunk(manifest.compression, manifest.plan.runtime.name)
    figures = {measurement.subject: measurement for measurement in manifest.measurements}
    if manifest.accuracy is not None:
        yield "accuracy", _accuracy(manifest, figures[Subject.ACCURACY])
    for number, rung in enumerate(manifest.repair):
        yield (
            "" if number else "repair",
            wording.rung(rung, manifest.accuracy.unit if manifest.accuracy else Unit.NUMBER),
        )
    if manifest.losses is not None:
        yield from losses.rows(manifest.losses)
    if Subject.LATENCY in figures:
        yield "latency", wording.latency(figures[Subject.LATENCY])
    if Subject.PEAK_MEMORY in figures:
        peak = format_bytes(figures[Subject.PEAK_MEMORY].value)
        alive = format_bytes(figures[Subject.ACTIVATIONS].value)
        yield "memory", f"{peak} peak on this host (measured), {alive} of activations (estimated)"
    yield from device.rows(manifest)


def _accuracy(manifest: Manifest, measurement: Measurement) -> str:
    accuracy = manifest.accuracy
    assert accuracy is not None
    name = "" if accuracy.metric == "accuracy" else f"{accuracy.metric} "
    score = wording.figure(accuracy.artifact, accuracy.unit)
    baseline = wording.figure(accuracy.baseline, accuracy.unit)
    return (
        f"{name}{score}, float network {baseline} "
        f"({accuracy.samples:,} evaluation samples, {measurement.kernels} kernels, measured)"
    )


def _checks(verdict: Verdict, manifest: Manifest, paint: Paint) -> list[str]:
    if not verdict.checks:
        return [_row("budgets", "none: nothing gates this build")]
    lower_is_better = manifest.plan.metric.less_is_more
    rows = [_check(check, lower_is_better) for check in verdict.checks]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines: list[str] = []
    for check, row in zip(verdict.checks, rows, strict=True):
        cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)]
        text = f"{paint(f'{check.status:<12}', check.status)} {'  '.join(cells).rstrip()}"
        lines.append(_row("budgets" if not lines else "", text))
    return lines


def _check(check: Check, lower_is_better: bool) -> tuple[str, str, str, str]:
    budget = check.budget
    found = "no figure" if check.value is None else wording.figure(check.value, budget.unit, budget.subject)
    if check.headroom is None:
        left = check.reason
    elif check.status in (Status.FAIL, Status.WARN) and check.headroom < 0:
        left = f"broken by {wording.figure(-check.headroom, budget.unit, Subject.ACCURACY_DROP)}"
    else:
        left = f"{wording.figure(check.headroom, budget.unit, Subject.ACCURACY_DROP)} left"
        left += f" ({check.reason})" if check.status == Status.WARN else ""
    return wording.name(budget), found, wording.limit(budget, lower_is_better=lower_is_better), left
