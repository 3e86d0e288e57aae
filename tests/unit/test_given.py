from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from making import tensor

from edgebuild.core.model import TensorSpec
from edgebuild.data.given import Examples, Given, fit, from_arrays
from edgebuild.errors import UsageError

IMAGE = (tensor("image", (1, 4, 4, 1)),)
TWO = (tensor("left", (1, 3)), tensor("right", (1, 2)))


def _images(count: int, value: float = 0) -> np.ndarray:
    return np.full((count, 4, 4, 1), value, np.float32)


def test_arrays_are_sorted_into_splits_by_their_names() -> None:
    arrays = {
        "x_train": _images(3, 1),
        "y_train": np.arange(3),
        "x_calibration": _images(2, 2),
        "x_eval": _images(4, 3),
        "y_eval": np.arange(4),
        "labels": np.array(["no", "yes"]),
    }
    given = from_arrays(arrays, IMAGE, "d.npz")
    assert given.train is not None
    assert given.calibration is not None
    assert given.evaluation is not None
    assert [len(split) for split in (given.train, given.calibration, given.evaluation)] == [3, 2, 4]
    assert [split.x[0].max() for split in (given.train, given.calibration, given.evaluation)] == [1, 2, 3]
    assert given.evaluation.y is not None
    assert given.evaluation.y.tolist() == [0, 1, 2, 3]
    assert given.calibration.y is None
    assert given.labels == ("no", "yes")


def test_what_was_not_given_is_none() -> None:
    given = from_arrays({"x_eval": _images(1)}, IMAGE, "d.npz")
    assert (given.train, given.calibration, given.labels) == (None, None, ())


def test_test_is_another_name_for_evaluation() -> None:
    given = from_arrays({"x_test": _images(2), "y_test": [1, 0]}, IMAGE, "d.npz")
    assert given.evaluation is not None
    assert given.evaluation.y is not None
    assert given.evaluation.y.tolist() == [1, 0]


def test_several_inputs_are_found_by_their_names_in_the_order_of_the_network() -> None:
    arrays = {"x_eval/right": np.ones((5, 2)), "x_eval/left": np.zeros((5, 3)), "y_eval": np.arange(5)}
    given = from_arrays(arrays, TWO, "d.npz")
    assert given.evaluation is not None
    assert [array.shape for array in given.evaluation.x] == [(5, 3), (5, 2)]


def test_a_single_input_may_be_named_too() -> None:
    given = from_arrays({"x_eval/image": _images(2)}, IMAGE, "d.npz")
    assert given.evaluation is not None
    assert len(given.evaluation) == 2


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_eval/left": np.zeros((5, 3))}, "x_eval/right is missing"),
        ({"x_eval": np.zeros((5, 3))}, "no input takes x_eval"),
        ({"x_eval/left": np.zeros((5, 3)), "x_eval/right": np.zeros((4, 2))}, "differ in length: 4 and 5 samples"),
    ],
)
def test_a_wrong_array_for_several_inputs_is_told(arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=f"d.npz: .*{message}"):
        from_arrays(arrays, TWO, "d.npz")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": _images(3), "y_train": np.arange(2)}, "x_train and y_train differ in length: 2 and 3 samples"),
        ({"X_train": _images(3), "images": _images(3)}, "unknown arrays: X_train, images"),
        ({"x_train_left": _images(1), "x_train_right": _images(1)}, "unknown arrays: .*(?s:.)*x_train/NAME"),
        ({"x_train": _images(1), "y_train/kind": np.arange(1)}, "unknown arrays: .*(?s:.)*of one output"),
        ({"x_eval": _images(1), "x_test": _images(1)}, "no input takes x_test"),
        ({"y_train": np.arange(2)}, "there is y_train but no x_train"),
        ({"x_train": np.float32(3)}, "x_train or y_train is a single value"),
        ({"x_train": _images(2), "y_train": np.float32(3)}, "x_train or y_train is a single value"),
    ],
)
def test_arrays_that_do_not_go_together_are_told(arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=f"d.npz: {message}"):
        from_arrays(arrays, IMAGE, "d.npz")


def _fit(x: np.ndarray, *inputs: Any) -> tuple[np.ndarray, tuple[str, ...]]:
    given, notes = fit(Given(evaluation=Examples((x,), np.arange(len(x)))), inputs or IMAGE, "d.npz")
    assert given.evaluation is not None
    assert given.evaluation.y is not None
    assert given.evaluation.y.tolist() == list(range(len(x)))
    return given.evaluation.x[0], notes


def test_samples_that_fit_are_left_alone() -> None:
    x, notes = _fit(_images(3, 7))
    assert notes == ()
    assert np.array_equal(x, _images(3, 7))


def test_a_missing_channel_axis_is_added_and_said_once() -> None:
    flat = Examples((np.zeros((3, 4, 4), np.uint8),))
    given, notes = fit(Given(train=flat, evaluation=flat), IMAGE, "d.npz")
    assert given.train is not None
    assert given.train.x[0].shape == (3, 4, 4, 1)
    assert notes == ("the data have no channel axis: one of size 1 was added",)


def test_no_axis_is_added_where_the_network_has_more_channels() -> None:
    with pytest.raises(UsageError, match="samples have the shape 4x4, the network's input image has 4x4x3"):
        _fit(np.zeros((3, 4, 4)), tensor("image", (1, 4, 4, 3)))


@pytest.mark.parametrize("shape", [(3, 4, 5, 1), (3, 16), (3, 1, 4, 4)])
def test_samples_of_another_shape_are_told_with_both_shapes(shape: tuple[int, ...]) -> None:
    given = "x".join(map(str, shape[1:]))
    with pytest.raises(UsageError, match=f"evaluation: samples have the shape {given}, .* has 4x4x1"):
        _fit(np.zeros(shape))


def test_an_open_dimension_takes_any_size() -> None:
    _, notes = _fit(np.zeros((3, 9, 4, 1)), tensor("image", (1, -1, 4, 1)))
    assert notes == ()


def test_plain_numbers_fit_a_network_that_takes_one() -> None:
    assert _fit(np.zeros(3), tensor("t", (1,)))[0].shape == (3,)


@pytest.mark.parametrize(("value", "row"), [(np.nan, 0), (np.inf, 255), (-np.inf, 256), (np.nan, 599)])
def test_a_sample_that_is_not_finite_is_named_by_its_row(value: float, row: int) -> None:
    x = _images(600)
    x[row, 1, 2, 0] = value
    with pytest.raises(UsageError, match=f"d.npz: evaluation: sample {row} holds NaN or infinite values"):
        _fit(x)


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float64", "float16", "bool"])
def test_numbers_of_every_kind_are_samples(dtype: str) -> None:
    assert _fit(_images(2).astype(dtype))[0].dtype == dtype


@pytest.mark.parametrize("dtype", ["complex64", "U3", "datetime64[s]"])
def test_what_is_no_number_is_no_sample(dtype: str) -> None:
    with pytest.raises(UsageError, match="not numbers"):
        _fit(np.zeros((2, 4, 4, 1), dtype))


def test_a_split_without_samples_is_refused() -> None:
    with pytest.raises(UsageError, match="the evaluation split is empty"):
        _fit(_images(0))


def test_an_input_of_integers_is_not_given_fractions() -> None:
    tokens = (tensor("tokens", dtype="int32", shape=(-1, 4)),)
    whole = Given(train=Examples((np.full((3, 4), 7.0),)))
    broken = Given(train=Examples((np.full((3, 4), 7.7),)))
    fit(whole, tokens, "data")
    with pytest.raises(UsageError, match="not whole numbers"):
        fit(broken, tokens, "data")


def test_samples_with_channels_first_are_refused_with_the_transposition_that_mends_them() -> None:
    spec = TensorSpec(name="image", dtype="float32", shape=(-1, 8, 6, 3))
    first = Given(calibration=Examples((np.zeros((5, 3, 8, 6), np.float32),)))
    with pytest.raises(UsageError) as caught:
        fit(first, (spec,), "data.npz")
    assert "np.transpose(x, (0, 2, 3, 1))" in caught.value.remedy
    small = Given(calibration=Examples((np.zeros((5, 3, 8, 5), np.float32),)))
    with pytest.raises(UsageError) as caught:
        fit(small, (spec,), "data.npz")
    assert caught.value.remedy == "Reshape or resize the data, samples first."
