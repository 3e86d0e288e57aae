"""Which operators this machine's TFLM has kernels for: its own answer, got without running any of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from edgebuild.runtimes.tflm.hearing import heard
from edgebuild.runtimes.tflm.wheel import runtime

_CUSTOM = "CUSTOM:"
# A code that no operator has. TFLM looks up all operators of a graph in order before it prepares any of them, so that a
# graph of an operator and this ends at the lookup in any case, and what it says tells at which of the two.
_NO_OPERATOR = 2**15 - 1
_NOT_THAT = f"out of range: {_NO_OPERATOR}"
_ARENA_BYTES = 2**16
_IDENTIFIER = b"TFL3"


def missing(operators: Iterable[str]) -> tuple[str, ...]:
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
    with heard() as said, contextlib.suppress(RuntimeError):
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
