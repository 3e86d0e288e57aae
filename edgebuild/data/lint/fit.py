"""Samples that do not look like what the network was trained on: other ranges, axes or inputs in another order."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgebuild.core.finding import Code, Finding, Gravity
from edgebuild.data.given import Array
from edgebuild.data.lint import changes, classes
from edgebuild.data.lint.changes import Apart, Change
from edgebuild.data.lint.subject import Part, Subject

# Of a misfit: samples that were prepared as in training stay below 0.1, a range of -1..1 in place of 0..1 gives 0.3 to
# 1 (less where training was short), one of 0..255 more than 4.
_FAR = 0.6
_DOUBTFUL = 0.25
_NEAR = 0.2
_BETTER = 0.25
# A channel's mean and deviation follow what is in the samples, so they may differ more from split to split.
_OTHER_RANGE = 1.0
# In units of what random choices from the same samples come to.
_ELSEWHERE = 5.0
_THERE = 3.0
_FEW = 8
# So large a share of the evaluation samples, and so many standard deviations of chance: dozens of changes are tried.
_GAIN, _SURELY = 0.05, 5.0

Misfit = Callable[[Sequence[Array]], float]


class _Odd(NamedTuple):
    """Splits that do not fit, how far the first is off, and what would mend them, if that is known."""

    parts: tuple[Part, ...]
    misfit: float
    change: Change | None


def fit(subject: Subject) -> Iterator[Finding]:
    """Compare each split with the network's first batch norms, else with the train split, else by its predictions."""
    found = list(_against_norms(subject)) or list(_against_reference(subject))
    yield from found
    if any(finding.level == Gravity.ERROR for finding in found):
        return
    if classes.guesses(subject):
        yield from _by_predictions(subject)
    elif not found:
        yield from _much_better(subject)


def _by_predictions(subject: Subject) -> Iterator[Finding]:
    """A change of all samples with which a network that guesses knows the classes: many have no batch norm."""
    part, best = subject.evaluation, _best(subject)
    if part is None or best is None or not classes.is_no_guess(best.right, best.counts):
        return
    yield Finding(
        code=best.change.code,
        what=_wrong(best.change),
        why=f"As they are, the float network predicts {subject.hits:,} of {part.total:,} evaluation samples right, no "
        f"more than by guessing; {best.change.words}, {best.right:,} of {int(best.counts.sum()):,}.",
        remedy=best.change.remedy,
        level=Gravity.ERROR,
    )


def _much_better(subject: Subject) -> Iterator[Finding]:
    """A change with which a network that does not guess is right so much more often that chance is no reason."""
    before = None if subject.evaluation is None else classes.confusion(subject, subject.evaluation.x)
    if before is None:
        return
    total, right = int(before.sum()), int(np.trace(before))
    if total - right < _GAIN * total:
        return  # none can gain so much
    best = _best(subject)
    if best is None:
        return
    # As if no sample were the same: the variance of a difference of two shares of so many.
    chance = sum(item * (total - item) / total for item in (right, best.right))
    if best.right - right < max(_GAIN * total, _SURELY * math.sqrt(chance)):
        return
    yield Finding(
        code=best.change.code,
        what=_wrong(best.change),
        why=f"As they are, the float network predicts {right:,} of {total:,} evaluation samples right; "
        f"{best.change.words}, {best.right:,}.",
        remedy=best.change.remedy,
    )


class _Seen(NamedTuple):
    """A change of the evaluation samples, and what is predicted of them then."""

    change: Change
    counts: npt.NDArray[np.int64]

    @property
    def right(self) -> int:
        """How many are predicted right."""
        return int(np.trace(self.counts))


def _best(subject: Subject) -> _Seen | None:
    """The change after which most evaluation samples are predicted right; None where that cannot be seen."""
    tried = ((change, _counts(subject, change)) for change in _all_changes(subject))
    return max(
        (_Seen(change, counts) for change, counts in tried if counts is not None),
        key=lambda seen: seen.right,
        default=None,
    )


def _wrong(change: Change) -> str:
    thing = {Code.INPUT_ORDER: "the inputs of the samples are", Code.LAYOUT: "the axes of the samples are"}
    if change.code in thing:
        return f"{thing[change.code]} in the wrong order"
    return "the samples are not in the range that the network was trained on"


def _counts(subject: Subject, change: Change) -> npt.NDArray[np.int64] | None:
    """What is predicted of the evaluation samples after a change; None where that cannot be seen."""
    if subject.evaluation is None or subject.view is None:
        return None
    return classes.confusion(subject, change.apply(subject.evaluation.x))


def _against_norms(subject: Subject) -> Iterator[Finding]:
    view = subject.view
    if view is None:
        return

    def far(x: Sequence[Array]) -> float:
        return changes.misfit_of_norms(view.norms(x))

    odd: dict[str, _Odd] = {}
    for part in subject.parts:
        before = far(part.x)
        if before <= _DOUBTFUL:
            continue
        change = _mending(far, part, _all_changes(subject), min(_NEAR, before * _BETTER))
        if change is None and before <= _FAR:
            continue
        # Their remedy may differ from split to split: those with the same one are named together.
        key = change.words if change else ""
        earlier = odd.get(key, _Odd((), before, change))
        odd[key] = earlier._replace(parts=(*earlier.parts, part))
    for found in odd.values():
        yield _unlike_training(found, subject)


def _unlike_training(odd: _Odd, subject: Subject) -> Finding:
    all_of_them = len(odd.parts) == len(subject.parts)
    names = _listed([part.split for part in odd.parts])
    off = f"off by {odd.misfit:.1f} deviations or powers of two"
    seen = f"the mean or the spread of what its first batch norm sees is {off}"
    if odd.change is None:
        return Finding(
            code=Code.NORMALIZATION,
            what=f"the {names} samples are unlike those that the network was trained on",
            why=f"With them {seen} (below 0.1 is usual), and no common scaling or order of axes brings it near.",
            remedy="Prepare them as in training (the network is fed (x - mean) * scale of [preprocess]), and take them "
            "from all that it will be given.",
        )
    code, words, remedy, _ = odd.change
    what = {
        Code.INPUT_ORDER: f"the inputs of the {names} samples are in the wrong order",
        Code.LAYOUT: f"the axes of the {names} samples are in the wrong order",
    }.get(code, f"the {names} samples are not in the range that the network was trained on")
    if code == Code.NORMALIZATION and not all_of_them:
        remedy = "Scale them so in the data: the other splits fit as they are."
    why = f"As they are, {seen} (below 0.1 is usual); they fit {words}."
    evaluation = subject.evaluation
    if (
        evaluation is None
        or not any(part is evaluation for part in odd.parts)
        or not _is_worthless(odd.change, subject)
    ):
        return Finding(code=code, what=what, why=why, remedy=remedy)
    guessing = f" The float network predicts {subject.hits:,} of {evaluation.total:,} right, no more than by guessing."
    return Finding(code=code, what=what, why=why + guessing, remedy=remedy, level=Gravity.ERROR)


def _is_worthless(change: Change, subject: Subject) -> bool:
    """Whether a network guesses with samples as they are and, as far as that can be seen, does not after a change."""
    if not classes.guesses(subject):
        return False
    counts = _counts(subject, change)
    return counts is None or classes.is_no_guess(int(np.trace(counts)), counts)


def _against_reference(subject: Subject) -> Iterator[Finding]:
    for part in (subject.calibration, subject.evaluation):
        reference = subject.reference(part) if part is not None else None
        if part is None or reference is None or min(len(part.x[0]), len(reference.x[0])) < _FEW:
            continue
        found = _arrangement(part, reference, subject) or _range(part, reference, subject)
        if found is not None:
            yield found


def _arrangement(part: Part, reference: Part, subject: Subject) -> Finding | None:
    """Another order of inputs or axes, where the mean sample is elsewhere and comes to its place with it."""

    def far(x: Sequence[Array]) -> float:
        return changes.misfit_of_places(x, reference.x)

    before = far(part.x)
    if before <= _ELSEWHERE:
        return None
    change = _mending(far, part, changes.arrangements(subject.inputs), min(_THERE, before / 2))
    if change is None:
        return None
    thing = "inputs" if change.code == Code.INPUT_ORDER else "axes"
    return Finding(
        code=change.code,
        what=f"the {thing} of the {part.split} samples are in another order than those of {reference.split}",
        why=f"They fit {change.words}: as they are, the mean sample is {before:.0f} times as far from that of "
        f"{reference.split} as chance puts it.",
        remedy=change.remedy,
    )


def _range(part: Part, reference: Part, subject: Subject) -> Finding | None:
    """Channels whose mean or deviation is far from those of the other split."""

    def far(x: Sequence[Array]) -> float:
        return changes.misfit_of_channels(x, reference.x)

    if far(part.x) <= _OTHER_RANGE:
        return None
    change = _mending(far, part, changes.scalings(subject.inputs, subject.preprocess), _NEAR)
    fits = f" They fit {change.words}." if change else ""
    extent, other = _extent(part), _extent(reference)
    apart = changes.furthest(part.x, reference.x)
    within = f" They lie within {extent}, those of {reference.split} within {other}." if extent != other else ""
    return Finding(
        code=Code.RANGE,
        what=f"the {part.split} samples {_differ(apart.figure, extent != other)} than those of {reference.split}",
        why=f"The {apart.figure}{_whose(apart, subject)} is {apart.given:.4g}, and {apart.wanted:.4g} in "
        f"{reference.split}.{within}{fits}",
        remedy=f"Prepare x_{_array(part)} and x_{_array(reference)} in the same way.",
    )


def _differ(figure: str, in_extent: bool) -> str:
    return "are in another range" if in_extent else f"have another {figure}"


def _whose(apart: Apart, subject: Subject) -> str:
    spec = subject.inputs[apart.place]
    channel = f" of channel {apart.channel}" if len(spec.shape) > 1 and spec.shape[-1] > 1 else ""
    return channel + (f" of {spec.name}" if len(subject.inputs) > 1 else "")


def _mending(far: Misfit, part: Part, known: Iterable[Change], near: float) -> Change | None:
    """The change after which samples fit best, if they fit."""
    tried = [(far(change.apply(part.x)), change) for change in known]
    best = min(tried, key=lambda item: item[0], default=None)
    return best[1] if best is not None and best[0] <= near else None


def _all_changes(subject: Subject) -> Iterator[Change]:
    yield from changes.arrangements(subject.inputs)
    yield from changes.scalings(subject.inputs, subject.preprocess)


def _extent(part: Part) -> str:
    return " and ".join(f"{array.min():.4g}..{array.max():.4g}" for array in part.x)


def _array(part: Part) -> str:
    return "eval" if part.split == "evaluation" else part.split


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
