"""What may have gone wrong with samples, each as the change that would put it right, and how far off they are."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from edgebuild.core.finding import Code
from edgebuild.core.model import TensorSpec
from edgebuild.core.settings import Preprocess
from edgebuild.data.given import Array
from edgebuild.data.lint.subject import Norm

# What images and sounds are commonly scaled by: x * scale + offset.
_SCALES = (
    (1 / 255, 0.0),
    (255.0, 0.0),
    (1 / 127.5, -1.0),
    (127.5, 127.5),
    (2.0, -1.0),
    (0.5, 0.5),
    (1 / 32768, 0.0),
    (32768.0, 0.0),
)
_MOST_AXES = 4  # whose orders are tried
# A moving average starts at mean 0 and variance 1; after a short training it has come this part of the way.
_WAYS = np.linspace(1.0, 0.3, 15)
_TINY = 1e-12


class Change(NamedTuple):
    """A change of samples.

    Attributes:
        code: of the fault that it mends.
        words: what it does, to be read after "they fit": "with the inputs a and b exchanged".
        remedy: what the user can do.
        apply: from the arrays of all inputs to those of all inputs, of the same shapes.
    """

    code: Code
    words: str
    remedy: str
    apply: Callable[[Sequence[Array]], tuple[Array, ...]]


def arrangements(inputs: Sequence[TensorSpec]) -> Iterator[Change]:
    """Inputs exchanged; axes exchanged, or reshaped where they had to be transposed."""
    for one, other in itertools.combinations(range(len(inputs)), 2):
        if inputs[one].shape == inputs[other].shape:
            names = f"{inputs[one].name} and {inputs[other].name}"
            yield Change(
                Code.INPUT_ORDER,
                f"with the inputs {names} exchanged",
                f"Exchange the arrays of {names}: the network takes "
                f"{', '.join(spec.name for spec in inputs)} in this order.",
                partial(_exchanged, one=one, other=other),
            )
    for place, spec in enumerate(inputs):
        of = f" of {spec.name}" if len(inputs) > 1 else ""
        shape = spec.shape[1:]
        for order in _orders(shape):
            given = tuple(shape[axis] for axis in order)
            back = tuple(1 + order.index(axis) for axis in range(len(shape)))
            remedy = f"Change the order of the axes{of}: np.transpose(x, {(0, *back)})."
            if given != shape:
                remedy = (
                    f"They are {_by(given)}{of}, and reshape mixes them up: in its place use "
                    f"np.transpose(x, {(0, *back)})."
                )
            yield Change(
                Code.LAYOUT,
                f"when their axes{of} are taken to be {_by(given)}, and exchanged",
                remedy,
                partial(_transposed, place=place, given=given, axes=(0, *back)),
            )


def scalings(inputs: Sequence[TensorSpec], preprocess: Preprocess) -> Iterator[Change]:
    """Values in a range that is a common one, and not the network's."""
    floats = [np.dtype(spec.dtype).kind == "f" for spec in inputs]
    for scale, offset in _SCALES if any(floats) else ():
        sign = "-" if offset < 0 else "+"
        words = f"times {scale:.4g}" + (f" {sign} {abs(offset):.4g}" if offset else "")
        yield Change(
            Code.NORMALIZATION,
            f"when they are taken {words}",
            _setting(preprocess, scale, offset),
            partial(_scaled, floats=floats, scale=scale, offset=offset),
        )


def _setting(preprocess: Preprocess, scale: float, offset: float) -> str:
    """The settings that do a change in addition to what is done: ((x - m) * s) * scale + offset."""
    whole = np.asarray(preprocess.scale) * scale
    mean = np.asarray(preprocess.mean) - offset / whole
    return f"Set [preprocess] scale = {_number(whole)} and mean = {_number(mean)}."


def _number(value: Array) -> str:
    if value.ndim:
        return f"[{', '.join(f'{item:.6g}' for item in value.tolist())}]"
    return f"{float(value) + 0.0:.6g}"


def _orders(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The orders of axes in which values stand elsewhere; axes of size 1 make no difference."""
    if len(shape) > _MOST_AXES:
        return []
    found: dict[tuple[int, ...], tuple[int, ...]] = {}
    for order in itertools.permutations(range(len(shape))):
        found.setdefault(tuple(axis for axis in order if shape[axis] > 1), order)
    return list(found.values())[1:]


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _exchanged(x: Sequence[Array], one: int, other: int) -> tuple[Array, ...]:
    arrays = list(x)
    arrays[one], arrays[other] = arrays[other], arrays[one]
    return tuple(arrays)


def _transposed(x: Sequence[Array], place: int, given: tuple[int, ...], axes: tuple[int, ...]) -> tuple[Array, ...]:
    """With the axes of one input, which are taken to be of the shape `given`, in another order."""
    return (*x[:place], np.transpose(x[place].reshape(-1, *given), axes), *x[place + 1 :])


def _scaled(x: Sequence[Array], floats: Sequence[bool], scale: float, offset: float) -> tuple[Array, ...]:
    return tuple(
        array * np.float32(scale) + np.float32(offset) if is_float else array
        for array, is_float in zip(x, floats, strict=True)
    )


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


def misfit_of_norms(norms: Iterable[Norm]) -> float:
    """How far what batch norms see is from what they saw in training.

    Returns:
        The larger of two medians over channels, of the worst norm: by how many deviations means are off, and by how
        many powers of two deviations are. 1 is far: a range of -1..1 in place of 0..1 doubles the deviation.
    """
    return max((min(_at(norm, way) for way in _WAYS) for norm in norms), default=0.0)


def misfit_of_channels(given: Sequence[Array], wanted: Sequence[Array]) -> float:
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


def misfit_of_places(given: Sequence[Array], wanted: Sequence[Array]) -> float:
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
