from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from making import IDENTITY

from edgebuild.core.settings import Preprocess
from edgebuild.data.given import Examples
from edgebuild.data.samples import Joined, Samples, save
from edgebuild.errors import UsageError

FLOAT, INT = np.dtype(np.float32), np.dtype(np.int32)
RGB = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)


def _kept(path: Path, examples: Examples, preprocess: Preprocess = IDENTITY) -> Samples:
    path.mkdir(exist_ok=True)
    save(examples, path / "split")
    return Samples(path / "split", preprocess)


def test_samples_and_answers_come_back_as_they_were(tmp_path: Path) -> None:
    kept = _kept(tmp_path, Examples((RGB, np.array([[5], [6]])), np.array([1, 0])))
    assert len(kept) == 2
    assert kept.y is not None
    assert kept.y.tolist() == [1, 0]
    image, token = kept.batch(0, 2, [FLOAT, INT])
    assert (image.dtype, token.dtype) == (FLOAT, INT)
    assert np.array_equal(image, RGB)
    assert token.tolist() == [[5], [6]]


def test_without_answers_there_are_none(tmp_path: Path) -> None:
    assert _kept(tmp_path, Examples((RGB,))).y is None


def test_many_inputs_keep_their_order(tmp_path: Path) -> None:
    inputs = tuple(np.full((1, 1), number) for number in range(12))
    kept = _kept(tmp_path, Examples(inputs))
    assert [int(array[0, 0]) for array in kept.batch(0, 1, [INT] * 12)] == list(range(12))


def test_floats_are_fed_less_the_mean_times_the_scale(tmp_path: Path) -> None:
    (fed,) = _kept(tmp_path, Examples((RGB,)), Preprocess(mean=2.0, scale=0.5)).batch(0, 2, [FLOAT])
    assert fed.dtype == FLOAT
    assert np.array_equal(fed, (RGB.astype(np.float32) - 2) * np.float32(0.5))


def test_a_list_has_an_entry_for_each_channel(tmp_path: Path) -> None:
    preprocess = Preprocess(mean=(0.0, 1.0, 2.0), scale=(1.0, 2.0, 4.0))
    (fed,) = _kept(tmp_path, Examples((RGB,)), preprocess).batch(0, 2, [FLOAT])
    assert fed[0, 1].tolist() == [3.0, (4 - 1) * 2.0, (5 - 2) * 4.0]


def test_a_list_of_another_length_than_the_channels_is_told(tmp_path: Path) -> None:
    kept = _kept(tmp_path, Examples((RGB,)), Preprocess(mean=(0.0, 1.0), scale=1.0))
    with pytest.raises(UsageError, match="2 means and 1 scales, samples have the shape"):
        kept.batch(0, 2, [FLOAT])


def test_integer_inputs_are_not_scaled(tmp_path: Path) -> None:
    (fed,) = _kept(tmp_path, Examples((RGB,)), Preprocess(mean=2.0, scale=0.5)).batch(0, 2, [INT])
    assert np.array_equal(fed, RGB)


def test_batches_hold_every_sample_once_in_order(tmp_path: Path) -> None:
    kept = _kept(tmp_path, Examples((np.arange(7)[:, np.newaxis],)))
    batches = [arrays[0][:, 0].tolist() for arrays in kept.batches(3, [INT])]
    assert batches == [[0, 1, 2], [3, 4, 5], [6]]


def test_a_split_is_not_saved_over_another(tmp_path: Path) -> None:
    save(Examples((RGB,)), tmp_path / "split")
    with pytest.raises(FileExistsError):
        save(Examples((RGB,)), tmp_path / "split")


def test_equal_splits_have_equal_digests_however_they_lie_in_memory(tmp_path: Path) -> None:
    one = save(Examples((RGB,), np.array([1, 0])), tmp_path / "one")
    two = save(Examples((np.asfortranarray(RGB),), np.array([1, 0])), tmp_path / "two")
    assert one == two


@pytest.mark.parametrize(
    "other",
    [
        Examples((RGB + np.eye(3, dtype=np.uint8),), np.array([1, 0])),
        Examples((RGB.astype(np.int16),), np.array([1, 0])),
        Examples((RGB.reshape(2, 9),), np.array([1, 0])),
        Examples((RGB,), np.array([1, 1])),
        Examples((RGB,)),
    ],
    ids=["a value", "a type", "a shape", "an answer", "no answers"],
)
def test_the_digest_changes_with_the_content(tmp_path: Path, other: Examples) -> None:
    one = save(Examples((RGB,), np.array([1, 0])), tmp_path / "one")
    assert save(other, tmp_path / "two") != one


def test_a_list_of_scales_must_have_one_for_each_channel(tmp_path: Path) -> None:
    save(Examples((np.ones((2, 3, 1), np.float32),)), tmp_path / "split")
    samples = Samples(tmp_path / "split", Preprocess(scale=(0.1, 0.2), mean=0.0))
    with pytest.raises(UsageError, match="2 scales"):
        samples.batch(0, 2, [np.dtype(np.float32)])


@pytest.mark.parametrize(("most", "rows"), [(0, range(10)), (10, range(10)), (4, (0, 3, 6, 9)), (1, (0,))])
def test_no_more_than_are_wanted_are_taken_evenly(most: int, rows: Sequence[int], tmp_path: Path) -> None:
    save(Examples((np.arange(10)[:, None],), np.arange(10)), tmp_path / "split")
    kept = Samples(tmp_path / "split", IDENTITY, most)
    assert len(kept) == len(rows)
    assert kept.y is not None
    assert kept.y.tolist() == kept.batch(0, 10, [INT])[0][:, 0].tolist() == list(rows)


def test_two_splits_are_one_after_the_other(tmp_path: Path) -> None:
    first = _kept(tmp_path, Examples((np.arange(5)[:, np.newaxis],), np.arange(5)))
    save(Examples((np.arange(5, 8)[:, np.newaxis],), np.arange(5, 8)), tmp_path / "more")
    joined = Joined(first, Samples(tmp_path / "more", IDENTITY))
    assert len(joined) == 8
    assert joined.y is not None
    for rows in ([6, 0, 7, 3], [1, 2], [7, 5], []):
        (found,) = joined.take(np.array(rows, np.intp), [INT])
        assert found.ravel().tolist() == joined.y[np.array(rows, np.intp)].tolist() == rows
    assert joined.batch(3, 20, [INT])[0].ravel().tolist() == [3, 4, 5, 6, 7]
    assert Joined(first, _kept(tmp_path / "x", Examples((RGB,)))).y is None
