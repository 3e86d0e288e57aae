"""What C++ is told of inputs and outputs: their names, types, shapes, quantization and the test vector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edgebuild.core.model import TensorSpec
from edgebuild.emit.microcontroller import cpp
from edgebuild.errors import StepError

# How the arrays of a test vector are called, with the label of their port behind.
FIRST = "kTest"
FOLLOWING = "kTestFollowing"


class Port(NamedTuple):
    """An input or output as C++ names it: "Input" where there is one, "Input0" and so on where there are several."""

    label: str
    position: int
    tensor: TensorSpec

    @property
    def type(self) -> str:
        """The C++ type of its elements."""
        return cpp.type_of(self.tensor.dtype, self.label)

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape; a dimension that the file leaves open is 1, as TFLM takes it."""
        return tuple(abs(size) for size in self.tensor.shape)

    @property
    def length(self) -> int:
        """How many elements it has."""
        return math.prod(self.shape)

    @property
    def is_quantized(self) -> bool:
        """Whether it stores integers that stand for real values."""
        return bool(self.tensor.scale)


def ports(label: str, tensors: Sequence[TensorSpec]) -> tuple[Port, ...]:
    """The tensors at one end of a network; `label` is "Input" or "Output"."""
    if len(tensors) == 1:
        return (Port(label, 0, tensors[0]),)
    return tuple(Port(f"{label}{position}", position, tensor) for position, tensor in enumerate(tensors))


def declared(port: Port) -> str:
    """The constants of a port, and functions between real and stored values where it is quantized."""
    label = port.label
    shape = ", ".join(map(str, port.shape or (1,)))
    lines = [
        "",
        f"// {label} {cpp.string(port.tensor.name)}.",
        f"constexpr const char* k{label}Name = {cpp.string(port.tensor.name)};",
        f"using {label}Type = {port.type};",
        f"constexpr int k{label}Shape[] = {{{shape}}};",
        f"constexpr std::size_t k{label}Length = {port.length};",
    ]
    if port.is_quantized:
        arguments = f"k{label}Scale, k{label}ZeroPoint"
        lines += [
            f"constexpr float k{label}Scale = {cpp.real(port.tensor.scale)};",
            f"constexpr int k{label}ZeroPoint = {port.tensor.zero_point};",
            f"inline {label}Type Quantize{label}(float real) {{ return Quantize<{label}Type>(real, {arguments}); }}",
            f"inline float Dequantize{label}({label}Type stored) {{ return Dequantize(stored, {arguments}); }}",
        ]
    return "\n".join(lines) + "\n"


def test_array(port: Port, stored: bytes, word: str) -> str:
    """An array of what a port held; `word` begins its name.

    Raises:
        StepError: it is not as large as the port.
    """
    dtype: np.dtype[np.generic] = np.dtype(port.tensor.dtype).newbyteorder("<")
    if len(stored) != port.length * dtype.itemsize:
        raise StepError(f"the test vector has {len(stored)} bytes for {port.label}, which holds {port.length} elements")
    array: npt.NDArray[np.generic] = np.frombuffer(stored, dtype).astype(port.tensor.dtype)
    label = port.label
    return f"\nconstexpr {label}Type {word}{label}[k{label}Length] = {{\n{cpp.values(array)}\n}};\n"


def variables_count(data: bytes) -> int:
    """How many resource variables a .tflite file has; by their names, as TFLM counts them."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    handle = schema.BuiltinOperator.VAR_HANDLE
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes or ()]
    handles = [
        operator.builtinOptions
        for graph in model.subgraphs
        for operator in graph.operators or ()
        if codes[operator.opcodeIndex] == handle
    ]
    return len({(options.container, options.sharedName) for options in handles if options is not None})
