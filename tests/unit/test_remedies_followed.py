"""Requests that are refused, and the same ones as the remedy says, which are not."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from making import metric, tensor

from edgebuild import config
from edgebuild.cli import options
from edgebuild.core.settings import Preprocess
from edgebuild.data.given import Examples, fit, from_arrays
from edgebuild.data.samples import Samples, save
from edgebuild.errors import EdgebuildError
from edgebuild.gating import budgets
from edgebuild.metrics.choosing import Evaluation, Seen, choose, named
from edgebuild.passes import keras_metrics
from edgebuild.passes.static_shapes import Wanted, static

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(200, 4)) * 2
SHARES = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
CLASSES = LOGITS.argmax(axis=1)
SEVERAL = (LOGITS > 0).astype(np.int64)
UNKNOWN = np.where(RNG.random(SEVERAL.shape) < 0.2, -1, SEVERAL)
IMAGE, TOKENS = (tensor("image", (1, 4, 4, 1)),), (tensor("tokens", (1, 4), "int32"),)
PICTURES = np.zeros((3, 4, 4, 1), np.float32)
OPEN = [("ids", (None,)), ("mask", (None,))]


class Case(NamedTuple):
    """A request that is refused, words of the remedy, and each request that the remedy names."""

    wrong: Callable[[], object]
    says: str
    right: tuple[Callable[[], object], ...]


def _chosen(outputs: Any, y: Any, name: str = "auto", ending: str = "", **more: Any) -> Callable[[], object]:
    fed = more.pop("fed", ())
    return lambda: choose(metric(name, **more), [Seen(0, "out", outputs, ending)], Evaluation(y, fed, fed), 1)


def _data(**arrays: Any) -> Callable[[], object]:
    return lambda: fit(from_arrays(arrays, IMAGE, "d.npz"), IMAGE, "d.npz")


def _tokens(values: Any) -> Callable[[], object]:
    return lambda: fit(from_arrays({"x_train": values}, TOKENS, "d.npz"), TOKENS, "d.npz")


def _keras(name: str, **how: Any) -> Callable[[], object]:
    def scored() -> object:
        asked = keras_metrics.with_direction(metric(f"keras:{name}", options=how))
        found = choose(asked, [Seen(0, "out", LOGITS)], Evaluation(CLASSES), 1)
        return keras_metrics.score(LOGITS, CLASSES, found)

    return scored


def _keras_of(y: Any, ignored: float, name: str, **how: Any) -> Callable[[], object]:
    def scored() -> object:
        found = choose(
            metric(f"keras:{name}", options=how, ignore=ignored), [Seen(0, "out", SHARES, "Sigmoid")], Evaluation(y), 1
        )
        return keras_metrics.score(SHARES, y, found)

    return scored


def _settings(**tables: Any) -> Callable[[], object]:
    return lambda: config.load(tables, {}, use_file=False)


CASES = {
    "a budget without a limit": Case(
        lambda: budgets.from_option("size"), "--budget size=60KB", (lambda: budgets.from_option("size=60KB"),)
    ),
    "a setting without a value": Case(
        lambda: options.setting("train.epochs"),
        "--set train.epochs=20",
        (lambda: options.setting("train.epochs=20"),),
    ),
    "options of another metric": Case(
        _settings(metric={"name": "mae", "options": {"average": "macro"}}),
        'name = "F1Score"',
        (_settings(metric={"name": "F1Score", "options": {"average": "macro"}}), _settings(metric={"name": "mae"})),
    ),
    "arrays of other names": Case(_data(train=PICTURES), "x_train", (_data(x_train=PICTURES),)),
    "a split without samples": Case(_data(x_train=PICTURES[:0]), "at least one sample", (_data(x_train=PICTURES[:1]),)),
    "axes in another order": Case(
        _data(x_train=np.zeros((3, 1, 4, 4), np.float32)),
        "np.transpose(x, (0, 2, 3, 1))",
        (_data(x_train=np.transpose(np.zeros((3, 1, 4, 4), np.float32), (0, 2, 3, 1))),),
    ),
    "tokens between numbers": Case(
        _tokens(np.full((3, 4), 0.5)), "Give integers", (_tokens(np.full((3, 4), 5)), _tokens(np.full((3, 4), 5.0)))
    ),
    "a keras metric of many numbers": Case(
        _keras("F1Score"), 'options = { average = "macro" }', (_keras("F1Score", average="macro"),)
    ),
    "no keras metric": Case(
        _keras("Sharpness"),
        "F1Score, CosineSimilarity or RootMeanSquaredError",
        (
            _keras("F1Score", average="macro"),
            *(_keras(name) for name in ("CosineSimilarity", "RootMeanSquaredError")),
        ),
    ),
    "an output that is not there": Case(
        lambda: named(metric("auto", asked_output="boxes"), ["yaw", "kind"]),
        "one of these names, or to its number from 0",
        (
            lambda: named(metric("auto", asked_output="kind"), ["yaw", "kind"]),
            lambda: named(metric("auto", asked_output="1"), ["yaw", "kind"]),
        ),
    ),
    "words for labels": Case(
        _chosen(LOGITS, np.array(["a", "b"] * 100)), "Give class numbers", (_chosen(LOGITS, CLASSES),)
    ),
    "miou of one label": Case(
        _chosen(LOGITS, CLASSES, "miou"), "--metric accuracy", (_chosen(LOGITS, CLASSES, "accuracy"),)
    ),
    "several labels of a softmax": Case(
        _chosen(SHARES, SEVERAL, ending="Softmax"),
        "--metric auc (each label by itself) or --metric mae",
        (
            _chosen(SHARES, np.eye(4)[CLASSES], ending="Softmax"),
            _chosen(SHARES, CLASSES, ending="Softmax"),
            _chosen(SHARES, SEVERAL, ending="Sigmoid"),
            *(_chosen(SHARES, SEVERAL, name, "Softmax") for name in ("auc", "mae")),
        ),
    ),
    "numbers that a sigmoid cannot meet": Case(
        _chosen(SHARES, 3 * SEVERAL - 1.5, ending="Sigmoid"),
        "--metric mae",
        (_chosen(SHARES, SEVERAL, ending="Sigmoid"), _chosen(SHARES, 3 * SEVERAL - 1.5, "mae", "Sigmoid")),
    ),
    "labels of which nothing is known": Case(
        _chosen(SHARES, UNKNOWN, ending="Sigmoid"),
        "[metric] ignore = -1",
        (
            _chosen(SHARES, UNKNOWN, ending="Sigmoid", ignore=-1.0),
            lambda: config.load({"metric": {"ignore": -1}}, {}, use_file=False),
        ),
    ),
    "a word that is no label": Case(
        _settings(metric={"ignore": "void"}),
        'Write a number, or "auto"',
        (_settings(metric={"ignore": 255}), _settings(metric={"ignore": "auto"})),
    ),
    "values that are ignored": Case(
        _chosen(LOGITS, LOGITS, "mae", ignore=0.0), "Leave ignore out", (_chosen(LOGITS, LOGITS, "mae"),)
    ),
    "ignored labels of a keras metric": Case(
        _keras_of(UNKNOWN, -1.0, "F1Score", average="macro"),
        "--metric accuracy or auc",
        tuple(_chosen(SHARES, UNKNOWN, name, "Sigmoid", ignore=-1.0) for name in ("accuracy", "auc")),
    ),
    "nothing but ignored labels": Case(
        _chosen(LOGITS, 0 * CLASSES - 1, ignore=-1.0),
        "Give samples with other labels, or leave [metric] ignore out",
        (_chosen(LOGITS, CLASSES, ignore=-1.0), _chosen(LOGITS, CLASSES)),
    ),
    "classes against the input": Case(
        _chosen(LOGITS, None, "accuracy", target="input", fed=[LOGITS]),
        "--metric mse, mae, rmse or r2",
        tuple(
            _chosen(LOGITS, None, name, target="input", fed=[LOGITS]) for name in ("mse", "mae", "rmse", "r2", "auto")
        ),
    ),
    "no input of the outputs shape": Case(
        _chosen(LOGITS, LOGITS, target="input", fed=[LOGITS[:, :2]]),
        "leave target out",
        (_chosen(LOGITS, LOGITS + 0.1),),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_a_remedy_says_is_accepted(name: str) -> None:
    case = CASES[name]
    with pytest.raises(EdgebuildError) as refused:
        case.wrong()
    assert case.says in refused.value.remedy
    for right in case.right:
        right()


@pytest.mark.parametrize("wanted", [Wanted(), Wanted(only=(16,))])
def test_the_shapes_that_a_remedy_writes_down_are_taken(wanted: Wanted) -> None:
    with pytest.raises(EdgebuildError) as refused:
        static(OPEN, wanted)
    written = refused.value.remedy.partition("[model] ")[2].removesuffix(".")
    table = tomllib.loads(written)["input_shapes"]
    assert static(OPEN, Wanted(by_name={name: tuple(shape) for name, shape in table.items()})).shapes == ((16,), (16,))


@pytest.mark.parametrize("mean", [0.5, [0.5, 0.2, 0.1]])
def test_a_preprocessing_has_one_number_or_one_for_each_channel(mean: Any, tmp_path: Any) -> None:
    save(Examples((np.zeros((2, 4, 4, 3), np.float32),)), tmp_path / "split")
    floats = [np.dtype(np.float32)]
    with pytest.raises(EdgebuildError, match=r"has 2 means") as refused:
        Samples(tmp_path / "split", Preprocess(mean=[0.5, 0.2], scale=1.0)).batch(0, 2, floats)
    assert "one number for all, or a list with one for each channel" in refused.value.remedy
    assert Samples(tmp_path / "split", Preprocess(mean=mean, scale=1.0)).batch(0, 2, floats)[0].shape == (2, 4, 4, 3)
