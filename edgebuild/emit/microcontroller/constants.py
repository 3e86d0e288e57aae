"""The header of constants: arena, quantization, preprocessing, labels."""

from __future__ import annotations

import numpy as np

from edgebuild.emit.microcontroller import cpp, tensors
from edgebuild.emit.microcontroller.cpp import arena, filled
from edgebuild.emit.microcontroller.firmware import Firmware
from edgebuild.emit.microcontroller.tensors import declared, ports

_POINTER_BYTES = 4


def header(firmware: Firmware) -> str:
    """The text of NAME_constants.h.

    Raises:
        StepError: an input or output has a type that C++ has not.
    """
    inputs, outputs = ports("Input", firmware.spec.inputs), ports("Output", firmware.spec.outputs)
    return filled(
        "constants.h",
        firmware,
        arena=arena(firmware, "h", "d").rstrip(),
        preprocess=_preprocess(firmware),
        inputs=str(len(inputs)),
        outputs=str(len(outputs)),
        tensors="".join(declared(port) for port in (*inputs, *outputs)),
        variables=_variables(firmware),
        labels=_labels(firmware),
    )


def label_bytes(labels: tuple[str, ...]) -> int:
    """What the names of classes take on a 32-bit device: the strings with their ends, and a pointer to each."""
    return sum(len(label.encode()) + 1 + _POINTER_BYTES for label in labels)


def _preprocess(firmware: Firmware) -> str:
    if not firmware.normalizes:
        return ""
    settings = firmware.preprocess
    means, scales = np.broadcast_arrays(np.atleast_1d(settings.mean), np.atleast_1d(settings.scale))
    arrays = (
        f"constexpr float kMean[] = {{{', '.join(map(cpp.real, means))}}};\n"
        f"constexpr float kScale[] = {{{', '.join(map(cpp.real, scales))}}};\n"
    )
    if len(means) == 1:
        signature, index = "Normalize(float raw)", "0"
    else:
        signature, index = "Normalize(float raw, std::size_t channel)", "channel"
    return (
        "\n// What is to be done to a sample before it is quantized; the network learnt from such values.\n"
        f"{arrays}inline float {signature} {{ return (raw - kMean[{index}]) * kScale[{index}]; }}\n"
    )


def _variables(firmware: Firmware) -> str:
    count = tensors.variables_count(firmware.data)
    if not count:
        return ""
    return f"\n// To be made with tflite::MicroResourceVariables.\nconstexpr int kVariableCount = {count};\n"


def _labels(firmware: Firmware) -> str:
    if not firmware.labels:
        return ""
    names = "\n".join(f"    {cpp.string(label)}," for label in firmware.labels)
    output = f"output {cpp.string(firmware.labelled)}" if firmware.labelled else "the output"
    comment = f"// The classes, in the order of {output}, in UTF-8."
    return f"\n{comment}\nconstexpr const char* kLabels[] = {{\n{names}\n}};\n"
