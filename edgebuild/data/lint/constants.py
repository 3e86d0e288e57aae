"""Channels that never change in the calibration samples, and do elsewhere or matter to the network."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from edgebuild.core.finding import Code, Finding
from edgebuild.data.given import Array
from edgebuild.data.lint.subject import Part, Subject, View

_BY_CHANCE = 1e-3
_FEW = 8
_MOST_CHANNELS = 64  # that the network is asked about
_ASKED = 16  # samples
_MATTERS = 0.1
_NAMED = 5


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
            yield _finding(channels, array.shape[-1], seen, subject.inputs[place].name if len(part.x) > 1 else "")


def _finding(channels: Sequence[int], total: int, seen: str, name: str) -> Finding:
    names = ", ".join(map(str, channels[:_NAMED])) + (", ..." if len(channels) > _NAMED else "")
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
