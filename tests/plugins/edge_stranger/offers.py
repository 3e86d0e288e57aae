"""What the entry points name; nothing heavy is imported here."""

from __future__ import annotations

import msgspec

from edgebuild.core.budget import Subject
from edgebuild.plugins import CompilerPlugin, DevicePlugin, ImporterPlugin, MetricPlugin, PassPlugin, ReportPlugin

WORST_CLASS = MetricPlugin(run="edge_stranger.scores:worst_class", is_share=True)
MISSES = MetricPlugin(run="edge_stranger.scores:misses", lower_is_better=True)

LINES = ReportPlugin(run="edge_stranger.reports:lines")
SX = CompilerPlugin(run="edge_stranger.compiler:compile_", tells=(Subject.NPU_LATENCY,))


class Coarse(msgspec.Struct, frozen=True, kw_only=True):
    """`[passes.coarse]`."""

    bits: int = 6


class Nothing(msgspec.Struct, frozen=True):
    """A pass without settings."""


COARSE = PassPlugin(
    run="edge_stranger.passes:coarse", settings=Coarse, after="prune", title="make weights coarse", observes=True
)
FADES = PassPlugin(
    run="edge_stranger.passes:fades",
    settings=Nothing,
    after="prune",
    title="train once more",
    learns=True,
    untrained=False,
)
CUT = PassPlugin(run="edge_stranger.passes:cut", settings=Nothing, after="equalize", title="cut the end off")
BOARD = DevicePlugin(run="edge_stranger.board:open_place", address="PORT")
READER = ImporterPlugin(run="edge_stranger.reading:read", takes=lambda path: path.endswith(".layers"))
