"""What edgetpu_compiler prints: the fate of each operator, and where the parameters are kept."""

from __future__ import annotations

import re
from collections.abc import Iterator

from edgebuild.accelerators.edgetpu.prediction import ACCELERATOR
from edgebuild.core.device import EdgeTpu, Mapping, ParameterCache, Place
from edgebuild.core.measurement import Mode
from edgebuild.errors import StepError
from edgebuild.units import BYTES

_MAPPED = "Mapped to Edge TPU"
_VERSION = re.compile(r"^Edge TPU Compiler version (\S+)", re.MULTILINE)
_HEADER = re.compile(r"^Operator\s+Count\s+Status\s*$", re.MULTILINE)
_ROW = re.compile(r"^([A-Z][\w:.-]*)\s+(\d+)\s+(\S.*?)\s*$")
_SUBGRAPHS = re.compile(r"^Number of Edge TPU subgraphs: (\d+)", re.MULTILINE)
_CACHED = "On-chip memory used for caching model parameters"
_FREE = "On-chip memory remaining for caching model parameters"
_STREAMED = "Off-chip memory used for streaming uncached model parameters"


def read(text: str, compiled: str) -> EdgeTpu:
    """The result of a compilation.

    Args:
        text: what `edgetpu_compiler -s` printed. Its sizes have three digits.
        compiled: the name of the file that it wrote.

    Raises:
        StepError: the text has no table of operators, or lacks a figure.
    """
    version, subgraphs = _VERSION.search(text), _SUBGRAPHS.search(text)
    places = tuple(_places(text))
    if version is None or subgraphs is None or not places:
        raise StepError(
            "the Edge TPU compiler's report cannot be read",
            _ending(text),
            "This is how versions 14 to 16 report; use one of them.",
        )
    mapping = Mapping(
        accelerator=ACCELERATOR,
        mode=Mode.MEASURED,
        source=f"edgetpu_compiler {version[1]}",
        places=places,
        partitions=int(subgraphs[1]),
    )
    cache = ParameterCache(
        mode=Mode.MEASURED,
        cached_bytes=_size_bytes(text, _CACHED),
        streamed_bytes=_size_bytes(text, _STREAMED),
        free_bytes=_size_bytes(text, _FREE),
    )
    return EdgeTpu(mapping=mapping, cache=cache, compiled=compiled)


def _places(text: str) -> Iterator[Place]:
    """The rows of the table, which ends at the first line that is none."""
    header = _HEADER.search(text)
    if header is None:
        return
    for line in text[header.end() :].strip().splitlines():
        row = _ROW.match(line)
        if row is None:
            return
        is_mapped = row[3] == _MAPPED
        yield Place(operator=row[1], count=int(row[2]), is_mapped=is_mapped, reason="" if is_mapped else row[3])


def _size_bytes(text: str, what: str) -> int:
    size = re.search(rf"^{what}: ([\d.]+)([KMG]?i?B)", text, re.MULTILINE)
    if size is None:
        raise StepError("the Edge TPU compiler's report cannot be read", f"It has no line {what!r}.")
    return round(float(size[1]) * BYTES[size[2].upper()])


def _ending(text: str) -> str:
    return "\n".join([line for line in text.splitlines() if line.strip()][-3:])
