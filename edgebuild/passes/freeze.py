"""Static shapes: any network rewritten as a SavedModel whose inputs have a batch of 1 and no open dimension.

An open batch puts SHAPE, STRIDED_SLICE and PACK operators into the artifact, which NPU compilers and TFLM refuse.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import tensorflow as tf

from edgebuild import hashing
from edgebuild.child import Say
from edgebuild.core.model import ModelSpec, TensorSpec
from edgebuild.errors import StepError
from edgebuild.passes import precision
from edgebuild.passes.jobs import SAVED_MODEL, FreezeJob, Frozen
from edgebuild.passes.loading import Network, load, with_input_shape


def run(job: FreezeJob, say: Say) -> Frozen:
    """Load, fix the shapes and save.

    Raises:
        UsageError: the path is of no kind that can be loaded.
        StepError: the network cannot be loaded, or cannot be called with static shapes.
    """
    network = load(job.kind, job.path, signature=job.signature, allow_code=job.allow_code)
    say("fixing the batch at 1")
    return freeze(network, Path(job.out), name=job.path, input_shape=job.input_shape)


def freeze(network: Network, out: Path, *, name: str, input_shape: tuple[int, ...] = ()) -> Frozen:
    """Write a network as SAVED_MODEL with static shapes.

    Args:
        network: as loaded, or a model wrapped by `loading.from_keras_model`.
        out: the folder to write into.
        name: of the network, for errors.
        input_shape: without the batch, for a network that leaves dimensions open; empty for its own.

    Raises:
        StepError: the network cannot be called with static shapes, or computes in half precision.
    """
    inputs = [_static(spec, input_shape, len(network.inputs)) for spec in network.inputs]
    module = tf.Module()
    module.owner, module.tracked = network.owner, network.variables
    try:
        function = _function(network)
        one = function.get_concrete_function(*inputs)
        precision.require_float32(one.graph, name)
        module.network = function
        results = one.structured_outputs
        names = _output_names(network, len(results))
        outputs = [TensorSpec(name=n, dtype=results[n].dtype.name, shape=_shape(results[n])) for n in names]
        batched = all(spec.shape[0] is None for spec in network.inputs)
        if batched:
            _trace_batched(function, inputs)
        tf.saved_model.save(module, str(out / SAVED_MODEL), signatures={"serving_default": one})
    except (ValueError, TypeError, tf.errors.OpError) as error:
        raise StepError(f"{name} cannot be traced with a batch of 1", str(error).strip().splitlines()[0]) from None
    return Frozen(
        network=ModelSpec(
            inputs=tuple(
                TensorSpec(name=spec.name, dtype=spec.dtype.name, shape=(-1, *static.shape[1:]))
                for spec, static in zip(network.inputs, inputs, strict=True)
            ),
            outputs=tuple(outputs),
            layers=tuple(network.layers),
            parameters=sum(int(tf.size(variable)) for variable in network.variables),
            framework=network.framework,
            within=network.within,
        ),
        batched=batched,
        identity_sha256=_identity(one, network),
        notes=network.notes,
    )


def _static(spec: tf.TensorSpec, asked: tuple[int, ...], count: int) -> tf.TensorSpec:
    inner = list(spec.shape[1:])
    if asked and count == 1:
        inner = with_input_shape(inner, asked)
    if None in inner:
        raise StepError(
            f"the network's input {spec.name} leaves dimensions open: {[None, *inner]}",
            "An artifact needs static shapes.",
            "Fix them in edgebuild.toml, without the batch: [model] input_shape = [224, 224, 3].",
        )
    return tf.TensorSpec([1, *inner], spec.dtype, spec.name)


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
