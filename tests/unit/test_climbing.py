"""What the repair ladder makes of the builds that its attempts come to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from making import ACCURACY, DATA, FIGURES, MODEL, artifact, manifest, network, settings
from msgspec.structs import replace
from sessions import NOWHERE

from edgebuild import targets
from edgebuild.core.budget import Budget, Subject, Unit
from edgebuild.core.losses import LayerLoss, LayerLosses, Losses, Signal
from edgebuild.core.manifest import Artifact
from edgebuild.core.passes import Equalize, QuantizeAware, Scheme
from edgebuild.core.plan import Plan
from edgebuild.errors import StepError
from edgebuild.layering import Layer
from edgebuild.pipeline.artifacts import Built
from edgebuild.pipeline.convert import Finished
from edgebuild.pipeline.evaluate import Evaluated, Scoring, Tried
from edgebuild.pipeline.pursue import Tools, pursue
from edgebuild.plan import plan
from edgebuild.report import wording
from edgebuild.search.accuracy_recovery import AccuracyRecovery, Means

# More than the builds of these tests have.
BUDGET = Budget(subject=Subject.ACCURACY, limit=0.99, unit=Unit.SHARE)


def _loss(name: str, sqnr_db: float, *, is_scored: bool = True) -> LayerLoss:
    signal = Signal(sqnr_db=sqnr_db, cosine=1.0)
    return LayerLoss(operator="CONV_2D", position=0, layers=(name,), signal=signal, is_scored=is_scored)


@pytest.fixture
def means() -> Means:
    return Means(False, targets.default_pass(Equalize), targets.default_pass(QuantizeAware))


def _plan(name: str, *, refine: bool = True) -> Plan:
    target = targets.load(name, ACCURACY, [Layer("test", {"passes": {"channels": "off"}})]).target
    return plan(target, settings(build={"compress": False, "refine": refine}), MODEL, DATA)


def _climbed(
    first: Plan,
    means: Means,
    content_of: Callable[[Plan], str],
    layers: tuple[LayerLoss, ...] = (),
    notes: tuple[str, ...] = (),
) -> tuple[Tried, list[Plan]]:
    """Climb with builds that miss the budget, whose artifacts have contents by their plans."""
    tried: list[Plan] = []

    def make(made: Plan) -> Tried:
        tried.append(made)
        compared = LayerLosses(split="calibration", samples=8, kernels="reference", layers=layers)
        content = Artifact(path="kws.tflite", sha256=content_of(made), size_bytes=1, size_gzip_bytes=1)
        record: dict[str, Any] = {"artifact": content, "losses": Losses(layers=compared), "measurements": FIGURES}
        built = Built(made, NOWHERE, artifact(), None, notes, network())
        return Tried(_evaluated(built), replace(manifest((BUDGET,), **record), target=made.target), {})

    return pursue(AccuracyRecovery(means), make(first), Tools(make, lambda done: done, lambda _: None)), tried


def test_an_attempt_that_comes_to_an_artifact_known_already_is_no_rung_and_the_reason_is_told(means: Means) -> None:
    why = "equalize, calibrate left out: the layers of kws are not known"
    done, _ = _climbed(_plan("edgetpu", refine=False), means, lambda _: "one", notes=(why,))
    assert [rung.name for rung in done.manifest.repair] == ["as planned"]
    told = [note for note in done.manifest.notes if "made nothing new" in note]
    assert told == [
        f"edgetpu: {name} made nothing new ({why})"
        for name in ("better ranges", "equalization and bias correction", "adaptive rounding")
    ]


def test_attempts_that_make_something_new_are_rungs(means: Means) -> None:
    first = _plan("mcu")
    done, tried = _climbed(first, means, lambda made: str(len(made.passes)) + made.quantize.scheme)
    assert [wording.kind(step) for step in tried[-1].passes] == ["equalize", "quantize"]
    assert [rung.name for rung in done.manifest.repair] == ["as planned", "int16x8"]
    assert not any("made nothing new" in note for note in done.manifest.notes)


def test_only_layers_that_the_score_depends_on_go_to_float(means: Means) -> None:
    layers = (_loss("aside", 5.0, is_scored=False), _loss("worst", 10.0), _loss("better", 20.0))
    _, tried = _climbed(_plan("arm64"), means, lambda made: ",".join(made.quantize.float_layers), layers)
    assert [made.quantize.float_layers for made in tried[1:]] == [("worst",)]


def test_where_no_layer_is_known_a_target_with_float_gets_int16_all_over(means: Means) -> None:
    _, tried = _climbed(_plan("arm64"), means, lambda made: made.quantize.scheme)
    runs_int16 = tried[0].operators.int16
    assert [made.quantize.scheme for made in tried[1:]] == [Scheme.INT16X8] * runs_int16


def _evaluated(built: Built) -> Evaluated:
    return Evaluated(built, Finished(built, built), Scoring(None))


def _scored(made: Plan, score: float, layers: tuple[LayerLoss, ...] = ()) -> Tried:
    """A build of a plan with a score, whose artifact is like no other."""
    content = Artifact(path="kws.tflite", sha256=f"{score}", size_bytes=1, size_gzip_bytes=1)
    compared = LayerLosses(split="calibration", samples=8, kernels="reference", layers=layers)
    accuracy = replace(manifest().accuracy, artifact=score)
    figures = tuple(replace(item, value=score) if item.subject == Subject.ACCURACY else item for item in FIGURES)
    record: dict[str, Any] = {"artifact": content, "losses": Losses(layers=compared), "measurements": figures}
    whole = replace(manifest((BUDGET,), **record), target=made.target, accuracy=accuracy)
    return Tried(_evaluated(Built(made, NOWHERE, artifact(), None, (), network())), whole, {})


@pytest.mark.parametrize(
    ("scores", "refused", "completed", "left"),
    [
        ((0.9, 0.97, 0.995, 0.999), (), [0.995], 0.995),  # the third keeps the budget
        ((0.9, 0.97, 0.95, 0.91), (), [0.97], 0.97),  # none does: the best
        ((0.9, 0.97, 0.95, 0.91), (0.97,), [0.97, 0.95], 0.95),  # or the best that its target takes
        ((0.9, 0.8, 0.85, 0.81), (), [], 0.9),  # or the first, which is complete
        ((0.9, 0.97, 0.995, 0.999), (0.995,), [0.995, 0.999], 0.999),
    ],
)
def test_only_what_is_left_is_evaluated_in_all_ways(
    scores: tuple[float, ...], refused: tuple[float, ...], completed: list[float], left: float, means: Means
) -> None:
    to_come, done = list(scores[1:]), []

    def complete(tried: Tried) -> Tried:
        score = float(tried.manifest.artifact.sha256)
        done.append(score)
        if score in refused:
            raise StepError("the target refused it")
        return tried._replace(files={"made": b""})

    first = _plan("edgetpu", refine=False)
    tools = Tools(lambda made: _scored(made, to_come.pop(0)), complete, lambda _: None)
    last = pursue(AccuracyRecovery(means), _scored(first, scores[0]), tools)
    assert done == completed
    assert float(last.manifest.artifact.sha256) == left
    assert dict(last.files) == ({"made": b""} if completed else {})
