"""Scores of a network's outputs, and which of them suits the labels."""

from edgebuild.metrics.functions import load_callable
from edgebuild.metrics.ignoring import IGNORED
from edgebuild.metrics.labels import is_binary, labels, predictions, residuals, taught
from edgebuild.metrics.scoring import further, require_output, score

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
