"""Teachers: networks of any kind, or outputs that one gave before; each may be asked about a sample only once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from edgebuild.data.given import Array
from edgebuild.errors import StepError, UsageError
from edgebuild.metrics import load_callable
from edgebuild.passes import calling
from edgebuild.passes.training.data import SELDOM, Batchwise, Rows

STORED = ".npy"
_MOST_BYTES = 1 << 28


class Teacher(NamedTuple):
    """What a student learns from.

    Attributes:
        name: for people.
        weight: relative to the others'.
        in_graph: takes a list of tensors and returns the outputs' list and the outputs of the compared layers; None
            where it cannot be part of a TensorFlow graph.
        outside: takes rows of the train split and their samples and returns arrays; None where `in_graph` is there.
        model: a Keras model whose layers can be compared with the student's; None for others.
        is_stored: whether it knows its answers to the train split alone, not to changed samples.
    """

    name: str
    weight: float
    in_graph: Callable[[list[Any]], list[Any]] | None
    outside: Callable[[Rows, list[Array]], list[Array]] | None
    model: Any = None
    is_stored: bool = False

    def answers(self, rows: Rows, x: list[Array]) -> list[Array]:
        """What it says to rows of the train split, an array for each output; errors are its own."""
        if self.in_graph is not None:
            return [answer.numpy() for answer in self.in_graph([tf.constant(array) for array in x])]
        assert self.outside is not None, "a teacher answers in the graph or outside of it"
        return self.outside(rows, x)


def of_model(model: Any, name: str, weight: float) -> Teacher:
    """A tf_keras or Keras 3 model."""

    def answer(tensors: list[Any]) -> list[Any]:
        return calling.outputs(model, tensors)

    return Teacher(name, weight, answer, None, model)


def of_function(function: Callable[..., Any], name: str, weight: float) -> Teacher:
    """Any function of the samples (one array for each input) that returns one array or several."""

    def answer(_: Rows, arrays: list[Array]) -> list[Array]:
        try:
            results = function(*arrays)
        except Exception as error:
            raise StepError(f"the teacher {name} failed", f"{type(error).__name__}: {error}") from None
        return [np.asarray(item, np.float32) for item in tf.nest.flatten(results)]

    return Teacher(name, weight, None, answer)


def of_file(path: Path, samples: int, original_rows: Rows | None, weight: float) -> Teacher:
    """Answers stored as a .npy, [samples of x_train, ...].

    Args:
        path: the file.
        samples: how many x_train has as the user gave it, and x_validation after it where there is one.
        original_rows: where each sample of the train split was in it; None where none was drawn away.
        weight: relative to other teachers.

    Raises:
        UsageError: it cannot be read, or has another number of samples.
    """
    try:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"the teacher {path} cannot be read", str(error), "Save one array with numpy.save.") from None
    if len(stored) != samples:
        raise UsageError(
            f"the teacher {path} holds answers to {len(stored):,} samples, x_train has {samples:,}",
            remedy="Store an answer for every sample of x_train, in its order (and of x_validation after them).",
        )
    place = np.arange(samples) if original_rows is None else original_rows

    def answer(rows: Rows, _: list[Array]) -> list[Array]:
        return [np.asarray(stored[place[rows]], np.float32)]

    return Teacher(str(path), weight, None, answer, is_stored=True)


def of_callable(path: str, weight: float) -> Teacher:
    """What a module:callable returns: a Keras model, or any function of a batch.

    Raises:
        UsageError: it cannot be found.
        StepError: it failed, or returned neither.
    """
    try:
        result = load_callable(path)()
    except (UsageError, StepError):
        raise
    except Exception as error:
        raise StepError(
            f"the teacher {path} failed",
            f"{type(error).__name__}: {error}",
            "It is called without arguments, and returns a Keras model or a function of a batch.",
        ) from None
    if hasattr(result, "layers") and hasattr(result, "variables"):
        return of_model(result, path, weight)
    if callable(result):
        return of_function(result, path, weight)
    raise StepError(
        f"the teacher {path} returned {type(result).__name__}",
        remedy="Return a Keras model, or a function that takes a batch (one array for each input) and returns outputs.",
    )


def require_fit(teachers: Sequence[Teacher], *, augments: bool) -> None:
    """Refuse what cannot work: stored answers know nothing of changed samples; raises UsageError."""
    stored = [teacher.name for teacher in teachers if teacher.is_stored]
    if stored and augments:
        raise UsageError(
            f"the teacher {stored[0]} is stored answers, and [train] augment changes the samples",
            remedy="Leave one of them out, or name the network itself as the teacher.",
        )


def remembering(teacher: Teacher, shapes: Sequence[Sequence[int | None]], samples: int) -> Teacher:
    """The same teacher, that keeps its outputs for the samples of the train split; itself where they are too large.

    Args:
        teacher: one that computes its outputs in a TensorFlow graph.
        shapes: of its outputs, without the batch.
        samples: of the train split.
    """
    if teacher.in_graph is None or any(size is None for shape in shapes for size in shape):
        return teacher
    size_bytes = 4 * samples * sum(math.prod(size or 1 for size in shape) for shape in shapes)
    return teacher._replace(in_graph=None, outside=_Memory(teacher, samples)) if size_bytes <= _MOST_BYTES else teacher


class _Memory:
    """What a teacher made of each sample so far."""

    def __init__(self, teacher: Teacher, samples: int) -> None:
        self._call = Batchwise(teacher.in_graph or (lambda _: []), eager=SELDOM)
        self._is_known = np.zeros(samples, bool)
        self._outputs: list[Array] = []

    def __call__(self, rows: Rows, x: list[Any]) -> list[Array]:
        """Its outputs for rows of the train split with these samples."""
        new = ~self._is_known[rows]
        if new.any():
            found = [out.numpy() for out in self._call([tf.constant(array[new]) for array in x])]
            if not self._outputs:
                self._outputs = [np.zeros((len(self._is_known), *out.shape[1:]), out.dtype) for out in found]
            for kept, out in zip(self._outputs, found, strict=True):
                kept[rows[new]] = out
            self._is_known[rows[new]] = True
        return [kept[rows] for kept in self._outputs]
