"""What layers with weights do to the scales of channels: they take those in front, and make new ones behind."""

from __future__ import annotations

import numpy as np

from edgebuild.passes.equalization.book import Book, pinned, whole
from edgebuild.passes.surgery.channels import Axes, Role, Vector
from edgebuild.passes.surgery.use import Use


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
    atoms = whole(given, inputs)[places if groups > 1 else places[:, :1]]
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
