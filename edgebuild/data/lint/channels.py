"""Channels that int8 loses: columns with next to no steps, and channels that never change in calibration."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from edgebuild.core.finding import Code, Finding
from edgebuild.data.given import Array
from edgebuild.data.lint.subject import Part, Subject, View

_LEVELS = 255  # steps between the ends of an int8 range
_FEWEST = 16  # steps over what a column reaches; a column of the tensor's own range has all of them
_NAMED = 4
_FINER = 256  # times as many steps of 16 bits
_WIDER = " Or quantize to --quantize int16x8, where the target runs it."
_LISTED = 32  # columns whose numbers are written out
_BY_CHANCE = 1e-3
_FEW = 8
_MOST_CHANNELS = 64  # that the network is asked about
_ASKED = 16  # samples
_MATTERS = 0.1
_NAMED_CHANNELS = 5


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


def constants(subject: Subject) -> Iterator[Finding]:
    """Channels (the last axis) that are constant in calibration."""
    part = subject.calibration
    if part is None or len(part.x[0]) < _FEW or len(set(part.digests)) == 1:
        return
    reference = subject.reference(part)
    for place, array in enumerate(part.x):
        if array.ndim < 2:
            continue
        still = _constant(array)
        if not still.any():
            continue
        if reference is not None:
            channels = _vary(array, reference.x[place], still)
            seen = f"they vary in the {reference.split} samples"
        elif subject.view is not None:
            channels = _matter(part, place, still, subject.view)
            seen = "the network's answer depends on them"
        else:
            continue
        if channels:
            yield _constant_finding(
                channels, array.shape[-1], seen, subject.inputs[place].name if len(part.x) > 1 else ""
            )


def _constant_finding(channels: Sequence[int], total: int, seen: str, name: str) -> Finding:
    names = ", ".join(map(str, channels[:_NAMED_CHANNELS])) + (", ..." if len(channels) > _NAMED_CHANNELS else "")
    of = f" of {name}" if name else ""
    return Finding(
        code=Code.CONSTANT,
        what=f"{len(channels)} of {total} channels{of} never change in the calibration samples: {names}",
        why=f"But {seen}, and ranges are chosen from what calibration reaches.",
        remedy="Take calibration samples in which they vary, or look for what fills them with one value.",
    )


def _constant(x: Array) -> Array:
    """Which channels have one value in all samples: [channels]."""
    rows = x.reshape(-1, x.shape[-1])
    still: Array = (rows == rows[0]).all(axis=0)
    return still


def _vary(given: Array, other: Array, still: Array) -> list[int]:
    """The constant channels that so many samples of another split vary in that chance does not explain it."""
    rows = other.reshape(len(other), -1, other.shape[-1])
    moves = (rows != given.reshape(-1, given.shape[-1])[0]).any(axis=1) & ~_constant(other)
    share = np.clip(moves.mean(axis=0), 0, 1 - 1e-9)
    unlikely = len(given) * np.log1p(-share) < math.log(_BY_CHANCE / len(still))
    return [int(channel) for channel in np.flatnonzero(still & unlikely)]


def _matter(part: Part, place: int, still: Array, view: View) -> list[int]:
    """The constant channels whose change moves the network's answer at least a tenth as much as that of another one.

    Only of images and the like: single features may well be constant.
    """
    array = part.x[place]
    if array.ndim < 3 or array.dtype.kind != "f" or still.all() or len(still) > _MOST_CHANNELS:
        return []
    few = [item[:_ASKED] for item in part.x]
    before = view.answers(few)
    step = np.float32(array.reshape(-1, array.shape[-1])[:, ~still].std())
    moved = np.array([_moved(few, place, channel, step, before, view) for channel in range(len(still))])
    return [int(channel) for channel in np.flatnonzero(still & (moved > _MATTERS * np.median(moved[~still])))]


def _moved(few: Sequence[Array], place: int, channel: int, step: np.float32, before: Array, view: View) -> float:
    changed = [item.copy() for item in few]
    changed[place][..., channel] += step
    return float(np.abs(view.answers(changed) - before).mean())
