"""The dependency graph of channels: every channel followed from the layer that makes it to all that take it.

The idea of coupling whatever shapes force to go together is DepGraph's (Fang et al., "DepGraph: Towards any structural
pruning", CVPR 2023, section 3.2); here single positions of axes are coupled rather than layers, so that concatenations,
slices and reshapes need no special care.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgebuild.passes.graph.ir import Call, Graph
from edgebuild.passes.surgery.channels import FIXED, Axes, Channels, Count, Group, LeftAlone, Vector, WeightAxis
from edgebuild.passes.surgery.rules import table
from edgebuild.passes.surgery.use import Classes, Ledger, Use


def trace(graph: Graph) -> Channels:
    """The channels of a graph: what can be pruned and what is coupled to what.

    Channels of layers that the rules do not know, and of those that a pruned channel would change for the others, are
    left alone and named.
    """
    ledger = Ledger()
    axes: dict[int, Axes] = {item.tensor: (None,) * len(graph.tensors[item.tensor].shape) for item in graph.inputs}
    for number, call in enumerate(graph.calls):
        use = use_of(ledger, graph, number, call, axes)
        for tensor, found in zip(call.outputs, table.trace_call(use), strict=True):
            axes[tensor] = found
    for tensor in graph.outputs:
        for vector in axes[tensor]:
            if vector is not None:
                ledger.atoms.pin(vector, "its channels are an output of the network")
    return _channels(ledger, axes)


def use_of(ledger: Ledger, graph: Graph, number: int, call: Call, axes: dict[int, Axes]) -> Use:
    """A call as its rule sees it, where `axes` holds those of all tensors that go in."""
    return Use(
        ledger,
        graph.layers[call.layer],
        number=number,
        args=call.args,
        kwargs=call.kwargs,
        inputs=[axes[tensor] for tensor in call.inputs],
        given=[graph.tensors[tensor].shape for tensor in call.inputs],
        results=[graph.tensors[tensor].shape for tensor in call.outputs],
    )


def _channels(ledger: Ledger, axes: dict[int, Axes]) -> Channels:
    classes = ledger.atoms.classes()
    weights = tuple(
        WeightAxis(layer, name, axis, classes.of(bound.vector), bound.role)
        for (layer, name, axis), bound in ledger.weights.items()
        if bound.vector is not None
    )
    counts = (
        *(Count(*key, classes.of(vector)) for key, vector in ledger.config.items() if vector is not None),
        *(
            Count(*key, tuple(map(classes.of, sizes)) if isinstance(sizes, tuple) else classes.of(sizes))
            for key, sizes in ledger.arguments.items()
        ),
    )
    found = {tensor: tuple(None if v is None else classes.of(v) for v in item) for tensor, item in axes.items()}
    made: dict[str, Vector] = {layer: classes.of(vector) for layer, vector in ledger.made.items()}
    vectors = [*_distinct(found), *(item.vector for item in weights)]
    return Channels(
        classes.total, found, weights, counts, _groups(classes, made, vectors), _left_alone(ledger, classes, made)
    )


def _distinct(axes: dict[int, Axes]) -> Iterator[Vector]:
    seen = set()
    for item in axes.values():
        for vector in item:
            if vector is not None and vector.tobytes() not in seen:
                seen.add(vector.tobytes())
                yield vector


def _groups(classes: Classes, made: dict[str, Vector], vectors: list[Vector]) -> tuple[Group, ...]:
    """Classes by the axes they stand on, and how often: within a group one is as good for the shapes as another.

    No axis can become empty, and none loses its multiple, as long as no group does.
    """
    signatures: list[list[tuple[int, int]]] = [[] for _ in range(classes.total)]
    for number, vector in enumerate(vectors):
        for item, times in zip(*np.unique(vector[vector != FIXED], return_counts=True), strict=True):
            signatures[item].append((number, int(times)))
    widths: list[dict[str, int]] = [{} for _ in range(classes.total)]
    for layer, vector in made.items():
        for item, times in zip(*np.unique(vector, return_counts=True), strict=True):
            widths[item][layer] = int(times)
    members: dict[tuple[tuple[int, int], ...], list[int]] = {}
    for item, signature in enumerate(signatures):
        if item not in classes.pinned:
            members.setdefault(tuple(signature), []).append(item)
    return tuple(
        Group(tuple(widths[items[0]]), tuple(items), tuple(widths[items[0]].values()))
        for items in members.values()
        if len(items) > 1
    )


def _left_alone(ledger: Ledger, classes: Classes, made: dict[str, Vector]) -> tuple[LeftAlone, ...]:
    found = []
    for layer, vector in made.items():
        reasons: dict[str, int] = {}
        for item in vector.tolist():
            if item in classes.pinned:
                reasons[classes.pinned[item]] = reasons.get(classes.pinned[item], 0) + 1
        found += [LeftAlone(layer, count, len(vector), reason) for reason, count in reasons.items()]
    found += [LeftAlone(layer, 1, 1, reason) for layer, reason in ledger.unknown.items()]
    return tuple(found)
