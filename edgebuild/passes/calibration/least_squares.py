"""Kernels with the least error under a quadratic measure: the Gram matrix of a layer's inputs, and integers by it.

A kernel of one output channel is a vector w, the integers times their step one of a lattice, and the measure
(q * step - w)' H (q * step - w) with H = X'X over the inputs X, so that it is the error of what the layer makes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgebuild.passes.calibration.patches import Rows

Array = npt.NDArray[Any]

# Of the diagonal: a thousandth hardly holds a correction back, all of it halves what is well known.
_DAMPINGS = (1e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
_WIDE_DAMPINGS = (3e-2, 0.3)  # for the time that solving takes
_HELD_OUT = 4  # one of so many samples
_LEAST_SAMPLES = 8  # with fewer there is no evidence for a correction
_WORTH = 0.98  # of the error that is left without
_ITERATIONS = 32
_PRECISE_UP_TO = 1024  # wider Gram matrices are of float32, for the time they take
_SOLVED_PRECISELY_UP_TO = 128
_TINY = 1e-6
_CHUNK = 1024  # rows whose products are summed in float32
MOST = 127
_BLOCK = 64


class Moments(NamedTuple):
    """What rows come to, so that nothing has to go through them again.

    Attributes:
        gram: X'X of the given rows by group, [groups, K, K]; float64 unless K is large.
        product: X'd of the given rows and of what is missing from the outputs that they make, [groups, K, channels].
        energy: d'd, the sum over all groups and channels.
    """

    gram: Array
    product: Array
    energy: float

    def left(self, change: Array) -> float:
        """The energy of what is missing after a change of the kernel."""
        gained = (change * (2 * self.product - self.gram @ change)).sum(dtype=np.float64)
        return self.energy - float(gained)


def moments(given: Array, missing: Array) -> Moments:
    """Of rows [groups, n, K] and of what is missing from their outputs, [groups, n, channels]."""
    product = np.swapaxes(given, 1, 2) @ missing
    energy = float(np.square(missing, dtype=np.float64).sum())
    matrix = gram(given)
    return Moments(matrix, product.astype(matrix.dtype), energy)


def gram(rows: Array) -> Array:
    """X'X by group, [groups, K, K], of rows X [groups, n, K]: products in float32, their sums in parts in float64.

    The result is float64 unless K is large.
    """
    groups, count, width = rows.shape
    dtype = np.float64 if width <= _PRECISE_UP_TO else np.float32
    total: Array = np.zeros((groups, width, width), dtype)
    for start in range(0, count, _CHUNK):
        values = rows[:, start : start + _CHUNK]
        total += np.swapaxes(values, 1, 2) @ values
    return total


def damped(matrix: Array, damping: float) -> Array:
    """A Gram matrix with a share of its diagonal added, and a little where that is 0: positive definite.

    A share of each input's own energy, not of the mean: so nothing depends on the units of the inputs.
    """
    diagonal = np.einsum("gkk->gk", matrix)
    floor = _TINY * diagonal.mean(1, keepdims=True)
    extra = damping * diagonal + np.where(floor > 0, floor, 1)
    result = matrix.copy()
    np.einsum("gkk->gk", result)[...] += extra
    return result


def corrected(rows: Rows, kernel: Array, *, centred: bool, seed: int) -> tuple[Array, Array]:
    """A kernel that makes of the given inputs more nearly what `kernel` makes of the exact ones; its zeros stay.

    Least squares, damped towards the kernel. How much is chosen on samples that were held out; where none of the
    dampings is worth while on those the kernel comes back as it is. Beside it comes the Gram matrix of the given rows.

    Args:
        rows: of both networks.
        kernel: [groups, K, channels].
        centred: whether a difference of means does not matter, since the bias can take it.
        seed: of the samples held out.
    """
    given, missing = rows.given, (rows.exact - rows.given) @ kernel
    if centred:
        given, missing = centre(given), centre(missing)
    samples = np.unique(rows.samples)
    if len(samples) < _LEAST_SAMPLES or not missing.any():
        return kernel, gram(given)
    out = np.random.default_rng(seed).choice(samples, len(samples) // _HELD_OUT, replace=False)
    is_out = np.isin(rows.samples, out)
    held, kept = (moments(given[:, part], missing[:, part]) for part in (is_out, ~is_out))
    whole = Moments(held.gram + kept.gram, held.product + kept.product, held.energy + kept.energy)
    damping = _chosen(kept, held, kernel != 0)
    if damping is None:
        return kernel, whole.gram
    return kernel + _solution(whole.gram, whole.product, kernel != 0, damping), whole.gram


def centre(rows: Array) -> Array:
    """Rows [groups, n, K] without their mean."""
    return np.asarray(rows - rows.mean(1, keepdims=True))


def _chosen(kept: Moments, held: Moments, free: Array) -> float | None:
    """The damping with the least error on what was held out, if any is worth while."""
    least, best = _WORTH * held.energy, None
    for damping in _DAMPINGS if kept.gram.shape[1] <= _PRECISE_UP_TO else _WIDE_DAMPINGS:
        left = held.left(_solution(kept.gram, kept.product, free, damping))
        if left < least:
            least, best = left, damping
    return best


def _solution(matrix: Array, product: Array, free: Array, damping: float) -> Array:
    """The change of a kernel with the least damped error among those that change its free elements alone."""
    if free.all():
        # Damped by a thousandth a system is known to some four digits in float32, in half the time.
        single = matrix.shape[1] > _SOLVED_PRECISELY_UP_TO
        dtype = np.float32 if single else matrix.dtype
        return np.linalg.solve(damped(matrix, damping).astype(dtype, copy=False), product.astype(dtype, copy=False))
    return _conjugate_gradients(damped(matrix, damping), np.where(free, product, 0), free)


def _conjugate_gradients(matrix: Array, product: Array, free: Array) -> Array:
    """Solve for the free elements of each channel, which differ from channel to channel, by its own system.

    Conjugate gradients with the diagonal as preconditioner (Hestenes and Stiefel 1952); stopping early damps as well.
    """
    diagonal = np.einsum("gkk->gk", matrix)[:, :, None]
    result: Array = np.zeros_like(product)
    left = product.copy()
    direction = left / diagonal
    energy = (left * direction).sum(1, keepdims=True)
    for _ in range(_ITERATIONS):
        image = np.where(free, matrix @ direction, 0)
        curvature = (direction * image).sum(1, keepdims=True)
        step = np.divide(energy, curvature, out=np.zeros_like(energy), where=curvature > 0)
        result += step * direction
        left -= step * image
        scaled = left / diagonal
        fresh = (left * scaled).sum(1, keepdims=True)
        direction = scaled + np.divide(fresh, energy, out=np.zeros_like(energy), where=energy > 0) * direction
        energy = fresh
    return result


class Held(NamedTuple):
    """Elements that have their integer already, both [groups, K, channels]: where, and which integer."""

    mask: Array
    integers: Array


def nearest(target: Array, held: Held) -> Array:
    """Integers by rounding each by itself; arguments as for `rounded`."""
    return np.where(held.mask, held.integers, np.clip(np.rint(target), -MOST, MOST))


def rounded(target: Array, gram: Array, held: Held) -> Array:
    """Integers from -127 to 127 near a target, rounded one row after the other.

    GPTQ (Frantar et al. 2023, "GPTQ: Accurate post-training quantization for generative pre-trained transformers",
    section 3), rows with the largest diagonal first. It is done with the Cholesky factor of the Gram matrix itself and
    not of its inverse, which comes to the same: Babai's nearest plane (Chen et al. 2025, "The geometry of LLM
    quantization: GPTQ as Babai's nearest plane algorithm", arXiv 2507.18553).

    Args:
        target: float [groups, K, channels], in steps.
        gram: positive definite [groups, K, K].
        held: left as they are; the others make up for what that costs.
    """
    order = np.argsort(np.einsum("gkk->gk", gram), axis=1, kind="stable")  # from the last to the first
    rows = order[:, :, None]
    wanted, mask, fixed = (np.take_along_axis(array, rows, 1) for array in (target, *held))
    ordered = gram[np.arange(len(gram))[:, None, None], rows, order[:, None, :]]
    factor = np.swapaxes(np.linalg.cholesky(ordered), 1, 2)
    factor = factor / np.einsum("gkk->gk", factor)[:, :, None]
    missing: Array = np.zeros_like(wanted)  # target minus integers, where they are known
    integers: Array = np.zeros_like(wanted)
    for stop in range(wanted.shape[1], 0, -_BLOCK):
        start = max(0, stop - _BLOCK)
        behind = wanted[:, start:stop] + factor[:, start:stop, stop:] @ missing[:, stop:]
        for row in range(stop - 1, start - 1, -1):
            within = factor[:, row, None, row + 1 : stop] @ missing[:, row + 1 : stop]
            free = np.clip(np.rint(behind[:, row - start] + within[:, 0]), -MOST, MOST)
            integers[:, row] = np.where(mask[:, row], fixed[:, row], free)
            missing[:, row] = wanted[:, row] - integers[:, row]
    result: Array = np.empty_like(integers)
    np.put_along_axis(result, rows, integers, 1)
    return result


def polished(integers: Array, target: Array, gram: Array, held: Held, sweeps: int = 8) -> Array:
    """Integers of which no single one can be changed for a lower error, or nearly so: coordinate descent in sweeps.

    Arguments as for `rounded`, and how many sweeps at most; the error is never higher than before.
    """
    integers = integers.copy()
    slope = gram @ (integers - target)
    diagonal = np.einsum("gkk->gk", gram)
    for _ in range(sweeps):
        before = integers.copy()
        for start in range(0, integers.shape[1], _BLOCK):
            block = slice(start, min(start + _BLOCK, integers.shape[1]))
            old, inner = integers[:, block].copy(), slope[:, block].copy()
            for row in range(block.start, block.stop):
                best = np.rint(integers[:, row] - inner[:, row - start] / diagonal[:, row, None])
                change = np.where(held.mask[:, row], 0, np.clip(best, -MOST, MOST) - integers[:, row])
                if change.any():
                    integers[:, row] += change
                    inner += gram[:, block, row, None] * change[:, None]
            slope += gram[:, :, block] @ (integers[:, block] - old)
        if np.array_equal(before, integers):
            break
    return integers


def error(difference: Array, gram: Array) -> Array:
    """The measure of differences [groups, K, channels] by channel, [groups, channels], float64.

    A Gram matrix without correlations may be given as its diagonal, [groups, K, 1].
    """
    image = gram * difference if gram.shape[2] == 1 else gram @ difference
    return np.asarray(np.einsum("gkc,gkc->gc", difference, image, dtype=np.float64))
