"""TFLM's interpreter: opened, filled and run, the kernels that it has, and what it says on standard error."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgebuild.actions.runtimes import MOST_ARENA_BYTES
from edgebuild.core.model import TensorSpec
from edgebuild.data.given import Array
from edgebuild.errors import StepError
from edgebuild.flatbuffer import reader
from edgebuild.runtimes.tflm.wheel import runtime

_CUSTOM = "CUSTOM:"
# A code that no operator has. TFLM looks up all operators of a graph in order before it prepares any of them, so that a
# graph of an operator and this ends at the lookup in any case, and what it says tells at which of the two.
_NO_OPERATOR = 2**15 - 1
_NOT_THAT = f"out of range: {_NO_OPERATOR}"
_ARENA_BYTES = 2**16
_IDENTIFIER = b"TFL3"
_STDERR = 2


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
        missing = missing_kernels(operator.name for operator in self.spec.operators)
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
        with _heard() as said:
            self._interpreter.print_allocations()
        return said.text

    @contextlib.contextmanager
    def _refusals(self) -> Iterator[None]:
        """Around work of the interpreter: what it raises becomes a StepError with the reason that it wrote."""
        said = _Said()
        try:
            with _heard() as said:
                yield
        except Exception as error:  # its reader in Python checks nothing: a damaged file makes it raise anything
            why = "\n".join((*said.lines, str(error)))
            raise StepError(f"TensorFlow Lite Micro does not run {self._name}", why) from None


def positions(tensors: Sequence[TensorSpec], file: Sequence[TensorSpec]) -> list[int]:
    """For each tensor of the file where it stands among `tensors`, which may have the network's order."""
    places = {tensor.index: place for place, tensor in enumerate(tensors)}
    return [places[tensor.index] for tensor in file]


def missing_kernels(operators: Iterable[str]) -> tuple[str, ...]:
    """Those without a kernel, each once and in their order; readback.names_of tells the layers they came from.

    Args:
        operators: names as in model.Operator.

    Raises:
        UnavailableError: TFLM is not installed.
    """
    return tuple(name for name in dict.fromkeys(operators) if not _has_kernel(name))


def _has_kernel(name: str) -> bool:
    code = getattr(schema.BuiltinOperator, name, None)
    if code is None and not name.startswith(_CUSTOM):
        return False  # FLEX and what the schema does not know
    probe = _probe(schema.BuiltinOperator.CUSTOM if code is None else code, name.removeprefix(_CUSTOM))
    module = runtime()
    with _heard() as said, contextlib.suppress(RuntimeError):
        module.Interpreter.from_bytes(probe, arena_size=_ARENA_BYTES)
    return _NOT_THAT in said.text


def _probe(code: int, custom: str) -> bytes:
    """A network of the operator, without tensors, and of one that there is not."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers, model.subgraphs = 3, [schema.BufferT()], [graph]
    graph.tensors, graph.inputs, graph.outputs = [], [], []
    model.operatorCodes = [_code(code, custom), _code(_NO_OPERATOR, "")]
    graph.operators = [_operator(0, code), _operator(1, _NO_OPERATOR)]
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


def _code(code: int, custom: str) -> Any:
    entry = schema.OperatorCodeT()
    entry.builtinCode, entry.deprecatedBuiltinCode, entry.version = code, min(code, 127), 1
    if code == schema.BuiltinOperator.CUSTOM:
        entry.customCode = custom
    return entry


def _operator(index: int, code: int) -> Any:
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = index, [], []
    if code == schema.BuiltinOperator.VAR_HANDLE:
        # The wheel counts variables by their names, and does not expect an operator without options.
        operator.builtinOptionsType = schema.BuiltinOptions.VarHandleOptions
        operator.builtinOptions = schema.VarHandleOptionsT()
    return operator


class _Said:
    """What was written to the standard error while it was kept."""

    text = ""

    @property
    def lines(self) -> tuple[str, ...]:
        """Its lines without empty ones."""
        return tuple(line.strip() for line in self.text.splitlines() if line.strip())


@contextlib.contextmanager
def _heard() -> Iterator[_Said]:
    """Keep what is written to the file descriptor of the standard error; it is there once the block has ended."""
    said = _Said()
    sys.stderr.flush()
    before = os.dup(_STDERR)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), _STDERR)
        try:
            yield said
        finally:
            os.dup2(before, _STDERR)
            os.close(before)
            file.seek(0)
            said.text = file.read().decode(errors="replace")
