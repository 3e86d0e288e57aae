"""Passes that a build does without where they break it: a pass for accuracy or size never decides what can be built.

A pass may fail, or end its process; or its network may not convert, not fit the target or not load on its kernels. The
build is then tried with fewer passes, from the cheapest omission to none at all, and says which were left out and why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from msgspec.structs import replace

from edgebuild.core.passes import Change, Pass, Quantize
from edgebuild.core.plan import Plan
from edgebuild.errors import StepError, UnavailableError
from edgebuild.pipeline.artifacts import Built
from edgebuild.process import ChildBugError
from edgebuild.report import wording

# What a pass can be left out for. A UsageError is not among them: what a user has set wrong is for the user to mend.
FAILURES = (StepError, ChildBugError)
# What a comparison or a figure can be left out for: where a tool is not there, too. A budget on it is inconclusive.
UNMEASURED = (*FAILURES, UnavailableError)
_LONGEST = 240  # characters of a reason


class RequiredError(StepError):
    """A pass that says itself that it cannot do what it was set to; that ends the build, whatever would do instead."""


class PassDiedError(StepError):
    """A pass ended its process, or met a bug: the build goes on without it, and need not find out which it was."""

    def __init__(self, step: Change, error: StepError | ChildBugError) -> None:
        super().__init__(reason(error))
        self.step = step


def reason(error: StepError | ChildBugError | UnavailableError) -> str:
    """Why something was left out, on one line."""
    if isinstance(error, ChildBugError):
        return f"a bug in edgebuild, please report it: {error.what}"
    why = error.why.strip().splitlines()
    text = f"{error.what}: {why[0].strip()}" if why else error.what
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def first_that_works(plan: Plan, make: Callable[[Plan], Built]) -> Built:
    """What a plan makes, or the first of those with fewer passes that makes something.

    Args:
        plan: as asked for.
        make: does the passes, converts, and sees whether the target runs what came out.

    Raises:
        EdgebuildError: not even the network without any pass can be built: what that says; or a setting is wrong.
    """
    try:
        return make(plan)
    except RequiredError:
        raise
    except PassDiedError as error:
        rest = replace(plan, passes=tuple(step for step in plan.passes if step != error.step))
        built = first_that_works(rest, make)
        return built._replace(notes=(*built.notes, f"{wording.kind(error.step)} left out: {error.what}"))
    except FAILURES as error:
        failed, last = error, error
    for lesser in _lesser(plan):
        try:
            built = make(lesser)
        except FAILURES as error:
            last = error
            continue
        return built._replace(notes=(*built.notes, f"{_left_out(plan, lesser)} left out: {reason(failed)}"))
    raise last


def _lesser(plan: Plan) -> Iterator[Plan]:
    """Plans with fewer passes, each once: without a refinement, without all, then without compressions from the last.

    What was done before a compression is found in the store, so that hardly any of these trains once more.
    """
    seen = [plan.passes]
    for passes in _fewer(plan):
        if passes not in seen:
            seen.append(passes)
            yield replace(plan, passes=passes)


def _fewer(plan: Plan) -> Iterator[tuple[Pass, ...]]:
    for refinement in reversed(plan.refinements):
        yield tuple(step for step in plan.passes if step != refinement)
    yield _unrefined(plan.passes)
    simple = tuple(_simply(step) if isinstance(step, Quantize) else step for step in plan.passes)
    yield simple
    yield _unrefined(simple)
    for compression in reversed(plan.compressions):
        simple = tuple(step for step in simple if step != compression)
        yield simple
        yield _unrefined(simple)


def _unrefined(passes: tuple[Pass, ...]) -> tuple[Pass, ...]:
    return tuple(step for step in passes if not step.refines)


def _simply(quantize: Quantize) -> Quantize:
    """Without what is done to the file behind the converter."""
    return replace(quantize, sparse=False, float_answers=False)


def _left_out(plan: Plan, lesser: Plan) -> str:
    names = [wording.kind(step) for step in plan.changes if step not in lesser.changes]
    if plan.quantize.sparse and not lesser.quantize.sparse:
        names.append("sparse encoding")
    if plan.quantize.float_answers and not lesser.quantize.float_answers:
        names.append("outputs in float")
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
