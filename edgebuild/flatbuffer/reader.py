"""What a .tflite file holds: tensors, operators with their versions, signatures, and the memory its activations need.

The format is TensorFlow Lite's schema version 3; its accessors are those that the ai-edge-litert wheel brings.
"""

from __future__ import annotations

import functools
import math
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgebuild.core.model import UNKNOWN_RUNTIME, ArtifactSpec, Operator, TensorSpec
from edgebuild.errors import StepError
from edgebuild.flatbuffer import macs

_IDENTIFIER = b"TFL3"
_CONVERSIONS = frozenset({"QUANTIZE", "DEQUANTIZE"})
_RUNTIMES = Path(__file__).parent / "runtime_versions.toml"
# Types that numpy does not know are read as bytes of this size.
_ITEM_BYTES = {"string": 1, "resource": 1, "variant": 1, "int4": 1, "uint4": 1, "int2": 1, "bfloat16": 2}


def _names(enumeration: type) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


_OPERATORS = _names(schema.BuiltinOperator)
_TYPES = {value: name.lower() for value, name in _names(schema.TensorType).items()}


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
    if len(data) < 8 or data[4:8] != _IDENTIFIER:
        raise StepError(f"{name} is not a .tflite file", f"Its identifier is not {_IDENTIFIER.decode()}.")
    try:
        return _Model(data).spec()
    except Exception as error:  # the accessors check nothing: a damaged file raises whatever it likes
        raise StepError(f"{name} is damaged", f"{type(error).__name__}: {error}") from None


@functools.cache
def runtime_versions() -> dict[str, list[str]]:
    """For each builtin operator the oldest TensorFlow Lite runtime of each version; "" where none is published."""
    return tomllib.loads(_RUNTIMES.read_text(encoding="utf-8"))


class _Model:
    """One file while it is read. Every count is held against the file's size, so that a damaged one ends soon."""

    def __init__(self, data: bytes) -> None:
        self._size = len(data)
        self._model: Any = schema.Model.GetRootAs(data, 0)
        if self._count(self._model.SubgraphsLength()) == 0:
            raise ValueError("it holds no graph")
        self._graph: Any = self._model.Subgraphs(0)
        self._tensors = [self._graph.Tensors(index) for index in range(self._count(self._graph.TensorsLength()))]

    def spec(self) -> ArtifactSpec:
        signatures = [self._model.SignatureDefs(i) for i in range(self._count(self._model.SignatureDefsLength()))]
        main = next((signature for signature in signatures if signature.SubgraphIndex() == 0), None)
        names = self._names_given_by(main) if main is not None else {}
        return ArtifactSpec(
            inputs=tuple(self._tensor(i, names) for i in _indices(self._graph.InputsAsNumpy())),
            outputs=tuple(self._tensor(i, names) for i in _indices(self._graph.OutputsAsNumpy())),
            operators=tuple(self._operators(self._through_conversions(names))),
            signatures=tuple(_text(signature.SignatureKey()) for signature in signatures),
            activations_bytes=self._activations_bytes(),
        )

    def _count(self, count: int) -> int:
        if count * 4 > self._size:
            raise ValueError("it counts more parts than it has bytes")
        return count

    def _operators(self, names: dict[int, str]) -> Iterator[Operator]:
        for number in range(self._count(self._model.SubgraphsLength())):
            graph = self._model.Subgraphs(number)
            for index in range(self._count(graph.OperatorsLength())):
                yield self._operator(graph, graph.Operators(index), names if number == 0 else {})

    def _operator(self, graph: Any, operator: Any, names: dict[int, str]) -> Operator:
        code = self._model.OperatorCodes(operator.OpcodeIndex())
        name = self._operator_name(code)
        version = code.Version()
        inputs = [graph.Tensors(i) for i in _indices(operator.InputsAsNumpy()) if i >= 0]
        written = [i for i in _indices(operator.OutputsAsNumpy()) if i >= 0]
        outputs = [graph.Tensors(i) for i in written]
        data = [tensor for tensor in inputs if not self._is_constant(tensor)] + outputs
        return Operator(
            name=name,
            version=version,
            tensor=(names.get(written[0]) or _text(outputs[0].Name())) if outputs else "",
            dtypes=tuple(dict.fromkeys(_dtype(tensor) for tensor in data)),
            runtime=_runtime(name, version),
            dynamic=any(-1 in _signature(tensor) for tensor in outputs),
            macs=macs.of_operator(
                name,
                [_shape(graph.Tensors(i)) if i >= 0 else () for i in _indices(operator.InputsAsNumpy())],
                [_shape(tensor) for tensor in outputs],
            ),
        )

    def _operator_name(self, code: Any) -> str:
        # Files older than operator 127 keep the code in the byte-wide field.
        builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        if builtin != schema.BuiltinOperator.CUSTOM:
            return _OPERATORS.get(builtin, f"UNKNOWN:{builtin}")
        custom = _text(code.CustomCode())
        return f"FLEX:{custom.removeprefix('Flex')}" if custom.startswith("Flex") else f"CUSTOM:{custom}"

    def _is_constant(self, tensor: Any) -> bool:
        buffer = self._model.Buffers(tensor.Buffer())
        return bool(buffer.DataLength() > 0 or buffer.Size() > 1)

    def _names_given_by(self, signature: Any) -> dict[int, str]:
        """The names by which a signature calls tensors; the converter's own are made of the layers' paths."""
        inputs = (signature.Inputs(i) for i in range(self._count(signature.InputsLength())))
        outputs = (signature.Outputs(i) for i in range(self._count(signature.OutputsLength())))
        return {entry.TensorIndex(): _text(entry.Name()) for entry in (*inputs, *outputs)}

    def _through_conversions(self, names: dict[int, str]) -> dict[int, str]:
        """The names of a graph's ends, carried over to the tensors behind the conversions that stand there."""
        carried = dict(names)
        for index in range(self._count(self._graph.OperatorsLength())):
            operator = self._graph.Operators(index)
            if self._operator_name(self._model.OperatorCodes(operator.OpcodeIndex())) in _CONVERSIONS:
                before, after = operator.Inputs(0), operator.Outputs(0)
                if before in names or after in names:
                    carried.setdefault(before, names.get(after, ""))
                    carried.setdefault(after, names.get(before, ""))
        return carried

    def _tensor(self, index: int, names: dict[int, str]) -> TensorSpec:
        tensor = self._tensors[index]
        quantization = tensor.Quantization()
        is_quantized = quantization is not None and quantization.ScaleLength() == 1
        return TensorSpec(
            name=names.get(index) or _text(tensor.Name()),
            dtype=_dtype(tensor),
            shape=_signature(tensor),
            scale=float(quantization.Scale(0)) if is_quantized else 0.0,
            zero_point=int(quantization.ZeroPoint(0)) if is_quantized else 0,
            index=index,
        )

    def _activations_bytes(self) -> int:
        """The bytes of all tensors that are alive together, at the operator where they are most.

        A tensor lives from the operator that writes it to the last that reads it; the graph's inputs live from the
        start, its outputs and its state to the end. Kernels that work in place may need less; their scratch memory is
        not counted.
        """
        count = self._count(self._graph.OperatorsLength())
        first: dict[int, int] = dict.fromkeys(_indices(self._graph.InputsAsNumpy()), 0)
        last: dict[int, int] = {}
        for step in range(count):
            operator = self._graph.Operators(step)
            for index in _indices(operator.OutputsAsNumpy()):
                first.setdefault(index, step)
                last[index] = step
            for index in _indices(operator.InputsAsNumpy()):
                last[index] = step
        last |= dict.fromkeys(_indices(self._graph.OutputsAsNumpy()), count)
        states = [index for index, tensor in enumerate(self._tensors) if tensor.IsVariable()]
        first |= dict.fromkeys(states, 0)
        last |= dict.fromkeys(states, count)
        changes = np.zeros(count + 2, np.int64)
        for index, start in first.items():
            if index >= 0 and not self._is_constant(self._tensors[index]):
                size = _size_bytes(self._tensors[index])
                changes[start] += size
                changes[last.get(index, start) + 1] -= size
        return int(changes.cumsum().max())


def _runtime(name: str, version: int) -> str:
    """The oldest runtime that knows a version of an operator."""
    known = runtime_versions().get(name, [])
    if known and version > len(known):
        return UNKNOWN_RUNTIME
    return known[version - 1] if 0 < version <= len(known) else ""


def _indices(array: Any) -> list[int]:
    """An absent vector of the schema reads as 0."""
    return [] if isinstance(array, int) else [int(index) for index in array]


def _text(raw: bytes | None) -> str:
    return raw.decode("utf-8", "replace") if raw else ""


def _dtype(tensor: Any) -> str:
    return _TYPES.get(tensor.Type(), f"type {tensor.Type()}")


def _signature(tensor: Any) -> tuple[int, ...]:
    """The shape, with -1 for a dimension that was left open."""
    open_shape = tensor.ShapeSignatureAsNumpy()
    shape = open_shape if not isinstance(open_shape, int) and len(open_shape) else tensor.ShapeAsNumpy()
    return tuple(_indices(shape))


def _shape(tensor: Any) -> tuple[int, ...]:
    return tuple(abs(size) for size in _indices(tensor.ShapeAsNumpy()))


def _size_bytes(tensor: Any) -> int:
    dtype = _dtype(tensor)
    item = _ITEM_BYTES[dtype] if dtype in _ITEM_BYTES else np.dtype(dtype).itemsize
    return item * math.prod(_shape(tensor))
