"""An artifact in TensorFlow Lite Micro, with the methods that `runner.Runner` asks of a network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgebuild.data.given import Array
from edgebuild.runtimes.places.runner import random_values
from edgebuild.runtimes.tflm import wheel
from edgebuild.runtimes.tflm.interpreter import Micro


class MicroNetwork:
    """A network that is loaded by `load`.

    Args:
        artifact: the .tflite file.

    Raises:
        UnavailableError: TFLM is not installed.
    """

    kernels = "tflm"

    def __init__(self, artifact: Path) -> None:
        wheel.runtime()
        self.versions = {"tflite-micro": wheel.version() or ""}
        self._artifact = artifact

    def load(self) -> None:
        """Make it ready for its inputs.

        Raises:
            StepError: the file is damaged, or TFLM refused it.
        """
        self._micro = _Micro(self._artifact)

    def fill(self) -> None:
        """Give it its random inputs."""
        rng = np.random.default_rng(0)
        self._fills = [random_values(rng, shape, dtype) for shape, dtype in self._micro.inputs()]

    def ready(self) -> None:
        """What each inference needs before it: inputs lie in the arena, where the inference before wrote over them."""
        self._micro.put(self._fills)

    def invoke(self) -> None:
        """Run it once."""
        self._micro.invoke()

    def run(self, sample: list[bytes]) -> list[bytes]:
        """What each output stores, given what each input does; state is carried over as in use."""
        pairs = zip(sample, self._micro.inputs(), strict=True)
        self._micro.run([np.frombuffer(data, dtype).reshape(shape) for data, (shape, dtype) in pairs])
        return [self._micro.output(position).tobytes() for position in range(len(self._micro.spec.outputs))]


class _Micro(Micro):
    """The interpreter, its run in two parts, so that the second can be timed alone."""

    def inputs(self) -> list[tuple[Any, np.dtype[Any]]]:
        """Shape and type of each input, in the file's order; the file itself may leave dimensions open."""
        details = [self._interpreter.get_input_details(position) for position in range(len(self.spec.inputs))]
        return [(found["shape"], np.dtype(found["dtype"])) for found in details]

    def put(self, fills: Sequence[Array]) -> None:
        with self._refusals():
            for position, array in enumerate(fills):
                self._interpreter.set_input(array, position)

    def invoke(self) -> None:
        # Not within `_refusals`, which makes a file for what is said.
        self._interpreter.invoke()
