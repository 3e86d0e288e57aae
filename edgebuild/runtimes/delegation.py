"""Which operators LiteRT hands to its XNNPACK delegate, read from the interpreter itself.

An interpreter that was made ready lists its nodes: the artifact's operators, and behind them a DELEGATE for each part
that it replaced, with the tensors that go in and come out. What lies between those was replaced. XNNPACK gives no
reason for what it leaves; the choice read is that of the runtime on the build machine.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from edgebuild.actions.runtimes import DelegationJob
from edgebuild.child import Say
from edgebuild.core.device import Mapping, Place, gathered
from edgebuild.core.measurement import Mode
from edgebuild.core.target import Kernels
from edgebuild.runtimes import interpreters

ACCELERATOR = "xnnpack"
_DELEGATE = "DELEGATE"
_LITERT = "ai-edge-litert"


class Node(NamedTuple):
    """A node of an interpreter; tensors by index, optional ones that are not given left out."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def delegation(job: DelegationJob, _: Say) -> Mapping:
    """Load an artifact as LiteRT does by default and read which operators of its first graph were replaced.

    Raises:
        StepError: the interpreter refused the artifact.
    """
    interpreter = interpreters.load(job.artifact, Path(job.artifact).name, Kernels.XNNPACK, threads=1)
    # The wheel has no public list of nodes; this one is what its own tools read.
    nodes = [_node(item) for item in interpreter._get_ops_details()]
    names = {item["index"]: str(item["name"]) for item in interpreter.get_tensor_details()}
    operators = [node for node in nodes if node.name != _DELEGATE]
    delegates = [node for node in nodes if node.name == _DELEGATE]
    taken = replaced(operators, delegates)
    return Mapping(
        accelerator=ACCELERATOR,
        mode=Mode.MEASURED,
        source=f"LiteRT {importlib.metadata.version(_LITERT)}",
        places=gathered(
            Place(
                operator=operator.name,
                count=1,
                is_mapped=position in taken,
                tensors=tuple(names.get(index, "") for index in operator.outputs[:1]),
            )
            for position, operator in enumerate(operators)
        ),
        partitions=len(delegates),
    )


def replaced(operators: Sequence[Node], delegates: Sequence[Node]) -> frozenset[int]:
    """The positions of the operators that delegates compute.

    They are those met on the way back from what a delegate writes to what it reads, constants included.
    """
    makers = {tensor: position for position, operator in enumerate(operators) for tensor in operator.outputs}
    return frozenset(position for delegate in delegates for position in _between(delegate, operators, makers))


def _between(delegate: Node, operators: Sequence[Node], makers: dict[int, int]) -> Iterator[int]:
    seen = set(delegate.inputs)
    pending = list(delegate.outputs)
    while pending:
        tensor = pending.pop()
        if tensor in seen:
            continue
        seen.add(tensor)
        if tensor in makers:
            operator = operators[makers[tensor]]
            yield makers[tensor]
            pending += operator.inputs


def _node(details: dict[str, Any]) -> Node:
    return Node(str(details["op_name"]), _given(details["inputs"]), _given(details["outputs"]))


def _given(indices: Any) -> tuple[int, ...]:
    return tuple(int(index) for index in indices if index >= 0)
