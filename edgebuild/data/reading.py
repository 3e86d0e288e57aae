"""Data from a .npz file, or from what a module:callable returned; `images` reads folders, `tables` CSV files."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgebuild.core.model import TensorSpec
from edgebuild.data import array_names, datasets
from edgebuild.data.array_names import LABELS
from edgebuild.data.datasets import is_dataset
from edgebuild.data.given import Array, Examples, Given, from_arrays, numbered
from edgebuild.errors import UsageError

# The splits of a tuple, by its length.
_SEVERAL = {2: ("train", "evaluation"), 3: ("train", "validation", "evaluation")}


def from_npz(path: Path, inputs: tuple[TensorSpec, ...]) -> Given:
    """Read a .npz file; arrays of Python objects are refused, since unpickling runs code.

    Raises:
        UsageError: it is no .npz file, is damaged, or its arrays do not fit together.
    """
    if not zipfile.is_zipfile(path):
        raise UsageError(f"{path} is not a .npz file", "It is no zip archive.", "Save named arrays with numpy.savez.")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # a damaged archive raises whatever its decompressor does
        raise UsageError(
            f"{path} cannot be read as a .npz file", str(error), "Save named arrays of numbers with numpy.savez."
        ) from None
    return from_arrays(arrays, inputs, path.name)


def from_result(result: Any, inputs: tuple[TensorSpec, ...], where: str) -> Given:
    """Sort what a user's function returned: datasets or arrays, of one split or of several.

    Args:
        result: one split (a dataset, or a pair (x, y) of arrays), which is divided; a pair of splits, (train, eval), or
            three, (train, validation, eval); a mapping of splits by their names, or of arrays or datasets by theirs
            (x_train, y_train, ...), with "labels" if need be.
        inputs: the network's inputs, in order.
        where: what returned it, for messages.

    Raises:
        UsageError: it is none of these.
    """
    if is_dataset(result):
        return _of_splits({"train": result}, (), inputs, where)
    if isinstance(result, tuple | list) and len(result) in _SEVERAL and all(map(_is_split, result)):
        return _of_splits(dict(zip(_SEVERAL[len(result)], result, strict=True)), (), inputs, where)
    if isinstance(result, tuple | list) and len(result) == 2 and not isinstance(result[0], int | float | str):
        return from_arrays({"x_train": result[0], "y_train": result[1]}, inputs, where)
    if isinstance(result, Mapping) and result:
        return _of_mapping({str(name): value for name, value in result.items()}, inputs, where)
    raise UsageError(
        f"{where} returned {'an empty mapping' if isinstance(result, Mapping) else type(result).__name__}",
        remedy="Return a mapping of arrays (x_train, y_train, ...), a pair (x, y), or tf.data datasets: one, "
        '(train, eval), or {"train": ..., "eval": ..., "labels": [...]}.',
    )


def _of_mapping(result: Mapping[str, Any], inputs: tuple[TensorSpec, ...], where: str) -> Given:
    """Splits by their names, or arrays and datasets by theirs."""
    rest = {name: value for name, value in result.items() if name != LABELS}
    if any(map(array_names.is_split, rest)):
        labels = tuple(map(str, np.asarray(result.get(LABELS, ())).ravel().tolist()))
        return _of_splits(rest, labels, inputs, where)
    array_names.require_known(result, where, or_splits=True)
    arrays: dict[str, Any] = {}
    notes: list[str] = []
    for name, value in result.items():
        if array_names.split_of(name) and is_dataset(value):
            found = datasets.read(value, inputs, f"{where} {name}")
            notes += found.notes
            arrays |= _named(name, found.examples, inputs, where, y_given=f"y{name[1:]}" in result)
            arrays.setdefault(LABELS, datasets.labels_of(value) or None)
        elif not is_dataset(value):
            arrays[name] = np.asarray(value)
    for name, value in result.items():
        if name.startswith("y") and is_dataset(value):
            first = next(array for array in arrays if array.partition("/")[0] == f"x{name[1:]}")
            arrays[name] = datasets.values(value, len(arrays[first]), f"{where} {name}")
    return from_arrays(
        {name: array for name, array in arrays.items() if array is not None}, inputs, where, tuple(notes)
    )


def _named(
    name: str, examples: Examples, inputs: tuple[TensorSpec, ...], where: str, *, y_given: bool
) -> dict[str, Array]:
    """The arrays of a dataset that stands for x_train, with its labels where it has any."""
    if examples.y is not None and y_given:
        raise UsageError(f"{where}: {name} holds labels, and y{name[1:]} is given too", remedy="Give them once.")
    x = (
        {name: examples.x[0]}
        if len(inputs) == 1
        else {f"{name}/{spec.name}": array for spec, array in zip(inputs, examples.x, strict=True)}
    )
    return x if examples.y is None else {**x, f"y{name[1:]}": examples.y}


def _of_splits(splits: Mapping[str, Any], labels: tuple[str, ...], inputs: tuple[TensorSpec, ...], where: str) -> Given:
    """Datasets, or samples with their labels, by the names of splits."""
    meant = array_names.splits_of(splits, where)
    wrong = next((name for name, value in splits.items() if not _is_split(value) and not hasattr(value, "shape")), None)
    if wrong is not None:
        raise UsageError(
            f"{where}: {wrong} is {type(splits[wrong]).__name__}", remedy="Give a tf.data dataset, or a pair (x, y)."
        )
    notes: list[str] = []
    found: dict[str, Examples | None] = {}
    for name, value in splits.items():
        if is_dataset(value):
            called = f"{where} {name}" if len(splits) > 1 else where
            read = datasets.read(value, inputs, called)
            found[meant[name]] = read.examples
            notes += read.notes
            labels = labels or datasets.labels_of(value)
        else:
            pair = value if isinstance(value, tuple | list) else (value,)
            arrays = dict(zip(("x_train", "y_train"), pair, strict=False))
            found[meant[name]] = from_arrays(arrays, inputs, f"{where} {name}").train
    return numbered(Given.of(found, labels, tuple(notes)), where)


def _is_split(part: Any) -> bool:
    """Whether it is a dataset or (x, y), as each half of what Keras's own data sets return."""
    is_pair = isinstance(part, tuple | list) and len(part) == 2 and all(hasattr(array, "shape") for array in part)
    return is_pair or is_dataset(part)
