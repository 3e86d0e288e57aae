"""Columns of one input that int8 gives next to no steps, since all of a tensor share one scale."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgebuild.core.finding import Code, Finding
from edgebuild.data.given import Array
from edgebuild.data.lint.subject import Subject

_LEVELS = 255  # steps between the ends of an int8 range
_FEWEST = 16  # steps over what a column reaches; a column of the tensor's own range has all of them
_NAMED = 4
_FINER = 256  # times as many steps of 16 bits
_WIDER = " Or quantize to --quantize int16x8, where the target runs it."
_LISTED = 32  # columns whose numbers are written out


def columns(subject: Subject) -> Iterator[Finding]:
    """Inputs whose columns (the last axis) differ by orders of magnitude, where int8 quantizes them with one scale."""
    part = subject.calibration
    if part is None or not subject.is_int8:
        return
    for spec, x in zip(subject.inputs, part.x, strict=True):
        if np.dtype(spec.dtype).kind != "f" or x.ndim < 2 or x.shape[-1] < 2:
            continue
        rows = np.asarray(x, np.float64).reshape(-1, x.shape[-1])
        # The range of a tensor holds zero, whatever its values are.
        step = (max(float(rows.max()), 0.0) - min(float(rows.min()), 0.0)) / _LEVELS
        spans = np.ptp(rows, axis=0)
        few = np.flatnonzero((spans > 0) & (spans < _FEWEST * step))
        if len(few):
            of = f" of {spec.name}" if len(subject.inputs) > 1 else ""
            yield _finding(of, few, spans, step, rows)


def _finding(of: str, few: Array, spans: Array, step: float, rows: Array) -> Finding:
    named = ", ".join(f"{column} ({spans[column] / step:.2g} steps)" for column in few[:_NAMED])
    more = f" and {len(few) - _NAMED} more" if len(few) > _NAMED else ""
    return Finding(
        code=Code.COLUMN_SCALES,
        what=f"int8 gives {len(few)} of {rows.shape[1]} columns{of} fewer than {_FEWEST} of its 256 steps",
        why=f"One scale of {step:.3g} is for all columns, which span from {spans[spans > 0].min():.3g} to "
        f"{spans.max():.3g}: what lies within a step is lost. Columns with the fewest: {named}{more}.",
        remedy=f"Normalize outside the network: {_numbers(rows)}, with a network that was trained on such columns. One "
        "that begins with a Normalization layer is saved without it (keras.Sequential(model.layers[1:])), with that "
        "layer's mean and 1 / sqrt(variance) as mean and scale."
        + (_WIDER if spans[few].min() >= _FEWEST * step / _FINER else ""),
    )


def _numbers(rows: Array) -> str:
    """What brings each column to mean 0 and deviation 1."""
    if rows.shape[1] > _LISTED:
        return "[preprocess] mean and scale, lists of each column's mean and 1 / deviation"
    deviations = rows.std(axis=0)
    scales = 1 / np.where(deviations > 0, deviations, 1.0)
    mean, scale = (", ".join(f"{value:.6g}" for value in values) for values in (rows.mean(axis=0), scales))
    return f"[preprocess] mean = [{mean}] and scale = [{scale}]"
