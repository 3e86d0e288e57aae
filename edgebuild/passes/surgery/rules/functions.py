"""TensorFlow functions that stand in a network as layers of their own (`tf.nn.relu(x)`, `x * 2`, `x[..., :8]`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from edgebuild.passes.graph.ir import Ref
from edgebuild.passes.graph.plain import Arguments
from edgebuild.passes.surgery.channels import FIXED, Axes, Vector
from edgebuild.passes.surgery.rules import shapes, weighted
from edgebuild.passes.surgery.use import Use

_MATHS = (
    *("abs", "add", "add_n", "ceil", "cos", "divide", "divide_no_nan", "erf", "exp", "floor", "log", "log1p"),
    *("maximum", "minimum", "multiply", "negative", "pow", "reciprocal", "round", "rsqrt", "sigmoid", "sign", "sin"),
    *("softplus", "sqrt", "square", "squared_difference", "subtract", "tanh", "truediv"),
)
_ACTIVATIONS = (
    *("elu", "gelu", "leaky_relu", "relu", "relu6", "selu", "sigmoid", "silu", "softplus", "softsign", "swish", "tanh"),
)
_ELEMENTWISE = frozenset(
    [
        *(f"math.{name}" for name in _MATHS),
        *(f"nn.{name}" for name in _ACTIVATIONS),
        *("__operators__.add", "cast", "clip_by_value", "identity", "stop_gradient"),
    ]
)
_REDUCTIONS = frozenset(f"math.reduce_{name}" for name in ("max", "mean", "min", "prod", "std", "sum", "variance"))
_OF_IMAGES = frozenset(  # channels are last and pass; height and width change
    ["image.resize", "image.resize_with_pad", "image.resize_with_crop_or_pad", "nn.avg_pool2d", "nn.max_pool2d"]
)


def function(use: Use) -> list[Axes]:
    """A function of TensorFlow by its public name."""
    name = str(use.config["function"]).removeprefix("compat.v1.")
    if name in _ELEMENTWISE:
        return _elementwise(use)
    if name in _REDUCTIONS:
        return _reduced(use)
    if name in _OF_IMAGES:
        return use.placed(3, use.pin_others(use.inputs[0], 3)[3]) if len(use.given[0]) == 4 else weighted.unknown(use)
    return _OTHERS.get(name, weighted.unknown)(use)


def arguments_of(use: Use) -> Arguments:
    """The arguments by the names that the function has for them."""
    return Arguments(str(use.config["function"]), use.args, use.kwargs)


def _elementwise(use: Use) -> list[Axes]:
    ranks = {len(shape) for shape in use.given}
    if len(ranks) > 1 or any(_is_array(item) for item in arguments_of(use).operands):
        return weighted.unknown(use)  # other ranks align in another way than in Keras; constants are not cut
    return shapes.elementwise(use)


def _is_array(item: Any) -> bool:
    """Whether an operand is a constant with more than one value."""
    if isinstance(item, list | tuple):
        return not all(isinstance(part, Ref) for part in item)
    return (isinstance(item, np.ndarray) or tf.is_tensor(item)) and np.size(item) > 1


def _reduced(use: Use) -> list[Axes]:
    (axes, *_), arguments = use.inputs, arguments_of(use)
    chosen = _whole_numbers(arguments.get("axis"))
    if not chosen:
        return weighted.unknown(use)
    gone = {axis % len(axes) for axis in chosen}
    kept = use.pin_others(axes, *(axis for axis in range(len(axes)) if axis not in gone))
    if not arguments.get("keepdims"):
        kept = tuple(vector for axis, vector in enumerate(kept) if axis not in gone)
    return [kept]


def _concatenated(use: Use) -> list[Axes]:
    arguments = arguments_of(use)
    (axis,) = _whole_numbers(arguments.get("axis")) or (None,)
    constant = len(arguments.get("values")) != len(use.inputs)
    return weighted.unknown(use) if axis is None or constant else [shapes.joined(use, axis)]


def _split(use: Use) -> list[Axes]:
    (axes, *_), arguments = use.inputs, arguments_of(use)
    (axis,) = _whole_numbers(arguments.get("axis", 0)) or (None,)
    if axis is None:
        return weighted.unknown(use)
    axis %= len(axes)
    vector = axes[axis]
    if vector is None:
        return [axes] * len(use.results)
    parts = np.split(vector, np.cumsum([int(shape[axis] or 0) for shape in use.results])[:-1])
    use.count_argument(arguments.path("num_or_size_splits"), tuple(parts))
    return [(*axes[:axis], part, *axes[axis + 1 :]) for part in parts]


def _transposed(use: Use) -> list[Axes]:
    (axes, *_), order = use.inputs, _whole_numbers(arguments_of(use).get("perm"))
    return [tuple(axes[axis] for axis in order)] if order else weighted.unknown(use)


def _reshaped(use: Use) -> list[Axes]:
    axes = shapes.reshaped(use, use.inputs[0], use.given[0])
    arguments = arguments_of(use)
    asked = arguments.get("shape")
    if len(use.inputs) > 1 or not isinstance(asked, list | tuple):
        return [use.pin_others(axes)]  # what it asks for is not written in the network
    for position, size in enumerate(asked):
        vector = axes[position]
        if size != -1 and vector is not None:
            use.count_argument((*arguments.path("shape"), position), vector)
    return [axes]


def _expanded(use: Use) -> list[Axes]:
    (axes, *_), chosen = use.inputs, _whole_numbers(arguments_of(use).get("axis"))
    if len(chosen) != 1:
        return weighted.unknown(use)
    place = chosen[0] % (len(axes) + 1)
    return [(*axes[:place], None, *axes[place:])]


def _squeezed(use: Use) -> list[Axes]:
    (axes, *_), (shape, *_) = use.inputs, use.given
    chosen = _whole_numbers(arguments_of(use).get("axis")) or tuple(n for n, size in enumerate(shape) if size == 1)
    gone = {axis % len(axes) for axis in chosen}
    kept = use.pin_others(axes, *(axis for axis in range(len(axes)) if axis not in gone))
    return [tuple(vector for axis, vector in enumerate(kept) if axis not in gone)]


def _padded(use: Use) -> list[Axes]:
    (axes, *_), arguments = use.inputs, arguments_of(use)
    amounts = np.asarray(arguments.get("paddings")) if not use.inputs[1:] else None
    if amounts is None or str(arguments.get("mode", "CONSTANT")).upper() != "CONSTANT":
        return weighted.unknown(use)
    return [
        tuple(
            vector if vector is None else np.pad(vector, (int(before), int(after)), constant_values=FIXED)
            for vector, (before, after) in zip(axes, amounts, strict=True)
        )
    ]


def _sliced(use: Use) -> list[Axes]:
    """`x[spec]`: integers, slices (kept as dicts), an ellipsis and new axes."""
    if len(use.inputs) > 1:
        return weighted.unknown(use)
    arguments = arguments_of(use)
    spec, path = arguments.get("slice_spec"), arguments.path("slice_spec")
    items = list(spec) if isinstance(spec, list | tuple) else [spec]
    (axes, *_), (shape, *_) = use.inputs, use.given
    named = sum(item is not None and item is not Ellipsis for item in items)
    if Ellipsis not in items:
        items.append(Ellipsis)
    result: list[Vector | None] = []
    axis = 0
    for position, item in enumerate(items):
        if item is None:
            result.append(None)
        elif item is Ellipsis:
            result.extend(axes[axis : axis + len(axes) - named])
            axis += len(axes) - named
        else:
            place = (*path, position) if isinstance(spec, list | tuple) else path
            result.extend(_one_axis(use, axes[axis], shape[axis], item, place))
            axis += 1
    return [tuple(result)]


def _one_axis(use: Use, vector: Vector | None, size: int | None, item: Any, path: tuple[str | int, ...]) -> Axes:
    """What an integer or a slice leaves of an axis: nothing, or one axis."""
    if not isinstance(item, Mapping):
        use.pin(vector)
        return ()
    if vector is None or size is None:
        return (None,)
    start, stop, step = slice(item["start"], item["stop"], item["step"]).indices(size)
    if step != 1:
        use.pin(vector)
        return (vector[start:stop:step],)
    if item["start"] is not None:
        use.count_argument((*path, "start"), vector[:start])
    if item["stop"] is not None:
        use.count_argument((*path, "stop"), vector[:stop])
    return (vector[start:stop],)


def _whole_numbers(value: Any) -> tuple[int, ...]:
    """One number or several, as a tuple; empty for None and for tensors that are known only as the network runs."""
    if value is None or any(isinstance(item, Ref) for item in tf.nest.flatten(value)):
        return ()
    return tuple(int(number) for number in np.ravel(value))


_OTHERS: dict[str, Callable[[Use], list[Axes]]] = {
    "__operators__.getitem": _sliced,
    "concat": _concatenated,
    "expand_dims": _expanded,
    "pad": _padded,
    "reshape": _reshaped,
    "split": _split,
    "squeeze": _squeezed,
    "transpose": _transposed,
}
