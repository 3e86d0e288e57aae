"""How the integers of a tensor map to values, and the operator that brings them to another such map."""

from __future__ import annotations

from typing import Any, NamedTuple

from ai_edge_litert import schema_py_generated as schema

from edgebuild.flatbuffer.rewriting import opcodes

_TYPES = schema.TensorType
# The first versions of QUANTIZE that take integers of a type.
VERSIONS = {_TYPES.INT8: 2, _TYPES.INT16: 3}


class Grid(NamedTuple):
    """value = scale * (integer - zero)."""

    type: int
    scale: float
    zero: int


def of(tensor: Any) -> Grid | None:
    """The grid of a tensor with one scale; None for any other, as for indices and pixels that nobody quantized."""
    quantization = tensor.quantization
    if quantization is None or quantization.scale is None or len(quantization.scale) != 1:
        return None
    return Grid(tensor.type, float(quantization.scale[0]), int(quantization.zeroPoint[0]))


def requantizing(model: Any, kind: int, given: int, output: int) -> Any:
    """QUANTIZE from integers of a type to the tensor `output`; it is not in any graph yet."""
    return opcodes.operator(model, schema.BuiltinOperator.QUANTIZE, VERSIONS[kind], [given], output)
