"""Static shapes: any network rewritten as a SavedModel whose inputs have a batch of 1 and no open dimension.

An open batch puts SHAPE, STRIDED_SLICE and PACK operators into the artifact, which NPU compilers and TFLM refuse.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from edgebuild import hashing
from edgebuild.actions.networks import GRAPH, SAVED_MODEL, FreezeJob, Frozen
from edgebuild.child import Say
from edgebuild.core.model import ModelSpec, TensorSpec
from edgebuild.core.passes import Recurrent
from edgebuild.errors import StepError
from edgebuild.passes import precision, unrolling
from edgebuild.passes.graph import building, files, proof
from edgebuild.passes.loading import Network, first_line, from_keras_model, load
from edgebuild.passes.static_shapes import Wanted, static

_OWN = Wanted()
_SEED = 0  # of the inputs that prove it
_MAGNITUDES = (0.1, 1.0, 10.0)
# A layer that takes pixels of 0 to 255 makes them smaller; one that takes 0 to 1 does not.
_LEAST_DEVIATION = 8.0


def run(job: FreezeJob, say: Say) -> Frozen:
    """Load, fix the shapes and save.

    Raises:
        UsageError: the path is of no kind that can be loaded.
        StepError: the network cannot be loaded, or cannot be called with static shapes.
    """
    if job.kind == GRAPH:
        network = from_keras_model(building.build(files.load(Path(job.path))))
    else:
        network = load(job.kind, job.path, signature=job.signature, allow_code=job.allow_code)
    say("fixing the batch at 1")
    wanted = Wanted(job.input_shape, job.input_shapes, job.data_shapes)
    return freeze(network, Path(job.out), name=job.path, wanted=wanted, recurrent=job.recurrent)


def freeze(
    network: Network,
    out: Path,
    *,
    name: str,
    wanted: Wanted = _OWN,
    recurrent: Recurrent = Recurrent.AUTO,
    only_for_converter: bool = False,
) -> Frozen:
    """Write a network as SAVED_MODEL with static shapes.

    Args:
        network: as loaded, or a model wrapped by `loading.from_keras_model`.
        out: the folder to write into.
        name: of the network, for errors.
        wanted: shapes for what the network leaves open.
        recurrent: how layers that step through a sequence are written; with an open batch they stay as they are.
        only_for_converter: whether nothing else will run it, which would take many samples at a time.

    Raises:
        StepError: the network cannot be called with static shapes, would not compute the same with them, or computes in
            half precision.
    """
    shapes = static([(spec.name, spec.shape[1:]) for spec in network.inputs], wanted)
    inputs = [
        tf.TensorSpec([1, *shape], spec.dtype, spec.name)
        for spec, shape in zip(network.inputs, shapes.shapes, strict=True)
    ]
    batched = not only_for_converter and all(spec.shape[0] is None for spec in network.inputs)
    try:
        traced = _traced(network, inputs, recurrent, name)
        if batched:
            _trace_batched(traced.function, inputs)
        _save(network, traced, out, with_function=not only_for_converter)
    except (ValueError, TypeError, tf.errors.OpError) as error:
        raise StepError(f"{name} cannot be traced with a batch of 1", first_line(error)) from None
    one, loops = traced.one, traced.loops
    return Frozen(
        network=_described(network, inputs, one.structured_outputs),
        batched=batched,
        identity_sha256=_identity(one, network),
        notes=(*network.notes, *shapes.notes),
        unrolled=tuple(loops.unrolled),
        fused=tuple(loops.fused),
        loops=tuple(loops.left) or tuple(unrolling.loops_over_lists(one.graph.as_graph_def(), network.layers)),
        recurrent=recurrent,
    )


class _Traced(NamedTuple):
    """A network as a function, its trace with a batch of 1, and the loops that were met."""

    function: Any
    one: Any
    loops: unrolling.Loops


def _traced(network: Network, inputs: list[tf.TensorSpec], recurrent: Recurrent, name: str) -> _Traced:
    """Trace a network with static shapes; what stands in for its loops is proved to compute the same."""
    function = _function(network)
    with unrolling.traced(network.keras_model, recurrent) as loops:
        one = function.get_concrete_function(*inputs)
    precision.require_float32(one.graph, name)
    if loops.unrolled or loops.fused:
        _require_equal(network, one, inputs, name)
    return _Traced(function, one, loops)


def _save(network: Network, traced: _Traced, out: Path, *, with_function: bool) -> None:
    """Write a SavedModel with all that the trace refers to, and the function that takes other batches, if asked for."""
    module = tf.Module()
    module.owner, module.tracked = network.owner, _captured(network, traced.one)
    if with_function:
        module.network = traced.function
    tf.saved_model.save(module, str(out / SAVED_MODEL), signatures={"serving_default": traced.one})


def _described(network: Network, inputs: list[tf.TensorSpec], results: dict[str, Any]) -> ModelSpec:
    """The network as seen from outside, given the static shapes of its inputs and what its trace gives."""
    names = _output_names(network, len(results))
    return ModelSpec(
        inputs=tuple(
            TensorSpec(name=spec.name, dtype=spec.dtype.name, shape=(-1, *static.shape[1:]))
            for spec, static in zip(network.inputs, inputs, strict=True)
        ),
        outputs=tuple(TensorSpec(name=n, dtype=results[n].dtype.name, shape=_shape(results[n])) for n in names),
        layers=tuple(network.layers),
        parameters=sum(int(tf.size(variable)) for variable in network.variables),
        framework=network.framework,
        within=network.within,
        streams=tuple(unrolling.stateful(network.keras_model)),
        pixels=inputs_of_pixels(network.keras_model, [spec.name for spec in network.inputs]),
    )


def _captured(network: Network, one: Any) -> list[Any]:
    """All that the trace refers to and a SavedModel must hold: variables, states of layers, lookup tables."""
    model = network.keras_model
    layers = model._flatten_layers() if model is not None else ()
    values = (value for layer in layers for value in vars(layer).values())
    used = {id(captured) for captured in one.captured_inputs}  # the converter takes no table that nothing refers to
    resources = (value for value in values if isinstance(value, tf.saved_model.experimental.TrackableResource))
    tables = [value for value in resources if id(value.resource_handle) in used]
    return [*network.variables, *one.graph.variables, *tables]


def _require_equal(network: Network, one: Any, inputs: list[tf.TensorSpec], name: str) -> None:
    """Prove that the trace with its steps written out, or with other functions for them, computes the same."""
    rng = np.random.default_rng(_SEED)
    for magnitude in _MAGNITUDES:
        arrays = [tf.constant(_drawn(spec, magnitude, rng)) for spec in inputs]
        unrolling.reset(network.keras_model)
        expected = network.call(*arrays)
        unrolling.reset(network.keras_model)
        found = one(*arrays)
        named = zip(_output_names(network, len(expected)), expected, strict=True)
        gap = max(proof.difference(value.numpy(), found[output].numpy()) for output, value in named)
        if not gap <= proof.TOLERANCE:
            raise StepError(
                f"{name} does not compute the same with its recurrent layers traced for the converter",
                f"On random inputs of about {magnitude:g} its outputs differ by {gap:.2g} of their largest value.",
                "Please report this with the network.",
            )
    unrolling.reset(network.keras_model)


def _drawn(spec: tf.TensorSpec, magnitude: float, rng: np.random.Generator) -> Any:
    """Random values of an input; of integers the two that every table of words and classes has."""
    if spec.dtype.is_floating:
        return (magnitude * rng.normal(size=spec.shape)).astype(spec.dtype.as_numpy_dtype)
    return rng.integers(0, 2, spec.shape).astype(spec.dtype.as_numpy_dtype)


def _function(network: Network) -> Any:
    def call(*tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        results = network.call(*tensors)
        return dict(zip(_output_names(network, len(results)), results, strict=True))

    return tf.function(call, autograph=False)


def _output_names(network: Network, count: int) -> list[str]:
    """The network's own names, or numbered ones where it does not have one for each output."""
    return network.outputs if len(network.outputs) == count else [f"output_{number}" for number in range(count)]


def _trace_batched(function: Any, inputs: list[tf.TensorSpec]) -> None:
    """Add a trace with an open batch, with which the float network is scored many samples at a time."""
    function.get_concrete_function(*[tf.TensorSpec([None, *spec.shape[1:]], spec.dtype, spec.name) for spec in inputs])


def _shape(tensor: Any) -> tuple[int, ...]:
    return tuple(-1 if size is None else int(size) for size in tensor.shape)


def _identity(one: Any, network: Network) -> str:
    """A hash over all that decides what the network computes, however it was saved.

    Large constants are not in the graph: a function captures them. What is captured and cannot be read, a lookup table
    say, makes the network unlike any other.
    """
    graph = one.graph.as_graph_def().SerializeToString(deterministic=True)
    parts = [hashing.of_bytes(graph)]
    variables = {id(variable.handle): variable for variable in (*network.variables, *one.graph.variables)}
    for captured in one.captured_inputs:
        value = variables.get(id(captured)) if captured.dtype == tf.resource else captured
        parts.append(uuid.uuid4().hex if value is None else hashing.of_bytes(value.numpy().tobytes()))
    return hashing.of_data(parts)


def inputs_of_pixels(model: Any, names: list[str]) -> tuple[str, ...]:
    """The inputs, by the names they have here, whose pixels of 0 to 255 the first layer scales.

    Args:
        model: of Keras 3 or tf_keras; None where there is a traced graph only.
        names: of its inputs, in order.
    """
    tensors = getattr(model, "inputs", None) or []
    if len(tensors) != len(names):
        return ()
    return tuple(name for name, tensor in zip(names, tensors, strict=True) if _is_scaled(model, tensor))


def _is_scaled(model: Any, tensor: Any) -> bool:
    for layer in getattr(model, "layers", ()):
        if not any(tensor is fed for fed in _fed(layer)):
            continue
        if type(layer).__name__ in ("Rescaling", "Normalization"):
            return _deviation(layer) >= _LEAST_DEVIATION
        inner = getattr(layer, "inputs", None) if hasattr(layer, "layers") else None
        if inner and len(inner) == 1:
            return _is_scaled(layer, inner[0])
    return False


def _fed(layer: Any) -> Iterator[Any]:
    """All tensors that a layer is called with."""
    for node in getattr(layer, "_inbound_nodes", ()):
        tensors = getattr(node, "input_tensors", ())
        yield from tensors if isinstance(tensors, list | tuple) else (tensors,)


def _deviation(layer: Any) -> float:
    """What a layer divides by, at least; 0 where that is not known."""
    if type(layer).__name__ == "Rescaling":
        scale = float(np.max(np.abs(np.asarray(layer.scale, np.float64))))
        return 1 / scale if scale else 0.0
    variance = getattr(layer, "variance", None)
    if variance is None or getattr(layer, "invert", False):
        return 0.0
    return float(np.sqrt(np.min(np.asarray(variance, np.float64))))
