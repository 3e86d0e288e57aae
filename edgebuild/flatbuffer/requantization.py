"""Requantization scales: what a kernel multiplies its sums by, input scale * weight scale / output scale.

XNNPACK takes less than 256 (google/XNNPACK, src/operators/convolution-nhwc.c and fully-connected-nc.c: "requantization
scale must be less than 256.0"). LiteRT 2.3 fails to load a file with more, and may end the process (double free), so
that no other kernel family gets its turn. Builtin and reference kernels run such files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from edgebuild.core.inspection import Graph, Operation, Tensor

LIMIT = 256.0
# XNNPACK computes in float32, where a product just below the limit may end up on it.
_REACHED = LIMIT * (1 - 1e-6)
REMEDY = (
    "Build the file again with edgebuild, which keeps these scales within the limit and outputs as they are, or run it "
    "on other kernels (edgebuild bench --kernels builtin)."
)


class Places(NamedTuple):
    """Which of an operator's inputs are its data, its weights and its bias."""

    data: int
    weights: int
    bias: int


PLACES = {
    "CONV_2D": Places(0, 1, 2),
    "DEPTHWISE_CONV_2D": Places(0, 1, 2),
    "FULLY_CONNECTED": Places(0, 1, 2),
    "TRANSPOSE_CONV": Places(2, 1, 3),
}
# XNNPACK leaves activations of int16 to others.
_TYPES = frozenset({"int8", "uint8"})


class Excess(NamedTuple):
    """An operator of which XNNPACK refuses a channel: that with the largest scale of `channels` beyond the limit.

    Attributes:
        graph: its number.
        operator: its number in the graph.
        channel: by the output's last axis; 0 where all weights have one scale.
    """

    graph: int
    operator: int
    name: str
    tensor: str
    channel: int
    scale: float
    channels: int


def excesses(graphs: Sequence[Graph]) -> Iterator[Excess]:
    """The operators of a file that XNNPACK refuses for their scales, in order."""
    for number, graph in enumerate(graphs):
        for place, operation in enumerate(graph.operations):
            scales = _scales(operation, graph)
            over = sum(scale >= _REACHED for scale in scales)
            if over:
                largest = max(scales)
                tensor = graph.tensors[operation.outputs[0]].name
                yield Excess(number, place, operation.name, tensor, scales.index(largest), largest, over)


def warnings(graphs: Sequence[Graph]) -> Iterator[str]:
    """A sentence for each operator that XNNPACK refuses, for people."""
    return map(_said, excesses(graphs))


def _said(excess: Excess) -> str:
    made = f"operator {excess.operator}" + (f", {excess.tensor}" if excess.tensor else "")
    more = f" (and of {excess.channels - 1:,} more channels too large)" if excess.channels > 1 else ""
    return (
        f"{excess.name} ({made}): the requantization scale of channel {excess.channel} is {excess.scale:.1f}{more}; "
        f"XNNPACK takes less than {LIMIT:.0f}, and LiteRT may crash as it loads the file"
    )


def _scales(operation: Operation, graph: Graph) -> list[float]:
    """By channel; none where XNNPACK does not compute in int8 or uint8."""
    places = PLACES.get(operation.name)
    if places is None or not operation.outputs or len(operation.inputs) <= max(places.data, places.weights):
        return []
    read = (operation.inputs[places.data], operation.inputs[places.weights], operation.outputs[0])
    if min(read) < 0:
        return []
    data, weights, output = (graph.tensors[index] for index in read)
    if not {data.dtype, output.dtype} <= _TYPES:
        return []
    given, by_channel, made = map(_stored, (data, weights, output))
    if not given or not made or not made[0] > 0:
        return []
    return [given[0] * scale / made[0] for scale in by_channel]


def _stored(tensor: Tensor) -> tuple[float, ...]:
    return tensor.quantization.scales if tensor.quantization is not None else ()
