"""Finding: something about the data of a build that its user should know."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Code(StrEnum):
    """What can be found."""

    TOO_FEW = "too-few-samples"
    REPEATED = "repeated-sample"
    DUPLICATES = "duplicate-samples"
    CALIBRATION_IN_EVALUATION = "calibration-in-evaluation"
    TRAIN_IN_EVALUATION = "train-in-evaluation"
    INPUT_ORDER = "input-order"
    LAYOUT = "layout"
    NORMALIZATION = "normalization"
    RANGE = "range"
    CONSTANT = "constant-channels"
    COLUMN_SCALES = "column-scales"
    MISSING_CLASSES = "missing-classes"
    IMBALANCE = "imbalanced-classes"
    BELOW_CHANCE = "below-chance"
    LABEL_ORDER = "label-order"
    OUT_OF_RANGE = "labels-out-of-range"
    NOT_INTEGERS = "labels-not-integers"
    EVALUATION_TOO_SMALL = "evaluation-too-small"


class Gravity(StrEnum):
    """Whether a build goes on: an error makes everything after it worthless, and its remedy was found."""

    WARNING = "warning"
    ERROR = "error"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A fault of the data: what was seen, why it matters, and what can be done."""

    code: Code
    what: str
    why: str
    remedy: str
    level: Gravity = Gravity.WARNING
