"""Documents of anyone: what is no regular file, too large, too deep or none is refused in a sentence, never a bug."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, strategies as st

from edgebuild import documents
from edgebuild.cli import output, run
from edgebuild.documents import DocumentError


class Any(msgspec.Struct):
    held: object = None


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"a = " + b"[" * 20_000 + b"]" * 20_000, "deeply"),
        (b"a = " + b"[" * 40 + b"]" * 40, "deeply"),
        (b".".join([b"a"] * 5_000) + b" = 1", "deeply"),
        (b"a = " + b"9" * 5_000, "digits"),
        (b"a = \x00", "Invalid value"),
        (b'a = "\xe9"', "utf-8"),
        (b"a = 1\n" * 2, "overwrite"),
        (b"#" * (4 * 2**20 + 1), "bytes"),
    ],
    ids=["deep", "deeper than any", "dotted", "digits", "nul", "latin-1", "twice", "large"],
)
def test_a_configuration_that_nobody_writes_is_refused(content: bytes, why: str, tmp_path: Path) -> None:
    file = tmp_path / "edgebuild.toml"
    file.write_bytes(content)
    with pytest.raises(DocumentError, match=why):
        documents.toml(file)
    assert run(["--config", str(file), "-t", "mcu", "--dry-run"]) == 2
    assert run(["-t", str(file), "--dry-run"]) == 2


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "folder.toml").mkdir()
    for path in (tmp_path / "pipe.toml", tmp_path / "folder.toml", Path("/dev/zero")):
        with pytest.raises(DocumentError, match="regular"):
            documents.toml(path)
        assert run(["--config", str(path), "-t", "mcu"]) == 2
    with pytest.raises(FileNotFoundError):
        documents.read(tmp_path / "none")


def test_tables_as_deep_as_people_write_them_are_read(tmp_path: Path) -> None:
    file = tmp_path / "edgebuild.toml"
    file.write_text("a = " + "[" * 31 + "]" * 31, encoding="utf-8")
    assert documents.toml(file)["a"]


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"\x00", b"[]", b'{"held": ' + b"[" * 100_000, b'{"held": ' + b'{"a":' * 100_000, b'{"held": "\xff"}'],
)
def test_json_that_is_none_is_refused(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(DocumentError):
        documents.json(data, Any)
    (tmp_path / "manifest.json").write_bytes(data)
    assert run(["check", str(tmp_path)]) == 4


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_tables_or_refused(data: bytes) -> None:
    try:
        found = documents.toml_of(data.decode("utf-8", "replace"))
    except DocumentError:
        return
    assert isinstance(found, dict)


def test_names_in_files_of_others_do_not_reach_the_terminal_as_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = "a\x1b[2J\x1b[8mb\x07\x9b31m\u202ec\rd\ne"
    model = tmp_path / f"{hostile}.keras"
    assert run([str(model), "-t", "mcu"]) != 0
    err = capsys.readouterr().err
    first = err.splitlines()[0]
    assert "a\\u001b[2J\\u001b[8mb\\u0007\\u009b31m\\u202ec\\u000dd\\ne" in first
    assert not {"\x1b", "\x07", "\x9b", "\r", "\u202e"} & set(err)


def test_our_own_styles_are_kept() -> None:
    painted = " ".join(
        output.paint("text", style) for style in ("pass", "warn", "fail", "inconclusive", "title", "dim")
    )
    assert "\x1b[" in painted
    assert output.shown(painted) == painted


@pytest.mark.parametrize("name", ["...toml", "..toml", "-x.toml", "a\nb.toml"])
def test_a_profile_whose_folder_would_be_another_one_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text('extends = "mcu"', encoding="utf-8")
    assert run(["-t", f"./{name}", "--dry-run"]) == 2
    assert "cannot be the file of a target profile" in capsys.readouterr().err
