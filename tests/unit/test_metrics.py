from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from making import ACCURACY, metric
from sklearn.metrics import roc_auc_score

from edgebuild.errors import StepError, UsageError
from edgebuild.metrics import load_callable, score

SCORES = np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.1, 0.6, 0.3]], np.float32)
CLASSES = np.array([1, 0, 1, 2])


@pytest.mark.parametrize(
    "y",
    [CLASSES, CLASSES[:, np.newaxis], CLASSES.astype(np.float32), CLASSES.astype(np.uint8), np.eye(3)[CLASSES]],
    ids=["numbers", "column", "float", "uint8", "one-hot"],
)
def test_accuracy_is_the_share_of_right_answers_in_each_form_of_them(y: np.ndarray) -> None:
    assert score(SCORES, y, ACCURACY) == 0.5


@pytest.mark.parametrize(
    "y", [np.array([1, 0, 0, 1]), np.array([[1], [0], [0], [1]]), np.array([True, False, False, True])]
)
def test_one_output_is_a_yes_above_one_half(y: np.ndarray) -> None:
    assert score(np.array([[0.9], [0.4], [0.6], [0.51]]), y, ACCURACY) == 0.75


def test_accuracy_counts_every_position_of_a_map() -> None:
    outputs = np.eye(3)[np.array([[0, 1], [2, 2]])]
    assert score(outputs, np.array([[0, 1], [2, 0]]), ACCURACY) == 0.75


@pytest.mark.parametrize(("k", "expected"), [(1, 0.5), (2, 1.0), (9, 1.0)])
def test_top_k_takes_the_k_best_answers(k: int, expected: float) -> None:
    outputs = np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.1, 0.6, 0.3]])
    assert score(outputs, CLASSES, metric("top-k", k=k)) == expected


def test_top_k_is_not_generous_when_all_scores_are_equal() -> None:
    assert score(np.zeros((4, 10)), np.array([0, 3, 8, 9]), metric("top-k", k=2)) == 0.25


def _some(classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.integers(0, classes, 200)
    raw = rng.random((200, classes)) + np.eye(classes)[y] * 0.4
    return (raw / raw.sum(axis=1, keepdims=True)).astype(np.float64), y


def test_auc_of_one_output_is_that_of_scikit_learn() -> None:
    outputs, y = _some(2)
    assert score(outputs[:, 1:], y, metric("auc")) == pytest.approx(roc_auc_score(y, outputs[:, 1]))


def test_auc_of_two_classes_is_that_of_the_second() -> None:
    outputs, y = _some(2)
    expected = roc_auc_score(y, outputs[:, 1])
    assert score(outputs, y, metric("auc")) == pytest.approx(expected)
    assert score(outputs, np.eye(2)[y], metric("auc")) == pytest.approx(expected)


def test_auc_of_many_classes_is_the_mean_of_each_against_the_rest() -> None:
    outputs, y = _some(4)
    assert score(outputs, y, metric("auc")) == pytest.approx(roc_auc_score(y, outputs, multi_class="ovr"))


def test_auc_leaves_out_a_class_that_no_sample_has() -> None:
    outputs, y = _some(4)
    kept = y != 3
    columns = [roc_auc_score(y[kept] == k, outputs[kept, k]) for k in range(3)]
    assert score(outputs[kept], y[kept], metric("auc")) == pytest.approx(np.mean(columns))


@pytest.mark.parametrize("width", [1, 2, 3])
def test_auc_of_answers_of_one_class_alone_is_refused(width: int) -> None:
    outputs, _ = _some(3)
    with pytest.raises((UsageError, StepError)):
        score(outputs[:, :width], np.zeros(len(outputs), np.int64), metric("auc"))


def test_errors_are_means_over_all_values() -> None:
    outputs = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    y = np.array([[1.0, 4.0], [3.0, 1.0]])
    assert score(outputs, y, metric("mse")) == (4 + 9) / 4
    assert score(outputs, y, metric("mae")) == (2 + 3) / 4


def test_errors_take_answers_without_the_trailing_axis_and_of_whole_numbers() -> None:
    outputs = np.array([[1.0], [3.0]], np.float32)
    assert score(outputs, np.array([2, 250], np.uint8), metric("mae")) == (1 + 247) / 2


@pytest.mark.parametrize(
    ("name", "outputs", "y"),
    [
        ("accuracy", (4, 3), (3,)),
        ("accuracy", (4, 3), (4, 2)),
        ("top-k", (4, 3), (4, 5)),
        ("auc", (4, 3), (5,)),
        ("mse", (4, 2), (4,)),
        ("mae", (4, 2), (4, 3)),
        ("accuracy", (4, 1), (4, 2)),
        ("auc", (4, 1), (4, 2)),
    ],
)
def test_answers_of_another_shape_are_refused(name: str, outputs: tuple[int, ...], y: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="the answers have the shape"):
        score(np.zeros(outputs), np.zeros(y, np.int64), metric(name))


@pytest.mark.parametrize("name", ["accuracy", "top-k", "auc"])
@pytest.mark.parametrize("wrong", [-1, 3])
def test_an_answer_that_is_no_class_is_refused(name: str, wrong: int) -> None:
    with pytest.raises(UsageError, match="1 of 4 answers name classes") as caught:
        score(SCORES, np.array([1, 0, wrong, 2]), metric(name))
    assert caught.value.why.endswith("its classes from 0 to 2.")
    assert caught.value.remedy


def _refused(outputs: np.ndarray, y: np.ndarray, name: str = "accuracy") -> UsageError:
    with pytest.raises(UsageError) as caught:
        score(outputs, y, metric(name))
    return caught.value


@pytest.mark.parametrize("name", ["accuracy", "top-k", "auc"])
def test_classes_counted_from_one_are_refused_with_what_mends_them(name: str) -> None:
    error = _refused(SCORES, CLASSES + 1, name)
    assert error.why == "They go from 1 to 3, its classes from 0 to 2."
    assert error.remedy == "Subtract 1: classes are counted from 0."
    assert _refused(SCORES, CLASSES - 1, name).remedy == "Add 1: classes are counted from 0."


@pytest.mark.parametrize("name", ["accuracy", "top-k", "auc"])
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_answers_that_are_not_finite_are_called_so(name: str, wrong: float) -> None:
    error = _refused(SCORES, np.array([1, 0, wrong, wrong]), name)
    assert error.what == "2 of 4 answers are NaN or infinite"
    assert "sample 2" in error.why
    assert error.remedy
    one_hot = np.eye(3)[CLASSES]
    one_hot[2, 1] = wrong
    assert _refused(SCORES, one_hot, name).what == "1 of 12 answers are NaN or infinite"


def test_answers_between_classes_are_refused_with_what_is_taken() -> None:
    error = _refused(SCORES, np.array([0.5, 1, 0, 1.25]))
    assert error.what == "2 of 4 answers are not whole numbers"
    assert "0.5" in error.why
    assert error.remedy == "Give class numbers from 0 to 2 or one-hot rows."
    assert score(SCORES, CLASSES, ACCURACY) == score(SCORES, np.eye(3)[CLASSES], ACCURACY)


def test_classes_by_other_numbers_are_refused_with_those_that_are_taken() -> None:
    error = _refused(SCORES[:, :2], 255 * (CLASSES > 0))
    assert error.why == "They go from 0 to 255, its classes from 0 to 1."
    assert "(0 for 0, 1 for 255, if that is their order)" in error.remedy
    assert score(SCORES[:, :2], (CLASSES > 0).astype(int), ACCURACY) == 1.0
    assert "They are 4 different ones" in _refused(SCORES, np.array([0, 1, 2, 255])).remedy


@pytest.mark.parametrize("name", ["accuracy", "auc"])
@pytest.mark.parametrize(
    ("y", "told", "remedy"),
    [
        ([-1, 1, 1, -1], "2 of 4 answers name classes", "Give 0 in place of -1"),
        ([1, 2, 2, 1], "2 of 4 answers name classes", "Subtract 1"),
        ([0, 255, 255, 0], "2 of 4 answers name classes", "Number the classes"),
        ([0, np.nan, 1, 0], "1 of 4 answers are NaN", "Leave these samples out"),
    ],
)
def test_one_output_takes_no_answers_but_no_and_yes(name: str, y: list[float], told: str, remedy: str) -> None:
    error = _refused(np.array([[0.9], [0.4], [0.6], [0.51]]), np.array(y), name)
    assert error.what.startswith(told)
    assert error.remedy.startswith(remedy)


def test_one_output_takes_probabilities_for_answers() -> None:
    assert score(np.array([[0.9], [0.4], [0.6], [0.51]]), np.array([0.9, 0.1, 0.2, 1.0]), ACCURACY) == 0.75


@pytest.mark.parametrize("name", ["accuracy", "top-k", "auc", "mse"])
def test_answers_that_are_words_are_refused(name: str) -> None:
    outputs = SCORES[:, :1] if name == "mse" else SCORES
    with pytest.raises(UsageError):
        score(outputs, np.array(["cat", "dog", "cat", "eel"]), metric(name))


@pytest.fixture
def scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's module `my_scores`."""
    (tmp_path / "my_scores.py").write_text(
        "import math\n"
        "def spread(outputs, y): return outputs.max() - y.min()\n"
        "def nothing(outputs, y): return None\n"
        "def nan(outputs, y): return math.nan\n"
        "def fails(outputs, y): raise KeyError('colour')\n"
        "constant = 3\n"
    )
    (tmp_path / "my_broken.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("my_scores", "my_broken"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.usefixtures("scores")
def test_a_function_of_the_user_scores() -> None:
    assert score(np.array([[5.0]]), np.array([2]), metric("my_scores:spread")) == 3.0


@pytest.mark.usefixtures("scores")
def test_a_function_that_fails_is_told_with_its_error() -> None:
    with pytest.raises(StepError, match="the metric my_scores:fails failed") as caught:
        score(SCORES, CLASSES, metric("my_scores:fails"))
    assert caught.value.why == "KeyError: 'colour'"


@pytest.mark.usefixtures("scores")
@pytest.mark.parametrize("name", ["nothing", "nan"])
def test_a_function_that_returns_no_number_is_told(name: str) -> None:
    with pytest.raises(StepError, match=f"my_scores:{name}"):
        score(SCORES, CLASSES, metric(f"my_scores:{name}"))


@pytest.mark.usefixtures("scores")
@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("my_scores:absent", UsageError, "my_scores:absent cannot be loaded"),
        ("no_such_module:f", UsageError, "no_such_module:f cannot be loaded"),
        ("my_scores:constant", UsageError, "my_scores:constant is not callable"),
        ("my_broken:f", StepError, "importing my_broken failed"),
    ],
)
def test_a_function_that_cannot_be_had_is_told(path: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load_callable(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_outputs_that_are_not_finite_give_no_score(bad: float) -> None:
    outputs = np.array([[0.1, 0.9], [bad, 0.2], [0.3, bad]])
    with pytest.raises(StepError, match="sample 1 is NaN or infinite") as caught:
        score(outputs, np.array([1, 0, 0]), ACCURACY)
    assert "2 of 3 samples" in caught.value.why
