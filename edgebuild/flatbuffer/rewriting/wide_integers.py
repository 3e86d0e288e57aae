"""Whole numbers of 64 bits in a file kept in 32: positions in tables, what they are made of, and what compares them.

numpy and Keras give int64 by habit. TensorFlow Lite Micro's kernels of GATHER, SUB and CAST take int32 alone, and so do
compilers for NPUs. A file is rewritten only as a whole: where all of its operators on such numbers are known here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgebuild.flatbuffer.rewriting import opcodes, tight, unused

_CODES, _TYPES = schema.BuiltinOperator, schema.TensorType
_LIMITS = np.iinfo(np.int32)
# They compute, compare, look up or move whole numbers in 32 bits as in 64, as long as all results fit.
_ALIKE = frozenset(
    getattr(_CODES, name)
    for name in (
        *("ADD", "ARG_MAX", "ARG_MIN", "BROADCAST_TO", "CAST", "CONCATENATION", "EQUAL", "EXPAND_DIMS", "GATHER"),
        *("GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "MAXIMUM", "MINIMUM", "NOT_EQUAL", "ONE_HOT", "PACK"),
        *("PAD", "RESHAPE", "SLICE", "SPLIT", "SQUEEZE", "STRIDED_SLICE", "SUB", "TILE", "TRANSPOSE", "UNPACK"),
    )
)
_ARGUMENTS = frozenset({_CODES.ARG_MAX, _CODES.ARG_MIN})


def narrowed(data: bytes, largest: int) -> bytes:
    """A file without tensors of 64 bits; the same bytes where it has none, or where they have to stay.

    Args:
        data: a .tflite file.
        largest: the size of the largest number that is known to go in; beyond 32 bits nothing is changed.

    Raises:
        ValueError: the file is damaged.
    """
    model: Any = schema.ModelT.InitFromPackedBuf(data, 0)
    wide = [tensor for graph in model.subgraphs for tensor in graph.tensors if tensor.type == _TYPES.INT64]
    if largest > _LIMITS.max or len(model.subgraphs) != 1 or not wide:
        return data
    graph = model.subgraphs[0]
    touching = [operator for operator in graph.operators or () if _is_wide(graph, operator)]
    if not all(opcodes.kind_of(model, operator) in _ALIKE for operator in touching):
        return data
    constants = [tensor for tensor in wide if _values(model, tensor) is not None]
    if not all(_fits(model, tensor) for tensor in constants):
        return data
    for tensor in constants:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(_values(model, tensor).astype(np.int32).tobytes(), np.uint8)
        model.buffers.append(buffer)
        tensor.buffer = len(model.buffers) - 1
    for tensor in wide:
        tensor.type = _TYPES.INT32
    for operator in touching:
        _declare(model, operator)
    graph.operators = list(_without_copies(model, graph))
    unused.drop_tensors(model)
    unused.drop_operator_codes(model)
    unused.drop_buffers(model)
    return tight.pack(model)


def _is_wide(graph: Any, operator: Any) -> bool:
    ends = [*unused.present(operator.inputs), *unused.present(operator.outputs)]
    return any(graph.tensors[index].type == _TYPES.INT64 for index in ends)


def _values(model: Any, tensor: Any) -> Any:
    """The values of a constant of 64 bits; None for any other tensor."""
    content = model.buffers[tensor.buffer].data
    return None if content is None or not len(content) else np.asarray(content, np.uint8).view("<i8")


def _fits(model: Any, tensor: Any) -> bool:
    values = _values(model, tensor)
    return bool(values.min() >= _LIMITS.min and values.max() <= _LIMITS.max)


def _declare(model: Any, operator: Any) -> None:
    """What an operator's options say of the types at its ends."""
    options, kind = operator.builtinOptions, opcodes.kind_of(model, operator)
    if options is None:
        return
    if kind in _ARGUMENTS:
        options.outputType = _TYPES.INT32
    for field in ("inDataType", "outDataType") if kind == _CODES.CAST else ():
        if getattr(options, field) == _TYPES.INT64:
            setattr(options, field, _TYPES.INT32)


def _without_copies(model: Any, graph: Any) -> Iterator[Any]:
    """The operators in order, but for casts between equal types."""
    stands: dict[int, int] = {}
    ends = unused.present(graph.outputs)
    for operator in graph.operators:
        operator.inputs = np.array([stands.get(int(index), int(index)) for index in operator.inputs], np.int32)
        made = int(operator.outputs[0])
        if opcodes.kind_of(model, operator) == _CODES.CAST and made not in ends:
            given = int(operator.inputs[0])
            if graph.tensors[given].type == graph.tensors[made].type:
                stands[made] = given
                continue
        yield operator
