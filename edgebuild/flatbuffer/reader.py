"""What a build needs to know of its artifact: an inspection, reduced to its ends and its operators by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from edgebuild.core.inspection import Graph, Inspection, Operation, Signature, Tensor
from edgebuild.core.model import ArtifactSpec, Operator, TensorSpec
from edgebuild.flatbuffer.inspecting import inspect, runtime_versions

__all__ = ["parse", "read", "runtime_versions"]
_CONVERSIONS = frozenset({"QUANTIZE", "DEQUANTIZE"})


def read(path: Path) -> ArtifactSpec:
    """Read a .tflite file.

    Raises:
        StepError: the file is not a readable .tflite file.
        OSError: the file cannot be opened.
    """
    return parse(path.read_bytes(), path.name)


def parse(data: bytes, name: str) -> ArtifactSpec:
    """Read the bytes of a .tflite file; `name` is for errors.

    Raises:
        StepError: they are none.
    """
    return reduced(inspect(data, name))


def reduced(inspection: Inspection) -> ArtifactSpec:
    """What a build needs to know of a file; activations are those of the graph that is called from outside."""
    main = inspection.graphs[0]
    signature = next((signature for signature in inspection.ends if signature.graph == 0), None)
    names = _names_given(signature)
    carried = _through_conversions(main, names)
    return ArtifactSpec(
        inputs=_ends(main, main.inputs, signature.inputs if signature else {}),
        outputs=_ends(main, main.outputs, signature.outputs if signature else {}),
        operators=tuple(
            _operator(operation, graph, carried if graph is main else {})
            for graph in inspection.graphs
            for operation in graph.operations
        ),
        signatures=inspection.signatures,
        activations_bytes=main.memory.peak_bytes,
        keeps_state=any(map(_keeps_state, inspection.graphs)),
    )


def _keeps_state(graph: Graph) -> bool:
    """Whether a graph has variables that inferences write and leave: state tensors, or a stateful layer's resources."""
    if any(operation.name == "ASSIGN_VARIABLE" for operation in graph.operations):
        return True
    cleared = set(_cleared(graph))
    return any(tensor.is_variable and tensor.index not in cleared for tensor in graph.tensors)


def _cleared(graph: Graph) -> Iterator[int]:
    """The state tensors that are zero after each inference: ZEROS_LIKE writes them, or QUANTIZE writes x - x."""
    made_by = {index: operation for operation in graph.operations for index in operation.outputs}
    for operation in graph.operations:
        source = made_by.get(operation.inputs[0]) if operation.inputs else None
        is_zero = source is not None and source.name == "SUB" and len(set(source.inputs)) == 1
        if operation.name == "ZEROS_LIKE" or (operation.name == "QUANTIZE" and is_zero):
            yield from operation.outputs


def _names_given(signature: Signature | None) -> dict[int, str]:
    """The names by which a signature calls tensors; the converter's own are made of the layers' paths."""
    if signature is None:
        return {}
    return {index: name for ends in (signature.inputs, signature.outputs) for name, index in ends.items()}


def _through_conversions(graph: Graph, names: Mapping[int, str]) -> dict[int, str]:
    """The names of a graph's ends, carried over to the tensors behind the conversions that stand there."""
    carried = dict(names)
    for operation in graph.operations:
        if operation.name in _CONVERSIONS and operation.inputs and operation.outputs:
            before, after = operation.inputs[0], operation.outputs[0]
            if before in names or after in names:
                carried.setdefault(before, names.get(after, ""))
                carried.setdefault(after, names.get(before, ""))
    return carried


def _ends(graph: Graph, indices: Sequence[int], named: Mapping[str, int]) -> tuple[TensorSpec, ...]:
    """The tensors at one end; one that a signature has under several names gets each of them once."""
    names: dict[int, list[str]] = {}
    for name, index in named.items():
        names.setdefault(index, []).append(name)
    found = []
    for index in indices:
        if index >= 0:
            waiting = names.get(index, [])
            found.append(_end(graph.tensors[index], waiting.pop(0) if waiting else ""))
    return tuple(found)


def _end(tensor: Tensor, name: str) -> TensorSpec:
    quantization = tensor.quantization
    one = quantization is not None and len(quantization.scales) == 1 and quantization.zero_points
    return TensorSpec(
        name=name or tensor.name,
        dtype=tensor.dtype,
        shape=tensor.shape,
        scale=quantization.scales[0] if quantization and one else 0.0,
        zero_point=quantization.zero_points[0] if quantization and one else 0,
        index=tensor.index,
    )


def _operator(operation: Operation, graph: Graph, names: Mapping[int, str]) -> Operator:
    outputs = [graph.tensors[index] for index in operation.outputs if index >= 0]
    return Operator(
        name=operation.name,
        version=operation.version,
        tensor=(names.get(outputs[0].index) or outputs[0].name) if outputs else "",
        dtypes=tuple(dict.fromkeys(tensor.dtype for tensor in (*_data(operation, graph), *outputs))),
        runtime=operation.runtime,
        dynamic=any(-1 in tensor.shape for tensor in outputs),
        macs=operation.macs,
    )


def _data(operation: Operation, graph: Graph) -> Iterator[Tensor]:
    """What it reads that is no constant."""
    for index in operation.inputs:
        if index >= 0 and not graph.tensors[index].constant_bytes:
            yield graph.tensors[index]
