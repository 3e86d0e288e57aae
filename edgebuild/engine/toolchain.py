"""What a result depends on beside its inputs: the versions of the packages, and of edgebuild's own code."""

from __future__ import annotations

import functools
from pathlib import Path

from edgebuild import hashing, host

_PACKAGES = (
    "tensorflow",
    "tensorflow-model-optimization",
    "tf-keras",
    "keras",
    "numpy",
    "ai-edge-litert",
    "flatbuffers",
    "scikit-learn",
    "pillow",
)
# They decide nothing but their own steps, which name their version themselves.
_TOOLS = ("tflite-micro", "ethos-u-vela")
_PACKAGE = Path(__file__).parent.parent
# What decides results; how they are shown and asked for does not.
_SOURCES = frozenset({".py", ".toml", ".c"})
_ROOMS = (
    *("passes", "runtimes", "timing", "data", "flatbuffer", "accelerators", "emit", "core"),
    *("metrics", "layer_costs.py"),
)


@functools.cache
def versions() -> dict[str, str]:
    """The versions that the manifest names."""
    return host.versions(("edgebuild", *_PACKAGES, *_TOOLS))


@functools.cache
def digest() -> str:
    """One hash over the versions and the source files that decide results."""
    decisive = {package: version for package, version in versions().items() if package not in _TOOLS}
    rooms = [_PACKAGE / room for room in _ROOMS]
    inside = [file for room in rooms for file in (room.rglob("*") if room.is_dir() else [room])]
    files = sorted(file for file in inside if file.suffix in _SOURCES)
    return hashing.of_data([decisive, hashing.of_files(_PACKAGE, files)])
