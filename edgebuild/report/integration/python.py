"""The artifact in Python: LiteRT's package."""

from __future__ import annotations

from collections.abc import Iterator

from edgebuild.report.integration.facts import LIMITS, End, Facts, number, quoted, shown

_QUANTIZED = '''

def quantized(values, scale, zero_point, dtype):
    """Real values as the file stores them: rounded half away from zero, and kept within the type."""
    values = (values / np.float32(scale)).astype(np.float64)
    stored = np.trunc(values + np.copysign(0.5, values)) + zero_point
    return np.clip(stored, np.iinfo(dtype).min, np.iinfo(dtype).max).astype(dtype)
'''


_LABEL = '''
def label(values):
    """The name of the class that has the largest of an output's values."""
    return LABELS[int(np.argmax(values))]
'''.strip("\n")


def program(facts: Facts) -> str:
    """A module with a function `predict` of all inputs, each of one sample, that returns all outputs."""
    lines = ["import numpy as np", "from ai_edge_litert.interpreter import Interpreter", ""]
    lines += [f'interpreter = Interpreter(model_path="{facts.file}")', "interpreter.allocate_tensors()"]
    for kind in ("input", "output"):
        lines.append(f'{kind.upper()}S = [end["index"] for end in interpreter.get_{kind}_details()]')
    if facts.labels:
        lines.append(f"LABELS = [{quoted(facts.labels)}]")
    text = "\n".join(lines)
    if any(end.scale for end in facts.inputs):
        text += "\n" + _QUANTIZED.rstrip("\n")
    parts = [text, "\n".join(_predict(facts)), *([_LABEL] if facts.labels else [])]
    return "\n\n\n".join(parts) + "\n"


def _predict(facts: Facts) -> Iterator[str]:
    yield f"def predict({', '.join(end.variable for end in facts.inputs)}):"
    yield '    """' + "; ".join(f"{shown(end)}" for end in facts.inputs) + '."""'
    if facts.resets:
        yield "    interpreter.reset_all_variables()  # samples are independent: no state of the last one"
    for end in facts.inputs:
        yield from _fed(end, facts)
    yield "    interpreter.invoke()"
    for end in facts.outputs:
        read = f"interpreter.get_tensor(OUTPUTS[{end.position}])"
        if end.scale:
            read = f"(({read}.astype(np.float32) - {end.zero_point}) * np.float32({number(end.scale)}))"
        yield f"    {end.variable} = {read}  # {shown(end)}"
    yield f"    return {', '.join(end.variable for end in facts.outputs)}"


def _fed(end: End, facts: Facts) -> Iterator[str]:
    shape = ", ".join(map(str, end.shape))
    dtype = "float32" if end.is_real else "bool_" if end.dtype == "bool" else end.dtype
    yield f"    {end.variable} = np.asarray({end.variable}, np.{dtype}).reshape({shape or '()'})"
    if end.normalizes:
        mean, factor = _values(facts.mean), _values(facts.factor)
        yield f"    {end.variable} = ({end.variable} - {mean}) * {factor}"
    value = end.variable
    if end.scale:
        assert end.dtype in LIMITS, "only integers are quantized"
        value = f"quantized({end.variable}, {number(end.scale)}, {end.zero_point}, np.{end.dtype})"
    yield f"    interpreter.set_tensor(INPUTS[{end.position}], {value})"


def _values(values: tuple[float, ...]) -> str:
    text = ", ".join(map(number, values))
    return f"np.float32({text})" if len(values) == 1 else f"np.array([{text}], np.float32)"
