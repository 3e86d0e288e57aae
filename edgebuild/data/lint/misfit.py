"""How far samples are from what a network or another split expects, in numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from edgebuild.data.given import Array
from edgebuild.data.lint.subject import Norm

# A moving average starts at mean 0 and variance 1; after a short training it has come this part of the way.
_WAYS = np.linspace(1.0, 0.3, 15)
_TINY = 1e-12


class Apart(NamedTuple):
    """What differs most between samples and others.

    Attributes:
        place: the input's.
        channel: of the input.
        figure: "mean" or "deviation".
        given: what it is.
        wanted: what it is of the other samples.
    """

    place: int
    channel: int
    figure: str
    given: float
    wanted: float


def of_norms(norms: Iterable[Norm]) -> float:
    """How far what batch norms see is from what they saw in training.

    Returns:
        The larger of two medians over channels, of the worst norm: by how many deviations means are off, and by how
        many powers of two deviations are. 1 is far: a range of -1..1 in place of 0..1 doubles the deviation.
    """
    return max((min(_at(norm, way) for way in _WAYS) for norm in norms), default=0.0)


def of_channels(given: Sequence[Array], wanted: Sequence[Array]) -> float:
    """The same of channels (the last axis) of samples against those of other samples, for the worst input.

    What differs by chance, since samples are few, is taken off.
    """
    return max(_of_channels(one, other) for one, other in zip(given, wanted, strict=True))


def furthest(given: Sequence[Array], wanted: Sequence[Array]) -> Apart:
    """The figure by which `of_channels` finds samples furthest from others, with the channel where it differs most."""
    pairs = list(zip(given, wanted, strict=True))
    place = int(np.argmax([_of_channels(one, other) for one, other in pairs]))
    known, shift, factor = _by_channel(*pairs[place])
    by_mean = np.median(shift) >= np.median(factor)
    channel = int(np.flatnonzero(known)[np.argmax(shift if by_mean else factor)])
    (mean, variance, _), (right, spread, _) = (_channels(array) for array in pairs[place])
    if by_mean:
        return Apart(place, channel, "mean", float(mean[channel]), float(right[channel]))
    return Apart(place, channel, "deviation", float(np.sqrt(variance[channel])), float(np.sqrt(spread[channel])))


def of_places(given: Sequence[Array], wanted: Sequence[Array]) -> float:
    """How far the mean sample is from that of other samples, value by value.

    Returns:
        The root mean square difference in units of what it comes to between random choices from the same samples.
    """
    squares = [_of_places(one, other) for one, other in zip(given, wanted, strict=True)]
    chance = 1 / len(given[0]) + 1 / len(wanted[0])
    return float(np.sqrt(np.mean(squares) / chance))


def _at(norm: Norm, way: float) -> float:
    """The misfit of a norm whose moving statistics have come that part of the way to those of the training data."""
    known = norm.moving_variance > _TINY
    if not known.any():
        return 0.0
    mean, variance = norm.mean[known] * way, norm.variance[known] * way + (1 - way)
    shift = np.abs(mean - norm.moving_mean[known]) / np.sqrt(norm.moving_variance[known])
    return _larger(shift, np.abs(np.log2(np.maximum(variance, _TINY) / norm.moving_variance[known])) / 2)


def _of_channels(given: Array, wanted: Array) -> float:
    known, shift, factor = _by_channel(given, wanted)
    return _larger(shift, factor) if known.any() else 0.0


def _by_channel(given: Array, wanted: Array) -> tuple[Array, Array, Array]:
    """Which channels vary, and by how much the means and the deviations of these are off."""
    (mean, variance, _), (right, spread, between) = _channels(given), _channels(wanted)
    known = spread > _TINY
    chance = 4 * np.sqrt(between / len(given) / np.where(known, spread, 1))
    shift = np.abs(mean - right)[known] / np.sqrt(spread[known]) - chance[known]
    factor = np.abs(np.log2(np.maximum(variance, _TINY)[known] / spread[known])) / 2
    return known, shift, factor - 2 / np.sqrt(len(given))


def _channels(x: Array) -> tuple[Array, Array, Array]:
    """Mean and variance of each channel, and the variance of its mean from sample to sample."""
    rows = x.reshape(len(x), -1, x.shape[-1] if x.ndim > 1 else 1)
    means = rows.mean(axis=1, dtype=np.float64)
    center = means.mean(axis=0)
    squares = np.square(rows - center.astype(rows.dtype if rows.dtype.kind == "f" else np.float64))
    return center, squares.mean(axis=(0, 1), dtype=np.float64), means.var(axis=0)


def _of_places(given: Array, wanted: Array) -> float:
    spread = float(wanted.var(axis=0, dtype=np.float64).sum())
    difference = given.mean(axis=0, dtype=np.float64) - wanted.mean(axis=0, dtype=np.float64)
    return float(np.square(difference).sum()) / max(spread, _TINY)


def _larger(shift: Array, factor: Array) -> float:
    return max(float(np.median(shift)), float(np.median(factor)))
