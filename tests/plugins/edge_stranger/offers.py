"""What the entry points name; nothing heavy is imported here."""

from __future__ import annotations

from edgebuild.core.budget import Subject
from edgebuild.plugins import CompilerPlugin, MetricPlugin, ReportPlugin

WORST_CLASS = MetricPlugin(run="edge_stranger.scores:worst_class", is_share=True)
MISSES = MetricPlugin(run="edge_stranger.scores:misses", lower_is_better=True)

LINES = ReportPlugin(run="edge_stranger.reports:lines")
SX = CompilerPlugin(run="edge_stranger.compiler:compile_", tells=(Subject.NPU_LATENCY,))
