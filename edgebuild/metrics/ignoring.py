"""Labels that say nothing of a sample or a place, such as 255 (void) around objects: neither scored nor learnt from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgebuild.core.metric import Metric
from edgebuild.data.given import Array
from edgebuild.errors import UsageError

IGNORED = -1  # what such a label becomes among class numbers, and among 0 and 1
# Where each place of a sample has a label, one of these beside class numbers marks what belongs to none: PASCAL VOC,
# Cityscapes and ADE20K write 255, and other data sets -1.
_VOID = (255.0, -1.0)
_PLACES = 3  # axes of outputs that have places: samples, places, classes


def found(y: Array, outputs: Array) -> float | None:
    """The value that marks places without a class, where labels hold one beside class numbers; else None.

    Args:
        y: finite numbers, [samples, places ...].
        outputs: [samples, places ..., classes]; of one class each is the probability of yes.
    """
    classes = outputs.shape[-1]
    if outputs.ndim < _PLACES or y.size != outputs.size // classes:
        return None
    within = (y >= 0) & (y < max(2, classes))
    outside = y[~within]
    if not outside.size or len(np.unique(y[within])) < 2:  # 0 and 255 alone mean no and yes
        return None
    return next((value for value in _VOID if bool((outside == value).all())), None)


def filled(y: Array, ignored: float) -> Array:
    """Labels with one of the others in place of those that are ignored.

    Raises:
        UsageError: there are no others.
    """
    said = y != ignored
    if not said.any():
        raise UsageError(
            f"all {y.size:,} answers are {ignored:g}, which is ignored",
            remedy="Give samples with other labels, or leave [metric] ignore out.",
        )
    return np.where(said, y, y[said][0]).astype(y.dtype)


def marked(numbers: Array, y: Array, metric: Metric) -> Array:
    """Class numbers, or 0 and 1, with IGNORED where the labels that they were read from are ignored.

    Args:
        numbers: as many as labels, or one for each row of them.
        y: the labels as they were given.
        metric: tells which are ignored.
    """
    if metric.ignore is None:
        return numbers
    void: npt.NDArray[np.bool_] = np.asarray(y == metric.ignore)
    if void.size != numbers.size:
        void = np.asarray(void.any(axis=-1))
    return np.where(void.reshape(numbers.shape), IGNORED, numbers)
