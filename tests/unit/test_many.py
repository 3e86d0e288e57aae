from __future__ import annotations

from pathlib import Path

import pytest

from edgebuild import config, many
from edgebuild.cli import run
from edgebuild.errors import UsageError

TWO = """
[budgets]
size = "60 KB"
[[build]]
model = "a.keras"
data = "a.npz"
targets = ["mcu", "arm64"]
[build.budgets]
size = "30 KB"
[build.train]
epochs = 3
[[build]]
name = "second"
model = "b.keras"
targets = ["arm64"]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "edgebuild.toml"
    path.write_text(TWO, encoding="utf-8")
    return path


def test_each_table_lies_over_the_rest_of_the_file_and_says_so(file: Path) -> None:
    first, second = many.load({}, {}, file=file)
    settings, layered = first.configuration.settings, first.configuration.layered
    assert (first.name, second.name) == ("a", "second")
    assert settings.model.path == str(file.parent / "a.keras")
    assert settings.data.path == str(file.parent / "a.npz")
    assert settings.build.targets == ("mcu", "arm64")
    assert (settings.train.epochs, settings.budgets["size"]) == (3, "30 KB")
    assert layered.origin_of("budgets.size") == f"{file} [[build]] 1"
    assert second.configuration.settings.budgets["size"] == "60 KB"
    assert second.configuration.settings.data.path == ""
    assert [Path(each.configuration.settings.build.out) for each in (first, second)] == [
        Path("dist/a"),
        Path("dist/second"),
    ]


def test_options_lie_over_all_and_models_take_their_place(file: Path) -> None:
    options = {"build": {"targets": ["tpu"], "out": "here"}}
    builds = many.load(options, {}, file=file, models=["x/one.keras", "two.keras"])
    assert [build.name for build in builds] == ["one", "two"]
    assert [build.configuration.settings.build.out for build in builds] == ["here/one", "here/two"]
    assert {build.configuration.settings.build.targets for build in builds} == {("tpu",)}
    assert config.load({}, {}, file=file).settings.model.path == ""


def test_builds_that_would_overwrite_each_other_are_refused(file: Path) -> None:
    with pytest.raises(UsageError, match="two builds would write"):
        many.load({"build": {"targets": ["mcu"]}}, {}, file=file, models=["x/one.keras", "y/one.keras"])
    file.write_text(TWO.replace('name = "second"', 'name = "a"'), encoding="utf-8")
    with pytest.raises(UsageError, match="two builds would write"):
        many.load({}, {}, file=file)


@pytest.mark.parametrize("extra", ['[[build]]\ntargets = ["mcu"]', '[[build]]\nmodel = "c.keras"\njobs = 7'])
def test_tables_that_cannot_be_built_together_are_refused(file: Path, extra: str) -> None:
    file.write_text(TWO + extra, encoding="utf-8")
    with pytest.raises(UsageError):
        many.load({}, {}, file=file)


def test_a_list_of_anything_else_is_refused(file: Path) -> None:
    file.write_text("build = [1, 2]", encoding="utf-8")
    with pytest.raises(UsageError, match="build is no table"):
        many.load({}, {}, file=file)


def test_what_is_wrong_of_each_is_said_and_the_code_is_the_worst(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(file.parent)
    monkeypatch.setenv("EDGEBUILD_STORE", str(file.parent / "store"))
    monkeypatch.setenv("EDGEBUILD_HISTORY", "off")
    assert run(["build-all", "--quiet"]) == 2
    shown = capsys.readouterr()
    assert "a.keras" in shown.err
    assert "b.keras" in shown.err
    assert [line.split()[:2] for line in shown.out.splitlines() if "failed" in line][:3] == [
        ["a", "mcu"],
        ["a", "arm64"],
        ["second", "arm64"],
    ]
    assert run(["--explain"]) == 0
    assert "[[build]] 1" in capsys.readouterr().out
    assert run(["check"]) == 2
