"""The terminal summary of builds and checks: of one with what it lost, and of several."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

from edgebuild.core.budget import Subject, Unit
from edgebuild.core.finding import Finding
from edgebuild.core.losses import Answers, LayerLoss, LayerLosses, Losses, OutputLoss, worst as worst_loss
from edgebuild.core.manifest import Accuracy, Manifest
from edgebuild.core.measurement import Measurement, Mode, Paired
from edgebuild.core.verdict import Check, Status, Verdict, worst
from edgebuild.report import device, places, wording
from edgebuild.units import format_bytes, format_share

# Takes a text and the name of its style ("pass", "fail", "dim", ...) and returns it styled, or as it is.
Paint = Callable[[str, str], str]

_LABEL = 10
_HEADS = ("model", "target", "artifact", "size", "accuracy", "latency", "verdict")
# How many of the operators that lose most are named.
_NAMED = 2


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
        yield from _rows(manifest.losses)
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


class Line(NamedTuple):
    """What there is to say of a model and a target; no manifest where it failed."""

    name: str
    target: str
    out: str
    manifest: Manifest | None


def table_of_several(lines: Sequence[Line], paint: Paint) -> str:
    """The lines below their heads."""
    rows = [_HEADS, *map(_cells, lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
    texts = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows]
    ends = ["", *(str(line.manifest.verdict.status) if line.manifest else "fail" for line in lines)]
    shown = []
    for text, end, row in zip(texts, ends, rows, strict=True):
        start = len(text) - widths[-1]
        shown.append(f"{text[:start]}{paint(row[-1], end)}" if end else text.rstrip())
    return "\n".join(shown)


def actions_of_several(lines: Sequence[Line]) -> list[str]:
    """What needs something to be done: checks that are not kept, requirements, and warnings about the data."""
    found: dict[str, None] = {}
    for line in lines:
        if line.manifest is not None:
            where = f"{line.name}, {line.target}"
            found |= dict.fromkeys(f"{where}: {text}" for text in _unkept(line.manifest.verdict, line.manifest))
            found |= dict.fromkeys(f"{line.name}: {each.what}. {each.remedy}" for each in line.manifest.findings)
    return list(found)


def _unkept(verdict: Verdict, manifest: Manifest) -> list[str]:
    texts = []
    for check in verdict.checks:
        if check.status == Status.PASS:
            continue
        limit = wording.limit(check.budget, lower_is_better=manifest.plan.metric.less_is_more)
        value = check.reason if check.value is None else wording.found(check.value, check.budget)
        texts.append(f"{check.status}: {wording.name(check.budget)} {value}, {limit}")
    texts += [f"{each.status}: {each.what}: {each.reason}" for each in verdict.requirements if each.reason]
    return texts


def _cells(line: Line) -> tuple[str, ...]:
    manifest = line.manifest
    if manifest is None:
        return (line.name, line.target, "none", "-", "-", "-", "failed")
    score = "-"
    if manifest.accuracy is not None:
        unit = manifest.accuracy.unit
        score = " -> ".join(wording.figure(v, unit) for v in (manifest.accuracy.baseline, manifest.accuracy.artifact))
    artifact = manifest.artifact
    return (
        line.name,
        line.target,
        f"{line.out}/{line.target}/{artifact.path}",
        f"{artifact.size_bytes:,} bytes",
        score,
        _latency(manifest),
        str(manifest.verdict.status),
    )


def _latency(manifest: Manifest) -> str:
    """The target's own; this host's only where the target has no costs of its own, and labelled so."""
    shown = places.shown(manifest.measurements, hides_host=manifest.plan.has_costs_of_its_own)
    times = [each for each in shown if each.subject == Subject.LATENCY]
    if not times:
        return "-"
    found = times[0]
    return f"{wording.figure(found.value, found.unit)} ({wording.place(found.where)}, {found.mode})"


def _rows(losses: Losses) -> Iterator[tuple[str, str]]:
    """The rows of a summary: each with its label."""
    output = losses.output
    if output is not None:
        if output.answers is not None:
            yield "answers", _answers(output.answers)
        yield "signal", _signal(output)
    if losses.layers is not None:
        yield "layers", _layers(losses.layers)


def _answers(answers: Answers) -> str:
    if not answers.changed:
        return f"all {answers.total:,} as the float network's"
    return f"{answers.changed:,} of {answers.total:,} are not the float network's: {turned(answers)}"


def turned(answers: Answers) -> str:
    """What became of the predictions that changed; the parts add up to all of them."""
    text = f"{answers.lost:,} became wrong, {answers.gained:,} right"
    neither = answers.changed - answers.lost - answers.gained
    return f"{text}, {neither:,} changed and count as before" if neither > 0 else text


def _signal(output: OutputLoss) -> str:
    behind = "" if output.logits is None else f", of its logits {output.logits.sqnr_db:.1f} dB,"
    text = f"output SQNR {output.signal.sqnr_db:.1f} dB{behind} over {output.samples:,} samples"
    confidence = output.confidence
    if confidence is None:
        return text
    before, after = format_share(confidence.baseline), format_share(confidence.artifact)
    return f"{text}, calibration error {after}, float network {before} ({confidence.of})"


def _layers(losses: LayerLosses) -> str:
    found = worst_loss(losses.layers, _NAMED)
    text = f"most lost at {', '.join(map(_layer, found))}" if found else "nothing lost"
    left_out = f"; {len(losses.unmatched):,} not compared" if losses.unmatched else ""
    dropped = f"; {len(losses.unproved):,} pairs dropped, not proved" if losses.unproved else ""
    return f"{text} ({losses.samples:,} {losses.split} samples{left_out}{dropped})"


def _layer(layer: LayerLoss) -> str:
    """An operator with what it makes of the signal: "conv2d (34.2 to 24.7 dB)"."""
    # The converter names what it fused last to first.
    name = layer.layers[-1] if layer.layers else layer.operator
    before = "" if layer.input_sqnr_db is None else f"{layer.input_sqnr_db:.1f} to "
    return f"{name} ({before}{layer.signal.sqnr_db:.1f} dB)"
