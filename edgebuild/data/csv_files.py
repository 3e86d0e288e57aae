"""Samples in the rows of a CSV file: columns of numbers for the network's inputs, and a column of labels."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edgebuild.core.model import TensorSpec
from edgebuild.data import array_names
from edgebuild.data.array_names import TRAIN
from edgebuild.data.given import Array, Examples, Given, identifier, numbered
from edgebuild.decode import closest
from edgebuild.errors import UsageError

ENDINGS = (".csv", ".tsv")
_DELIMITERS = {"\t": "tabs", ";": "semicolons", ",": "commas"}
# What a column of labels is usually called.
_LABELS = ("label", "labels", "class", "target", "y", "category", "species")
_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})
_SHOWN = 12  # columns that a message names


class Table(NamedTuple):
    """A CSV file as its first rows tell it.

    Attributes:
        columns: their names; numbers from 0 where the file has no header.
        has_header: whether the first row holds them.
        delimiter: a comma, a semicolon or a tab.
        label: the position of the column of labels; None where there is none.
        chosen: why that is it, for people.
        is_guess: whether it may as well be an input: nothing names it, and it holds a number.
    """

    columns: tuple[str, ...]
    has_header: bool
    delimiter: str
    label: int | None
    chosen: str
    is_guess: bool = False


def table(path: Path, label_column: str | int = "") -> Table:
    """What the first rows of a file tell.

    Args:
        path: the file.
        label_column: by name, or by number from 0 (-1 is the last); empty for a column that is called like one, else
            the last.

    Raises:
        UsageError: it is no CSV file, or has no such column.
    """
    rows = [row for _, row in zip(range(2), _rows(path, _delimiter(path)), strict=False)]
    if not rows:
        raise UsageError(f"{path} is empty", remedy="Give a sample in each row.")
    first, second = rows[0][1], rows[-1][1]
    # Words over numbers are names of columns, and so are words alone; words over words may be names of classes.
    words = [not _is_number(field) for field in first]
    over_numbers = any(word and _is_number(below) for word, below in zip(words, second, strict=False))
    has_header = all(words) or over_numbers
    columns = tuple(field.strip() for field in first) if has_header else tuple(map(str, range(len(first))))
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise UsageError(f"{path}: several columns are called {twice[0]!r}", remedy="Give each column its own name.")
    label, chosen = _label(columns, label_column, path, has_header=has_header)
    is_guess = label_column == "" and columns[label].lower() not in _LABELS and _is_number(second[-1])
    return Table(columns, has_header, _delimiter(path), label, chosen, is_guess)


def files(path: Path) -> dict[str, Path]:
    """The CSV files at a path by their splits: one file is all there is, a folder may hold train.csv, test.csv, ...

    Returns:
        None of them where the path is something else; a folder with folders in it is one of images.

    Raises:
        UsageError: a file in the folder is called after no split, or two mean the same.
    """
    if path.is_file():
        return {TRAIN: path} if path.suffix.lower() in ENDINGS else {}
    inside = [] if not path.is_dir() else [item for item in sorted(path.iterdir()) if not item.name.startswith(".")]
    if any(item.is_dir() for item in inside):
        return {}
    tables = {item.stem: item for item in inside if item.suffix.lower() in ENDINGS}
    return {split: tables[name] for name, split in array_names.splits_of(tables, str(path)).items()}


def from_csv(path: Path, inputs: tuple[TensorSpec, ...], label_column: str | int = "") -> Given:
    """Read all rows of a file into one split, which is divided later, or those of a folder's files each into its own.

    Columns go to inputs by name where every input is a single number that a column is named after; else in their order,
    each input taking as many as it has values.

    Raises:
        UsageError: a row is not like the first, a value is missing or no number, or the columns do not fit the inputs.
    """
    notes: dict[str, None] = {}
    splits: dict[str, Examples | None] = {}
    for split, file in files(path).items():
        splits[split], said = _examples(file, inputs, label_column)
        notes |= dict.fromkeys(said)
    return numbered(Given.of(splits, notes=tuple(notes)), path.name)


def _examples(path: Path, inputs: tuple[TensorSpec, ...], label_column: str | int) -> tuple[Examples, tuple[str, ...]]:
    """The rows of a file, and what is to be said of its columns."""
    found = table(path, label_column)
    wanted, notes, found = _wanted(found, inputs, path, asked=label_column != "")
    values, labels = [], []
    for line, row in _rows(path, found.delimiter, skip=found.has_header):
        if len(row) != len(found.columns):
            raise UsageError(
                f"{path}, line {line}: {len(row)} values, and there are {len(found.columns)} columns",
                remedy="Put text that holds separators between double quotes.",
            )
        values.append([_number(row, place, found, line, path) for place in wanted])
        if found.label is not None:
            labels.append(_labelled(row, found, line, path))
    if not values:
        raise UsageError(f"{path} holds no rows", remedy="Give a sample in each row below the header.")
    x = _divided(np.asarray(values, np.float64), inputs)
    y = _typed(labels) if found.label is not None else None
    return Examples(x, y), notes


def _delimiter(path: Path) -> str:
    """What separates columns: of tabs, semicolons and commas the most frequent of the first row outside of quotes."""
    line = next(_lines(path), "")
    outside = "".join(line.split('"')[::2])
    return max(_DELIMITERS, key=lambda sign: (outside.count(sign), sign == ","))


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from file
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not text in UTF-8", str(error), "Save it as CSV in UTF-8.") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read", str(error)) from None


def _rows(path: Path, delimiter: str, *, skip: bool = False) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty with the numbers of their lines, the first left out if asked for."""
    reader = csv.reader(_lines(path), delimiter=delimiter, skipinitialspace=True)
    try:
        for row in reader:
            if any(field.strip() for field in row):
                if not skip:
                    yield reader.line_num, row
                skip = False
    except csv.Error as error:
        raise UsageError(f"{path}, line {reader.line_num}: {error}", "It is no CSV file.") from None


def _label(columns: Sequence[str], asked: str | int, path: Path, *, has_header: bool) -> tuple[int, str]:
    """The position of the column of labels, and why that is it."""
    if asked == "":
        named = [place for place, name in enumerate(columns) if name.lower() in _LABELS] if has_header else []
        if named:
            return named[0], f'labels are the column "{columns[named[0]]}"'
        last = f'"{columns[-1]}"' if has_header else f"of number {len(columns) - 1}"
        return len(columns) - 1, f"labels are the last column, {last} ([data] label_column names another)"
    if isinstance(asked, str) and asked in columns:
        return columns.index(asked), f'labels are the column "{asked}"'
    number = asked if isinstance(asked, int) else _integer(asked)
    if number is not None and -len(columns) <= number < len(columns):
        return number % len(columns), f"labels are the column of number {number % len(columns)}"
    raise UsageError(
        f"{path} has no column {asked!r}{closest(str(asked), columns)}",
        f"Its columns: {_some(columns)}." if has_header else f"It has {len(columns)} columns and no header.",
        "Name one in [data] label_column, or give its number from 0.",
    )


def _wanted(
    found: Table, inputs: tuple[TensorSpec, ...], path: Path, *, asked: bool
) -> tuple[list[int], tuple[str, ...], Table]:
    """The columns in the order of the network's inputs, notes, and the table, without labels where there are none."""
    sizes = [math.prod(spec.shape[1:]) for spec in inputs]
    if any(-1 in spec.shape[1:] for spec in inputs):
        raise UsageError(
            f"{path}: an input of the network has an open dimension",
            "How many columns it takes is not known.",
            "Fix it: [model] input_shape = [N].",
        )
    needed = sum(sizes)
    by_name = {identifier(name): place for place, name in enumerate(found.columns)}
    names = [spec.name for spec in inputs]
    separated = () if found.delimiter == "," else (f"columns are separated by {_DELIMITERS[found.delimiter]}",)
    if found.has_header and all(size == 1 for size in sizes) and all(name in by_name for name in names):
        wanted = [by_name[name] for name in names]
        found = found if asked or found.label not in wanted else _beside(found, wanted, path)
        left = [name for place, name in enumerate(found.columns) if place not in wanted and place != found.label]
        said = (f"columns that no input is named after are not used: {_some(left)}",) if left else ()
        return wanted, (*separated, found.chosen, *said), found
    others = [place for place in range(len(found.columns)) if place != found.label]
    if found.is_guess and len(found.columns) == needed:
        found, others = found._replace(label=None, chosen=_UNLABELLED), list(range(needed))
    if len(others) != needed:
        shapes = ", ".join(f"{spec.name} {list(spec.shape[1:])}" for spec in inputs)
        raise UsageError(
            f"{path} has {len(others)} columns beside the labels, and the network takes {needed} values",
            f"Columns: {_some([found.columns[place] for place in others])}. Inputs: {shapes}. "
            f"{found.chosen[:1].upper()}{found.chosen[1:]}.",
            "Leave out columns that are no inputs, or name the column of labels: [data] label_column.",
        )
    order = f"columns go to the inputs in their order: {', '.join(names)}"
    return others, (*separated, found.chosen, *((order,) if len(inputs) > 1 else ())), found


def _beside(found: Table, wanted: list[int], path: Path) -> Table:
    """With the one column that is no input for labels, or none; raises UsageError where there are several."""
    left = [place for place in range(len(found.columns)) if place not in wanted]
    if len(left) > 1:
        raise UsageError(
            f"{path}: which column holds the labels is not known",
            f"No input is named after {_some([found.columns[place] for place in left])}.",
            "Name it: [data] label_column.",
        )
    if not left:
        return found._replace(label=None, chosen=_UNLABELLED)
    return found._replace(label=left[0], chosen=f'labels are the column "{found.columns[left[0]]}"')


_UNLABELLED = "all columns are inputs: there are no labels"


def _number(row: list[str], place: int, found: Table, line: int, path: Path) -> float:
    field = _required(row[place], place, found, line, path)
    try:
        return float(field.replace(",", ".") if found.delimiter == ";" else field)
    except ValueError:
        raise UsageError(
            f"{path}, line {line}: {field[:40]!r} in column {found.columns[place]} is no number",
            remedy="Write categories as numbers, as the network was trained with them, or read the file in a function "
            "of your own (module:callable).",
        ) from None


def _required(field: str, place: int, found: Table, line: int, path: Path) -> str:
    value = field.strip()
    if value.lower() in _MISSING:
        raise UsageError(
            f"{path}, line {line}: the value in column {found.columns[place]} is missing",
            remedy="Leave out such rows, or fill them in as the network was trained.",
        )
    return value


def _labelled(row: list[str], found: Table, line: int, path: Path) -> str:
    """The label of a row: a class may well be called "none"."""
    assert found.label is not None, "asked only where there is one"
    value = row[found.label].strip()
    return value if value and value.lower() != "nan" else _required("", found.label, found, line, path)


def _divided(values: Array, inputs: tuple[TensorSpec, ...]) -> tuple[Array, ...]:
    """An array for each input from the columns in their order; float64 only where float32 would round integers."""
    parts, start = [], 0
    for spec in inputs:
        size = math.prod(spec.shape[1:])
        some = values[:, start : start + size]
        whole = np.dtype(spec.dtype).kind in "iu" and np.array_equal(some, np.trunc(some))
        parts.append(some.astype(np.int64 if whole else np.float32).reshape(len(values), *spec.shape[1:]))
        start += size
    return tuple(parts)


def _typed(labels: list[str]) -> Array:
    """Labels as class numbers, as numbers, or as words."""
    for kind in (np.int64, np.float64):
        try:
            return np.asarray([kind(label) for label in labels])
        except ValueError:
            continue
    return np.asarray(labels)


def _is_number(field: str) -> bool:
    value: Any = field.strip().replace(",", ".")
    try:
        float(value)
    except ValueError:
        return value.lower() in _MISSING
    return True


def _integer(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
