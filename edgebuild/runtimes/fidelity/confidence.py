"""Calibration of confidence: whether a network is right as often as it says."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgebuild import metrics
from edgebuild.core.losses import Confidence, ConfidenceOf
from edgebuild.data.given import Array

_BINS = 15
# How far the float network's probabilities may be from adding up to one.
_TOLERANCE = 1e-3


def compare(exact: Array, given: Array, labels: npt.NDArray[np.int64]) -> Confidence | None:
    """The expected calibration errors of the float network and of the artifact; None where nothing is a probability.

    Args:
        exact: the float network's outputs, [..., classes], or [samples, 1] with the probability of class 1. What they
            are is seen from these: quantized probabilities add up to one only nearly.
        given: the artifact's.
        labels: class numbers, one for each answer.
    """
    of = kind(exact)
    if of is None:
        return None
    errors = []
    for outputs in (exact, given):
        top, classes = _most_likely(outputs, of)
        errors.append(expected_calibration_error(top, classes == labels))
    return Confidence(of=of, bins=_BINS, baseline=errors[0], artifact=errors[1])


def kind(outputs: Array) -> ConfidenceOf | None:
    """What a float network's outputs are: probabilities, or logits; None for neither (independent sigmoids, say)."""
    within = bool(outputs.min() >= 0 and outputs.max() <= 1 + _TOLERANCE)
    if outputs.shape[-1] == 1:
        # A score holds a single output against 0.5: it can be no logit.
        return ConfidenceOf.OUTPUTS if within and metrics.is_binary(outputs) else None
    if not within:
        return ConfidenceOf.SOFTMAX
    return ConfidenceOf.OUTPUTS if np.allclose(outputs.sum(axis=-1), 1, atol=_TOLERANCE) else None


def expected_calibration_error(confidence: Array, right: npt.NDArray[np.bool_], bins: int = _BINS) -> float:
    """The mean gap between confidence and accuracy, over bins of equal width weighted by their size.

    Guo et al. 2017, "On calibration of modern neural networks", section 2, equation 3: bin m holds the confidences in
    ((m - 1) / M, m / M].

    Args:
        confidence: [n] probabilities of the predicted classes.
        right: [n] whether the predictions were right.
        bins: M.
    """
    places = np.clip(np.ceil(np.asarray(confidence, np.float64) * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(places, np.asarray(confidence, np.float64) - right, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def _most_likely(outputs: Array, of: ConfidenceOf) -> tuple[Array, Array]:
    """The probability of the predicted class and the class, each [answers]."""
    rows = np.asarray(outputs).reshape(-1, outputs.shape[-1])
    if rows.shape[1] == 1:
        positive = rows[:, 0] > 0.5
        return np.where(positive, rows[:, 0], 1 - rows[:, 0]), positive.astype(np.int64)
    classes = rows.argmax(axis=1)
    if of == ConfidenceOf.OUTPUTS:
        return rows.max(axis=1), classes
    # The largest logit's own share: exp(0) over the sum.
    return 1 / np.exp(rows - rows.max(axis=1, keepdims=True)).sum(axis=1), classes
