"""The example: a program that prepares the network, fills its inputs, runs it and reads its outputs."""

from __future__ import annotations

from collections.abc import Iterable

from edgebuild.core.delivery import Layout
from edgebuild.emit.microcontroller import cpp, variables
from edgebuild.emit.microcontroller.firmware import Firmware
from edgebuild.emit.microcontroller.templating import filled
from edgebuild.emit.microcontroller.tensors import Port, ports

_ENTRIES = {
    Layout.PLAIN: "int main() { return Run(); }",
    Layout.ZEPHYR: "int main() { return Run(); }",
    Layout.ESP_IDF: 'extern "C" void app_main() { Run(); }',
    # Once: a network with a state would answer the same sample differently the second time.
    Layout.ARDUINO: "void setup() { Run(); }\n\nvoid loop() {}",
}
# The library of Arduino is found by its main header, which must come first.
_FIRST = {Layout.ARDUINO: "#include <TensorFlowLite.h>\n\n"}


def program(firmware: Firmware, layout: Layout) -> str:
    """Its text; with a test vector it checks itself, without one it feeds zeros."""
    identifier = cpp.identifier(firmware.name)
    inputs, outputs = ports("Input", firmware.spec.inputs), ports("Output", firmware.spec.outputs)
    checks = firmware.vector is not None
    count = variables.count(firmware.data)
    return filled(
        "example.cc",
        firmware,
        first=_FIRST.get(layout, ""),
        vector_include=f'#include "{identifier}_test_vector.h"\n' if checks else "",
        variables_include=_include("micro_allocator.h", "micro_resource_variable.h") if count else "",
        interpreter=_with_variables() if count else _without_variables(),
        reset=_reset(firmware),
        fill="\n".join(_fill(port, from_vector=checks) for port in inputs),
        read=_compare(identifier, outputs) if checks else _read(identifier, outputs),
        entry=_ENTRIES[layout],
    )


def _include(*headers: str) -> str:
    return "".join(f'#include "tensorflow/lite/micro/{header}"\n' for header in headers)


def _without_variables() -> str:
    return (
        "  static tflite::MicroInterpreter interpreter(tflite::GetModel(net::kData), resolver, arena, sizeof(arena));"
    )


def _with_variables() -> str:
    return (
        "  tflite::MicroAllocator* allocator = tflite::MicroAllocator::Create(arena, sizeof(arena));\n"
        "  if (allocator == nullptr) return nullptr;\n"
        "  static tflite::MicroInterpreter interpreter(\n"
        "      tflite::GetModel(net::kData), resolver, allocator,\n"
        "      tflite::MicroResourceVariables::Create(allocator, net::kVariableCount));"
    )


def _reset(firmware: Firmware) -> str:
    """What is done about state before an input: an independent one must not see that of the one before."""
    if not firmware.spec.keeps_state:
        return ""
    if firmware.streams:
        return "  // The network carries its state over to the next input; Reset() begins a new stream.\n"
    return (
        "  // The network keeps state from one inference to the next: reset it before each independent input.\n"
        "  if (interpreter->Reset() != kTfLiteOk) return -5;\n"
    )


def _pointer(port: Port, end: str) -> str:
    name = port.label.lower()
    return (
        f"  net::{port.label}Type* {name} = interpreter.typed_{end}_tensor<net::{port.label}Type>({port.position});\n"
        f"  if ({name} == nullptr) return {'false' if end == 'input' else '-4'};\n"
    )


def _fill(port: Port, *, from_vector: bool) -> str:
    label = port.label
    if from_vector:
        value = f"net::kTest{label}[index]"
    elif port.is_quantized:
        value = f"net::Quantize{label}(0.0f)"
    else:
        value = f"net::{label}Type()"
    comment = "" if from_vector else "  // Put a sample of your own here.\n"
    loop = f"  for (std::size_t index = 0; index < net::k{label}Length; ++index) {label.lower()}[index] = {value};"
    return f"{_pointer(port, 'input')}{comment}{loop}"


def _compare(identifier: str, outputs: Iterable[Port]) -> str:
    lines = ["  int differing = 0;"]
    for port in outputs:
        label, name = port.label, port.label.lower()
        differs = f"{name}[index] != net::kTest{label}[index]"
        if port.tensor.dtype.startswith("float"):
            differs = f"std::fabs({name}[index] - net::kTest{label}[index]) > 1e-5f"
        lines.append(
            f"{_pointer(port, 'output')}"
            f"  for (std::size_t index = 0; index < net::k{label}Length; ++index) {{\n"
            f"    if ({differs}) ++differing;\n"
            "  }"
        )
    lines += [
        f'  MicroPrintf("{identifier}: %d values are not those of the build machine", differing);',
        "  return differing;",
    ]
    return "\n".join(lines)


def _read(identifier: str, outputs: tuple[Port, ...]) -> str:
    lines = []
    for port in outputs:
        name = port.label.lower()
        value = f"net::Dequantize{port.label}({name}[0])" if port.is_quantized else f"{name}[0]"
        lines.append(
            f"{_pointer(port, 'output')}"
            f"  // {port.label} holds net::k{port.label}Length values; here the first, in thousandths.\n"
            f'  MicroPrintf("{identifier}: {name}[0] = %d / 1000", static_cast<int>({value} * 1000));'
        )
    return "\n".join((*lines, "  return 0;"))
