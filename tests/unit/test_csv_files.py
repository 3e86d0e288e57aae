"""Samples from CSV files: headers, columns of labels, and what is wrong with a row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from making import tensor
from PIL import Image

from edgebuild.actions import datasets
from edgebuild.core.plan import Source, Split
from edgebuild.data.csv_files import from_csv
from edgebuild.data.given import Examples
from edgebuild.data.outline import outline
from edgebuild.errors import UsageError
from edgebuild.passes import split
from edgebuild.pipeline import sources

SPLIT = Split(calibration_samples=10, evaluation_share=0.2, seed=0)
VECTOR = (tensor("features", (-1, 3)),)
SCALARS = (tensor("width", (-1, 1)), tensor("height", (-1,)), tensor("mass", (-1, 1)))
WORDS = 'width,"height",mass,kind\n1,2.5,3,low\n4,5,6,high\n7,8,-9e1,low\n'
X = [[1, 2.5, 3], [4, 5, 6], [7, 8, -90]]


def _file(folder: Path, text: str, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def _train(found: Examples | None) -> tuple[list[Any], Any]:
    assert found is not None
    return [array.tolist() for array in found.x], None if found.y is None else found.y.tolist()


@pytest.mark.parametrize(
    "text",
    [
        WORDS,
        "\ufeff" + WORDS.replace("\n", "\r\n"),
        WORDS.replace(",", "\t"),
        "1,2.5,3,low\n4,5,6,high\n\n7,8,-90,low\n",
        'width, height, mass, class\n1, 2.5, 3, "low"\n4, 5, 6, "high"\n7, 8, -90, "low"\n',
        "label,a,b,c\nlow,1,2.5,3\nhigh,4,5,6\nlow,7,8,-90\n",
    ],
)
def test_columns_of_numbers_and_one_of_names_of_classes(tmp_path: Path, text: str) -> None:
    given = from_csv(_file(tmp_path, text), VECTOR)
    assert _train(given.train) == ([X], [1, 0, 1])
    assert given.labels == ("high", "low")
    assert given.evaluation is None
    assert any("labels are" in note for note in given.notes)


def test_semicolons_with_decimal_commas_as_spreadsheets_write_them(tmp_path: Path) -> None:
    given = from_csv(_file(tmp_path, "a;b;c;kind\n1;2,5;3;low\n4;5;6;high\n7;8;-90;low\n"), VECTOR)
    assert _train(given.train) == ([X], [1, 0, 1])
    assert given.notes[0] == "columns are separated by semicolons"


@pytest.mark.parametrize("column", ["kind", 1, "1", -3])
def test_the_column_of_labels_is_named_or_counted(tmp_path: Path, column: str | int) -> None:
    path = _file(tmp_path, "a,kind,b,c\n1,2,2.5,3\n4,0,5,6\n7,2,8,-90\n")
    given = from_csv(path, VECTOR, column)
    assert _train(given.train) == ([X], [2, 0, 2])
    assert given.labels == ()


def test_numbers_for_labels_stay_numbers(tmp_path: Path) -> None:
    given = from_csv(_file(tmp_path, "1,2,3,0.5\n4,5,6,1.25\n"), VECTOR)
    assert _train(given.train)[1] == [0.5, 1.25]
    assert given.labels == ()


def test_columns_go_to_scalar_inputs_by_name_else_in_their_order(tmp_path: Path) -> None:
    expected = [[[1], [4]], [2, 5], [[3], [6]]]
    named = from_csv(_file(tmp_path, "kind,mass,id,width,height\nlow,3,7,1,2\nhigh,6,8,4,5\n"), SCALARS, "kind")
    assert _train(named.train) == (expected, [1, 0])
    assert "columns that no input is named after are not used: id" in named.notes
    first = from_csv(_file(tmp_path, "kind,mass,width,height\nlow,3,1,2\nhigh,6,4,5\n"), SCALARS)
    assert _train(first.train) == (expected, [1, 0])
    ordered = from_csv(_file(tmp_path, "1,2,3,low\n4,5,6,high\n"), SCALARS)
    assert _train(ordered.train) == (expected, [1, 0])
    assert "columns go to the inputs in their order: width, height, mass" in ordered.notes
    with pytest.raises(UsageError, match="which column holds the labels is not known"):
        from_csv(_file(tmp_path, "kind,id,mass,width,height\nlow,1,3,1,2\nhigh,2,6,4,5\n"), SCALARS)


def test_all_columns_may_be_inputs(tmp_path: Path) -> None:
    for text, inputs in (("1,2,3\n4,5,6\n", VECTOR), ("mass,width,height\n3,1,2\n6,4,5\n", SCALARS)):
        given = from_csv(_file(tmp_path, text), inputs)
        assert given.train is not None
        assert given.train.y is None
        assert "all columns are inputs: there are no labels" in given.notes


def test_columns_fill_images_and_tokens_and_several_inputs(tmp_path: Path) -> None:
    text = "label,p0,p1,p2,p3\n1,0,1,2,16777217\n0,255,6,7,8\n"
    images = from_csv(_file(tmp_path, text), (tensor("image", (-1, 2, 2, 1)),))
    assert _train(images.train)[0][0][1] == [[[255], [6]], [[7], [8]]]
    tokens = from_csv(_file(tmp_path, text), (tensor("t", (-1, 3), dtype="int32"), tensor("u", (-1,), dtype="int32")))
    assert _train(tokens.train)[0] == [[[0, 1, 2], [255, 6, 7]], [16777217, 8]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,c,kind\n1,,3,low\n", "line 2: the value in column b is missing"),
        ("a,b,c,kind\n1,2,3,low\n4,NaN,6,high\n", "line 3: the value in column b is missing"),
        ("a,b,c,kind\n1,2,3,\n", "line 2: the value in column kind is missing"),
        ("a,b,c,kind\n1,red,3,low\n1,2,3,low\n", "line 2: 'red' in column b is no number"),
        ("a,b,c,kind\n1,2,3,low\n4,5,6,7,high\n", "line 3: 5 values, and there are 4 columns"),
        ("a,b,kind\n1,2,low\n", "has 2 columns beside the labels, and the network takes 3 values"),
        ("a,b,c,d,kind\n1,2,3,4,low\n", "has 4 columns beside the labels, and the network takes 3 values"),
        ("a,a,c,kind\n1,2,3,low\n", "several columns are called 'a'"),
        ("a,b,c,kind\n", "holds no rows"),
        ("", "is empty"),
        ("\n\n", "is empty"),
    ],
)
def test_what_is_wrong_is_named_by_line_and_column(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        from_csv(_file(tmp_path, text), VECTOR)


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b\n\xff\xfe\x00,1\n")
    with pytest.raises(UsageError, match="is not text in UTF-8"):
        from_csv(path, VECTOR)


def test_a_wrong_column_is_found_before_anything_is_loaded(tmp_path: Path) -> None:
    path = _file(tmp_path, WORDS)
    assert sources.data(str(path), "kind") is not None
    with pytest.raises(UsageError, match="has no column 'knid'; did you mean \"kind\""):
        sources.data(str(path), "knid")
    with pytest.raises(UsageError, match="has no column 4"):
        sources.data(str(path), 4)
    np.savez(tmp_path / "d.npz", x=np.zeros((3, 3)))
    with pytest.raises(UsageError, match="label_column is for CSV files"):
        sources.data(str(tmp_path / "d.npz"), "kind")


def test_wrong_names_of_arrays_and_folders_are_found_before_anything_is_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x_trian=np.zeros((3, 3)), y_train=np.zeros(3))
    with pytest.raises(UsageError, match='unknown arrays: x_trian; did you mean "x_train"'):
        sources.data(str(tmp_path / "d.npz"))
    (tmp_path / "images" / "cat").mkdir(parents=True)
    with pytest.raises(UsageError, match="holds no images"):
        sources.data(str(tmp_path / "images"))


def test_rows_are_divided_by_the_seed_as_a_dry_run_says(tmp_path: Path) -> None:
    path = _file(tmp_path, "a,b,c,kind\n" + "".join(f"{n},2,3,{'no' if n % 2 else 'yes'}\n" for n in range(50)))
    how = Split(calibration_samples=10, evaluation_share=0.2, seed=0, label_column="kind")
    (tmp_path / "out").mkdir()
    found = split.run(
        datasets.SplitJob(kind="file", path=str(path), inputs=VECTOR, split=how, out=str(tmp_path / "out")),
        lambda _: None,
    )
    told = outline(Source(kind="file", path=str(path), sha256=""), how)
    assert told.samples["evaluation"] == found.evaluation_samples == 10
    assert told.samples["calibration"] == found.calibration_samples == 10
    assert found.labels == ("no", "yes")
    assert found.has_answers
    assert 'labels are the column "kind"' in found.notes
    assert "4 columns" in told.note


def test_a_folder_of_files_named_after_splits(tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    folder.mkdir()
    for name, rows in (("train", "1,2,3,low\n4,5,6,mid\n"), ("val", "1,2,3,mid\n"), ("test", "7,8,9,high\n")):
        _file(folder, f"a,b,c,kind\n{rows}", f"{name}.csv")
    assert sources.data(str(folder), "kind") is not None
    given = from_csv(folder, VECTOR)
    assert given.labels == ("high", "low", "mid")
    assert [_train(part)[1] for part in (given.train, given.validation, given.evaluation)] == [[1, 2], [2], [0]]
    assert given.notes.count('labels are the last column, "kind" ([data] label_column names another)') == 1
    told = outline(Source(kind="folder", path=str(folder), sha256=""), SPLIT)
    assert told.samples == {"train": 1, "validation": 1, "calibration": 1, "evaluation": 1}
    _file(folder, "a\n1\n", "notes.csv")
    with pytest.raises(UsageError, match="unknown splits notes"):
        sources.data(str(folder))


def test_a_table_beside_folders_of_images_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "cat" / "one.png")
    _file(tmp_path, "file,label\none.png,cat\n", "index.csv")
    assert sources.data(str(tmp_path)) is not None
