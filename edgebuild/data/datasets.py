"""Datasets of tf.data and other streams of samples or batches, read into arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from edgebuild.core.model import TensorSpec
from edgebuild.data.given import Array, Examples, matches
from edgebuild.errors import UsageError

_INFINITE, _UNKNOWN = -1, -2  # as tf.data.INFINITE_CARDINALITY and UNKNOWN_CARDINALITY
# Of a dataset without an end so many samples are looked at, and the different ones kept.
ENDLESS_SAMPLES = 10_000
# Of one that does not say where it ends, at most so many, of so many bytes.
MOST_SAMPLES, MOST_BYTES = 1_000_000, 4 << 30
# What labels are called beside the input in elements that are mappings.
_LABELS = ("label", "labels", "y", "target", "targets", "class")
# Samples, labels and their weights.
_LONGEST = 3


class Read(NamedTuple):
    """The samples of a dataset, and what is to be said of how they were read."""

    examples: Examples
    notes: tuple[str, ...] = ()


class _Rows(NamedTuple):
    """Some samples: an array for each input, samples first, their labels or None, and whether weights came along."""

    x: list[Array]
    y: Array | None
    weighted: bool = False


def is_dataset(value: Any) -> bool:
    """Whether it gives samples or batches one after another: a tf.data.Dataset, a generator, a Keras PyDataset."""
    if hasattr(value, "as_numpy_iterator"):
        return True
    if isinstance(value, list | tuple | Mapping | str | bytes) or hasattr(value, "dtype") or hasattr(value, "shape"):
        return False
    return isinstance(value, Iterator) or (hasattr(value, "__getitem__") and hasattr(value, "__len__"))


def labels_of(dataset: Any) -> tuple[str, ...]:
    """The names of classes that Keras leaves on a dataset of a folder; none where there are none."""
    names = getattr(dataset, "class_names", None)
    return tuple(map(str, names)) if isinstance(names, list | tuple) else ()


def read(dataset: Any, inputs: tuple[TensorSpec, ...], where: str) -> Read:
    """All samples of a dataset.

    Elements are samples or batches of (x, y), x alone or (x, y, weight), where x is an array, one for each input, or a
    mapping of inputs by their names; or mappings of inputs and a label.

    Raises:
        UsageError: it is empty, or its elements do not fit the network's inputs.
    """
    cardinality = int(dataset.cardinality()) if hasattr(dataset, "cardinality") else _UNKNOWN
    rows = _rows(_elements(dataset), inputs, where)
    notes: list[str] = []
    if cardinality == _INFINITE:
        found = list(_different(rows))
        notes.append(
            f"{where}: the dataset has no end: the {sum(len(some.x[0]) for some in found):,} different samples among "
            f"its first {ENDLESS_SAMPLES:,} were taken (dataset.take(N) chooses others)"
        )
    elif cardinality == _UNKNOWN:
        found, whole = _limited(rows)
        if not whole:
            taken = sum(len(some.x[0]) for some in found)
            notes.append(
                f"{where}: the dataset was read no further than {taken:,} samples (take(N) sets another limit)"
            )
    else:
        found = list(rows)
    if not found:
        raise UsageError(f"{where}: the dataset is empty")
    if any(some.weighted for some in found):
        notes.append(f"{where}: weights of samples are not used")
    return Read(_joined(found, len(inputs), where), tuple(notes))


def values(dataset: Any, samples: int, where: str) -> Array:
    """A dataset of labels alone, for so many samples: a label or a batch of them at a time.

    Raises:
        UsageError: it is empty, or has no end.
    """
    if hasattr(dataset, "cardinality") and int(dataset.cardinality()) == _INFINITE:
        raise UsageError(f"{where}: the dataset has no end", remedy="Take a number of elements: dataset.take(1000).")
    found = [np.asarray(element) for element in _elements(dataset)]
    if not found:
        raise UsageError(f"{where}: the dataset is empty")
    is_single = found[0].ndim == 0 or (len(found) == samples and found[0].shape[0] != 1)
    return np.stack(found) if is_single else np.concatenate(found)


def _elements(dataset: Any) -> Iterator[Any]:
    if hasattr(dataset, "as_numpy_iterator"):
        yield from dataset.as_numpy_iterator()
    elif isinstance(dataset, Iterator):
        yield from dataset
    else:
        yield from (dataset[place] for place in range(len(dataset)))  # a PyDataset has no end to iterate to


def _joined(found: list[_Rows], inputs: int, where: str) -> Examples:
    ys = [some.y for some in found if some.y is not None]
    try:
        x = tuple(np.concatenate([some.x[place] for some in found]) for place in range(inputs))
        return Examples(x, np.concatenate(ys) if len(ys) == len(found) else None)
    except ValueError as error:
        raise UsageError(
            f"{where}: its elements differ in shape",
            str(error),
            "Give all samples one shape: pad or resize them in dataset.map(...).",
        ) from None


def _limited(rows: Iterator[_Rows]) -> tuple[list[_Rows], bool]:
    """As many as there is room for, and whether that was all."""
    found: list[_Rows] = []
    samples = size = 0
    for some in rows:
        if samples >= MOST_SAMPLES or size >= MOST_BYTES:
            return found, False
        found.append(some)
        samples += len(some.x[0])
        size += sum(array.nbytes for array in some.x)
    return found, True


def _different(rows: Iterator[_Rows]) -> Iterator[_Rows]:
    """The first samples without those that came before: none may be learnt from and scored on."""
    seen: set[bytes] = set()
    left = ENDLESS_SAMPLES
    for some in rows:
        new = []
        for row in range(min(left, len(some.x[0]))):
            key = hashlib.sha256(b"".join(np.ascontiguousarray(array[row]).tobytes() for array in some.x)).digest()
            if key not in seen:
                seen.add(key)
                new.append(row)
        left -= len(some.x[0])
        if new:
            yield some._replace(x=[array[new] for array in some.x], y=None if some.y is None else some.y[new])
        if left <= 0:
            return


def _rows(elements: Iterable[Any], inputs: tuple[TensorSpec, ...], where: str) -> Iterator[_Rows]:
    """Every element as a batch."""
    for element in elements:
        x, y, weighted = _parts(element, inputs, where)
        if len(x) != len(inputs):
            raise UsageError(f"{where}: its elements hold {len(x)} inputs, the network has {len(inputs)}")
        if isinstance(y, Mapping):
            raise UsageError(
                f"{where}: its labels are of several outputs: {', '.join(map(str, y))}",
                "One output is scored ([metric] output).",
                "Choose its labels: dataset.map(lambda x, y: (x, y['NAME'])).",
            )
        labels = None if y is None else np.asarray(y)
        if _is_single(x[0].shape, inputs[0].shape[1:]):
            x, labels = [part[np.newaxis] for part in x], None if labels is None else labels[np.newaxis]
        elif labels is not None and labels.shape[:1] != x[0].shape[:1]:
            raise UsageError(
                f"{where}: an element has {len(x[0])} samples and labels of the shape {list(labels.shape)}"
                if x[0].ndim
                else f"{where}: an element holds a single number",
                f"The network's input {inputs[0].name} has the shape {list(inputs[0].shape[1:])}.",
                "Give pairs of samples and labels, or batches of them.",
            )
        yield _Rows(x, labels, weighted)


def _parts(element: Any, inputs: tuple[TensorSpec, ...], where: str) -> tuple[list[Array], Any, bool]:
    """The arrays of all inputs, the labels or None, and whether weights came along."""
    is_pair = isinstance(element, tuple | list) and 2 <= len(element) <= _LONGEST
    x, y = element[:2] if is_pair else (element, None)
    weighted = is_pair and len(element) == _LONGEST and element[2] is not None
    if isinstance(x, Mapping):
        x, label = _of_mapping(x, inputs, where)
        y = label if y is None else y
    return [np.asarray(part) for part in (x if isinstance(x, list | tuple) else (x,))], y, weighted


def _of_mapping(element: Mapping[Any, Any], inputs: tuple[TensorSpec, ...], where: str) -> tuple[list[Any], Any]:
    """The inputs by their names and the label beside them, as TensorFlow Datasets have them."""
    label = next((name for name in _LABELS if name in element and name not in {spec.name for spec in inputs}), None)
    missing = [spec.name for spec in inputs if spec.name not in element]
    others = [name for name in element if name != label]
    if missing and len(inputs) == len(others) == 1:
        return [element[others[0]]], None if label is None else element[label]
    if missing:
        raise UsageError(
            f"{where}: its elements have {', '.join(map(str, element))}, and the network's inputs are "
            f"{', '.join(missing)}",
            remedy="Map them to pairs: dataset.map(lambda e: (e['image'], e['label'])).",
        )
    return [element[spec.name] for spec in inputs], None if label is None else element[label]


def _is_single(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether an element is one sample rather than a batch; a channel axis of 1 may be missing in either."""
    return matches(shape, wanted) or (wanted[-1:] == (1,) and matches(shape, wanted[:-1]))
