"""Operators of a file exchanged one by one for others that do the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from edgebuild.flatbuffer.rewriting import tight

Exchange = Callable[[Any, Any, Any], Iterable[Any] | None]
"""What comes in the place of an operator, given ModelT, SubGraphT and OperatorT; None where it stays."""


def exchanged(data: bytes, exchange: Exchange) -> bytes:
    """A file with other operators, in the order in which they are given; the same bytes where all stay.

    Raises:
        ValueError: the file is damaged.
    """
    model: Any = schema.ModelT.InitFromPackedBuf(data, 0)
    changed = False
    for graph in model.subgraphs:
        operators: list[Any] = []
        for operator in graph.operators or ():
            others = exchange(model, graph, operator)
            operators += [operator] if others is None else others
            changed = changed or others is not None
        graph.operators = operators
    return tight.pack(model) if changed else data
