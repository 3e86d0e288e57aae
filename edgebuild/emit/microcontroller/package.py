"""The package: all its files, where each of them lies in a layout, and the op resolver of its network.

Sources: Arduino's library specification (docs.arduino.cc/arduino-cli/library-specification); the manifest of ESP-IDF's
component manager (docs.espressif.com/projects/idf-component-manager/en/latest/reference/manifest_file.html) and
espressif/esp-tflite-micro; Zephyr's modules (docs.zephyrproject.org/2.4.0/guides/modules.html) and its sample
samples/modules/tflite-micro/hello_world.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from edgebuild.core.delivery import Layout, Vector
from edgebuild.core.model import Operator
from edgebuild.emit.microcontroller import cpp
from edgebuild.emit.microcontroller.constants import header, label_bytes
from edgebuild.emit.microcontroller.cpp import filled
from edgebuild.emit.microcontroller.example import program
from edgebuild.emit.microcontroller.firmware import File, Firmware, Flash, aligned
from edgebuild.emit.microcontroller.readme import library_name, text
from edgebuild.emit.microcontroller.tensors import FIRST, FOLLOWING, ports, test_array
from edgebuild.errors import StepError

_TABLE = Path(__file__).parent / "resolver.toml"
_CUSTOM = "CUSTOM:"


def package(firmware: Firmware, layout: Layout = Layout.PLAIN) -> tuple[File, ...]:
    """The files of a package, sorted by path; the same firmware gives the same bytes. None where the layout is off.

    Raises:
        StepError: MicroMutableOpResolver adds no such operator, C++ has no such type, or the test vector does not fit.
    """
    if layout is Layout.OFF:
        return ()
    where = _places(firmware, layout)
    stem = cpp.identifier(firmware.name)
    example = program(firmware, layout)
    texts = {
        f"{where.headers}{stem}_model.h": filled("model.h", firmware, size=str(len(firmware.data))),
        f"{where.sources}{stem}_model{where.suffix}": filled("model.cc", firmware, bytes=cpp.octets(firmware.data)),
        f"{where.headers}{stem}_ops.h": _operators(firmware),
        f"{where.headers}{stem}_constants.h": header(firmware),
        **({f"{where.headers}{stem}_test_vector.h": _test_vector(firmware)} if firmware.vector else {}),
        where.example: example,
        **_build_files(firmware, layout),
    }
    texts["README.md"] = text(firmware, layout, sorted(texts), example)
    return tuple(File(path, texts[path].encode()) for path in sorted(texts))


def flash(firmware: Firmware) -> Flash:
    """What the package's constant data take in a linked image, as firmware.Flash tells it."""
    return Flash(model_bytes=aligned(len(firmware.data)), label_bytes=label_bytes(firmware.labels))


def _operators(firmware: Firmware) -> str:
    methods = resolver_calls(firmware.spec.operators, firmware.name)
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


class Places(NamedTuple):
    """Folders, with a slash at the end where there is one; the suffix of sources, and the example's path."""

    headers: str
    sources: str
    suffix: str
    example: str


def _places(firmware: Firmware, layout: Layout) -> Places:
    """Where a layout wants headers, sources and the example."""
    identifier = cpp.identifier(firmware.name)
    return {
        Layout.PLAIN: Places("", "", ".cc", "example.cc"),
        # Arduino's builder takes a sketch from a folder of its name.
        Layout.ARDUINO: Places("src/", "src/", ".cpp", f"examples/{identifier}/{identifier}.ino"),
        Layout.ESP_IDF: Places("include/", "", ".cc", f"examples/{identifier}/main/main.cc"),
        Layout.ZEPHYR: Places("include/", "src/", ".cc", f"samples/{identifier}/src/main.cc"),
    }[layout]


def _build_files(firmware: Firmware, layout: Layout) -> Mapping[str, str]:
    """What the build system of a layout reads, by path."""
    return _BUILD_FILES[layout](firmware)


def _arduino(firmware: Firmware) -> dict[str, str]:
    name = library_name(firmware)
    return {
        "library.properties": (
            f"name={name}\n"
            "version=1.0.0\n"
            "author=edgebuild\n"
            "maintainer=edgebuild\n"
            f"sentence=The network {cpp.string(firmware.name)} for TensorFlow Lite Micro.\n"
            "paragraph=Weights, operators, quantization and an example.\n"
            "category=Data Processing\n"
            "url=https://docs.arduino.cc/arduino-cli/library-specification\n"
            "architectures=*\n"
            f"includes={name}.h\n"
        )
    }


def _esp_idf(firmware: Firmware) -> dict[str, str]:
    identifier = cpp.identifier(firmware.name)
    example = f"examples/{identifier}"
    return {
        "CMakeLists.txt": filled("esp_idf/CMakeLists.txt", firmware),
        "idf_component.yml": filled("esp_idf/idf_component.yml", firmware),
        f"{example}/CMakeLists.txt": filled("esp_idf/example/CMakeLists.txt", firmware),
        f"{example}/main/CMakeLists.txt": filled("esp_idf/example/main/CMakeLists.txt", firmware),
        f"{example}/main/idf_component.yml": filled("esp_idf/example/main/idf_component.yml", firmware),
    }


def _zephyr(firmware: Firmware) -> dict[str, str]:
    sample = f"samples/{cpp.identifier(firmware.name)}"
    return {
        "zephyr/module.yml": filled("zephyr/module.yml", firmware),
        "CMakeLists.txt": filled("zephyr/CMakeLists.txt", firmware),
        "Kconfig": filled("zephyr/Kconfig", firmware),
        f"{sample}/CMakeLists.txt": filled("zephyr/sample/CMakeLists.txt", firmware),
        f"{sample}/prj.conf": filled("zephyr/sample/prj.conf", firmware),
    }


_BUILD_FILES: Mapping[Layout, Callable[[Firmware], Mapping[str, str]]] = {
    Layout.PLAIN: lambda firmware: {},
    Layout.ARDUINO: _arduino,
    Layout.ESP_IDF: _esp_idf,
    Layout.ZEPHYR: _zephyr,
}


def resolver_calls(operators: Iterable[Operator], name: str) -> tuple[str, ...]:
    """The methods of MicroMutableOpResolver to be called, each once and sorted; `name` is the network's, for errors.

    Raises:
        StepError: it has no method for an operator.
    """
    names = sorted({operator.name for operator in operators})
    unknown = [operator for operator in names if operator not in _methods()]
    if unknown:
        raise StepError(
            f"{name} cannot be handed over for TensorFlow Lite Micro",
            f"Its MicroMutableOpResolver adds no {', '.join(unknown)}.",
            "Replace the layers that these operators come from.",
        )
    return tuple(sorted(_methods()[operator] for operator in names))


@functools.cache
def _methods() -> dict[str, str]:
    """The method of each operator, by its name as in model.Operator."""
    table = tomllib.loads(_TABLE.read_text(encoding="utf-8"))
    return {**table["builtin"], **{f"{_CUSTOM}{name}": method for name, method in table["custom"].items()}}
