"""Whole blocks that can be dropped: what comes out of them has the shape of what goes in."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from edgebuild.passes.graph.ir import Call, Graph, Ref
from edgebuild.passes.surgery.cost import Cost, total
from edgebuild.passes.surgery.operators import Operator

# What belongs to the layer before it: a cut between them would leave a layer's numbers without their scale.
_TAILS = frozenset(
    [
        *("Activation", "AlphaDropout", "BatchNormalization", "Dropout", "ELU", "GaussianDropout", "GaussianNoise"),
        *("LeakyReLU", "PReLU", "ReLU", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"),
        *("nn.elu", "nn.gelu", "nn.leaky_relu", "nn.relu", "nn.relu6", "nn.silu"),
    ]
)

_SUMS = frozenset(["Add", "CustomScaleLayer", "__operators__.add", "math.add"])
_PRODUCTS = frozenset(["Multiply", "math.multiply"])


class Block(NamedTuple):
    """A part of the network that can be taken out, so that its input takes the place of its output.

    Attributes:
        name: the layer whose output it is.
        residual: whether it adds something to its input, or scales it: then the input itself is in what comes out.
        entry: the number of the tensor that goes in.
        leaving: of that which comes out, which has the same shape.
        calls: the numbers of the calls that are not needed without it.
    """

    name: str
    residual: bool
    entry: int
    leaving: int
    calls: frozenset[int]


def find(graph: Graph) -> tuple[Block, ...]:
    """All blocks that have kernels, in the order of the network: residual ones (gates too), and layers in a row.

    Layers in a row are a part that the rest of the network meets only at its one entry and its one exit; of such
    parts that contain each other, or a residual block, the smallest is given. A block that makes an output of the
    network, or without which an input would not be used, is none.
    """
    flow = _Flow(graph)
    residual = list(_blocks(flow, _residual(flow), residual=True))
    straight = list(_blocks(flow, _straight(flow), residual=False))
    smallest = [
        block
        for block in straight
        if not any(other.calls < block.calls for other in straight)
        and not any(other.calls <= block.calls for other in residual)
    ]
    return tuple(sorted([*residual, *smallest], key=lambda block: (max(block.calls), -len(block.calls))))


def drop(graph: Graph, block: Block) -> Graph:
    """The network without a block, and without all layers that served it alone.

    Other blocks found in the same graph must be found anew, since calls are numbered anew.
    """
    calls = [_fed(call, block) for number, call in enumerate(graph.calls) if number not in block.calls]
    outputs = tuple(block.entry if tensor == block.leaving else tensor for tensor in graph.outputs)
    used = {call.layer for call in calls}
    tensors = {*outputs, *(item.tensor for item in graph.inputs)}.union(*(call.outputs for call in calls))
    return graph._replace(
        layers={name: layer for name, layer in graph.layers.items() if name in used},
        calls=tuple(calls),
        outputs=outputs,
        tensors={number: tensor for number, tensor in graph.tensors.items() if number in tensors},
    )


def saved(block: Block, operators: Sequence[Operator], cost: Cost, counts: Sequence[int]) -> float:
    """What a network saves without a block, where `counts` has the kept classes of each group."""
    first: dict[str, int] = {}  # the first call of each layer that is left: its weights are paid for there
    rest = []
    for operator in operators:
        if operator.call not in block.calls:
            again = first.setdefault(operator.layer, operator.call) != operator.call
            rest.append(operator._replace(again=again))
    return total(operators, cost, counts) - total(rest, cost, counts)


def _fed(call: Call, block: Block) -> Call:
    """A call that takes the entry where it took what left the block."""

    def changed(item: Any) -> Any:
        return Ref(block.entry) if item == Ref(block.leaving) else item

    args, kwargs = tf.nest.map_structure(changed, (call.args, dict(call.kwargs)))
    return call._replace(args=args, kwargs=kwargs)


class _Flow:
    """A graph with what goes into each call, and who takes each tensor, looked up once."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.inputs = [call.inputs for call in graph.calls]
        self.takers: dict[int, list[int]] = {tensor: [] for tensor in graph.tensors}
        for number, inputs in enumerate(self.inputs):
            for tensor in dict.fromkeys(inputs):
                self.takers[tensor].append(number)

    def kind(self, number: int) -> str:
        """The class of the layer of a call, or the function that it applies."""
        layer = self.graph.layers[self.graph.calls[number].layer]
        return str(layer.config["function"]) if layer.kind.__name__ == "TFOpLambda" else layer.kind.__name__

    def is_inside(self, tensor: int) -> bool:
        """Whether a tensor is the result of a layer that goes on with its batch norm or activation."""
        return len(self.takers[tensor]) == 1 and self.kind(self.takers[tensor][0]) in _TAILS


def _blocks(flow: _Flow, ends: Iterator[tuple[int, int]], *, residual: bool) -> Iterator[Block]:
    """The blocks between these ends that may go."""
    graph = flow.graph
    producers = graph.producers()
    for entry, leaving in ends:
        calls, needed = _without(flow, entry, leaving)
        weights = (graph.layers[graph.calls[number].layer].weights.values() for number in calls)
        weighted = any(array.ndim > 1 for arrays in weights for array in arrays)
        if leaving not in graph.outputs and weighted and all(item.tensor in needed for item in graph.inputs):
            yield Block(producers[leaving].layer, residual, entry, leaving, calls)


def _without(flow: _Flow, entry: int, leaving: int) -> tuple[frozenset[int], set[int]]:
    """The calls that nothing needs once the entry stands for what leaves, and the tensors that are needed still."""
    needed = {entry if tensor == leaving else tensor for tensor in flow.graph.outputs}
    unused = set()
    for number in reversed(range(len(flow.inputs))):
        if needed.intersection(flow.graph.calls[number].outputs):
            needed.update(entry if tensor == leaving else tensor for tensor in flow.inputs[number])
        else:
            unused.add(number)
    return frozenset(unused), needed


def _residual(flow: _Flow) -> Iterator[tuple[int, int]]:
    """Sums and products of two tensors of which one is made of the other."""
    graph, ancestors = flow.graph, _ancestors(flow)
    for number, (inputs, call) in enumerate(zip(flow.inputs, graph.calls, strict=True)):
        if flow.kind(number) in _SUMS | _PRODUCTS and len(inputs) == 2:
            for entry, other in (inputs, inputs[::-1]):
                if entry in ancestors[other] and graph.tensors[entry] == graph.tensors[call.outputs[0]]:
                    yield entry, call.outputs[0]


def _ancestors(flow: _Flow) -> Mapping[int, Collection[int]]:
    """For each tensor all that it is made of, not itself."""
    found: dict[int, set[int]] = {item.tensor: set() for item in flow.graph.inputs}
    for inputs, call in zip(flow.inputs, flow.graph.calls, strict=True):
        above = set(inputs).union(*(found[tensor] for tensor in inputs))
        found.update(dict.fromkeys(call.outputs, above))
    return found


def _straight(flow: _Flow) -> Iterator[tuple[int, int]]:
    """For each tensor the next one of its shape that everything passes on its way from the one to the other."""
    before, after = _dominators(flow), _postdominators(flow)
    tensors = flow.graph.tensors
    for entry in tensors:
        same = (
            tensor
            for tensor in _chain(after, after.get(entry))
            if tensors[tensor] == tensors[entry] and not flow.is_inside(tensor)
        )
        leaving = None if flow.is_inside(entry) else next(same, None)
        if leaving is not None and entry in _chain(before, leaving):
            yield entry, leaving


def _chain(parents: Mapping[int, int | None], node: int | None) -> Iterator[int]:
    while node is not None:
        yield node
        node = parents[node]


def _dominators(flow: _Flow) -> dict[int, int | None]:
    """For each tensor the last one that lies on every way from the inputs to it; None: there is none.

    In a graph without cycles the immediate dominator is the nearest common ancestor, in the tree of dominators, of all
    that a node is made of (Cooper, Harvey and Kennedy, "A simple, fast dominance algorithm", 2001, section 2).
    """
    calls = zip(flow.inputs, flow.graph.calls, strict=True)
    edges = [(inputs, output) for inputs, call in calls for output in call.outputs]
    return _tree([item.tensor for item in flow.graph.inputs], edges)


def _postdominators(flow: _Flow) -> dict[int, int | None]:
    """The same from the other end: for each tensor the first one on every way to the outputs."""
    order = [item.tensor for item in flow.graph.inputs] + [out for call in flow.graph.calls for out in call.outputs]
    ends = {*flow.graph.outputs, *(tensor for tensor in order if not flow.takers[tensor])}
    edges = [
        ([out for number in flow.takers[tensor] for out in flow.graph.calls[number].outputs], tensor)
        for tensor in reversed(order)
        if tensor not in ends
    ]
    return _tree(ends, edges)


def _tree(roots: Collection[int], edges: Sequence[tuple[Sequence[int], int]]) -> dict[int, int | None]:
    """The tree of dominators of nodes in topological order, each with those before it."""
    parents: dict[int, int | None] = dict.fromkeys(roots)
    depth = dict.fromkeys(roots, 0)
    for sources, node in edges:
        common: int | None = sources[0]
        for source in sources[1:]:
            other: int | None = source
            while common != other and common is not None and other is not None:
                if depth[common] >= depth[other]:
                    common = parents[common]
                else:
                    other = parents[other]
            common = common if common == other else None
        parents[node] = common
        depth[node] = 0 if common is None else depth[common] + 1
    return parents
