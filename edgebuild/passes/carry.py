"""A user's network as a graph that passes can change: read with its layers, in tf_keras, and proven to be the same."""

from __future__ import annotations

from pathlib import Path

import tf_keras

from edgebuild.actions.networks import NETWORK, Carried, CarryJob, FreezeJob
from edgebuild.child import Say
from edgebuild.errors import StepError
from edgebuild.passes import unrolling
from edgebuild.passes.graph import building, files, proof
from edgebuild.passes.graph.ir import Graph
from edgebuild.passes.graph.plain import simplify
from edgebuild.passes.loading import Network, load
from edgebuild.passes.static_shapes import Wanted, static

_SEED = 0  # of the inputs that prove it: the same network passes or fails every time


def run(job: CarryJob, say: Say) -> Carried:
    """Load, carry over and write NETWORK.

    Raises:
        UsageError: the path is of no kind that can be loaded.
        StepError: the network cannot be loaded, or has no layers that tf_keras can have.
    """
    network = load(job.kind, job.path, signature=job.signature, allow_code=job.allow_code)
    say("writing it with its layers")
    return write(network, job)


def write(network: Network, job: FreezeJob) -> Carried:
    """Carry a network that was loaded over, and write NETWORK.

    Raises:
        StepError: it has no layers that tf_keras can have.
    """
    wanted = Wanted(job.input_shape, job.input_shapes, job.data_shapes)
    graph, note = _carried(network, job.path, wanted)
    written = files.through_keras(graph)
    files.save(written, Path(job.out) / NETWORK)
    return Carried(
        identity_sha256=written.identity(),
        parameters=written.parameters,
        layers=tuple(written.layers),
        notes=(note,) if note else (),
    )


def graph_of(path: str, *, allow_code: bool) -> Graph:
    """The graph of another network, a teacher or a student.

    Args:
        path: a file, a folder or a module:callable.
        allow_code: whether Python code stored in it may run.

    Raises:
        UsageError: the path is of no kind that can be loaded.
        StepError: the network cannot be loaded, or has no layers that tf_keras can have.
    """
    kind = "folder" if Path(path).is_dir() else "file" if Path(path).is_file() else "callable"
    return _carried(load(kind, path, signature="", allow_code=allow_code), path, None)[0]


def _carried(network: Network, path: str, wanted: Wanted | None) -> tuple[Graph, str]:
    """The graph, and what is to be said of how it was come by."""
    if network.keras_model is None:
        raise StepError(
            f"the layers of {path} are not known",
            "It is a SavedModel that holds what its functions compute, not what they were made of.",
            "Name the .keras or .h5 file of the network.",
        )
    if streams := unrolling.stateful(network.keras_model):
        raise StepError(
            f"{', '.join(streams)} of {path} keeps state from one call to the next",
            "Passes train and calibrate on samples in any order.",
        )
    graph = _with_static_inputs(_read(network.keras_model), network, wanted)
    _require_known_layers(graph, path)
    gap = proof.require_equal(network.call, graph, seed=_SEED)
    if isinstance(network.keras_model, tf_keras.Model):
        return graph, ""
    within = f"{max(gap, _EPSILON):.0e} of the largest"
    return graph, f"carried over from {network.framework} to tf_keras, outputs equal within {within}"


def _require_known_layers(graph: Graph, path: str) -> None:
    """A file of layers is of use only where their classes can be had without the user's code."""
    for layer in graph.layers.values():
        word = layer.kind.__name__
        if not layer.kind.__module__.startswith("tf_keras.") or word == "Lambda":
            raise StepError(
                f"the layer {layer.name} ({word}) of {path} cannot be changed by passes",
                "What it computes is Python code of the network's own.",
                "Replace the layer by one that Keras has.",
            )


_EPSILON = 6e-8  # half of the last bit of float32: less than this nobody can tell


def _read(model: object) -> Graph:
    if isinstance(model, tf_keras.Model):
        return simplify(building.read(model))
    from edgebuild.passes.graph import from_keras3  # imports Keras 3, which takes a second

    return from_keras3.read(model)


def _with_static_inputs(graph: Graph, network: Network, wanted: Wanted | None) -> Graph:
    """The graph with the dimensions that its inputs leave open fixed, all shapes behind them worked out anew."""
    if wanted is None or not any(None in graph.tensors[item.tensor].shape[1:] for item in graph.inputs):
        return graph
    shapes = static([(spec.name, spec.shape[1:]) for spec in network.inputs], wanted).shapes
    known = {
        item.tensor: graph.tensors[item.tensor]._replace(shape=(graph.tensors[item.tensor].shape[0], *shape))
        for item, shape in zip(graph.inputs, shapes, strict=True)
    }
    return simplify(building.read(building.build(graph._replace(tensors={**graph.tensors, **known}))))
