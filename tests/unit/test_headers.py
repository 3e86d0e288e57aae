"""The shapes in a .npz file, read without NumPy, against NumPy's own; files that are damaged have none."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import array_shapes

from edgebuild.data.headers import sample_shapes


@given(
    shapes=st.lists(array_shapes(max_dims=5), min_size=1, max_size=3), version=st.sampled_from([(1, 0), (2, 0), (3, 0)])
)
def test_shapes_are_those_that_numpy_wrote(
    tmp_path_factory: pytest.TempPathFactory, shapes: list[tuple[int, ...]], version: tuple[int, int]
) -> None:
    file = tmp_path_factory.mktemp("npz") / "data.npz"
    with zipfile.ZipFile(file, "w") as archive:
        for number, shape in enumerate(shapes):
            with archive.open(f"x_train/input {number}.npy", "w") as member:
                order = np.asfortranarray if number else np.ascontiguousarray
                np.lib.format.write_array(member, order(np.zeros(shape, "<f4")), version)
    assert sample_shapes(file) == {f"input {number}": shape[1:] for number, shape in enumerate(shapes)}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00\x05\x00{'sha",
        b"\x93NUMPY\x01\x00\x04\x00[1, ",
        b"\x93NUMPY\x01\x00\x0e\x00{'shape':'ab'}",
        b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535,
        b"\x93NUMPY\x02\x00\x00\x20\x00\x00" + b"(" * 8192,
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff",
    ],
)
def test_damaged_headers_have_no_shapes(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "data.npz"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x_train.npy", content)
    assert sample_shapes(file) == {}


def test_numpy_is_not_imported(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x_train=np.zeros((3, 4)))
    code = f"import sys; from edgebuild.data import headers; headers.sample_shapes({str(tmp_path / 'data.npz')!r}); "
    assert (
        subprocess.run([sys.executable, "-c", f"{code} sys.exit('numpy' in sys.modules)"], check=False).returncode == 0
    )
