"""The artifact in C++: the C API of LiteRT, which is TensorFlow Lite's."""

from __future__ import annotations

from collections.abc import Iterator

from edgebuild.report.integration.facts import LIMITS, End, Facts, at, number, quoted, shown

_C = {"float32": "float", "bool": "bool", "int64": "int64_t", **{name: f"{name}_t" for name in LIMITS}}
_QUANTIZED = """
// A real value as the file stores it: rounded half away from zero, and kept within the type.
template <typename T>
T Quantized(float value, float scale, int zero_point) {
  const double stored = std::round(static_cast<double>(value / scale)) + zero_point;
  const double least = std::numeric_limits<T>::min(), most = std::numeric_limits<T>::max();
  return static_cast<T>(std::min(most, std::max(least, stored)));
}
"""


def program(facts: Facts) -> str:
    """A class that owns the interpreter, with a function `Predict` of all inputs that fills all outputs."""
    extra = '#include "tensorflow/lite/c/c_api_experimental.h"\n' if facts.resets else ""
    labels = f"\nconst char* const kLabels[] = {{{quoted(facts.labels)}}};\n" if facts.labels else ""
    return (
        "#include <algorithm>\n#include <cmath>\n#include <cstddef>\n#include <cstdint>\n#include <limits>\n"
        '#include <vector>\n\n#include "tensorflow/lite/c/c_api.h"\n'
        + extra
        + (_QUANTIZED if any(end.scale for end in facts.inputs) else "")
        + labels
        + "\n"
        + "\n".join(_class(facts))
        + "\n"
    )


def _class(facts: Facts) -> Iterator[str]:
    name = facts.name
    yield f"class {name} {{"
    yield " public:"
    yield f'  explicit {name}(const char* path = "{facts.file}") : model_(TfLiteModelCreateFromFile(path)) {{'
    yield "    TfLiteInterpreterOptions* options = TfLiteInterpreterOptionsCreate();"
    yield "    TfLiteInterpreterOptionsSetNumThreads(options, 2);"
    yield "    if (model_ != nullptr) interpreter_ = TfLiteInterpreterCreate(model_, options);"
    yield "    TfLiteInterpreterOptionsDelete(options);"
    yield "    ok_ = interpreter_ != nullptr && TfLiteInterpreterAllocateTensors(interpreter_) == kTfLiteOk;"
    yield "  }"
    yield f"  {name}(const {name}&) = delete;"
    yield f"  ~{name}() {{"
    yield "    if (interpreter_ != nullptr) TfLiteInterpreterDelete(interpreter_);"
    yield "    if (model_ != nullptr) TfLiteModelDelete(model_);"
    yield "  }"
    yield ""
    yield from _predict(facts)
    yield ""
    yield " private:"
    yield "  TfLiteModel* model_;"
    yield "  TfLiteInterpreter* interpreter_ = nullptr;"
    yield "  bool ok_ = false;"
    yield "};"


def _predict(facts: Facts) -> Iterator[str]:
    for end in (*facts.inputs, *facts.outputs):
        yield f"  // {shown(end)}"
    given = [f"const {_value(end)} (&{end.variable})[{end.size}]" for end in facts.inputs]
    made = [f"{_value(end)} (&{end.variable})[{end.size}]" for end in facts.outputs]
    yield f"  bool Predict({', '.join([*given, *made])}) {{"
    yield "    if (!ok_) return false;"
    if facts.resets:
        yield "    // Samples are independent: no state of the last one."
        yield "    if (TfLiteInterpreterResetVariableTensors(interpreter_) != kTfLiteOk) return false;"
    for end in facts.inputs:
        yield from _fed(end, facts)
    yield "    if (TfLiteInterpreterInvoke(interpreter_) != kTfLiteOk) return false;"
    for end in facts.outputs:
        yield from _read(end)
    yield "    return true;"
    yield "  }"


def _value(end: End) -> str:
    """What an app has of an end."""
    return "float" if end.is_real else _C[end.dtype]


def _fed(end: End, facts: Facts) -> Iterator[str]:
    tensor = f"in{end.position}"
    yield f"    TfLiteTensor* {tensor} = TfLiteInterpreterGetInputTensor(interpreter_, {end.position});"
    if not end.scale and not end.normalizes:
        size = f"sizeof({end.variable})"
        yield f"    if (TfLiteTensorCopyFromBuffer({tensor}, {end.variable}, {size}) != kTfLiteOk) return false;"
        return
    stored = f"stored{end.position}"
    yield f"    std::vector<{_C[end.dtype]}> {stored}({end.size});"
    yield f"    for (std::size_t i = 0; i < {end.size}; ++i) {{"
    value = f"{end.variable}[i]"
    if end.normalizes:
        yield from (f"      {line}" for line in _constants(facts))
        value = f"({value} - {at('kMean', facts.mean)}) * {at('kFactor', facts.factor)}"
    if end.scale:
        value = f"Quantized<{_C[end.dtype]}>({value}, {number(end.scale, 'f')}, {end.zero_point})"
    yield f"      {stored}[i] = {value};"
    yield "    }"
    size = f"{stored}.size() * sizeof({stored}[0])"
    yield f"    if (TfLiteTensorCopyFromBuffer({tensor}, {stored}.data(), {size}) != kTfLiteOk) return false;"


def _constants(facts: Facts) -> Iterator[str]:
    for name, values in (("kMean", facts.mean), ("kFactor", facts.factor)):
        yield f"static const float {name}[] = {{{', '.join(number(value, 'f') for value in values)}}};"


def _read(end: End) -> Iterator[str]:
    tensor = f"out{end.position}"
    yield f"    const TfLiteTensor* {tensor} = TfLiteInterpreterGetOutputTensor(interpreter_, {end.position});"
    if not end.scale:
        size = f"sizeof({end.variable})"
        yield f"    if (TfLiteTensorCopyToBuffer({tensor}, {end.variable}, {size}) != kTfLiteOk) return false;"
        return
    made = f"made{end.position}"
    yield f"    std::vector<{_C[end.dtype]}> {made}({end.size});"
    size = f"{made}.size() * sizeof({made}[0])"
    yield f"    if (TfLiteTensorCopyToBuffer({tensor}, {made}.data(), {size}) != kTfLiteOk) return false;"
    yield f"    for (std::size_t i = 0; i < {end.size}; ++i) {{"
    yield f"      {end.variable}[i] = static_cast<float>({made}[i] - {end.zero_point}) * {number(end.scale, 'f')};"
    yield "    }"
