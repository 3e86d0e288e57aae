"""Which operators the Edge TPU compiler will map, which it will leave to the CPU, and why. Estimated, not measured."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from edgebuild.accelerators.edgetpu import limits, parameters
from edgebuild.accelerators.edgetpu.limits import Case, Operators, Row
from edgebuild.accelerators.edgetpu.parameters import Parameters
from edgebuild.core import device
from edgebuild.core.device import EdgeTpu, ParameterCache, Place
from edgebuild.core.inspection import Graph, Inspection, Operation, Tensor
from edgebuild.core.measurement import Mode
from edgebuild.core.model import UNKNOWN_RUNTIME, version_key

ACCELERATOR = "edgetpu"
_8_BITS = frozenset({"int8", "uint8"})
_INNERMOST = 3


class Reason(StrEnum):
    """Why an operator stays on the CPU, in the words of the compiler's log."""

    UNKNOWN = "Operation not supported"
    VERSION = "Operation version not supported"
    TYPE = "Operation is working on an unsupported data type"
    DYNAMIC = (
        "Attempting to use a delegate that only supports static-sized tensors"
        " with a graph that has dynamic-sized tensors"
    )
    RANK = "Tensor has unsupported rank (up to 3 innermost dimensions mapped)"
    UNSPECIFIED = "Operation is otherwise supported, but not mapped due to some unspecified limitation"
    LATER = "More than one subgraph is not supported"


class _Verdict(NamedTuple):
    """Why an operator cannot be mapped; `detail` says which limit it breaks."""

    reason: Reason
    detail: str = ""


def predict(inspection: Inspection, values: Mapping[int, tuple[int, ...]], memory_bytes: int | None = None) -> EdgeTpu:
    """What the compiler will map of an 8-bit network, by the published rules of operators.toml.

    One part of the graph is mapped, the first: where an operator that cannot be mapped comes after one that can, all
    that needs its result stays on the CPU.

    Args:
        inspection: the artifact before the compiler.
        values: the integer constants of its first graph by tensor, flat; those that hold one value throughout may be
            that value once, long ones of many values may be left out.
        memory_bytes: of the chip for parameters; None for that of the table.
    """
    rules = limits.load()
    main = inspection.graphs[0]
    verdicts = _verdicts(main, rules, values)
    mapped = _mapped(main, [verdict is None for verdict in verdicts])
    places = [
        *(
            _place(operation, main, verdict, is_mapped=position in mapped)
            for position, (operation, verdict) in enumerate(zip(main.operations, verdicts, strict=True))
        ),
        *(_place(operation, graph, _Verdict(Reason.UNKNOWN)) for graph, operation in _called(inspection)),
    ]
    return EdgeTpu(
        mapping=device.Mapping(
            accelerator=ACCELERATOR,
            mode=Mode.ESTIMATED,
            source=f"published limits of the {rules.compiler.name}",
            places=device.gathered(places),
            partitions=1 if mapped else 0,
        ),
        cache=_cache(main, mapped, rules, memory_bytes or rules.compiler.on_chip_memory_bytes),
    )


def _called(inspection: Inspection) -> Iterator[tuple[Graph, Operation]]:
    """Operators of graphs that control flow calls."""
    for graph in inspection.graphs[1:]:
        for operation in graph.operations:
            yield graph, operation


def _mapped(graph: Graph, supported: list[bool]) -> frozenset[int]:
    first = next((part.operators for part in parts(graph, supported) if part.is_supported), ())
    return frozenset(first)


def _place(operation: Operation, graph: Graph, verdict: _Verdict | None, *, is_mapped: bool = False) -> Place:
    reason, detail = (verdict or _Verdict(Reason.LATER)) if not is_mapped else ("", "")
    return Place(
        operator=operation.name,
        count=1,
        is_mapped=is_mapped,
        reason=str(reason),
        detail=detail,
        tensors=tuple(graph.tensors[index].name for index in operation.outputs[:1]),
    )


def _verdicts(graph: Graph, rules: Operators, values: Mapping[int, tuple[int, ...]]) -> list[_Verdict | None]:
    """For each operator why it cannot be mapped by itself; open sizes other than the batch refuse the whole graph."""
    if any(-1 in tensor.shape[1:] for tensor in graph.tensors):
        return [_Verdict(Reason.DYNAMIC, "Sizes are constant at compile time.")] * len(graph.operations)
    return [_verdict(operation, graph, rules, values) for operation in graph.operations]


def _verdict(
    operation: Operation, graph: Graph, rules: Operators, values: Mapping[int, tuple[int, ...]]
) -> _Verdict | None:
    row = rules.row(operation.name)
    if row is None:
        return _Verdict(Reason.UNKNOWN)
    if _is_too_new(operation.runtime, rules.compiler.runtime):
        return _Verdict(Reason.VERSION, f"Version {operation.version} is newer than the compiler.")
    tensors = [graph.tensors[index] for index in (*operation.inputs, *operation.outputs) if index >= 0]
    return _of_tensors(tensors, row) or _of_limits(operation, graph, rules, row, values)


def _is_too_new(runtime: str, newest: str) -> bool:
    return runtime == UNKNOWN_RUNTIME or (runtime != "" and version_key(runtime) > version_key(newest))


def _of_tensors(tensors: list[Tensor], row: Row) -> _Verdict | None:
    """What holds for all operators. Constants are 8 bits, or the 32 bits of biases and sizes; states are 16 bits."""
    data = [tensor for tensor in tensors if tensor.constant_bytes == 0 and not tensor.is_variable]
    wrong = [tensor.dtype for tensor in data if tensor.dtype not in _8_BITS]
    wrong += [tensor.dtype for tensor in tensors if tensor.constant_bytes > 0 and tensor.dtype.startswith("float")]
    if wrong:
        reason = Reason.UNSPECIFIED if row.float_reason == "unspecified" else Reason.TYPE
        return _Verdict(reason, f"It has data of {', '.join(dict.fromkeys(wrong))}; int8 and uint8 are supported.")
    if any(size != 1 for tensor in data for size in limits.fixed(tensor.shape)[:-_INNERMOST]):
        return _Verdict(Reason.RANK)
    return None


def _of_limits(
    operation: Operation, graph: Graph, rules: Operators, row: Row, values: Mapping[int, tuple[int, ...]]
) -> _Verdict | None:
    case = Case(row, operation, graph.tensors, values, rules.interpolation.largest_factor)
    broken = any(not limits.holds(limit, case) for limit in row.limits)
    return _Verdict(Reason.UNSPECIFIED, row.limitation) if broken else None


def _cache(graph: Graph, mapped: frozenset[int], rules: Operators, memory_bytes: int) -> ParameterCache:
    """Parameters as the compiler lays them out, kept on the chip beside activations, and streamed beyond that."""
    found = Parameters()
    counted: set[int] = set()
    for position in sorted(mapped):
        operation = graph.operations[position]
        row = rules.row(operation.name)
        positions = row.parameters if row is not None else ()
        buffers = {graph.tensors[i].buffer for i in operation.inputs if i >= 0 and graph.tensors[i].constant_bytes}
        if buffers and buffers <= counted:
            continue  # weights that another operator has as well
        counted |= buffers
        found += parameters.of_operator(operation, graph.tensors, positions)
    peak_bytes = max(
        (graph.memory.steps_bytes[step] for step in mapped if step < len(graph.memory.steps_bytes)), default=0
    )
    room = [
        _room(memory_bytes, peak_bytes, factor) for factor in (rules.activations.most, 1.0, rules.activations.least)
    ]
    sizes = (found.least, found.cached, found.most)
    (cached_least, _), (cached, streamed), (cached_most, _) = (
        (min(size, free), max(0, size - free)) for size, free in zip(sizes, room, strict=True)
    )
    streamed_least = max(0, found.least - room[-1])
    return ParameterCache(
        mode=Mode.ESTIMATED,
        cached_bytes=cached,
        streamed_bytes=found.streamed + streamed,
        cached_between=(cached_least, cached_most),
        streamed_between=(streamed_least, found.streamed + max(0, found.most - room[0])),
    )


def _room(memory_bytes: int, peak_bytes: int, factor: float) -> int:
    """What activations leave of the chip's memory; where they are many the compiler computes them in parts."""
    return memory_bytes - min(math.ceil(factor * peak_bytes), memory_bytes * 7 // 8)


class Part(NamedTuple):
    """Operators that run together: their positions, and whether the accelerator can run them."""

    is_supported: bool
    operators: tuple[int, ...]


def parts(graph: Graph, supported: Sequence[bool]) -> Iterator[Part]:
    """Group operators as TensorFlow Lite does it for delegates: each part takes all that is ready for its place.

    An operator is ready once all that it reads is there. The first that is ready decides where a part runs; the part
    takes every further one of the same place that is, or by that becomes, ready. (TensorFlow Lite,
    lite/graph_info.h, PartitionGraphIntoIndependentNodeSubsets.) Operators that wait for each other are left out.

    Args:
        graph: the graph, its operators in the order of execution.
        supported: for each operator whether the accelerator can run it.
    """
    missing = {tensor for operation in graph.operations for tensor in operation.outputs}
    waiting = list(range(len(graph.operations)))
    while (part := _next(graph.operations, supported, waiting, missing)) is not None:
        yield part
        taken = set(part.operators)
        waiting = [position for position in waiting if position not in taken]


def _next(
    operations: Sequence[Operation], supported: Sequence[bool], waiting: Sequence[int], missing: set[int]
) -> Part | None:
    """The next part; takes what it writes out of `missing`."""
    first = next((position for position in waiting if _is_ready(operations[position], missing)), None)
    if first is None:
        return None
    candidates = [position for position in waiting if supported[position] == supported[first]]
    taken: list[int] = []
    while True:
        ready = next((position for position in candidates if _is_ready(operations[position], missing)), None)
        if ready is None:
            return Part(supported[first], tuple(taken))
        candidates.remove(ready)
        taken.append(ready)
        missing.difference_update(operations[ready].outputs)


def _is_ready(operation: Operation, missing: set[int]) -> bool:
    return missing.isdisjoint(operation.inputs)
