"""TFLM's interpreter: opened, filled and run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgebuild.actions.runtimes import MOST_ARENA_BYTES
from edgebuild.core.model import TensorSpec
from edgebuild.data.given import Array
from edgebuild.errors import StepError
from edgebuild.flatbuffer import reader
from edgebuild.runtimes.tflm import kernels
from edgebuild.runtimes.tflm.hearing import Said, heard
from edgebuild.runtimes.tflm.wheel import runtime


class Micro:
    """An artifact in TFLM's interpreter, ready for its inputs.

    Args:
        path: the .tflite file.
        arena_bytes: of the tensor arena. TFLM crashes where not even its own structures fit in.

    Raises:
        StepError: the file is damaged, or TFLM refused it: no kernel, too small an arena, types that a kernel lacks.
        UnavailableError: TFLM is not installed.
    """

    def __init__(self, path: Path, arena_bytes: int = MOST_ARENA_BYTES) -> None:
        self._name = path.name
        data = path.read_bytes()
        self.spec = reader.parse(data, path.name)
        # Asked before: loading names the first operator that it misses, and of custom ones not even that.
        missing = kernels.missing(operator.name for operator in self.spec.operators)
        if missing:
            raise StepError(
                f"TensorFlow Lite Micro does not run {path.name}",
                f"It has no kernel for {', '.join(missing)}.",
                "Replace the layers that these operators come from.",
            )
        module = runtime()
        with self._refusals():
            self._interpreter: Any = module.Interpreter.from_bytes(data, arena_size=arena_bytes)

    def run(self, fills: Sequence[Array], *, resets: bool = False) -> None:
        """Run once with what the inputs store, each [1, ...], in the file's order; state is carried over, or reset."""
        with self._refusals():
            if resets:
                self._interpreter.reset()
            for position, array in enumerate(fills):
                self._interpreter.set_input(array, position)
            self._interpreter.invoke()

    def run_zeros(self) -> None:
        """Run once with zeros everywhere."""
        self.run([np.zeros(found["shape"], found["dtype"]) for found in self._inputs()])

    def input_shapes(self) -> list[list[int]]:
        """The shapes of the inputs as they are allocated, in the file's order."""
        return [list(found["shape"]) for found in self._inputs()]

    def _inputs(self) -> list[Any]:
        return [self._interpreter.get_input_details(position) for position in range(len(self.spec.inputs))]

    def output(self, position: int) -> Array:
        """What an output holds, by its position in the file."""
        found: Array = self._interpreter.get_output(position)
        return found

    def allocations(self) -> str:
        """TFLM's own report of the arena, after a run."""
        with heard() as said:
            self._interpreter.print_allocations()
        return said.text

    @contextlib.contextmanager
    def _refusals(self) -> Iterator[None]:
        """Around work of the interpreter: what it raises becomes a StepError with the reason that it wrote."""
        said = Said()
        try:
            with heard() as said:
                yield
        except Exception as error:  # its reader in Python checks nothing: a damaged file makes it raise anything
            why = "\n".join((*said.lines, str(error)))
            raise StepError(f"TensorFlow Lite Micro does not run {self._name}", why) from None


def positions(tensors: Sequence[TensorSpec], file: Sequence[TensorSpec]) -> list[int]:
    """For each tensor of the file where it stands among `tensors`, which may have the network's order."""
    places = {tensor.index: place for place, tensor in enumerate(tensors)}
    return [places[tensor.index] for tensor in file]
