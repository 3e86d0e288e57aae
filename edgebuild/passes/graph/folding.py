"""Batch norms worked into the layers around them, so that the network computes the same without them.

Folding is that of Jacob et al. 2018 ("Quantization and training of neural networks for efficient
integer-arithmetic-only inference", section 3.2), done once and for all: the statistics are the trained network's.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import NamedTuple

import tf_keras

from edgebuild.passes.graph import affine as affines
from edgebuild.passes.graph.affine import Absorption, BlockedError, absorptions
from edgebuild.passes.graph.ir import Call, Draft, Graph, Layer, Shape, Step, distinct

# What tensorflow-model-optimization 0.8 quantizes together with the batch norm behind it. It takes Dense and
# Conv2DTranspose as well, but the converter of TensorFlow 2.21 then leaves those in float32.
_KEPT_BEHIND = frozenset({"Conv2D", "DepthwiseConv2D", "SeparableConv2D"})


class Note(NamedTuple):
    """What became of a batch norm: its name, a clause that says it, and the layers that it was folded into."""

    layer: str
    text: str
    into: tuple[str, ...] = ()


class Rewritten(NamedTuple):
    """A graph that computes the same as the one it was made from, with what was done and what was left, and why."""

    graph: Graph
    notes: tuple[Note, ...]


def fold_batch_norm(graph: Graph, layers: Collection[str] | None = None) -> Rewritten:
    """Fold batch norms into the convolution or dense layer before them, else into those behind.

    Exact, but for rounding, outside of training; what a batch norm would have learned later on is lost.

    Args:
        graph: the network.
        layers: the names of the batch norms; None for all.
    """
    notes = []
    for name in _batch_norms(graph):
        if layers is None or name in layers:
            graph, note = _folded(graph, name)
            notes.append(note)
    return Rewritten(graph, tuple(notes))


def for_quantization_aware_training(graph: Graph) -> Rewritten:
    """Rewrite the batch norms that tensorflow-model-optimization cannot quantize, and only those.

    It can where one follows a convolution directly, with no activation between and nothing else that uses the
    convolution. All others are folded where that is exact, else written as depthwise 1x1 convolutions, which is exact
    wherever the channels are last.
    """
    notes = []
    for name in _batch_norms(graph):
        if _is_accepted(graph, name):
            continue
        folded, note = _folded(graph, name)
        if folded is graph:
            folded, note = _as_convolution(graph, name, note)
        graph = folded
        notes.append(note)
    return Rewritten(graph, tuple(notes))


def _batch_norms(graph: Graph) -> list[str]:
    """Their names, in the order of their calls."""
    names = dict.fromkeys(call.layer for call in graph.calls)
    return [name for name in names if graph.layers[name].kind.__name__ in affines.BATCH_NORM]


def _is_accepted(graph: Graph, name: str) -> bool:
    calls = list(graph.calls_of(name))
    before = graph.producers().get(calls[0].inputs[0])
    if len(calls) > 1 or before is None or not has_channels_last(graph, calls[0]):
        return False
    return graph.layers[before.layer].kind.__name__ in _KEPT_BEHIND and not _not_foldable(graph, before)


def _folded(graph: Graph, name: str) -> tuple[Graph, Note]:
    """The graph without a batch norm, or the same graph, with the reason."""
    calls = list(graph.calls_of(name))
    if len(calls) > 1:
        return graph, Note(name, "left: it is used more than once")
    if not has_channels_last(graph, calls[0]):
        return graph, Note(name, "left: it does not normalize the last axis")
    before = graph.producers().get(calls[0].inputs[0])
    affine = affines.of_batch_norm(graph.layers[name])
    why = _not_foldable(graph, before)
    if before is not None and not why:
        target = affines.after(graph.layers[before.layer], affine)
        note = Note(name, f"folded into {target.name}, which it follows", (target.name,))
        return _without(graph, calls[0], [target]), note
    try:
        found = absorptions(graph, calls[0].outputs[0], affine)
    except BlockedError as error:
        return graph, Note(name, f"left: {why}, and {error}")
    if not found:
        return graph, Note(name, f"left: {why}, and nothing follows it")
    names = tuple(item.layer for item in found)
    targets = [_absorbing(graph, item) for item in found]
    return _without(graph, calls[0], targets), Note(name, f"folded forward into {', '.join(names)}", names)


def _absorbing(graph: Graph, item: Absorption) -> Layer:
    return affines.before(graph.layers[item.layer], item.affine)


def _not_foldable(graph: Graph, before: Call | None) -> str:
    """Why the layer before a batch norm cannot take it over, or an empty string."""
    if before is None:
        return "it follows the input"
    layer = graph.layers[before.layer]
    word = layer.kind.__name__
    if not affines.takes_before(layer):
        return f"it follows {layer.name} ({word})"
    if layer.config["activation"] != "linear":
        return f"the activation of {layer.name} ({layer.config['activation']}) comes between"
    if layer.config.get("data_format", "channels_last") != "channels_last":
        return f"the channels of {layer.name} are first"
    if len(list(graph.calls_of(layer.name))) > 1:
        return f"{layer.name} is used more than once"
    if before.outputs[0] in graph.outputs or len(graph.consumers()[before.outputs[0]]) > 1:
        return f"more than it follows {layer.name}"
    return ""


def has_channels_last(graph: Graph, call: Call) -> bool:
    """Whether a call of a batch norm normalizes the last axis alone."""
    axis = graph.layers[call.layer].config["axis"]
    axes = [axis] if isinstance(axis, int) else list(axis)
    rank = len(graph.tensors[call.inputs[0]].shape)
    return len(axes) == 1 and axes[0] % rank == rank - 1


def _without(graph: Graph, call: Call, changed: list[Layer]) -> Graph:
    draft = Draft(graph)
    draft.drop(call)
    draft.layers.update({layer.name: layer for layer in changed})
    return draft.graph()


def _as_convolution(graph: Graph, name: str, note: Note) -> tuple[Graph, Note]:
    """The batch norm as a depthwise 1x1 convolution, between reshapes where its input has not four axes."""
    draft = Draft(graph)
    for call in graph.calls_of(name):
        shape = graph.tensors[call.inputs[0]].shape
        if not has_channels_last(graph, call) or (len(shape) != 4 and shape[1:].count(None) > 1):
            return graph, note
        draft.replace(call, *_steps(graph.layers[name], shape, draft))
    return draft.graph(), Note(name, f"made a depthwise 1x1 convolution ({note.text.removeprefix('left: ')})")


def _steps(layer: Layer, shape: Shape, draft: Draft) -> list[Step]:
    scaling = affines.scaling(layer, *affines.of_batch_norm(layer))
    if len(shape) == 4:
        return [Step(scaling, shape)]
    inner = tuple(-1 if size is None else size for size in shape[1:])
    height, *others = inner[:-1] or (1,)
    square = (height, -1 if -1 in others else math.prod(others), inner[-1])
    there, back = (_reshape(f"{layer.name}_{word}", to, draft) for word, to in (("there", square), ("back", inner)))
    between = (shape[0], *(None if size == -1 else size for size in square))
    return [Step(there, between), Step(scaling, between), Step(back, shape)]


def _reshape(name: str, target: tuple[int, ...], draft: Draft) -> Layer:
    kind = tf_keras.layers.Reshape
    word = distinct(name, draft.layers)
    return Layer(word, kind, kind(target, name=word).get_config(), {})
