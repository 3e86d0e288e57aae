"""Whole numbers of a network: into int8 kernels without a detour through float, and kept in 32 bits of 64.

A network that takes uint8 pixels and rescales them begins, as the converter writes it, with CAST to float32 and
QUANTIZE to int8. int8 at a step of 1 holds all 256 values exactly, so that one QUANTIZE from integers to integers does
the same, and what only moves values (slices, reshapes) moves them as int8.

numpy and Keras give int64 by habit. TensorFlow Lite Micro's kernels of GATHER, SUB and CAST take int32 alone, and so do
compilers for NPUs. A file is rewritten only as a whole: where all of its operators on such numbers are known here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgebuild.flatbuffer.rewriting import operators, tight, unused

_CODES = schema.BuiltinOperator
_TYPES = schema.TensorType
_BYTES = frozenset({_TYPES.UINT8, _TYPES.INT8})
_OTHERS = frozenset({_TYPES.BOOL, _TYPES.INT16, _TYPES.UINT16, _TYPES.INT32, _TYPES.UINT32, _TYPES.INT64})
_NUMBERS = frozenset({_TYPES.FLOAT32, *_BYTES, *_OTHERS}) - {_TYPES.BOOL}
_QUANTIZED = frozenset({_TYPES.INT8, _TYPES.INT16})
# Their results are some of the values that go in, wherever those lie; padding is with zeros.
_MOVING = frozenset(
    getattr(_CODES, name)
    for name in (
        *("CONCATENATION", "EXPAND_DIMS", "PACK", "PAD", "RESHAPE", "RESIZE_NEAREST_NEIGHBOR", "SLICE", "SPLIT"),
        *("SPLIT_V", "SQUEEZE", "STRIDED_SLICE", "TILE", "TRANSPOSE", "UNPACK"),
    )
)
_ROUNDING = 1e-6  # of a step that was worked out in float32
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


class _Region(NamedTuple):
    """What an input's values reach unchanged: the tensors, the casts between them, and where they are quantized."""

    tensors: frozenset[int]
    casts: tuple[int, ...]
    ends: tuple[int, ...]


def quantized(data: bytes, *, narrow: bool) -> bytes:
    """A file in which whole numbers that go in are quantized as integers; it computes the same.

    Inputs of uint8 and int8 stay what they are. Others (int32 pixels, say) become int8 or int16 at the step that their
    values were calibrated for, where that is asked for.

    Args:
        data: a .tflite file; one in which such inputs are used in another way, as indices, comes back as it is.
        narrow: whether wider inputs may become int8 or int16.

    Raises:
        ValueError: the file is damaged.
    """
    model: Any = schema.ModelT.InitFromPackedBuf(data, 0)
    graph = model.subgraphs[0]
    done = [_rewritten(model, graph, int(index), narrow=narrow) for index in unused.present(graph.inputs)]
    if not any(done):
        return data
    unused.drop_tensors(model)
    unused.drop_operator_codes(model)
    return tight.pack(model)


def _rewritten(model: Any, graph: Any, index: int, *, narrow: bool) -> bool:
    given = graph.tensors[index]
    if given.type not in _BYTES and not (narrow and given.type in _OTHERS):
        return False
    region = _region(model, graph, index)
    if region is None:
        return False
    if given.type in _BYTES:
        grid = operators.Grid(_TYPES.INT8, 1.0, -128 if given.type == _TYPES.UINT8 else 0)
    else:
        found, *more = {operators.grid_of(graph.tensors[graph.operators[place].outputs[0]]) for place in region.ends}
        if found is None or more:
            return False
        grid = found
    inside = index
    if given.type == _TYPES.UINT8:
        inside = len(graph.tensors)
        graph.tensors.append(_copied(given, b"_int8"))
        _set(given, operators.Grid(_TYPES.UINT8, 1.0, 0))
    for number in {*region.tensors - {index}, inside}:
        _set(graph.tensors[number], grid)
    _connect(model, graph, region, index, inside)
    return True


def _region(model: Any, graph: Any, index: int) -> _Region | None:
    """None where the values meet something else, or are not quantized."""
    constants = _constants(model, graph)
    tensors, casts, ends = {index}, [], []
    for place, operator in enumerate(graph.operators):
        inputs, outputs = unused.present(operator.inputs), unused.present(operator.outputs)
        if not tensors.intersection(inputs):
            continue
        code = operators.kind_of(model, operator)
        types = {graph.tensors[each].type for each in outputs}
        if code == _CODES.QUANTIZE and types <= _QUANTIZED:
            ends.append(place)
        elif code == _CODES.CAST and types <= _NUMBERS:
            casts.append(place)
            tensors.update(outputs)
        elif code in _MOVING and all(each in tensors or each in constants for each in inputs):
            tensors.update(outputs)
        else:
            return None
    if not casts or not ends or tensors.intersection(unused.present(graph.outputs)):
        return None
    return _Region(frozenset(tensors), tuple(casts), tuple(ends))


def _constants(model: Any, graph: Any) -> frozenset[int]:
    """The tensors of whole numbers that say where values go: shapes, axes, amounts."""
    filled = {number for number, buffer in enumerate(model.buffers) if buffer.data is not None and len(buffer.data)}
    wanted = (_TYPES.INT32, _TYPES.INT64)
    return frozenset(
        number for number, tensor in enumerate(graph.tensors) if tensor.buffer in filled and tensor.type in wanted
    )


def _connect(model: Any, graph: Any, region: _Region, given: int, inside: int) -> None:
    """Take out the casts, and quantize only where the step changes; `inside` holds what is given, as int8."""
    stands = {given: inside}
    kept: list[Any] = []
    for place, operator in enumerate(graph.operators):
        inputs = [stands.get(int(index), int(index)) for index in operator.inputs]
        made = int(operator.outputs[0])
        if place in region.casts or (place in region.ends and _is_copy(graph, inputs[0], made)):
            stands[made] = inputs[0]
            continue
        if place in region.ends:
            operator.opcodeIndex = operators.place(model, _CODES.QUANTIZE, operators.REQUANTIZING)
            if inputs[0] == inside and graph.tensors[made].type == _TYPES.INT8:
                inputs = [given]
        operator.inputs = np.array(inputs, np.int32)
        kept.append(operator)
    if inside != given and any(inside in operator.inputs for operator in kept):
        kept.insert(0, operators.operator(model, _CODES.QUANTIZE, operators.REQUANTIZING, [given], inside))
    graph.operators = kept


def _is_copy(graph: Any, source: int, made: int) -> bool:
    """Whether two tensors hold the same integers for the same values."""
    one, other = operators.grid_of(graph.tensors[source]), operators.grid_of(graph.tensors[made])
    if one is None or other is None:
        return False
    same = one._replace(scale=other.scale) == other and abs(one.scale - other.scale) <= _ROUNDING * one.scale
    return same and made not in unused.present(graph.outputs)


def _set(tensor: Any, grid: operators.Grid) -> None:
    tensor.type, tensor.quantization = grid.type, schema.QuantizationParametersT()
    tensor.quantization.scale = np.array([grid.scale], np.float32)
    tensor.quantization.zeroPoint = np.array([grid.zero], np.int64)


def _copied(tensor: Any, ending: bytes) -> Any:
    made = schema.TensorT()
    made.__dict__.update(tensor.__dict__)
    made.name = (tensor.name or b"") + ending
    return made


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
    if not all(operators.kind_of(model, operator) in _ALIKE for operator in touching):
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
    options, kind = operator.builtinOptions, operators.kind_of(model, operator)
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
        if operators.kind_of(model, operator) == _CODES.CAST and made not in ends:
            given = int(operator.inputs[0])
            if graph.tensors[given].type == graph.tensors[made].type:
                stands[made] = given
                continue
        yield operator
