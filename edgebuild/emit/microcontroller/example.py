"""The example: a program that prepares the network, fills its inputs, runs it and reads its outputs."""

from __future__ import annotations

from collections.abc import Iterable

from edgebuild.core.delivery import Layout
from edgebuild.emit.microcontroller import cpp, tensors
from edgebuild.emit.microcontroller.cpp import filled
from edgebuild.emit.microcontroller.firmware import Firmware
from edgebuild.emit.microcontroller.tensors import FIRST, FOLLOWING, Port, ports

_ENTRIES = {
    Layout.PLAIN: "int main() { return Run(); }",
    Layout.ZEPHYR: "int main() { return Run(); }",
    Layout.ESP_IDF: 'extern "C" void app_main() { Run(); }',
    # Once: a network with a state would answer the same sample differently the second time.
    Layout.ARDUINO: "void setup() { Run(); }\n\nvoid loop() {}",
}
# The library of Arduino is found by its main header, which must come first.
_FIRST = {Layout.ARDUINO: "#include <TensorFlowLite.h>\n\n"}
# For a network that keeps state: a second sample shows whether that is reset, or carried over, as it should be.
_FOLLOWED = """\
  const int result = Read(*interpreter, false);
  if (result != 0) return result;
{reset}  if (!Fill(*interpreter, true)) return -2;
  if (interpreter->Invoke() != kTfLiteOk) return -3;
  return Read(*interpreter, true);"""


def program(firmware: Firmware, layout: Layout) -> str:
    """Its text; with a test vector it checks itself, without one it feeds zeros."""
    identifier = cpp.identifier(firmware.name)
    inputs, outputs = ports("Input", firmware.spec.inputs), ports("Output", firmware.spec.outputs)
    checks = firmware.vector is not None
    follows = firmware.vector is not None and firmware.vector.following is not None
    count = tensors.variables_count(firmware.data)
    return filled(
        "example.cc",
        firmware,
        first=_FIRST.get(layout, ""),
        vector_include=f'#include "{identifier}_test_vector.h"\n' if checks else "",
        variables_include=_include("micro_allocator.h", "micro_resource_variable.h") if count else "",
        interpreter=_with_variables() if count else _without_variables(),
        reset=_reset(firmware),
        which=", bool following" if follows else "",
        fill="\n".join(_fill(port, _source(port, firmware)) for port in inputs),
        read=_compare(identifier, outputs, firmware) if checks else _read(identifier, outputs),
        once=", false" if follows else "",
        result=_FOLLOWED.format(reset=_reset(firmware)) if follows else "  return Read(*interpreter);",
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


def _source(port: Port, firmware: Firmware) -> str:
    """The array that a port is filled from or compared with; empty where there is no test vector."""
    if firmware.vector is None:
        return ""
    first = f"net::{FIRST}{port.label}"
    return first if firmware.vector.following is None else f"(following ? net::{FOLLOWING}{port.label} : {first})"


def _fill(port: Port, source: str) -> str:
    label = port.label
    if source:
        value = f"{source}[index]"
    elif port.is_quantized:
        value = f"net::Quantize{label}(0.0f)"
    else:
        value = f"net::{label}Type()"
    comment = "" if source else "  // Put a sample of your own here.\n"
    loop = f"  for (std::size_t index = 0; index < net::k{label}Length; ++index) {label.lower()}[index] = {value};"
    return f"{_pointer(port, 'input')}{comment}{loop}"


def _compare(identifier: str, outputs: Iterable[Port], firmware: Firmware) -> str:
    lines = ["  int differing = 0;"]
    for port in outputs:
        label, name = port.label, port.label.lower()
        expected = f"{_source(port, firmware)}[index]"
        differs = f"{name}[index] != {expected}"
        if port.tensor.dtype.startswith("float"):
            differs = f"std::fabs({name}[index] - {expected}) > 1e-5f"
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
