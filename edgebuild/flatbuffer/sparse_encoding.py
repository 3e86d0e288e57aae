"""The sparse encoding of constant tensors in a .tflite file: levels of dimensions, some listing only what is there.

The schema's table SparsityParameters describes it, after Chou, Kjolstad and Amarasinghe 2018, "Format abstraction for
sparse tensor algebra compilers", section 3.1: dimensions are walked in an order of their own; a dense one has all its
positions, a compressed one (SPARSE_CSR) segments of indices. Blocks are further dense dimensions behind the others.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

Array = npt.NDArray[Any]

# The narrowest of these types that holds the largest number is used; flatbuffers store them as different tables.
_INDEX_TABLES = (
    (np.dtype(np.uint8), schema.SparseIndexVector.Uint8Vector, schema.Uint8VectorT),
    (np.dtype(np.uint16), schema.SparseIndexVector.Uint16Vector, schema.Uint16VectorT),
    (np.dtype(np.int32), schema.SparseIndexVector.Int32Vector, schema.Int32VectorT),
)
_LEVEL_BYTES = 44  # of the tables that describe one dimension, as measured on files
_BLOCK_LENGTHS = (1, 2, 4, 8, 16)


class Layout(NamedTuple):
    """How an array is laid out when it is stored sparsely.

    Attributes:
        order: of its dimensions; the last is the compressed one.
        blocks: the length of a block along a dimension, for the dimensions that have one; it divides the dimension.
    """

    order: tuple[int, ...]
    blocks: Mapping[int, int]


class Encoded(NamedTuple):
    """A sparsely stored array: the values that are kept, [count], and the schema's table that places them."""

    values: Array
    parameters: Any


def layouts(shape: Sequence[int]) -> Iterator[Layout]:
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


def size_bytes(array: Array, layout: Layout) -> int:
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


def encode(array: Array, layout: Layout) -> Encoded:
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
    return Encoded(kept[present].ravel(), parameters)


def decode(values: Array, parameters: Any, shape: Sequence[int]) -> Array:
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
