"""Data from a .npz file, a folder of images by class, or what a module:callable returned."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgebuild.core.model import TensorSpec
from edgebuild.data.given import SPLITS, SUFFIXES, Examples, Given, from_arrays, matches
from edgebuild.errors import UsageError

IMAGES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"})
# Folder names that mean a split rather than a class.
_FOLDERS = {
    "train": "train",
    "calibration": "calibration",
    "eval": "evaluation",
    "evaluation": "evaluation",
    "test": "evaluation",
    "val": "evaluation",
    "validation": "evaluation",
}
_INFINITE = -1  # tf.data.INFINITE_CARDINALITY


def from_npz(path: Path, inputs: tuple[TensorSpec, ...]) -> Given:
    """Read a .npz file; arrays of Python objects are refused, since unpickling runs code.

    Raises:
        UsageError: it is no .npz file, is damaged, or its arrays do not fit together.
    """
    if not zipfile.is_zipfile(path):
        raise UsageError(f"{path} is not a .npz file", "It is no zip archive.", "Save named arrays with numpy.savez.")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # a damaged archive raises whatever its decompressor does
        raise UsageError(
            f"{path} cannot be read as a .npz file", str(error), "Save named arrays of numbers with numpy.savez."
        ) from None
    return from_arrays(arrays, inputs, path.name)


def from_folder(path: Path, inputs: tuple[TensorSpec, ...], say: Callable[[str], None]) -> Given:
    """Read a folder of images by class (CLASS/image) or by split and class (train/CLASS/image).

    Images become uint8 arrays of the network's height, width and channels (1 or 3), resized bilinearly; classes are
    numbered in the order of their names.

    Raises:
        UsageError: the network takes no images, a file is no image, or there is none.
    """
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[3] not in (1, 3) or -1 in inputs[0].shape[1:]:
        shapes = ", ".join(str(list(spec.shape)) for spec in inputs)
        raise UsageError(
            f"{path} is a folder of images, and the network does not take one image",
            f"Its input shape is {shapes}; an image is [batch, height, width, 1 or 3].",
        )
    splits = folders_of(path) or {"train": path}
    labels = sorted({item.name for folder in splits.values() for item in classes_of(folder)})
    examples = {
        split: _images(folder, labels, inputs[0].shape, lambda text, s=split: say(f"{s}: {text}"))  # type: ignore[misc]
        for split, folder in splits.items()
    }
    return Given.of(examples, tuple(labels))


def from_result(result: Any, inputs: tuple[TensorSpec, ...], where: str) -> Given:
    """Sort what a user's function returned: a mapping of arrays or of tf.data datasets, one dataset, or (x, y).

    Raises:
        UsageError: it is none of these, or a dataset has no end.
    """
    if hasattr(result, "as_numpy_iterator"):
        return Given(train=_dataset(result, inputs, where))
    if isinstance(result, tuple) and len(result) == 2 and all(_is_pair(part) for part in result):
        (x_train, y_train), (x_eval, y_eval) = result
        named = {"x_train": x_train, "y_train": y_train, "x_eval": x_eval, "y_eval": y_eval}
        return from_arrays(named, inputs, where)
    if isinstance(result, tuple) and len(result) == 2:
        return from_arrays({"x_train": result[0], "y_train": result[1]}, inputs, where)
    if isinstance(result, Mapping) and result and all(hasattr(v, "as_numpy_iterator") for v in result.values()):
        names = {alias: split for split, suffixes in SUFFIXES.items() for alias in (split, *suffixes)}
        unknown = sorted(set(result) - set(names))
        if unknown:
            raise UsageError(f"{where}: unknown splits {', '.join(unknown)}", f"Known: {', '.join(SPLITS)}.")
        return Given.of({names[k]: _dataset(v, inputs, f"{where} {k}") for k, v in result.items()})
    if isinstance(result, Mapping):
        return from_arrays({str(name): np.asarray(array) for name, array in result.items()}, inputs, where)
    raise UsageError(
        f"{where} returned {type(result).__name__}",
        remedy="Return a mapping of arrays (x_train, y_train, ...), a pair (x, y), or tf.data datasets.",
    )


def _is_pair(part: Any) -> bool:
    """Whether it is (x, y), as each half of what Keras's own data sets return."""
    return isinstance(part, tuple | list) and len(part) == 2 and all(hasattr(array, "shape") for array in part)


def folders_of(path: Path) -> dict[str, Path]:
    """The folders that are splits, which hold classes in turn; none where the folders are classes themselves."""
    folders = _folders_in(path)
    splits: dict[str, Path] = {}
    for folder in folders:
        split = _FOLDERS.get(folder.name.lower())
        if split is not None and _folders_in(folder):
            if split in splits:
                raise UsageError(f"{path}: both {splits[split].name} and {folder.name} mean the {split} split")
            splits[split] = folder
    others = [folder.name for folder in folders if folder not in splits.values()]
    if splits and others:
        known = ", ".join(folder.name for folder in splits.values())
        raise UsageError(f"{path} holds splits ({known}) and other folders ({', '.join(others)})", "Move those away.")
    return splits


def classes_of(folder: Path) -> list[Path]:
    """The folders of classes that hold images, in the order of their names."""
    return [item for item in _folders_in(folder) if _holds_images(item)]


def _folders_in(path: Path) -> list[Path]:
    """The folders that mean something: tools leave hidden ones (.git, .ipynb_checkpoints, __MACOSX) anywhere."""
    return sorted(item for item in path.iterdir() if item.is_dir() and not item.name.startswith((".", "__")))


def _holds_images(folder: Path) -> bool:
    return any(file.suffix.lower() in IMAGES for file in folder.rglob("*"))


def _images(folder: Path, labels: list[str], shape: tuple[int, ...], say: Callable[[str], None]) -> Examples:
    files = [
        (index, file)
        for index, label in enumerate(labels)
        for file in sorted((folder / label).rglob("*"))
        if file.suffix.lower() in IMAGES
    ]
    if not files:
        raise UsageError(f"{folder} holds no images", f"Looked for {', '.join(sorted(IMAGES))} in a folder a class.")
    x = np.empty((len(files), *shape[1:]), np.uint8)
    for row, (_, file) in enumerate(files):
        x[row] = _image(file, shape)
        say(f"{row + 1:,} of {len(files):,} images")
    return Examples((x,), np.array([index for index, _ in files], np.int64))


def _image(file: Path, shape: tuple[int, ...]) -> Any:
    from PIL import Image  # only folders of images need it

    _, height, width, channels = shape
    try:
        with Image.open(file) as image:
            pixels = image.convert("L" if channels == 1 else "RGB").resize((width, height), Image.Resampling.BILINEAR)
    except Exception as error:  # a damaged image raises whatever its decoder does
        raise UsageError(f"{file} is not a readable image", str(error), "Remove or repair it.") from None
    return np.asarray(pixels, np.uint8).reshape(shape[1:])


def _dataset(dataset: Any, inputs: tuple[TensorSpec, ...], where: str) -> Examples:
    if int(dataset.cardinality()) == _INFINITE:
        raise UsageError(f"{where}: the dataset has no end", remedy="Take a number of elements: dataset.take(1000).")
    rows = list(_elements(dataset, inputs, where))
    if not rows:
        raise UsageError(f"{where}: the dataset is empty")
    x = tuple(np.concatenate([row[0][position] for row in rows]) for position in range(len(inputs)))
    ys = [row[1] for row in rows if row[1] is not None]
    return Examples(x, np.concatenate(ys) if len(ys) == len(rows) else None)


def _is_single(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether an element is one sample rather than a batch; a channel axis of 1 may be missing in either."""
    return matches(shape, wanted) or (wanted[-1:] == (1,) and matches(shape, wanted[:-1]))


def _elements(dataset: Any, inputs: tuple[TensorSpec, ...], where: str) -> Iterator[tuple[list[Any], Any]]:
    """Every element as batches: the arrays of all inputs, and the answers or None."""
    for element in dataset.as_numpy_iterator():
        x, y = element[:2] if isinstance(element, tuple) and len(element) >= 2 else (element, None)
        if isinstance(x, Mapping):
            missing = [spec.name for spec in inputs if spec.name not in x]
            if missing:
                keys = ", ".join(map(str, x))
                raise UsageError(
                    f"{where}: its elements have {keys}, and the network's inputs are {', '.join(missing)}",
                    remedy="Map them to pairs: dataset.map(lambda e: (e['image'], e['label'])).",
                )
            x = [x[spec.name] for spec in inputs]
        x = [np.asarray(part) for part in (x if isinstance(x, list | tuple) else (x,))]
        if len(x) != len(inputs):
            raise UsageError(f"{where}: its elements hold {len(x)} inputs, the network has {len(inputs)}")
        if _is_single(x[0].shape, inputs[0].shape[1:]):
            x, y = [part[np.newaxis] for part in x], None if y is None else np.asarray(y)[np.newaxis]
        yield x, y
