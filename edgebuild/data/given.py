"""Data as the user gave them: up to three splits of raw arrays, before anything is drawn or scaled."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgebuild.core.model import TensorSpec
from edgebuild.data.names import identifier
from edgebuild.errors import UsageError

Array = npt.NDArray[Any]
_CHUNK = 256
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
    """What there is; a split that was not given is None. `labels` name the classes in order."""

    train: Examples | None = None
    calibration: Examples | None = None
    evaluation: Examples | None = None
    labels: tuple[str, ...] = ()

    @classmethod
    def of(cls, splits: Mapping[str, Examples | None], labels: tuple[str, ...] = ()) -> Given:
        """From splits by their names."""
        return cls(splits.get("train"), splits.get("calibration"), splits.get("evaluation"), labels)


SPLITS = ("train", "calibration", "evaluation")
# The suffixes of arrays in a .npz; Keras's own data sets say "test".
SUFFIXES: Mapping[str, tuple[str, ...]] = {
    "train": ("train",),
    "calibration": ("calibration",),
    "evaluation": ("eval", "test"),
}


def from_arrays(arrays: Mapping[str, Any], inputs: tuple[TensorSpec, ...], where: str) -> Given:
    """Sort named arrays into splits.

    Args:
        arrays: any of x_train y_train x_calibration x_eval y_eval labels (x_test and y_test are taken as x_eval and
            y_eval); where the network has several inputs, x_eval/NAME for each input's name.
        inputs: the network's inputs, in order.
        where: what the arrays were read from, for messages.

    Raises:
        UsageError: an unknown name, an input without its array, or arrays of different lengths.
    """
    rest = {_as_called(name, inputs): array for name, array in arrays.items()}
    labels = rest.pop("labels", None)
    splits = {split: _split(rest, suffixes, inputs, where) for split, suffixes in SUFFIXES.items()}
    if rest:
        raise UsageError(
            f"{where}: unknown arrays: {', '.join(sorted(rest))}",
            remedy="Name them x_train, y_train, x_calibration, x_eval, y_eval or labels.",
        )
    names = () if labels is None else tuple(str(label) for label in np.asarray(labels).tolist())
    return Given.of({split: _numbered(examples, names) for split, examples in splits.items()}, names)


def _as_called(array: str, inputs: tuple[TensorSpec, ...]) -> str:
    """The name of an array with that of its input as it is known here: the network's own may be no identifier."""
    split, _, name = array.partition("/")
    called = {spec.name for spec in inputs}
    return f"{split}/{identifier(name)}" if name and name not in called and identifier(name) in called else array


def _numbered(examples: Examples | None, names: tuple[str, ...]) -> Examples | None:
    """With class numbers where answers are the names of classes, all of which `labels` lists."""
    if examples is None or examples.y is None or examples.y.dtype.kind not in "US" or not names:
        return examples
    numbers = {name: number for number, name in enumerate(names)}
    words = [word.decode() if isinstance(word, bytes) else word for word in examples.y.ravel().tolist()]
    unknown = sorted(set(words) - set(numbers))
    if unknown:
        raise UsageError(
            f"{len(unknown)} answers are no names of classes: {', '.join(unknown[:5])}",
            f"`labels` lists {', '.join(names[:10])}.",
            "List every class in `labels`, in the order of the network's outputs.",
        )
    return examples._replace(y=np.array([numbers[word] for word in words]).reshape(examples.y.shape))


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
    return Given.of(fitted, given.labels), tuple(notes)


def _split(
    arrays: dict[str, Any], suffixes: Iterable[str], inputs: tuple[TensorSpec, ...], where: str
) -> Examples | None:
    for suffix in suffixes:
        names = (
            [f"x_{suffix}"]
            if len(inputs) == 1 and f"x_{suffix}" in arrays
            else [f"x_{suffix}/{spec.name}" for spec in inputs]
        )
        found = [name for name in names if name in arrays]
        y = arrays.pop(f"y_{suffix}", None)
        if not found:
            if y is not None:
                raise UsageError(f"{where}: there is y_{suffix} but no x_{suffix}")
            continue
        if len(found) < len(names):
            missing = ", ".join(name for name in names if name not in found)
            raise UsageError(f"{where}: {missing} is missing", "The network has several inputs.")
        examples = Examples(tuple(np.asarray(arrays.pop(name)) for name in names), None if y is None else np.asarray(y))
        _require_same_length(examples, suffix, where)
        return examples
    return None


def _require_same_length(examples: Examples, suffix: str, where: str) -> None:
    arrays = [*examples.x] + ([] if examples.y is None else [examples.y])
    if any(array.ndim == 0 for array in arrays):
        raise UsageError(f"{where}: x_{suffix} or y_{suffix} is a single value, not an array of samples")
    lengths = {len(array) for array in arrays}
    if len(lengths) > 1:
        raise UsageError(
            f"{where}: x_{suffix} and y_{suffix} differ in length: {' and '.join(map(str, sorted(lengths)))} samples"
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
