"""A model card in Markdown (Mitchell et al. 2019, "Model cards for model reporting", section 4), from a manifest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from edgebuild.core.budget import SCORES, Subject
from edgebuild.core.losses import Answers, ClassChange
from edgebuild.core.manifest import DataRecord, Manifest
from edgebuild.core.measurement import Measurement, Mode
from edgebuild.core.model import TensorSpec
from edgebuild.core.settings import Preprocess
from edgebuild.core.verdict import Check
from edgebuild.report import places, summary, wording
from edgebuild.report.tables import clean
from edgebuild.units import format_bytes

# How many of the classes that changed most are named.
_CLASSES = 5
# The page of programs, where there is one.
_PROGRAMS = "integration.md"
_OF_LATENCY = "A latency holds for the machine and the kernels it names, and for no other device."
_LIMITS = (
    "Accuracy holds for inputs like the evaluation data, prepared as described above; for others nothing was measured.",
    _OF_LATENCY,
    "Activations are estimated from the lifetimes of tensors; kernels' own scratch memory comes on top.",
)


def of_build(manifest: Manifest) -> str:
    """The card of one artifact: what it is, how it is used, how good it is, what it was made of, and its limits."""
    parts = [f"# {_escaped(manifest.name)} for {_escaped(manifest.target)}"]
    parts += [_escaped(manifest.plan.about.description)] if manifest.plan.about.description else []
    sections = (
        ("Model details", _details(manifest)),
        ("Intended use", use(manifest)),
        ("Integration", _integration(manifest)),
        ("Accuracy", _accuracy(manifest)),
        ("Size, memory and latency", _figures(manifest)),
        ("Data", _data(manifest)),
        ("How it was made", _passes(manifest)),
        ("Budgets", _budgets(manifest)),
        ("Caveats", _caveats(manifest)),
        ("Toolchain", _toolchain(manifest)),
    )
    for title, lines in sections:
        body = "\n".join(lines)
        parts += [f"## {title}\n\n{body}"] if body else []
    return "\n\n".join(parts) + "\n"


def _details(manifest: Manifest) -> Iterator[str]:
    artifact, about = manifest.artifact, manifest.plan.about
    network = manifest.inputs.network
    yield from _items(
        ("Author", _escaped(about.author)),
        ("Version", _escaped(about.version)),
        ("License", _escaped(about.license)),
        ("File", f"`{artifact.path}`, SHA-256 `{artifact.sha256}`"),
        (
            "Made from",
            f"`{_code(manifest.inputs.model.path)}` ({network.framework}, {network.parameters:,} parameters)",
        ),
        ("Numbers", wording.numbers(manifest)),
        ("Runs on", wording.runs_on(manifest.plan)),
        ("Operators", ", ".join(dict.fromkeys(operator.name for operator in manifest.network.operators))),
    )


def use(manifest: Manifest) -> Iterator[str]:
    """How inputs are prepared and outputs read, in lines of Markdown."""
    network = manifest.network
    rows = [*_numbered("input", network.inputs), *_numbered("output", network.outputs)]
    yield from _table(("", "name", "type", "shape", "real value"), [(kind, *_end(spec)) for kind, spec in rows])
    yield ""
    yield _prepared(manifest.plan.preprocess)
    labels = manifest.inputs.data.labels if manifest.inputs.data is not None else ()
    if labels and manifest.plan.metric.output < len(network.outputs):
        scored = network.outputs[manifest.plan.metric.output].name
        named = ", ".join(f"{number} {_escaped(label)}" for number, label in enumerate(labels))
        yield f"\nThe classes of output `{_code(scored)}` are: {named}."


def _integration(manifest: Manifest) -> Iterator[str]:
    """Where programs are that run the artifact."""
    paths = [item.path for item in manifest.files]
    runtime = manifest.plan.runtime.name
    if _PROGRAMS in paths:
        languages = "Python" if manifest.plan.accelerator is not None else "Kotlin, Swift, Python and C++"
        yield f"[{_PROGRAMS}]({_PROGRAMS}) has programs in {languages} that feed and read this file."
    elif any(path.startswith("firmware/") for path in paths):
        yield f"`firmware/` has the sources for {runtime.called}; its README.md says how they are built in."
    elif runtime.is_micro and not runtime.is_tflm:
        yield f"Give `{manifest.artifact.path}` to the tool of {runtime.called}, which generates code from it."


def _numbered(kind: str, tensors: Sequence[TensorSpec]) -> Iterator[tuple[str, TensorSpec]]:
    """Inputs or outputs with what the card calls them: by their positions in the file where there are several."""
    yield from ((f"{kind} {place}" if len(tensors) > 1 else kind, spec) for place, spec in enumerate(tensors))


def _end(spec: TensorSpec) -> tuple[str, str, str, str]:
    shape = " x ".join("any" if size < 0 else str(size) for size in spec.shape) or "scalar"
    return f"`{_code(spec.name)}`", spec.dtype, shape, _real(spec)


def _real(spec: TensorSpec) -> str:
    if not spec.scale or (spec.scale, spec.zero_point) == (1.0, 0):
        return "as stored"
    if not spec.zero_point:
        return f"{spec.scale:.9g} * stored"
    return f"{spec.scale:.9g} * (stored {'+' if spec.zero_point < 0 else '-'} {abs(spec.zero_point)})"


def _prepared(preprocess: Preprocess) -> str:
    if preprocess.is_identity:
        return "Inputs are fed as they are: nothing is subtracted, nothing is scaled."
    mean, scale = _number(preprocess.mean), _number(preprocess.scale)
    return f"Inputs are fed as (x - mean) * scale, with mean {mean}, scale {scale}."


def _number(value: float | tuple[float, ...]) -> str:
    return ", ".join(f"{entry:.9g}" for entry in (value if isinstance(value, tuple) else (value,)))


def _accuracy(manifest: Manifest) -> Iterator[str]:
    accuracy = manifest.accuracy
    if accuracy is None:
        yield "It was not scored: there were no evaluation samples with labels."
        return
    figure = next((found for found in manifest.measurements if found.subject == Subject.ACCURACY), None)
    kernels = f", {figure.kernels} kernels, {figure.mode}" if figure is not None else ""
    yield from _items(
        ("Metric", _escaped(accuracy.metric) + (f" ({_escaped(accuracy.why)})" if accuracy.why else "")),
        (
            "This artifact",
            f"{wording.figure(accuracy.artifact, accuracy.unit)} ({accuracy.samples:,} samples{kernels})",
        ),
        ("Float network", wording.figure(accuracy.baseline, accuracy.unit)),
        *(
            (
                each.metric,
                f"{wording.figure(each.artifact, each.unit)}, float network {wording.figure(each.baseline, each.unit)}",
            )
            for each in accuracy.further
        ),
    )
    drop = next((found for found in manifest.measurements if found.paired is not None), None)
    if drop is not None and drop.paired is not None:
        yield f"- Resolution: {wording.paired(drop.paired, drop.unit)}"
    output = manifest.losses.output if manifest.losses is not None else None
    if output is not None and output.answers is not None:
        yield from _answers(output.answers, manifest.inputs.data)


def _answers(answers: Answers, data: DataRecord | None) -> Iterator[str]:
    yield (
        f"- Answers that are not the float network's: {answers.changed:,} of {answers.total:,} "
        f"({summary.turned(answers)})"
    )
    worst = sorted(answers.classes, key=lambda change: (-(change.lost + change.gained), change.label))[:_CLASSES]
    if worst:
        labels = data.labels if data is not None else ()
        yield "\nClasses of which most answers changed:\n"
        yield from _table(("class", "became wrong", "became right"), [_class(change, labels) for change in worst])


def _class(change: ClassChange, labels: Sequence[str]) -> tuple[str, str, str]:
    name = _escaped(labels[change.label]) if 0 <= change.label < len(labels) else str(change.label)
    return name, f"{change.lost:,}", f"{change.gained:,}"


def _figures(manifest: Manifest) -> Iterator[str]:
    figures = places.shown(manifest.measurements, hides_host=manifest.plan.has_costs_of_its_own)
    shown = [_figure(figure) for figure in figures if figure.subject not in SCORES]
    yield from _table(("figure", "value", "measured, emulated or estimated"), shown)
    yield f"\nOne inference takes {manifest.network.macs:,} multiply-accumulates."


def _figure(figure: Measurement) -> tuple[str, str, str]:
    value = wording.figure(figure.value, figure.unit, figure.subject)
    if figure.statistics:
        value = f"{value} median"
        value += f", {wording.figure(figure.statistics['p90'], figure.unit)} p90" if "p90" in figure.statistics else ""
    place = f" on {figure.where}" if figure.where != "file" else ""
    details = [figure.of, figure.machine, f"{figure.kernels} kernels" if figure.kernels else ""]
    details += [f"{name.replace('_', ' ')}: {count:,}" for name, count in figure.settings.items()]
    told = ", ".join(filter(None, details))
    return str(figure.subject).replace("_", " "), value, f"{figure.mode}{place}" + (f" ({told})" if told else "")


def _data(manifest: Manifest) -> Iterator[str]:
    data = manifest.inputs.data
    if data is None:
        yield "No data were given."
        return
    yield f"`{_code(data.source.path)}`, divided into:\n"
    yield from _table(
        ("split", "samples", "SHA-256"),
        [
            ("train", f"{data.train_samples:,}", ""),
            *([("validation", f"{data.validation_samples:,}", "")] if data.validation_samples else []),
            ("calibration", f"{data.calibration_samples:,}", f"`{data.calibration_sha256}`"),
            ("evaluation", f"{data.evaluation_samples:,}", f"`{data.evaluation_sha256}`"),
        ],
    )
    if data.resizing is not None:
        yield f"\n{_escaped(data.resizing.text)}."


def _passes(manifest: Manifest) -> Iterator[str]:
    yield from (f"{number}. {wording.step(step)}" for number, step in enumerate(manifest.plan.passes, start=1))
    if manifest.compression is not None:
        yield f"\nCompression left {wording.shrunk(manifest.compression, manifest.plan.runtime.name)}."
    unit = manifest.accuracy.unit if manifest.accuracy is not None else None
    timed = not manifest.plan.has_costs_of_its_own
    if manifest.repair and unit is not None:
        yield "\nThe accuracy budget was missed at first; these were tried:\n"
        yield from (f"- {_escaped(wording.rung(rung, unit, timed=timed))}" for rung in manifest.repair)
    if manifest.leaner is not None:
        before, after = (format_bytes(size) for size in (manifest.leaner.before_bytes, manifest.leaner.after_bytes))
        yield f"\nThe file was packed from {before} to {after} without a change to any weight."


def _budgets(manifest: Manifest) -> Iterator[str]:
    verdict = manifest.verdict
    if not verdict.checks:
        yield "None: nothing gates this artifact."
        return
    lower_is_better = manifest.plan.metric.less_is_more
    yield f"Verdict: **{verdict.status}**\n"
    rows = [_check(check, lower_is_better) for check in verdict.checks]
    yield from _table(("budget", "limit", "found", "outcome"), rows)


def _check(check: Check, lower_is_better: bool) -> tuple[str, str, str, str]:
    budget = check.budget
    found = "no figure" if check.value is None else wording.found(check.value, budget)
    said = [check.reason, check.basis if check.basis not in ("", Mode.MEASURED) else ""]
    reason = f" ({_escaped('; '.join(filter(None, said)))})" if any(said) else ""
    return (
        wording.name(budget),
        wording.limit(budget, lower_is_better=lower_is_better),
        found,
        f"{check.status}{reason}",
    )


def _caveats(manifest: Manifest) -> Iterator[str]:
    yield from (f"- {_escaped(finding.what)}: {_escaped(finding.why)}" for finding in manifest.findings)
    hides_host = manifest.plan.has_costs_of_its_own
    notes = places.notes(manifest.notes, hides_host=hides_host, of=f"{manifest.target}: ")
    yield from (f"- {_escaped(note)}" for note in notes)
    shown = places.shown(manifest.measurements, hides_host=hides_host)
    times = any(figure.subject == Subject.LATENCY for figure in shown)
    yield from (f"- {limit}" for limit in _LIMITS if times or limit != _OF_LATENCY)


def _toolchain(manifest: Manifest) -> Iterator[str]:
    versions = {"edgebuild": manifest.edgebuild, **manifest.toolchain}
    yield ", ".join(f"{name} {version}" for name, version in versions.items() if version)


def _items(*pairs: tuple[str, str]) -> Iterator[str]:
    yield from (f"- {label}: {text}" for label, text in pairs if text)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    shown = clean(" ".join(text.split()), 10_000)
    return "".join(f"\\{character}" if character in "\\`*_[]<>|#" else character for character in shown)


def _code(text: str) -> str:
    """Text between backticks."""
    return clean(text, 200).replace("`", "'").replace("|", "/")
