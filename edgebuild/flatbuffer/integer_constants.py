"""The integer constants of a .tflite file: axes, paddings, strides and what else decides what an operator does."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgebuild.errors import StepError

_DTYPES: dict[int, np.dtype[Any]] = {
    schema.TensorType.INT8: np.dtype(np.int8),
    schema.TensorType.UINT8: np.dtype(np.uint8),
    schema.TensorType.INT16: np.dtype(np.int16),
    schema.TensorType.INT32: np.dtype(np.int32),
    schema.TensorType.INT64: np.dtype(np.int64),
}
_LONGEST = 64


def read(data: bytes, name: str, longest: int = _LONGEST) -> dict[int, tuple[int, ...]]:
    """The constants of the first graph by tensor, flat; one that holds one value throughout is that value once.

    Args:
        data: the bytes of a .tflite file.
        name: for errors.
        longest: constants of more values, and of several, are left out.

    Raises:
        StepError: the file is damaged.
    """
    try:
        model: Any = schema.Model.GetRootAs(data, 0)
        graph = model.Subgraphs(0)
        count = graph.TensorsLength()
        if count * 4 > len(data):
            raise ValueError("it counts more tensors than it has bytes")
        found = ((index, _values(model, graph.Tensors(index), longest)) for index in range(count))
        return {index: values for index, values in found if values is not None}
    except Exception as error:  # the accessors check nothing: a damaged file raises whatever it likes
        raise StepError(f"{name} is damaged", f"{type(error).__name__}: {error}") from None


def _values(model: Any, tensor: Any, longest: int) -> tuple[int, ...] | None:
    buffer = model.Buffers(tensor.Buffer())
    dtype = _DTYPES.get(tensor.Type())
    if dtype is None or tensor.Sparsity() is not None or buffer.DataLength() == 0:
        return None
    values = buffer.DataAsNumpy().view(dtype.newbyteorder("<"))
    if (values == values[0]).all():
        return (int(values[0]),)
    return tuple(values.tolist()) if values.size <= longest else None
