"""The tflite-micro wheel: whether it is here, and how it is opened."""

from __future__ import annotations

import importlib
from importlib import metadata
from typing import Any

from edgebuild.errors import UnavailableError

INSTALL = "pip install 'edgebuild[micro]' (its wheels exist for x86-64 Linux alone)"
_DISTRIBUTION = "tflite-micro"


def version() -> str | None:
    """The version of the wheel, or None where it is not installed; nothing is imported."""
    try:
        return metadata.version(_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return None


def runtime() -> Any:
    """The wheel's module with the interpreter.

    Raises:
        UnavailableError: it is not installed, or does not load.
    """
    try:
        return importlib.import_module("tflite_micro.python.tflite_micro.runtime")
    except ImportError as error:
        why = str(error) if version() else f"{_DISTRIBUTION} is not installed."
        raise UnavailableError("TensorFlow Lite Micro cannot be asked", why, f"Install it: {INSTALL}.") from None
