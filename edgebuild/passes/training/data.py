"""The train split as a training uses it: rows to learn from and to choose by, in seeded batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from edgebuild.core.metric import Metric
from edgebuild.core.settings import Preprocess, TrainSettings
from edgebuild.data.given import Array
from edgebuild.data.samples import Joined, Samples
from edgebuild.data.scored import wanted
from edgebuild.errors import StepError
from edgebuild.metrics import load_callable, taught

Rows = npt.NDArray[np.intp]
_FEWEST = 2  # samples that can be divided
# What statistics are taken from: so many rows in all, fewer where they are large, and so many at a time.
_MOST_ROWS, _LEAST_ROWS, _MOST_VALUES = 2048, 128, 1 << 25
_ROWS_AT_ONCE = 256
# By statistics of so many networks are compared; those that are kept get the statistics of all that count.
ENOUGH_ROWS = 512
# To trace a pass through a network takes as long as so many calls take longer that are not traced.
SELDOM = 24


class TrainData:
    """Samples to learn from, with a validation part that is never learnt from.

    Args:
        folder: of the train split.
        preprocess: what is done to samples before a network sees them.
        dtypes: of the network's inputs, in order.
        train: sizes, and the function that changes batches.
        seed: of the drawing of the validation part, of every order and of augmentation.
        metric: tells what is learnt: labels, or the input.
        validation: the folder of samples that were given to choose by; None to keep a share of train for that.

    Raises:
        StepError: there are too few samples.
        UsageError: the augmenting function cannot be found.
    """

    def __init__(
        self,
        folder: Path,
        preprocess: Preprocess,
        dtypes: list[np.dtype[np.generic]],
        train: TrainSettings,
        seed: int,
        metric: Metric,
        validation: Path | None = None,
    ) -> None:
        self._metric = metric
        self._samples = Samples(folder, preprocess)
        self._dtypes = dtypes
        self._seed = seed
        self.rows: Rows
        self.validation: Rows
        self._augment = load_callable(train.augment) if train.augment else None
        self.batch_size = train.batch_size
        count = len(self._samples)
        if count < _FEWEST:
            raise StepError(f"{count} train samples are too few to train with", remedy="Give more x_train.")
        if validation is not None:
            self._samples = Joined(self._samples, Samples(validation, preprocess))
            self.validation, self.rows = np.arange(count, len(self._samples)), np.arange(count)
            return
        kept = min(max(1, round(train.validation_share * count)), count - 1)
        order = np.random.default_rng(seed).permutation(count)
        self.validation = np.sort(order[:kept])
        self.rows = np.sort(order[kept:])

    def __len__(self) -> int:
        """All samples, those to learn from and those to choose by."""
        return len(self._samples)

    @property
    def augments(self) -> bool:
        """Whether a batch differs each time it is drawn."""
        return self._augment is not None

    @property
    def has_answers(self) -> bool:
        """Whether there are labels to learn from."""
        return bool(self._metric.target) or self._samples.y is not None

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one pass over the rows."""
        return max(1, -(-len(self.rows) // self.batch_size))

    def shuffled(self) -> Iterator[tuple[Rows, list[Array]]]:
        """Endless batches of the rows with their samples, every row once an epoch, the same sequence each time."""
        rng = np.random.default_rng([self._seed, 1])
        while True:
            order = rng.permutation(self.rows)
            for start in range(0, len(order), self.batch_size):
                rows = order[start : start + self.batch_size]
                yield rows, self._changed(self.take(rows), rng)

    def in_order(self, rows: Rows) -> Iterator[tuple[Rows, list[Array]]]:
        """Batches of the given rows, unchanged."""
        for start in range(0, len(rows), self.batch_size):
            some = rows[start : start + self.batch_size]
            yield some, self.take(some)

    def sample(self, most: int | None = None) -> Iterator[list[Array]]:
        """Batches of some of the rows to learn from, the same each time: what statistics are taken from."""
        values = sum(array.size for array in self.take(self.rows[:1]))
        count = max(_LEAST_ROWS, min(most or _MOST_ROWS, _MOST_VALUES // max(1, values)))
        some = np.sort(np.random.default_rng([self._seed, 3]).permutation(self.rows)[:count])
        # Whole batches alone, where there is one: each shape of a batch is traced by itself.
        for start in range(0, max(1, len(some) - _ROWS_AT_ONCE + 1), _ROWS_AT_ONCE):
            yield self.take(some[start : start + _ROWS_AT_ONCE])

    def take(self, rows: Rows) -> list[Array]:
        """Samples at the given positions, one array for each input."""
        return self._samples.take(rows, self._dtypes)

    def answers(self, rows: Rows) -> Array | None:
        """The labels at the given positions, as they were given."""
        return wanted(self._samples, self._metric, rows)

    def taught(self, rows: Rows) -> Array | None:
        """The same as losses take them: 0 and 1 where others stand for no and yes."""
        found = self.answers(rows)
        return None if found is None else taught(found, self._metric)

    def _changed(self, arrays: list[Array], rng: np.random.Generator) -> list[Array]:
        if self._augment is None:
            return arrays
        first = _call(self._augment, arrays[0], rng)
        if first.shape != arrays[0].shape:
            raise StepError(
                f"[train] augment returned the shape {first.shape} for {arrays[0].shape}",
                remedy="It must return a batch of the same shape.",
            )
        return [np.ascontiguousarray(first, self._dtypes[0]), *arrays[1:]]


def _call(function: Any, x: Array, rng: np.random.Generator) -> Array:
    try:
        return np.asarray(function(x, rng))
    except Exception as error:
        raise StepError("[train] augment failed", f"{type(error).__name__}: {error}") from None


class Batchwise:
    """A function of tensors with the batch along their first axis.

    The last batch of an epoch is smaller: traced by its shape a step of training would cost its seconds twice.

    Args:
        function: takes tensors, lists of them, and None.
        eager: so many calls are not traced.
    """

    def __init__(self, function: Callable[..., Any], eager: int = 0) -> None:
        self._eager, self._calls = function, eager
        self._traced: Any = None

    def __call__(self, *arguments: Any) -> Any:
        """What the function returns."""
        if self._calls > 0:
            self._calls -= 1
            return self._eager(*arguments)
        if self._traced is None:
            self._traced = tf.function(self._eager, autograph=False)
            self._traced.get_concrete_function(*tf.nest.map_structure(_of_any_size, arguments))
        return self._traced(*arguments)


def _of_any_size(tensor: Any) -> Any:
    return None if tensor is None else tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype)
