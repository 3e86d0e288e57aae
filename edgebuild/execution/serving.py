"""The table of a child that does actions of any kind: each kind's module is imported with its first action."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import msgspec

from edgebuild.actions.table import KINDS
from edgebuild.child import Job, Say
from edgebuild.core.action import Kind


def _job(kind: Kind[Any, Any]) -> Job:
    def run(settings: Any, say: Say) -> msgspec.Struct:
        if kind.tool.is_tensorflow:
            # Keras has wrappers of its models for scikit-learn, whose import takes a fifth of the time of TensorFlow's.
            with _missing("sklearn"):
                import_module("keras")
        module, _, function = kind.run.partition(":")
        result: msgspec.Struct = getattr(import_module(module), function)(settings, say)
        return result

    return Job(kind.settings, run)


@contextmanager
def _missing(module: str) -> Iterator[None]:
    """While this lasts, a module that was not imported before cannot be."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]  # which the import system takes for a module that is not there
    try:
        yield
    finally:
        del sys.modules[module]


JOBS = {name: _job(kind) for name, kind in KINDS.items()}
