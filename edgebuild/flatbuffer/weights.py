"""The weights of a .tflite file as they are stored: shares of zeros, unique values, sparse or not.

The schema's table SparsityParameters describes it, after Chou, Kjolstad and Amarasinghe 2018, "Format abstraction for
sparse tensor algebra compilers", section 3.1: dimensions are walked in an order of their own; a dense one has all its
positions, a compressed one (SPARSE_CSR) segments of indices. Blocks are further dense dimensions behind the others.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edgebuild.errors import StepError

_DTYPES: dict[int, np.dtype[Any]] = {
    schema.TensorType.FLOAT32: np.dtype(np.float32),
    schema.TensorType.FLOAT16: np.dtype(np.float16),
    schema.TensorType.INT8: np.dtype(np.int8),
    schema.TensorType.UINT8: np.dtype(np.uint8),
}
# Operators and which of their inputs holds weights.
_WEIGHTS_INPUT = {
    "CONV_2D": 1,
    "CONV_3D": 1,
    "DEPTHWISE_CONV_2D": 1,
    "EMBEDDING_LOOKUP": 1,
    "FULLY_CONNECTED": 1,
    "TRANSPOSE_CONV": 1,
}
# Between stored weights and the operator that reads them: sparse ones are unpacked, float16 ones widened.
_UNPACKING = ("DENSIFY", "DEQUANTIZE")
_NAMES: dict[int, str] = {
    code: name for name, code in vars(schema.BuiltinOperator).items() if name in (*_WEIGHTS_INPUT, *_UNPACKING)
}
Array = npt.NDArray[Any]
# The narrowest of these types that holds the largest number is used; flatbuffers store them as different tables.
_INDEX_TABLES = (
    (np.dtype(np.uint8), schema.SparseIndexVector.Uint8Vector, schema.Uint8VectorT),
    (np.dtype(np.uint16), schema.SparseIndexVector.Uint16Vector, schema.Uint16VectorT),
    (np.dtype(np.int32), schema.SparseIndexVector.Int32Vector, schema.Int32VectorT),
)
_LEVEL_BYTES = 44  # of the tables that describe one dimension, as measured on files
_BLOCK_LENGTHS = (1, 2, 4, 8, 16)


class Weights(NamedTuple):
    """One weight tensor.

    Attributes:
        name: the tensor's.
        operator: that reads it.
        output: the name of the tensor which that operator writes; it tells the layer.
        values: as stored, dense: [units, inputs] or [channels out, height, width, channels in]; depthwise kernels are
            [1, height, width, channels].
        scale: float32, of one entry or one for each channel; empty where the tensor is not quantized.
        is_sparse: whether the file leaves out the zeros.
        size_bytes: of the stored values and of the indices that place them.
    """

    name: str
    operator: str
    output: str
    values: Array
    scale: Array
    is_sparse: bool
    size_bytes: int

    @property
    def sparsity(self) -> float:
        """The share of zeros."""
        return 1.0 - float(np.count_nonzero(self.values)) / max(1, self.values.size)

    @property
    def unique(self) -> int:
        """How many different values are stored, zero included."""
        return len(np.unique(self.values))


def read(path: Path) -> tuple[Weights, ...]:
    """The weight tensors of a .tflite file in the order in which its operators read them, each once.

    Raises:
        StepError: the file is damaged.
        OSError: the file cannot be opened.
    """
    data = path.read_bytes()
    try:
        return tuple(_weights(schema.ModelT.InitFromPackedBuf(data, 0)))
    except Exception as error:  # the accessors check nothing: a damaged file raises whatever it likes
        raise StepError(f"the weights of {path.name} cannot be read", f"{type(error).__name__}: {error}") from None


def values_of(tensor: Any, buffer: Any) -> Array:
    """The values of a constant tensor, dense, whether the file stores all of them or not.

    Args:
        tensor: a TensorT of the schema.
        buffer: its BufferT.

    Raises:
        KeyError: its type is none of weights.
        ValueError: the tables that place its values do not fit each other.
    """
    values: Array = np.asarray(buffer.data, np.uint8).view(_DTYPES[tensor.type])
    shape = [int(size) for size in tensor.shape]
    if tensor.sparsity is None:
        return values.reshape(shape)
    return decode_sparse(values, tensor.sparsity, shape)


def is_float(tensor: Any) -> bool:
    """Whether a TensorT of the schema holds floating point numbers."""
    return tensor.type in _DTYPES and _DTYPES[tensor.type].kind == "f"


def _weights(model: Any) -> Iterator[Weights]:
    for graph in model.subgraphs:
        unpacked = _unpacked(graph, model)
        seen: set[int] = set()
        for operator in graph.operators:
            name = _name(operator, model)
            if name not in _WEIGHTS_INPUT:
                continue
            place = int(operator.inputs[_WEIGHTS_INPUT[name]])
            for _ in _UNPACKING:
                place = unpacked.get(place, place)
            tensor = graph.tensors[place]
            buffer = model.buffers[tensor.buffer]
            if place in seen or buffer.data is None or tensor.type not in _DTYPES:
                continue
            seen.add(place)
            output = graph.tensors[int(operator.outputs[0])]
            yield _described(tensor, buffer, name, _text(output.name))


def _described(tensor: Any, buffer: Any, operator: str, output: str) -> Weights:
    values = values_of(tensor, buffer)
    quantization = tensor.quantization
    scale = None if quantization is None else quantization.scale
    return Weights(
        name=_text(tensor.name),
        operator=operator,
        output=output,
        values=values,
        scale=np.zeros(0, np.float32) if scale is None else np.asarray(scale, np.float32),
        is_sparse=tensor.sparsity is not None,
        size_bytes=len(buffer.data) + indices_bytes(tensor.sparsity),
    )


def _unpacked(graph: Any, model: Any) -> dict[int, int]:
    """For each tensor that is unpacked or widened for its kernel the one that it is made of."""
    return {
        int(operator.outputs[0]): int(operator.inputs[0])
        for operator in graph.operators
        if _name(operator, model) in _UNPACKING
    }


def _name(operator: Any, model: Any) -> str:
    code = model.operatorCodes[operator.opcodeIndex]
    # Files older than operator 127 keep the code in the byte-wide field.
    return _NAMES.get(max(code.builtinCode, code.deprecatedBuiltinCode), "")


def _text(raw: bytes | None) -> str:
    return raw.decode("utf-8", "replace") if raw else ""


class Layout(NamedTuple):
    """How an array is laid out when it is stored sparsely.

    Attributes:
        order: of its dimensions; the last is the compressed one.
        blocks: the length of a block along a dimension, for the dimensions that have one; it divides the dimension.
    """

    order: tuple[int, ...]
    blocks: Mapping[int, int]


class _Encoded(NamedTuple):
    """A sparsely stored array: the values that are kept, [count], and the schema's table that places them."""

    values: Array
    parameters: Any


def sparse_layouts(shape: Sequence[int]) -> Iterator[Layout]:
    """The layouts worth trying for an array of a shape: each dimension compressed, with blocks along the last one.

    Square blocks of 4x4 over the first and the last dimension are the pattern of block pruning.
    """
    rank = len(shape)
    lengths = [length for length in _BLOCK_LENGTHS if shape[-1] % length == 0]
    blocks = [{rank - 1: length} if length > 1 else {} for length in lengths]
    if rank > 1 and 4 in lengths and shape[0] % 4 == 0:
        blocks.append({0: 4, rank - 1: 4})
    for compressed, chosen in itertools.product(range(rank), blocks):
        order = (*(dimension for dimension in range(rank) if dimension != compressed), compressed)
        yield Layout(order, chosen)


def sparse_size_bytes(array: Array, layout: Layout) -> int:
    """What the values, indices and tables of an array would take; padding between them not counted."""
    kept = _split(array, layout)
    present = np.any(kept, axis=-1)
    count = int(present.sum())
    block = kept.shape[-1]
    segments = present.shape[0] + 1
    levels = len(layout.order) + len(layout.blocks)
    return int(
        count * block * array.itemsize
        + count * _narrowest(present.shape[1] - 1).itemsize
        + segments * _narrowest(count).itemsize
        + levels * _LEVEL_BYTES
    )


def indices_bytes(parameters: Any) -> int:
    """What the indices of a SparsityParametersT take; 0 for None."""
    levels = () if parameters is None else parameters.dimMetadata
    vectors = [vector for level in levels for vector in (level.arraySegments, level.arrayIndices) if vector is not None]
    return sum(int(np.asarray(vector.values).nbytes) for vector in vectors)


def encode_sparse(array: Array, layout: Layout) -> _Encoded:
    """Store an array without the blocks that are all zeros.

    Args:
        array: of any rank and dtype.
        layout: its blocks divide the array.
    """
    kept = _split(array, layout)
    present = np.any(kept, axis=-1)
    segments = np.concatenate([[0], present.sum(axis=1).cumsum()])
    parameters = schema.SparsityParametersT()
    rank = array.ndim
    parameters.traversalOrder = np.array([*layout.order, *range(rank, rank + len(layout.blocks))], np.int32)
    parameters.blockMap = np.array(list(layout.blocks), np.int32)
    outer = [_dense(array.shape[dimension] // layout.blocks.get(dimension, 1)) for dimension in layout.order[:-1]]
    inner = [_dense(length) for length in layout.blocks.values()]
    parameters.dimMetadata = [*outer, _compressed(segments, present.nonzero()[1]), *inner]
    return _Encoded(kept[present].ravel(), parameters)


def decode_sparse(values: Array, parameters: Any, shape: Sequence[int]) -> Array:
    """The array that was stored.

    Args:
        values: [count], what is kept, in the order in which it is walked.
        parameters: the schema's SparsityParametersT.
        shape: of the array.

    Raises:
        ValueError: the tables do not fit each other or the shape.
    """
    order = [int(dimension) for dimension in parameters.traversalOrder]
    block_map = [] if parameters.blockMap is None else [int(dimension) for dimension in parameters.blockMap]
    levels = parameters.dimMetadata
    if sorted(order) != list(range(len(shape) + len(block_map))) or len(levels) != len(order):
        raise ValueError("a sparse tensor's dimensions do not fit its shape")
    places = np.zeros(1, np.int64)
    positions: list[Array] = []
    for level in levels:
        parents, places, indices = _walk(level, places)
        positions = [*(position[parents] for position in positions), indices]
    if len(places) != len(values):
        raise ValueError("a sparse tensor holds another number of values than its indices say")
    full = np.zeros(tuple(shape), values.dtype)
    full[tuple(_coordinates(order, block_map, levels, positions, shape))] = values
    return full


def _split(array: Array, layout: Layout) -> Array:
    """[rows, positions along the compressed dimension, values of a block]."""
    shape: list[int] = []
    axes: dict[int, int] = {}
    inner: dict[int, int] = {}
    for dimension, length in enumerate(array.shape):
        axes[dimension] = len(shape)
        block = layout.blocks.get(dimension, 1)
        shape.append(length // block)
        if dimension in layout.blocks:
            inner[dimension] = len(shape)
            shape.append(block)
    walked = [axes[dimension] for dimension in layout.order] + [inner[dimension] for dimension in layout.blocks]
    split = array.reshape(shape).transpose(walked)
    compressed = split.shape[array.ndim - 1]
    return split.reshape(-1, compressed, math.prod(layout.blocks.values()))


def _walk(level: Any, places: Array) -> tuple[Array, Array, Array]:
    """One level further: for each entry its parent, its place among all entries of the level, and its index in it."""
    if level.format == schema.DimensionType.DENSE:
        size = int(level.denseSize)
        parents = np.repeat(np.arange(len(places)), size)
        indices = np.tile(np.arange(size), len(places))
        return parents, places[parents] * size + indices, indices
    segments = np.asarray(level.arraySegments.values, np.int64)
    listed = np.asarray(level.arrayIndices.values, np.int64)
    if len(places) and (places.max() + 1 >= len(segments) or (np.diff(segments) < 0).any()):
        raise ValueError("a sparse tensor's segments do not fit its dimensions")
    counts = segments[places + 1] - segments[places]
    parents = np.repeat(np.arange(len(places)), counts)
    starts = np.repeat(segments[places] - np.concatenate([[0], counts.cumsum()[:-1]]), counts)
    found = starts + np.arange(len(parents))
    return parents, found, listed[found]


def _coordinates(
    order: Sequence[int],
    block_map: Sequence[int],
    levels: Sequence[Any],
    positions: Sequence[Array],
    shape: Sequence[int],
) -> list[Array]:
    """For each dimension of the array the coordinates of all values; block levels refine those of their dimension."""
    rank = len(shape)
    found: dict[int, Array] = {}
    for dimension, level, position in zip(order, levels, positions, strict=True):
        if dimension < rank:
            found[dimension] = position
        else:
            blocked = block_map[dimension - rank]
            found[blocked] = found[blocked] * int(level.denseSize) + position
    if any(len(found[dimension]) and found[dimension].max() >= shape[dimension] for dimension in range(rank)):
        raise ValueError("a sparse tensor's indices lie outside of its shape")
    return [found[dimension] for dimension in range(rank)]


def _dense(size: int) -> Any:
    level = schema.DimensionMetadataT()
    level.format, level.denseSize = schema.DimensionType.DENSE, size
    return level


def _compressed(segments: Array, indices: Array) -> Any:
    level = schema.DimensionMetadataT()
    level.format = schema.DimensionType.SPARSE_CSR
    level.arraySegmentsType, level.arraySegments = _index_table(segments)
    level.arrayIndicesType, level.arrayIndices = _index_table(indices)
    return level


def _index_table(numbers: Array) -> tuple[int, Any]:
    dtype = _narrowest(int(numbers.max(initial=0)))
    kind, table = next((kind, table) for known, kind, table in _INDEX_TABLES if known == dtype)
    vector = table()
    vector.values = numbers.astype(dtype)
    return kind, vector


def _narrowest(largest: int) -> np.dtype[Any]:
    return next(dtype for dtype, _, _ in _INDEX_TABLES if largest <= np.iinfo(dtype).max)
