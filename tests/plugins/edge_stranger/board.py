"""A board, which is this process's own interpreter."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from edgebuild.core import place
from edgebuild.errors import UnavailableError
from edgebuild.process import Limits
from edgebuild.runtimes.places.protocol import Block, Closing, How, Loaded


def open_place(named: place.Place, limits: Limits, folder: Path, say: Callable[[str], None]) -> Board:
    """The board at an address."""
    if named.name == "gone":
        raise UnavailableError("there is no board at gone", remedy="Plug it in.")
    return Board(named.name)


class Board:
    """It runs one artifact at a time."""

    def __init__(self, address: str) -> None:
        self._address = address

    def start(self, artifact: Path, how: How) -> Running:
        """Load."""
        if self._address == "broken":
            raise OSError("no carrier")
        return Running(artifact, f"board at {self._address}")

    def close(self) -> None:
        """Nothing is kept."""


class Running:
    """An artifact on the board."""

    def __init__(self, artifact: Path, machine: str) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(str(artifact))
        self._interpreter.allocate_tensors()
        self.loaded = Loaded(machine=machine, kernels="builtin", versions={"firmware": "7"})

    def block(self, *, time_s: float, most: int) -> Block:
        """Time inferences."""
        samples: list[float] = []
        began = time.perf_counter()
        while not samples or (len(samples) < most and time.perf_counter() - began < time_s):
            start = time.perf_counter()
            self._interpreter.invoke()
            samples.append(time.perf_counter() - start)
        return Block(samples=tuple(samples), wall_s=time.perf_counter() - began)

    def outputs(self, samples: Sequence[Sequence[bytes]]) -> list[list[bytes]]:
        """Run samples."""
        found = []
        for sample in samples:
            for given, detail in zip(sample, self._interpreter.get_input_details(), strict=True):
                values = np.frombuffer(given, detail["dtype"]).reshape(detail["shape"])
                self._interpreter.set_tensor(detail["index"], values)
            self._interpreter.invoke()
            details = self._interpreter.get_output_details()
            found.append([self._interpreter.get_tensor(detail["index"]).tobytes() for detail in details])
        return found

    def close(self) -> Closing:
        """End."""
        return Closing()
