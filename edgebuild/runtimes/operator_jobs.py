"""What can be asked about the operators of an artifact."""

from __future__ import annotations

from typing import Annotated

import msgspec

from edgebuild.core.settings import AtLeastOne
from edgebuild.core.target import Kernels


class OperatorTimesJob(msgspec.Struct, frozen=True, kw_only=True):
    """Time the operators of an artifact on this machine.

    Attributes:
        artifact: the .tflite file.
        time_s: what timing may take in all; a few rounds are done in any case.
        most_operators: where prefixes are timed, the cheapest of more operators go together with their neighbours.
        profiler: whether LiteRT's own profiler may be asked; it can end the process.
    """

    artifact: str
    kernels: Kernels
    threads: AtLeastOne = 1
    time_s: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    most_operators: AtLeastOne = 64
    profiler: bool = True
