"""What the lint looks at: a bounded part of each split, and the network as far as checks need it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from edgebuild.core.model import TensorSpec
from edgebuild.core.settings import Preprocess
from edgebuild.data.given import Array
from edgebuild.data.samples import Samples

_FED_ROWS = 1000
_FED_BYTES = 128_000_000
_READ_BYTES = 512_000_000
_READ_ROWS = 100_000
_CHUNK = 256


class Norm(NamedTuple):
    """A batch norm: its moving statistics, and the statistics of what it sees, each [channels]."""

    moving_mean: Array
    moving_variance: Array
    mean: Array
    variance: Array


class View(Protocol):
    """A network that can be shown samples; arrays as it is fed them, one for each input."""

    def norms(self, x: Sequence[Array]) -> tuple[Norm, ...]:
        """The batch norms that no other one comes before, with what they see of the samples."""

    def answers(self, x: Sequence[Array]) -> Array:
        """The outputs, flattened: [samples, values]."""


class Part(NamedTuple):
    """What is looked at of a split.

    Attributes:
        split: its name, for people.
        total: the number of all its samples.
        x: some of them, spread evenly, as the network is fed them: one array for each input.
        digests: of the contents of the samples as they were given; of all where reading them takes little.
        y: all answers, or None.
        rows: the positions of those in `x`.
    """

    split: str
    total: int
    x: tuple[Array, ...]
    digests: tuple[bytes, ...]
    y: Array | None = None
    rows: npt.NDArray[np.intp] | None = None


class Subject(NamedTuple):
    """A build's data and network.

    Attributes:
        calibration: None where nothing is calibrated with.
        evaluation: None where there is none.
        train: all that may be learnt from, what was drawn from it for calibration too; None where there is none.
        view: None where the network cannot be looked into.
        inputs: the network's, in order.
        preprocess: what was done to the samples.
        classes: the number of the scored output's classes; 0 where the metric compares no classes.
        labels: names of the classes.
        counts_hits: whether the metric counts right answers, which favours frequent classes.
        hits: how many evaluation samples the float network answers right; None where that is not known.
        threshold: above which a single output means the second of two classes.
        is_int8: whether activations are quantized to 8 bits.
    """

    calibration: Part | None
    evaluation: Part | None
    train: Part | None
    view: View | None
    inputs: tuple[TensorSpec, ...]
    preprocess: Preprocess
    classes: int = 0
    labels: tuple[str, ...] = ()
    counts_hits: bool = True
    hits: int | None = None
    threshold: float = 0.5
    is_int8: bool = False

    @property
    def parts(self) -> tuple[Part, ...]:
        """The splits that there are."""
        return tuple(part for part in (self.calibration, self.evaluation, self.train) if part is not None)

    def reference(self, part: Part) -> Part | None:
        """The split that another is compared with: train, else evaluation; None where it is this one or is absent."""
        found = self.train if self.train is not None else self.evaluation
        return None if found is part else found


def part_of(split: str, samples: Samples, inputs: Sequence[TensorSpec]) -> Part:
    """Look at a split in bounded memory.

    Raises:
        UsageError: the preprocessing does not fit the samples.
    """
    dtypes = [np.dtype(spec.dtype) for spec in inputs]
    one = sum(array.nbytes for array in samples.batch(0, 1, dtypes))
    fed = _spread(len(samples), min(_FED_ROWS, _FED_BYTES // max(one, 1)))
    x = samples.take(fed, dtypes)
    rows = _spread(len(samples), min(_READ_ROWS, _READ_BYTES // max(one, 1)))
    y = None if samples.y is None else np.asarray(samples.y)
    return Part(split, len(samples), tuple(x), _digests(samples, rows, dtypes), y, fed)


def _digests(samples: Samples, rows: npt.NDArray[np.intp], dtypes: list[np.dtype[np.generic]]) -> tuple[bytes, ...]:
    """A digest of each row, as the network is fed it: the same sample in another type is the same."""
    found: list[bytes] = []
    for start in range(0, len(rows), _CHUNK):
        arrays = samples.take(rows[start : start + _CHUNK], dtypes)
        found += [
            hashlib.blake2b(b"".join(row.tobytes() for row in sample), digest_size=16).digest()
            for sample in zip(*arrays, strict=True)
        ]
    return tuple(found)


def _spread(total: int, count: int) -> npt.NDArray[np.intp]:
    """At most `count` positions, from all over."""
    return np.unique(np.linspace(0, total - 1, max(1, min(total, count))).round().astype(np.intp))
