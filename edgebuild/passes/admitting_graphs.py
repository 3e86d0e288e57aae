"""What the graphs of a SavedModel may do: their operators are looked at here before TensorFlow loads them.

An operator may write a file, print into one, read one, start a server or call Python. TensorFlow runs graphs of a
SavedModel while it loads it (initializers, restorers) and whenever its functions are called. What saves the variables
is in every SavedModel and knows files: it is not called here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2

from edgebuild.errors import StepError
from edgebuild.passes.admitting import ALLOW, known_operators

FILE = "saved_model.pb"
_RESTORES = "RestoreV2"


def require(folder: Path) -> None:
    """Refuse a SavedModel whose graphs do anything but compute.

    Args:
        folder: with a saved_model.pb.

    Raises:
        StepError: it is damaged, or names the operators that are not let through.
    """
    problem = next(_problems(read(folder), folder), "")
    if problem:
        why = "Only operators that compute are run: others may read or write files, or run programs."
        raise StepError(f"{folder} {problem}", why, f"Export the network without them. {ALLOW}")


def read(folder: Path) -> Any:
    """The SavedModel of a folder, as TensorFlow's message; raises StepError where it is damaged."""
    return parsed(saved_model_pb2.SavedModel, folder / FILE)


def parsed(message: Any, file: Path) -> Any:
    """A file of a SavedModel, as a message of this type; raises StepError where it is damaged."""
    try:
        return message.FromString(file.read_bytes())
    except DecodeError as error:
        raise StepError(f"{file.parent} is a damaged SavedModel", str(error), "Export the network again.") from None


def _problems(saved: Any, folder: Path) -> Iterator[str]:
    for graph in saved.meta_graphs:
        found = sorted({name for name in _Graph(graph).operators() if name not in known_operators()})
        if found:
            yield f"uses operators that do more than compute: {', '.join(found)[:200]}"
        for asset in graph.asset_file_def:
            if not _is_within(folder, asset.filename):
                yield f"names a file outside of it: {asset.filename!r:.80}"


def _is_within(folder: Path, name: str) -> bool:
    path = PurePosixPath(name)
    inside = folder / "assets"
    return not path.is_absolute() and (inside / path).resolve().is_relative_to(inside.resolve())


class _Graph:
    """A meta graph: its nodes, and the functions that they call."""

    def __init__(self, meta: Any) -> None:
        self._nodes = {node.name: node for node in meta.graph_def.node}
        self._functions = {function.signature.name: function.node_def for function in meta.graph_def.library.function}
        # What has no object graph was written by TensorFlow 1.
        self._called = list(meta.object_graph_def.concrete_functions)
        self._saver = meta.saver_def
        signatures = meta.signature_def.values()
        self._ends = [_node_of(output.name) for signature in signatures for output in signature.outputs.values()]
        for collection in meta.collection_def.values():
            self._ends += map(_node_of, collection.node_list.value)

    def operators(self) -> Iterator[str]:
        """The operators of all that may run: functions that can be called, and the graph but for what saves."""
        saved_by = self._behind([_node_of(self._saver.save_tensor_name)])
        restored_by = self._behind([_node_of(self._saver.restore_op_name)])
        others = self._behind([*self._ends, *(self._nodes.keys() - saved_by - restored_by)])
        yield from self._of_nodes([self._nodes[name] for name in others], self._called)
        restored_by -= others
        for name in self._of_nodes([self._nodes[name] for name in restored_by], ()):
            # It reads the variables: TensorFlow 2 does so by itself, TensorFlow 1 by this operator, from a file that
            # is given to it.
            if name != _RESTORES or not self._restores_what_is_given(restored_by):
                yield name

    def _of_nodes(self, nodes: Iterable[Any], functions: Iterable[str]) -> Iterator[str]:
        pending, seen = list(functions), set[str]()
        for node in nodes:
            yield node.op
            pending += _called_by(node)
        while pending:
            name = pending.pop()
            if name in seen:
                continue
            seen.add(name)
            for node in self._functions.get(name, ()):
                yield node.op
                pending += _called_by(node)

    def _behind(self, names: Iterable[str]) -> set[str]:
        """Nodes, and all that they need."""
        pending, found = list(names), set[str]()
        while pending:
            name = pending.pop()
            if name and name in self._nodes and name not in found:
                found.add(name)
                pending += [_node_of(given) for given in self._nodes[name].input]
        return found

    def _restores_what_is_given(self, names: Iterable[str]) -> bool:
        """Whether the file is the saver's own, or an argument of the function that restores."""
        given = _node_of(self._saver.filename_tensor_name)
        own = [node for node in map(self._nodes.__getitem__, names) if node.op == _RESTORES]
        inner = [
            node
            for name in names
            for called in _called_by(self._nodes[name])
            for node in self._functions.get(called, ())
        ]
        computed = {node.name for node in inner}
        return all(_node_of(node.input[0]) == given for node in own) and all(
            _node_of(node.input[0]) not in computed for node in inner if node.op == _RESTORES
        )


def _called_by(node: Any) -> list[str]:
    called = [value.func.name for value in node.attr.values() if value.func.name]
    called += [function.name for value in node.attr.values() for function in value.list.func]
    return [*called, node.op]  # a function may be called by its name, as an operator


def _node_of(tensor: str) -> str:
    """The node that a tensor, or a control input, comes from."""
    return tensor.removeprefix("^").partition(":")[0]
