"""The logits behind probabilities, and how much of them is left."""

from __future__ import annotations

import numpy as np

from edgebuild.core.losses import ConfidenceOf, Signal
from edgebuild.data.given import Array
from edgebuild.runtimes.fidelity import confidence
from edgebuild.runtimes.fidelity.signal import Sums, chunks

# Softmax and sigmoid write multiples of 1/256 in int8 and of this in int16, whatever they are given.
_STEP = 2.0**-15
# Below this float32 knows no probability, and so no logit; next to one it knows none nearer than 1e-7.
_LEAST, _LEAST_OF_TWO = 1e-30, 1e-7


def compare(exact: Array, given: Array) -> Signal | None:
    """The signal of the logits that outputs were made of.

    Args:
        exact: the float network's outputs, [samples, ..., classes] probabilities, or [samples, 1] that of class 1.
        given: the artifact's, of the same shape.

    Returns:
        None where the outputs are not probabilities, or where the artifact's are multiples of a step, which no logits
        can be had of.
    """
    if confidence.kind(exact) != ConfidenceOf.OUTPUTS or _is_rounded(given):
        return None
    sums = Sums()
    for rows in chunks(exact, len(exact)):
        sums.add(_logits(exact[rows]), _logits(given[rows]))
    return sums.signal()


def _is_rounded(probabilities: Array) -> bool:
    steps = (np.asarray(probabilities[rows], np.float64) / _STEP for rows in chunks(probabilities, len(probabilities)))
    return all(bool(np.all(part == np.rint(part))) for part in steps)


def _logits(probabilities: Array) -> Array:
    """Of classes: their logits less the mean of these, which a softmax does not tell; of class 1 alone: its logit."""
    p = np.asarray(probabilities, np.float64)
    if p.shape[-1] == 1:
        p = np.clip(p, _LEAST_OF_TWO, 1 - _LEAST_OF_TWO)
        return np.log(p) - np.log1p(-p)
    logits = np.log(np.maximum(p, _LEAST))
    centered: Array = logits - logits.mean(axis=-1, keepdims=True)
    return centered
