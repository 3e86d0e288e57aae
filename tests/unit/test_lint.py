from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from lint_cases import CLASSES, LEVELS, PATTERN, SHAPE, Case, Pointwise, answers, images, part_in, spec

from edgebuild.core.finding import Code, Gravity
from edgebuild.core.settings import Preprocess
from edgebuild.data.given import Array
from edgebuild.data.lint.subject import Norm


@pytest.fixture
def case(tmp_path: Any) -> Case:
    return Case(tmp_path)


def test_good_data_are_not_warned_of(case: Case) -> None:
    assert case.codes() == []
    case.more["view"] = Pointwise(images(400, 9))
    assert case.codes() == []


def test_calibrating_with_few_samples_is_warned_of_with_what_they_miss(case: Case) -> None:
    case.calibration = ([images(19, 2)], answers(19))
    finding = case.only()
    assert finding.code == Code.TOO_FEW
    assert finding.what.startswith("19 different")
    assert "10% of new inputs" in finding.why


def test_the_same_sample_all_over_is_not_called_a_few_duplicates(case: Case) -> None:
    case.calibration = ([np.repeat(images(1), 100, axis=0)], None)
    case.train = case.evaluation = None
    assert case.only().code == Code.REPEATED


def test_duplicates_are_counted(case: Case) -> None:
    case.calibration = ([np.concatenate([images(80, 2), images(20, 2)])], None)
    finding = case.only()
    assert (finding.code, finding.what[:9]) == (Code.DUPLICATES, "20 of 100")


def test_a_few_duplicates_are_as_in_real_data(case: Case) -> None:
    case.calibration = ([np.concatenate([images(97, 2), images(3, 2)])], None)
    assert case.codes() == []


def test_samples_in_two_splits_are_found_wherever_they_stand(case: Case) -> None:
    evaluation = images(200, 3)
    case.calibration = ([np.concatenate([images(60, 2), evaluation[100:140]])], None)
    finding = case.only()
    assert finding.code == Code.CALIBRATION_IN_EVALUATION
    assert finding.what.startswith("40 of 200")


def test_a_few_shared_samples_are_found_where_nothing_else_occurs_twice(case: Case) -> None:
    case.calibration = ([np.concatenate([images(97, 2), images(200, 3)[100:103]])], None)
    finding = case.only()
    assert finding.code == Code.CALIBRATION_IN_EVALUATION
    assert finding.what.startswith("3 of 200")


def test_a_few_shared_samples_are_as_in_real_data_where_more_occur_twice_in_a_split(case: Case) -> None:
    case.calibration = ([np.concatenate([images(97, 2), images(200, 3)[100:103]])], None)
    train = images(400, 4)
    case.train = ([np.concatenate([train[:390], train[:10]])], None)
    assert case.codes() == []


def test_a_single_shared_sample_is_as_in_real_data(case: Case) -> None:
    case.calibration = ([np.concatenate([images(99, 2), images(200, 3)[100:101]])], None)
    assert case.codes() == []


def test_samples_of_few_different_values_are_in_every_split(case: Case) -> None:
    rng = np.random.default_rng(0)
    table = rng.integers(0, 10, (500, 2)).astype(np.float32)
    case.inputs = (spec("features", (2,)),)
    case.calibration, case.train = None, ([table], None)
    case.evaluation = ([np.concatenate([table[:8], rng.uniform(0, 9, (192, 2)).astype(np.float32)])], None)
    assert case.codes() == []


def test_the_duplicates_of_real_recordings_are_no_overlap(case: Case, assets: Any) -> None:
    if not (assets / "kws" / "kws.npz").is_file():
        pytest.skip("the Speech Commands are not there")
    data = np.load(assets / "kws" / "kws.npz")
    x = data["x_train"]
    case.inputs = (spec("features", x.shape[1:]),)
    case.train, case.evaluation = ([x], None), ([data["x_eval"]], None)
    for seed in range(5):
        drawn = np.sort(np.random.default_rng(seed).permutation(len(x))[:200])
        case.calibration = ([x[drawn]], None)
        assert case.codes() == []
    leaked = np.concatenate([x[drawn[:190]], data["x_eval"][:10]])
    case.calibration = ([leaked], None)
    assert case.codes() == [Code.CALIBRATION_IN_EVALUATION]


def test_train_samples_that_are_scored_on_are_found_in_another_type_too(case: Case) -> None:
    numbers = np.random.default_rng(0).integers(0, 255, (400, *SHAPE)).astype(np.uint8)
    case.train, case.calibration = ([numbers], None), None
    case.evaluation = ([numbers[300:].astype(np.float64)], None)
    finding = case.only()
    assert finding.code == Code.TRAIN_IN_EVALUATION
    assert finding.what.startswith("100 of 100")


@pytest.mark.parametrize("factor", [255.0, 1 / 255])
def test_another_range_than_train_is_found_with_both_ranges(case: Case, factor: float) -> None:
    case.calibration = ([images(100, 2) * np.float32(factor)], None)
    finding = case.only()
    assert finding.code == Code.RANGE
    assert f"times {1 / factor:.4g}" in finding.why


def _within_one(count: int, seed: int, shape: tuple[int, ...] = (8, 8, 1)) -> Array:
    """Dark images, with something black and something white in any number of them."""
    x = np.random.default_rng(seed).beta(0.5, 3, (count, *shape)).astype(np.float32)
    x[0, 0, 0], x[0, 0, 1] = 0, 1
    return x


def test_inverted_images_are_found_by_their_mean_since_their_range_is_the_same(case: Case) -> None:
    case.inputs = (spec("image", (8, 8, 1)),)
    case.calibration, case.evaluation = ([1 - _within_one(100, 2)], None), None
    case.train = ([_within_one(400, 4)], None)
    finding = case.only()
    assert finding.code == Code.RANGE
    assert finding.what == "the calibration samples have another mean than those of train"
    given, wanted = (float(split[0][0].mean()) for split in (case.calibration, case.train))
    assert finding.why == f"The mean is {given:.4g}, and {wanted:.4g} in train."


def test_samples_that_vary_less_are_found_by_their_deviation(case: Case) -> None:
    case.inputs = (spec("left", (8, 8, 1)), spec("right", (8, 8, 2)))
    left, right = _within_one(400, 4), _within_one(400, 5, (8, 8, 2))
    flat = (right[:100] - right.mean()) * 0.2 + right.mean()
    flat[0, 0, 0], flat[0, 0, 1] = 0, 1
    case.calibration, case.evaluation = ([left[:100], flat], None), None
    case.train = ([left, right], None)
    finding = case.only()
    assert finding.what == "the calibration samples have another deviation than those of train"
    assert re.match(r"The deviation of channel [01] of right is 0\.\d+, and 0\.\d+ in train\.$", finding.why)


def test_data_that_the_network_was_not_trained_on_are_found_with_the_setting_that_mends_them(case: Case) -> None:
    case.more["view"] = Pointwise(images(400, 9))
    raw = [([(given[0][0] * 255)], given[1]) for given in (case.calibration, case.evaluation, case.train) if given]
    case.calibration, case.evaluation, case.train = raw
    finding = case.only()
    assert finding.code == Code.NORMALIZATION
    assert finding.what.startswith("the calibration, evaluation and train samples")
    assert finding.remedy == "Set [preprocess] scale = 0.00392157 and mean = 0."
    assert finding.level == Gravity.WARNING, "whether it costs anything is not known"


@pytest.mark.parametrize(("hits", "level"), [(50, Gravity.ERROR), (61, Gravity.ERROR), (150, Gravity.WARNING)])
def test_such_data_end_a_build_where_the_network_only_guesses_with_them(case: Case, hits: int, level: str) -> None:
    case.more.update(view=Pointwise(images(400, 9)), hits=hits)
    raw = [([(given[0][0] * 255)], given[1]) for given in (case.calibration, case.evaluation, case.train) if given]
    case.calibration, case.evaluation, case.train = raw
    (finding,) = [finding for finding in case.findings() if finding.code == Code.NORMALIZATION]
    assert finding.level == level
    assert finding.remedy == "Set [preprocess] scale = 0.00392157 and mean = 0."


class Sensitive:
    """A network without batch norms that knows the class in one pixel, of hard samples in images of 0..1 alone."""

    def norms(self, x: Sequence[Array]) -> tuple[Norm, ...]:
        return ()

    def answers(self, x: Sequence[Array]) -> Array:
        white, marked, hard = np.moveaxis(x[0][:, 0, 0], -1, 0)
        known = np.rint(marked / white * CLASSES).astype(int)
        lost = (hard > 0.5 * white) & (np.abs(white - 1) > 0.01)
        return np.eye(CLASSES)[(known + lost) % CLASSES]


@pytest.mark.parametrize(("hard", "codes"), [(0.3, [Code.NORMALIZATION]), (0.02, [])])
def test_another_range_with_which_a_network_that_does_not_guess_is_right_more_often_is_found(
    case: Case, hard: float, codes: list[Code]
) -> None:
    x, y = np.full((400, 8, 8, 3), 0.5, np.float32), answers(400)
    x[:, 0, 0] = np.stack([np.ones(400), y / CLASSES, np.arange(400) < hard * 400], -1)
    case.calibration = case.train = None
    case.evaluation = ([255 * x], y)
    case.more.update(view=Sensitive(), hits=int(400 * (1 - hard)))
    found = case.findings()
    assert [finding.code for finding in found] == codes
    if found:
        assert found[0].level == Gravity.WARNING
        assert found[0].why.startswith("As they are, the float network predicts 280 of 400 evaluation samples right; ")
        assert found[0].why.endswith(", 400.")
        assert found[0].remedy == "Set [preprocess] scale = 0.00392157 and mean = 0."
    case.evaluation = ([x], y)
    case.more["hits"] = 400
    assert case.codes() == []


def test_what_batch_norms_have_shown_is_not_said_again_by_predictions(case: Case) -> None:
    class Both(Sensitive):
        def norms(self, x: Sequence[Array]) -> tuple[Norm, ...]:
            return Pointwise(images(400, 9)).norms(x)

    x = images(400, 3)
    x[:, 0, 0] = np.stack([np.ones(400), answers(400) / CLASSES, np.arange(400) < 120], -1)
    case.calibration = case.train = None
    case.evaluation = ([255 * x], answers(400))
    case.more.update(view=Both(), hits=280)
    assert case.codes() == [Code.NORMALIZATION]
    assert "batch norm" in case.only().why


def test_the_setting_that_mends_data_takes_the_one_there_is_into_account(case: Case) -> None:
    case.more["view"] = Pointwise(images(400, 9))
    case.train = case.evaluation = None
    case.calibration = ([images(100, 2) * 255], None)
    case.preprocess = Preprocess(scale=1 / 127.5, mean=127.5)  # gives -1..1 where 0..1 is wanted
    assert case.only().remedy == "Set [preprocess] scale = 0.00392157 and mean = 0."


def test_one_split_that_does_not_fit_the_network_is_mended_by_itself(case: Case) -> None:
    case.more["view"] = Pointwise(images(400, 9))
    case.calibration = ([images(100, 2) * 255], None)
    finding = case.only()
    assert finding.what.startswith("the calibration samples are not in the range")
    assert finding.remedy == "Scale them so in the data: the other splits fit as they are."


def test_statistics_of_a_short_training_are_no_misfit(case: Case) -> None:
    class Short(Pointwise):
        def norms(self, x: Sequence[Array]) -> tuple[Norm, ...]:
            (norm,) = super().norms(x)
            mean, variance = norm.moving_mean, norm.moving_variance
            return (norm._replace(moving_mean=0.4 * mean, moving_variance=0.6 + 0.4 * variance),)

    case.more["view"] = Short(images(400, 9))
    assert case.codes() == []


@pytest.mark.parametrize("view", [None, Pointwise(images(400, 9))], ids=["train split", "batch norm"])
def test_channels_first_in_the_shape_of_channels_last_are_found(case: Case, view: Any) -> None:
    case.more["view"] = view
    x = np.ascontiguousarray(images(100, 2).transpose(0, 3, 1, 2)).reshape(100, *SHAPE)
    case.calibration = ([x], None)
    finding = case.only()
    assert finding.code == Code.LAYOUT
    assert "np.transpose(x, (0, 2, 3, 1))" in finding.remedy
    assert "reshape" in finding.remedy


def test_height_and_width_exchanged_are_found(case: Case) -> None:
    case.calibration = ([images(100, 2).transpose(0, 2, 1, 3)], None)
    finding = case.only()
    assert finding.code == Code.LAYOUT
    assert "np.transpose(x, (0, 2, 1, 3))" in finding.remedy


def test_inputs_in_the_wrong_order_are_found(case: Case) -> None:
    one, other = np.array([0.2, 0.4, 0.6, 0.8]), np.array([0.8, 0.1, 0.7, 0.3])

    def pair(count: int, seed: int) -> list[Array]:
        rng = np.random.default_rng(seed)
        return [(base + rng.normal(0, 0.2, (count, 4))).astype(np.float32) for base in (one, other)]

    case.inputs = (spec("left", (4,)), spec("right", (4,)))
    case.evaluation, case.train = (pair(200, 3), None), (pair(400, 4), None)
    case.calibration = (pair(100, 2)[::-1], None)
    finding = case.only()
    assert finding.code == Code.INPUT_ORDER
    assert "left and right exchanged" in finding.why
    assert "calibration" in finding.what


def test_skewed_calibration_samples_are_not_taken_for_another_order(case: Case) -> None:
    case.calibration = ([images(100, 2) + np.linspace(0, 0.3, 8, dtype=np.float32)[:, np.newaxis, np.newaxis]], None)
    assert case.codes() == []


def test_a_channel_that_varies_in_train_and_not_in_calibration_is_named(case: Case) -> None:
    x = images(100, 2)
    x[..., 1] = 0.5
    case.calibration = ([x], None)
    finding = case.only()
    assert finding.code == Code.CONSTANT
    assert finding.what == "1 of 3 channels never change in the calibration samples: 1"
    assert "train" in finding.why


def test_features_that_rarely_vary_may_be_constant_in_calibration(case: Case) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(3, 200, 10)).astype(np.float32)
    features[..., 4] = 0
    features[2, :2, 4] = 1
    case.inputs = (spec("features", (10,)),)
    case.calibration, case.evaluation, case.train = (([split], None) for split in features)
    assert case.codes() == []
    features[2, :100, 4] = 1
    case.calibration, case.evaluation, case.train = (([split], None) for split in features)
    assert case.codes() == [Code.CONSTANT]


def test_without_another_split_the_network_says_whether_a_constant_channel_matters(case: Case) -> None:
    x = images(100, 2)
    x[..., 2] = PATTERN[..., 2].mean() * LEVELS[2]
    case.calibration, case.evaluation, case.train = ([x], None), None, None
    case.more["view"] = Pointwise(x)
    assert case.only().code == Code.CONSTANT
    case.more["view"] = Pointwise(x, unused=(2,))
    assert case.codes() == []


def test_large_splits_are_looked_at_in_part(tmp_path: Any) -> None:
    part = part_in(tmp_path, "train", [np.zeros((5000, 2), np.float32)], None)
    assert (part.total, len(part.x[0]), len(part.digests)) == (5000, 1000, 5000)
    wide = part_in(tmp_path, "evaluation", [np.zeros((40, 4_000_000), np.uint8)], None)
    assert (wide.total, len(wide.x[0]), len(wide.digests)) == (40, 8, 32)
