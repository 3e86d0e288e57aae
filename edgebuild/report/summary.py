"""The terminal summary of builds and checks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

from edgebuild.core.budget import Subject, Unit
from edgebuild.core.finding import Finding
from edgebuild.core.manifest import Accuracy, Manifest
from edgebuild.core.measurement import Measurement, Mode
from edgebuild.core.paired import Paired
from edgebuild.core.verdict import Check, Status, Verdict, worst
from edgebuild.report import device, losses, places, wording
from edgebuild.units import format_bytes

# Takes a text and the name of its style ("pass", "fail", "dim", ...) and returns it styled, or as it is.
Paint = Callable[[str, str], str]

_LABEL = 10


def plain(text: str, _style: str) -> str:
    """The paint of a place without colours."""
    return text


def of_build(
    manifest: Manifest, folder: str, paint: Paint = plain, *, said: Collection[str] = (), verbose: bool = False
) -> str:
    """What was built for one target: artifact, score, latency, memory, budgets; notes and warnings not yet `said`.

    `verbose` shows this host's costs also where they are none of the target's.
    """
    lines = [_headline(manifest.target, manifest.verdict.status, paint)]
    lines += [row(label, text) for label, text in _facts(manifest, folder, verbose=verbose)]
    lines += _checks(manifest.verdict, manifest, paint)
    hides_host = manifest.plan.has_costs_of_its_own and not verbose
    notes = places.notes(manifest.notes, hides_host=hides_host, of=f"{manifest.target}: ")
    lines += [row("note", paint(note, "dim")) for note in notes if note not in said]
    for finding in manifest.findings:
        lines += _warning(finding, paint) if finding.what not in said else []
    return "\n".join(lines)


def of_check(manifest: Manifest, verdict: Verdict, paint: Paint = plain) -> str:
    """What the gate says of artifacts that were built before."""
    artifact = manifest.artifact
    lines = [
        _headline(manifest.target, verdict.status, paint),
        row("artifact", f"{artifact.path}  {format_bytes(artifact.size_bytes)}"),
        *_checks(verdict, manifest, paint),
    ]
    return "\n".join(lines)


def closing(verdicts: Sequence[Verdict], failed: Sequence[str], paint: Paint, lacks: str) -> str:
    """The last line: the verdict over all targets and what it rests on, or what is lacking for those that failed."""
    if failed:
        return f"verdict: {paint('failed', 'fail')}, {lacks} {', '.join(failed)}"
    status = worst(verdict.status for verdict in verdicts)
    remarks = "; ".join(dict.fromkeys(remark for verdict in verdicts for remark in _remarks(verdict)))
    return f"verdict: {paint(status, status)}" + (f" ({remarks})" if remarks else "")


def _remarks(verdict: Verdict) -> Iterator[str]:
    """What a reader of the verdict alone must not miss."""
    yield from (f"{required.what}: {required.reason}" for required in verdict.requirements)
    for check in verdict.checks:
        measured, _, what = check.basis.partition(", ")
        if what and measured:
            yield f"{str(check.budget.subject).replace('_', ' ')} of the {what}"


def _headline(target: str, status: Status, paint: Paint) -> str:
    return f"{paint(target, 'title')}: {paint(status, status)}"


def row(label: str, text: str) -> str:
    """A line of a summary."""
    return f"  {label:<{_LABEL}} {text}"


def _warning(finding: Finding, paint: Paint) -> list[str]:
    """What was found, why it matters, and what to do."""
    first = row("warning", f"{paint(finding.what, 'warn')} ({finding.code})")
    return [first, *(row("", paint(text, "dim")) for text in (finding.why, finding.remedy))]


def _facts(manifest: Manifest, folder: str, *, verbose: bool) -> Iterator[tuple[str, str]]:
    hides_host = manifest.plan.has_costs_of_its_own and not verbose
    shown = places.shown(manifest.measurements, hides_host=hides_host)
    artifact = manifest.artifact
    yield "artifact", f"{folder}/{artifact.path}  ({wording.numbers(manifest)})"
    yield "size", f"{artifact.size_bytes:,} bytes, {artifact.size_gzip_bytes:,} gzipped"
    if manifest.compression is not None:
        yield "compressed", wording.shrunk(manifest.compression, manifest.plan.runtime.name)
    figures = {measurement.subject: measurement for measurement in manifest.measurements}
    if manifest.accuracy is not None:
        yield "accuracy", _accuracy(manifest)
        yield from (("", wording.paired(*found)) for found in _paired(manifest.measurements))
        if manifest.accuracy.further:
            yield "", _further(manifest.accuracy)
        if manifest.accuracy.why:
            yield "metric", f"{manifest.accuracy.metric}: {manifest.accuracy.why}"
        yield from (("", text) for text in _elsewhere(manifest))
    unit = manifest.accuracy.unit if manifest.accuracy else Unit.NUMBER
    for number, rung in enumerate(manifest.repair):
        yield "" if number else "repair", wording.rung(rung, unit, timed=not hides_host)
    if manifest.losses is not None:
        yield from losses.rows(manifest.losses)
    yield from places.rows(shown)
    yield from places.hidden(manifest.measurements, hides_host=hides_host)
    if manifest.comparison is not None:
        yield from places.comparison(manifest.comparison)
    if Subject.ACTIVATIONS in figures:
        binary = any(budget.binary for budget in manifest.plan.budgets if budget.subject == Subject.ACTIVATIONS)
        alive = f"{format_bytes(figures[Subject.ACTIVATIONS].value, binary=binary)} of activations (estimated)"
        yield "memory", ", ".join([*places.peaks(shown), alive])
    yield from device.rows(manifest)


def _paired(measurements: Sequence[Measurement]) -> list[tuple[Paired, Unit]]:
    """What is known of the drop beside the split that it was found on; in the first of its units."""
    return [(found.paired, found.unit) for found in measurements if found.paired is not None][:1]


def _further(accuracy: Accuracy) -> str:
    """Other scores of the same outputs, each with the float network's."""
    return ", ".join(
        f"{each.metric} {wording.figure(each.artifact, each.unit)} (float {wording.figure(each.baseline, each.unit)})"
        for each in accuracy.further
    )


def _elsewhere(manifest: Manifest) -> Iterator[str]:
    """The score at places that are not this machine; a score that is given in two units in the first."""
    accuracy = manifest.accuracy
    for found in manifest.measurements:
        scored = (found.subject, found.unit) == (Subject.ACCURACY, accuracy.unit if accuracy is not None else None)
        if scored and found.where != wording.HERE:
            yield f"{wording.figure(found.value, found.unit)} on {found.where} ({found.mode})"


def _accuracy(manifest: Manifest) -> str:
    accuracy = manifest.accuracy
    assert accuracy is not None
    measurement = next(found for found in manifest.measurements if found.subject == Subject.ACCURACY)
    name = "" if accuracy.metric == "accuracy" else f"{accuracy.metric} "
    score = wording.figure(accuracy.artifact, accuracy.unit)
    baseline = wording.figure(accuracy.baseline, accuracy.unit)
    return (
        f"{name}{score}, float network {baseline} "
        f"({accuracy.samples:,} evaluation samples, {measurement.kernels} kernels, measured)"
    )


def _checks(verdict: Verdict, manifest: Manifest, paint: Paint) -> list[str]:
    if not verdict.checks and not verdict.requirements:
        return [row("budgets", "none: nothing gates this build")]
    return checks(verdict, paint, lower_is_better=manifest.plan.metric.less_is_more)


def checks(verdict: Verdict, paint: Paint, *, lower_is_better: bool) -> list[str]:
    """A line for each budget and for what else was named; `lower_is_better` is the direction of the score."""
    rows = [(check.status, _check(check, lower_is_better)) for check in verdict.checks]
    rows += [(required.status, (required.what, "", "", required.reason)) for required in verdict.requirements]
    widths = [max(len(line[column]) for _, line in rows) for column in range(4)] if rows else []
    lines: list[str] = []
    for status, line in rows:
        cells = [f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)]
        text = f"{paint(f'{status:<12}', status)} {'  '.join(cells).rstrip()}"
        lines.append(row("budgets" if not lines else "", text))
    return lines


def _check(check: Check, lower_is_better: bool) -> tuple[str, str, str, str]:
    budget = check.budget
    found = "no figure" if check.value is None else wording.found(check.value, budget)
    if check.headroom is None:
        left = check.reason
    elif check.status in (Status.FAIL, Status.WARN) and check.headroom < 0:
        left = f"broken by {wording.distance(-check.headroom, budget)}"
    else:
        left = f"{wording.distance(check.headroom, budget)} left"
        left += f" ({check.reason})" if check.status == Status.WARN else ""
    left += f" ({check.basis})" if check.basis not in ("", Mode.MEASURED) else ""
    return wording.name(budget), found, wording.limit(budget, lower_is_better=lower_is_better), left
