"""Networks made by hand, as .tflite files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

TYPE = schema.TensorType


class Network:
    """A .tflite under construction, of one graph."""

    def __init__(self) -> None:
        self._model = schema.ModelT()
        self._graph = schema.SubGraphT()
        self._model.version = 3
        # By convention the first buffer is empty and stands for no data.
        self._model.buffers = [schema.BufferT()]
        self._model.operatorCodes, self._model.signatureDefs = [], []
        self._model.subgraphs = [self._graph]
        self._graph.tensors, self._graph.operators = [], []

    def tensor(
        self, name: str, shape: list[int], dtype: int = TYPE.FLOAT32, *, constant: bool = False, **more: Any
    ) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name, shape, dtype
        tensor.shapeSignature = more.get("signature")
        tensor.isVariable = more.get("variable", False)
        if "scale" in more:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = more["scale"], more["zero_point"]
        if constant:
            buffer = schema.BufferT()
            buffer.data = more.get("data", [1] * 16)
            self._model.buffers.append(buffer)
            tensor.buffer = len(self._model.buffers) - 1
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def operator(
        self, code: int, inputs: list[int], outputs: list[int], version: int = 1, custom: str = "", options: Any = None
    ) -> None:
        entry = schema.OperatorCodeT()
        entry.builtinCode, entry.version = code, version
        entry.deprecatedBuiltinCode = min(code, 127)
        entry.customCode = custom or None
        self._model.operatorCodes.append(entry)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self._model.operatorCodes) - 1
        operator.inputs, operator.outputs = inputs, outputs
        if options is not None:
            operator.builtinOptions = options
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        self._graph.operators.append(operator)

    def signature(self, key: str, inputs: dict[str, int], outputs: dict[str, int]) -> None:
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = key, 0
        signature.inputs, signature.outputs = _maps(inputs), _maps(outputs)
        self._model.signatureDefs.append(signature)

    def write(self, path: Path, inputs: list[int], outputs: list[int]) -> Path:
        path.write_bytes(self.packed(inputs, outputs))
        return path

    def packed(self, inputs: list[int], outputs: list[int]) -> bytes:
        self._graph.inputs, self._graph.outputs = inputs, outputs
        builder = flatbuffers.Builder(1024)
        builder.Finish(self._model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def _maps(names: dict[str, int]) -> list[Any]:
    maps = []
    for name, index in names.items():
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = name, index
        maps.append(entry)
    return maps
