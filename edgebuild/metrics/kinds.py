"""What labels are, beside outputs: class numbers, one-hot rows, yes and no, or values."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from edgebuild.core.metric import Task
from edgebuild.data.given import Array
from edgebuild.errors import UsageError
from edgebuild.metrics.labels import require_classes

_SIGMOID, _SOFTMAX = "Sigmoid", "Softmax"
_TOLERANCE = 1e-3  # of probabilities that add up to one
# Pairs of labels that mean no and yes.
_PAIRS = ((0.0, 1.0), (0.0, 255.0), (-1.0, 1.0))
_LEAST, _MOST = -0.5, 1.5  # probabilities are not meant to meet labels beyond these
_FAR = 16.0  # outputs beyond this that are no sigmoids say numbers, not yes or no of labels 0 and 255
# Outputs beyond these that are no sigmoids are no probabilities that a network only nearly keeps between 0 and 1.
_LOWEST, _HIGHEST = -0.5, 1.5


class Kind(NamedTuple):
    """What labels are.

    Attributes:
        task: how they are scored.
        words: what they are, to be read after "the": "labels are class numbers".
        low: the label that means no.
        high: the label that means yes.
        refusal: why nothing can be chosen; None where something can.
    """

    task: Task
    words: str
    low: float = 0.0
    high: float = 1.0
    refusal: UsageError | None = None


def of(y: Array, outputs: Array, ending: str) -> Kind | None:
    """What labels are; None where their shape does not fit the outputs'.

    Args:
        y: [samples, ...] finite numbers; axes of size 1 do not matter.
        outputs: [samples, ...].
        ending: SIGMOID, SOFTMAX, or empty.
    """
    classes = outputs.shape[-1] if outputs.ndim > 1 else 1
    if classes > 1 and _alike(y, outputs.shape[:-1]):
        return _numbers(y, classes)
    if not _alike(y, outputs.shape):
        return None
    if classes == 1 or outputs.size == len(outputs):
        return _single(y, outputs, ending)
    return _rows(y.reshape(outputs.shape), outputs, ending)


def as_asked(kind: Kind, takes: tuple[Task, ...], y: Array, outputs: Array) -> Kind:
    """The labels for a score that was named and takes these tasks: it decides between readings."""
    if Task.VALUES in takes:
        return kind
    same = y.size == outputs.size
    if kind.refusal is not None and same and Task.LABELS in takes and _pair(y) is not None:
        return kind._replace(task=Task.LABELS, refusal=None)
    if kind.refusal is not None and same and kind.task in takes and outputs.shape[-1] > 1:
        return kind._replace(refusal=None)  # rows that add up to one: the metric says what they are
    if kind.task != Task.VALUES or not same:
        return kind
    likely = bool(y.min() >= 0 and y.max() <= 1)
    if outputs.size == len(outputs) or outputs.shape[-1] == 1:
        # Probabilities of yes count as yes above one half; other numbers are refused as class numbers are.
        if likely and Task.BINARY in takes:
            return Kind(Task.BINARY, "labels are probabilities of yes")
        return _misnumbered(y, 2) or kind
    if likely and _sums_to_one(y.reshape(outputs.shape)) and Task.CLASSES in takes:
        return Kind(Task.CLASSES, "labels are probabilities of classes")
    return kind


def equal(y: Array, x: Array) -> bool:
    """Whether labels are an input's values."""
    return bool(np.allclose(np.ravel(y), np.ravel(x), rtol=1e-5, atol=1e-6))


def _numbers(y: Array, classes: int) -> Kind:
    """One label for each place: class numbers; refused where they are none."""
    try:
        require_classes(y, classes)
    except UsageError as error:
        return Kind(Task.CLASSES, "labels are no class numbers", refusal=error)
    return Kind(Task.CLASSES, f"labels are class numbers, {int(y.min())} to {int(y.max())} of {classes} classes")


def _single(y: Array, outputs: Array, ending: str) -> Kind:
    """One label for each output of one value."""
    where = "" if outputs.size == len(outputs) else " at each place of a sample"
    pair = _pair(y)
    if pair is not None and not _says_numbers(pair, outputs, ending):
        low, high = pair
        return Kind(Task.BINARY, f"labels are {low:g} or {high:g}{where}", low, high)
    if (ending == _SIGMOID and y.dtype.kind != "f") or (_is_whole(y) and ending == _SIGMOID):
        refusal = _misnumbered(y, 2)
        if refusal is not None:
            return refusal
    return values(y, ending)


def values(y: Array, ending: str) -> Kind:
    """Labels that are numbers, one for each output; refused where the outputs cannot meet them.

    Args:
        y: finite numbers.
        ending: as in `of`.
    """
    kind = Kind(Task.VALUES, f"labels are numbers from {_extent(y)}, one for each output")
    if ending not in (_SIGMOID, _SOFTMAX) or (y.min() >= _LEAST and y.max() <= _MOST):
        return kind
    remedy = "Scale the labels as in training, or name the score: --metric mae"
    others = np.setdiff1d(y, (0, 1))
    if len(others) == 1:
        remedy += f". If {others[0]:g} means that nothing is known, write [metric] ignore = {others[0]:g}"
    refusal = UsageError(
        f"the labels go from {_extent(y)}, and the output is a {ending.lower()}",
        "It gives numbers from 0 to 1: an error against these labels says nothing.",
        f"{remedy}.",
    )
    return kind._replace(refusal=refusal)


def _rows(y: Array, outputs: Array, ending: str) -> Kind:
    """As many labels as outputs, several in a row."""
    classes = outputs.shape[-1]
    pair = _pair(y)
    if pair is not None and not _says_numbers(pair, outputs, ending):
        low, high = pair
        yes = y > (low + high) / 2
        if bool((yes.sum(axis=-1) == 1).all()):
            return Kind(Task.CLASSES, f"labels are one-hot rows of {classes} classes", low, high)
        words = f"labels are {low:g} or {high:g} for each of {classes} labels"
        if ending == _SOFTMAX and low == 0.0:
            return Kind(Task.LABELS, words, low, high, _several_of_softmax(yes))
        return Kind(Task.LABELS, words, low, high)
    if y.min() >= 0 and _sums_to_one(y):
        return _shares(outputs, ending)
    smooth = _smoothed(y)
    if smooth is not None and ending != _SOFTMAX:
        return Kind(Task.LABELS, f"labels are smoothed yes and no for each of {classes} labels", *smooth)
    return values(y, ending)


def _shares(outputs: Array, ending: str) -> Kind:
    """Rows that add up to one: probabilities of classes, or a composition that is to be predicted."""
    kind = Kind(Task.CLASSES, "labels are probabilities of classes, of which the largest counts")
    if ending == _SOFTMAX or _sums_to_one(outputs):
        return kind
    if outputs.min() < -0.5 or outputs.max() > 1.5:
        return kind  # logits
    refusal = UsageError(
        "the labels may be probabilities of classes or shares to be predicted",
        "Each row adds up to 1, and the outputs are neither probabilities that do so nor plainly logits.",
        "Say which: --metric accuracy compares the largest of each row, --metric mae the values.",
    )
    return kind._replace(refusal=refusal)


def _several_of_softmax(yes: Array) -> UsageError:
    counts = yes.sum(axis=-1)
    return UsageError(
        "the labels are 0 or 1 in rows that are not one-hot, and the output is a softmax",
        f"Rows hold {int(counts.min())} to {int(counts.max())} ones; a softmax chooses one class and "
        "has no threshold for several.",
        "Give one-hot rows or class numbers, end the network in a sigmoid, or choose --metric auc (each label by "
        "itself) or --metric mae.",
    )


def _misnumbered(y: Array, classes: int) -> Kind | None:
    """A refusal of whole numbers, as many as outputs, that are no classes; None where they are none or fit."""
    try:
        require_classes(y, classes, are_values=True)
    except UsageError as error:
        return Kind(Task.BINARY, "labels are no class numbers", refusal=error)
    return None


def _alike(y: Array, shape: tuple[int, ...]) -> bool:
    """Whether labels have this shape, axes of size 1 left out, or are flat and as many."""
    if y.shape[0] != shape[0] or y.size != int(np.prod(shape)):
        return False
    ours, theirs = ([size for size in axes[1:] if size != 1] for axes in (y.shape, shape))
    return ours == theirs or len(ours) == 1 or len(theirs) == 1


def _pair(y: Array) -> tuple[float, float] | None:
    """What labels of two values mean no and yes by; labels that are all 0 or all 1 count, too."""
    for low, high in _PAIRS:
        if bool(((y == low) | (y == high)).all()) and ((low, high) == _PAIRS[0] or bool((y == high).any())):
            return low, high
    return None


def _says_numbers(pair: tuple[float, float], outputs: Array, ending: str) -> bool:
    """Whether outputs go where 0 and 255 are numbers to be met."""
    return pair[1] > 1 and ending not in (_SIGMOID, _SOFTMAX) and float(outputs.max()) > _FAR


def _smoothed(y: Array) -> tuple[float, float] | None:
    """The two values of smoothed labels, as far from 0 as from 1; None for others."""
    low, high = float(y.min()), float(y.max())
    if not (0 < low < 0.5 and abs(low + high - 1) < _TOLERANCE):
        return None
    return (low, high) if bool(((y == y.min()) | (y == y.max())).all()) else None


def _sums_to_one(rows: Array) -> bool:
    return bool(np.allclose(rows.sum(axis=-1, dtype=np.float64), 1, atol=_TOLERANCE))


def _is_whole(y: Array) -> bool:
    return y.dtype.kind != "f" or bool((y == np.round(y)).all())


def _extent(y: Array) -> str:
    return f"{float(y.min()):.4g} to {float(y.max()):.4g}"


class Threshold(NamedTuple):
    """A threshold, and what outputs are, for people; no words where they are plain probabilities."""

    value: float
    words: str


def threshold_of(outputs: Array, ending: str, kind: Kind, y: Array) -> Threshold:
    """The threshold of a float network's outputs.

    Args:
        outputs: [samples, ...].
        ending: the operator that makes them, where it says what they are.
        kind: what the labels are.
        y: the labels, as many as the outputs.
    """
    likely = Threshold(0.5, "outputs are probabilities, yes above 0.5")
    logits = Threshold(0.0, "outputs are logits, yes above 0")
    least, most = float(outputs.min()), float(outputs.max())
    if ending in (_SIGMOID, _SOFTMAX):
        return likely._replace(words="")
    if least >= 0 and most <= 1:
        return likely
    if kind.low < 0:
        return Threshold(0.0, "outputs of either sign, yes above 0")
    if least < _LOWEST or most > _HIGHEST:
        return logits
    # Values that were trained to be 0 and 1 lie about these, logits about 0.
    yes = y.reshape(outputs.shape) > (kind.low + kind.high) / 2
    if not yes.any() or yes.all():
        return logits
    middle = float(np.mean([outputs[yes].mean(), outputs[~yes].mean()]))
    if abs(middle - 0.5) < abs(middle):
        return Threshold(0.5, "outputs lie about 0 and 1, yes above 0.5")
    return logits
