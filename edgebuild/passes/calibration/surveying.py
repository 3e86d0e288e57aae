"""What the values of tensors are like in the float network, and how much each matters to its outputs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from edgebuild.passes.calibration.drawing import Drawn
from edgebuild.passes.calibration.grid import Array
from edgebuild.passes.calibration.points import Plan
from edgebuild.passes.graph.running import Pool, Runner

_Ends = Mapping[int, tuple[float, float]]
Bins = npt.NDArray[np.intp]
BINS = 8192  # so many that of a grid of 256 values the rounding shows, too: 32 to a step
_Batch = Sequence[Array]  # an array for each input, [samples, ...]
Shown = Mapping[int, Array]  # by the numbers of points, [samples, ...]


class Survey(NamedTuple):
    """What the samples have shown.

    Attributes:
        chosen: the least and the largest value of each point, and 0, on the samples that ranges are chosen by.
        judged: the same on those that judge the choice.
        outputs: of these what goes into each output before a softmax.
        sizes: the root of the mean power of that on the samples chosen by.
    """

    chosen: _Ends
    judged: _Ends
    outputs: list[Array]
    sizes: tuple[float, ...]


def survey(plan: Plan, drawn: Drawn, pool: Pool) -> Survey:
    """Run the float network on all samples, each of them once."""
    runner = Runner(plan.graph, {*plan.points, *plan.logits}, pool, keeps=False)
    chosen, outputs = _shown(plan, runner, drawn.chosen_by)
    judged, judged_outputs = _shown(plan, runner, drawn.judged_by)
    powers = [float(np.square(array, dtype=np.float64).mean()) for array in outputs]
    return Survey(chosen, judged, judged_outputs, tuple(math.sqrt(power) or 1.0 for power in powers))


def _shown(plan: Plan, runner: Runner, batches: Iterable[Sequence[Array]]) -> tuple[_Ends, list[Array]]:
    found = dict.fromkeys(plan.points, (0.0, 0.0))
    outputs: dict[int, list[Array]] = {tensor: [] for tensor in plan.logits}
    for batch in batches:
        for tensor, value in runner.tensors(batch):
            if tensor in found or tensor in outputs:
                array = value.numpy()
                if tensor in found:
                    low, high = found[tensor]
                    found[tensor] = min(low, float(array.min())), max(high, float(array.max()))
                if tensor in outputs:
                    outputs[tensor].append(array)
    return found, [np.concatenate(outputs[tensor]) for tensor in plan.logits]


class Histogram(NamedTuple):
    """The values of a tensor other than 0, in bins of one width.

    Attributes:
        low: the least value, at most 0.
        high: the largest, at least 0.
        counts: how many values lie in each of the bins between them.
        weights: what errors of them matter: the sum over them of the squared gradient of the answers.
        zeros: how many values are 0, which all grids hold.
        slopes: for each sample and projection the sum of the gradients of the values in each bin, float32 [n, bins].
    """

    low: float
    high: float
    counts: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64]
    zeros: int
    slopes: npt.NDArray[np.float32] = np.zeros((0, 1), np.float32)

    @property
    def centers(self) -> npt.NDArray[np.float64]:
        """The value in the middle of each bin."""
        width = (self.high - self.low) / self.counts.size
        return self.low + width * (np.arange(self.counts.size, dtype=np.float64) + 0.5)


def observe(probe: Probe, ends: _Ends, batches: Iterable[_Batch], *, weighed: bool) -> dict[int, Histogram]:
    """Histograms of all points of a network that have values other than 0.

    Args:
        probe: the network.
        ends: the least and the largest value of each point, and 0, which no value of these batches exceeds.
        batches: arrays for the inputs, gone through once.
        weighed: whether gradients are taken as well.
    """
    found = {point: _empty(*pair) for point, pair in ends.items() if _has_width(*pair)}
    slopes: dict[int, list[npt.NDArray[np.float32]]] = {point: [] for point in found}
    for batch in batches:
        values, gradients = probe.gradients(batch) if weighed else (probe.values(batch), [])
        for point, histogram in found.items():
            bins = _bins(histogram, values[point])
            found[point] = _with_counts(histogram, values[point], bins)
            for each in gradients:
                free: Array = np.where(values[point] != 0, each[point], np.float32(0))
                found[point] = _with_weights(found[point], free, bins)
                slopes[point].append(_slopes(free, bins))
    return {
        point: one._replace(slopes=np.concatenate(slopes[point])) if slopes[point] else one
        for point, one in found.items()
    }


def _has_width(low: float, high: float) -> bool:
    return high > low and math.isfinite(high - low)


def _empty(low: float, high: float) -> Histogram:
    return Histogram(low, high, np.zeros(BINS), np.zeros(BINS), 0)


def _with_counts(histogram: Histogram, values: Array, bins: Bins) -> Histogram:
    counts = histogram.counts + np.bincount(bins.ravel(), minlength=BINS)
    zeros = values.size - int(np.count_nonzero(values))
    counts[_bins(histogram, np.zeros(1, np.float32))] -= zeros
    return histogram._replace(counts=counts, zeros=histogram.zeros + zeros)


def _with_weights(histogram: Histogram, gradients: Array, bins: Bins) -> Histogram:
    weights = np.bincount(bins.ravel(), np.square(gradients.ravel()), BINS)
    return histogram._replace(weights=histogram.weights + weights)


def _slopes(gradients: Array, bins: Bins) -> npt.NDArray[np.float32]:
    """The sums of gradients by sample and bin."""
    samples = len(gradients)
    rows = bins.reshape(samples, -1) + BINS * np.arange(samples, dtype=bins.dtype)[:, None]
    sums = np.bincount(rows.ravel(), gradients.ravel(), BINS * samples)
    return sums.reshape(samples, BINS).astype(np.float32)


def _bins(histogram: Histogram, values: Array) -> Bins:
    per_bin = np.float32((histogram.high - histogram.low) / BINS)
    found: Bins = np.clip((values - np.float32(histogram.low)) / per_bin, 0, BINS - 1).astype(np.intp)
    return found


class Probe:
    """Runs a plan's graph.

    How much a value matters is the gradient of a random projection of the answers onto +1 and -1: its mean square is
    the squared norm of the value's column of the Jacobian (Hutchinson 1990, "A stochastic estimator of the trace of the
    influence matrix"). Answers are taken before a softmax, each output scaled to a power of 1.

    Args:
        plan: the network with its points.
        sizes: of what goes into each output, as a survey has them.
        projections: for each sample.
        seed: of the projections; each time the gradients of the same batches are asked for they are others.
        pool: of layers.
    """

    def __init__(self, plan: Plan, sizes: Sequence[float], *, projections: int, seed: int, pool: Pool) -> None:
        self.points, self._logits = plan.points, plan.logits
        self._runner = Runner(plan.graph, tuple(dict.fromkeys((*plan.points, *plan.logits))), pool)
        self.projections = projections
        self._random = np.random.default_rng(seed)
        self._sizes = sizes

    def values(self, batch: _Batch) -> Shown:
        """The points."""
        found = {tensor: value for tensor, value in self._runner.tensors(batch) if tensor in self.points}
        return {point: found[point].numpy() for point in self.points}

    def gradients(self, batch: _Batch) -> tuple[Shown, list[Shown]]:
        """The points, and their gradients for each projection."""
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            found = {}
            for tensor, value in self._runner.tensors(batch, at=partial(_watched, tape)):
                found[tensor] = value
            answers = [found[tensor] for tensor in self._logits]
            totals = [self._projected(answers) for _ in range(self.projections)]
        values = [found[point] for point in self.points]
        zero = tf.UnconnectedGradients.ZERO
        gradients = [tape.gradient(total, values, unconnected_gradients=zero) for total in totals]
        return self._by_point(values), [self._by_point(each) for each in gradients]

    def _projected(self, answers: Sequence[Any]) -> Any:
        signs = [self._random.choice(np.array([-1, 1], np.float32), answer.shape) for answer in answers]
        parts = zip(answers, signs, self._sizes, strict=True)
        return tf.add_n([tf.reduce_sum(answer * (by / np.float32(size))) for answer, by, size in parts])

    def _by_point(self, tensors: Sequence[Any]) -> Shown:
        return {point: tensor.numpy() for point, tensor in zip(self.points, tensors, strict=True)}


def _watched(tape: Any, tensor: int, value: Any) -> Any:
    """Watch what is watched nowhere else: the inputs, of which all that follows is made."""
    del tensor
    if value.dtype.is_floating:
        tape.watch(value)
    return value
