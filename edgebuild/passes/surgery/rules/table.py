"""Which rule is for which layer of tf_keras."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgebuild.passes.graph.ir import Shape
from edgebuild.passes.surgery.channels import Axes
from edgebuild.passes.surgery.rules import functions, shapes, weighted
from edgebuild.passes.surgery.use import Use

_ACTIVATION_LAYERS = frozenset(["ELU", "LeakyReLU", "ReLU", "ThresholdedReLU"])

Rule = Callable[[Use], list[Axes]]

# Functions of one value, with f(x) at each place of x alone; "softmax" is none.
_ELEMENTWISE_ACTIVATIONS = frozenset(
    [
        *("elu", "exponential", "gelu", "hard_sigmoid", "leaky_relu", "linear", "mish", "relu", "relu6", "selu"),
        *("sigmoid", "silu", "softplus", "softsign", "swish", "tanh"),
    ]
)


def trace_call(use: Use) -> list[Axes]:
    """The axes that come out of a call; what the rule finds out on the way goes into the ledger.

    What layers of other packages do nobody knows here, even where their names are known ones.
    """
    own = use.layer.kind.__module__.startswith("tf_keras.")
    results = _traced(use, RULES.get(use.kind, weighted.unknown) if own else weighted.unknown)
    return results if fit(results, use.results) else weighted.unknown(use)


def fit(results: Sequence[Axes], shapes: Sequence[Shape]) -> bool:
    """Whether axes belong to tensors of these shapes; they do not where a layer is used in a way no rule foresees."""
    sizes = [tuple(None if vector is None else len(vector) for vector in axes) for axes in results]
    return len(sizes) == len(shapes) and all(
        len(found) == len(shape) and all(size in (None, known) for size, known in zip(found, shape, strict=True))
        for found, shape in zip(sizes, shapes, strict=True)
    )


def _traced(use: Use, rule: Rule) -> list[Axes]:
    results = rule(use)
    for key in ("activation", "recurrent_activation"):
        if not _is_elementwise(use.config.get(key)):
            for axes in results:
                for vector in axes:
                    use.pin(vector, f"its channels meet the activation of {use.layer.name}")
    return results


def _is_elementwise(activation: Any) -> bool:
    if isinstance(activation, Mapping):
        if activation.get("class_name") in _ACTIVATION_LAYERS:
            return True
        activation = activation.get("config")  # a function, in the form in which Keras writes some
    return activation is None or (isinstance(activation, str) and activation in _ELEMENTWISE_ACTIVATIONS)


def _time_distributed(use: Use) -> list[Axes]:
    """The layer inside, for each step of the second axis."""
    inner = use.config["layer"]
    (axes, *_) = use.inputs
    use.pin(axes[1])
    rule = RULES.get(inner["class_name"]) if str(inner.get("module")).startswith("keras.") else None
    if rule is None or rule is _time_distributed:
        return weighted.unknown(use)
    inside = use.inside(
        inputs=[(axes[0], *axes[2:])],
        given=[(shape[0], *shape[2:]) for shape in use.given],
        results=[(shape[0], *shape[2:]) for shape in use.results],
    )
    return [(axes[0], None, *axes[1:]) for axes in _traced(inside, rule)]


_SPATIAL = [
    *(f"{kind}Pooling{rank}D" for kind in ("Average", "Max") for rank in (1, 2, 3)),
    *(f"{kind}{rank}D" for kind in ("Cropping", "UpSampling", "ZeroPadding") for rank in (1, 2, 3)),
    "CenterCrop",
    "Resizing",
]
_SAME = [
    *_ACTIVATION_LAYERS,
    *("Activation", "ActivityRegularization", "AlphaDropout", "GaussianDropout", "GaussianNoise", "Identity"),
]
_MIXING = ["LayerNormalization", "Masking", "Normalization", "Softmax", "UnitNormalization"]
_MERGING = ["Add", "Average", "CustomScaleLayer", "Maximum", "Minimum", "Multiply", "Subtract"]

RULES: dict[str, Rule] = {
    **{f"Conv{rank}D": weighted.convolution for rank in (1, 2, 3)},
    **{f"Conv{rank}DTranspose": weighted.transposed for rank in (1, 2, 3)},
    **{f"DepthwiseConv{rank}D": weighted.depthwise for rank in (1, 2)},
    **{f"SeparableConv{rank}D": weighted.separable for rank in (1, 2)},
    "Dense": weighted.dense,
    "Embedding": weighted.embedding,
    "BatchNormalization": weighted.batch_norm,
    "SyncBatchNormalization": weighted.batch_norm,
    "PReLU": weighted.prelu,
    "LayerScale": weighted.layer_scale,
    "LSTM": weighted.recurrent,
    "GRU": weighted.recurrent,
    "SimpleRNN": weighted.recurrent,
    "Bidirectional": weighted.bidirectional,
    "TimeDistributed": _time_distributed,
    **dict.fromkeys(_SPATIAL, shapes.spatial),
    **{f"Global{kind}Pooling{rank}D": shapes.global_pooling for kind in ("Average", "Max") for rank in (1, 2, 3)},
    **dict.fromkeys(_SAME, shapes.same),
    "Dropout": shapes.dropout,
    **{f"SpatialDropout{rank}D": shapes.same for rank in (1, 2, 3)},
    **dict.fromkeys(_MIXING, shapes.mixing),
    "GroupNormalization": shapes.mixing_all,
    "Rescaling": shapes.rescaling,
    "Permute": shapes.permute,
    "RepeatVector": shapes.repeat_vector,
    "Flatten": shapes.flatten,
    "Reshape": shapes.reshape,
    **dict.fromkeys(_MERGING, shapes.elementwise),
    "Concatenate": shapes.concatenate,
    "TFOpLambda": functions.function,
    "SlicingOpLambda": functions.function,
}
