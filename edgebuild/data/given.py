"""Data as the user gave them: up to three splits of raw arrays, before anything is drawn or scaled."""

from __future__ import annotations

import itertools
import keyword
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgebuild.core.model import TensorSpec
from edgebuild.core.resizing import Resizing
from edgebuild.data import array_names
from edgebuild.data.array_names import LABELS, SPLITS
from edgebuild.errors import UsageError

Array = npt.NDArray[Any]
_CHUNK = 256
_NUMBERED = "numbered in the order of their names"
_MOST_AXES = 4  # whose orders are tried


class Examples(NamedTuple):
    """Samples of one split: one array for each network input (samples first), and their answers if known."""

    x: tuple[Array, ...]
    y: Array | None = None

    def __len__(self) -> int:
        return len(self.x[0])

    def take(self, rows: npt.NDArray[np.intp]) -> Examples:
        """The samples at the given positions, in that order."""
        return Examples(tuple(array[rows] for array in self.x), None if self.y is None else self.y[rows])


class Given(NamedTuple):
    """What there is; a split that was not given is None.

    Attributes:
        labels: names of the classes, in order.
        validation: samples for choosing alone: early stopping, and what compression may cost.
        notes: what was done in reading them, for people.
        resizing: how images were made to fit; None where all did.
    """

    train: Examples | None = None
    calibration: Examples | None = None
    evaluation: Examples | None = None
    labels: tuple[str, ...] = ()
    validation: Examples | None = None
    notes: tuple[str, ...] = ()
    resizing: Resizing | None = None

    @classmethod
    def of(
        cls, splits: Mapping[str, Examples | None], labels: tuple[str, ...] = (), notes: tuple[str, ...] = ()
    ) -> Given:
        """From splits by their names."""
        return cls(labels=labels, notes=notes).with_splits(splits)

    def with_splits(self, splits: Mapping[str, Examples | None]) -> Given:
        """The same with these splits alone."""
        return self._replace(
            train=splits.get("train"),
            calibration=splits.get("calibration"),
            evaluation=splits.get("evaluation"),
            validation=splits.get("validation"),
        )


def from_arrays(
    arrays: Mapping[str, Any], inputs: tuple[TensorSpec, ...], where: str, notes: tuple[str, ...] = ()
) -> Given:
    """Sort named arrays into splits.

    Args:
        arrays: any of x_train y_train x_validation y_validation x_calibration x_eval y_eval labels (other names that
            they may have are in `array_names`), x and y where they are to be divided; where the network has several
            inputs, x_eval/NAME for each input's name.
        inputs: the network's inputs, in order.
        where: what the arrays were read from, for messages.
        notes: what is to be said of them already.

    Raises:
        UsageError: an unknown name, an input without its array, or arrays of different lengths.
    """
    array_names.require_known(arrays, where)
    rest = {_as_called(name, inputs): array for name, array in arrays.items()}
    labels = rest.pop(LABELS, None)
    splits = {split: _split(rest, split, inputs, where) for split in SPLITS}
    if rest:
        raise _not_taken(sorted(rest), inputs, where)
    names = () if labels is None else tuple(map(_text, np.asarray(labels).ravel().tolist()))
    return numbered(Given.of(splits, names, notes), where)


def _not_taken(names: Sequence[str], inputs: tuple[TensorSpec, ...], where: str) -> UsageError:
    """What is said of arrays with known names that belong to no input, or to one that has its samples already."""
    wanted = ", ".join(spec.name for spec in inputs)
    how = "x_train, x_eval" if len(inputs) == 1 else f"x_train/{inputs[0].name}, x_eval/{inputs[0].name}"
    return UsageError(
        f"{where}: no input takes {', '.join(names)}",
        f"The network's inputs: {wanted}.",
        f"Call the samples of its inputs {how} and so on, each once, and give labels beside samples alone.",
    )


def _as_called(array: str, inputs: tuple[TensorSpec, ...]) -> str:
    """The name of an array with that of its input as it is known here: the network's own may be no identifier."""
    split, _, name = array.partition("/")
    called = {spec.name for spec in inputs}
    return f"{split}/{identifier(name)}" if name and name not in called and identifier(name) in called else array


def numbered(given: Given, where: str) -> Given:
    """With class numbers where labels are the names of classes: as `labels` lists them, else in their own order.

    Raises:
        UsageError: there are names that `labels` does not list.
    """
    words = {split: _words(getattr(given, split)) for split in SPLITS}
    found = sorted({word for some in words.values() if some is not None for word in some})
    if not found:
        return given
    names, notes = given.labels, given.notes
    if not names:
        names = tuple(found)
        notes = (*notes, f"{len(names)} classes, {_NUMBERED}: {', '.join(names[:10])}")
    numbers = {name: number for number, name in enumerate(names)}
    unknown = [word for word in found if word not in numbers]
    if unknown:
        raise UsageError(
            f"{where}: {len(unknown)} labels are no names of classes: {', '.join(unknown[:5])}",
            f"`labels` lists {', '.join(names[:10])}.",
            "List every class in `labels`, in the order of the network's outputs.",
        )
    splits: dict[str, Examples | None] = {split: getattr(given, split) for split in SPLITS}
    for split, some in words.items():
        examples = splits[split]
        if some is not None and examples is not None and examples.y is not None:
            y = np.array([numbers[word] for word in some], np.int64).reshape(examples.y.shape)
            splits[split] = Examples(examples.x, y)
    return given.with_splits(splits)._replace(labels=names, notes=notes)


def ordered(given: Given, labels: tuple[str, ...], where: str) -> Given:
    """With classes numbered as `labels` lists their names; where the data name none these are their names.

    Raises:
        UsageError: the data name a class that it does not list.
    """
    if not labels or not given.labels:
        return given._replace(labels=labels or given.labels)
    unknown = [name for name in given.labels if name not in labels]
    if unknown or len(set(labels)) < len(labels):
        what = f"does not list {', '.join(unknown[:5])}" if unknown else "lists a class twice"
        raise UsageError(
            f"[data] labels {what}",
            f"The classes of {where} are {', '.join(given.labels[:10])}.",
            "List every class once, in the order of the network's outputs.",
        )
    place = np.array([labels.index(name) for name in given.labels])
    splits = {split: _renumbered(getattr(given, split), place, len(labels)) for split in SPLITS}
    notes = [note for note in given.notes if _NUMBERED not in note]
    return given.with_splits(splits)._replace(labels=labels, notes=tuple(notes))


def _renumbered(examples: Examples | None, place: Array, classes: int) -> Examples | None:
    """Class numbers, or one-hot rows, as `place` says; what is no class is left as it is."""
    if examples is None or examples.y is None:
        return examples
    y = examples.y
    if y.ndim > 1 and y.shape[-1] == len(place) > 1:
        moved = np.zeros((*y.shape[:-1], classes), y.dtype)
        moved[..., place] = y
        return Examples(examples.x, moved)
    known = np.isin(y, np.arange(len(place)))
    return Examples(examples.x, np.where(known, place[np.where(known, y, 0).astype(np.intp)], y))


def _words(examples: Examples | None) -> list[str] | None:
    """Labels that are text; None where they are not."""
    if examples is None or examples.y is None or examples.y.dtype.kind not in "OUS":
        return None
    words = examples.y.ravel().tolist()
    return [_text(word) for word in words] if all(isinstance(word, str | bytes) for word in words) else None


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def fit(given: Given, inputs: tuple[TensorSpec, ...], where: str) -> tuple[Given, tuple[str, ...]]:
    """Hold all samples against the network's inputs.

    Returns:
        The data, with a channel axis of 1 appended where only that was missing, and what was done, as notes.

    Raises:
        UsageError: samples of another shape or type, values that are not finite, or a split without samples.
    """
    notes: dict[str, None] = {}
    fitted: dict[str, Examples | None] = {}
    for split in SPLITS:
        examples: Examples | None = getattr(given, split)
        if examples is not None:
            if len(examples) == 0:
                raise UsageError(f"{where}: the {split} split is empty", remedy="Give at least one sample.")
            pairs = zip(examples.x, inputs, strict=True)
            x = tuple(_fit_one(array, spec, f"{where}: {split}", notes) for array, spec in pairs)
            examples = Examples(x, examples.y)
        fitted[split] = examples
    train, validation = fitted["train"], fitted["validation"]
    if train is not None and validation is not None and (train.y is None) != (validation.y is None):
        lacking = "train" if train.y is None else "validation"
        raise UsageError(f"{where}: the {lacking} split has no labels, and the other one has", remedy="Give both.")
    return given.with_splits(fitted), tuple(notes)


def _split(arrays: dict[str, Any], split: str, inputs: tuple[TensorSpec, ...], where: str) -> Examples | None:
    """The arrays of a split, taken out of `arrays`; None where there are none."""
    for samples, labels in array_names.pairs(split):
        whole = len(inputs) == 1 and samples in arrays
        names = [samples] if whole else [f"{samples}/{spec.name}" for spec in inputs]
        found = [name for name in names if name in arrays]
        if not found:
            continue
        y = arrays.pop(labels, None)
        if len(found) < len(names):
            missing = ", ".join(name for name in names if name not in found)
            raise UsageError(f"{where}: {missing} is missing", "The network has several inputs.")
        examples = Examples(tuple(np.asarray(arrays.pop(name)) for name in names), None if y is None else np.asarray(y))
        _require_same_length(examples, samples, labels, where)
        return examples
    return None


def _require_same_length(examples: Examples, samples: str, labels: str, where: str) -> None:
    arrays = [*examples.x] + ([] if examples.y is None else [examples.y])
    if any(array.ndim == 0 for array in arrays):
        raise UsageError(f"{where}: {samples} or {labels} is a single value, not an array of samples")
    lengths = {len(array) for array in arrays}
    if len(lengths) > 1:
        raise UsageError(
            f"{where}: {samples} and {labels} differ in length: {' and '.join(map(str, sorted(lengths)))} samples"
        )


def _fit_one(array: Array, spec: TensorSpec, where: str, notes: dict[str, None]) -> Array:
    if array.dtype.kind not in "fiub":
        raise UsageError(f"{where}: the samples are of type {array.dtype}, not numbers")
    wanted = spec.shape[1:]
    if wanted and wanted[-1] == 1 and matches(array.shape[1:], wanted[:-1]):
        array = array[..., np.newaxis]
        notes["the data have no channel axis: one of size 1 was added"] = None
    if not matches(array.shape[1:], wanted):
        raise UsageError(
            f"{where}: samples have the shape {_shape(array.shape[1:])}, "
            f"the network's input {spec.name} has {_shape(wanted)}",
            remedy=_remedy(array.shape[1:], wanted),
        )
    if array.dtype.kind == "f":
        _require_whole(array, spec, where)
        for start in range(0, len(array), _CHUNK):
            good = np.isfinite(array[start : start + _CHUNK]).all(axis=tuple(range(1, array.ndim)))
            if not good.all():
                row = start + int(np.argmin(good))
                raise UsageError(
                    f"{where}: sample {row} holds NaN or infinite values", remedy="Remove or repair such samples."
                )
    return array


def _remedy(shape: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    """What to do with samples of another shape: they may only have their axes in another order, channels first, say."""
    for order in itertools.permutations(range(len(shape))) if len(shape) <= _MOST_AXES else ():
        if matches(tuple(shape[axis] for axis in order), wanted):
            return f"Their axes are in another order: give np.transpose(x, {(0, *(axis + 1 for axis in order))})."
    return "Reshape or resize the data, samples first."


def _require_whole(array: Array, spec: TensorSpec, where: str) -> None:
    """An input of integers must not cut off what it is given."""
    if np.dtype(spec.dtype).kind in "iu" and not np.array_equal(array, np.trunc(array), equal_nan=True):
        raise UsageError(
            f"{where}: the network's input {spec.name} takes {spec.dtype}, and the samples are not whole numbers",
            remedy="Give integers, token numbers for example.",
        )


def matches(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether a sample's shape is the wanted one, in which -1 stands for any size."""
    return len(shape) == len(wanted) and all(want in (-1, size) for size, want in zip(shape, wanted, strict=True))


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join("?" if size == -1 else str(size) for size in shape) or "scalar"


def identifier(name: str) -> str:
    """A name that Python takes for a parameter, as a signature needs it."""
    word = re.sub(r"\W", "_", name)
    if keyword.iskeyword(word):
        return f"{word}_"
    # TensorFlow saves no signature of several inputs one of whose names begins with an underscore.
    return word if word[:1].isidentifier() and word[:1] != "_" else f"x{word}"
