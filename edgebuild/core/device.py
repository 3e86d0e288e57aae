"""Device report: what the target's own runtime, kernels and compiler say of an artifact."""

from __future__ import annotations

import msgspec

from edgebuild.core.arena import Arena
from edgebuild.core.mapping import Compiled, EdgeTpu, EthosU, Mapping, Parity


class DeviceReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked of which target; None for what has no meaning there, or could not be had.

    Attributes:
        delegation: the operators that LiteRT's XNNPACK delegate takes.
        parity: XNNPACK's kernels against the reference kernels, on evaluation samples.
        arena: of TensorFlow Lite Micro.
        edgetpu: what its compiler maps, or will map by its published rules.
        ethosu: what Vela maps, and estimates.
        npu: what the compiler of a plug-in maps, and estimates.
        places: the target's kernels on this machine against the places that the artifact was run at.
    """

    delegation: Mapping | None = None
    parity: Parity | None = None
    arena: Arena | None = None
    edgetpu: EdgeTpu | None = None
    ethosu: EthosU | None = None
    npu: Compiled | None = None
    places: tuple[Parity, ...] = ()
