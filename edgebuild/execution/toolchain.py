"""The versions that a manifest names."""

from __future__ import annotations

import functools

from edgebuild import host

_PACKAGES = (
    *("edgebuild", "tensorflow", "tensorflow-model-optimization", "tf-keras", "keras", "numpy", "ai-edge-litert"),
    *("flatbuffers", "scikit-learn", "pillow", "tflite-micro", "ethos-u-vela"),
)


@functools.cache
def versions() -> dict[str, str]:
    """The versions of those that are installed."""
    return host.versions(_PACKAGES)
