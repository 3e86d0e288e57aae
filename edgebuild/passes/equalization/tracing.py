"""The scales of a network: every channel followed from the layer that makes it to all that take it.

Cross-layer equalization (Nagel et al., "Data-free quantization through weight equalization and bias correction", ICCV
2019, section 4.1) rescales the channels between two layers. Here channels are followed as for channel surgery, position
by position, so that it works through sums, concatenations, slices and reshapes, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from edgebuild.passes.equalization import rules
from edgebuild.passes.equalization.rules import Book, pinned
from edgebuild.passes.equalization.scaling import Cap, Factor, Scaling
from edgebuild.passes.graph.ir import Graph
from edgebuild.passes.surgery import tracing as surgery
from edgebuild.passes.surgery.channels import Axes
from edgebuild.passes.surgery.rules import table
from edgebuild.passes.surgery.use import Ledger, Use

Rule = Callable[[Use, Book], list[Axes]]
_MOVING = [
    *(f"{kind}Pooling{rank}D" for kind in ("Average", "Max", "GlobalAverage", "GlobalMax") for rank in (1, 2, 3)),
    *(f"{kind}{rank}D" for kind in ("Cropping", "UpSampling", "ZeroPadding", "SpatialDropout") for rank in (1, 2, 3)),
    *("CenterCrop", "Concatenate", "Dropout", "Flatten", "Permute", "RepeatVector", "Reshape", "Resizing"),
]
_SAME = [
    *("Activation", "ActivityRegularization", "AlphaDropout", "GaussianDropout", "GaussianNoise", "Identity"),
    *("LeakyReLU", "PReLU"),
]
_COUPLING = ["Add", "Average", "CustomScaleLayer", "Maximum", "Minimum", "Subtract"]
_CUTS = {"linear": math.inf, "relu": math.inf, "leaky_relu": math.inf, "relu6": 6.0}


def trace(graph: Graph) -> Scaling:
    """The scales that the channels of a graph can have.

    Those of inputs and outputs of the network, and of all that meets a layer that no rule is known for, are pinned.
    """
    ledger, book = Ledger(), Book()
    axes: dict[int, Axes] = {item.tensor: (None,) * len(graph.tensors[item.tensor].shape) for item in graph.inputs}
    for number, call in enumerate(graph.calls):
        found = _traced(surgery.use_of(ledger, graph, number, call, axes), book)
        axes.update(zip(call.outputs, found, strict=True))
    for tensor in graph.outputs:
        for vector in axes[tensor]:
            if vector is not None:
                ledger.atoms.pin(vector, "it is an output of the network")
    classes = ledger.atoms.classes()
    return Scaling(
        classes.total,
        {tensor: tuple(None if v is None else classes.of(v) for v in item) for tensor, item in axes.items()},
        tuple(Factor(layer, weight, classes.of(a), role) for (layer, weight, role), a in book.weights.items()),
        classes.pinned,
        tuple(Cap(graph.calls[number].outputs[0], value) for number, value in book.caps),
    )


def _traced(use: Use, book: Book) -> list[Axes]:
    """The axes that come out of a call; of layers of other packages nobody knows what they do."""
    rule = _RULES.get(use.kind) if use.layer.kind.__module__.startswith("tf_keras.") else None
    if rule is None:
        return pinned(use)
    results = rule(use, book)
    if not table.fit(results, use.results):
        _pin_all(use, results)
        return pinned(use)
    return _activated(use, book, results)


def _pin_all(use: Use, results: list[Axes]) -> None:
    for axes in results:
        for vector in axes:
            use.pin(vector)


def _activated(use: Use, book: Book, results: list[Axes]) -> list[Axes]:
    """The same after the activation that is part of the layer."""
    cap = cap_of(use.config.get("activation"))
    if cap is None:
        _pin_all(use, results)
        return [(None,) * len(axes) for axes in results]
    book.cap(use, cap)
    return results


def _relu(use: Use, book: Book) -> list[Axes]:
    cap = cap_of_relu(use.config)
    if cap is None:
        return pinned(use)
    book.cap(use, cap)
    return [use.inputs[0]]


def _same(use: Use, book: Book) -> list[Axes]:
    del book
    return [use.inputs[0]]


def _rescaling(use: Use, book: Book) -> list[Axes]:
    """Factors pass, offsets do not."""
    return _same(use, book) if not any(_numbers(use.config["offset"])) else pinned(use)


def _numbers(value: float | list[float]) -> list[float]:
    return list(value) if isinstance(value, list | tuple) else [float(value)]


def _as_in_surgery(kind: str) -> Rule:
    """The rule by which channels are cut, for layers that do not change values."""
    rule = table.RULES[kind]
    return lambda use, book: rule(use)


_RULES: dict[str, Rule] = {
    **{f"Conv{rank}D": rules.convolution for rank in (1, 2, 3)},
    **{f"Conv{rank}DTranspose": rules.transposed for rank in (1, 2, 3)},
    **{f"DepthwiseConv{rank}D": rules.depthwise for rank in (1, 2)},
    **{f"SeparableConv{rank}D": rules.separable for rank in (1, 2)},
    "Dense": rules.dense,
    "Embedding": rules.embedding,
    "BatchNormalization": rules.batch_norm,
    "SyncBatchNormalization": rules.batch_norm,
    "LayerScale": rules.layer_scale,
    "ReLU": _relu,
    "Rescaling": _rescaling,
    "Multiply": rules.product,
    **dict.fromkeys(_COUPLING, rules.coupled),
    **dict.fromkeys(_SAME, _same),
    **{kind: _as_in_surgery(kind) for kind in _MOVING},
    "TFOpLambda": rules.function,
    "SlicingOpLambda": rules.function,
}


def cap_of(activation: Any) -> float | None:
    """Where an activation cuts off: infinity for nowhere, None if it does not commute with positive factors.

    Args:
        activation: as a layer's config has it: a name, a layer or function written as a dict, or None.
    """
    if isinstance(activation, Mapping):
        if activation.get("class_name") == "ReLU":
            return cap_of_relu(activation["config"])
        if activation.get("class_name") == "LeakyReLU":
            return math.inf
        activation = activation.get("config")  # a function, in the form in which Keras writes some
    if activation is None:
        return math.inf
    return _CUTS.get(activation) if isinstance(activation, str) else None


def cap_of_relu(config: Mapping[str, Any]) -> float | None:
    """The same for the layer ReLU with this config."""
    if float(config.get("threshold") or 0):
        return None
    cap = config.get("max_value")
    return math.inf if cap is None else float(cap)
