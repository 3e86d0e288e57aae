"""What arrays, datasets and folders may be called, and which split each name means."""

from __future__ import annotations

import zipfile
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from edgebuild.core.metric import Metric
from edgebuild.core.plan import Source
from edgebuild.core.settings import MetricKind
from edgebuild.decode import closest
from edgebuild.errors import UsageError

_ERRORS = (MetricKind.MSE, MetricKind.MAE, MetricKind.RMSE, MetricKind.R2)

TRAIN, VALIDATION, CALIBRATION, EVALUATION = "train", "validation", "calibration", "evaluation"
SPLITS = (TRAIN, VALIDATION, CALIBRATION, EVALUATION)
LABELS = "labels"
# What follows x and y in the names of arrays, by split; x and y alone are all there is, to be divided. Keras's own data
# sets say "test".
_ENDINGS: Mapping[str, tuple[str, ...]] = {
    TRAIN: ("_train", ""),
    VALIDATION: ("_validation", "_val"),
    CALIBRATION: ("_calibration",),
    EVALUATION: ("_eval", "_test", "_evaluation"),
}
# Names of whole splits; of "val" and "validation" see `splits_of`.
_WHOLE: Mapping[str, str] = {
    "train": TRAIN,
    "training": TRAIN,
    "calibration": CALIBRATION,
    "eval": EVALUATION,
    "evaluation": EVALUATION,
    "test": EVALUATION,
}
_HELD_OUT = ("val", "validation")
_KNOWN = (
    "Name them x_train, y_train, x_validation, y_validation, x_calibration, x_eval, y_eval or labels; x and y alone"
)
# What to know of a name that begins like a known one, by whether samples or labels are called so.
_SEVERAL = {
    "": "",
    "x": "The samples of each of several inputs are called x_train/NAME, by the input's name.",
    "y": "Labels are those of one output, which [metric] output chooses: y_train.",
}


def pairs(split: str) -> list[tuple[str, str]]:
    """What the samples and the labels of a split may be called: ("x_train", "y_train"), ("x", "y")."""
    return [(f"x{ending}", f"y{ending}") for ending in _ENDINGS[split]]


def split_of(array: str) -> str:
    """The split whose samples an array holds, "x_train" or "x_train/NAME"; empty for labels and unknown names."""
    name = array.partition("/")[0]
    return next((split for split in SPLITS if name in {x for x, _ in pairs(split)}), "")


def is_array(name: str) -> bool:
    """Whether an array may be called so, NAME of "x_train/NAME" aside."""
    whole, slash, _ = name.partition("/")
    known = {array for split in SPLITS for pair in pairs(split) for array in (pair[:1] if slash else pair)}
    return whole in known or name == LABELS


def is_split(name: str) -> bool:
    """Whether a dataset or a folder of that name is a split."""
    return name.lower() in _WHOLE or name.lower() in _HELD_OUT


def require_known(names: Iterable[str], where: str, *, or_splits: bool = False) -> None:
    """Refuse arrays whose names mean nothing.

    Args:
        names: of the arrays.
        where: they stand, for messages.
        or_splits: whether whole splits might have stood there instead.

    Raises:
        UsageError: there are such, or none at all that holds samples.
    """
    found = list(names)
    unknown = sorted(name for name in found if not is_array(name))
    if unknown:
        raise _unknown_arrays(unknown, where, (*_WHOLE, *_HELD_OUT) if or_splits else ())
    wholes = {name.partition("/")[0] for name in found}
    for samples, labels in (pair for split in SPLITS for pair in pairs(split)):
        if labels in wholes and samples not in wholes:
            raise UsageError(f"{where}: there is {labels} but no {samples}")
    if not any(map(split_of, found)):
        raise UsageError(f"{where}: there are no samples", "No array is called x_train, x_eval or x.", _remedy())


def _unknown_arrays(names: Collection[str], where: str, splits: tuple[str, ...]) -> UsageError:
    arrays = [array for split in SPLITS for pair in pairs(split) for array in pair]
    near = closest(next(iter(names)), (*arrays, LABELS, *splits)) if len(names) == 1 else ""
    known = next((array for array in arrays for name in names if name.startswith((f"{array}_", f"{array}/"))), "")
    return UsageError(f"{where}: unknown arrays: {', '.join(names)}{near}", _SEVERAL[known[:1]], _remedy())


def _remedy() -> str:
    return f"{_KNOWN} are divided by the seed."


def splits_of(names: Iterable[str], where: str) -> dict[str, str]:
    """The split that each name of a dataset or a folder means.

    "val" and "validation" are samples that were kept from training: they are evaluated on where no other name means
    evaluation, and are for choosing (early stopping, what compression may cost) beside such a one.

    Raises:
        UsageError: a name means no split, or two mean the same.
    """
    found = list(names)
    unknown = sorted(name for name in found if not is_split(name))
    if unknown:
        near = closest(unknown[0], (*_WHOLE, *_HELD_OUT)) if len(unknown) == 1 else ""
        raise UsageError(
            f"{where}: unknown splits {', '.join(unknown)}{near}",
            f"Known: {', '.join(_WHOLE)}, val, validation, and {LABELS}.",
        )
    has_evaluation = any(_WHOLE.get(name.lower()) == EVALUATION for name in found)
    held_out = VALIDATION if has_evaluation else EVALUATION
    meant: dict[str, str] = {}
    for name in found:
        split = _WHOLE.get(name.lower(), held_out)
        same = next((other for other in meant if meant[other] == split), None)
        if same is not None:
            raise UsageError(f"{where}: both {same} and {name} mean the {split} split", remedy="Give one of them.")
        meant[name] = split
    return meant


def unscored(source: Source | None, metric: Metric) -> str:
    """Why nothing will be scored, as far as names of arrays tell; empty where something is, or only a build can tell.

    Args:
        source: of the data; None for none.
        metric: as it is asked for; errors may be of a network that gives its input back, without labels.
    """
    if source is None:
        return "no data are named"
    path = Path(source.path)
    may_need_none = bool(metric.target) or metric.name in _ERRORS
    if source.kind != "file" or may_need_none or path.suffix.lower() != ".npz":
        return ""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {member.removesuffix(".npy").partition("/")[0] for member in archive.namelist()}
    except (OSError, zipfile.BadZipFile):
        return ""  # reading the data says so
    found = [pair for split in (EVALUATION, TRAIN) for pair in pairs(split) if pair[0] in names]
    if not found:
        return ""
    samples, labels = found[0]
    return "" if labels in names else f"the data hold {samples}, and no labels for it ({labels})"
