"""What layers and functions do to the scales of channels, and the book in which these rules note it down."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from edgebuild.passes.graph.ir import Ref
from edgebuild.passes.surgery.channels import FIXED, Axes, Role, Vector
from edgebuild.passes.surgery.rules import functions, shapes
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
Atoms = npt.NDArray[np.int32]


def convolution(use: Use, book: Book) -> list[Axes]:
    """Kernel (window, in, filters), or (window, in / groups, filters) in groups."""
    given, made = _given(use), use.made(int(use.config["filters"]))
    groups = int(use.config.get("groups", 1))
    inputs = int(use.given[0][use.channel_axis] or 0)
    kernel = use.layer.weights["kernel"]
    # The input channel of each (in / groups, filter): a group has as many of the one as of the other, in order.
    places = np.arange(inputs // groups)[:, None] + np.repeat(np.arange(groups), len(made) // groups) * (
        inputs // groups
    )
    atoms = _whole(given, inputs)[places if groups > 1 else places[:, :1]]
    book.tie_all(use, "kernel", atoms.reshape([1] * (kernel.ndim - 2) + list(atoms.shape)), Role.CONSUMES)
    book.tie(use, "kernel", -1, made, Role.PRODUCES)
    book.tie(use, "bias", 0, made, Role.FOLLOWS)
    return use.placed(use.channel_axis, made)


def transposed(use: Use, book: Book) -> list[Axes]:
    """Kernel (window, filters, in)."""
    given, made = _given(use), use.made(int(use.config["filters"]))
    book.tie(use, "kernel", -1, given, Role.CONSUMES)
    book.tie(use, "kernel", -2, made, Role.PRODUCES)
    book.tie(use, "bias", 0, made, Role.FOLLOWS)
    return use.placed(use.channel_axis, made)


def depthwise(use: Use, book: Book) -> list[Axes]:
    """Kernel (window, in, multiplier); output channel `i * multiplier + j` is of input channel `i`."""
    kernel = use.layer.weights["depthwise_kernel"]
    inputs, times = kernel.shape[-2:]
    given, made = _given(use), use.made(inputs * times)
    book.tie(use, "depthwise_kernel", -2, given, Role.CONSUMES)
    behind = made.reshape([1] * (kernel.ndim - 2) + [inputs, times])
    book.tie_all(use, "depthwise_kernel", behind, Role.PRODUCES)
    book.tie(use, "bias", 0, made, Role.FOLLOWS)
    return use.placed(use.channel_axis, made)


def separable(use: Use, book: Book) -> list[Axes]:
    """A depthwise convolution, whose result is no tensor of the graph and keeps its scale, and a pointwise one."""
    given, made = _given(use), use.made(int(use.config["filters"]))
    book.tie(use, "depthwise_kernel", -2, given, Role.CONSUMES)
    book.tie(use, "pointwise_kernel", -1, made, Role.PRODUCES)
    book.tie(use, "bias", 0, made, Role.FOLLOWS)
    return use.placed(use.channel_axis, made)


def dense(use: Use, book: Book) -> list[Axes]:
    """Kernel (in, units) on the last axis; a bias is the same along the others, which then have no scales."""
    axes = use.pin_others(use.inputs[0], -1) if "bias" in use.layer.weights else use.inputs[0]
    made = use.made(int(use.config["units"]))
    book.tie(use, "kernel", 0, axes[-1], Role.CONSUMES)
    book.tie(use, "kernel", 1, made, Role.PRODUCES)
    book.tie(use, "bias", 0, made, Role.FOLLOWS)
    return [(*axes[:-1], made)]


def embedding(use: Use, book: Book) -> list[Axes]:
    """Embeddings (words, size): the last axis of the result is new."""
    made = use.made(int(use.config["output_dim"]))
    book.tie(use, "embeddings", 1, made, Role.PRODUCES)
    return [(*use.pin_others(use.inputs[0]), made)]


def batch_norm(use: Use, book: Book) -> list[Axes]:
    """`gamma * (x - mean) / deviation + beta`: with a gamma it separates what is in front from what is behind."""
    chosen = use.config["axis"]
    (axis, *more) = [chosen] if isinstance(chosen, int) else list(chosen)
    if more or "gamma" not in use.layer.weights:
        return pinned(use)
    given, made = use.pin_others(use.inputs[0], axis)[axis], use.made(len(use.layer.weights["gamma"]))
    book.tie(use, "gamma", 0, given, Role.CONSUMES)
    book.tie(use, "moving_mean", 0, given, Role.FOLLOWS)
    book.tie(use, "gamma", 0, made, Role.PRODUCES)
    book.tie(use, "beta", 0, made, Role.FOLLOWS)
    return use.placed(axis, made)


def layer_scale(use: Use, book: Book) -> list[Axes]:
    """Gamma (channels,) of tf_keras.applications' ConvNeXt."""
    given, made = use.pin_others(use.inputs[0], -1)[-1], use.made(len(use.layer.weights["gamma"]))
    book.tie(use, "gamma", 0, given, Role.CONSUMES)
    book.tie(use, "gamma", 0, made, Role.PRODUCES)
    return use.placed(-1, made)


def _given(use: Use) -> Vector | None:
    """The atoms of the channels that a spatial layer takes; other axes keep their scales."""
    return use.pin_others(use.inputs[0], use.channel_axis)[use.channel_axis]


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
    return shapes.elementwise(use)


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


class Book:
    """The weights that change with scales, and the caps, over all calls.

    `weights` holds the atom that concerns each element, in a shape that broadcasts to the weight's; `caps` has the
    numbers of calls.
    """

    def __init__(self) -> None:
        self.weights: dict[tuple[str, str, Role], Atoms] = {}
        self.caps: list[tuple[int, float]] = []

    def tie(self, use: Use, weight: str, axis: int, vector: Vector | None, role: Role) -> None:
        """Say that each position of an axis of a weight goes with an atom; with none where the vector is None."""
        if weight in use.layer.weights:
            array = use.layer.weights[weight]
            atoms = np.full(array.shape[axis], FIXED, np.int32) if vector is None else vector
            self.tie_all(
                use, weight, atoms.reshape([-1 if n == axis % array.ndim else 1 for n in range(array.ndim)]), role
            )

    def tie_all(self, use: Use, weight: str, atoms: Atoms, role: Role) -> None:
        """Say which atom each element of a weight goes with; a layer called again ties the atoms of both calls."""
        if weight not in use.layer.weights:
            return
        known = self.weights.setdefault((use.layer.name, weight, role), atoms)
        if known is not atoms:
            use.unify([known.ravel(), atoms.ravel()], atoms.size)

    def cap(self, use: Use, value: float) -> None:
        """Say that what comes out of a call is cut off above a value."""
        if np.isfinite(value):
            self.caps.append((use.number, value))


def _whole(vector: Vector | None, size: int) -> Atoms:
    """The atoms of an axis of that size, FIXED where it has none."""
    return np.full(size, FIXED, np.int32) if vector is None else vector


def pinned(use: Use) -> list[Axes]:
    """Let everything that goes in keep its scale, as for functions that do not commute with one."""
    return use.pin_all()
