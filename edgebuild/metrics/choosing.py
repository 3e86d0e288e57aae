"""Which metric suits a build: chosen by what its labels are and what the float network's outputs are, once.

Shapes alone never decide: rows of the outputs' shape may be one-hot, several labels, or values. What fits nothing is
refused with the choices, so that no score is meaningless.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace

from edgebuild.core.metric import Metric, Task
from edgebuild.core.settings import AUTO, MetricKind
from edgebuild.data.given import Array
from edgebuild.errors import UsageError
from edgebuild.metrics import ignoring, kinds
from edgebuild.metrics.kinds import Kind
from edgebuild.metrics.labels import misfit, require_finite
from edgebuild.units import format_share

# What each built-in score can be asked of; the first is what labels are taken to be where they could be several.
_TAKES: dict[str, tuple[Task, ...]] = {
    MetricKind.ACCURACY: (Task.CLASSES, Task.BINARY, Task.LABELS),
    MetricKind.AUC: (Task.CLASSES, Task.BINARY, Task.LABELS),
    MetricKind.TOP_K: (Task.CLASSES,),
    MetricKind.MIOU: (Task.CLASSES, Task.BINARY),
    MetricKind.IOU: (Task.BINARY, Task.LABELS),
    MetricKind.MSE: (Task.VALUES,),
    MetricKind.RMSE: (Task.VALUES,),
    MetricKind.MAE: (Task.VALUES,),
    MetricKind.R2: (Task.VALUES,),
}
_NAMED = 3
_DEFAULT = {
    Task.CLASSES: MetricKind.ACCURACY,
    Task.BINARY: MetricKind.ACCURACY,
    Task.LABELS: MetricKind.ACCURACY,
    Task.VALUES: MetricKind.MAE,
}


class Seen(NamedTuple):
    """One output of the float network.

    Attributes:
        position: among the outputs.
        name: of the output.
        values: for the evaluation samples, [samples, ...].
        ending: the operator that makes it where that says what it is: "Sigmoid" or "Softmax"; empty where it is
            another or cannot be seen.
    """

    position: int
    name: str
    values: Array
    ending: str = ""


class Evaluation(NamedTuple):
    """The evaluation split, as far as a metric depends on it.

    Attributes:
        y: labels, [samples, ...]; None for none.
        fed: what each input was fed, [samples, ...]; None for an input of another size than every output.
        raw: the same before preprocessing.
        labels: names of the classes; empty where they have none.
    """

    y: Array | None
    fed: Sequence[Array | None] = ()
    raw: Sequence[Array | None] = ()
    labels: Sequence[str] = ()


def choose(asked: Metric, outputs: Sequence[Seen], evaluation: Evaluation, total: int) -> Metric:
    """Settle a metric.

    Args:
        asked: as the settings have it; a metric that they name is kept and checked.
        outputs: those that may be meant, in order.
        evaluation: labels and inputs.
        total: the number of outputs that the network has.

    Returns:
        The metric with its task, its output and what outputs and labels mean.

    Raises:
        UsageError: labels fit no output, not the metric that was named, or several readings with other scores.
    """
    refusals: list[UsageError] = []
    for seen in outputs:
        try:
            settled = _of_output(asked, seen, evaluation)
        except UsageError as error:
            refusals.append(error)
            continue
        return _saying_which(settled, seen, asked, total)
    if not refusals:
        raise UsageError("the network has no output of that name", remedy="Set [metric] output to one that it has.")
    # An output that labels almost fit says more than one of another shape.
    raise next((error for error in refusals if not isinstance(error, _OtherShapeError)), refusals[0])


def named(asked: Metric, names: Sequence[str]) -> tuple[int, ...]:
    """The positions of the outputs that may be meant, among the network's by their names.

    Raises:
        UsageError: the output that was asked for is not there.
    """
    if not asked.asked_output:
        return tuple(range(len(names))) if asked.output == 0 else (asked.output,)
    if asked.asked_output in names:
        return (list(names).index(asked.asked_output),)
    if asked.asked_output.isdecimal() and int(asked.asked_output) < len(names):
        return (int(asked.asked_output),)
    raise UsageError(
        f"the metric asks for output {asked.asked_output}, and the network has {len(names)}: {', '.join(names)}",
        remedy="Set [metric] output to one of these names, or to its number from 0.",
    )


class _OtherShapeError(UsageError):
    """Labels of a shape that fits an output in no way."""


def _of_output(asked: Metric, seen: Seen, evaluation: Evaluation) -> Metric:
    settled = replace(asked, output=seen.position, why="")
    if asked.is_callable:
        return settled
    if asked.target:
        return _reconstruction(settled, seen, evaluation)
    y = evaluation.y
    assert y is not None, "asked only where there are labels, or the input is compared with"
    if y.dtype.kind not in "fiub":
        raise UsageError(
            f"the answers are of type {y.dtype}, not numbers",
            remedy="Give class numbers, or beside names of classes an array `labels` with all of them in order.",
        )
    require_finite(y)
    if settled.is_auto and (copied := _copied(seen, evaluation)) is not None:
        _require_reach(seen, evaluation.fed[copied.input] if copied.target else y)
        return _named_or(settled, MetricKind.MSE, replace(copied, name=AUTO), "")
    if _TAKES.get(asked.name) == (Task.VALUES,):
        return _of_values(settled, seen, y)
    ignored = asked.ignore if asked.ignore is not None else ignoring.found(y, seen.values)
    said = y if ignored is None else ignoring.filled(y, ignored)
    kind = kinds.of(said, seen.values, seen.ending)
    if kind is None:
        raise _other_shape(y, seen)
    kind = _by_name(kind, said, evaluation.labels, seen)
    if asked.is_keras and kind.refusal is not None:
        return settled  # it may take such labels
    kind = _wanted(asked, kind, said, seen)
    if kind.refusal is not None:
        raise kind.refusal
    if ignored is not None:
        kind, settled = _without(kind, y, ignored), replace(settled, ignore=ignored)
    return _with_threshold(_settled(settled, kind), kind, seen, said)


def _by_name(kind: Kind, y: Array, names: Sequence[str], seen: Seen) -> Kind:
    """Labels that are one of several classes with names: folders and words were numbered for the computation alone."""
    if kind.task != Task.CLASSES or kind.refusal is not None or len(names) != seen.values.shape[-1] or len(y) != y.size:
        return kind
    if list(names) == [str(number) for number in range(len(names))]:
        return kind
    more = ", ..." if len(names) > _NAMED else ""
    return kind._replace(words=f"labels are {len(names)} classes ({', '.join(names[:_NAMED])}{more})")


def _without(kind: Kind, y: Array, ignored: float) -> Kind:
    """The labels, some of which are ignored.

    Raises:
        UsageError: they are values.
    """
    if kind.task == Task.VALUES:
        raise _ignores_values(ignored, f"The {kind.words}.")
    share = float(np.mean(y == ignored))
    return kind._replace(words=f"{kind.words}; {format_share(share)} of them are {ignored:g}, which is ignored")


def _ignores_values(ignored: float, why: str) -> UsageError:
    return UsageError(
        f"[metric] ignore = {ignored:g} is for labels that are classes, or yes and no",
        why,
        "Leave ignore out, and leave out the samples that it stood for.",
    )


def _wanted(asked: Metric, kind: Kind, y: Array, seen: Seen) -> Kind:
    """The labels as the metric that was named takes them.

    Raises:
        UsageError: it cannot.
    """
    takes = _TAKES.get(asked.name)
    if takes is None:
        return kind
    kind = kinds.as_asked(kind, takes, y, seen.values)
    if kind.refusal is not None:
        return kind
    if kind.task not in takes:
        fitting = ", ".join(f"--metric {name}" for name, tasks in _TAKES.items() if kind.task in tasks)
        raise UsageError(
            f"{asked.label} does not suit these labels", f"The {kind.words}.", f"Choose another metric: {fitting}."
        )
    if asked.name == MetricKind.MIOU and seen.values.ndim < 3:
        raise UsageError(
            "miou is for segmentation, and each sample has one label",
            f"The output {seen.name} has the shape {list(seen.values.shape)}, a map [samples, height, width, classes].",
            "Choose --metric accuracy.",
        )
    return kind


def _settled(asked: Metric, kind: Kind) -> Metric:
    name = str(_DEFAULT[kind.task]) if asked.is_auto else asked.name
    why = f"the {kind.words}" if asked.is_auto else ""
    return replace(asked, name=name, task=kind.task, low=kind.low, high=kind.high, why=why)


def _with_threshold(metric: Metric, kind: Kind, seen: Seen, y: Array) -> Metric:
    """With the value above which outputs say yes, and what told it."""
    if not metric.says_yes_or_no or metric.threshold is not None:
        return metric
    found = kinds.threshold_of(seen.values, seen.ending, kind, y)
    return replace(metric, threshold=found.value, why="; ".join(filter(None, [metric.why, found.words])))


def _of_values(metric: Metric, seen: Seen, y: Array) -> Metric:
    """An error that was named: labels are as many as outputs."""
    if metric.ignore is not None:
        raise _ignores_values(metric.ignore, f"The metric {metric.label} compares values.")
    if y.size != seen.values.size:
        raise misfit(seen.values, y, "Give as many answers as the network has outputs.")
    return replace(metric, task=Task.VALUES)


def _reconstruction(metric: Metric, seen: Seen, evaluation: Evaluation) -> Metric:
    """Outputs against the input, as it was asked for."""
    fitting = [place for place, x in enumerate(evaluation.fed) if x is not None and x.size == seen.values.size]
    if len(fitting) != 1:
        count = "no input has" if not fitting else f"{len(fitting)} inputs have"
        raise UsageError(
            '[metric] target = "input" compares an output with the input of its shape',
            f"The output {seen.name} has the shape {list(seen.values.shape[1:])}, and {count} as many values.",
            "Give y_eval, the values that the output should have, and leave target out.",
        )
    takes = _TAKES.get(metric.name, (Task.VALUES,))
    if Task.VALUES not in takes:
        raise UsageError(
            f'{metric.label} compares classes, and [metric] target = "input" asks for a reconstruction error',
            remedy="Choose --metric mse, mae, rmse or r2, or leave the metric out.",
        )
    if metric.is_auto:
        _require_reach(seen, evaluation.fed[fitting[0]])
    return _named_or(metric, MetricKind.MSE, replace(metric, input=fitting[0]), "outputs are compared with the input")


def _require_reach(seen: Seen, wanted: Array | None) -> None:
    """Refuse what probabilities cannot meet; raises UsageError."""
    assert wanted is not None, "outputs are compared with an array"
    refusal = kinds.values(wanted, seen.ending).refusal
    if refusal is not None:
        raise refusal


def _copied(seen: Seen, evaluation: Evaluation) -> Metric | None:
    """Where labels equal an input: the metric that compares with it; None where they equal none."""
    y = evaluation.y
    assert y is not None, "asked only where there are labels"
    for place, (fed, raw) in enumerate(zip(evaluation.fed, evaluation.raw, strict=True)):
        if fed is None or raw is None or not fed.size == y.size == seen.values.size or fed.size <= len(fed):
            continue
        if kinds.equal(y, fed):
            return Metric(name=AUTO, output=seen.position, why="the labels equal the input")
        if kinds.equal(y, raw):
            # Labels were left as they came while inputs are scaled: the network makes one or the other.
            scaled, unscaled = (float(np.mean(np.abs(seen.values - x.reshape(seen.values.shape)))) for x in (fed, raw))
            extent = np.ptp(fed) / max(float(np.ptp(raw)), 1e-30)
            if scaled <= unscaled * extent:
                why = "the labels equal the input, and outputs are compared with it as it is fed"
                return Metric(name=AUTO, output=seen.position, target="input", input=place, why=why)
            return Metric(name=AUTO, output=seen.position, why="the labels equal the input before preprocessing")
    return None


def _named_or(asked: Metric, name: str, found: Metric, why: str) -> Metric:
    """A reconstruction by the metric that was named, else by this one."""
    chosen = name if asked.is_auto else asked.name
    return replace(
        asked,
        name=str(chosen),
        task=Task.VALUES,
        target=found.target,
        input=found.input,
        why=(found.why or why) if asked.is_auto else "",
    )


def _saying_which(metric: Metric, seen: Seen, asked: Metric, total: int) -> Metric:
    """With the output that was chosen, where it was."""
    if total == 1 or asked.asked_output or not metric.why:
        return metric
    return replace(metric, why=f"{metric.why}; output {seen.name} of {total} is scored")


def _other_shape(y: Array, seen: Seen) -> _OtherShapeError:
    """Labels of a shape that fits in no way, with what would."""
    shape, values = list(seen.values.shape), seen.values
    error = misfit(values, y, "")
    choices = [f"values or yes and no as {shape}"]
    if shape[-1] > 1:
        choices.insert(0, f"class numbers from 0 to {shape[-1] - 1} as {shape[:-1]}")
    if y.ndim == 2 and y.shape[1] == 2 and values.size == len(values):
        choices.append("y_eval[:, 1] where these are one-hot rows of no and yes")
    return _OtherShapeError(
        error.what, f"No metric compares these (output {seen.name}).", f"Give {', or '.join(choices)}."
    )
