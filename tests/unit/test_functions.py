"""Functions named as module:callable are looked for before anything is loaded, and without running them."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgebuild.cli import run
from edgebuild.errors import UsageError
from edgebuild.pipeline import sources


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("mine:lode", 'defines no lode; did you mean "load"'),
        ("mien:load", 'There is no module mien; did you mean "mine"'),
        ("package.inner:lod", 'defines no lod; did you mean "load"'),
    ],
)
def test_what_is_not_there_is_refused_with_what_may_be_meant(tmp_path: Path, path: str, message: str) -> None:
    _modules(tmp_path)
    with pytest.raises(UsageError, match="cannot be loaded") as error:
        sources.require(path, [str(tmp_path)])
    assert message in error.value.why


@pytest.mark.parametrize(
    "path",
    ["mine:load", "mine:made", "mine:imported", "package.inner:load", "package.other:x", "starred:anything", "json:x"],
)
def test_what_may_be_there_is_left_to_the_call(tmp_path: Path, path: str) -> None:
    _modules(tmp_path)
    sources.require(path, [str(tmp_path)])


def _modules(folder: Path) -> None:
    code = "from json import loads as imported\nmade = 1\ndef load():\n    raise SystemExit\nraise SystemExit\n"
    (folder / "mine.py").write_text(code)
    (folder / "starred.py").write_text("from json import *\n")
    (folder / "package").mkdir()
    (folder / "package" / "inner.py").write_text("def load(): ...\n")


def test_a_build_finds_it_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _modules(tmp_path)
    (tmp_path / "net.keras").write_bytes(b"a network")
    monkeypatch.chdir(tmp_path)
    assert run(["net.keras", "--data", "mine:lode", "--target", "mcu", "--dry-run"]) == 2
    assert "defines no lode" in capsys.readouterr().err
