"""A .tflite file of operators in a row, for the tests of what becomes of them on accelerators."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

BUILTIN, TYPE = schema.BuiltinOperator, schema.TensorType


class Step(NamedTuple):
    """An operator: its code, the shape of what it writes, its second input where it has one, and its options."""

    code: int
    shape: tuple[int, ...]
    constant: tuple[int, ...] = ()
    options: Any = None


def chain(path: Path, shape: Sequence[int], steps: Sequence[Step], dtype: int = TYPE.FLOAT32) -> Path:
    """Write the file; what the operators write is called made0, made1, ..."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs, model.buffers, model.operatorCodes = 3, [graph], [schema.BufferT()], []
    graph.operators, graph.tensors = [], [_tensor("x", shape, dtype)]
    latest = 0
    for position, step in enumerate(steps):
        inputs = [latest]
        if step.constant:
            inputs.append(len(graph.tensors))
            graph.tensors.append(_tensor(f"constant{position}", [len(step.constant)], TYPE.INT32, len(model.buffers)))
            model.buffers.append(schema.BufferT())
            model.buffers[-1].data = np.array(step.constant, np.int32).view(np.uint8)
        latest = len(graph.tensors)
        graph.tensors.append(_tensor(f"made{position}", step.shape, dtype))
        graph.operators.append(_operator(position, inputs, latest, step.options))
        model.operatorCodes.append(_code(step.code))
    graph.inputs, graph.outputs = [0], [latest]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def _tensor(name: str, shape: Sequence[int], dtype: int, buffer: int = 0) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(shape), dtype, buffer
    if dtype == TYPE.INT8:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [0.05], [0]
    return tensor


def _operator(code: int, inputs: list[int], output: int, options: Any) -> Any:
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = code, inputs, [output]
    if options is not None:
        operator.builtinOptions = options
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
    return operator


def _code(builtin: int) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = builtin, min(builtin, 127), 1
    return code
