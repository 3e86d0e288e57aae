"""What the quantized network answers, computed with fake quantization, against what the float network does."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from edgebuild.passes import calling
from edgebuild.passes.calibration.export import with_nodes
from edgebuild.passes.calibration.grid import Array, Range, with_weights_onto
from edgebuild.passes.graph import building
from edgebuild.passes.graph.ir import Graph

_LARGEST_DB = 200.0  # where nothing is lost
_SILENCE = 1e-30


def answers(graph: Graph, batches: Iterable[Sequence[Array]]) -> list[Array]:
    """What a graph makes of samples: an array for each output."""
    model = building.build(graph)
    function: Any = tf.function(lambda *given: calling.outputs(model, given), reduce_retracing=True)
    parts = [[tensor.numpy() for tensor in function(*map(tf.constant, batch))] for batch in batches]
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


def quantized(graph: Graph, ranges: Mapping[int, Range], floating: Collection[str] = ()) -> Graph:
    """The graph with activations on the grids of their ranges and kernels, but for some layers', on their own."""
    onto = {name: with_weights_onto(layer) for name, layer in graph.layers.items() if name not in floating}
    return with_nodes(graph._replace(layers={**graph.layers, **onto}), ranges)


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
