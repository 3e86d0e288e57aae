"""What the Edge TPU compiler makes of an operator's constants: bytes with their padding, found in compiled files.

Nothing is published about it. The sizes here come from four files before and after the compiler (uint8 MobileNet v1 of
two widths, DeepLab v3, an int8 LSTM), in whose compiled forms the biases and weights of each operator were looked up
(package and executable: google-coral/libedgetpu, executable/executable.fbs). An operator's part is a multiple of 64
bytes and holds for each output 32 bits of bias beside its weights. Outputs come in sixteens up to 64 and in sixty-fours
above that, inputs in fours; a depthwise kernel is stored as one from 4 channels to 4. SOFTMAX sums by two masks of 16
rows and divides by a table; an LSTM's gates are dense layers of input and state together, and its time steps are cut
out and put together by identity matrices. What moves data elsewhere may need such a matrix as well: that is in `most`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from edgebuild.core.inspection import Operation, Tensor

_ALIGNMENT_BYTES, _BIAS_BYTES = 64, 4
_FEW_ROWS, _MANY_ROWS, _COLUMNS = 16, 64, 4
_8_BITS = frozenset({"int8", "uint8"})
# How far an operator's bytes may be from what is counted: where the compiled files have the operator they agree to
# 0.02 %; of the LSTM there is one, and of the others none.
_SURE, _LIKE_A_CONVOLUTION, _OF_ONE_FILE = 0.01, 0.25, 0.5


class Parameters(NamedTuple):
    """Bytes of parameters.

    Attributes:
        cached: what is kept on the chip as long as there is room.
        least: of `cached`, where the layout differs from what is known of it.
        most: likewise.
        streamed: constants that are fetched in each inference whether there is room or not.
    """

    cached: int = 0
    least: int = 0
    most: int = 0
    streamed: int = 0

    def __add__(self, other: object) -> Parameters:
        """The sums."""
        assert isinstance(other, Parameters), "sums of parameters"
        return Parameters(*(one + two for one, two in zip(self, other, strict=True)))


class _Read(NamedTuple):
    """An operator with the shapes that it reads and writes; () for an input that is not there."""

    inputs: list[tuple[int, ...]]
    outputs: list[tuple[int, ...]]


def of_operator(operation: Operation, tensors: Sequence[Tensor], parameters: Sequence[int]) -> Parameters:
    """What an operator that is mapped takes.

    Args:
        operation: the operator.
        tensors: of its graph.
        parameters: the positions of inputs that the operator is built around, see table.Row. Other constants of 8 bits
            are data to it, and are streamed like the zeros with which an LSTM's outputs begin.
    """
    read = _Read(
        [_fixed(tensors[index]) if index >= 0 else () for index in operation.inputs],
        [_fixed(tensors[index]) for index in operation.outputs],
    )
    constants = sum(
        _aligned(tensors[index].constant_bytes)
        for position, index in enumerate(operation.inputs)
        if index >= 0 and position not in parameters and tensors[index].dtype in _8_BITS
    )
    found = _KINDS.get(operation.name)
    try:
        return (found(read) if found is not None else Parameters()) + Parameters(streamed=constants)
    except (IndexError, ValueError):
        # Shapes that the operator does not take: the compiler would refuse it.
        return Parameters(streamed=constants)


def _fixed(tensor: Tensor) -> tuple[int, ...]:
    return tuple(max(1, size) for size in tensor.shape)


def _convolution(read: _Read) -> Parameters:
    """Of [out, height, width, in]."""
    return _about(_convolved(read), _SURE)


def _transposed(read: _Read) -> Parameters:
    return _about(_convolved(read), _LIKE_A_CONVOLUTION)


def _convolved(read: _Read) -> int:
    outputs, height, width, inputs = read.inputs[1]
    return _matrix(outputs, height * width * _up(inputs, _COLUMNS))


def _dense(read: _Read) -> Parameters:
    """Of [out, in]."""
    outputs, inputs = read.inputs[1]
    return _about(_matrix(outputs, inputs), _SURE)


def _depthwise(read: _Read) -> Parameters:
    """Of [1, height, width, channels]."""
    _, height, width, channels = read.inputs[1]
    return _about(_aligned(_up(channels, _COLUMNS) * (_BIAS_BYTES + height * width * _COLUMNS)), _SURE)


def _softmax(read: _Read) -> Parameters:
    """Over the innermost dimension: two masks, and a table of 64 bytes for each 4 elements."""
    columns = _up(read.inputs[0][-1], _COLUMNS)
    return _about(2 * _FEW_ROWS * columns + _ALIGNMENT_BYTES * columns // _COLUMNS, _SURE)


def _slopes(read: _Read) -> Parameters:
    return _about(_aligned(read.inputs[1][-1]), _LIKE_A_CONVOLUTION)


def _lstm(read: _Read) -> Parameters:
    """Four gates, and what cuts [batch, time, inputs] into steps and puts their [batch, time, units] together."""
    steps, inputs = read.inputs[0][-2:]
    units = read.outputs[0][-1]
    gates = 4 * _matrix(units, inputs + units)
    moved = steps * _FEW_ROWS * (_up(inputs, _FEW_ROWS) + _up(units, _FEW_ROWS))
    return _about(gates + moved, _OF_ONE_FILE) + Parameters(streamed=_aligned(steps * units))


def _mover(read: _Read) -> Parameters:
    """At most a matrix that copies channels."""
    channels = read.outputs[0][-1] if read.outputs and read.outputs[0] else 1
    return Parameters(most=_matrix(channels, channels))


def _about(size_bytes: int, share: float) -> Parameters:
    return Parameters(size_bytes, math.floor(size_bytes * (1 - share)), math.ceil(size_bytes * (1 + share)))


def _matrix(outputs: int, inputs: int) -> int:
    """Of [out, in] with its biases."""
    rows = _up(outputs, _FEW_ROWS if outputs <= _MANY_ROWS else _MANY_ROWS)
    return _aligned(rows * (_BIAS_BYTES + _up(inputs, _COLUMNS)))


def _aligned(size_bytes: int) -> int:
    return _up(size_bytes, _ALIGNMENT_BYTES)


def _up(size: int, unit: int) -> int:
    return size + -size % unit


_KINDS: Mapping[str, Callable[[_Read], Parameters]] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _dense,
    "LSTM": _lstm,
    "PRELU": _slopes,
    "SOFTMAX": _softmax,
    "TRANSPOSE_CONV": _transposed,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm,
    **dict.fromkeys(
        (
            *("CONCATENATION", "L2_NORMALIZATION", "MEAN", "PACK", "PAD", "REDUCE_MAX", "REDUCE_MIN", "SLICE"),
            *("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "SPACE_TO_DEPTH", "SPLIT", "STRIDED_SLICE", "SUM"),
            *("TILE", "TRANSPOSE"),
        ),
        _mover,
    ),
}
