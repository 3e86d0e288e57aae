"""What the quantized network answers, computed with fake quantization, against what the float network does."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from edgebuild.passes.calibration.export import with_nodes
from edgebuild.passes.calibration.grid import Array, Range, with_weights_onto
from edgebuild.passes.graph.ir import Graph, Layer
from edgebuild.passes.graph.running import Runner

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
    return with_nodes(graph._replace(layers=rounded(graph.layers, floating)), ranges)


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
