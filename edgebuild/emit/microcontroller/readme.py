"""The README of a package."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgebuild.core.delivery import Layout
from edgebuild.emit.microcontroller import cpp
from edgebuild.emit.microcontroller.constants import label_bytes
from edgebuild.emit.microcontroller.cpp import arena
from edgebuild.emit.microcontroller.firmware import Firmware, aligned
from edgebuild.emit.microcontroller.tensors import Port, ports

_USE = {
    Layout.PLAIN: """\
Add the sources and this folder's path to a project that has TensorFlow Lite Micro, C++11 or later.
`example.cc` is a whole program.""",
    Layout.ARDUINO: """\
This folder is an Arduino library: copy it into `libraries` of the sketchbook (or pack it as a ZIP file and use
*Sketch > Include Library > Add .ZIP Library*), beside Arduino_TensorFlowLite
(https://github.com/tensorflow/tflite-micro-arduino-examples), and open *File > Examples > {library} > {id}*.
For another port of the library change the sketch's first include.""",
    Layout.ESP_IDF: """\
This folder is an ESP-IDF component, which asks the component manager for `espressif/esp-tflite-micro`: copy it into
`components` of a project, as `{id}_model`. `examples/{id}` is a whole project:
`cd examples/{id} && idf.py set-target esp32s3 && idf.py build`.""",
    Layout.ZEPHYR: """\
This folder is a Zephyr module: name it in `EXTRA_ZEPHYR_MODULES` (or in the west manifest), take `tflite-micro` into
the workspace (`west config manifest.project-filter -- +tflite-micro && west update`) and set `CONFIG_{guard}_MODEL=y`.
`samples/{id}` is a whole application: `west build -b BOARD samples/{id}`.""",
}


def text(firmware: Firmware, layout: Layout, files: Sequence[str], program: str) -> str:
    """The README in Markdown; `files` are the package's others, by path, and `program` is the example."""
    identifier = cpp.identifier(firmware.name)
    use = _USE[layout].format(id=identifier, guard=identifier.upper(), library=library_name(firmware))
    parts = [
        f"# {_plain(firmware.name)} for TensorFlow Lite Micro",
        f"{use}\n\nFiles: {', '.join(f'`{path}`' for path in files)}.",
        "## Memory\n\n" + "\n".join(_memory(firmware)),
        "## Inputs and outputs\n\n" + "\n".join(_table(firmware)),
        _state(firmware),
        _preprocessing(firmware),
        _labels(firmware),
        f"## Example\n\n{_vector(firmware)}```cpp\n{program}```",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def library_name(firmware: Firmware) -> str:
    """The name of the Arduino library."""
    return f"{cpp.identifier(firmware.name)}_model"


def _memory(firmware: Firmware) -> Iterator[str]:
    model_bytes = aligned(len(firmware.data))
    yield f"- **Flash**: {model_bytes:,} bytes for the model, aligned to 16; it is constant and not copied to RAM."
    if firmware.labels:
        yield f"  {label_bytes(firmware.labels):,} bytes for the names of the classes, if they are used."
    yield "  TensorFlow Lite Micro's own code comes on top; its size depends on the compiler and the kernels."
    yield arena(firmware, "md", ",d").rstrip()


def _table(firmware: Firmware) -> Iterator[str]:
    yield "| | name | type | shape | scale | zero point |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for port in (*ports("Input", firmware.spec.inputs), *ports("Output", firmware.spec.outputs)):
        yield f"| {port.label} | {_plain(port.tensor.name)} | {port.tensor.dtype} | {_shape(port)} | {_grid(port)} |"
    yield ""
    yield "A stored value stands for `scale * (stored - zero_point)`. `QuantizeInput` and `DequantizeOutput` (numbered"
    yield "where there are several) convert, rounding and saturating as TensorFlow Lite does."


def _shape(port: Port) -> str:
    return " × ".join(map(str, port.shape)) or "one value"


def _grid(port: Port) -> str:
    return f"{cpp.real(port.tensor.scale)[:-1]} | {port.tensor.zero_point}" if port.is_quantized else "- | -"


def _state(firmware: Firmware) -> str:
    if not firmware.spec.keeps_state:
        return ""
    if firmware.streams:
        return (
            "## State\n\nThis is a streaming model: it carries its state over from one inference to the next. Feed it\n"
            "the pieces of a stream in their order; `MicroInterpreter::Reset()` begins a new stream."
        )
    return (
        "## State\n\nThe network keeps state from one inference to the next. Call `MicroInterpreter::Reset()` before\n"
        "each independent input, as the example does: otherwise the outputs depend on the inputs before."
    )


def _preprocessing(firmware: Firmware) -> str:
    if not firmware.normalizes:
        return "Samples are quantized as they are: the network was built without preprocessing."
    return (
        "Before a sample is quantized it must be normalized as the network's data were: `(x - mean) * scale`, which\n"
        "`Normalize` does. A raw sample that is quantized without it gives answers that mean nothing."
    )


def _labels(firmware: Firmware) -> str:
    if not firmware.labels:
        return ""
    names = ", ".join(f"{position} {_plain(label)}" for position, label in enumerate(firmware.labels))
    of = f" of {_plain(firmware.labelled)}" if firmware.labelled else ""
    return f"Classes{of} (`kLabels`): {names}."


def _vector(firmware: Firmware) -> str:
    if firmware.vector is None:
        return ""
    what = "a sample that was" if firmware.vector.following is None else "two samples in a row that were"
    return (
        f"It feeds {what} run where this was made and counts the values that come out different. Reference\n"
        "kernels give none; kernels made for a processor may differ by a step in the last bit.\n\n"
    )


def _plain(name: str) -> str:
    """A name that Markdown takes as it is, in a table too."""
    kept = "".join(character if character.isprintable() else " " for character in name)
    return "".join(f"\\{character}" if character in "\\`*_{}[]<>#|" else character for character in kept)
