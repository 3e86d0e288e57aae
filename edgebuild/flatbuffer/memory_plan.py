"""Lean arenas: files whose activations need less of TFLM's tensor arena.

Two things lower what the arena's head holds: another order of operators, and places for tensors that are better than
those of TFLM's greedy planner. The first is in the order of the file, the second in its metadata, where TFLM looks for
an offline plan (tensorflow/lite/micro/docs/memory_management.md, "Offline planned tensor allocations").
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgebuild.core.inspection import Graph, Tensor
from edgebuild.flatbuffer import arena_plan
from edgebuild.flatbuffer.arena_plan import Buffer
from edgebuild.flatbuffer.inspecting import inspect
from edgebuild.flatbuffer.rewriting import tight
from edgebuild.flatbuffer.rewriting.lean import OFFLINE_PLAN

# MicroArenaBufferAlignment.
_ALIGNMENT_BYTES = 16
_PLAN_VERSION, _GRAPHS = 1, 1
# The greedy planner is to find a place for this one itself.
_ONLINE = -1
_LARGEST_PLACED = 400
# Operators that do more than write their outputs, or whose results depend on when they run.
_EFFECTS = (
    "CALL",
    "WHILE",
    "IF",
    "VAR_HANDLE",
    "READ_VARIABLE",
    "ASSIGN_VARIABLE",
    "HASHTABLE",
    "RANDOM",
    "MULTINOMIAL",
)
_UNKNOWN = ("CUSTOM:", "FLEX:", "UNKNOWN:", "STABLEHLO_", "DELEGATE")


def arena_order(data: bytes) -> bytes:
    """The file with its operators in the order that needs the fewest bytes of activations, or as it is.

    It is as it is where TFLM's greedy planner would not need less for that order, and where operators may not be moved:
    in more than one graph, with state or effects, of unknown kinds, with tensors of unknown size. Dimensions that are
    left open count as 1, see _is_unknown.

    Raises:
        StepError: the file is damaged.
    """
    graph = _movable(data)
    if graph is None:
        return data
    order = arena_plan.best_order(_problem(graph))
    ordered = msgspec.structs.replace(graph, operations=tuple(graph.operations[position] for position in order))
    if head_bytes(ordered) >= head_bytes(graph):
        return data
    model: Any = schema.ModelT.InitFromPackedBuf(data, 0)
    operators = model.subgraphs[0].operators
    model.subgraphs[0].operators = [operators[position] for position in order]
    return tight.pack(model)


def planned(data: bytes) -> bytes:
    """The file with an offline plan for TFLM if one needs less than its greedy planner would, or as it is.

    The plan knows tensors only. Scratch memory that kernels ask for is placed around them as the file is loaded: where
    they want much of it, as those of CMSIS-NN may, the greedy planner can do better. Measure with and without.

    Raises:
        StepError: the file is damaged.
    """
    described = inspect(data, "the file")
    if OFFLINE_PLAN in described.metadata or len(described.graphs) != 1 or _is_unknown(described.graphs[0]):
        return data
    placed = _placed(described.graphs[0])
    buffers = list(placed.values())
    if len(buffers) > _LARGEST_PLACED:
        return data
    offsets = arena_plan.best_places(buffers)
    if arena_plan.needed_bytes(buffers, offsets) >= arena_plan.needed_bytes(buffers, arena_plan.greedy(buffers)):
        return data
    return _with_plan(data, dict(zip(placed, offsets, strict=True)), len(described.graphs[0].tensors))


def head_bytes(graph: Graph) -> int:
    """What TFLM's greedy planner needs for a graph's activations; scratch memory of kernels not counted."""
    buffers = list(_placed(graph).values())
    return arena_plan.needed_bytes(buffers, arena_plan.greedy(buffers))


def _movable(data: bytes) -> Graph | None:
    """The graph of a file whose operators may change places."""
    described = inspect(data, "the file")
    graph = described.graphs[0]
    # A plan for places holds for one order.
    if len(described.graphs) > 1 or OFFLINE_PLAN in described.metadata or _is_unknown(graph):
        return None
    fixed = (*_EFFECTS, *_UNKNOWN)
    has_effects = any(operation.name.startswith(fixed) for operation in graph.operations)
    written = [tensor for operation in graph.operations for tensor in operation.outputs]
    if has_effects or any(tensor.is_variable for tensor in graph.tensors) or len(set(written)) < len(written):
        return None
    return graph


def _is_unknown(graph: Graph) -> bool:
    """Whether there is a tensor whose bytes cannot be counted: of strings, resources, types that are not known.

    TFLM has no shapes that change as a graph runs: it allocates what a tensor's `shape` says, in which dimensions that
    its `shape_signature` leaves open are 1, and so does Tensor.size_bytes (micro_allocator.cc, memory_helpers.cc).
    """
    return any(not tensor.size_bytes and math.prod(tensor.shape) for tensor in graph.tensors)


def _problem(graph: Graph) -> arena_plan.Problem:
    sizes = {tensor.index: _aligned(tensor.size_bytes) for tensor in graph.tensors if _is_activation(tensor)}
    steps = tuple(
        arena_plan.Step(frozenset(operation.inputs) & sizes.keys(), frozenset(operation.outputs) & sizes.keys())
        for operation in graph.operations
    )
    return arena_plan.Problem(
        steps=steps,
        sizes_bytes=sizes,
        inputs=frozenset(graph.inputs) & sizes.keys(),
        outputs=frozenset(graph.outputs) & sizes.keys(),
    )


def _placed(graph: Graph) -> dict[int, Buffer]:
    """The tensors that TFLM places in the arena's head, with their lives as it counts them: one moment an operator."""
    first = dict.fromkeys(graph.inputs, 0)
    last = dict(first)
    for moment, operation in enumerate(graph.operations, start=1):
        first |= dict.fromkeys(operation.outputs, moment)
        last |= dict.fromkeys((*operation.inputs, *operation.outputs), moment)
    last |= dict.fromkeys(graph.outputs, len(graph.operations))
    return {
        tensor.index: Buffer(_aligned(tensor.size_bytes), first[tensor.index], last[tensor.index])
        for tensor in graph.tensors
        if tensor.index in first and tensor.size_bytes and _is_activation(tensor)
    }


def _is_activation(tensor: Tensor) -> bool:
    return not (tensor.constant_bytes or tensor.is_variable)


def _aligned(size: int) -> int:
    return size + -size % _ALIGNMENT_BYTES


def _with_plan(data: bytes, offsets: dict[int, int], tensors: int) -> bytes:
    model: Any = schema.ModelT.InitFromPackedBuf(data, 0)
    plan = [_PLAN_VERSION, _GRAPHS, tensors, *(offsets.get(index, _ONLINE) for index in range(tensors))]
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.array(plan, "<i4").view(np.uint8)
    model.buffers.append(buffer)
    entry.name, entry.buffer = OFFLINE_PLAN, len(model.buffers) - 1
    model.metadata = [*(model.metadata or ()), entry]
    return tight.pack(model)
