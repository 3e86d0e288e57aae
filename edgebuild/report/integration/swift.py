"""The artifact on iOS, in Swift: the pod of TensorFlow Lite."""

from __future__ import annotations

from collections.abc import Iterator

from edgebuild.report.integration.facts import LIMITS, End, Facts, at, number, quoted, shown

# The newest that is published as a pod (tensorflow/flutter-tflite pull request 300 moves to it).
VERSION = "2.17.0"
_SWIFT = {
    "float32": "Float32",
    "bool": "Bool",
    "int64": "Int64",
    "int8": "Int8",
    "uint8": "UInt8",
    "int16": "Int16",
    "int32": "Int32",
}
_QUANTIZED = """
  /// A real value as the file stores it: rounded half away from zero, and kept within the type.
  private func quantized(_ value: Float32, _ scale: Float32, _ zeroPoint: Double, _ least: Double, _ most: Double)
    -> Double
  {
    min(most, max(least, Double(value / scale).rounded(.toNearestOrAwayFromZero) + zeroPoint))
  }
"""


def podfile() -> str:
    """Of the `Podfile`."""
    return f"use_frameworks!\npod 'TensorFlowLiteSwift', '{VERSION}'\n"


def program(facts: Facts) -> str:
    """A class that owns the interpreter, with a function `predict` of all inputs that returns all outputs."""
    stem, _, suffix = facts.file.rpartition(".")
    fresh = facts.resets
    path = f'Bundle.main.path(forResource: "{stem}", ofType: "{suffix}")!'
    lines = ["import Foundation", "import TensorFlowLite", "", f"final class {facts.name} {{"]
    lines += [f"  static let labels = [{quoted(facts.labels)}]"] if facts.labels else []
    if fresh:
        lines.append(f"  private let path = {path}")
    else:
        lines += ["  private let interpreter: Interpreter", "", "  init() throws {"]
        lines += [
            f"    interpreter = try Interpreter(modelPath: {path})",
            "    try interpreter.allocateTensors()",
            "  }",
        ]
    lines += ["", *(f"  {line}" if line else "" for line in _predict(facts, fresh=fresh))]
    text = "\n".join(lines) + "\n"
    return text + (_QUANTIZED if any(end.scale for end in facts.inputs) else "") + "}\n"


def _predict(facts: Facts, *, fresh: bool) -> Iterator[str]:
    for end in (*facts.inputs, *facts.outputs):
        yield f"// {shown(end)}"
    given = ", ".join(f"{end.variable}: [{_value(end)}]" for end in facts.inputs)
    made = [f"[{_value(end)}]" for end in facts.outputs]
    yield f"func predict({given}) throws -> {made[0] if len(made) == 1 else '(' + ', '.join(made) + ')'} {{"
    if fresh:
        yield "  // Samples are independent, and state is not reset otherwise in Swift: an interpreter for each."
        yield "  let interpreter = try Interpreter(modelPath: path)"
        yield "  try interpreter.allocateTensors()"
    for end in facts.inputs:
        yield from (f"  {line}" for line in _fed(end, facts))
    yield "  try interpreter.invoke()"
    for end in facts.outputs:
        yield from (f"  {line}" for line in _read(end))
    read = [f"values{end.position}" for end in facts.outputs]
    yield f"  return {read[0] if len(read) == 1 else '(' + ', '.join(read) + ')'}"
    yield "}"


def _value(end: End) -> str:
    return "Float32" if end.is_real else _SWIFT[end.dtype]


def _fed(end: End, facts: Facts) -> Iterator[str]:
    name, stored = end.variable, f"stored{end.position}"
    yield f"precondition({name}.count == {end.size})"
    if not end.scale and not end.normalizes:
        yield f"try interpreter.copy({name}.withUnsafeBytes {{ Data($0) }}, toInputAt: {end.position})"
        return
    value = f"{name}[i]"
    if end.normalizes:
        for constant, values in (("mean", facts.mean), ("factor", facts.factor)):
            literal = ", ".join(map(number, values))
            yield f"let {constant}{end.position}: [Float32] = [{literal}]"
        mean, factor = at(f"mean{end.position}", facts.mean), at(f"factor{end.position}", facts.factor)
        value = f"({value} - {mean}) * {factor}"
    if end.scale:
        least, most = LIMITS[end.dtype]
        value = f"{_SWIFT[end.dtype]}(quantized({value}, {number(end.scale)}, {end.zero_point}, {least}, {most}))"
    yield f"let {stored}: [{_SWIFT[end.dtype]}] = {name}.indices.map {{ i in {value} }}"
    yield f"try interpreter.copy({stored}.withUnsafeBytes {{ Data($0) }}, toInputAt: {end.position})"


def _read(end: End) -> Iterator[str]:
    kind = _SWIFT[end.dtype]
    read = (
        f"try interpreter.output(at: {end.position}).data.withUnsafeBytes {{ Array($0.bindMemory(to: {kind}.self)) }}"
    )
    if not end.scale:
        yield f"let values{end.position} = {read}"
        return
    yield f"let made{end.position} = {read}"
    zero_point = f"({end.zero_point})" if end.zero_point < 0 else str(end.zero_point)
    value = f"Float32(Int($0) - {zero_point}) * {number(end.scale)}"
    yield f"let values{end.position} = made{end.position}.map {{ {value} }}"
