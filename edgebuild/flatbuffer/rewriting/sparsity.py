"""Sparse weights of a .tflite file, stored in as few bytes as the format allows.

The TFLite converter (Optimize.EXPERIMENTAL_SPARSITY) stores a constant sparsely from a share of zeros on at which that
may cost more bytes than it saves (an index for each value), always along the last dimension (where more than 256
channels need indices of two bytes) and without blocks. What it wrote is read back here and each tensor stored in the
smallest of its layouts; one that is smallest as it is, or that a runtime cannot unpack, loses its DENSIFY operator.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgebuild.flatbuffer import weights
from edgebuild.flatbuffer.rewriting import tight, unused
from edgebuild.flatbuffer.weights import Array, is_float, values_of

# What a DENSIFY operator and the tensor between it and its kernel take in the file, as measured.
_DENSIFY_BYTES = 120
_DENSIFY = schema.BuiltinOperator.DENSIFY
_CONVOLUTIONS = frozenset(
    {
        schema.BuiltinOperator.CONV_2D,
        schema.BuiltinOperator.DEPTHWISE_CONV_2D,
        schema.BuiltinOperator.TRANSPOSE_CONV,
    }
)


def compact(data: bytes) -> bytes:
    """A file that computes the same from the same weights, each stored in its smallest form.

    Args:
        data: a .tflite file; one in which nothing is sparse comes back as it is.

    Raises:
        KeyError: a sparse tensor has a type that is none of weights.
        ValueError: the file is damaged.
    """
    model: Any = schema.ModelT.InitFromPackedBuf(data, 0)
    graphs = {
        number: graph
        for number, graph in enumerate(model.subgraphs)
        if any(tensor.sparsity is not None for tensor in graph.tensors)
    }
    if not graphs:
        return data
    for number, graph in graphs.items():
        unpacked = _unpacked(graph, model)
        for index, tensor in enumerate(graph.tensors):
            if tensor.sparsity is not None:
                can_unpack = _can_unpack(graph, model, unpacked.get(index, index))
                _store(tensor, model, may_be_sparse=can_unpack)
        _drop(model, number, {index: made for index, made in unpacked.items() if graph.tensors[index].sparsity is None})
    return tight.pack(model)


def _can_unpack(graph: Any, model: Any, index: int) -> bool:
    """Whether every kernel family takes a tensor from DENSIFY.

    XNNPACK (of LiteRT 2.3) refuses a whole network for one FULLY_CONNECTED whose integer weights come from there, and
    for one convolution of float activations with integer weights.
    """
    if is_float(graph.tensors[index]):
        return True
    readers = [operator for operator in graph.operators if index in operator.inputs]
    read_with = [graph.tensors[int(other)] for reader in readers for other in reader.inputs if other >= 0]
    convolve = all(_code(reader, model) in _CONVOLUTIONS for reader in readers)
    return convolve and not any(is_float(tensor) for tensor in read_with)


def _store(tensor: Any, model: Any, *, may_be_sparse: bool) -> None:
    array = values_of(tensor, model.buffers[tensor.buffer])
    layout = min(weights.sparse_layouts(array.shape), key=lambda layout: weights.sparse_size_bytes(array, layout))
    pays = weights.sparse_size_bytes(array, layout) + _DENSIFY_BYTES < array.nbytes
    buffer = schema.BufferT()
    if not (may_be_sparse and pays):
        tensor.sparsity = None
        buffer.data = _raw(array)
    else:
        values, tensor.sparsity = weights.encode_sparse(array, layout)
        buffer.data = _raw(values)
    users = sum(other.buffer == tensor.buffer for graph in model.subgraphs for other in graph.tensors)
    if users > 1:  # the converter lets equal constants share a buffer, and the others are still to be read
        model.buffers.append(buffer)
        tensor.buffer = len(model.buffers) - 1
    else:
        model.buffers[tensor.buffer] = buffer


def _raw(array: Array) -> Array:
    return np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)


def _unpacked(graph: Any, model: Any) -> dict[int, int]:
    """For each sparse tensor that an operator unpacks the tensor that it unpacks it to."""
    return {
        int(operator.inputs[0]): int(operator.outputs[0])
        for operator in graph.operators
        if _code(operator, model) == _DENSIFY
    }


def _code(operator: Any, model: Any) -> int:
    return int(model.operatorCodes[operator.opcodeIndex].builtinCode)


def _drop(model: Any, number: int, dense: dict[int, int]) -> None:
    """Let the kernels read tensors that are dense now, and drop what unpacked them."""
    graph = model.subgraphs[number]
    graph.operators = [
        operator
        for operator in graph.operators
        if not (_code(operator, model) == _DENSIFY and int(operator.inputs[0]) in dense)
    ]
    source = {made: index for index, made in dense.items()}
    kept = [index for index in range(len(graph.tensors)) if index not in source]
    place = {old: new for new, old in enumerate(kept)} | {-1: -1}
    graph.tensors = [graph.tensors[index] for index in kept]
    unused.renumber(model, number, lambda index: place[source.get(index, index)])
