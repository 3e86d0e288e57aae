"""The data of a build as its files' headers and folders tell it: no sample is read, and no function is called."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from edgebuild.core.outlook import ArrayOutline, DataOutline
from edgebuild.core.plan import Source, Split
from edgebuild.data import array_names, csv_files
from edgebuild.data.array_names import VALIDATION
from edgebuild.data.images import IMAGES, classes_of, folders_of

_TRAIN, _CALIBRATION, _EVALUATION = "train", "calibration", "evaluation"


def outline(source: Source, split: Split) -> DataOutline:
    """What a build would find there.

    Args:
        source: of a .npz or .csv file, a folder of images or a function.
        split: how it would be divided.

    Raises:
        UsageError: a folder holds splits and something else.
    """
    if source.kind != "callable" and (tables := csv_files.files(Path(source.path))):
        return _of_csv(tables, split)
    if source.kind == "file":
        return _of_npz(Path(source.path), split)
    if source.kind == "folder":
        return _of_folder(Path(source.path), split)
    return DataOutline(note="a function, which is not called before the build")


def _of_csv(tables: Mapping[str, Path], split: Split) -> DataOutline:
    rows, note = {}, ""
    for kind, path in tables.items():
        table = csv_files.table(path, split.label_column)
        note = note or f"{len(table.columns)} columns; {table.chosen}"
        with path.open("rb") as file:
            rows[kind] = sum(1 for line in file if line.strip()) - table.has_header
    return DataOutline(samples=divided(rows, split), note=note)


def _of_npz(path: Path, split: Split) -> DataOutline:
    try:
        arrays = tuple(_arrays(path))
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        return DataOutline(note=f"its headers cannot be read: {error}")
    given: dict[str, int] = {}
    for array in arrays:
        kind = array_names.split_of(array.name)
        if array.shape and kind:
            given.setdefault(kind, array.shape[0])
    note = "" if given else "no array is called x_train, x_calibration or x_eval"
    return DataOutline(arrays=arrays, samples=divided(given, split), note=note)


def _arrays(path: Path) -> Iterator[ArrayOutline]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            if not member.endswith(".npy"):
                continue
            with archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0
                if version != (1, 0):
                    read = np.lib.format.read_array_header_2_0
                shape, _, dtype = read(file)
            yield ArrayOutline(name=member.removesuffix(".npy"), shape=tuple(map(int, shape)), dtype=str(dtype))


def _of_folder(path: Path, split: Split) -> DataOutline:
    splits = folders_of(path) or {_TRAIN: path}
    classes = {folder.name for place in splits.values() for folder in classes_of(place)}
    given = {
        kind: sum(1 for folder in classes_of(place) for file in folder.rglob("*") if file.suffix.lower() in IMAGES)
        for kind, place in splits.items()
    }
    return DataOutline(samples=divided(given, split), classes=len(classes))


def divided(given: Mapping[str, int], split: Split) -> dict[str, int]:
    """The samples of each split after what `data.splitting` does, by how many there are of each."""
    train, calibration, evaluation = (given.get(kind, 0) for kind in (_TRAIN, _CALIBRATION, _EVALUATION))
    if not evaluation and train > 1:
        evaluation = min(max(1, round(split.evaluation_share * train)), train - 1)
        train -= evaluation
    if not calibration and train:
        calibration = min(split.calibration_samples, max(1, train // 2))
        train -= calibration
    if not calibration and evaluation > 1:
        calibration = min(split.calibration_samples, evaluation // 2)
        evaluation -= calibration
    validation = {VALIDATION: given[VALIDATION]} if train and given.get(VALIDATION) else {}
    return {_TRAIN: train, **validation, _CALIBRATION: calibration, _EVALUATION: evaluation}
