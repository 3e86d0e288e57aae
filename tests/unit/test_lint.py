from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from edgebuild.core.finding import Code, Finding
from edgebuild.core.model import TensorSpec
from edgebuild.core.settings import Preprocess
from edgebuild.data.given import Array, Examples
from edgebuild.data.lint.checks import lint
from edgebuild.data.lint.subject import Norm, Part, Subject, part_of
from edgebuild.data.samples import Samples, save

RNG = np.random.default_rng(0)
CLASSES = 4
SHAPE = (8, 8, 3)
# Each place and channel of the images has a mean of its own, so that another order of axes shows.
PATTERN = RNG.random(SHAPE)
LEVELS = np.array([0.5, 1.0, 2.0])
AS_IT_IS = Preprocess(scale=1.0, mean=0.0)


def _images(count: int, seed: int = 1) -> Array:
    rng = np.random.default_rng(seed)
    return ((PATTERN + rng.normal(0, 0.3, (count, *SHAPE))) * LEVELS).astype(np.float32)


def _answers(count: int) -> Array:
    return np.arange(count) % CLASSES


def _spec(name: str, shape: tuple[int, ...]) -> TensorSpec:
    return TensorSpec(name=name, dtype="float32", shape=(-1, *shape))


def _part(tmp_path: Any, split: str, x: Sequence[Array], y: Array | None, preprocess: Preprocess = AS_IT_IS) -> Part:
    folder = tmp_path / split
    save(Examples(tuple(x), y), folder)
    return part_of(split, Samples(folder, preprocess), [_spec("", array.shape[1:]) for array in x])


class Pointwise:
    """A network that begins with a pointwise convolution and a batch norm that was trained on given images."""

    def __init__(self, trained_on: Array, unused: tuple[int, ...] = ()) -> None:
        self._kernel = np.random.default_rng(5).normal(size=(SHAPE[-1], 6))
        self._kernel[:, 0] = 1
        self._kernel[list(unused)] = 0
        seen = self._see(trained_on)
        self._moving = seen.mean(axis=0), seen.var(axis=0)

    def _see(self, x: Array) -> Array:
        return (x @ self._kernel).reshape(-1, 6)

    def norms(self, x: Sequence[Array]) -> tuple[Norm, ...]:
        seen = self._see(x[0])
        return (Norm(*self._moving, seen.mean(axis=0), seen.var(axis=0)),)

    def answers(self, x: Sequence[Array]) -> Array:
        return (x[0] @ self._kernel).reshape(len(x[0]), -1)


class Case:
    """A subject without faults; what a test plants is given by name."""

    def __init__(self, tmp_path: Any) -> None:
        self._folder = tmp_path
        self.calibration: tuple[Sequence[Array], Array | None] | None = ([_images(100, 2)], _answers(100))
        self.evaluation: tuple[Sequence[Array], Array | None] | None = ([_images(200, 3)], _answers(200))
        self.train: tuple[Sequence[Array], Array | None] | None = ([_images(400, 4)], _answers(400))
        self.more: dict[str, Any] = {"classes": CLASSES}
        self.preprocess = AS_IT_IS
        self.inputs: tuple[TensorSpec, ...] = (_spec("image", SHAPE),)

    def findings(self) -> tuple[Finding, ...]:
        splits = {"calibration": self.calibration, "evaluation": self.evaluation, "train": self.train}
        self._folder /= "look"
        self._folder.mkdir()
        parts = {
            name: None if given is None else _part(self._folder, name, *given, self.preprocess)
            for name, given in splits.items()
        }
        settings: dict[str, Any] = {"view": None, "preprocess": self.preprocess, **self.more}
        return lint(Subject(**parts, inputs=self.inputs, **settings))

    def codes(self) -> list[Code]:
        return [finding.code for finding in self.findings()]

    def only(self) -> Finding:
        (finding,) = self.findings()
        return finding


@pytest.fixture
def case(tmp_path: Any) -> Case:
    return Case(tmp_path)


def test_good_data_are_not_warned_of(case: Case) -> None:
    assert case.codes() == []
    case.more["view"] = Pointwise(_images(400, 9))
    assert case.codes() == []


def test_calibrating_with_few_samples_is_warned_of_with_what_they_miss(case: Case) -> None:
    case.calibration = ([_images(19, 2)], _answers(19))
    finding = case.only()
    assert finding.code == Code.TOO_FEW
    assert finding.what.startswith("19 different")
    assert "10% of new inputs" in finding.why


def test_the_same_sample_all_over_is_not_called_a_few_duplicates(case: Case) -> None:
    case.calibration = ([np.repeat(_images(1), 100, axis=0)], None)
    case.train = case.evaluation = None
    assert case.only().code == Code.REPEATED


def test_duplicates_are_counted(case: Case) -> None:
    case.calibration = ([np.concatenate([_images(80, 2), _images(20, 2)])], None)
    finding = case.only()
    assert (finding.code, finding.what[:9]) == (Code.DUPLICATES, "20 of 100")


def test_a_few_duplicates_are_as_in_real_data(case: Case) -> None:
    case.calibration = ([np.concatenate([_images(97, 2), _images(3, 2)])], None)
    assert case.codes() == []


def test_samples_in_two_splits_are_found_wherever_they_stand(case: Case) -> None:
    evaluation = _images(200, 3)
    case.calibration = ([np.concatenate([_images(60, 2), evaluation[100:140]])], None)
    finding = case.only()
    assert finding.code == Code.CALIBRATION_IN_EVALUATION
    assert finding.what.startswith("40 of 200")


def test_a_few_shared_samples_are_found_where_nothing_else_occurs_twice(case: Case) -> None:
    case.calibration = ([np.concatenate([_images(97, 2), _images(200, 3)[100:103]])], None)
    finding = case.only()
    assert finding.code == Code.CALIBRATION_IN_EVALUATION
    assert finding.what.startswith("3 of 200")


def test_a_few_shared_samples_are_as_in_real_data_where_more_occur_twice_in_a_split(case: Case) -> None:
    case.calibration = ([np.concatenate([_images(97, 2), _images(200, 3)[100:103]])], None)
    train = _images(400, 4)
    case.train = ([np.concatenate([train[:390], train[:10]])], None)
    assert case.codes() == []


def test_a_single_shared_sample_is_as_in_real_data(case: Case) -> None:
    case.calibration = ([np.concatenate([_images(99, 2), _images(200, 3)[100:101]])], None)
    assert case.codes() == []


def test_samples_of_few_different_values_are_in_every_split(case: Case) -> None:
    rng = np.random.default_rng(0)
    table = rng.integers(0, 10, (500, 2)).astype(np.float32)
    case.inputs = (_spec("features", (2,)),)
    case.calibration, case.train = None, ([table], None)
    case.evaluation = ([np.concatenate([table[:8], rng.uniform(0, 9, (192, 2)).astype(np.float32)])], None)
    assert case.codes() == []


def test_the_duplicates_of_real_recordings_are_no_overlap(case: Case, assets: Any) -> None:
    if not (assets / "kws" / "kws.npz").is_file():
        pytest.skip("the Speech Commands are not there")
    data = np.load(assets / "kws" / "kws.npz")
    x = data["x_train"]
    case.inputs = (_spec("features", x.shape[1:]),)
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
    case.calibration = ([_images(100, 2) * np.float32(factor)], None)
    finding = case.only()
    assert finding.code == Code.RANGE
    assert f"times {1 / factor:.4g}" in finding.why


def _within_one(count: int, seed: int, shape: tuple[int, ...] = (8, 8, 1)) -> Array:
    """Dark images, with something black and something white in any number of them."""
    x = np.random.default_rng(seed).beta(0.5, 3, (count, *shape)).astype(np.float32)
    x[0, 0, 0], x[0, 0, 1] = 0, 1
    return x


def test_inverted_images_are_found_by_their_mean_since_their_range_is_the_same(case: Case) -> None:
    case.inputs = (_spec("image", (8, 8, 1)),)
    case.calibration, case.evaluation = ([1 - _within_one(100, 2)], None), None
    case.train = ([_within_one(400, 4)], None)
    finding = case.only()
    assert finding.code == Code.RANGE
    assert finding.what == "the calibration samples have another mean than those of train"
    given, wanted = (float(split[0][0].mean()) for split in (case.calibration, case.train))
    assert finding.why == f"The mean is {given:.4g}, and {wanted:.4g} in train."


def test_samples_that_vary_less_are_found_by_their_deviation(case: Case) -> None:
    case.inputs = (_spec("left", (8, 8, 1)), _spec("right", (8, 8, 2)))
    left, right = _within_one(400, 4), _within_one(400, 5, (8, 8, 2))
    flat = (right[:100] - right.mean()) * 0.2 + right.mean()
    flat[0, 0, 0], flat[0, 0, 1] = 0, 1
    case.calibration, case.evaluation = ([left[:100], flat], None), None
    case.train = ([left, right], None)
    finding = case.only()
    assert finding.what == "the calibration samples have another deviation than those of train"
    assert re.match(r"The deviation of channel [01] of right is 0\.\d+, and 0\.\d+ in train\.$", finding.why)


def test_data_that_the_network_was_not_trained_on_are_found_with_the_setting_that_mends_them(case: Case) -> None:
    case.more["view"] = Pointwise(_images(400, 9))
    raw = [([(given[0][0] * 255)], given[1]) for given in (case.calibration, case.evaluation, case.train) if given]
    case.calibration, case.evaluation, case.train = raw
    finding = case.only()
    assert finding.code == Code.NORMALIZATION
    assert finding.what.startswith("the calibration, evaluation and train samples")
    assert finding.remedy == "Set [preprocess] scale = 0.00392157 and mean = 0."


def test_the_setting_that_mends_data_takes_the_one_there_is_into_account(case: Case) -> None:
    case.more["view"] = Pointwise(_images(400, 9))
    case.train = case.evaluation = None
    case.calibration = ([_images(100, 2) * 255], None)
    case.preprocess = Preprocess(scale=1 / 127.5, mean=127.5)  # gives -1..1 where 0..1 is wanted
    assert case.only().remedy == "Set [preprocess] scale = 0.00392157 and mean = 0."


def test_one_split_that_does_not_fit_the_network_is_mended_by_itself(case: Case) -> None:
    case.more["view"] = Pointwise(_images(400, 9))
    case.calibration = ([_images(100, 2) * 255], None)
    finding = case.only()
    assert finding.what.startswith("the calibration samples are not in the range")
    assert finding.remedy == "Scale them so in the data: the other splits fit as they are."


def test_statistics_of_a_short_training_are_no_misfit(case: Case) -> None:
    class Short(Pointwise):
        def norms(self, x: Sequence[Array]) -> tuple[Norm, ...]:
            (norm,) = super().norms(x)
            mean, variance = norm.moving_mean, norm.moving_variance
            return (norm._replace(moving_mean=0.4 * mean, moving_variance=0.6 + 0.4 * variance),)

    case.more["view"] = Short(_images(400, 9))
    assert case.codes() == []


@pytest.mark.parametrize("view", [None, Pointwise(_images(400, 9))], ids=["train split", "batch norm"])
def test_channels_first_in_the_shape_of_channels_last_are_found(case: Case, view: Any) -> None:
    case.more["view"] = view
    x = np.ascontiguousarray(_images(100, 2).transpose(0, 3, 1, 2)).reshape(100, *SHAPE)
    case.calibration = ([x], None)
    finding = case.only()
    assert finding.code == Code.LAYOUT
    assert "np.transpose(x, (0, 2, 3, 1))" in finding.remedy
    assert "reshape" in finding.remedy


def test_height_and_width_exchanged_are_found(case: Case) -> None:
    case.calibration = ([_images(100, 2).transpose(0, 2, 1, 3)], None)
    finding = case.only()
    assert finding.code == Code.LAYOUT
    assert "np.transpose(x, (0, 2, 1, 3))" in finding.remedy


def test_inputs_in_the_wrong_order_are_found(case: Case) -> None:
    one, other = np.array([0.2, 0.4, 0.6, 0.8]), np.array([0.8, 0.1, 0.7, 0.3])

    def pair(count: int, seed: int) -> list[Array]:
        rng = np.random.default_rng(seed)
        return [(base + rng.normal(0, 0.2, (count, 4))).astype(np.float32) for base in (one, other)]

    case.inputs = (_spec("left", (4,)), _spec("right", (4,)))
    case.evaluation, case.train = (pair(200, 3), None), (pair(400, 4), None)
    case.calibration = (pair(100, 2)[::-1], None)
    finding = case.only()
    assert finding.code == Code.INPUT_ORDER
    assert "left and right exchanged" in finding.why
    assert "calibration" in finding.what


def test_skewed_calibration_samples_are_not_taken_for_another_order(case: Case) -> None:
    case.calibration = ([_images(100, 2) + np.linspace(0, 0.3, 8, dtype=np.float32)[:, np.newaxis, np.newaxis]], None)
    assert case.codes() == []


def test_a_channel_that_varies_in_train_and_not_in_calibration_is_named(case: Case) -> None:
    x = _images(100, 2)
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
    case.inputs = (_spec("features", (10,)),)
    case.calibration, case.evaluation, case.train = (([split], None) for split in features)
    assert case.codes() == []
    features[2, :100, 4] = 1
    case.calibration, case.evaluation, case.train = (([split], None) for split in features)
    assert case.codes() == [Code.CONSTANT]


def test_without_another_split_the_network_says_whether_a_constant_channel_matters(case: Case) -> None:
    x = _images(100, 2)
    x[..., 2] = PATTERN[..., 2].mean() * LEVELS[2]
    case.calibration, case.evaluation, case.train = ([x], None), None, None
    case.more["view"] = Pointwise(x)
    assert case.only().code == Code.CONSTANT
    case.more["view"] = Pointwise(x, unused=(2,))
    assert case.codes() == []


def test_missing_classes_are_named(case: Case) -> None:
    case.more["labels"] = ("cat", "dog", "cow", "hen")
    case.calibration = ([_images(100, 2)], _answers(100) % 3)
    finding = case.only()
    assert finding.code == Code.MISSING_CLASSES
    assert finding.what == "calibration has no sample of 1 class of 4"
    assert "hen (3)" in finding.why


def test_a_class_that_is_missing_from_evaluation_is_known_by_the_outputs(case: Case) -> None:
    case.calibration, case.train = None, None
    case.evaluation = ([_images(200, 3)], _answers(200) % 3)
    assert case.only().what.startswith("evaluation has no sample")


def test_a_sorted_file_of_which_every_split_has_the_same_class_is_found(case: Case) -> None:
    case.calibration = ([_images(100, 2)], np.zeros(100, np.int64))
    case.evaluation = ([_images(200, 3)], np.zeros(200, np.int64))
    case.train = ([_images(400, 4)], np.zeros(400, np.int64))
    found = [(finding.code, finding.what) for finding in case.findings()]
    assert found == [
        (Code.MISSING_CLASSES, "calibration has no sample of 3 classes of 4"),
        (Code.MISSING_CLASSES, "evaluation has no sample of 3 classes of 4"),
        (Code.IMBALANCE, "100% of the evaluation samples are of class 0"),
    ]
    case.more["classes"] = 2
    assert {finding.code for finding in case.findings()} == {Code.MISSING_CLASSES, Code.IMBALANCE}


def test_a_short_piece_of_a_sorted_file_is_found_too(case: Case) -> None:
    case.more["classes"] = 10
    case.calibration, case.evaluation = None, ([_images(30, 3)], np.arange(30) % 2)
    case.train = ([_images(400, 4)], np.arange(400) % 2)
    finding = case.only()
    assert (finding.code, finding.what) == (Code.MISSING_CLASSES, "evaluation has no sample of 8 classes of 10")


def test_spare_outputs_without_samples_are_no_missing_classes(case: Case) -> None:
    case.more["classes"] = CLASSES + 2
    assert case.codes() == []


def test_classes_may_be_missing_where_samples_are_fewer_than_classes(case: Case) -> None:
    case.more["classes"] = 1000
    rng = np.random.default_rng(0)
    case.calibration = ([_images(100, 2)], rng.integers(0, 1000, 100))
    case.evaluation, case.train = None, ([_images(4000, 4)], np.arange(4000) % 1000)
    assert case.codes() == []


def test_a_class_that_stands_for_nearly_all_is_warned_of(case: Case) -> None:
    y = _answers(200)
    y[20:] = 2
    case.evaluation = ([_images(200, 3)], y)
    finding = case.only()
    assert finding.code == Code.IMBALANCE
    assert "always answers 2 would be right in 92%" in finding.why
    case.more["counts_hits"] = False
    assert case.codes() == []


def test_calibration_as_imbalanced_as_train_is_as_it_should_be(case: Case) -> None:
    y = _answers(400)
    y[40:] = 2
    case.calibration, case.train, case.evaluation = ([_images(100, 2)], y[::3][:100]), ([_images(400, 4)], y), None
    assert case.codes() == []
    case.train = ([_images(400, 4)], _answers(400))
    assert case.codes() == [Code.IMBALANCE]


@pytest.mark.parametrize(("classes", "hits", "total"), [(4, 30, 200), (2, 75, 200), (10, 3, 200)])
def test_a_network_that_is_right_less_often_than_guessing_is_told(
    case: Case, classes: int, hits: int, total: int
) -> None:
    case.calibration = case.train = None
    case.evaluation = ([_images(total, 3)], np.arange(total) % classes)
    case.more.update(classes=classes, hits=hits)
    finding = case.only()
    assert finding.code == Code.BELOW_CHANCE
    assert f"{hits} of {total}" in finding.what
    assert f"Guessing among {classes} classes is right in {100 / classes:.3g}%" in finding.why


@pytest.mark.parametrize(("classes", "hits"), [(4, 40), (4, 50), (4, 200), (2, 85), (10, 9)])
def test_a_network_that_guesses_may_hit_somewhat_less(case: Case, classes: int, hits: int) -> None:
    case.calibration = case.train = None
    case.evaluation = ([_images(200, 3)], np.arange(200) % classes)
    case.more.update(classes=classes, hits=hits)
    assert case.codes() == []


def test_classes_counted_from_one_are_found(case: Case) -> None:
    case.train = ([_images(400, 4)], _answers(400) + 1)
    finding = case.only()
    assert finding.code == Code.OUT_OF_RANGE
    assert finding.what.startswith("100 of 400 train answers")
    assert finding.remedy.startswith("Subtract 1")


def test_answers_that_are_no_whole_numbers_are_found(case: Case) -> None:
    case.train = ([_images(400, 4)], _answers(400) * 0.3)
    assert case.only().code == Code.NOT_INTEGERS


def test_one_hot_answers_and_other_metrics_are_no_faults(case: Case) -> None:
    case.train = ([_images(400, 4)], np.eye(CLASSES)[_answers(400)])
    assert case.codes() == []
    case.more["classes"] = 0
    case.train = ([_images(400, 4)], _answers(400) * 0.3)
    assert case.codes() == []


def test_large_splits_are_looked_at_in_part(tmp_path: Any) -> None:
    part = _part(tmp_path, "train", [np.zeros((5000, 2), np.float32)], None)
    assert (part.total, len(part.x[0]), len(part.digests)) == (5000, 1000, 5000)
    wide = _part(tmp_path, "evaluation", [np.zeros((40, 4_000_000), np.uint8)], None)
    assert (wide.total, len(wide.x[0]), len(wide.digests)) == (40, 8, 32)
