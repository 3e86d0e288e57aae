"""Faults of answers: classes that are missing, imbalanced, misnumbered, or hardly those of the network."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from lint_cases import CLASSES, Case, Pointwise, answers, images

from edgebuild.core.finding import Code, Gravity
from edgebuild.data.given import Examples, Given, ordered
from edgebuild.data.lint import orders
from edgebuild.errors import UsageError


@pytest.fixture
def case(tmp_path: Any) -> Case:
    return Case(tmp_path)


def test_missing_classes_are_named(case: Case) -> None:
    case.more["labels"] = ("cat", "dog", "cow", "hen")
    case.calibration = ([images(100, 2)], answers(100) % 3)
    finding = case.only()
    assert finding.code == Code.MISSING_CLASSES
    assert finding.what == "calibration has no sample of 1 class of 4"
    assert "hen (3)" in finding.why


def test_a_class_that_is_missing_from_evaluation_is_known_by_the_outputs(case: Case) -> None:
    case.calibration, case.train = None, None
    case.evaluation = ([images(200, 3)], answers(200) % 3)
    assert case.only().what.startswith("evaluation has no sample")


def test_a_sorted_file_of_which_every_split_has_the_same_class_is_found(case: Case) -> None:
    case.calibration = ([images(100, 2)], np.zeros(100, np.int64))
    case.evaluation = ([images(200, 3)], np.zeros(200, np.int64))
    case.train = ([images(400, 4)], np.zeros(400, np.int64))
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
    case.calibration, case.evaluation = None, ([images(60, 3)], np.arange(60) % 2)
    case.train = ([images(400, 4)], np.arange(400) % 2)
    finding = case.only()
    assert (finding.code, finding.what) == (Code.MISSING_CLASSES, "evaluation has no sample of 8 classes of 10")


def test_spare_outputs_without_samples_are_no_missing_classes(case: Case) -> None:
    case.more["classes"] = CLASSES + 2
    assert case.codes() == []


def test_classes_may_be_missing_where_samples_are_fewer_than_classes(case: Case) -> None:
    case.more["classes"] = 1000
    rng = np.random.default_rng(0)
    case.calibration = ([images(100, 2)], rng.integers(0, 1000, 100))
    case.evaluation, case.train = None, ([images(4000, 4)], np.arange(4000) % 1000)
    assert case.codes() == []


def test_a_class_that_stands_for_nearly_all_is_warned_of(case: Case) -> None:
    y = answers(200)
    y[20:] = 2
    case.evaluation = ([images(200, 3)], y)
    finding = case.only()
    assert finding.code == Code.IMBALANCE
    assert "always answers 2 would be right in 92%" in finding.why
    case.more["counts_hits"] = False
    assert case.codes() == []


def test_calibration_as_imbalanced_as_train_is_as_it_should_be(case: Case) -> None:
    y = answers(400)
    y[40:] = 2
    case.calibration, case.train, case.evaluation = ([images(100, 2)], y[::3][:100]), ([images(400, 4)], y), None
    assert case.codes() == []
    case.train = ([images(400, 4)], answers(400))
    assert case.codes() == [Code.IMBALANCE]


@pytest.mark.parametrize(("classes", "hits", "total"), [(4, 30, 200), (2, 75, 200), (10, 3, 200)])
def test_a_network_that_is_right_less_often_than_guessing_is_told(
    case: Case, classes: int, hits: int, total: int
) -> None:
    case.calibration = case.train = None
    case.evaluation = ([images(total, 3)], np.arange(total) % classes)
    case.more.update(classes=classes, hits=hits)
    finding = case.only()
    assert finding.code == Code.BELOW_CHANCE
    assert f"{hits} of {total}" in finding.what
    assert f"Guessing among {classes} classes is right in {100 / classes:.3g}%" in finding.why


@pytest.mark.parametrize(("classes", "hits"), [(4, 40), (4, 50), (4, 200), (2, 85), (10, 9)])
def test_a_network_that_guesses_may_hit_somewhat_less(case: Case, classes: int, hits: int) -> None:
    case.calibration = case.train = None
    case.evaluation = ([images(200, 3)], np.arange(200) % classes)
    case.more.update(classes=classes, hits=hits)
    assert case.codes() == []


def test_classes_counted_from_one_are_found(case: Case) -> None:
    case.train = ([images(400, 4)], answers(400) + 1)
    finding = case.only()
    assert finding.code == Code.OUT_OF_RANGE
    assert finding.what.startswith("100 of 400 train answers")
    assert finding.remedy.startswith("Subtract 1")


def test_answers_that_are_no_whole_numbers_are_found(case: Case) -> None:
    case.train = ([images(400, 4)], answers(400) * 0.3)
    assert case.only().code == Code.NOT_INTEGERS


def test_one_hot_answers_and_other_metrics_are_no_faults(case: Case) -> None:
    case.train = ([images(400, 4)], np.eye(CLASSES)[answers(400)])
    assert case.codes() == []
    case.more["classes"] = 0
    case.train = ([images(400, 4)], answers(400) * 0.3)
    assert case.codes() == []


class Knowing:
    """A network that knows the class that a sample was planted with, but for one sample in so many."""

    def __init__(self, classes: int, wrong_each: int = 10) -> None:
        self._classes, self._wrong_each = classes, wrong_each

    def norms(self, x: Any) -> tuple[Any, ...]:
        return ()

    def answers(self, x: Any) -> Any:
        known = np.round(x[0][:, 0, 0, 0]).astype(int)
        known[:: self._wrong_each] += 1
        return np.eye(self._classes)[known % self._classes]


def _planted(classes: int, total: int = 200) -> tuple[Any, Any]:
    x, known = images(total, 3), np.random.default_rng(2).integers(0, classes, total)
    x[:, 0, 0, 0] = known
    return x, known


@pytest.mark.parametrize(
    ("classes", "renumber", "remedy"),
    [
        (3, lambda known: (known + 1) % 3, "y = (y + 2) % 3"),
        (2, lambda known: 1 - known, "y = (y + 1) % 2"),
        (4, lambda known: np.array([0, 2, 1, 3])[known], "1 is 2, 2 is 1"),
    ],
    ids=["shifted", "flipped", "exchanged"],
)
def test_labels_in_another_order_end_a_build_with_the_one_that_fits(
    case: Case, classes: int, renumber: Any, remedy: str
) -> None:
    x, known = _planted(classes)
    labels = renumber(known)
    hits = int((np.round(x[:, 0, 0, 0]) == labels).sum()) if classes < 4 else 50
    case.calibration = case.train = None
    case.evaluation = ([x], labels)
    case.more.update(classes=classes, hits=hits, view=Knowing(classes))
    finding = case.only()
    assert (finding.code, finding.level) == (Code.BELOW_CHANCE, Gravity.ERROR)
    assert remedy in finding.remedy
    # With names for the classes the remedy is a setting, which mends the labels.
    names = tuple("abcd"[:classes])
    case.more.update(labels=names)
    listed = json.loads(re.findall(r"labels = (\[.*\])", case.only().remedy)[0])
    given = Given(evaluation=Examples((x,), labels), labels=names)
    mended = ordered(given, tuple(listed), "data").evaluation
    assert mended is not None
    assert np.array_equal(mended.y, known)
    one_hot = Given(evaluation=Examples((x,), np.eye(classes)[labels]), labels=names)
    turned = ordered(one_hot, tuple(listed), "data").evaluation
    assert turned is not None
    assert np.array_equal(turned.y, np.eye(classes)[known])


def test_an_order_of_classes_lists_each_of_them_once() -> None:
    given = Given(train=Examples((np.zeros((3, 1)),), np.array([0, 1, 255])), labels=("no", "yes"))
    assert ordered(given._replace(labels=()), ("no", "yes"), "data").labels == ("no", "yes")
    for listed, message in ((("yes",), "does not list no"), (("no", "no", "yes"), "lists a class twice")):
        with pytest.raises(UsageError, match=message):
            ordered(given, listed, "data")
    more = ordered(given, ("maybe", "yes", "no"), "data")
    assert more.train is not None
    assert more.train.y is not None
    assert more.train.y.tolist() == [2, 1, 255]  # what is no class, a label to be ignored, stays


class InARange:
    """A network without batch norms that knows classes in samples of one range alone."""

    def __init__(self, scale: float) -> None:
        self._scale, self._knowing = scale, Knowing(3)

    def norms(self, x: Any) -> tuple[Any, ...]:
        return ()

    def answers(self, x: Any) -> Any:
        if np.abs(x[0]).max() > 100 * self._scale:
            return np.eye(3)[np.zeros(len(x[0]), int)]
        return self._knowing.answers([x[0] / self._scale])


def test_a_range_is_found_by_what_a_network_without_batch_norms_predicts(case: Case) -> None:
    x, known = _planted(3)
    case.calibration = case.train = None
    case.evaluation = ([x * 255], known)
    case.more.update(classes=3, hits=int((known == 0).sum()), view=InARange(1.0))
    finding = case.only()
    assert (finding.code, finding.level) == (Code.NORMALIZATION, Gravity.ERROR)
    assert finding.remedy == "Set [preprocess] scale = 0.00392157 and mean = 0."
    assert "180 of 200" in finding.why
    case.evaluation = ([x], known)
    case.more.update(hits=180)
    assert case.codes() == []


class Misled(Pointwise):
    """A network whose first batch norm was trained on samples of another range, and whose predictions know nothing."""

    def answers(self, x: Any) -> Any:
        return np.eye(CLASSES)[np.zeros(len(x[0]), int)]


def test_a_range_that_makes_nothing_better_ends_no_build(case: Case) -> None:
    case.calibration = case.train = None
    case.evaluation = ([images(200, 3) * 255], answers(200))
    case.more.update(hits=50, view=Misled(images(400, 9)))
    finding = case.only()
    assert (finding.code, finding.level) == (Code.NORMALIZATION, Gravity.WARNING)


def test_a_network_that_only_guesses_has_no_order_that_would_fit(case: Case) -> None:
    x, _ = _planted(3)
    case.calibration = case.train = None
    case.evaluation = ([x], np.random.default_rng(9).integers(0, 3, 200))
    case.more.update(classes=3, hits=30, view=Knowing(3))
    finding = case.only()
    assert (finding.code, finding.level) == (Code.BELOW_CHANCE, Gravity.WARNING)


def test_labels_in_their_order_are_left_alone(case: Case) -> None:
    x, known = _planted(3)
    case.calibration = case.train = None
    case.evaluation = ([x], known)
    case.more.update(classes=3, hits=180, view=Knowing(3))
    assert case.codes() == []


class Single(Knowing):
    """The same of two classes, with a single output: a logit."""

    def answers(self, x: Any) -> Any:
        return super().answers(x)[:, 1:] * 6 - 3


def test_yes_and_no_that_are_exchanged_are_found_of_a_single_output_too(case: Case) -> None:
    x, known = _planted(2)
    case.calibration = case.train = None
    case.evaluation = ([x], 1 - known)
    case.more.update(classes=2, hits=20, view=Single(2), threshold=0.0)
    finding = case.only()
    assert (finding.code, finding.level) == (Code.BELOW_CHANCE, Gravity.ERROR)
    assert "predicts 20 of 200 evaluation samples right; renumbered, 180." in finding.why
    assert "y = (y + 1) % 2" in finding.remedy
    case.evaluation = ([x], known)
    case.more.update(hits=180)
    assert case.codes() == []


def test_two_exchanged_classes_are_found_of_a_network_that_is_right_about_the_rest(case: Case) -> None:
    x, known = _planted(5, 300)
    labels = np.array([0, 3, 2, 1, 4])[known]
    case.calibration = case.train = None
    case.evaluation = ([x], labels)
    hits = int((known == labels).sum())
    case.more.update(classes=5, hits=hits, view=Knowing(5), labels=("owl", "rat", "cat", "dog", "hen"))
    finding = case.only()
    assert (finding.code, finding.level) == (Code.LABEL_ORDER, Gravity.WARNING)
    assert finding.what == "2 of 5 classes seem to have each other's numbers"
    said = re.search(r"predicts 0 of their (\d+) evaluation samples right; renumbered, (\d+)\.", finding.why)
    assert said is not None
    assert int(said[1]) == 300 - hits
    assert 0.8 * int(said[1]) < int(said[2]) <= int(said[1])
    assert "y_train with it: 1 is 3, 3 is 1 (the other classes keep their numbers);" in finding.remedy
    # What it says to do mends them.
    listed = json.loads(re.findall(r"labels = (\[.*\])", finding.remedy)[0])
    mended = ordered(Given(evaluation=Examples((x,), labels), labels=case.more["labels"]), tuple(listed), "data")
    assert mended.evaluation is not None
    case.evaluation = ([x], mended.evaluation.y)
    case.more.update(hits=300, labels=tuple(listed))
    assert case.codes() == []


@pytest.mark.parametrize(("classes", "share"), [(3, 0.9), (10, 0.5), (40, 0.8)])
def test_exchanged_classes_are_told_from_what_a_network_confuses(classes: int, share: float) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, classes, 1000)
        predicted = np.where(rng.random(1000) < share, labels, rng.integers(0, classes, 1000))
        # One class is mostly taken for another, which is no exchange.
        confused = np.where((labels == 0) & (rng.random(1000) < 0.7), 1, predicted)
        assert orders.exchanged(labels, confused, classes) == {}
        swapped = np.where(labels < 2, 1 - labels, labels)
        assert orders.exchanged(swapped, predicted, classes) == {0: 1, 1: 0}


def test_few_samples_tell_no_order() -> None:
    labels = np.arange(10) % 5
    assert orders.exchanged(labels, np.array([0, 3, 2, 1, 4])[labels], 5) == {}


def test_few_evaluation_samples_are_told_where_they_are_scored(case: Case) -> None:
    case.calibration = case.train = None
    case.evaluation = ([images(46, 3)], answers(46))
    finding = case.only()
    assert (finding.code, finding.level) == (Code.TOO_FEW, Gravity.WARNING)
    assert finding.what == "46 evaluation samples: too few"
    assert "+-14%" in finding.why
    case.evaluation = ([images(46, 3)], None)
    assert case.codes() == []
