"""The network, the data and the functions that a request names, looked at from outside: their kinds and digests."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from edgebuild import hashing, plugins
from edgebuild.config import is_callable
from edgebuild.core.plan import Source
from edgebuild.decode import closest
from edgebuild.errors import StepError, UsageError
from edgebuild.plugins import Group

_MODEL_ENDINGS = (".keras", ".h5", ".hdf5")
_MODEL_KINDS = "a .keras or .h5 file, a SavedModel folder, or module:callable"
_DATA_KINDS = "a .npz or .csv file, a folder of images by class, or module:callable"
EXAMPLE = Source(kind="example", path="scikit-learn digits", sha256="")
# By these a module may get names that do not stand in it.
_MAKES_NAMES = re.compile(r"import \*|__getattr__|globals\(|exec\(|setattr\(")
_DEFINED = re.compile(r"^(?:async +)?(?:def|class) +(\w+)|^(\w+) *=", re.MULTILINE)
_WHERE = "Modules are looked up in the working folder and in the environment."


def model(path: str) -> Source:
    """The network a path names, or a text that the importer of a plug-in takes.

    Raises:
        UsageError: there is no such file, or it is of a kind that is not read.
        StepError: it cannot be read.
    """
    try:
        return _model(path)
    except UsageError:
        found = _imported(path)
        if found is None:
            raise
        return found


def _imported(path: str) -> Source | None:
    """What the importer of a plug-in takes; None where none does."""
    takers = [found.plugin for found in map(_importer, plugins.names(Group.IMPORTERS)) if _takes(found, path)]
    if len(takers) > 1:
        labels = " and ".join(plugin.label for plugin in takers)
        raise UsageError(f"two importers take {path}: {labels}", remedy="Uninstall one of their packages.")
    if not takers:
        return None
    digest = hashing.of_tree(Path(path)) if Path(path).exists() else ""
    return Source(kind="imported", path=path, sha256=digest, plugin=takers[0])


def _importer(name: str) -> plugins.Found:
    return plugins.require(Group.IMPORTERS, name)


def _takes(found: plugins.Found, path: str) -> bool:
    return bool(plugins.guarded(Group.IMPORTERS, found.plugin, found.offer.takes, path))


def _model(path: str) -> Source:
    source = _source(path, "model", _MODEL_KINDS)
    if source.kind == "file" and not path.endswith(_MODEL_ENDINGS):
        if path.endswith(".tflite"):
            raise UsageError(f"{path} is an artifact already", "edgebuild makes .tflite files from networks.")
        raise UsageError(f"{path} is no network that can be read", f"Known: {_MODEL_KINDS}.")
    if source.kind == "folder" and not (Path(path) / "saved_model.pb").is_file():
        raise UsageError(f"{path} is no SavedModel", "There is no saved_model.pb in it.", f"Known: {_MODEL_KINDS}.")
    return source


def data(path: str, label_column: str | int = "") -> Source | None:
    """The data a path names; None where it is empty.

    Args:
        path: a file, a folder or a module:callable.
        label_column: of a CSV file; empty for the one that is called like one, or the last.

    Raises:
        UsageError: there is no such file, it is of a kind that is not read, or its arrays, columns or folders have
            names that mean nothing.
        StepError: it cannot be read.
    """
    if not path:
        return None
    source = _source(path, "data", _DATA_KINDS)
    if source.kind in ("file", "folder") and not path.endswith(".npz"):
        from edgebuild.data import csv_files  # numpy, which not every command needs

        tables = csv_files.files(Path(path))
        for file in tables.values():
            csv_files.table(file, label_column)
        if tables:
            return source
    if label_column != "":
        raise UsageError(f"[data] label_column is for CSV files, and the data are {path}")
    if source.kind == "file" and not path.endswith(".npz"):
        raise UsageError(f"{path} is no data that can be read", f"Known: {_DATA_KINDS}.")
    if source.kind == "file":
        from edgebuild.data import array_names, headers  # likewise

        if names := headers.names(Path(path)):
            array_names.require_known(names, Path(path).name)
        return msgspec.structs.replace(source, shapes=headers.sample_shapes(Path(path)))
    if source.kind == "folder":
        from edgebuild.data import images  # likewise

        images.require_images(Path(path))
    return source


def learnt(path: str, folders: Sequence[str]) -> Source:
    """A teacher, a student, or a function that has a say in training.

    Args:
        path: a file, a folder or a module:callable.
        folders: where modules of the user's own are looked up; a function's digest is that of its file (a package's of
            all of its files), and empty where it is found in none of them.

    Raises:
        UsageError: there is no such file.
        StepError: it cannot be read.
    """
    found = _source(path, "file", "a .keras or .h5 file, a SavedModel folder, a .npy of outputs, or module:callable")
    if found.kind != "callable":
        return found
    package, *inner = path.partition(":")[0].split(".")
    for folder in map(Path, folders):
        if (folder / package / "__init__.py").is_file():
            return msgspec.structs.replace(found, sha256=hashing.of_tree(folder / package))
        if not inner and (folder / f"{package}.py").is_file():
            return msgspec.structs.replace(found, sha256=hashing.of_file(folder / f"{package}.py"))
    return found


def _source(path: str, what: str, kinds: str) -> Source:
    place = Path(path)
    try:
        if place.is_file():
            return Source(kind="file", path=path, sha256=hashing.of_file(place))
        if place.is_dir():
            return Source(kind="folder", path=path, sha256=hashing.of_tree(place))
    except OSError as error:
        raise StepError(f"{path} cannot be read", str(error)) from None
    if is_callable(path):
        return Source(kind="callable", path=path, sha256="")
    raise UsageError(f"there is no {what} at {path}", remedy=f"Name {kinds}.")


def model_file(model: Any, folder: Path) -> str:
    """A path for a model that may be one already; a Keras object is saved first."""
    if model is None or isinstance(model, str | Path):
        return str(model or "")
    if not hasattr(model, "save"):
        raise UsageError(f"{type(model).__name__} is no model", remedy="Give a path or a Keras model.")
    path = folder / "model.keras"
    model.save(path)
    return str(path)


def data_file(data: str | Path | Mapping[str, Any] | None, folder: Path) -> str:
    """A path for data that may be one already; arrays by name are saved first."""
    if data is None or isinstance(data, str | Path):
        return str(data or "")
    import numpy as np

    path = folder / "data.npz"
    np.savez(path, **data)
    return str(path)


def require(path: str, folders: Sequence[str]) -> None:
    """Refuse a module that is nowhere, and a name that does not stand in a module of the user's.

    Args:
        path: module:callable.
        folders: where modules of the user's own are looked up.

    Raises:
        UsageError: it would not be found once it is called.
    """
    module, _, name = path.partition(":")
    top, *inner = module.split(".")
    for folder in map(Path, folders):
        file = folder.joinpath(top, *inner)
        source = next((item for item in (file.with_suffix(".py"), file / "__init__.py") if item.is_file()), None)
        if source is not None:
            _require_name(path, name, source)
            return
        if (folder / top).is_dir():
            return
    if top not in sys.modules and importlib.util.find_spec(top) is None:
        known = [item.stem for folder in folders for item in Path(folder).glob("*.py")]
        raise UsageError(f"{path} cannot be loaded", f"There is no module {top}{closest(top, known)}.", _WHERE)


def _require_name(path: str, name: str, file: Path) -> None:
    text = file.read_text(encoding="utf-8", errors="replace")
    if re.search(rf"\b{name}\b", text) or _MAKES_NAMES.search(text):
        return
    defined = [function or value for function, value in _DEFINED.findall(text)]
    raise UsageError(
        f"{path} cannot be loaded",
        f"{file} defines no {name}{closest(name, defined)}.",
        f"It defines {', '.join(defined[:10])}." if defined else _WHERE,
    )
