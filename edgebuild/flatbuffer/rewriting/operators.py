"""Operators of a ModelT: by kind and version, exchanged for others, and the grids that their integers stand on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgebuild.flatbuffer.rewriting import tight

# The first version of QUANTIZE that takes integers.
REQUANTIZING = 2
_MOST_DEPRECATED = 127  # the old field of a code is one byte
Exchange = Callable[[Any, Any, Any], Iterable[Any] | None]
_TYPES = schema.TensorType
# The first versions of QUANTIZE that take integers of a type.
VERSIONS = {_TYPES.INT8: 2, _TYPES.INT16: 3}


def kind_of(model: Any, operator: Any) -> int:
    """The BuiltinOperator of an operator."""
    code = model.operatorCodes[operator.opcodeIndex]
    return max(int(code.builtinCode), int(code.deprecatedBuiltinCode))


def place(model: Any, kind: int, version: int) -> int:
    """The place of an operator code, which is added where there is none."""
    for number, there in enumerate(model.operatorCodes):
        if (max(there.builtinCode, there.deprecatedBuiltinCode), there.version) == (kind, version):
            return number
    made = schema.OperatorCodeT()
    made.builtinCode, made.deprecatedBuiltinCode, made.version = kind, min(kind, _MOST_DEPRECATED), version
    model.operatorCodes.append(made)
    return len(model.operatorCodes) - 1


def operator(model: Any, kind: int, version: int, inputs: Sequence[int], output: int) -> Any:
    """A new operator without options; it is not in any graph yet."""
    made = schema.OperatorT()
    made.opcodeIndex = place(model, kind, version)
    made.inputs, made.outputs = np.array(inputs, np.int32), np.array([output], np.int32)
    return made


"""What comes in the place of an operator, given ModelT, SubGraphT and OperatorT; None where it stays."""


def exchanged(data: bytes, exchange: Exchange) -> bytes:
    """A file with other operators, in the order in which they are given; the same bytes where all stay.

    Raises:
        ValueError: the file is damaged.
    """
    model: Any = schema.ModelT.InitFromPackedBuf(data, 0)
    changed = False
    for graph in model.subgraphs:
        operators: list[Any] = []
        for operator in graph.operators or ():
            others = exchange(model, graph, operator)
            operators += [operator] if others is None else others
            changed = changed or others is not None
        graph.operators = operators
    return tight.pack(model) if changed else data


class Grid(NamedTuple):
    """value = scale * (integer - zero)."""

    type: int
    scale: float
    zero: int


def grid_of(tensor: Any) -> Grid | None:
    """The grid of a tensor with one scale; None for any other, as for indices and pixels that nobody quantized."""
    quantization = tensor.quantization
    if quantization is None or quantization.scale is None or len(quantization.scale) != 1:
        return None
    return Grid(tensor.type, float(quantization.scale[0]), int(quantization.zeroPoint[0]))


def requantizing(model: Any, kind: int, given: int, output: int) -> Any:
    """QUANTIZE from integers of a type to the tensor `output`; it is not in any graph yet."""
    return operator(model, schema.BuiltinOperator.QUANTIZE, VERSIONS[kind], [given], output)
