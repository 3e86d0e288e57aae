"""Pursuing a strategy: what it proposes is built and evaluated, and the best that its target takes is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from edgebuild.core.budget import Subject
from edgebuild.core.manifest import Manifest, Rung
from edgebuild.core.plan import Plan
from edgebuild.pipeline import fallback
from edgebuild.pipeline.artifacts import Built
from edgebuild.pipeline.evaluate import Tried
from edgebuild.pipeline.fallback import FAILURES
from edgebuild.search.accuracy_recovery import misses
from edgebuild.search.strategy import Candidate, Proposal, Strategy

_AS_PLANNED = "as planned"


class Tools(NamedTuple):
    """What pursuing needs of a build.

    Attributes:
        glance: builds a plan, and evaluates it as far as its accuracy tells.
        complete: evaluates what was built in all ways that its target has.
        say: tells the user.
    """

    glance: Callable[[Plan], Tried]
    complete: Callable[[Tried], Tried]
    say: Callable[[str], None]


def pursue(strategy: Strategy, first: Tried, tools: Tools) -> Tried:
    """The build that a strategy comes to.

    Only what is left is evaluated in all ways; of the others the accuracy decides, and what is lost within them.

    Args:
        strategy: proposes plans.
        first: the build as planned, evaluated completely.
        tools: how to build.

    Returns:
        The build, whose manifest tells of all that were built. `first` as it is, where nothing is proposed.
    """
    pursuit = _Pursuit(first, tools)
    while proposals := strategy.propose(pursuit.seen):
        for proposal in proposals:
            pursuit.tries(proposal)
    ending = strategy.ending(pursuit.seen)
    return pursuit.end(strategy.ranked(pursuit.seen), ending) if ending else first


class _Pursuit:
    """The builds of one strategy; `seen` are their candidates in order, failed ones too."""

    def __init__(self, first: Tried, tools: Tools) -> None:
        self._tools, self._target = tools, first.manifest.target
        self._tried = {_AS_PLANNED: first}  # by the names of candidates
        self._notes: list[str] = []
        self.seen = [Candidate(_AS_PLANNED, first.built.plan, first.manifest)]

    def tries(self, proposal: Proposal) -> None:
        """Build it; in all ways at once where it keeps the accuracy budget."""
        name, plan, why = proposal
        self._tools.say(f"{self._target}: {'; '.join(filter(None, [why, f'trying {name}']))}")
        tried = None
        try:
            tried = self._tools.glance(plan)
            if not misses(tried.manifest):
                tried = self._tools.complete(tried)
        except FAILURES as error:
            tried = None
            self._note(f"{name} could not be tried: {fallback.reason(error)}")
        if tried is not None and self._is_known(tried):
            self._note(f"{name} made nothing new{_what_was_left_out(tried.built)}")
            tried = None
        if tried is not None:
            self._tried[name] = tried
        self.seen.append(Candidate(name, plan, tried.manifest if tried is not None else None))

    def end(self, ranked: Sequence[Candidate], ending: str) -> Tried:
        """The build to publish, and what is to be said."""
        left = next(filter(None, map(self._completed, ranked)), self._tried[_AS_PLANNED])
        self._note(ending)
        rungs = tuple(_rung(name, tried.manifest) for name, tried in self._tried.items())
        return left._replace(manifest=replace(left.manifest, repair=rungs, notes=(*left.manifest.notes, *self._notes)))

    def _completed(self, candidate: Candidate) -> Tried | None:
        """A build evaluated in all ways; None where there is none, or its target refuses that."""
        tried = self._tried.get(candidate.name)
        if tried is None or candidate.name == _AS_PLANNED or not misses(tried.manifest):
            return tried  # it is so already
        try:
            done = self._tools.complete(tried)
        except FAILURES as error:
            self._note(f"{candidate.name} is not what is left: {fallback.reason(error)}")
            return None
        self._tried[candidate.name] = done
        return done

    def _is_known(self, tried: Tried) -> bool:
        made = tried.manifest.artifact.sha256
        return any(made == other.manifest.artifact.sha256 for other in self._tried.values())

    def _note(self, text: str) -> None:
        self._notes.append(f"{self._target}: {text}")


def _what_was_left_out(built: Built) -> str:
    reasons = [note for note in built.notes if "left out" in note]
    return f" ({'; '.join(reasons)})" if reasons else ""


def _rung(name: str, manifest: Manifest) -> Rung:
    accuracy = manifest.accuracy
    assert accuracy is not None, "what has no score misses no accuracy budget"
    latencies = (found.value for found in manifest.measurements if found.subject == Subject.LATENCY)
    return Rung(
        name=name,
        accuracy=accuracy.artifact,
        size_bytes=manifest.artifact.size_bytes,
        latency_s=next(latencies, None),
        kept=not misses(manifest),
    )
