"""Dropping from a model what nothing in it uses. All functions change a ModelT of the schema's object API in place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema


def drop_tensors(model: Any) -> None:
    """Drop the tensors that no operator, end of a graph or signature names, and count the others anew."""
    for number, graph in enumerate(model.subgraphs):
        used = {int(index) for vector in _vectors(graph) for index in vector}
        used |= {entry.tensorIndex for entry in _entries(model, number)}
        kept = [index for index in range(len(graph.tensors)) if index in used]
        if len(kept) < len(graph.tensors):
            place = {old: new for new, old in enumerate(kept)} | {-1: -1}
            graph.tensors = [graph.tensors[index] for index in kept]
            renumber(model, number, place.__getitem__)


def present(indices: Sequence[int] | None) -> list[int]:
    """Tensors by index, optional ones that are not given left out; none where an operator has no such list."""
    return [int(index) for index in (() if indices is None else indices) if index >= 0]


def renumber(model: Any, number: int, of: Callable[[int], int]) -> None:
    """Give every mention of a tensor of one graph its new number; -1 stands for none."""
    graph = model.subgraphs[number]

    def renumbered(indices: Any) -> npt.NDArray[np.int32]:
        return np.array([of(int(index)) for index in indices], np.int32)

    graph.inputs, graph.outputs = renumbered(graph.inputs), renumbered(graph.outputs)
    for operator in graph.operators or ():
        for field in ("inputs", "outputs", "intermediates"):
            if getattr(operator, field) is not None:
                setattr(operator, field, renumbered(getattr(operator, field)))
    for entry in _entries(model, number):
        entry.tensorIndex = of(entry.tensorIndex)


def drop_operator_codes(model: Any) -> None:
    """Drop the operator codes that no operator has, keep equal ones once, and count the most frequent as the first."""
    keys = [_key(code) for code in model.operatorCodes or ()]
    operators = [operator for graph in model.subgraphs for operator in graph.operators or ()]
    uses = Counter(keys[operator.opcodeIndex] for operator in operators)
    place = {key: number for number, (key, _) in enumerate(uses.most_common())}
    codes = dict(zip(keys, model.operatorCodes or (), strict=True))
    for operator in operators:
        operator.opcodeIndex = place[keys[operator.opcodeIndex]]
    model.operatorCodes = [codes[key] for key in place]


def drop_buffers(model: Any) -> None:
    """Drop the buffers that no tensor and no metadata entry has, keep equal ones once; the first stands for none."""
    place: dict[bytes | None, int] = {None: 0}
    kept = [schema.BufferT()]
    holders = [tensor for graph in model.subgraphs for tensor in graph.tensors] + list(model.metadata or ())
    for holder in holders:
        buffer = model.buffers[holder.buffer]
        content = None if buffer.data is None else bytes(buffer.data)
        if content not in place:
            place[content] = len(kept)
            kept.append(buffer)
        holder.buffer = place[content]
    model.buffers = kept


def _vectors(graph: Any) -> Iterator[Any]:
    yield from (graph.inputs, graph.outputs)
    for operator in graph.operators or ():
        for vector in (operator.inputs, operator.outputs, operator.intermediates):
            if vector is not None:
                yield vector


def _entries(model: Any, number: int) -> Iterator[Any]:
    """What the signatures of a graph say of its tensors."""
    for signature in model.signatureDefs or ():
        if signature.subgraphIndex == number:
            yield from (*signature.inputs, *signature.outputs)


def _key(code: Any) -> tuple[int, int, bytes | None]:
    return max(int(code.builtinCode), int(code.deprecatedBuiltinCode)), int(code.version), code.customCode
