"""Train, calibration and evaluation kept apart, and drawn apart where the user gave only some of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgebuild.core.plan import Split
from edgebuild.data.given import Examples, Given

Rows = npt.NDArray[np.intp]


class Divided(NamedTuple):
    """The splits as a build uses them, and what was decided for the user.

    `learning` are the positions in the train split, as it was given, that networks may learn from: all but those drawn
    for evaluation. What was drawn for calibration is among them: ranges may be chosen on samples that were learnt from.
    """

    train: Examples | None
    calibration: Examples | None
    evaluation: Examples | None
    learning: Rows
    notes: tuple[str, ...]


def divide(given: Given, how: Split) -> Divided:
    """Draw the missing splits from those there are, without replacement and the same way each time.

    Evaluation samples are drawn from train where none are given; calibration samples from train, or from evaluation
    where that is all there is. No sample is in two splits.
    """
    train, calibration, evaluation = given.train, given.calibration, given.evaluation
    rng = np.random.default_rng(how.seed)
    notes = _on_validation(given)
    learning: Rows = np.arange(len(train) if train is not None else 0)
    if evaluation is None and train is not None and len(train) > 1:
        count = min(max(1, round(how.evaluation_share * len(train))), len(train) - 1)
        drawn, learning = _draw(len(train), count, rng)
        evaluation, train = train.take(drawn), _some(train, learning)
        notes.append(f"no evaluation split was given: {count} samples were drawn from train (seed {how.seed})")
    if calibration is None and train is not None:
        count = min(how.calibration_samples, max(1, len(train) // 2))
        drawn, rest = _draw(len(train), count, rng)
        calibration, train = train.take(drawn), _some(train, rest)
        notes.append(f"no calibration split was given: {count} samples were drawn from train (seed {how.seed})")
    if calibration is None and evaluation is not None and len(evaluation) > 1:
        count = min(how.calibration_samples, len(evaluation) // 2)
        drawn, rest = _draw(len(evaluation), count, rng)
        calibration, evaluation = evaluation.take(drawn), _some(evaluation, rest)
        notes.append(
            f"only evaluation samples were given: {count} of them were drawn for calibration and are not scored on "
            f"(seed {how.seed})"
        )
    return Divided(train, calibration, evaluation, learning, tuple(notes))


def _on_validation(given: Given) -> list[str]:
    """What is to be known of samples that were given for choosing."""
    if given.validation is None:
        return []
    count = f"{len(given.validation):,} validation samples"
    if given.train is None:
        return [f"{count} are not used: there are no train samples to learn from"]
    return [f"{count} were given: training and compression choose by them, and nothing is evaluated on them"]


def _draw(total: int, count: int, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """The positions of `count` samples, and those of the rest, each in order."""
    order = rng.permutation(total)
    return np.sort(order[:count]), np.sort(order[count:])


def _some(examples: Examples, rows: Rows) -> Examples | None:
    """The samples at the positions; None where there are none."""
    return examples.take(rows) if len(rows) else None
