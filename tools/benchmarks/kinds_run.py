"""An artifact run as anyone runs it: `litert|tflm ARTIFACT DATA.npz EXPECTED.npz` prints its worst SQNR; see kinds.py.

A fresh interpreter, sample after sample; inputs and outputs by position. Nothing of edgebuild is used.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np

Array = np.ndarray
_CEILING_DB = 150.0


def main(runtime: str, artifact: str, expected: str) -> float:
    """The SQNR of the worst output, in decibels."""
    known = np.load(expected)
    inputs = [known[f"input{place}"] for place in range(sum(name.startswith("input") for name in known.files))]
    wanted = [known[f"output{place}"] for place in range(len(known.files) - len(inputs))]
    run = _litert(artifact) if runtime == "litert" else _tflm(artifact, len(wanted))
    rows = [run([array[row : row + 1] for array in inputs]) for row in range(len(inputs[0]))]
    found = [np.concatenate([row[place] for row in rows]) for place in range(len(wanted))]
    return min(_sqnr(one, other) for one, other in zip(wanted, found, strict=True))


def _sqnr(signal: Array, found: Array) -> float:
    noise = np.mean(np.square(signal.astype(np.float64) - found.reshape(signal.shape)))
    return float(
        min(_CEILING_DB, 10 * np.log10(max(np.mean(np.square(signal, dtype=np.float64)), 1e-30) / max(noise, 1e-30)))
    )


def _stored(array: Array, dtype: Any, scale: float, zero_point: int) -> Array:
    if not scale:
        return array.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.round(array / scale) + zero_point, limits.min, limits.max).astype(dtype)


def _real(array: Array, scale: float, zero_point: int) -> Array:
    return (array.astype(np.float32) - zero_point) * scale if scale else array


def _litert(artifact: str) -> Callable[[Sequence[Array]], list[Array]]:
    interpreter = import_module("ai_edge_litert.interpreter").Interpreter(artifact)
    interpreter.allocate_tensors()

    def run(fed: Sequence[Array]) -> list[Array]:
        for array, details in zip(fed, interpreter.get_input_details(), strict=True):
            interpreter.set_tensor(details["index"], _stored(array, details["dtype"], *details["quantization"]))
        interpreter.invoke()
        ends = interpreter.get_output_details()
        return [_real(interpreter.get_tensor(end["index"]), *end["quantization"]) for end in ends]

    return run


def _tflm(artifact: str, outputs: int) -> Callable[[Sequence[Array]], list[Array]]:
    interpreter = import_module("tflite_micro").runtime.Interpreter.from_file(artifact, arena_size=64 * 2**20)

    def grid(details: Any) -> tuple[float, int]:
        found = details["quantization_parameters"]
        return (float(found["scales"][0]), int(found["zero_points"][0])) if len(found["scales"]) else (0.0, 0)

    def run(fed: Sequence[Array]) -> list[Array]:
        for place, array in enumerate(fed):
            details = interpreter.get_input_details(place)
            interpreter.set_input(_stored(array, details["dtype"], *grid(details)), place)
        interpreter.invoke()
        ends = [interpreter.get_output_details(place) for place in range(outputs)]
        return [_real(interpreter.get_output(place).copy(), *grid(end)) for place, end in enumerate(ends)]

    return run


if __name__ == "__main__":
    print(main(sys.argv[1], sys.argv[2], sys.argv[4]))
