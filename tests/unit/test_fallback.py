"""Passes that break a build are left out: which plans are tried, in which order, and what is said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from making import ACCURACY, DATA, MODEL, artifact, network, settings
from sessions import NOWHERE

from edgebuild import targets
from edgebuild.core.plan import Plan
from edgebuild.errors import StepError, UsageError
from edgebuild.pipeline.artifacts import Built
from edgebuild.pipeline.fallback import PassDiedError, RequiredError, first_that_works, reason
from edgebuild.plan import plan
from edgebuild.process import ChildBugError, ChildDiedError
from edgebuild.report import wording

SIMPLY = "sparse encoding and outputs in float"
TRACEBACK = """Traceback (most recent call last):
  File "/x/edgebuild/child.py", line 75, in _answer
    result = job.run()
  File "/x/edgebuild/passes/equalize.py", line 30, in run
    raise IndexError("list index out of range")
IndexError: list index out of range
"""


def _plan(target: str = "arm64") -> Plan:
    return plan(targets.load(target, ACCURACY, []).target, settings(), MODEL, DATA)


def _words(made: Plan) -> list[str]:
    return [wording.kind(step) for step in made.passes] + (["sparse"] if made.quantize.sparse else [])


def _made(breaks: Callable[[list[str]], bool], error: Exception, tried: list[list[str]]) -> Callable[[Plan], Built]:
    def make(made: Plan) -> Built:
        tried.append(_words(made))
        if breaks(tried[-1]):
            raise error
        return Built(made, NOWHERE, artifact(), None, ("a note",), network())

    return make


@pytest.mark.parametrize("error", [StepError("it failed", "so it says"), ChildDiedError("it failed", "so it says")])
@pytest.mark.parametrize(
    ("culprits", "kept", "left"),
    [
        ({"calibrate"}, ["channels", "prune", "equalize", "quantize", "sparse"], "calibrate"),
        ({"equalize"}, ["channels", "prune", "calibrate", "quantize", "sparse"], "equalize"),
        ({"equalize", "calibrate"}, ["channels", "prune", "quantize", "sparse"], "equalize and calibrate"),
        (
            {"sparse"},
            ["channels", "prune", "equalize", "calibrate", "quantize"],
            "sparse encoding and outputs in float",
        ),
        ({"prune"}, ["channels", "equalize", "calibrate", "quantize"], "prune, sparse encoding and outputs in float"),
    ],
)
def test_what_breaks_a_build_is_left_out_and_said(
    culprits: set[str], kept: list[str], left: str, error: StepError
) -> None:
    tried: list[list[str]] = []
    built = first_that_works(_plan(), _made(lambda words: not culprits.isdisjoint(words), error, tried))
    assert _words(built.plan) == kept
    assert built.notes == ("a note", f"{left} left out: it failed: so it says")
    assert len(tried) == len({tuple(words) for words in tried}) <= 9


def test_without_failures_there_is_one_attempt_and_nothing_is_said() -> None:
    tried: list[list[str]] = []
    built = first_that_works(_plan(), _made(lambda _: False, StepError("never"), tried))
    assert (built.notes, len(tried)) == (("a note",), 1)


def test_a_network_that_cannot_be_built_at_all_is_an_error() -> None:
    tried: list[list[str]] = []
    with pytest.raises(StepError, match="nothing helps"):
        first_that_works(_plan(), _made(lambda _: True, StepError("nothing helps"), tried))
    assert tried[-1] == ["quantize"]


@pytest.mark.parametrize("error", [UsageError("set wrong"), RequiredError("no kernel to prune in steam")])
def test_what_a_user_has_set_wrong_is_not_left_out(error: Any) -> None:
    tried: list[list[str]] = []
    with pytest.raises(type(error)):
        first_that_works(_plan(), _made(lambda _: True, error, tried))
    assert len(tried) == 1


def test_a_bug_is_named_with_its_place_on_one_line() -> None:
    found = reason(ChildBugError(TRACEBACK)).removeprefix("a bug in edgebuild, please report it: ")
    assert found == "IndexError: list index out of range (edgebuild/passes/equalize.py, line 30)"


def test_a_reason_is_one_line_of_bounded_length() -> None:
    text = reason(StepError("it failed", "\n".join(["why " * 100, "and more"])))
    assert "\n" not in text
    assert len(text) <= 240


def test_a_pass_that_died_is_known_and_nothing_else_is_tried_for_it() -> None:
    tried: list[list[str]] = []
    made = _plan()
    died = PassDiedError(made.compressions[0], ChildDiedError("the converter crashed (signal SIGABRT)", "free()"))
    built = first_that_works(made, _made(lambda words: "channels" in words, died, tried))
    assert _words(built.plan) == ["prune", "equalize", "calibrate", "quantize", "sparse"]
    assert built.notes[1:] == ("channels left out: the converter crashed (signal SIGABRT): free()",)
    assert len(tried) == 2
