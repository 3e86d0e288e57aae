"""Layers that mix or scale channels with weights: convolutions, dense and recurrent layers, embeddings and others."""

from __future__ import annotations

import numpy as np

from edgebuild.passes.surgery.channels import Axes, Role, Vector
from edgebuild.passes.surgery.use import Use

_GATES = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}


def convolution(use: Use) -> list[Axes]:
    """Kernel (window, in, filters), or (window, in / groups, filters) in groups."""
    axis = use.channel_axis
    (axes, *_) = use.inputs
    given = use.pin_others(axes, axis)[axis]
    filters = int(use.config["filters"])
    made = use.made(filters)
    use.count(("filters",), made)
    use.weight("bias", 0, made, Role.FOLLOWS)
    groups = int(use.config.get("groups", 1))
    if groups > 1:
        _grouped(use, given, made, groups)
    else:
        use.weight("kernel", -2, given, Role.CONSUMES)
        use.weight("kernel", -1, made, Role.PRODUCES)
    return use.placed(axis, made)


def _grouped(use: Use, given: Vector | None, made: Vector, groups: int) -> None:
    """A group goes as a whole: then the others keep their inputs, and their outputs their places."""
    inputs = int(use.given[0][use.channel_axis] or 0)
    leaders = made[:: len(made) // groups]
    use.unify([np.repeat(leaders, len(made) // groups), made], len(made))
    use.unify([np.repeat(leaders, inputs // groups), given], inputs)
    use.count(("groups",), leaders)
    # With one input a group nothing is mixed: it is a depthwise convolution by another name.
    use.weight("kernel", -1, made, Role.FOLLOWS if inputs == groups else Role.PRODUCES)


def transposed(use: Use) -> list[Axes]:
    """Kernel (window, filters, in)."""
    axis = use.channel_axis
    made = use.made(int(use.config["filters"]))
    use.count(("filters",), made)
    use.weight("kernel", -1, use.pin_others(use.inputs[0], axis)[axis], Role.CONSUMES)
    use.weight("kernel", -2, made, Role.PRODUCES)
    use.weight("bias", 0, made, Role.FOLLOWS)
    return use.placed(axis, made)


def depthwise(use: Use) -> list[Axes]:
    """Kernel (window, in, multiplier); output channel `i * multiplier + j` is of input channel `i`."""
    axis = use.channel_axis
    given = use.pin_others(use.inputs[0], axis)[axis]
    use.weight("depthwise_kernel", -2, given, Role.FOLLOWS)
    made = _repeated(given, int(use.config["depth_multiplier"]))
    use.weight("bias", 0, made, Role.FOLLOWS)
    return use.placed(axis, made)


def separable(use: Use) -> list[Axes]:
    """A depthwise convolution (see `depthwise`) and then kernel (1, in * multiplier, filters)."""
    axis = use.channel_axis
    given = use.pin_others(use.inputs[0], axis)[axis]
    use.weight("depthwise_kernel", -2, given, Role.FOLLOWS)
    use.weight("pointwise_kernel", -2, _repeated(given, int(use.config["depth_multiplier"])), Role.CONSUMES)
    made = use.made(int(use.config["filters"]))
    use.count(("filters",), made)
    use.weight("pointwise_kernel", -1, made, Role.PRODUCES)
    use.weight("bias", 0, made, Role.FOLLOWS)
    return use.placed(axis, made)


def dense(use: Use) -> list[Axes]:
    """Kernel (in, units) on the last axis; the others pass."""
    (axes, *_) = use.inputs
    made = use.made(int(use.config["units"]))
    use.count(("units",), made)
    use.weight("kernel", 0, axes[-1], Role.CONSUMES)
    use.weight("kernel", 1, made, Role.PRODUCES)
    use.weight("bias", 0, made, Role.FOLLOWS)
    return [(*axes[:-1], made)]


def embedding(use: Use) -> list[Axes]:
    """Embeddings (words, size): the last axis of the result is new."""
    made = use.made(int(use.config["output_dim"]))
    use.count(("output_dim",), made)
    use.weight("embeddings", 1, made, Role.PRODUCES)
    return [(*use.pin_others(use.inputs[0]), made)]


def batch_norm(use: Use) -> list[Axes]:
    """Every weight has one value for each position of the axis, or of the axes together."""
    (axes, *_) = use.inputs
    chosen = use.config["axis"]
    chosen = [chosen] if isinstance(chosen, int) else list(chosen)
    if len(chosen) > 1:
        for axis in chosen:
            use.pin(axes[axis])
    else:
        for name in use.layer.weights:
            use.weight(name, 0, axes[chosen[0]], Role.FOLLOWS)
    return [axes]


def prelu(use: Use) -> list[Axes]:
    """Alpha has the shape of a sample, with 1 where axes share."""
    (axes, *_) = use.inputs
    shared = {axis % len(axes) for axis in use.config["shared_axes"] or ()}
    for axis, vector in enumerate(axes):
        if axis not in {0, *shared}:
            use.weight("alpha", axis - 1, vector, Role.FOLLOWS)
    return [axes]


def layer_scale(use: Use) -> list[Axes]:
    """Gamma (channels,) of tf_keras.applications' ConvNeXt."""
    (axes, *_) = use.inputs
    use.weight("gamma", 0, axes[-1], Role.FOLLOWS)
    use.count(("projection_dim",), axes[-1])
    return [axes]


def _repeated(vector: Vector | None, times: int) -> Vector | None:
    return None if vector is None else np.repeat(vector, times)


def recurrent(use: Use) -> list[Axes]:
    """Kernel (in, gates * units), recurrent kernel (units, gates * units), bias (gates * units) or a pair of these."""
    (axes, *states) = use.inputs
    units = use.made(int(use.config["units"]))
    gates = np.tile(units, _GATES[use.kind])
    use.count(("units",), units)
    use.weight("kernel", 0, use.pin_others(axes, -1)[-1], Role.CONSUMES)
    use.weight("kernel", 1, gates, Role.PRODUCES)
    use.weight("recurrent_kernel", 0, units, Role.CONSUMES)
    use.weight("recurrent_kernel", 1, gates, Role.PRODUCES)
    use.weight("bias", -1, gates, Role.FOLLOWS)
    for state in states:
        use.unify([units, state[-1]], len(units))
    return [(*[None] * (len(shape) - 1), units) for shape in use.results]


def bidirectional(use: Use) -> list[Axes]:
    """Both directions read the input; their units stay, since one setting counts those of both."""
    (axes, *states) = use.inputs
    inner = use.config["layer"]
    if inner["class_name"] not in _GATES or use.config.get("backward_layer"):
        return unknown(use)
    vector = use.pin_others(axes, -1)[-1]
    use.weight("kernel", 0, vector, Role.CONSUMES)
    use.weight("kernel_1", 0, vector, Role.CONSUMES)
    for state in states:
        use.pin(state[-1])
    use.stay("the units of a Bidirectional layer are not pruned")
    return [(None,) * len(shape) for shape in use.results]


def unknown(use: Use) -> list[Axes]:
    """A layer of which nothing is known: whatever it meets stays, its own channels too."""
    if use.layer.weights:
        use.stay(f"edgebuild does not know the channels of {use.layer.kind.__name__}")
    return use.pin_all()
