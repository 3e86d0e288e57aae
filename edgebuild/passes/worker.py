"""The table of jobs of the TensorFlow child. TensorFlow is imported by the first job that needs it, once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import msgspec

from edgebuild.child import Job, Say
from edgebuild.passes import jobs


def _lazily(module: str, settings: type[msgspec.Struct]) -> Job:
    def run(job: Any, say: Say) -> msgspec.Struct:
        # Keras has wrappers of its models for scikit-learn, whose import takes a fifth of the time of TensorFlow's.
        with _missing("sklearn"):
            import_module("keras")
        result: msgspec.Struct = import_module(f"edgebuild.passes.{module}").run(job, say)
        return result

    return Job(settings, run)


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


# A new pass is a module here with a function `run(job, say)`, and a line in this table.
JOBS = {
    "example": _lazily("example", jobs.ExampleJob),
    "freeze": _lazily("freeze", jobs.FreezeJob),
    "split": _lazily("split", jobs.SplitJob),
    "synthesize": _lazily("synthesize", jobs.SynthesizeJob),
    "carry": _lazily("carry", jobs.CarryJob),
    "student": _lazily("student", jobs.CompressJob),
    "layers": _lazily("layers", jobs.LayersJob),
    "channels": _lazily("channels", jobs.CompressJob),
    "prune": _lazily("prune", jobs.CompressJob),
    "cluster": _lazily("cluster", jobs.CompressJob),
    "qat": _lazily("qat", jobs.CompressJob),
    "equalize": _lazily("equalize", jobs.CompressJob),
    "calibrate": _lazily("calibrate", jobs.CompressJob),
    "baseline": _lazily("baseline", jobs.BaselineJob),
    "lint": _lazily("lint", jobs.LintJob),
    "quantize": _lazily("quantize", jobs.QuantizeJob),
}
