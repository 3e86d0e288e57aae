"""The tensors of a file as their reader knows them: ends in the network's order, names that say each thing once.

The converter sorts them by the names of the signature, so that the first input of a network may be the second of its
file. A runtime without signatures knows them by their positions alone.

The converter joins the paths of all operations that became one by semicolons, and names every result of an UNPACK by
the paths of all its results: a layer of a hundred steps gets a name of two kilobytes for each of them, and the file is
mostly names.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgebuild.flatbuffer.rewriting import tight, unused

_NUMBER = re.compile(r"(?<=/)([^/]*?)_?\d+$")  # behind an operation's name: it was met before


def ordered(data: bytes, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """A file whose graph has its ends in the given order; it computes the same, and its signatures stay.

    Args:
        data: a .tflite file. One without a signature of just these names comes back as it is.
        inputs: the names of the inputs by the signature, in the order wanted.
        outputs: likewise of the outputs; one tensor may be several of them.

    Raises:
        ValueError: the file is damaged.
    """
    model: Any = schema.ModelT.InitFromPackedBuf(data, 0)
    graph = model.subgraphs[0]
    signature = next((each for each in model.signatureDefs or () if each.subgraphIndex == 0), None)
    if signature is None:
        return data
    found = [_by_name(each) for each in (signature.inputs, signature.outputs)]
    if [sorted(each) for each in found] != [sorted(inputs), sorted(outputs)]:
        return data
    there = [[int(index) for index in end] for end in (graph.inputs, graph.outputs)]
    wanted = [[named[name] for name in names] for named, names in zip(found, (inputs, outputs), strict=True)]
    if there == wanted or [sorted(end) for end in there] != [sorted(end) for end in wanted]:
        return data
    graph.inputs, graph.outputs = (np.array(end, np.int32) for end in wanted)
    return tight.pack(model)


def _by_name(ends: Sequence[Any] | None) -> Mapping[str, int]:
    return {each.name.decode("utf-8", "replace"): int(each.tensorIndex) for each in ends or ()}


def names_shortened(data: bytes) -> bytes:
    """A file whose tensors have each path in their names once, of those that differ by a number the first.

    Inputs and outputs keep their names; no two tensors of a graph that had different names get the same one.

    Args:
        data: a .tflite file; one whose names repeat nothing comes back as it is.

    Raises:
        ValueError: the file is damaged.
    """
    model: Any = schema.ModelT.InitFromPackedBuf(data, 0)
    changed = False
    for graph in model.subgraphs:
        ends = {*unused.present(graph.inputs), *unused.present(graph.outputs)}
        taken = {tensor.name for tensor in graph.tensors}
        numbers: Counter[str] = Counter()
        for index, tensor in enumerate(graph.tensors):
            if index in ends or b";" not in (tensor.name or b""):
                continue
            short = ";".join(_once(tensor.name.decode(errors="replace").split(";")))
            if len(short) < len(tensor.name):
                tensor.name = _free(short, taken, numbers)
                taken.add(tensor.name)
                changed = True
    return tight.pack(model) if changed else data


def names_numbered(data: bytes) -> bytes:
    """A file whose tensors have numbers for names, no two the same one, or the given file if part of it lies outside.

    Raises:
        ValueError: the file is damaged.
    """
    model: Any = schema.ModelT.InitFromPackedBuf(data, 0)
    if any(buffer.offset > 1 for buffer in model.buffers):
        return data
    tensors = [tensor for graph in model.subgraphs for tensor in graph.tensors]
    for number, tensor in enumerate(tensors):
        tensor.name = f"{number:x}".encode()
    return tight.pack(model)


def _once(paths: list[str]) -> Iterator[str]:
    met: set[str] = set()
    for path in paths:
        stem = _NUMBER.sub(r"\1", path)
        if stem not in met:
            met.add(stem)
            yield path


def _free(name: str, taken: set[bytes | None], numbers: Counter[str]) -> bytes:
    """A name that no tensor has: with a number behind it where need be, the next of those that were given before."""
    candidate = name.encode()
    while candidate in taken:
        numbers[name] += 1
        candidate = f"{name}_{numbers[name]}".encode()
    return candidate
