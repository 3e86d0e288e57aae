"""Above which value an output says yes: 0.5 for probabilities, 0 for logits."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from edgebuild.data.given import Array
from edgebuild.metrics.kinds import SIGMOID, SOFTMAX, Kind

# Outputs beyond these that are no sigmoids are no probabilities that a network only nearly keeps between 0 and 1.
_LEAST, _MOST = -0.5, 1.5


class Threshold(NamedTuple):
    """A threshold, and what outputs are, for people; no words where they are plain probabilities."""

    value: float
    words: str


def of(outputs: Array, ending: str, kind: Kind, y: Array) -> Threshold:
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
    if ending in (SIGMOID, SOFTMAX):
        return likely._replace(words="")
    if least >= 0 and most <= 1:
        return likely
    if kind.low < 0:
        return Threshold(0.0, "outputs of either sign, yes above 0")
    if least < _LEAST or most > _MOST:
        return logits
    # Values that were trained to be 0 and 1 lie about these, logits about 0.
    yes = y.reshape(outputs.shape) > (kind.low + kind.high) / 2
    if not yes.any() or yes.all():
        return logits
    middle = float(np.mean([outputs[yes].mean(), outputs[~yes].mean()]))
    if abs(middle - 0.5) < abs(middle):
        return Threshold(0.5, "outputs lie about 0 and 1, yes above 0.5")
    return logits
