from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from making import manifest, metric

from edgebuild.core.losses import (
    Answers,
    ChangedInput,
    ClassChange,
    ConfidenceOf,
    ConfusionChange,
    LayerLoss,
    LayerLosses,
    Losses,
    OutputLoss,
    Signal,
    worst,
)
from edgebuild.data import scored
from edgebuild.report import summary
from edgebuild.runtimes.fidelity import answers, signal as signals
from edgebuild.runtimes.fidelity.signal import Sums

ACCURACY = metric("accuracy")


def _one_hot(classes: list[int], count: int = 3, sure: float = 0.8) -> Any:
    """Probabilities [samples, count] of networks that are sure of the given classes."""
    rest = (1 - sure) / (count - 1)
    return np.where(np.eye(count)[classes] > 0, sure, rest).astype(np.float32)


def _signal(exact: Any, given: Any) -> Signal:
    sums = Sums()
    sums.add(np.asarray(exact), np.asarray(given))
    return sums.signal()


def _layer(name: str, before: float | None, after: float, position: int = 0) -> LayerLoss:
    signal = Signal(sqnr_db=after, cosine=0.9)
    return LayerLoss(operator="CONV_2D", position=position, layers=(name,), signal=signal, input_sqnr_db=before)


def test_signal_to_noise_is_the_ratio_of_powers_in_decibels() -> None:
    found = _signal([3.0, 4.0], [3.0, 3.5])
    assert found.sqnr_db == pytest.approx(10 * math.log10(25 / 0.25))
    assert found.cosine == pytest.approx((9 + 14) / (5 * math.hypot(3, 3.5)))


def test_samples_are_summed_up_before_they_are_divided() -> None:
    sums = Sums()
    sums.add(np.asarray([10.0]), np.asarray([9.0]))
    sums.add(np.asarray([0.0]), np.asarray([1.0]))
    assert sums.signal().sqnr_db == pytest.approx(10 * math.log10(100 / 2))


def test_ends_of_the_scale_are_finite() -> None:
    assert _signal([1.0, 2.0], [1.0, 2.0]) == Signal(sqnr_db=150.0, cosine=1.0)
    assert _signal([0.0, 0.0], [0.0, 0.0]) == Signal(sqnr_db=150.0, cosine=1.0)
    assert _signal([0.0, 0.0], [1.0, 0.0]) == Signal(sqnr_db=-150.0, cosine=0.0)
    assert _signal([1.0, 2.0], [-1.0, -2.0]).cosine == pytest.approx(-1.0)


def test_changed_answers_are_counted_by_class_and_by_cell() -> None:
    y = np.asarray([0, 0, 1, 1, 2, 2])
    exact = _one_hot([0, 0, 1, 2, 2, 0])
    given = _one_hot([0, 1, 2, 1, 2, 1])
    found = answers.compare(exact, given, y, ACCURACY)
    assert found.answers == Answers(
        total=6,
        changed=4,
        lost=2,
        gained=1,
        classes=(ClassChange(label=1, lost=1, gained=1), ClassChange(label=0, lost=1, gained=0)),
        confusion=(
            ConfusionChange(label=0, before=0, after=1, count=1),
            ConfusionChange(label=1, before=1, after=2, count=1),
            ConfusionChange(label=1, before=2, after=1, count=1),
            ConfusionChange(label=2, before=0, after=1, count=1),
        ),
    )
    assert [item.index for item in found.inputs][:2] == [1, 2]
    assert {item.index for item in found.inputs} == {1, 2, 3, 5}


def test_cells_tell_the_whole_difference_of_the_confusion_matrices() -> None:
    rng = np.random.default_rng(0)
    exact, given = rng.random((2, 500, 4))
    y = rng.integers(0, 4, 500)
    found = answers.compare(exact, given, y, ACCURACY).answers
    assert found is not None
    difference = np.zeros((4, 4), int)
    for cell in found.confusion:
        difference[cell.label, cell.before] -= cell.count
        difference[cell.label, cell.after] += cell.count
    wanted = np.zeros((4, 4), int)
    np.add.at(wanted, (y, given.argmax(1)), 1)
    np.add.at(wanted, (y, exact.argmax(1)), -1)
    assert (difference == wanted).all()
    assert [cell.count for cell in found.confusion] == sorted((cell.count for cell in found.confusion), reverse=True)


def test_inputs_that_became_wrong_come_first_and_then_those_that_moved_most() -> None:
    y = np.asarray([0, 0, 1, 0])
    exact = np.asarray([[0.6, 0.4], [0.9, 0.1], [0.9, 0.1], [0.7, 0.3]], np.float32)
    given = np.asarray([[0.4, 0.6], [0.1, 0.9], [0.0, 1.0], [0.7, 0.3]], np.float32)
    found = answers.compare(exact, given, y, ACCURACY).inputs
    assert [(item.index, item.label, item.before, item.after) for item in found] == [
        (1, 0, 0, 1),
        (0, 0, 0, 1),
        (2, 1, 0, 1),
    ]
    assert found[0].difference == pytest.approx(0.8)


def test_no_more_than_a_hundred_inputs_are_listed_and_all_are_counted() -> None:
    exact = _one_hot([0] * 250, 2)
    found = answers.compare(exact, exact[:, ::-1], np.zeros(250, int), ACCURACY)
    assert found.answers is not None
    assert (found.answers.changed, len(found.inputs)) == (250, 100)


@pytest.mark.parametrize(
    "y", [np.asarray([0, 1, 2]), np.asarray([[0], [1], [2]]), np.eye(3)], ids=["1d", "2d", "one-hot"]
)
def test_answers_are_read_as_the_score_reads_them(y: Any) -> None:
    found = answers.compare(_one_hot([0, 1, 2]), _one_hot([0, 1, 0]), y, ACCURACY)
    assert found.answers is not None
    assert (found.answers.lost, found.answers.classes) == (1, (ClassChange(label=2, lost=1, gained=0),))


def test_one_output_says_yes_above_one_half() -> None:
    exact = np.asarray([[0.7], [0.2], [0.6]], np.float32)
    given = np.asarray([[0.4], [0.3], [0.9]], np.float32)
    found = answers.compare(exact, given, np.asarray([1, 0, 0]), ACCURACY)
    assert found.answers is not None
    assert (found.answers.changed, found.answers.lost) == (1, 1)
    assert found.confidence is not None
    assert found.confidence.baseline == pytest.approx((0.3 + 0.2 + 0.6) / 3)


def test_top_k_is_right_as_long_as_the_class_is_among_the_best() -> None:
    exact = np.asarray([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]], np.float32)
    given = np.asarray([[0.3, 0.5, 0.2], [0.2, 0.3, 0.5]], np.float32)
    found = answers.compare(exact, given, np.asarray([0, 0]), metric("top-k", k=2)).answers
    assert found is not None
    assert (found.changed, found.lost) == (2, 1)


def test_a_sample_with_many_answers_tells_the_share_that_changed() -> None:
    exact = np.zeros((2, 2, 2, 3), np.float32)
    exact[..., 0] = 1
    given = exact.copy()
    given[1, 0] = [0, 1, 0]
    found = answers.compare(exact, given, np.zeros((2, 2, 2), int), ACCURACY)
    assert found.answers is not None
    assert (found.answers.total, found.answers.lost) == (8, 2)
    (changed,) = found.inputs
    assert (changed.index, changed.share, changed.label, changed.before) == (1, 0.5, None, None)


@pytest.mark.parametrize("name", ["mse", "mae", "scores:mine"])
def test_without_classes_the_samples_that_moved_most_are_listed(name: str) -> None:
    exact = np.asarray([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    given = np.asarray([[1.0, 1.0], [2.0, 4.0], [3.0, 2.0]])
    found = answers.compare(exact, given, exact, metric(name))
    assert (found.answers, found.confidence) == (None, None)
    assert found.inputs == (
        ChangedInput(index=1, difference=math.sqrt(2)),
        ChangedInput(index=2, difference=math.sqrt(0.5)),
    )


def test_outputs_that_were_not_all_kept_are_compared_as_far_as_they_go(tmp_path: Path) -> None:
    exact = _one_hot([0, 1, 2, 0])
    scored.keep_outputs(exact, tmp_path, most_bytes=3 * exact[:1].nbytes)
    kept = scored.kept_outputs(tmp_path)
    assert len(kept) == 3
    found = answers.compare(kept, _one_hot([0, 1, 1, 1]), np.asarray([0, 1, 2, 0]), ACCURACY)
    assert found.answers is not None
    assert (found.samples, found.answers.changed) == (3, 1)


def test_many_large_outputs_are_compared_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    exact, given = rng.random((2, 50, 4))
    y = rng.integers(0, 4, 50)
    whole = answers.compare(exact, given, y, ACCURACY)
    monkeypatch.setattr(signals, "_CHUNK_BYTES", 7 * exact[:1].nbytes)
    assert answers.compare(exact, given, y, ACCURACY).answers == whole.answers
    assert answers.compare(exact, given, y, ACCURACY).signal.sqnr_db == pytest.approx(whole.signal.sqnr_db)


def test_calibration_error_is_the_gap_of_each_bin_weighted_by_its_size() -> None:
    sure = np.asarray([0.95, 0.95, 0.95, 0.95, 0.55, 0.55])
    right = np.asarray([True, True, True, False, True, False])
    error = answers.expected_calibration_error(sure, right)
    assert error == pytest.approx(4 / 6 * abs(0.75 - 0.95) + 2 / 6 * abs(0.5 - 0.55))


def test_a_bin_holds_its_upper_end() -> None:
    # In (0, 1/2] and (1/2, 1]: too sure by 0.5 in the one, too doubtful by 0.4 in the other.
    error = answers.expected_calibration_error(np.asarray([0.5, 0.6]), np.asarray([False, True]), bins=2)
    assert error == pytest.approx((0.5 + 0.4) / 2)
    # In one bin they would cancel out.
    assert answers.expected_calibration_error(
        np.asarray([0.5, 0.6]), np.asarray([False, True]), bins=1
    ) == pytest.approx(0.05)


def test_logits_are_made_probabilities_first() -> None:
    logits = np.log(_one_hot([0, 1, 2])) + 5
    found = answers.compare_confidence(logits, _one_hot([0, 1, 2]), np.asarray([0, 1, 0]))
    assert found is not None
    assert (found.of, found.bins) == (ConfidenceOf.SOFTMAX, 15)
    assert found.baseline == pytest.approx(abs(2 / 3 - 0.8), abs=1e-6)


def test_what_is_a_probability_is_seen_from_the_float_network() -> None:
    rounded = np.round(_one_hot([0, 1], 10) * 256) / 256
    assert abs(rounded.sum(axis=1) - 1).max() > 1e-3
    found = answers.compare_confidence(_one_hot([0, 1], 10), rounded, np.asarray([0, 1]))
    assert found is not None
    assert found.of == ConfidenceOf.OUTPUTS


def test_independent_sigmoids_have_no_confidence() -> None:
    assert answers.compare_confidence(np.full((4, 3), 0.9), np.full((4, 3), 0.9), np.zeros(4, int)) is None


def _softmax(scores: Any) -> Any:
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("places", [(), (5,)])
def test_probabilities_are_compared_by_the_logits_behind_them(
    places: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    exact = 8 * rng.standard_normal((40, *places, 6))
    given = exact + 0.1 * rng.standard_normal(exact.shape)
    # What is added to all logits of a sample a softmax does not tell.
    wanted = _signal(*(each - each.mean(axis=-1, keepdims=True) for each in (exact, given)))
    probabilities = _softmax(exact), _softmax(given + 7)
    monkeypatch.setattr(signals, "_CHUNK_BYTES", 3 * exact[:1].nbytes)
    found = answers.compare_logits(*probabilities)
    assert found is not None
    assert found.sqnr_db == pytest.approx(wanted.sqnr_db, abs=0.01)


def test_the_probability_of_one_class_has_a_logit_too() -> None:
    exact = np.linspace(-14, 14, 50)[:, np.newaxis]
    given = exact * 1.01
    found = answers.compare_logits(*(1 / (1 + np.exp(-each)) for each in (exact, given)))
    assert found is not None
    assert found.sqnr_db == pytest.approx(40.0, abs=0.1)


@pytest.mark.parametrize("steps", [2**8, 2**15])
def test_rounded_probabilities_and_what_is_none_have_no_logits(steps: int) -> None:
    exact = _softmax(np.random.default_rng(0).standard_normal((40, 6)))
    assert answers.compare_logits(exact, np.round(exact * steps) / steps) is None
    assert answers.compare_logits(np.log(exact), np.log(exact)) is None
    assert answers.compare_logits(np.full((4, 3), 0.9), np.full((4, 3), 0.8)) is None


def test_a_probability_of_nothing_has_the_logit_of_very_little() -> None:
    exact = np.asarray([[1.0, 0.0], [0.7, 0.3]])
    found = answers.compare_logits(exact, np.asarray([[1.0, 1e-38], [0.7, 0.3]]))
    assert found == Signal(sqnr_db=150.0, cosine=1.0)


def test_the_worst_layer_added_most_noise_whatever_it_was_given() -> None:
    first = _layer("first", 150.0, 40.0, 0)
    spoilt = _layer("spoilt", 40.0, 12.0, 1)
    behind = _layer("behind", 12.0, 11.5, 2)
    better = _layer("better", 11.5, 14.0, 3)
    assert worst([first, spoilt, behind, better], 2) == (spoilt, behind)
    assert worst([first, spoilt, behind, better], 9) == (spoilt, behind, first)
    assert worst([_layer("unknown", None, 10.0), spoilt], 1)[0].layers == ("unknown",)


def _shown(losses: Losses) -> list[str]:
    lines = summary.of_build(manifest(losses=losses), "dist/mcu").splitlines()
    return [line for line in lines if line.startswith(("  answers", "  signal", "  layers"))]


def test_the_summary_tells_what_was_lost() -> None:
    compared = answers.compare(_one_hot([0, 1, 2, 0]), _one_hot([0, 1, 1, 1]), np.asarray([0, 1, 2, 1]), ACCURACY)
    layers = LayerLosses(
        split="calibration",
        samples=32,
        kernels="reference",
        layers=(_layer("first", 150.0, 40.0), _layer("spoilt", 40.0, 12.0), _layer("behind", 12.0, 11.5)),
        unmatched=("ADD (from add)",),
        unproved=("TRANSPOSE (from mha1)", "MUL (from norm1)"),
    )
    assert _shown(Losses(output=compared, layers=layers)) == [
        "  answers    2 of 4 are not the float network's: 1 became wrong, 1 right",
        "  signal     output SQNR 1.3 dB, of its logits -1.8 dB, over 4 samples, calibration error 5.0 %,"
        " float network 5.0 % (outputs)",
        "  layers     most lost at spoilt (40.0 to 12.0 dB), behind (12.0 to 11.5 dB) "
        "(32 calibration samples; 1 not compared; 2 pairs dropped, not proved)",
    ]


def test_the_summary_says_when_nothing_changed() -> None:
    exact = _one_hot([0, 1])
    assert _shown(Losses(output=answers.compare(exact, exact, np.asarray([0, 1]), ACCURACY)))[0] == (
        "  answers    all 2 as the float network's"
    )
    plain = OutputLoss(samples=7, signal=Signal(sqnr_db=31.26, cosine=0.999))
    assert _shown(Losses(output=plain)) == ["  signal     output SQNR 31.3 dB over 7 samples"]
