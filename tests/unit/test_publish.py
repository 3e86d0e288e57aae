from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from making import manifest

from edgebuild.core.delivery import PackedFile
from edgebuild.core.manifest import Manifest
from edgebuild.errors import StepError
from edgebuild.pipeline.publish import publish, require_writable

ARTIFACT = {"kws.tflite": b"TFL3 new"}


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_an_artifact_and_its_manifest_are_left_together(tmp_path: Path) -> None:
    publish(manifest(), ARTIFACT, tmp_path / "dist" / "mcu")
    files = _files(tmp_path / "dist" / "mcu")
    assert set(files) == {"kws.tflite", "manifest.json"}
    assert files["kws.tflite"] == b"TFL3 new"
    assert msgspec.json.decode(files["manifest.json"], type=Manifest) == manifest()
    assert files["manifest.json"].startswith(b'{\n  "schema_version": 1,\n')


def test_published_files_may_be_written_by_their_owner_and_read_by_all(tmp_path: Path) -> None:
    publish(manifest(), ARTIFACT, tmp_path / "mcu")
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "mcu").iterdir()} == {0o644}


def test_a_build_replaces_the_one_before_it_and_leaves_other_files_alone(tmp_path: Path) -> None:
    folder = tmp_path / "mcu"
    folder.mkdir()
    for name in ("kws.tflite", "manifest.json", "notes.txt"):
        (folder / name).write_bytes(b"old")
    publish(manifest(), ARTIFACT, folder)
    files = _files(folder)
    assert files["kws.tflite"] == b"TFL3 new"
    assert files["manifest.json"] != b"old"
    assert files["notes.txt"] == b"old"
    assert len(files) == 3


@pytest.mark.parametrize(("blocked", "other"), [("kws.tflite", "manifest.json"), ("manifest.json", "kws.tflite")])
def test_where_one_file_cannot_be_replaced_the_other_stays_and_nothing_temporary_is_left(
    tmp_path: Path, blocked: str, other: str
) -> None:
    folder = tmp_path / "mcu"
    (folder / blocked).mkdir(parents=True)
    (folder / other).write_bytes(b"old")
    with pytest.raises(StepError, match="cannot be written"):
        publish(manifest(), ARTIFACT, folder)
    assert _files(folder) == {other: b"old"}
    assert sorted(path.name for path in folder.iterdir()) == sorted([blocked, other])


def test_what_an_earlier_build_left_with_its_artifact_goes_and_nothing_else(tmp_path: Path) -> None:
    earlier = {**ARTIFACT, "firmware/kws_model.cc": b"a", "firmware/src/old.h": b"b"}
    publish(_with(earlier), earlier, tmp_path / "mcu")
    (tmp_path / "mcu" / "firmware" / "mine.cc").write_bytes(b"mine")
    later = {**ARTIFACT, "firmware/kws_model.cc": b"c"}
    publish(_with(later), later, tmp_path / "mcu")
    firmware = tmp_path / "mcu" / "firmware"
    assert _files(firmware) == {"kws_model.cc": b"c", "mine.cc": b"mine"}
    assert not (firmware / "src").exists()


def test_a_manifest_that_names_files_elsewhere_takes_none_of_them_away(tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"mine")
    publish(_with({**ARTIFACT, "../mine": b""}), ARTIFACT, tmp_path / "mcu")
    publish(_with(ARTIFACT), ARTIFACT, tmp_path / "mcu")
    assert (tmp_path / "mine").read_bytes() == b"mine"


def _with(files: dict[str, bytes]) -> Manifest:
    listed = tuple(PackedFile(path=name, sha256="", size_bytes=len(data)) for name, data in files.items())
    return msgspec.structs.replace(manifest(), files=listed[1:])


def test_a_folder_that_is_a_file_is_refused_and_stays(tmp_path: Path) -> None:
    (tmp_path / "mcu").write_bytes(b"mine")
    with pytest.raises(StepError, match="mcu cannot be written") as caught:
        publish(manifest(), ARTIFACT, tmp_path / "mcu")
    assert "--out" in caught.value.remedy
    assert (tmp_path / "mcu").read_bytes() == b"mine"


def test_a_writable_place_is_accepted_and_nothing_is_made(tmp_path: Path) -> None:
    require_writable(tmp_path / "dist" / "mcu")
    require_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_relative_place_is_looked_for_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    require_writable(Path("dist/mcu"))
    Path("dist").write_bytes(b"")
    with pytest.raises(StepError, match="dist is not a folder"):
        require_writable(Path("dist/mcu"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_without_the_right_to_write_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(StepError, match="You may not write in"):
            require_writable(tmp_path / "dist")
    finally:
        tmp_path.chmod(0o755)
