"""Data as functions return them: tf.data, streams of batches, and splits by many names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from making import tensor

from edgebuild.actions.datasets import SplitJob
from edgebuild.core.plan import Split
from edgebuild.data import datasets
from edgebuild.data.given import Examples, Given
from edgebuild.data.reading import from_result
from edgebuild.errors import UsageError
from edgebuild.passes import split

IMAGE = (tensor("image", (-1, 4, 4, 3)),)
TWO = (tensor("left", (-1, 3)), tensor("right", (-1, 2)))
RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (23, 4, 4, 3), np.uint8)
Y = np.arange(23) % 3
NAMES = ["cat", "dog", "eel"]


def _set(start: int = 0, stop: int = 23, y: Any = Y) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices((X[start:stop], y[start:stop]))


def _read(value: Any, inputs: Any = IMAGE) -> Given:
    return from_result(value, inputs, "mine:data")


def _part(examples: Examples | None) -> tuple[Any, Any]:
    assert examples is not None
    return examples.x[0].tolist(), None if examples.y is None else examples.y.tolist()


def _is(examples: Examples | None, start: int, stop: int) -> bool:
    return _part(examples) == (X[start:stop].tolist(), Y[start:stop].tolist())


@pytest.mark.parametrize("name", ["eval", "test", "val", "validation", "evaluation", "Test"])
@pytest.mark.parametrize("size", [0, 7], ids=["single", "batched"])
def test_splits_are_datasets_by_their_names_with_labels(name: str, size: int) -> None:
    splits: dict[str, Any] = {"train": _set(0, 15), name: _set(15)}
    given = _read({**{k: v.batch(size) if size else v for k, v in splits.items()}, "labels": NAMES})
    assert _is(given.train, 0, 15)
    assert _is(given.evaluation, 15, 23)
    assert given.validation is None
    assert given.labels == tuple(NAMES)


def test_a_pair_of_datasets_is_train_and_evaluation_and_three_have_validation_between_them() -> None:
    pair = _read((_set(0, 15).batch(4), _set(15)))
    assert _is(pair.train, 0, 15)
    assert _is(pair.evaluation, 15, 23)
    three = _read((_set(0, 9), _set(9, 15), (X[15:], Y[15:])))
    assert _is(three.validation, 9, 15)
    assert _is(three.evaluation, 15, 23)


def test_validation_beside_a_test_split_is_for_choosing_and_arrays_of_that_name_always_are() -> None:
    beside = _read({"train": _set(0, 9), "val": _set(9, 15), "test": _set(15)})
    assert _is(beside.validation, 9, 15)
    assert _is(beside.evaluation, 15, 23)
    for ending in ("validation", "val"):
        arrays = _read({"x_train": X[:9], "y_train": Y[:9], f"x_{ending}": X[9:], f"y_{ending}": Y[9:]})
        assert _is(arrays.validation, 9, 23)
        assert arrays.evaluation is None


def test_datasets_may_stand_for_arrays() -> None:
    given = _read({"x_train": _set(0, 15).batch(4), "x_eval": _set(15), "labels": np.array(NAMES)})
    assert _is(given.train, 0, 15)
    assert _is(given.evaluation, 15, 23)
    x, y = (tf.data.Dataset.from_tensor_slices(array) for array in (X, Y))
    for apart in ({"x": x, "y": y}, {"x": x.batch(4), "y": y.batch(4)}, {"x": x.batch(4), "y": Y}, {"x": X, "y": y}):
        assert _is(_read(apart).train, 0, 23)
    with pytest.raises(UsageError, match="x_train holds labels, and y_train is given too"):
        _read({"x_train": _set(), "y_train": Y})


def test_splits_may_be_pairs_of_arrays() -> None:
    given = _read({"train": (X[:15], Y[:15]), "test": [X[15:], Y[15:]]})
    assert _is(given.train, 0, 15)
    assert _is(given.evaluation, 15, 23)


def test_x_and_y_alone_are_all_there_is() -> None:
    given = _read({"x": X, "y": Y})
    assert _is(given.train, 0, 23)
    assert given.evaluation is None
    with pytest.raises(UsageError, match="no input takes x, y"):
        _read({"x": X, "y": Y, "x_train": X, "y_train": Y})


def test_labels_that_are_words_are_numbered_in_their_order_or_as_labels_lists_them() -> None:
    words = np.array(NAMES)[Y]
    for value in (
        {"x": X, "y": words},
        _set(y=words),
        _set(y=words).batch(5),
        {"train": _set(0, 15, words), "val": _set(15, 23, words)},
    ):
        given = _read(value)
        assert given.labels == tuple(NAMES)
        assert _part(given.train)[1] == Y[: len(_part(given.train)[1])].tolist()
        assert any("3 classes, numbered in the order of their names: cat, dog, eel" in note for note in given.notes)
    turned = _read({"train": _set(y=words), "labels": NAMES[::-1]})
    assert _part(turned.train)[1] == (2 - Y).tolist()
    with pytest.raises(UsageError, match="1 labels are no names of classes: eel"):
        _read({"train": _set(y=words), "labels": NAMES[:2]})


def test_class_names_that_keras_leaves_on_a_dataset_are_labels() -> None:
    dataset = _set().batch(4)
    dataset.class_names = NAMES
    assert _read((dataset, _set())).labels == tuple(NAMES)


@pytest.mark.parametrize(
    "make",
    [
        lambda: _set().map(lambda x, y: {"image": x, "label": y}),
        lambda: _set().map(lambda x, y: {"picture": x, "label": y}).batch(4),
        lambda: _set().map(lambda x, y: {"image": x, "label": y, "image/id": y}).batch(4),
        lambda: _set().map(lambda x, y: ({"image": x}, y)).batch(4),
        lambda: _set().batch(4).cache().prefetch(2),
    ],
    ids=["label", "other name", "further keys", "input by name", "cached"],
)
def test_elements_may_be_mappings(make: Any) -> None:
    assert _is(_read(make()).train, 0, 23)


def test_several_inputs_come_by_name_or_in_order() -> None:
    left, right = np.zeros((6, 3), np.float32), np.ones((6, 2), np.float32)
    y = np.arange(6)
    for x in ({"left": left, "right": right}, (left, right)):
        given = _read(tf.data.Dataset.from_tensor_slices((x, y)).batch(4), TWO)
        assert given.train is not None
        assert [array.shape for array in given.train.x] == [(6, 3), (6, 2)]
        assert given.train.y is not None
        assert given.train.y.tolist() == y.tolist()
    named = {"x_eval": tf.data.Dataset.from_tensor_slices(((left, right), y))}
    assert _read(named, TWO).evaluation is not None


def test_one_hot_labels_and_weights_and_their_note() -> None:
    hot = _read(_set(y=np.eye(3, dtype=np.float32)[Y]).batch(5)).train
    assert hot is not None
    assert hot.y is not None
    assert hot.y.shape == (23, 3)
    weighted = _read(_set().map(lambda x, y: (x, y, 1.0)).batch(4))
    assert _is(weighted.train, 0, 23)
    assert weighted.notes == ("mine:data: weights of samples are not used",)


def _batches(size: int = 5) -> Iterator[tuple[Any, Any]]:
    for start in range(0, 23, size):
        yield X[start : start + size], Y[start : start + size]


class _Batches(keras.utils.PyDataset):
    def __len__(self) -> int:
        return 5

    def __getitem__(self, place: int) -> Any:
        return list(_batches())[place]


def test_generators_of_batches_with_a_smaller_last_one() -> None:
    signature = (tf.TensorSpec((None, 4, 4, 3), tf.uint8), tf.TensorSpec((None,), tf.int64))
    assert _is(_read(tf.data.Dataset.from_generator(_batches, output_signature=signature)).train, 0, 23)
    assert _is(_read(_batches()).train, 0, 23)
    assert _is(_read({"train": _batches(), "test": _batches(4)}).evaluation, 0, 23)
    assert _is(_read(_Batches()).train, 0, 23)


def test_a_dataset_without_an_end_gives_each_sample_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "ENDLESS_SAMPLES", 60)
    for endless in (_set().repeat(), _set().batch(4).repeat()):
        given = _read(endless)
        assert _is(given.train, 0, 23)
        assert "no end: the 23 different samples among its first 60" in given.notes[0]


def test_what_does_not_say_where_it_ends_is_read_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    def forever() -> Iterator[Any]:
        while True:
            yield from _batches()

    monkeypatch.setattr(datasets, "MOST_SAMPLES", 20)
    given = _read(forever())
    assert _is(given.train, 0, 20)
    assert given.notes == ("mine:data: the dataset was read no further than 20 samples (take(N) sets another limit)",)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"trian": _set(), "val": _set()}, 'unknown splits trian; did you mean "train"'),
        ({"train": _set(), "test": _set(), "eval": _set()}, "both test and eval mean the evaluation split"),
        ({"train": _set(), "test": 3}, "test is int"),
        ({"x_trian": X}, 'unknown arrays: x_trian; did you mean "x_train"'),
        ({"labels": NAMES}, "there are no samples"),
        ({}, "returned an empty mapping"),
        (_set().map(lambda x, y: (x, {"a": y, "b": y})).batch(3), "labels are of several outputs: a, b"),
        (_set().map(lambda x, y: {"one": x, "two": x, "label": y}), "elements have one, two, label"),
        (tf.data.Dataset.from_tensors((X, Y[:4])), "an element has 23 samples and labels of the shape"),
        (iter([(X[:2], Y[:2]), (X[:1, :2], Y[:1])]), "its elements differ in shape"),
    ],
    ids=["typo", "twice", "number", "array typo", "labels alone", "empty", "two outputs", "two inputs", "y", "shapes"],
)
def test_what_cannot_be_sorted_is_an_error_that_names_it(value: Any, message: str) -> None:
    with pytest.raises(UsageError, match=f"mine:data.*{message}"):
        _read(value)


def test_names_are_looked_at_before_any_sample() -> None:
    def never() -> Iterator[Any]:
        raise AssertionError("a sample was read")
        yield

    for names in (("train", "tset"), ("x_train", "x_tset")):
        with pytest.raises(UsageError, match="unknown"):
            _read({name: never() for name in names})


SHUFFLED = """
import tensorflow as tf, numpy as np
x = np.arange(400.0, dtype=np.float32).reshape(100, 4)
def load():
    train = tf.data.Dataset.from_tensor_slices((x, np.arange(100) % 2)).shuffle(100)
    noisy = train.map(lambda x, y: (x + tf.random.normal([4]), y), num_parallel_calls=2, deterministic=False)
    return noisy.batch(8).prefetch(1), (x + np.random.normal(size=x.shape), np.arange(100) % 2)
"""


def test_shuffled_and_augmented_datasets_give_the_same_splits_in_each_build(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shuffled_data.py").write_text(SHUFFLED)
    monkeypatch.syspath_prepend(str(tmp_path))
    how = Split(calibration_samples=20, evaluation_share=0.2, seed=3)
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        job = SplitJob(
            kind="callable",
            path="shuffled_data:load",
            inputs=(tensor("x", (-1, 4)),),
            split=how,
            out=str(tmp_path / name),
        )
        found = split.run(job, lambda _: None)
        made.append((found.learning_sha256, found.calibration_sha256, found.evaluation_sha256))
    assert made[0] == made[1]
