"""Loops of a SavedModel as the converter takes them: lists of tensors whose shapes are known.

A recurrent layer that was exported steps through its sequence in a loop that keeps a list of a tensor for each step.
Its shape was written down with an open batch, and TensorFlow's converter refuses such lists, also where all that goes
in has a batch of 1.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

_PROTOCOL = "saved_model.pb"
_LISTS = frozenset({"TensorListFromTensor", "TensorListGetItem", "TensorListReserve", "TensorListStack"})


@contextmanager
def for_one_sample(folder: Path) -> Iterator[tuple[Path, bool]]:
    """A SavedModel whose lists are of one sample, and whether it is another than the one that is given.

    It lasts as long as the context does; what is loaded from it stays.
    """
    saved = saved_model_pb2.SavedModel.FromString((folder / _PROTOCOL).read_bytes())
    closed = [_closed(nodes) for meta in saved.meta_graphs for nodes in _graphs(meta.graph_def)]
    if not any(closed):
        yield folder, False
        return
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        for part in folder.iterdir():
            if part.name != _PROTOCOL:
                (copy / part.name).symlink_to(part.resolve())
        (copy / _PROTOCOL).write_bytes(saved.SerializeToString(deterministic=True))
        yield copy, True


def _graphs(graph: Any) -> Iterator[Any]:
    yield graph.node
    yield from (function.node_def for function in graph.library.function)


def _closed(nodes: Iterable[Any]) -> bool:
    """Write a batch of 1 into the shapes of lists, in place; whether there were any with an open one."""
    constants = {node.name: node for node in nodes if node.op == "Const"}
    named = {given.partition(":")[0] for node in nodes if node.op in _LISTS for given in node.input}
    found = False
    for name in named & constants.keys():
        tensor = constants[name].attr["value"].tensor
        shape = tf.make_ndarray(tensor)
        if shape.ndim != 1 or len(shape) < 2 or shape[0] != -1 or (shape[1:] < 0).any():
            continue
        tensor.CopyFrom(tf.make_tensor_proto(np.concatenate([[1], shape[1:]]).astype(shape.dtype)))
        found = True
    return found
