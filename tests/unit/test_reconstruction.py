"""An error that is named for a network that gives its input back: the data need no labels."""

from __future__ import annotations

from typing import Any

import pytest
from making import metric, network, plan, tensor

from edgebuild.actions.datasets import Splits
from edgebuild.core.metric import Metric
from edgebuild.pipeline import prepare

GIVES_BACK = network(inputs=(tensor("x", (1, 16)),), outputs=(tensor("codes", (1, 4)), tensor("again", (1, 16))))


def _splits(**fields: Any) -> Splits:
    spec = {
        "train_samples": 9,
        "calibration_samples": 9,
        "evaluation_samples": 9,
        "given_samples": 9,
        "learning_samples": 9,
    }
    digests = dict.fromkeys(("learning_sha256", "calibration_sha256", "evaluation_sha256"), "ab")
    known = {
        "has_answers": False,
        "learning_has_answers": False,
        "labels": (),
        "notes": ("one",),
        "learning_samples": 9,
    }
    return Splits(**{**spec, **digests, **known, **fields})


@pytest.mark.parametrize(
    ("asked", "of", "splits", "target"),
    [
        (metric("mse"), GIVES_BACK, _splits(), "input"),
        (metric("r2"), GIVES_BACK, _splits(), "input"),
        (metric("mse"), network(), _splits(), ""),
        (metric("mse"), GIVES_BACK, _splits(has_answers=True), ""),
        (metric("mse"), GIVES_BACK, _splits(learning_has_answers=True), ""),
        (metric("accuracy"), GIVES_BACK, _splits(), ""),
        (metric("auto"), GIVES_BACK, _splits(), ""),
    ],
    ids=["mse", "r2", "another shape", "labels", "labels of train", "classes", "nothing named"],
)
def test_an_error_is_of_the_input_where_nothing_else_can_be_meant(
    asked: Metric, of: Any, splits: Splits, target: str
) -> None:
    made, known = prepare.against_input(plan(metric=asked), splits, of)
    assert (made.metric.name, made.metric.target) == (asked.name, target)
    assert (len(known.notes) == 2) == bool(target), "what was decided is said"
