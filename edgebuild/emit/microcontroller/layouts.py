"""Where each file of a package lies, and what a build system wants beside them.

Sources: Arduino's library specification (docs.arduino.cc/arduino-cli/library-specification); the manifest of ESP-IDF's
component manager (docs.espressif.com/projects/idf-component-manager/en/latest/reference/manifest_file.html) and
espressif/esp-tflite-micro; Zephyr's modules (docs.zephyrproject.org/2.4.0/guides/modules.html) and its sample
samples/modules/tflite-micro/hello_world.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from edgebuild.core.delivery import Layout
from edgebuild.emit.microcontroller import cpp
from edgebuild.emit.microcontroller.firmware import Firmware
from edgebuild.emit.microcontroller.readme import library_name
from edgebuild.emit.microcontroller.templating import filled


class Places(NamedTuple):
    """Folders, with a slash at the end where there is one; the suffix of sources, and the example's path."""

    headers: str
    sources: str
    suffix: str
    example: str


def places(firmware: Firmware, layout: Layout) -> Places:
    """Where a layout wants headers, sources and the example."""
    identifier = cpp.identifier(firmware.name)
    return {
        Layout.PLAIN: Places("", "", ".cc", "example.cc"),
        # Arduino's builder takes a sketch from a folder of its name.
        Layout.ARDUINO: Places("src/", "src/", ".cpp", f"examples/{identifier}/{identifier}.ino"),
        Layout.ESP_IDF: Places("include/", "", ".cc", f"examples/{identifier}/main/main.cc"),
        Layout.ZEPHYR: Places("include/", "src/", ".cc", f"samples/{identifier}/src/main.cc"),
    }[layout]


def build_files(firmware: Firmware, layout: Layout) -> Mapping[str, str]:
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
