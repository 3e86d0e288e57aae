"""A network with chosen ranges as a function with fake-quant nodes, and its outputs beside the float network's."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras

from edgebuild.passes import loading
from edgebuild.passes.calibration.grid import Array, Range, with_weights_onto
from edgebuild.passes.graph import building
from edgebuild.passes.graph.ir import Call, Graph, Layer, Ref, Tensor, distinct
from edgebuild.passes.graph.running import Runner
from edgebuild.passes.loading import Network, from_keras_model

_LARGEST_DB = 200.0  # where nothing is lost
_SILENCE = 1e-30


def answers(graph: Graph, batches: Iterable[Sequence[Array]]) -> list[Array]:
    """What a graph makes of samples: an array for each output."""
    return outputs(Runner(graph, graph.outputs), batches)


def outputs(
    runner: Runner,
    batches: Iterable[Sequence[Array]],
    layers: Mapping[str, Layer] | None = None,
    ranges: Mapping[int, Range] | None = None,
) -> list[Array]:
    """The wanted tensors of a runner on samples: an array for each.

    Args:
        runner: of the network.
        batches: the samples.
        layers: in place of the network's; see `rounded`.
        ranges: of tensors whose values are rounded to them, wherever they are taken.
    """
    at = None if ranges is None else partial(_onto, ranges)
    parts = [[tensor.numpy() for tensor in runner.outputs(batch, layers=layers, at=at)] for batch in batches]
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


def _onto(ranges: Mapping[int, Range], tensor: int, value: Any) -> Any:
    chosen = ranges.get(tensor)
    return value if chosen is None else tf.quantization.fake_quant_with_min_max_args(value, chosen.low, chosen.high)


def rounded(layers: Mapping[str, Layer], floating: Collection[str] = ()) -> dict[str, Layer]:
    """Layers with their kernels on the grids of the converter, but for some that stay in float."""
    return {name: layer if name in floating else with_weights_onto(layer) for name, layer in layers.items()}


def quantized(graph: Graph, ranges: Mapping[int, Range], floating: Collection[str] = ()) -> Graph:
    """The graph with activations on the grids of their ranges and kernels, but for some layers', on their own."""
    return _with_nodes(graph._replace(layers=rounded(graph.layers, floating)), ranges)


class Fidelity(NamedTuple):
    """How near the answers of a quantized network are to the float network's; the mean where there are several outputs.

    Attributes:
        sqnr_db: signal to quantization noise, of powers over all samples: a few bad samples decide it.
        typical_db: the mean over samples of the same ratio for each: how a usual sample does.
    """

    sqnr_db: float
    typical_db: float

    @property
    def score_db(self) -> float:
        """One figure to choose by: on some dozens of samples the first alone says more of one of them than of all."""
        return (self.sqnr_db + self.typical_db) / 2


def fidelity(exact: Sequence[Array], given: Sequence[Array]) -> Fidelity:
    """Compare the arrays of each output, [samples, ...]."""
    pairs = [_powers(*pair) for pair in zip(exact, given, strict=True)]
    whole = [_ratio_db(signal.sum(), noise.sum()) for signal, noise in pairs]
    typical = [_ratio_db(signal, noise).mean() for signal, noise in pairs]
    return Fidelity(float(np.mean(whole)), float(np.mean(typical)))


def _powers(exact: Array, given: Array) -> tuple[Array, Array]:
    """Of signal and noise, by sample."""
    signal = exact.reshape(len(exact), -1).astype(np.float64)
    noise = signal - given.reshape(len(given), -1)
    return np.square(signal).sum(1), np.square(noise).sum(1)


def _ratio_db(signal: Any, noise: Any) -> Any:
    least = signal * 10 ** (-_LARGEST_DB / 10)
    return 10 * np.log10(np.maximum(signal, _SILENCE) / np.maximum(np.maximum(noise, least), _SILENCE))


class FakeQuant(tf_keras.layers.Layer):  # type: ignore[misc]
    """Rounds to a range of 8 bits; the converter takes the range over and leaves the node out."""

    def __init__(self, low: float, high: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._low, self._high = low, high

    def call(self, values: Any) -> Any:
        """Round values to the range."""
        return tf.quantization.fake_quant_with_min_max_args(values, self._low, self._high)

    def get_config(self) -> dict[str, Any]:
        """What it was made with."""
        return {**super().get_config(), "low": self._low, "high": self._high}


def _with_nodes(graph: Graph, ranges: Mapping[int, Range]) -> Graph:
    """The graph with a node behind each tensor that has a range; all that took the tensor takes the node's output."""
    layers, tensors = dict(graph.layers), dict(graph.tensors)
    behind: dict[int, int] = {}
    nodes = {}
    for tensor, chosen in ranges.items():
        name = distinct(f"range_{tensor}", layers)
        behind[tensor] = max(tensors) + 1
        tensors[behind[tensor]] = Tensor(graph.tensors[tensor].shape, "float32")
        layers[name] = Layer(name, FakeQuant, FakeQuant(chosen.low, chosen.high, name=name).get_config(), {})
        nodes[tensor] = Call(name, (Ref(tensor),), {}, (behind[tensor],))
    calls = [nodes[item.tensor] for item in graph.inputs if item.tensor in nodes]
    for call in graph.calls:
        args, kwargs = tf.nest.map_structure(
            lambda item: Ref(behind.get(item.tensor, item.tensor)) if isinstance(item, Ref) else item,
            (call.args, dict(call.kwargs)),
        )
        calls += [call._replace(args=args, kwargs=kwargs), *(nodes[t] for t in call.outputs if t in nodes)]
    outputs = tuple(behind.get(tensor, tensor) for tensor in graph.outputs)
    return graph._replace(layers=layers, calls=tuple(calls), outputs=outputs, tensors=tensors)


def _output_names(graph: Graph) -> list[str]:
    """What a model of a graph calls its outputs: as the layers that make them, where each makes one."""
    producers = graph.producers()
    names = [producers[tensor].layer if tensor in producers else "" for tensor in graph.outputs]
    if all(names) and len(set(names)) == len(names):
        return loading.distinct_identifiers(names)
    return from_keras_model(building.build(graph)).outputs


def network_with_ranges(graph: Graph, ranges: Mapping[int, Range], original: Graph) -> Network:
    """What `freeze.freeze` takes: the network with its ranges, its ends named as they were.

    Args:
        graph: what it computes.
        ranges: by the numbers of its tensors.
        original: the network before it was changed, for the names of the outputs and the layers: what was split from
            one of its layers counts as that.

    Raises:
        StepError: the graph is not consistent.
    """
    names = _output_names(original)
    made = from_keras_model(building.build(_with_nodes(graph, ranges)))
    return made._replace(outputs=names, layers=list(original.layers))
