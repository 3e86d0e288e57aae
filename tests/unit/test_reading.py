from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from making import tensor
from PIL import Image

from edgebuild.data.given import Examples, Given
from edgebuild.data.images import from_folder
from edgebuild.data.reading import from_npz, from_result
from edgebuild.errors import UsageError

IMAGE = (tensor("image", (1, 4, 6, 1)),)
COLOUR = (tensor("image", (1, 4, 6, 3)),)
VECTOR = (tensor("v", (1, 3)),)


def _say(_: str) -> None:
    pass


def _given(examples: Examples | None) -> Examples:
    assert examples is not None
    return examples


def _answers(examples: Examples | None) -> list[Any]:
    y = _given(examples).y
    assert y is not None
    return list(y.tolist())


def test_a_npz_file_is_read_into_splits(tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    np.savez(path, x_train=np.ones((5, 3)), y_train=np.arange(5), labels=["a", "b"])
    given = from_npz(path, VECTOR)
    assert _answers(given.train) == [0, 1, 2, 3, 4]
    assert given.labels == ("a", "b")


def test_arrays_of_python_objects_are_refused_unread(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    path = tmp_path / "d.npz"
    np.savez(path, x_train=np.array([Trap()], object), allow_pickle=True)
    with pytest.raises(UsageError, match=r"cannot be read as a \.npz file"):
        from_npz(path, VECTOR)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("data", [b"", b"x_train: 1, 2, 3\n", b"\x93NUMPY\x01\x00"])
def test_what_is_no_zip_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "d.npz"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=r"is not a \.npz file"):
        from_npz(path, VECTOR)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_damaged_npz_file_is_read_or_refused_and_nothing_else(tmp_path: Path, save: Any) -> None:
    path = tmp_path / "d.npz"
    save(path, x_train=np.arange(300.0).reshape(100, 3), y_train=np.arange(100) % 7)
    data, rng, refused = path.read_bytes(), random.Random(3), 0
    for _ in range(300):
        damaged = bytearray(data)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            from_npz(path, VECTOR)
        except UsageError:
            refused += 1
    assert refused > 100


def _picture(path: Path, colour: tuple[int, int, int] = (255, 0, 0), size: tuple[int, int] = (6, 4)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def test_a_folder_of_classes_is_numbered_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("dog/b.png", "cat/a.png", "dog/a.png", "eel/deep/x.jpg"):
        _picture(tmp_path / name)
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    given = from_folder(tmp_path, COLOUR, _say)
    assert given.labels == ("cat", "dog", "eel")
    assert _answers(given.train) == [0, 1, 1, 2]
    assert (given.calibration, given.evaluation) == (None, None)


def test_images_take_the_size_and_the_channels_of_the_network(tmp_path: Path) -> None:
    _picture(tmp_path / "red" / "a.png", (255, 0, 0), (50, 30))
    (colour,) = _given(from_folder(tmp_path, COLOUR, _say).train).x
    (grey,) = _given(from_folder(tmp_path, IMAGE, _say).train).x
    assert (colour.shape, colour.dtype) == ((1, 4, 6, 3), np.uint8)
    assert colour[0, 0, 0].tolist() == [255, 0, 0]
    assert grey.shape == (1, 4, 6, 1)
    # ITU-R 601-2: 0.299 of red.
    assert set(grey.ravel().tolist()) == {76}


def test_an_image_of_the_right_size_keeps_every_pixel_in_its_place(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    (tmp_path / "noise").mkdir()
    Image.fromarray(pixels).save(tmp_path / "noise" / "a.png")
    (read,) = _given(from_folder(tmp_path, COLOUR, _say).train).x
    assert np.array_equal(read[0], pixels)


@pytest.mark.parametrize(
    ("folder", "split"),
    [("train", "train"), ("calibration", "calibration"), ("Test", "evaluation"), ("val", "evaluation")],
)
def test_folders_named_like_splits_are_splits(tmp_path: Path, folder: str, split: str) -> None:
    _picture(tmp_path / "train" / "cat" / "a.png")
    _picture(tmp_path / folder / "dog" / "b.png")
    given = from_folder(tmp_path, COLOUR, _say)
    assert given.labels == ("cat", "dog")
    assert 1 in _answers(getattr(given, split))


def test_a_class_named_like_a_split_beside_other_classes_is_a_class(tmp_path: Path) -> None:
    for name in ("exam", "test"):
        _picture(tmp_path / name / "a.png")
    assert from_folder(tmp_path, COLOUR, _say).labels == ("exam", "test")


def _splits(tmp_path: Path, *names: str) -> Given:
    for count, split in enumerate(names, start=1):
        for number in range(count):
            for label in ("cat", "dog"):
                _picture(tmp_path / split / label / f"{number}.png")
    return from_folder(tmp_path, COLOUR, _say)


def test_two_folders_for_evaluation_are_not_taken_for_classes(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"both eval and test mean the evaluation split"):
        _splits(tmp_path, "train", "eval", "test")


def test_validation_folders_beside_a_test_folder_are_for_choosing(tmp_path: Path) -> None:
    given = _splits(tmp_path, "train", "val", "test")
    assert [len(_given(part)) for part in (given.train, given.validation, given.evaluation)] == [2, 4, 6]


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    _picture(tmp_path / "cat" / "a.png")
    (tmp_path / "cat" / "b.png").write_bytes(b"no png")
    with pytest.raises(UsageError, match=r"cat/b\.png is not a readable image"):
        from_folder(tmp_path, COLOUR, _say)


def test_a_file_of_a_format_that_needs_a_program_is_no_image_whatever_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[object] = []
    monkeypatch.setattr("subprocess.Popen", lambda *arguments, **_: started.append(arguments))
    (tmp_path / "cat").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "cat" / "a.eps")
    (tmp_path / "cat" / "a.eps").rename(tmp_path / "cat" / "a.png")
    with pytest.raises(UsageError, match=r"cat/a\.png is not a readable image"):
        from_folder(tmp_path, COLOUR, _say)
    assert not started


def test_a_damaged_image_is_read_or_named_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "cat" / "a.png"
    path.parent.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    Image.fromarray(noise).save(path)
    data, rng, refused = path.read_bytes(), random.Random(4), 0
    for _ in range(300):
        damaged = bytearray(data)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            from_folder(tmp_path, COLOUR, _say)
        except UsageError:
            refused += 1
    assert refused > 50


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    with pytest.raises(UsageError, match="holds no images"):
        from_folder(tmp_path, COLOUR, _say)


@pytest.mark.parametrize(
    "inputs",
    [VECTOR, (*COLOUR, *COLOUR), (tensor("i", (1, 4, 6, 2)),), (tensor("i", (1, -1, 6, 3)),)],
    ids=["no image", "two images", "two channels", "open height"],
)
def test_images_are_refused_for_a_network_that_does_not_take_one(tmp_path: Path, inputs: Any) -> None:
    with pytest.raises(UsageError, match="the network does not take one image"):
        from_folder(tmp_path, inputs, _say)


class _Dataset:
    """Stands for a tf.data.Dataset, of which only these two methods are used."""

    def __init__(self, *elements: Any, endless: bool = False) -> None:
        self._elements = elements
        self._endless = endless

    def cardinality(self) -> int:
        return -1 if self._endless else len(self._elements)

    def as_numpy_iterator(self) -> Iterator[Any]:
        return iter(self._elements)


def _result(value: Any, inputs: Any = VECTOR) -> Given:
    return from_result(value, inputs, "mod:load")


def test_a_mapping_of_arrays_is_read_like_a_file() -> None:
    given = _result({"x_train": [[1, 2, 3]], "y_train": [0], "x_eval": [[4, 5, 6]]})
    assert _given(given.evaluation).x[0].tolist() == [[4, 5, 6]]
    assert _answers(given.train) == [0]


def test_a_pair_is_train() -> None:
    assert _answers(_result((np.zeros((4, 3)), np.arange(4))).train) == [0, 1, 2, 3]


def test_batches_and_single_elements_of_a_dataset_give_the_same() -> None:
    x, y = np.arange(12.0).reshape(4, 3), np.arange(4)
    batched = _result(_Dataset((x[:3], y[:3]), (x[3:], y[3:])))
    single = _result(_Dataset(*zip(x, y, strict=True)))
    for given in (batched, single):
        assert np.array_equal(_given(given.train).x[0], x)
        assert _answers(given.train) == [0, 1, 2, 3]


def test_a_dataset_may_have_no_answers() -> None:
    train = _given(_result(_Dataset(np.zeros(3), np.ones(3))).train)
    assert train.y is None
    assert train.x[0].tolist() == [[0, 0, 0], [1, 1, 1]]


def test_elements_may_name_their_inputs() -> None:
    inputs = (tensor("left", (1, 2)), tensor("right", (1, 1)))
    data = _Dataset(({"right": np.array([[9]]), "left": np.array([[1, 2]])}, np.array([0])))
    assert [array.tolist() for array in _given(_result(data, inputs).train).x] == [[[1, 2]], [[9]]]


def test_datasets_are_sorted_into_splits_by_their_names() -> None:
    given = _result({"train": _Dataset((np.zeros(3), 1)), "test": _Dataset((np.ones(3), 2))})
    assert (_answers(given.train), _answers(given.evaluation)) == ([1], [2])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (_Dataset(endless=True), "mod:load: the dataset is empty"),
        (_Dataset(), "mod:load: the dataset is empty"),
        (
            {"train": _Dataset((np.zeros(3), 1)), "tset": _Dataset()},
            'mod:load: unknown splits tset; did you mean "test"',
        ),
        (_Dataset(((np.zeros(3), np.zeros(3)), 1)), "mod:load: its elements hold 2 inputs, the network has 1"),
        ([1, 2, 3], "mod:load returned list"),
        (None, "mod:load returned NoneType"),
        ((1, 2, 3), "mod:load returned tuple"),
    ],
    ids=["endless", "empty", "unknown split", "two inputs", "list", "nothing", "triple"],
)
def test_what_is_no_data_is_told_with_its_function(value: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        _result(value)


def test_hidden_folders_and_folders_without_images_are_no_classes(tmp_path: Path) -> None:
    for place in ("cat", "dog", ".ipynb_checkpoints", "__MACOSX", "empty"):
        (tmp_path / place).mkdir()
    for place in ("cat", "dog", ".ipynb_checkpoints", "__MACOSX"):
        Image.new("L", (4, 4)).save(tmp_path / place / "one.png")
    given = from_folder(tmp_path, (tensor("image", shape=(-1, 4, 4, 1)),), lambda _: None)
    assert given.labels == ("cat", "dog")
    assert given.train is not None
    assert given.train.y is not None
    assert given.train.y.tolist() == [0, 1]


def test_what_keras_data_sets_return_is_train_and_evaluation() -> None:
    def half(count: int) -> tuple[Any, Any]:
        return np.zeros((count, 4), np.float32), np.zeros(count, np.int64)

    given = from_result((half(5), half(3)), (tensor("x", shape=(-1, 4)),), "mine:data")
    assert given.train is not None
    assert given.evaluation is not None
    assert (len(given.train), len(given.evaluation)) == (5, 3)
