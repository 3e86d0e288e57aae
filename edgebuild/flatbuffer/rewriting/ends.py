"""Inputs and outputs of a .tflite file in the order in which the network has them.

The converter sorts them by the names of the signature, so that the first input of a network may be the second of its
file. A runtime without signatures knows them by their positions alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgebuild.flatbuffer.rewriting import tight


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
