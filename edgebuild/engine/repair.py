"""Climbing the repair ladder: builds, each with more done for int8, until one keeps the accuracy budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from msgspec.structs import replace

from edgebuild import ladder
from edgebuild.core.budget import SCORES, Subject
from edgebuild.core.losses import worst
from edgebuild.core.manifest import Manifest
from edgebuild.core.plan import Plan
from edgebuild.core.repair import Rung
from edgebuild.core.verdict import Status
from edgebuild.engine import fallback
from edgebuild.engine.fallback import FAILURES
from edgebuild.engine.judging import Tried
from edgebuild.engine.material import Built
from edgebuild.ladder import Attempt, Means

_AS_PLANNED = "as planned"


class Tools(NamedTuple):
    """What a climb needs of the engine.

    Attributes:
        glance: builds a plan, and evaluates it as far as its accuracy tells.
        complete: evaluates what was built in all ways that its target has.
        say: tells the user.
    """

    glance: Callable[[Plan], Tried]
    complete: Callable[[Tried], Tried]
    say: Callable[[str], None]


def climb(first: Tried, means: Means, tools: Tools) -> Tried:
    """The first build that keeps the accuracy budget; where none does, that with the best score.

    Only that one is evaluated in all ways; of the others the accuracy decides, and what is lost within them.

    Args:
        first: the build as planned, evaluated completely.
        means: what the ladder may use.
        tools: how to build.

    Returns:
        The build, whose manifest tells of every rung. `first` as it is, where it keeps the budget.
    """
    if not _misses(first.manifest):
        return first
    climbed = _Climb(first, tools)
    for attempt in climbed.attempts(means):
        if climbed.tries(attempt):
            break
    return climbed.end(means)


class _Climb:
    """The builds of one ladder."""

    def __init__(self, first: Tried, tools: Tools) -> None:
        self._tools = tools
        self._tried = [first]
        self._rungs = [_rung(_AS_PLANNED, first.manifest)]
        self._notes: list[str] = []

    def attempts(self, means: Means) -> Iterator[Attempt]:
        """Each is asked for when those before it were built: which layers are worst is seen on the artifact."""
        first = self._tried[0].built.plan
        refined = first
        for attempt in ladder.refinements(first, means):
            refined = attempt.plan
            yield attempt
        worst_layers = _worst(self._tried[-1].manifest)
        yield from ladder.with_float_layers(refined, worst_layers)
        if not first.operators.float or not worst_layers:
            yield from ladder.with_int16(first, means)
        yield from ladder.trained(first, means)

    def tries(self, attempt: Attempt) -> bool:
        """Build it; whether it keeps the budget."""
        target = attempt.plan.target
        self._tools.say(f"{target}: the accuracy budget is missed; trying {attempt.name}")
        try:
            tried = self._tools.glance(attempt.plan)
            if not _misses(tried.manifest):
                tried = self._tools.complete(tried)
        except FAILURES as error:
            self._notes.append(f"{target}: {attempt.name} could not be tried: {fallback.reason(error)}")
            return False
        if any(tried.manifest.artifact.sha256 == other.manifest.artifact.sha256 for other in self._tried):
            self._notes.append(f"{target}: {attempt.name} made nothing new{_what_was_left_out(tried.built)}")
            return False
        self._tried.append(tried)
        self._rungs.append(_rung(attempt.name, tried.manifest))
        return not _misses(tried.manifest)

    def end(self, means: Means) -> Tried:
        """The build to publish, and what is to be said."""
        last = self._tried[-1]
        if _misses(last.manifest):
            last = self._best_that_completes()
            self._notes.append(_why_it_ends(last.built.plan, means))
        else:
            self._notes.append(f"{last.built.plan.target}: the accuracy budget is kept by {self._rungs[-1].name}")
        manifest = replace(last.manifest, repair=tuple(self._rungs), notes=(*last.manifest.notes, *self._notes))
        return last._replace(manifest=manifest)

    def _best_that_completes(self) -> Tried:
        """The build with the best score, evaluated in all ways; a worse one where the target refuses that."""
        accuracy = self._tried[0].manifest.accuracy
        assert accuracy is not None, "what has no score misses no accuracy budget"
        sign = 1 if accuracy.lower_is_better else -1
        order = sorted(range(len(self._tried)), key=lambda number: sign * self._rungs[number].accuracy)
        for number in order[: order.index(0)]:
            name = self._rungs[number].name
            try:
                done = self._tools.complete(self._tried[number])
            except FAILURES as error:
                target = self._tried[number].built.plan.target
                self._notes.append(f"{target}: {name} is not what is left: {fallback.reason(error)}")
                continue
            self._rungs[number] = _rung(name, done.manifest)
            return done
        return self._tried[0]


def _what_was_left_out(built: Built) -> str:
    reasons = [note for note in built.notes if "left out" in note]
    return f" ({'; '.join(reasons)})" if reasons else ""


def _why_it_ends(plan: Plan, means: Means) -> str:
    reasons = []
    if not plan.operators.float:
        reasons.append(f"{plan.target} runs no operators in float")
    if not plan.operators.int16:
        reasons.append("none in int16")
    if not means.learns:
        reasons.append("there are no train data to learn from")
    because = f": {', and '.join(reasons)}" if reasons else ""
    return f"{plan.target}: nothing keeps the accuracy budget, the best build is left; the ladder ends here{because}"


def _worst(manifest: Manifest) -> tuple[str, ...]:
    """The layers that lose most signal on its way to the score, the worst first."""
    compared = manifest.losses.layers if manifest.losses is not None else None
    if compared is None:
        return ()
    ranked = worst((loss for loss in compared.layers if loss.is_scored), len(compared.layers))
    return tuple(dict.fromkeys(name for loss in ranked for name in loss.layers))


def _misses(manifest: Manifest) -> bool:
    return any(check.status == Status.FAIL and check.budget.subject in SCORES for check in manifest.verdict.checks)


def _rung(name: str, manifest: Manifest) -> Rung:
    accuracy = manifest.accuracy
    assert accuracy is not None, "what has no score misses no accuracy budget"
    latencies = (found.value for found in manifest.measurements if found.subject == Subject.LATENCY)
    return Rung(
        name=name,
        accuracy=accuracy.artifact,
        size_bytes=manifest.artifact.size_bytes,
        latency_s=next(latencies, None),
        kept=not _misses(manifest),
    )
