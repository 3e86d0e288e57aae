"""Networks that do to an interpreter what no network should: .tflite files that pass for whole ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema
from tflite_networks import TYPE, Network

_OPERATOR = schema.BuiltinOperator


def relu(path: Path, size: int = 4) -> Path:
    """A harmless one."""
    network = Network()
    a, b = network.tensor("a", [1, size]), network.tensor("b", [1, size])
    network.operator(_OPERATOR.RELU, [a], [b])
    return network.write(path, [a], [b])


def crashing(path: Path) -> Path:
    """A graph that asks for itself, without end: the stack is used up where it is made ready."""
    network = Network()
    a, x, b = network.tensor("a", [1], TYPE.BOOL), network.tensor("x", [1]), network.tensor("b", [1])
    network.operator(_OPERATOR.IF, [a, a, x], [b], options=schema.IfOptionsT())  # both branches are graph 0
    return network.write(path, [a, x], [b])


def endless(path: Path) -> Path:
    """A loop whose condition is that x equals x."""
    options = schema.WhileOptionsT()
    options.condSubgraphIndex, options.bodySubgraphIndex = 1, 2
    main = _graph(_OPERATOR.WHILE, TYPE.FLOAT32, 1, options)
    parts = [_graph(_OPERATOR.EQUAL, TYPE.BOOL, 2, schema.EqualOptionsT()), _graph(_OPERATOR.RELU, TYPE.FLOAT32, 1)]
    for part in parts:
        (graph,) = part.subgraphs
        graph.operators[0].opcodeIndex += len(main.operatorCodes)
        main.operatorCodes += part.operatorCodes
        main.subgraphs.append(graph)
    builder = flatbuffers.Builder(1024)
    builder.Finish(main.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def hungry(path: Path) -> Path:
    """Half a gigabyte of activations."""
    return relu(path, 60_000_000)


def _graph(code: int, made: int, operands: int, options: Any = None) -> Any:
    """A model of one operator that takes x so many times."""
    network = Network()
    a, b = network.tensor("a", [1]), network.tensor("b", [1], made)
    network.operator(code, [a] * operands, [b], options=options)
    return schema.ModelT.InitFromPackedBuf(network.packed([a], [b]), 0)
