"""What an accuracy drop on a split says of other samples: its interval, a sample's worth, limits by confidence."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, strategies as st
from making import ACCURACY, FIGURES, budget, figure, manifest, metric, plan

from edgebuild import stats
from edgebuild.actions.scores import Baseline
from edgebuild.core.budget import Budget, Subject, Unit
from edgebuild.core.losses import Losses
from edgebuild.core.measurement import Paired
from edgebuild.core.metric import Task
from edgebuild.core.model import ArtifactSpec
from edgebuild.core.verdict import Check, Status
from edgebuild.errors import UsageError
from edgebuild.gating import budgets, pairing
from edgebuild.gating.gate import judge
from edgebuild.layering import Layer, overlay
from edgebuild.pipeline import figures, prepare
from edgebuild.pipeline.figures import DeviceFigures, Found, Origin, Scored
from edgebuild.report import card, summary
from edgebuild.runtimes.fidelity import answers


@pytest.mark.parametrize(
    ("more", "fewer", "pairs", "interval"),
    [
        # Airway hyper-responsiveness before and after a transplantation: Fagerland et al. 2014, table 4.
        (1, 7, 21, (-0.517, -0.026)),
        # Nothing differs: z^2 / (n + z^2) to each side.
        (0, 0, 46, (-0.0771, 0.0771)),
        # Everything does (Tango 1998, table III).
        (43, 0, 43, (0.836, 1.0)),
    ],
)
def test_the_interval_of_paired_proportions_is_the_published_one(
    more: int, fewer: int, pairs: int, interval: tuple[float, float]
) -> None:
    assert stats.paired_difference(more, fewer, pairs) == pytest.approx(interval, abs=5e-4)


@given(st.integers(1, 500), st.integers(0, 100), st.integers(0, 100))
def test_an_interval_holds_its_difference_mirrors_and_widens_with_confidence(pairs: int, one: int, two: int) -> None:
    more, fewer = min(one, pairs), min(two, pairs - min(one, pairs))
    low, high = stats.paired_difference(more, fewer, pairs)
    assert -1 <= low <= (more - fewer) / pairs <= high <= 1
    assert stats.paired_difference(fewer, more, pairs) == pytest.approx((-high, -low), abs=1e-9)
    narrow_low, narrow_high = stats.paired_difference(more, fewer, pairs, 0.8)
    assert low <= narrow_low + 1e-12
    assert narrow_high <= high + 1e-12


def test_the_interval_holds_the_true_difference_as_often_as_it_says() -> None:
    random = np.random.default_rng(5)
    for pairs, lost, gained in ((46, 0.05, 0.03), (360, 0.01, 0.005), (100, 0.2, 0.1)):
        counts = random.multinomial(pairs, [lost, gained, 1 - lost - gained], size=1500)
        found = [stats.paired_difference(int(b), int(c), pairs) for b, c, _ in counts]
        share = np.mean([low <= lost - gained <= high for low, high in found])
        assert 0.93 < share < 0.985


def test_students_interval_of_any_confidence_follows_the_tables() -> None:
    assert [stats.student(10), stats.student(60), stats.student(20, 0.9), stats.student(20, 0.99)] == pytest.approx(
        [2.228, 2.000, 1.725, 2.845], abs=2e-3
    )


def _read(text: str) -> Budget:
    (found,) = budgets.read(overlay([Layer("options", dict(budgets.from_option(text)))]), ACCURACY)
    return found


def test_a_confidence_is_read_and_is_of_a_drop_alone() -> None:
    assert _read("accuracy_drop=1%,confidence=95%").confidence == 0.95
    (table,) = budgets.read(overlay([Layer("t", {"accuracy_drop": {"limit": "1 %", "confidence": "90 %"}})]), ACCURACY)
    assert (table.confidence, table.unit) == (0.9, Unit.SHARE)
    for text in ("accuracy=90%,confidence=95%", "size=1KB,confidence=95%", "accuracy_drop=1%,confidence=100%"):
        with pytest.raises(UsageError):
            _read(text)
    both = budgets.from_options(["accuracy_drop=1%", "accuracy_drop=2%,confidence=95%"])
    assert len(budgets.read(overlay([Layer("options", both)]), ACCURACY)) == 2, "one does not take the other's place"


def _judged(limit: float, paired: Paired | None, value: float, confidence: float = 0.95) -> Check:
    asked = budget("accuracy_drop", limit, confidence=confidence)
    (check,) = judge(
        [asked], [figure("accuracy_drop", value, where="host", paired=paired)], lower_is_better=False
    ).checks
    return check


@pytest.mark.parametrize(
    ("lost", "gained", "samples", "status"),
    [
        (0, 0, 46, "inconclusive"),  # nothing was lost, and 7.7 points may be
        (0, 0, 10_000, "pass"),
        (30, 2, 10_000, "pass"),
        (110, 0, 10_000, "inconclusive"),
        (300, 20, 10_000, "fail"),
        (12, 0, 46, "fail"),
    ],
)
def test_a_drop_with_confidence_is_judged_by_its_interval(lost: int, gained: int, samples: int, status: str) -> None:
    paired = pairing.of_pairs(lost, gained, samples)
    check = _judged(0.01, paired, (lost - gained) / samples)
    assert check.status == status
    exact = budget("accuracy_drop", 0.01)
    found = figure("accuracy_drop", (lost - gained) / samples, where="host", paired=paired)
    (on_the_split,) = judge([exact], [found], lower_is_better=False).checks
    assert on_the_split.status == ("pass" if (lost - gained) / samples <= 0.01 else "fail"), "the split is exact"
    if status == "inconclusive":
        assert "more evaluation samples" in check.reason
        assert "lies around the limit of 1.0 points" in check.reason


@pytest.mark.parametrize(("lost", "gained", "samples"), [(3, 1, 360), (0, 0, 20), (0, 0, 200), (50, 0, 4000)])
def test_so_many_times_the_samples_as_are_said_decide_it_and_fewer_do_not(lost: int, gained: int, samples: int) -> None:
    def after(times: int) -> Check:
        paired = pairing.of_pairs(lost * times, gained * times, samples * times)
        return _judged(0.01, paired, (lost - gained) / samples)

    check = after(1)
    assert check.status == Status.INCONCLUSIVE
    times = int(check.reason.partition("about ")[2].partition(" times")[0])
    assert after(times).status in (Status.PASS, Status.FAIL)
    assert times == 2 or after(times - 1).status == Status.INCONCLUSIVE


def test_samples_that_no_number_of_decides_are_not_counted() -> None:
    check = _judged(0.01, pairing.of_pairs(10, 0, 1000), 0.01)
    assert "give it more evaluation samples" in check.reason
    assert "times as many" not in check.reason


def test_a_score_without_an_interval_is_inconclusive_and_says_what_to_do() -> None:
    check = _judged(0.01, None, 0.0)
    assert check.status == Status.INCONCLUSIVE
    assert "leave `confidence` out" in check.reason


RANDOM = np.random.default_rng(0)


def _outputs(y: Any, classes: int, right: float) -> Any:
    """Scores that are right for so large a share of the answers."""
    wrong = (y + 1) % classes
    chosen = np.where(RANDOM.random(y.shape) < right, y, wrong)
    return np.eye(classes, dtype=np.float32)[chosen]


def _found(score: Any, baseline: float, artifact: float, output: Any) -> dict[Unit, Any]:
    """The drop's measurements as a build records them, by unit."""
    made = figures.manifest(
        plan(metric=score, data=None),
        b"file",
        ArtifactSpec(inputs=(), outputs=(), operators=(), signatures=(), activations_bytes=1),
        Origin(manifest().inputs, Baseline(score=baseline, samples=output.samples, metric=score), None, (), {}),
        Found(
            Scored(artifact, output.samples, "reference", "here"),
            (), DeviceFigures(manifest().device, ()), None, (), None, Losses(output=output), {},
        ),
        (),
    )  # fmt: skip
    return {found.unit: found for found in made.measurements if found.subject == Subject.ACCURACY_DROP}


def test_of_classified_samples_the_pairs_are_counted() -> None:
    y = RANDOM.integers(0, 4, 200)
    before, after = _outputs(y, 4, 0.95), _outputs(y, 4, 0.9)
    score = metric("accuracy", task=Task.CLASSES)
    was, now = ((outputs.argmax(1) == y) for outputs in (before, after))
    drop = _found(score, was.mean(), now.mean(), answers.compare(before, after, y, score))[Unit.SHARE]
    assert (drop.paired.worse, drop.paired.better) == ((was & ~now).sum(), (now & ~was).sum())
    assert drop.paired.mean == pytest.approx(drop.value)
    assert drop.paired.worth == 1 / 200
    assert drop.paired.interval == stats.paired_difference(drop.paired.worse, drop.paired.better, 200)


def test_of_samples_with_many_places_the_samples_are_the_units() -> None:
    y = RANDOM.integers(0, 3, (40, 8, 8))
    before, after = _outputs(y, 3, 0.95), _outputs(y, 3, 0.9)
    score = metric("accuracy", task=Task.CLASSES)
    was, now = ((outputs.argmax(-1) == y).reshape(40, -1).mean(axis=1) for outputs in (before, after))
    drop = _found(score, was.mean(), now.mean(), answers.compare(before, after, y, score))[Unit.SHARE]
    half = stats.student(39) * np.std(was - now, ddof=1) / math.sqrt(40)
    assert drop.paired.interval == pytest.approx((drop.value - half, drop.value + half))
    same = answers.compare(before, before, y, score)
    unchanged = _found(score, was.mean(), was.mean(), same)[Unit.SHARE].paired
    assert unchanged.interval == stats.paired_difference(0, 0, 40), "that none changed is no proof that none would"


@pytest.mark.parametrize("name", ["mse", "mae"])
def test_of_errors_the_interval_is_of_their_mean_difference_also_relative(name: str) -> None:
    y = RANDOM.normal(size=(50, 2))
    before, after = (y + RANDOM.normal(scale=scale, size=y.shape) for scale in (0.1, 0.12))
    score = metric(name, task=Task.VALUES)
    power = 2 if name == "mse" else 1
    was, now = ((np.abs(outputs - y) ** power).mean(axis=1) for outputs in (before, after))
    found = _found(score, was.mean(), now.mean(), answers.compare(before, after, y, score))
    drop, relative = found[Unit.NUMBER], found[Unit.RELATIVE]
    assert (drop.paired.mean, drop.paired.worth) == (pytest.approx(drop.value), None)
    half = stats.student(49) * np.std(now - was, ddof=1) / math.sqrt(50)
    assert drop.paired.interval == pytest.approx((drop.value - half, drop.value + half))
    assert relative.paired.interval == pytest.approx(tuple(end / was.mean() for end in drop.paired.interval))


def test_a_score_that_is_no_mean_over_samples_has_no_interval() -> None:
    y = RANDOM.integers(0, 2, 60)
    before, after = RANDOM.random((60, 1)), RANDOM.random((60, 1))
    score = metric("auc", task=Task.BINARY, threshold=0.5)
    assert _found(score, 0.9, 0.8, answers.compare(before, after, y, score))[Unit.SHARE].paired is None


def test_report_and_card_show_what_a_sample_is_worth_and_the_interval() -> None:
    others = tuple(item for item in FIGURES if item.subject != Subject.ACCURACY_DROP)
    drop = figure("accuracy_drop", 2 / 360, where="host", paired=pairing.of_pairs(3, 1, 360))
    made = manifest(measurements=(*others, drop))
    told = "one sample is worth 0.28 points; 95 % interval of the drop -0.8 points to 2.18 points"
    assert any(told in line for line in summary.of_build(made, "dist").splitlines())
    assert f"- Resolution: {told}" in card.of_build(made)


@pytest.mark.parametrize(
    ("samples", "limit", "is_found"), [(46, 0.01, True), (100, 0.01, False), (99, 0.01, True), (46, 0.0, False)]
)
def test_a_limit_that_is_finer_than_one_sample_is_a_finding(samples: int, limit: float, is_found: bool) -> None:
    asked = plan(budgets=(budget("accuracy_drop", limit),), metric=metric("accuracy", task=Task.CLASSES))
    found = list(prepare.findings_of_resolution(asked, samples))
    assert bool(found) == is_found
    if found:
        assert found[0].code == "evaluation-too-small"
        needed = found[0].remedy.partition("at least ")[2].partition(" samples")[0]
        assert not list(prepare.findings_of_resolution(asked, int(needed))), "the remedy mends it"
        wider = found[0].remedy.partition('"')[2].partition(" %")[0]
        allowed = msgspec.structs.replace(asked, budgets=(budget("accuracy_drop", float(wider) / 100),))
        assert not list(prepare.findings_of_resolution(allowed, samples)), "so does the other one"
    ignoring = msgspec.structs.replace(asked, ignores=("evaluation-too-small",))
    assert not list(prepare.findings_of_resolution(ignoring, samples))
