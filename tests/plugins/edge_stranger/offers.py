"""What the entry points name; nothing heavy is imported here."""

from __future__ import annotations

from edgebuild.plugins import MetricPlugin, ReportPlugin

WORST_CLASS = MetricPlugin(run="edge_stranger.scores:worst_class", is_share=True)
MISSES = MetricPlugin(run="edge_stranger.scores:misses", lower_is_better=True)

LINES = ReportPlugin(run="edge_stranger.reports:lines")
