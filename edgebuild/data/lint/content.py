"""Too few samples, the same ones again, and samples in two splits that must stay apart."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from edgebuild.core.finding import Code, Finding
from edgebuild.data.lint.subject import Part, Subject
from edgebuild.stats import NORMAL, at_least

_FEWEST = 50
# Recordings that occur twice are in most real data: in the Speech Commands, in 3 % of the clips of two splits.
_DUPLICATES = 0.10
# Shared samples that are more are told in any case; those that are fewer change no score that anyone would notice.
_SHARED = 0.05
_HARDLY_SHARED = 0.01
_FEWEST_SHARED = 2
# Between these they are told where duplicates within the splits do not account for them. In 1,600 divisions of the
# Speech Commands, which had up to 4 % in two splits, this came to 0.01 at the least.
_BY_CHANCE = 1e-3


def amount(subject: Subject) -> Iterator[Finding]:
    """Too few different samples to choose ranges on, or to score on."""
    yield from _to_calibrate_on(subject)
    part = subject.evaluation
    if part is not None and part.y is not None and part.total < _FEWEST:
        # Half the 95 % interval of a share is widest at one half.
        half = NORMAL * 0.5 / math.sqrt(part.total)
        yield Finding(
            code=Code.TOO_FEW,
            what=f"{_counted(part.total, 'evaluation sample')}: too few",
            why=f"One sample is {1 / part.total:.1%} of a score, which is known to +-{half:.0%} for other samples.",
            remedy=f"Give at least {_FEWEST} (x_eval), better 1,000, or let more be drawn from train "
            "([data] evaluation_share).",
        )


def _to_calibrate_on(subject: Subject) -> Iterator[Finding]:
    part = subject.calibration
    if part is None or len(set(part.digests)) == 1 < part.total:
        return
    different = len(set(part.digests)) if len(part.digests) == part.total else part.total
    if different < _FEWEST:
        # The largest of n + 1 exchangeable samples is the new one with probability 1 / (n + 1), the smallest as well.
        beyond = min(1.0, 2 / (different + 1))
        yield Finding(
            code=Code.TOO_FEW,
            what=f"{_counted(different, 'different calibration sample')}: too few",
            why=f"Ranges are chosen from what these reach. {beyond:.0%} of new inputs will go beyond the range of a "
            f"tensor at either end and be cut off there; with 200 samples it is 1%.",
            remedy=f"Give {_FEWEST} to 200 (x_calibration), or let more be drawn from train "
            "([data] calibration_samples).",
        )


def repetition(subject: Subject) -> Iterator[Finding]:
    """The same calibration samples again."""
    part = subject.calibration
    if part is None or len(part.digests) < 2:
        return
    different = len(set(part.digests))
    again = len(part.digests) - different
    if different == 1:
        yield Finding(
            code=Code.REPEATED,
            what=f"all {part.total:,} calibration samples are the same",
            why="Ranges are chosen from one input and cut off what any other one reaches.",
            remedy="Give different samples: a loop that always yields the first one is the usual cause.",
        )
    elif again >= _DUPLICATES * len(part.digests):
        yield Finding(
            code=Code.DUPLICATES,
            what=f"{again:,} of {len(part.digests):,} calibration samples are the same as others",
            why=f"Ranges are chosen from {different:,} different inputs, and those that are repeated count for more.",
            remedy="Leave each sample in once.",
        )


def overlap(subject: Subject) -> Iterator[Finding]:
    """Samples that are scored on and were calibrated with or learnt from."""
    if subject.evaluation is None:
        return
    calibration, train = subject.calibration, subject.train
    for part, rest, code, use in (
        (calibration, train, Code.CALIBRATION_IN_EVALUATION, "calibration"),
        (train, calibration, Code.TRAIN_IN_EVALUATION, "train"),
    ):
        if part is not None and (shared := _shared(part, subject.evaluation, rest)):
            yield Finding(
                code=code,
                what=f"{shared:,} of {len(subject.evaluation.digests):,} evaluation samples are in {use} too",
                why="The score on them says how well known inputs are answered, and comes out too good for new ones.",
                remedy=f"Take them out of x_eval or x_{use}.",
            )


def _shared(part: Part, evaluation: Part, rest: Part | None) -> int:
    """How many evaluation samples are in another split; 0 where they are as few as chance puts there."""
    ours, scored = Counter(part.digests), Counter(evaluation.digests)
    shared = sum(count for digest, count in scored.items() if digest in ours)
    smaller = min(len(part.digests), len(evaluation.digests))
    if shared > _SHARED * smaller:
        return shared
    if shared < max(_FEWEST_SHARED, _HARDLY_SHARED * smaller):
        return 0
    # Calibration samples that were drawn from train are in it too, and are no duplicates for that.
    others = Counter(rest.digests if rest is not None else ()) - ours
    return shared if _chance_of_sharing(ours, scored, others) < _BY_CHANCE else 0


def _chance_of_sharing(ours: Counter[bytes], scored: Counter[bytes], others: Counter[bytes]) -> float:
    """At most how likely as many contents are both ours and scored, if all samples had been divided by lot.

    How often contents occur twice at all is seen from those that do so within a split.
    """
    together = ours + scored + others
    total = together.total()
    not_ours, not_scored, neither = (
        1 - count / total for count in (ours.total(), scored.total(), ours.total() + scored.total())
    )
    again = [(digest, copies) for digest, copies in together.items() if copies > 1]
    both = sum(digest in ours and digest in scored for digest, _ in again)
    chances = [1 - not_ours**copies - not_scored**copies + neither**copies for _, copies in again]
    return at_least(both, chances)


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
