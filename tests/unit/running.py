"""Artifacts run as anyone runs them: sample after sample, nothing reset, by what the file itself says of its ends."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from tflite_micro.python.tflite_micro import runtime

from edgebuild.core.model import TensorSpec
from edgebuild.flatbuffer import reader

_ARENA_BYTES = 1_000_000


def on_litert(path: Path, samples: Iterable[Any], kernels: OpResolverType = OpResolverType.AUTO) -> Any:
    """The real values of the only output of a file with one input, in LiteRT."""
    interpreter = Interpreter(str(path), experimental_op_resolver_type=kernels)
    interpreter.allocate_tensors()
    (given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()
    spec = reader.read(path)
    rows = []
    for sample in samples:
        interpreter.set_tensor(given["index"], _stored(sample, spec.inputs[0])[np.newaxis])
        interpreter.invoke()
        rows.append(_real(interpreter.get_tensor(made["index"])[0], spec.outputs[0]))
    return np.array(rows)


def on_tflm(path: Path, samples: Iterable[Any]) -> Any:
    """The same in TensorFlow Lite Micro."""
    interpreter = runtime.Interpreter.from_bytes(path.read_bytes(), arena_size=_ARENA_BYTES)
    spec = reader.read(path)
    rows = []
    for sample in samples:
        interpreter.set_input(_stored(sample, spec.inputs[0])[np.newaxis], 0)
        interpreter.invoke()
        rows.append(_real(interpreter.get_output(0)[0], spec.outputs[0]))
    return np.array(rows)


def sqnr_db(expected: Any, found: Any) -> float:
    """How far outputs stand above their distance from those that are expected."""
    noise = np.square(np.asarray(expected, np.float64) - found).sum()
    return float(10 * np.log10(np.square(expected, dtype=np.float64).sum() / noise))


def _stored(sample: Any, spec: TensorSpec) -> Any:
    dtype = np.dtype(spec.dtype)
    if not spec.scale:
        return np.asarray(sample, dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(sample / spec.scale) + spec.zero_point, limits.min, limits.max).astype(dtype)


def _real(stored: Any, spec: TensorSpec) -> Any:
    return (stored.astype(np.float64) - spec.zero_point) * spec.scale if spec.scale else stored
