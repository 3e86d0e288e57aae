"""TensorFlow functions that stand in a network as layers of their own, as far as scales of channels pass them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

from edgebuild.passes.equalization.book import Book, pinned
from edgebuild.passes.graph.ir import Ref
from edgebuild.passes.surgery.channels import Axes
from edgebuild.passes.surgery.rules import functions, merging
from edgebuild.passes.surgery.use import Use

# f(s x) = s f(x) for positive s, value by value.
_PASSING = frozenset(["identity", "math.abs", "math.negative", "nn.leaky_relu", "nn.relu", "stop_gradient"])
# f(s x, s y) = s f(x, y): both sides have the same scale.
_COUPLING = frozenset(
    ["__operators__.add", *(f"math.{name}" for name in ("add", "add_n", "maximum", "minimum", "subtract"))]
)
_DIVIDING = frozenset(["math.divide", "math.truediv"])
# Values are moved, averaged or compared along axes without scales; the rules of surgery know where channels go.
_MOVING = frozenset(
    [
        *("__operators__.getitem", "concat", "expand_dims", "image.resize", "image.resize_with_crop_or_pad"),
        *("image.resize_with_pad", "math.reduce_max", "math.reduce_mean", "math.reduce_min", "math.reduce_sum"),
        *("nn.avg_pool2d", "nn.max_pool2d", "pad", "reshape", "split", "squeeze", "transpose"),
    ]
)


def function(use: Use, book: Book) -> list[Axes]:
    """A function of TensorFlow by its public name."""
    name = str(use.config["function"]).removeprefix("compat.v1.")
    if name in ("nn.relu6", "clip_by_value"):
        return _capped(use, book, name)
    if name == "math.multiply" or name in _DIVIDING:
        return product(use, book, dividing=name in _DIVIDING)
    passes = name in _PASSING or (name in _MOVING and not _pads_with_more_than_zeros(use, name))
    if passes or (name in _COUPLING and not np.any(_constants(use))):
        return functions.function(use)
    return pinned(use)


def product(use: Use, book: Book, *, dividing: bool = False) -> list[Axes]:
    """A product keeps the scales of one side, the first that is as large as the product; the others have none.

    So a gate, one value for each channel, is free to be whatever it is. Of a quotient only the dividend passes.
    """
    del book
    whole = [place for place, shape in enumerate(use.given) if shape == use.results[0] and any(_has(use.inputs[place]))]
    if dividing:
        dividend = functions.arguments_of(use).get("x")
        whole = [place for place in whole if isinstance(dividend, Ref) and use.tensors[place] == dividend]
    for place, axes in enumerate(use.inputs):
        if place not in whole[:1]:
            for vector in axes:
                use.pin(vector)
    return [use.inputs[whole[0]] if whole else (None,) * len(use.results[0])]


def coupled(use: Use, book: Book) -> list[Axes]:
    """Sums and the like: values at the same place have the same scale."""
    del book
    return merging.elementwise(use)


def _has(axes: Axes) -> list[bool]:
    return [vector is not None for vector in axes]


def _capped(use: Use, book: Book, name: str) -> list[Axes]:
    low, high = (0.0, 6.0) if name == "nn.relu6" else _bounds(use)
    if low != 0 or high <= 0:
        return pinned(use)
    book.cap(use, high)
    return functions.function(use)


def _bounds(use: Use) -> tuple[float, float]:
    """The two bounds of a clipping, where they are single numbers."""
    arguments = functions.arguments_of(use)
    bounds = arguments.get("clip_value_min"), arguments.get("clip_value_max")
    if any(isinstance(item, Ref) or np.size(item) != 1 for item in bounds):
        return math.nan, math.nan
    return float(bounds[0]), float(bounds[1])


def _constants(use: Use) -> list[Any]:
    """All numbers among the operands."""
    flat = tf.nest.flatten(functions.arguments_of(use).operands)
    return [number for item in flat if not isinstance(item, Ref) for number in np.ravel(item)]


def _pads_with_more_than_zeros(use: Use, name: str) -> bool:
    value = functions.arguments_of(use).get("constant_values", 0) if name == "pad" else 0
    return isinstance(value, Ref) or bool(np.any(value))
