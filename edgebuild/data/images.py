"""Folders of images by class, or by split and class."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from edgebuild.core.model import TensorSpec
from edgebuild.core.resizing import Resizing
from edgebuild.data import array_names
from edgebuild.data.given import Examples, Given
from edgebuild.errors import UsageError

# Files by their endings, and what Pillow calls their formats. It reads others too, some of them by starting programs.
_FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
IMAGES = frozenset(_FORMATS)
_METHOD = "BILINEAR"  # of PIL.Image.Resampling


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
    require_images(path)
    splits = folders_of(path) or {array_names.TRAIN: path}
    labels = sorted({item.name for folder in splits.values() for item in classes_of(folder)})
    sizes: list[tuple[int, int]] = []
    examples = {
        split: _images(folder, labels, inputs[0].shape, sizes, lambda text, s=split: say(f"{s}: {text}"))  # type: ignore[misc]
        for split, folder in splits.items()
    }
    return Given.of(examples, tuple(labels))._replace(resizing=_resizing(sizes, inputs[0].shape))


def _resizing(sizes: list[tuple[int, int]], shape: tuple[int, ...]) -> Resizing | None:
    """What became of images of these sizes; None where all had the network's."""
    _, height, width, _ = shape
    others = sorted((size for size in sizes if size != (height, width)), key=lambda size: (size[0] * size[1], size))
    if not others:
        return None
    return Resizing(
        method=_METHOD.lower(),
        library=f"Pillow {version('pillow')}",
        images=len(others),
        total=len(sizes),
        smallest=others[0],
        largest=others[-1],
        size=(height, width),
    )


def folders_of(path: Path) -> dict[str, Path]:
    """The folders that are splits, which hold classes in turn; none where the folders are classes themselves.

    Raises:
        UsageError: two folders mean the same split, or there are folders beside the splits.
    """
    folders = _folders_in(path)
    splits = {folder.name: folder for folder in folders if array_names.is_split(folder.name) and _folders_in(folder)}
    meant = array_names.splits_of(splits, str(path))
    others = [folder.name for folder in folders if folder.name not in splits]
    if splits and others:
        known = ", ".join(splits)
        raise UsageError(f"{path} holds splits ({known}) and other folders ({', '.join(others)})", "Move those away.")
    return {meant[name]: folder for name, folder in splits.items()}


def require_images(path: Path) -> None:
    """Refuse a folder whose names mean nothing, before any image is read.

    Raises:
        UsageError: as `folders_of`, or there is no image in a folder of a class.
    """
    for folder in (folders_of(path) or {array_names.TRAIN: path}).values():
        if not classes_of(folder):
            raise UsageError(
                f"{folder} holds no images", f"Looked for {', '.join(sorted(IMAGES))} in a folder for each class."
            )


def classes_of(folder: Path) -> list[Path]:
    """The folders of classes that hold images, in the order of their names."""
    return [item for item in _folders_in(folder) if _holds_images(item)]


def _folders_in(path: Path) -> list[Path]:
    """The folders that mean something: tools leave hidden ones (.git, .ipynb_checkpoints, __MACOSX) anywhere."""
    return sorted(item for item in path.iterdir() if item.is_dir() and not item.name.startswith((".", "__")))


def _holds_images(folder: Path) -> bool:
    return any(file.suffix.lower() in IMAGES for file in folder.rglob("*"))


def _images(
    folder: Path, labels: list[str], shape: tuple[int, ...], sizes: list[tuple[int, int]], say: Callable[[str], None]
) -> Examples:
    """The images of a split; their own sizes are appended to `sizes`."""
    files = [
        (index, file)
        for index, label in enumerate(labels)
        for file in sorted((folder / label).rglob("*"))
        if file.suffix.lower() in IMAGES
    ]
    x = np.empty((len(files), *shape[1:]), np.uint8)
    for row, (_, file) in enumerate(files):
        x[row] = _image(file, shape, sizes)
        say(f"{row + 1:,} of {len(files):,} images")
    return Examples((x,), np.array([index for index, _ in files], np.int64))


def _image(file: Path, shape: tuple[int, ...], sizes: list[tuple[int, int]]) -> Any:
    from PIL import Image  # only folders of images need it

    _, height, width, channels = shape
    try:
        with Image.open(file, formats=sorted(set(_FORMATS.values()))) as image:
            sizes.append((image.height, image.width))
            pixels = image.convert("L" if channels == 1 else "RGB").resize((width, height), Image.Resampling[_METHOD])
    except Exception as error:  # a damaged image raises whatever its decoder does
        raise UsageError(f"{file} is not a readable image", str(error), "Remove or repair it.") from None
    return np.asarray(pixels, np.uint8).reshape(shape[1:])
