from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from making import metric
from msgspec.structs import replace
from sklearn.metrics import jaccard_score, r2_score, roc_auc_score

from edgebuild.core.budget import Subject, Unit
from edgebuild.core.metric import Metric, Task
from edgebuild.errors import UsageError
from edgebuild.gating import budgets
from edgebuild.layering import Layer, overlay
from edgebuild.metrics import further, score, taught
from edgebuild.metrics.choosing import Evaluation, Seen, choose, named
from edgebuild.runtimes.fidelity.answers import compare

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(200, 4)) * 2
SHARES = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
CLASSES = LOGITS.argmax(axis=1)
YES = (LOGITS > 0).astype(np.int64)
ONE = RNG.normal(size=(200, 1)) * 2
IS = (ONE[:, 0] > 0).astype(np.int64)
MAPS = RNG.normal(size=(50, 8, 8, 3))
MASKS = RNG.normal(size=(50, 8, 8, 1))
STEPS = RNG.normal(size=(50, 24, 1))
INPUT = RNG.random((200, 64))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


def settled(outputs: np.ndarray, y: np.ndarray | None, ending: str = "", name: str = "auto", **more: Any) -> Metric:
    fed: Sequence[np.ndarray | None] = more.pop("fed", ())
    raw = more.pop("raw", fed)
    seen = Seen(0, "out", outputs, ending)
    return choose(metric(name, **more), [seen], Evaluation(y, fed, raw), 1)


def test_classes_with_names_are_called_by_them() -> None:
    seen = Seen(0, "out", SHARES, "Softmax")
    for names, said in (
        (("cat", "dog", "cow", "hen"), "the labels are 4 classes (cat, dog, cow, ...)"),
        (("cat", "dog"), "the labels are class numbers, 0 to 3 of 4 classes"),
        (("0", "1", "2", "3"), "the labels are class numbers, 0 to 3 of 4 classes"),
    ):
        assert choose(metric("auto"), [seen], Evaluation(CLASSES, labels=names), 1).why == said
    one_hot = Evaluation(np.eye(4)[CLASSES], labels=("cat", "dog", "cow", "hen"))
    assert "one-hot" in choose(metric("auto"), [seen], one_hot, 1).why


@pytest.mark.parametrize(
    ("outputs", "y", "ending", "task", "said"),
    [
        (SHARES, CLASSES, "Softmax", Task.CLASSES, "class numbers, 0 to 3 of 4"),
        (LOGITS, CLASSES.astype(np.float32), "", Task.CLASSES, "class numbers"),
        (LOGITS, CLASSES[:, np.newaxis].astype(np.uint8), "", Task.CLASSES, "class numbers"),
        (LOGITS.reshape(200, 1, 1, 4), CLASSES, "", Task.CLASSES, "class numbers"),
        (SHARES, np.eye(4)[CLASSES], "Softmax", Task.CLASSES, "one-hot"),
        (LOGITS, np.eye(4, dtype=np.bool_)[CLASSES], "", Task.CLASSES, "one-hot"),
        (SHARES, 0.9 * SHARES + 0.025, "Softmax", Task.CLASSES, "probabilities of classes"),
        (3 * LOGITS, SHARES, "", Task.CLASSES, "probabilities of classes"),
        (sigmoid(LOGITS), YES, "Sigmoid", Task.LABELS, "each of 4 labels"),
        (sigmoid(LOGITS), YES.astype(np.bool_), "Sigmoid", Task.LABELS, "each of 4 labels"),
        (LOGITS, YES, "", Task.LABELS, "logits, yes above 0"),
        (sigmoid(LOGITS), np.where(YES, 0.9, 0.1), "Sigmoid", Task.LABELS, "smoothed"),
        (np.tanh(LOGITS), 2 * YES - 1, "", Task.LABELS, "yes above 0"),
        (sigmoid(ONE), IS, "Sigmoid", Task.BINARY, "0 or 1"),
        (sigmoid(ONE)[:, 0], IS, "Sigmoid", Task.BINARY, "0 or 1"),
        (sigmoid(ONE), IS.astype(np.bool_)[:, np.newaxis], "", Task.BINARY, "probabilities, yes above 0.5"),
        (ONE, IS, "", Task.BINARY, "logits, yes above 0"),
        (0.05 * ONE, IS, "", Task.BINARY, "logits, yes above 0"),
        (IS[:, np.newaxis] + RNG.normal(0, 0.08, (200, 1)), IS, "", Task.BINARY, "about 0 and 1, yes above 0.5"),
        (sigmoid(ONE), (255 * IS).astype(np.uint8), "Sigmoid", Task.BINARY, "0 or 255"),
        (np.tanh(ONE), 2 * IS - 1, "", Task.BINARY, "-1 or 1"),
        (sigmoid(MASKS), (MASKS > 0).astype(np.uint8), "Sigmoid", Task.BINARY, "each place"),
        (sigmoid(MASKS), (255 * (MASKS[..., 0] > 0)).astype(np.uint8), "Sigmoid", Task.BINARY, "0 or 255"),
        (sigmoid(STEPS), (STEPS[..., 0] > 0).astype(np.int64), "Sigmoid", Task.BINARY, "each place"),
        (MAPS, MAPS.argmax(axis=-1), "", Task.CLASSES, "class numbers, 0 to 2 of 3"),
        (MAPS, MAPS.argmax(axis=-1)[..., np.newaxis].astype(np.uint8), "", Task.CLASSES, "class numbers"),
        (MAPS, np.eye(3)[MAPS.argmax(axis=-1)], "", Task.CLASSES, "one-hot"),
    ],
)
def test_labels_choose_accuracy_and_how_outputs_are_read(
    outputs: np.ndarray, y: np.ndarray, ending: str, task: Task, said: str
) -> None:
    found = settled(outputs, y, ending)
    assert (found.name, found.task) == ("accuracy", task)
    assert said in found.why
    assert score(outputs, y, found) == 1.0  # each case's labels are what its outputs say
    worse = outputs.copy()
    worse[: len(worse) // 2] = -worse[: len(worse) // 2] if worse.min() < 0 else 1 - worse[: len(worse) // 2]
    assert score(worse, y, found) < 0.9


@pytest.mark.parametrize(
    ("outputs", "y", "ending"),
    [
        (LOGITS, LOGITS + 0.1, ""),
        (ONE, ONE[:, 0] + 0.1, ""),
        (10 * ONE + 40, np.round(10 * ONE + 40.1).astype(np.int64), ""),
        (sigmoid(ONE), RNG.random(200), "Sigmoid"),
        (sigmoid(LOGITS), RNG.random((200, 4)), "Sigmoid"),
        (255 * sigmoid(MASKS), (255 * (MASKS > 0)).astype(np.uint8), ""),
    ],
)
def test_other_numbers_are_values_with_errors(outputs: np.ndarray, y: np.ndarray, ending: str) -> None:
    found = settled(outputs, y, ending)
    assert (found.name, found.task, found.less_is_more, found.is_share) == ("mae", Task.VALUES, True, False)
    wanted = y.reshape(outputs.shape)
    assert score(outputs, y, found) == pytest.approx(np.abs(outputs - wanted).mean())
    more = further(outputs, y, found)
    flat = [values.reshape(len(values), -1) for values in (wanted, outputs)]
    assert more["mse"] == pytest.approx(np.square(outputs - wanted).mean())
    assert more["r2"] == pytest.approx(r2_score(*flat, multioutput="variance_weighted"))


def test_further_scores_say_more_of_labels_and_maps() -> None:
    noisy = sigmoid(LOGITS + RNG.normal(size=LOGITS.shape))
    found = settled(noisy, YES, "Sigmoid")
    assert found.label == "per-label accuracy"
    assert further(noisy, YES, found)["auc"] == pytest.approx(roc_auc_score(YES, noisy, average="macro"))
    shown, wanted = sigmoid(MASKS - 0.3), (255 * (MASKS > 0)).astype(np.uint8)
    found = settled(shown, wanted, "Sigmoid")
    iou = jaccard_score((wanted > 0).ravel(), (shown > 0.5).ravel())
    assert further(shown, wanted, found) == {"iou": pytest.approx(iou)}
    assert score(shown, wanted, settled(shown, wanted, "Sigmoid", "iou")) == pytest.approx(iou)
    moved, numbers = MAPS + RNG.normal(size=MAPS.shape), MAPS.argmax(axis=-1)
    miou = jaccard_score(numbers.ravel(), moved.argmax(axis=-1).ravel(), average="macro")
    assert further(moved, numbers, settled(moved, numbers)) == {"miou": pytest.approx(miou)}
    assert score(moved, numbers, settled(moved, numbers, name="miou")) == pytest.approx(miou)


def test_a_reconstruction_is_scored_against_the_input_as_it_is_fed() -> None:
    outputs = INPUT + 0.01
    found = settled(outputs, INPUT, fed=[INPUT])
    assert (found.name, found.task, found.target, found.why) == ("mse", Task.VALUES, "", "the labels equal the input")
    pixels = np.round(255 * INPUT).astype(np.uint8)
    scaled = settled(outputs, pixels, fed=[pixels / np.float32(255)], raw=[pixels])
    assert (scaled.name, scaled.target, scaled.input) == ("mse", "input", 0)
    unscaled = settled(255 * outputs, pixels, fed=[pixels / np.float32(255)], raw=[pixels])
    assert (unscaled.name, unscaled.target) == ("mse", "")
    asked = settled(outputs, None, target="input", fed=[None, INPUT])
    assert (asked.name, asked.target, asked.input, asked.task) == ("mse", "input", 1, Task.VALUES)
    assert settled(outputs, None, name="mae", target="input", fed=[INPUT]).name == "mae"


def test_a_denoised_input_is_no_copy_of_it() -> None:
    assert settled(INPUT, INPUT + RNG.normal(0, 0.1, INPUT.shape), fed=[INPUT]).name == "mae"


def _refused(*args: Any, **fields: Any) -> UsageError:
    with pytest.raises(UsageError) as caught:
        settled(*args, **fields)
    return caught.value


def test_several_labels_of_a_softmax_are_refused_with_scores_that_take_them() -> None:
    error = _refused(SHARES, YES, "Softmax")
    assert "not one-hot" in error.what
    for name in ("auc", "mae"):
        assert f"--metric {name}" in error.remedy
        assert np.isfinite(score(SHARES, YES, settled(SHARES, YES, "Softmax", name)))
    assert settled(SHARES, np.eye(4)[CLASSES], "Softmax").name == "accuracy"
    assert settled(sigmoid(LOGITS), YES, "Sigmoid").task == Task.LABELS


def test_rows_that_may_be_classes_or_shares_are_refused_with_both() -> None:
    outputs = SHARES + RNG.normal(0, 0.03, SHARES.shape)
    error = _refused(outputs, SHARES)
    for name, task in (("accuracy", Task.CLASSES), ("mae", Task.VALUES)):
        assert f"--metric {name}" in error.remedy
        assert settled(outputs, SHARES, name=name).task == task


def test_labels_of_another_shape_are_refused_with_shapes_that_fit() -> None:
    error = _refused(LOGITS, np.zeros((200, 5)))
    assert error.what == "the answers have the shape [200, 5], the outputs [200, 4]"
    assert error.remedy == "Give class numbers from 0 to 3 as [200], or values or yes and no as [200, 4]."
    columns = np.eye(2)[IS]
    assert "y_eval[:, 1]" in _refused(sigmoid(ONE), columns).remedy
    assert score(sigmoid(ONE), columns[:, 1], settled(sigmoid(ONE), columns[:, 1])) == 1.0
    assert _refused(MAPS.transpose(0, 2, 1, 3)[:, :4], MAPS.argmax(axis=-1)[:, :, :4]).what


@pytest.mark.parametrize(("y", "told"), [(CLASSES + 1, "Subtract 1"), (CLASSES - 1, "Add 1")])
def test_class_numbers_that_are_shifted_are_refused(y: np.ndarray, told: str) -> None:
    assert _refused(SHARES, y).remedy.startswith(told)


@pytest.mark.parametrize(
    ("outputs", "y", "ending", "void"),
    [
        (MAPS, MAPS.argmax(axis=-1).astype(np.uint8), "Softmax", 255),
        (MAPS, MAPS.argmax(axis=-1)[..., np.newaxis], "", -1),
        (sigmoid(MASKS), (MASKS > 0).astype(np.uint8), "Sigmoid", 255),
        (sigmoid(STEPS), (STEPS > 0).astype(np.int64), "Sigmoid", -1),
    ],
)
def test_places_that_belong_to_no_class_are_ignored(outputs: np.ndarray, y: np.ndarray, ending: str, void: int) -> None:
    marks = np.random.default_rng(1).random(y.shape) < 0.2
    marked = np.where(marks, void, y).astype(y.dtype)
    found = settled(outputs, marked, ending)
    assert found.ignore == void
    assert f"are {void}, which is ignored" in found.why
    assert score(outputs, marked, found) == 1.0
    worse = outputs.copy()
    worse[marks.reshape(outputs.shape[:-1])] = -worse[marks.reshape(outputs.shape[:-1])]  # matters to nobody
    assert score(worse, marked, found) == 1.0
    assert set(further(worse, marked, found).values()) == {1.0}
    assert score(-outputs, marked, found) < 0.7
    assert np.array_equal(taught(marked, found) == -1, marks)
    lost = compare(outputs, worse, marked, found).answers
    assert (lost.total, lost.changed, lost.lost) == (int((~marks).sum()), 0, 0)
    assert settled(outputs, marked, ending, ignore=float(void)) == found


def test_a_label_of_a_sample_is_ignored_where_that_is_said() -> None:
    y = np.where(RNG.random(200) < 0.2, -1, CLASSES)
    assert "-1" in _refused(SHARES, y).why
    found = settled(SHARES, y, ignore=-1.0)
    assert (score(SHARES, y, found), score(-SHARES, y, settled(SHARES, y, name="top-k", k=4, ignore=-1.0))) == (
        1.0,
        1.0,
    )
    several = np.where(RNG.random(YES.shape) < 0.2, -1, YES)
    refused = _refused(sigmoid(LOGITS), several, "Sigmoid")
    assert "[metric] ignore = -1" in refused.remedy
    found = settled(sigmoid(LOGITS), several, "Sigmoid", ignore=-1.0)
    assert (found.task, score(sigmoid(LOGITS), several, found)) == (Task.LABELS, 1.0)
    assert score(LOGITS, several, settled(sigmoid(LOGITS), several, "Sigmoid", "auc", ignore=-1.0)) == 1.0


def test_numbers_beyond_probabilities_are_no_labels_of_such() -> None:
    for outputs, y in ((sigmoid(ONE), 50 + 20 * ONE), (sigmoid(LOGITS), LOGITS), (SHARES, 255 * SHARES)):
        ending = "Softmax" if outputs is SHARES else "Sigmoid"
        assert "Scale the labels as in training" in _refused(outputs, y, ending).remedy
        assert settled(outputs, y, ending, "mae").task == Task.VALUES
        assert settled(outputs, (y - y.min()) / np.ptp(y), ending).name == "mae"
    pixels = np.round(255 * INPUT)
    with pytest.raises(UsageError, match="0 to 255, and the output is a sigmoid"):
        settled(INPUT, pixels, "Sigmoid", fed=[pixels])
    with pytest.raises(UsageError, match="0 to 255, and the output is a sigmoid"):
        settled(INPUT, None, "Sigmoid", target="input", fed=[pixels])


def test_a_sigmoid_is_not_scored_by_numbers_that_it_cannot_reach() -> None:
    assert _refused(sigmoid(ONE), IS + 1, "Sigmoid").remedy.startswith("Subtract 1")
    error = _refused(sigmoid(ONE), IS + 17, "Sigmoid")
    assert "--metric mse" in error.remedy
    assert settled(sigmoid(ONE), IS + 17, "Sigmoid", "mse").task == Task.VALUES


def test_a_metric_that_is_named_wins_and_is_checked() -> None:
    assert settled(LOGITS, np.eye(4)[CLASSES], name="mse").task == Task.VALUES
    assert settled(LOGITS, LOGITS, name="mse", fed=[LOGITS]).why == ""
    for outputs, y, name in (
        (LOGITS, LOGITS + 0.1, "accuracy"),
        (sigmoid(LOGITS), YES, "top-k"),
        (SHARES, CLASSES, "miou"),
        (SHARES, CLASSES, "iou"),
        (ONE, ONE + 0.1, "auc"),
    ):
        error = _refused(outputs, y, name=name)
        others = [word.strip(",.") for word in error.remedy.split() if word.strip(",.") in ("accuracy", "auc", "mae")]
        for other in others:
            assert settled(outputs, y, name=other).name == other
    assert settled(sigmoid(ONE), sigmoid(ONE)[:, 0], name="accuracy").task == Task.BINARY
    assert settled(ONE, IS, threshold=0.5).threshold == 0.5


def test_a_metric_of_the_users_own_takes_labels_as_they_are() -> None:
    assert settled(LOGITS, np.zeros((200, 7, 2)), name="scores:f1").name == "scores:f1"


def _several(*shapes: tuple[int, ...]) -> list[Seen]:
    return [Seen(place, f"out{place}", RNG.normal(size=shape)) for place, shape in enumerate(shapes)]


def test_the_output_that_labels_fit_is_chosen_and_said() -> None:
    outputs = _several((200, 7), (200, 4), (200, 2))
    found = choose(metric("auto"), outputs, Evaluation(CLASSES[:, np.newaxis] * np.ones((1, 4)) + 0.5), 3)
    assert (found.output, found.name) == (1, "mae")
    assert "output out1 of 3 is scored" in found.why
    with pytest.raises(UsageError, match="shape"):
        choose(metric("auto"), outputs, Evaluation(np.zeros((200, 9))), 3)
    names = ["boxes", "scores"]
    assert named(metric("auto"), names) == (0, 1)
    assert named(replace(metric("auto"), asked_output="scores"), names) == (1,)
    assert named(replace(metric("auto"), asked_output="1"), names) == (1,)
    with pytest.raises(UsageError, match="boxes, scores"):
        named(replace(metric("auto"), asked_output="score"), names)


def test_training_takes_no_and_yes_as_0_and_1() -> None:
    found = settled(sigmoid(ONE), (255 * IS).astype(np.uint8), "Sigmoid")
    assert np.array_equal(taught((255 * IS).astype(np.uint8), found), IS)
    assert taught(CLASSES, settled(SHARES, CLASSES)) is CLASSES


def _budgets(table: dict[str, object], found: Metric) -> dict[Subject, tuple[Unit, float]]:
    read = budgets.read(overlay([Layer("test", table)]), metric("auto"))
    return {budget.subject: (budget.unit, budget.limit) for budget in budgets.settled(read, found)}


def test_budgets_get_the_unit_of_the_metric_that_was_chosen() -> None:
    share, error = settled(SHARES, CLASSES), settled(LOGITS, LOGITS + 0.1)
    assert _budgets({"accuracy_drop": "1 %"}, share) == {Subject.ACCURACY_DROP: (Unit.SHARE, 0.01)}
    assert _budgets({"accuracy_drop": "1 %"}, error) == {Subject.ACCURACY_DROP: (Unit.RELATIVE, 0.01)}
    assert _budgets({"accuracy": "90 %"}, share) == {Subject.ACCURACY: (Unit.SHARE, 0.9)}
    assert _budgets({"accuracy": 0.25}, error) == {Subject.ACCURACY: (Unit.NUMBER, 0.25)}
    with pytest.raises(UsageError, match="mae is none") as caught:
        _budgets({"accuracy": "90 %"}, error)
    assert "accuracy = 0.9" in caught.value.remedy
    assert _budgets({"accuracy": 0.9}, error)
    with pytest.raises(UsageError) as caught:
        _budgets({"accuracy": 0.9}, share)
    assert "accuracy: '0.9' has no unit" in caught.value.why
    assert 'accuracy = "90 %"' in caught.value.remedy
