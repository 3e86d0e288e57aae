"""What crosses between machines: the same bytes for the same contents, and nothing outside of its folder."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from edgebuild import hashing
from edgebuild.errors import StepError
from edgebuild.execution import packing


def _folder(root: Path, turned: bool = False) -> Path:
    files = {"a.txt": b"one", "deep/er/b.bin": bytes(100_000), "deep/ünï.txt": b"", "last": b"x" * 600}
    for name in sorted(files, reverse=turned):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files[name])
    (root / "empty").mkdir()
    return root


@pytest.mark.parametrize("chunk_bytes", [10_240, 32 * 2**20])
def test_folders_are_packed_the_same_and_come_out_as_they_were(
    chunk_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "CHUNK_BYTES", chunk_bytes)
    one, other = _folder(tmp_path / "one"), _folder(tmp_path / "other", turned=True)
    os.utime(other / "a.txt", (1, 1))
    (other / "a.txt").chmod(0o600)
    chunks = packing.packed(one)
    assert chunks == packing.packed(other)
    assert max(map(len, chunks)) <= chunk_bytes
    assert len(chunks) == 1 or chunk_bytes == 10_240
    out = tmp_path / "out"
    out.mkdir()
    packing.unpack(chunks, out)
    assert hashing.of_tree(out) == hashing.of_tree(one)
    assert (out / "empty").is_dir()


def test_a_file_or_a_folder_keeps_the_name_that_it_is_packed_by(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "one")
    (folder / "linked").symlink_to(folder / "deep")
    for source, name in ((folder, "saved_model"), (folder / "a.txt", "model.keras")):
        out = tmp_path / name / "out"
        out.mkdir(parents=True)
        packing.unpack(packing.packed(source, name), out)
        assert [path.name for path in out.iterdir()] == [name]
        assert hashing.of_tree(out / name) == hashing.of_tree(source)
    # What links lead to comes along; no link does.
    assert not [path for path in (tmp_path / "saved_model").rglob("*") if path.is_symlink()]


def _archive(*members: tarfile.TarInfo) -> list[bytes]:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for member in members:
            archive.addfile(member)
    return [stream.getvalue()]


def _member(name: str, kind: bytes = tarfile.REGTYPE, to: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, to
    return member


@pytest.mark.parametrize(
    "chunks",
    [
        _archive(_member("../outside")),
        _archive(_member("in/../../outside")),
        _archive(_member("/tmp/outside")),
        _archive(_member("link", tarfile.SYMTYPE, "..")),
        _archive(_member("link", tarfile.LNKTYPE, "../other")),
        _archive(_member("pipe", tarfile.FIFOTYPE)),
        [b"no archive" * 100],
        [_archive(_member("a"))[0][:100]],
    ],
    ids=["above", "above within", "absolute", "link", "hard link", "pipe", "no archive", "cut"],
)
def test_what_would_leave_its_folder_or_is_damaged_is_refused(chunks: list[bytes], tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises(StepError, match="came from another machine"):
        packing.unpack(chunks, inside)
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]
    assert not list(inside.iterdir())
