"""The package: all its files for one layout."""

from __future__ import annotations

from edgebuild.core.delivery import Layout, Vector
from edgebuild.emit.microcontroller import cpp, resolver
from edgebuild.emit.microcontroller.constants import header, label_bytes
from edgebuild.emit.microcontroller.example import program
from edgebuild.emit.microcontroller.firmware import File, Firmware, Flash, aligned
from edgebuild.emit.microcontroller.layouts import build_files, places
from edgebuild.emit.microcontroller.readme import text
from edgebuild.emit.microcontroller.templating import filled
from edgebuild.emit.microcontroller.tensors import FIRST, FOLLOWING, ports, test_array
from edgebuild.errors import StepError


def package(firmware: Firmware, layout: Layout = Layout.PLAIN) -> tuple[File, ...]:
    """The files of a package, sorted by path; the same firmware gives the same bytes. None where the layout is off.

    Raises:
        StepError: MicroMutableOpResolver adds no such operator, C++ has no such type, or the test vector does not fit.
    """
    if layout is Layout.OFF:
        return ()
    where = places(firmware, layout)
    stem = cpp.identifier(firmware.name)
    example = program(firmware, layout)
    texts = {
        f"{where.headers}{stem}_model.h": filled("model.h", firmware, size=str(len(firmware.data))),
        f"{where.sources}{stem}_model{where.suffix}": filled("model.cc", firmware, bytes=cpp.octets(firmware.data)),
        f"{where.headers}{stem}_ops.h": _operators(firmware),
        f"{where.headers}{stem}_constants.h": header(firmware),
        **({f"{where.headers}{stem}_test_vector.h": _test_vector(firmware)} if firmware.vector else {}),
        where.example: example,
        **build_files(firmware, layout),
    }
    texts["README.md"] = text(firmware, layout, sorted(texts), example)
    return tuple(File(path, texts[path].encode()) for path in sorted(texts))


def flash(firmware: Firmware) -> Flash:
    """What the package's constant data take in a linked image, as firmware.Flash tells it."""
    return Flash(model_bytes=aligned(len(firmware.data)), label_bytes=label_bytes(firmware.labels))


def _operators(firmware: Firmware) -> str:
    methods = resolver.calls(firmware.spec.operators, firmware.name)
    calls = "\n".join(f"  if (resolver.{method}() != kTfLiteOk) return kTfLiteError;" for method in methods)
    return filled("ops.h", firmware, count=str(len(methods)), calls=calls)


def _test_vector(firmware: Firmware) -> str:
    assert firmware.vector is not None, "asked only where there is one"
    return filled("test_vector.h", firmware, arrays=_arrays(firmware, firmware.vector, FIRST))


def _arrays(firmware: Firmware, vector: Vector, word: str) -> str:
    tensors = (*ports("Input", firmware.spec.inputs), *ports("Output", firmware.spec.outputs))
    held = (*vector.inputs, *vector.outputs)
    if len(tensors) != len(held):
        raise StepError(
            f"the test vector of {firmware.name} has {len(held)} arrays for {len(tensors)} inputs and outputs"
        )
    arrays = "".join(test_array(port, stored, word) for port, stored in zip(tensors, held, strict=True))
    return arrays + (_arrays(firmware, vector.following, FOLLOWING) if vector.following is not None else "")
