"""The weights of a .tflite file as they are stored: shares of zeros, unique values, sparse or not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgebuild.errors import StepError
from edgebuild.flatbuffer import sparse_encoding
from edgebuild.flatbuffer.sparse_encoding import Array

_DTYPES: dict[int, np.dtype[Any]] = {
    schema.TensorType.FLOAT32: np.dtype(np.float32),
    schema.TensorType.FLOAT16: np.dtype(np.float16),
    schema.TensorType.INT8: np.dtype(np.int8),
    schema.TensorType.UINT8: np.dtype(np.uint8),
}
# Operators and which of their inputs holds weights.
_WEIGHTS_INPUT = {
    "CONV_2D": 1,
    "CONV_3D": 1,
    "DEPTHWISE_CONV_2D": 1,
    "EMBEDDING_LOOKUP": 1,
    "FULLY_CONNECTED": 1,
    "TRANSPOSE_CONV": 1,
}
# Between stored weights and the operator that reads them: sparse ones are unpacked, float16 ones widened.
_UNPACKING = ("DENSIFY", "DEQUANTIZE")
_NAMES: dict[int, str] = {
    code: name for name, code in vars(schema.BuiltinOperator).items() if name in (*_WEIGHTS_INPUT, *_UNPACKING)
}


class Weights(NamedTuple):
    """One weight tensor.

    Attributes:
        name: the tensor's.
        operator: that reads it.
        output: the name of the tensor which that operator writes; it tells the layer.
        values: as stored, dense: [units, inputs] or [channels out, height, width, channels in]; depthwise kernels are
            [1, height, width, channels].
        scale: float32, of one entry or one for each channel; empty where the tensor is not quantized.
        is_sparse: whether the file leaves out the zeros.
        size_bytes: of the stored values and of the indices that place them.
    """

    name: str
    operator: str
    output: str
    values: Array
    scale: Array
    is_sparse: bool
    size_bytes: int

    @property
    def sparsity(self) -> float:
        """The share of zeros."""
        return 1.0 - float(np.count_nonzero(self.values)) / max(1, self.values.size)

    @property
    def unique(self) -> int:
        """How many different values are stored, zero included."""
        return len(np.unique(self.values))


def read(path: Path) -> tuple[Weights, ...]:
    """The weight tensors of a .tflite file in the order in which its operators read them, each once.

    Raises:
        StepError: the file is damaged.
        OSError: the file cannot be opened.
    """
    data = path.read_bytes()
    try:
        return tuple(_weights(schema.ModelT.InitFromPackedBuf(data, 0)))
    except Exception as error:  # the accessors check nothing: a damaged file raises whatever it likes
        raise StepError(f"the weights of {path.name} cannot be read", f"{type(error).__name__}: {error}") from None


def values_of(tensor: Any, buffer: Any) -> Array:
    """The values of a constant tensor, dense, whether the file stores all of them or not.

    Args:
        tensor: a TensorT of the schema.
        buffer: its BufferT.

    Raises:
        KeyError: its type is none of weights.
        ValueError: the tables that place its values do not fit each other.
    """
    values: Array = np.asarray(buffer.data, np.uint8).view(_DTYPES[tensor.type])
    shape = [int(size) for size in tensor.shape]
    if tensor.sparsity is None:
        return values.reshape(shape)
    return sparse_encoding.decode(values, tensor.sparsity, shape)


def is_float(tensor: Any) -> bool:
    """Whether a TensorT of the schema holds floating point numbers."""
    return tensor.type in _DTYPES and _DTYPES[tensor.type].kind == "f"


def _weights(model: Any) -> Iterator[Weights]:
    for graph in model.subgraphs:
        unpacked = _unpacked(graph, model)
        seen: set[int] = set()
        for operator in graph.operators:
            name = _name(operator, model)
            if name not in _WEIGHTS_INPUT:
                continue
            place = int(operator.inputs[_WEIGHTS_INPUT[name]])
            for _ in _UNPACKING:
                place = unpacked.get(place, place)
            tensor = graph.tensors[place]
            buffer = model.buffers[tensor.buffer]
            if place in seen or buffer.data is None or tensor.type not in _DTYPES:
                continue
            seen.add(place)
            output = graph.tensors[int(operator.outputs[0])]
            yield _described(tensor, buffer, name, _text(output.name))


def _described(tensor: Any, buffer: Any, operator: str, output: str) -> Weights:
    values = values_of(tensor, buffer)
    quantization = tensor.quantization
    scale = None if quantization is None else quantization.scale
    return Weights(
        name=_text(tensor.name),
        operator=operator,
        output=output,
        values=values,
        scale=np.zeros(0, np.float32) if scale is None else np.asarray(scale, np.float32),
        is_sparse=tensor.sparsity is not None,
        size_bytes=len(buffer.data) + sparse_encoding.indices_bytes(tensor.sparsity),
    )


def _unpacked(graph: Any, model: Any) -> dict[int, int]:
    """For each tensor that is unpacked or widened for its kernel the one that it is made of."""
    return {
        int(operator.outputs[0]): int(operator.inputs[0])
        for operator in graph.operators
        if _name(operator, model) in _UNPACKING
    }


def _name(operator: Any, model: Any) -> str:
    code = model.operatorCodes[operator.opcodeIndex]
    # Files older than operator 127 keep the code in the byte-wide field.
    return _NAMES.get(max(code.builtinCode, code.deprecatedBuiltinCode), "")


def _text(raw: bytes | None) -> str:
    return raw.decode("utf-8", "replace") if raw else ""
