"""Scores of a network's outputs, and which of them suits the labels."""

from edgebuild.metrics.ignoring import IGNORED
from edgebuild.metrics.labels import is_binary, labels, predictions, residuals, taught
from edgebuild.metrics.scoring import further, load_callable, require_output, score

__all__ = [
    "IGNORED",
    "further",
    "is_binary",
    "labels",
    "load_callable",
    "predictions",
    "require_output",
    "residuals",
    "score",
    "taught",
]
