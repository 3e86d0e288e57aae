"""Train, calibration and evaluation kept apart, and drawn apart where the user gave only some of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from edgebuild.core.plan import Split
from edgebuild.data.given import Examples, Given


class Divided(NamedTuple):
    """The splits as a build uses them, and what was decided for the user."""

    train: Examples | None
    calibration: Examples | None
    evaluation: Examples | None
    notes: tuple[str, ...]


def divide(given: Given, how: Split) -> Divided:
    """Draw the missing splits from those there are, without replacement and the same way each time.

    Evaluation samples are drawn from train where none are given; calibration samples from train, or from evaluation
    where that is all there is. No sample is in two splits.
    """
    train, calibration, evaluation = given.train, given.calibration, given.evaluation
    rng = np.random.default_rng(how.seed)
    notes = []
    if evaluation is None and train is not None and len(train) > 1:
        count = min(max(1, round(how.evaluation_share * len(train))), len(train) - 1)
        evaluation, train = _draw(train, count, rng)
        notes.append(f"no evaluation split was given: {count} samples were drawn from train (seed {how.seed})")
    if calibration is None and train is not None:
        count = min(how.calibration_samples, max(1, len(train) // 2))
        calibration, train = _draw(train, count, rng)
        notes.append(f"no calibration split was given: {count} samples were drawn from train (seed {how.seed})")
    if calibration is None and evaluation is not None and len(evaluation) > 1:
        count = min(how.calibration_samples, len(evaluation) // 2)
        calibration, evaluation = _draw(evaluation, count, rng)
        notes.append(
            f"only evaluation samples were given: {count} of them were drawn for calibration and are not scored on "
            f"(seed {how.seed})"
        )
    return Divided(train, calibration, evaluation, tuple(notes))


def _draw(examples: Examples, count: int, rng: np.random.Generator) -> tuple[Examples, Examples | None]:
    """`count` samples, and the rest (None where nothing is left)."""
    order = rng.permutation(len(examples))
    rest = np.sort(order[count:])
    return examples.take(np.sort(order[:count])), examples.take(rest) if len(rest) else None
