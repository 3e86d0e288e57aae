"""Inputs of SOFTMAX and LOG_SOFTMAX whose steps are finer than their int8 kernels can work with.

The kernels shift differences of their inputs to 26 bits behind the point, and LiteRT and TensorFlow Lite Micro end the
process where a step is smaller than that (PreprocessSoftmaxScaling asks for a multiplier greater than one); LiteRT's
optimized LOG_SOFTMAX fails from 2^-21 on (measured, 2.3.0). Networks whose signal vanishes on the way have such steps:
barely trained MobileNets, for one. All of int8 at a step of 2^-20 is 0.0002 wide, which changes no output.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgebuild.flatbuffer.rewriting import exchanging, grids, opcodes

_KINDS = frozenset({schema.BuiltinOperator.SOFTMAX, schema.BuiltinOperator.LOG_SOFTMAX})
_FINEST = 2.0**-20  # a step, times beta, that is more than what kernels need
_CHOSEN = 2.0**-20 * 1.01  # and one that stays above that when it is rounded to float32


def with_coarser_inputs(data: bytes) -> bytes:
    """A file whose softmaxes run.

    Args:
        data: a .tflite file; one without such steps comes back as it is.

    Raises:
        ValueError: the file is damaged.
    """
    return exchanging.exchanged(data, _behind_a_coarser_input)


def _behind_a_coarser_input(model: Any, graph: Any, operator: Any) -> list[Any] | None:
    if opcodes.kind_of(model, operator) not in _KINDS or not _is_too_fine(graph, operator):
        return None
    return [_requantizing(model, graph, operator), operator]


def _is_too_fine(graph: Any, operator: Any) -> bool:
    tensor = graph.tensors[operator.inputs[0]]
    grid = grids.of(tensor)
    return tensor.type == schema.TensorType.INT8 and grid is not None and grid.scale * _beta(operator) < _FINEST


def _beta(operator: Any) -> float:
    """What a softmax multiplies its input by; LOG_SOFTMAX has no such option."""
    return float(getattr(operator.builtinOptions, "beta", 1.0)) or 1.0


def _requantizing(model: Any, graph: Any, operator: Any) -> Any:
    """The operator that brings the input to a coarser grid, on which it is read from now on."""
    given = int(operator.inputs[0])
    coarse = copy.copy(graph.tensors[given])
    coarse.name, coarse.quantization = (coarse.name or b"") + b"_coarser", copy.copy(coarse.quantization)
    coarse.quantization.scale = np.array([_CHOSEN / _beta(operator)], np.float32)
    graph.tensors.append(coarse)
    operator.inputs = np.array([len(graph.tensors) - 1], np.int32)
    return grids.requantizing(model, coarse.type, given, len(graph.tensors) - 1)
