"""What may have gone wrong with samples, each as the change that would put it right."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from edgebuild.core.finding import Code
from edgebuild.core.model import TensorSpec
from edgebuild.core.settings import Preprocess
from edgebuild.data.given import Array

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
