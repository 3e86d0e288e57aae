"""Integers with the least error under a quadratic measure: rounding in which each element makes up for the ones before.

A kernel of one output channel is a vector w, the integers times their step one of a lattice, and the measure
(q * step - w)' H (q * step - w) with H = X'X over the inputs X, so that it is the error of what the layer makes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

MOST = 127
_BLOCK = 64


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
