"""The converter's errors in one sentence each: what it refused, and the layers that came from.

Its own text is MLIR, a compiler's language: locations nested in locations, operations with all their attributes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from edgebuild.errors import StepError
from edgebuild.readback import layers_of

# "error: 'tf.Erf' op is neither a custom op nor a flex op", after a location that names the layer.
_UNKNOWN = re.compile(r"'(tf\.\w+)' op is neither")
# "error: 'tfl.concatenation' op failed to verify that values and output must have same element type".
_REFUSED = re.compile(r"error: .*?'(tf[l]?\.\w+)' op (.+)")
_LOCATION = re.compile(r'"([^"]+)"')
# "tensorflow/lite/kernels/elu.cc:12 type != 1 Node number 3 (ELU) failed to prepare."
_NODE = re.compile(r"Node number \d+ \((\w+)\) failed")
_MLIR = re.compile(r"\b(loc|callsite|fused)\(|<unknown>:|: note: |%\w+ = |\bmlir::|tensor<")
_LONGEST = 300


def refusal(text: str, layers: Sequence[str]) -> StepError:
    """What the converter's error says.

    Args:
        text: of its exception.
        layers: the network's, by name.
    """
    unknown = _by_operation(_UNKNOWN, text, layers)
    if unknown:
        return StepError(
            f"the network has operations that TensorFlow Lite does not know: {'; '.join(_named(unknown))}",
            remedy="Replace the layers named by ones made of builtin operators.",
        )
    refused = _by_operation(_REFUSED, text, layers)
    if refused:
        match = _REFUSED.search(text)
        reason = "" if match is None or _MLIR.search(match[2]) else match[2].strip()[:_LONGEST]
        return StepError(f"the converter refused {'; '.join(_named(refused))}", reason, "Replace the layers named.")
    return StepError("the converter refused the network", " ".join(_plain(text))[:_LONGEST])


def _by_operation(pattern: re.Pattern[str], text: str, layers: Sequence[str]) -> dict[str, dict[str, None]]:
    """For each operation that a line of an error names, the layers that the line names."""
    found: dict[str, dict[str, None]] = {}
    for line in text.splitlines():
        if match := pattern.search(line):
            places = [layer for place in _LOCATION.findall(line) for layer in layers_of(place, layers)]
            found.setdefault(match[1], {}).update(dict.fromkeys(places))
    return found


def _named(found: dict[str, dict[str, None]]) -> list[str]:
    return [f"{op} (from {', '.join(layers)})" if layers else op for op, layers in found.items()]


def _plain(text: str) -> Iterator[str]:
    """The lines that people can read: the first, and the one that names an operator."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not _MLIR.search(line)]
    yield from lines[:1]
    yield from (line for line in lines[1:] if _NODE.search(line))
