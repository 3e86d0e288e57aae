"""What a dry run tells: the data by their headers, and the time by earlier builds."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, strategies as st
from making import INT8, PRUNE, SETTINGS, plan
from PIL import Image

from edgebuild.cli import run
from edgebuild.core.metric import Metric
from edgebuild.core.plan import Plan, Source, Split
from edgebuild.data.array_names import unscored
from edgebuild.data.given import Examples, Given
from edgebuild.data.outline import divided, outline
from edgebuild.data.splitting import divide
from edgebuild.errors import ExitCode
from edgebuild.execution.store import Store
from edgebuild.pipeline import outlook

SPLIT = Split(calibration_samples=20, evaluation_share=0.2, seed=0)


def _examples(count: int) -> Examples | None:
    return Examples((np.zeros((count, 1), np.float32),), np.zeros(count)) if count else None


@given(*[st.integers(0, 120)] * 3, st.integers(1, 60), st.floats(0.01, 0.9))
def test_the_splits_that_are_told_are_those_that_a_build_makes(
    train: int, calibration: int, evaluation: int, samples: int, share: float
) -> None:
    how = Split(calibration_samples=samples, evaluation_share=share, seed=1)
    made = divide(Given(_examples(train), _examples(calibration), _examples(evaluation), ()), how)
    counts = {
        split: len(part) if part is not None else 0
        for split, part in zip(("train", "calibration", "evaluation"), made[:3], strict=True)
    }
    assert divided({"train": train, "calibration": calibration, "evaluation": evaluation}, how) == counts


def test_arrays_are_told_by_their_headers_and_nothing_else_is_read(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    arrays: dict[str, Any] = {
        "x_train/a": np.zeros((50, 8, 8, 3), np.uint8),
        "x_train/b": np.zeros((50, 2), np.float32),
    }
    np.savez(path, **arrays, y_train=np.zeros(50, np.int64), x_test=np.zeros((9, 2)), labels=np.array(["no", "yes"]))
    damaged = tmp_path / "damaged.npz"
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(damaged, "w") as cut:
        for name in whole.namelist():
            cut.writestr(name, whole.read(name)[:128])  # a header of format 1.0 is of so many bytes
    for file in (path, damaged):
        found = outline(Source(kind="file", path=str(file), sha256=""), SPLIT)
        assert [(array.name, array.shape, array.dtype) for array in found.arrays] == [
            ("x_train/a", (50, 8, 8, 3), "uint8"),
            ("x_train/b", (50, 2), "float32"),
            ("y_train", (50,), "int64"),
            ("x_test", (9, 2), "float64"),
            ("labels", (2,), "<U3"),
        ]
        assert found.samples == {"train": 30, "calibration": 20, "evaluation": 9}


def test_what_cannot_be_looked_into_is_said(tmp_path: Path) -> None:
    (tmp_path / "no.npz").write_bytes(b"no archive")
    assert "cannot be read" in outline(Source(kind="file", path=str(tmp_path / "no.npz"), sha256=""), SPLIT).note
    np.savez(tmp_path / "other.npz", images=np.zeros(3))
    assert (
        "no array is called x_train"
        in outline(Source(kind="file", path=str(tmp_path / "other.npz"), sha256=""), SPLIT).note
    )
    assert "not called" in outline(Source(kind="callable", path="net:data", sha256=""), SPLIT).note


def test_images_are_counted_by_split(tmp_path: Path) -> None:
    for split, count in (("train", 12), ("val", 3)):
        for label in ("cat", "dog"):
            (tmp_path / split / label).mkdir(parents=True)
            for number in range(count):
                Image.new("L", (2, 2)).save(tmp_path / split / label / f"{number}.png")
    found = outline(Source(kind="folder", path=str(tmp_path), sha256=""), SPLIT)
    assert (found.samples, found.classes) == ({"train": 12, "calibration": 12, "evaluation": 6}, 2)


def _plan(path: Path, size: int, **fields: Any) -> Plan:
    path.write_bytes(b"x" * size)
    model = Source(kind="file", path=str(path), sha256=f"{size:064x}")
    return plan(model=model, **fields)


def test_time_is_told_by_the_earlier_build_that_is_most_like_it(tmp_path: Path) -> None:
    store, first = tmp_path / "store", _plan(tmp_path / "a.keras", 1000)
    assert outlook.of_plan(first, outlook.read(store)).basis == "a rough guess: nothing was built here before"
    outlook.keep(store, [first], {"freeze": 2.0, "quantize": 4.0, "measure": 6.0, "lean": 1.0})
    same = outlook.of_plan(first, outlook.read(store))
    assert same.stages == {"prepare": 2.0, "quantize": 4.0, "evaluate": 6.0, "package": 1.0}
    assert same.basis == "from 1 earlier build of this network"
    larger = outlook.of_plan(_plan(tmp_path / "b.keras", 3000), outlook.read(store))
    assert larger.stages == {"prepare": 6.0, "quantize": 12.0, "evaluate": 18.0, "package": 3.0}
    assert "of another network, by its size" in larger.basis
    pruned = outlook.of_plan(_plan(tmp_path / "a.keras", 1000, passes=(PRUNE, INT8)), outlook.read(store))
    assert pruned.basis == "a rough guess: no build with these passes was timed here before"
    assert pruned.training == SETTINGS.train.time


def test_what_is_done_for_each_target_is_shared_out(tmp_path: Path) -> None:
    assert outlook.stages({"freeze": 4.0, "quantize": 4.0}, 2) == {"prepare": 4.0, "quantize": 2.0}
    store, made = tmp_path / "store", _plan(tmp_path / "a.keras", 10)
    outlook.keep(store, [made, msgspec.structs.replace(made, target="arm64")], {"quantize": 4.0})
    (store / outlook.FILE).write_bytes((store / outlook.FILE).read_bytes() + b"no json\n")
    assert [took.target for took in outlook.read(store)] == ["mcu", "arm64"]


def test_a_kept_step_keeps_what_it_took(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.workspace() as made:
        store.publish("ab" * 32, made, b"{}", time_s=2.5)
    entry = store.get("ab" * 32)
    assert entry is not None
    assert (entry.result, entry.time_s) == (b"{}", 2.5)


def test_a_dry_run_tells_all_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEBUILD_STORE", str(tmp_path / "store"))
    (tmp_path / "net.keras").write_bytes(b"a network")
    np.savez(tmp_path / "data.npz", x_train=np.zeros((50, 4), np.float32), y_train=np.zeros(50))
    words = ["net.keras", "--data", "data.npz", "--target", "mcu", "--dry-run"]
    assert run(words) == 0
    shown = capsys.readouterr().out
    assert "x_train: 50 x 4, float32" in shown
    assert "samples: 20 train, 20 calibration, 10 evaluation" in shown
    assert "time       about " in shown
    assert run([*words, "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told["outlook"]["data"]["samples"] == {"train": 20, "calibration": 20, "evaluation": 10}
    assert set(told["outlook"]["stages"]) == {"prepare", "quantize", "evaluate", "package"}


@pytest.mark.parametrize(
    ("arrays", "score", "said"),
    [
        (("x_train", "y_train", "x_eval"), {}, "hold x_eval, and no labels for it (y_eval)"),
        (("x_train", "y_train", "x_test"), {}, "hold x_test, and no labels for it (y_test)"),
        (("x", "labels"), {}, "hold x, and no labels for it (y)"),
        (("x_train/left", "x_train/right"), {}, "hold x_train, and no labels for it (y_train)"),
        (("x_train", "x_eval", "y_eval"), {}, ""),
        (("x", "y"), {}, ""),
        (("x_train/left", "x_train/right", "y_train"), {}, ""),
        (("x_eval",), {"name": "mse"}, ""),  # of the input, perhaps
        (("x_eval",), {"target": "input"}, ""),
    ],
)
def test_that_nothing_will_be_scored_is_known_by_the_names_of_arrays(
    tmp_path: Path, arrays: tuple[str, ...], score: dict[str, str], said: str
) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, **{name: np.zeros((4, 2)) for name in arrays})
    found = unscored(Source(path=str(path), kind="file", sha256=""), Metric(**{"name": "auto", **score}))
    assert said in found if said else not found


def test_a_limit_on_a_score_that_nothing_has_is_refused_and_a_profiles_own_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEBUILD_STORE", str(tmp_path / "store"))
    Path("net.keras").write_bytes(b"never read")
    np.savez("data.npz", x_train=np.zeros((50, 4), np.float32))
    Path("ours.toml").write_text('extends = "arm64"\n[budgets]\naccuracy = "90 %"\n')
    words = ["net.keras", "-d", "data.npz", "-t", "mcu"]
    for more in ([], ["--dry-run"]):
        assert run([*words, "-t", "ours.toml", *more]) == ExitCode.USAGE
        error = capsys.readouterr().err
        assert error.startswith("error: ours: the budget on accuracy cannot be judged\n")
        assert "accuracy (ours.toml): the data hold x_train, and no labels for it (y_train)." in error
    # What it says to do.
    assert run([*words, "-t", "ours.toml", "--dry-run", "-b", "accuracy=off"]) == ExitCode.OK
    assert run([*words, "-t", "ours.toml", "--dry-run", "--metric", "mse", "-b", "accuracy=0.1"]) == ExitCode.OK
    capsys.readouterr()
    assert run([*words, "--dry-run"]) == ExitCode.OK
    assert "will be inconclusive: the data hold x_train" in capsys.readouterr().out
    assert run([*words, "--dry-run", "-b", "accuracy_drop=2%"]) == ExitCode.USAGE
    assert run(["net.keras", "-t", "arm64", "-q", "dynamic", "-b", "accuracy=90%"]) == ExitCode.USAGE
    assert "accuracy (options): no data are named." in capsys.readouterr().err
    np.savez("data.npz", x_train=np.zeros((50, 4), np.float32), y_train=np.zeros(50))
    assert run([*words, "-t", "ours.toml", "--dry-run"]) == ExitCode.OK
