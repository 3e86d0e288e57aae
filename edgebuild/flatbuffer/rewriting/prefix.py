"""The beginning of a network as a .tflite file of its own, which can be run and timed alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgebuild.errors import StepError
from edgebuild.flatbuffer.inspecting import inspect
from edgebuild.flatbuffer.rewriting import stripping, tight, unused

# The one entry of metadata that changes what kernels compute: XNNPACK then uses half precision.
_OBEYED = frozenset({"reduced_precision_support"})
# How fields of options end that name several graphs.
_SEVERAL = "Indices"
# Handles to state; nothing can be read from them.
_HANDLES = frozenset({schema.TensorType.RESOURCE, schema.TensorType.VARIANT})


def prefix(data: bytes, operators: int) -> bytes:
    """The file whose first graph ends after its first operators.

    Its inputs are the network's. Its outputs are, in the order in which they are written, the tensors that the rest of
    the network reads or that are outputs of it; those that constants alone decide are not, since runtimes work them out
    as they load. What only the rest needs is gone: operators, tensors, buffers, other graphs. So are signatures.

    Args:
        data: the bytes of a .tflite file.
        operators: how many operators of the first graph are kept, from 1 to all of them.

    Raises:
        StepError: the file is damaged, or keeps constants outside of its flatbuffer.
        ValueError: the graph has not so many operators.
    """
    inspect(data, "the file")  # the schema's own accessors check nothing
    model: Any = schema.ModelT.InitFromPackedBuf(data, 0)
    if any(buffer.offset > 1 for buffer in model.buffers) or model.externalBuffers:
        raise StepError("the network cannot be cut", "its constants lie outside of the flatbuffer")
    graph = model.subgraphs[0]
    count = len(graph.operators or ())
    if not 1 <= operators <= count:
        raise ValueError(f"a prefix of {operators} operators of a graph that has {count}")
    if operators < count:
        _cut(model, graph, operators)
    stripping.strip_model(model, metadata=_OBEYED, signatures=False)
    _drop_graphs(model)
    for kept in model.subgraphs:
        stripping.strip_graph(kept)
    unused.drop_tensors(model)
    unused.drop_operator_codes(model)
    unused.drop_buffers(model)
    return tight.pack(model)


def folded(data: bytes) -> tuple[int, ...]:
    """The positions of the first graph's operators that read constants alone; runtimes run them once, or never.

    Raises:
        StepError: the file is damaged.
    """
    inspect(data, "the file")
    model: Any = schema.ModelT.InitFromPackedBuf(data, 0)
    graph = model.subgraphs[0]
    fixed = _fixed(model, graph)
    return tuple(number for number, operator in enumerate(graph.operators or ()) if _reads_only(operator, fixed))


def _cut(model: Any, graph: Any, operators: int) -> None:
    """End a graph after its first operators."""
    kept, rest = graph.operators[:operators], graph.operators[operators:]
    fixed = _fixed(model, graph)
    wanted = {int(index) for operator in rest for index in operator.inputs} | {int(index) for index in graph.outputs}
    written = [index for operator in kept for index in unused.present(operator.outputs) if index in wanted]
    outputs = [index for index in dict.fromkeys(written) if index not in fixed and _is_value(graph.tensors[index])]
    outputs = outputs or [int(index) for index in kept[-1].outputs]
    read = {int(index) for operator in kept for index in operator.inputs} | set(outputs)
    graph.operators = [
        operator
        for operator in kept
        if not _reads_only(operator, fixed) or read & set(unused.present(operator.outputs))
    ]
    graph.outputs = np.array(outputs, np.int32)


def _fixed(model: Any, graph: Any) -> set[int]:
    """The tensors that have the same value in each run: constants, and what is computed from them alone."""
    fixed = {index for index, tensor in enumerate(graph.tensors) if _is_constant(tensor, model)}
    for operator in graph.operators or ():
        if _reads_only(operator, fixed):
            fixed.update(unused.present(operator.outputs))
    return fixed


def _is_constant(tensor: Any, model: Any) -> bool:
    content = model.buffers[tensor.buffer].data
    return content is not None and len(content) > 0 and not tensor.isVariable


def _reads_only(operator: Any, fixed: set[int]) -> bool:
    read = unused.present(operator.inputs)
    return bool(read) and fixed.issuperset(read)


def _is_value(tensor: Any) -> bool:
    return tensor.type not in _HANDLES and not tensor.isVariable


def _drop_graphs(model: Any) -> None:
    """Drop the graphs that no operator of the first one calls, on whatever way, and number the others anew."""
    reached, pending = {0}, [0]
    while pending:
        for options, field in _calls(model.subgraphs[pending.pop()]):
            called = set(_numbers(getattr(options, field))) - reached
            reached |= called
            pending += called
    place = {old: new for new, old in enumerate(sorted(reached))}
    model.subgraphs = [model.subgraphs[old] for old in sorted(reached)]
    for graph in model.subgraphs:
        for options, field in _calls(graph):
            numbers = [place[number] for number in _numbers(getattr(options, field))]
            setattr(options, field, numbers if field.endswith(_SEVERAL) else numbers[0])


def _calls(graph: Any) -> Iterator[tuple[Any, str]]:
    """The options of operators that name other graphs, with the name of the field: "bodySubgraphIndex", "subgraph"."""
    for operator in graph.operators or ():
        for options in (operator.builtinOptions, operator.builtinOptions2):
            for field in vars(options) if options is not None else ():
                if "subgraph" in field.lower() and _numbers(getattr(options, field)):
                    yield options, field


def _numbers(called: Any) -> list[int]:
    """The graphs that a field names; -1 stands for none."""
    return [] if called is None else [int(number) for number in np.atleast_1d(called) if number >= 0]
