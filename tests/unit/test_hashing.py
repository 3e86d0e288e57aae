from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from making import plan

from edgebuild import hashing


def _tree(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def test_a_file_has_the_sha256_of_its_contents(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"abc" * 100_000)
    assert hashing.of_file(file) == hashlib.sha256(b"abc" * 100_000).hexdigest() == hashing.of_bytes(b"abc" * 100_000)


def test_the_order_of_keys_does_not_matter_at_any_depth() -> None:
    one = {"a": 1, "b": {"x": [1, 2], "y": None}}
    two = {"b": {"y": None, "x": [1, 2]}, "a": 1}
    assert hashing.of_data(one) == hashing.of_data(two)


@pytest.mark.parametrize("other", [{"a": 2}, {"b": 1}, {"a": 1.5}, {"a": "1"}, {"a": [1]}, [["a", 1]]])
def test_other_data_have_another_digest(other: object) -> None:
    assert hashing.of_data({"a": 1}) != hashing.of_data(other)


def test_the_order_of_a_list_matters() -> None:
    assert hashing.of_data([1, 2]) != hashing.of_data([2, 1])


def test_frozen_structs_are_hashed_by_their_values() -> None:
    assert hashing.of_data(plan()) == hashing.of_data(plan())
    assert hashing.of_data(plan()) != hashing.of_data(plan(name="other"))


def test_equal_trees_in_other_places_have_equal_digests(tmp_path: Path) -> None:
    files = {"a/b.txt": b"1", "c.txt": b"2"}
    reverse = dict(reversed(files.items()))
    assert hashing.of_tree(_tree(tmp_path / "one", files)) == hashing.of_tree(_tree(tmp_path / "two", reverse))


@pytest.mark.parametrize(
    "other",
    [
        {"a/b.txt": b"1", "c.txt": b"3"},
        {"a/b.txt": b"1", "d.txt": b"2"},
        {"b.txt": b"1", "c.txt": b"2"},
        {"a/b.txt": b"2", "c.txt": b"1"},
        {"a/b.txt": b"1"},
    ],
    ids=["a byte", "a name", "a folder", "swapped contents", "a file less"],
)
def test_a_tree_differs_by_names_and_by_contents(tmp_path: Path, other: dict[str, bytes]) -> None:
    first = _tree(tmp_path / "one", {"a/b.txt": b"1", "c.txt": b"2"})
    assert hashing.of_tree(first) != hashing.of_tree(_tree(tmp_path / "two", other))


def test_the_tree_of_a_file_is_the_file(tmp_path: Path) -> None:
    file = _tree(tmp_path, {"f": b"x"}) / "f"
    assert hashing.of_tree(file) == hashing.of_file(file)


def test_a_tree_is_read_through_links_to_folders_and_no_loop_is_followed_for_ever(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "data").write_text("one")
    model = tmp_path / "model"
    model.mkdir()
    (model / "variables").symlink_to(tmp_path / "weights")
    (model / "again").symlink_to(model)
    before = hashing.of_tree(model)
    (tmp_path / "weights" / "data").write_text("two")
    assert hashing.of_tree(model) != before
