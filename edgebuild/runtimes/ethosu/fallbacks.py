"""Which operators Vela left to the CPU: what its file holds beside NPU commands, and the reasons that it printed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from ai_edge_litert import schema_py_generated as schema

from edgebuild.core.mapping import Mapping, Place, gathered
from edgebuild.core.measurement import Mode
from edgebuild.flatbuffer import reader

NPU = "CUSTOM:ethos-u"
_WARNING = re.compile(
    r"^Warning \([^)\n]*\) operator: [^\n]*?, ofm: '(?P<tensor>[^\n]*)'\nReason: (?P<reason>[^\n]*)", re.MULTILINE
)
# Vela ends some reasons with the name of the tensor, by which equal reasons would differ.
_NAMED_TENSOR = re.compile(r" \([^()]*\)$")


class _Written(NamedTuple):
    """An operator, and the tensor that it writes first."""

    operator: str
    tensor: str


class Compiled(NamedTuple):
    """What Vela was given and gave.

    Attributes:
        accelerator: Vela's name of the NPU.
        source: Vela and its version.
        artifact: the file before compilation; no two of its tensors have one name.
        compiled: Vela's file.
        printed: what Vela said.
    """

    accelerator: str
    source: str
    artifact: bytes
    compiled: bytes
    printed: str


def mapping(given: Compiled, tensors: Sequence[str]) -> Mapping:
    """The fate of an artifact's operators.

    Args:
        given: what Vela was given and gave.
        tensors: what each operator of the artifact writes first, for people.

    Raises:
        StepError: one of the files cannot be read.
    """
    reasons = {found["tensor"]: _NAMED_TENSOR.sub("", found["reason"]) for found in _WARNING.finditer(given.printed)}
    after = _written(given.compiled, "the compiled network")
    left = Counter(entry for entry in after if entry.operator != NPU)
    before = _written(given.artifact, "the artifact")
    places = list(_places(before, tensors, left, reasons))
    # Operators that only the compiled file has are Vela's own helpers; they cost time on the CPU like the others.
    places += [
        Place(operator=entry.operator, count=1, is_mapped=False, is_added=True, reason=reasons.get(entry.tensor, ""))
        for entry in left.elements()
    ]
    return Mapping(
        accelerator=given.accelerator,
        mode=Mode.MEASURED,
        source=given.source,
        places=gathered(places),
        partitions=sum(entry.operator == NPU for entry in after),
    )


def _places(
    before: Sequence[_Written], tensors: Sequence[str], left: Counter[_Written], reasons: dict[str, str]
) -> Iterator[Place]:
    """A place for each operator of the artifact; those that are found on the CPU are taken out of `left`."""
    for entry, tensor in zip(before, tensors, strict=True):
        is_mapped = left[entry] == 0
        if not is_mapped:
            left[entry] -= 1
        reason = "" if is_mapped else reasons.get(entry.tensor, "")
        yield Place(operator=entry.operator, count=1, is_mapped=is_mapped, reason=reason, tensors=(tensor,))


def _written(data: bytes, name: str) -> list[_Written]:
    """The operators of the first graph in order."""
    operators = reader.parse(data, name).operators
    graph: Any = schema.Model.GetRootAs(data, 0).Subgraphs(0)
    found = []
    for position in range(graph.OperatorsLength()):
        tensor = graph.Tensors(graph.Operators(position).Outputs(0)).Name() or b""
        found.append(_Written(operators[position].name, tensor.decode("utf-8", "replace")))
    return found
