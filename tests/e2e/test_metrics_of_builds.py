"""Whole builds are scored by what their labels are: maps with places of no class, and inputs that are made again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Edgebuild

pytestmark = pytest.mark.filterwarnings("ignore:.*__array__ implementation:DeprecationWarning")
QUICK = ("--target", "mcu", "--no-compress", "--no-refine", "--no-repair", "--budget", "accuracy_drop=off")


def _saved(folder: Path, activation: str, filters: int, **arrays: Any) -> tuple[Path, str, Path]:
    import keras

    keras.utils.set_random_seed(0)
    given = keras.Input((4, 4, 3))
    made = keras.layers.Conv2D(filters, 1, activation=activation, name="made")(given)
    keras.Model(given, made).save(folder / "net.keras")
    np.savez(folder / "data.npz", **arrays)
    return folder / "net.keras", "-d", folder / "data.npz"


@pytest.mark.slow
def test_maps_are_scored_without_places_of_no_class(edgebuild: Edgebuild, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 4, 4, 3)).astype(np.float32)
    y = np.where(rng.random((60, 4, 4)) < 0.25, 255, x.argmax(axis=-1)).astype(np.uint8)
    ran = edgebuild(*_saved(tmp_path, "softmax", 3, x_train=x, y_train=y, x_eval=x[:20], y_eval=y[:20]), *QUICK)
    assert ran.code == 0, ran.err
    found = edgebuild.manifest("mcu")["accuracy"]
    assert found["metric"] == "accuracy"
    assert "which is ignored" in found["why"]
    assert [score["metric"] for score in found["further"]] == ["miou"]
    assert edgebuild.manifest("mcu")["losses"]["output"]["answers"]["total"] == int((y[:20] != 255).sum())


@pytest.mark.slow
def test_a_network_that_makes_its_input_again_is_scored_without_labels(edgebuild: Edgebuild, tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((60, 4, 4, 3)).astype(np.float32)
    edgebuild.config('[metric]\ntarget = "input"\n')
    ran = edgebuild(*_saved(tmp_path, "sigmoid", 3, x_train=x, x_eval=x[:20]), *QUICK)
    assert ran.code == 0, ran.err
    found = edgebuild.manifest("mcu")["accuracy"]
    assert (found["metric"], found["why"]) == ("mse", "outputs are compared with the input")
    assert found["baseline"] == pytest.approx(found["artifact"], rel=0.05)


@pytest.mark.slow
def test_a_build_by_default_scores_several_labels_each_by_itself_and_says_it(
    edgebuild: Edgebuild, tmp_path: Path
) -> None:
    import keras

    x = np.random.default_rng(0).random((80, 4, 4, 3)).astype(np.float32)
    y = (x.mean(axis=(1, 2)) > 0.5).astype(np.int64)
    keras.utils.set_random_seed(0)
    given = keras.Input((4, 4, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 1, activation="relu")(given))
    model = keras.Model(given, keras.layers.Dense(3, activation="sigmoid")(pooled))
    model.compile(keras.optimizers.Adam(0.05), "binary_crossentropy")
    model.fit(x, y, epochs=10, verbose=0)
    model.save(tmp_path / "net.keras")
    np.savez(tmp_path / "data.npz", x_train=x[:50], y_train=y[:50], x_eval=x[50:], y_eval=y[50:])
    edgebuild.compresses = edgebuild.refines = True
    ran = edgebuild(tmp_path / "net.keras", "-d", tmp_path / "data.npz", "-t", "mcu", "--time", "2s")
    assert ran.code in (0, 1), ran.err
    found = edgebuild.manifest("mcu")["accuracy"]
    assert found["metric"] == "per-label accuracy"
    assert found["why"] in ran.out
    assert [score["metric"] for score in found["further"]] == ["auc"]
    assert "per-label accuracy " in ran.out


@pytest.mark.slow
def test_a_build_of_a_regression_by_default_keeps_its_error_and_says_what_it_is(
    edgebuild: Edgebuild, tmp_path: Path
) -> None:
    import keras

    rng = np.random.default_rng(0)
    x = rng.random((120, 4, 4, 3)).astype(np.float32)
    y = (x.mean(axis=(1, 2)) + rng.normal(0, 0.1, (120, 3))).astype(np.float32)
    keras.utils.set_random_seed(0)
    given = keras.Input((4, 4, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 1, activation="relu")(given))
    model = keras.Model(given, keras.layers.Dense(3)(pooled))
    model.compile(keras.optimizers.Adam(0.02), "mse")
    model.fit(x, y, epochs=30, verbose=0)
    model.save(tmp_path / "net.keras")
    np.savez(tmp_path / "data.npz", x_train=x[:70], y_train=y[:70], x_eval=x[70:], y_eval=y[70:])
    edgebuild.compresses = edgebuild.refines = True
    asked = ("--budget", "accuracy_drop=25%", "--set", "train.epochs=2")
    ran = edgebuild(tmp_path / "net.keras", "-d", tmp_path / "data.npz", "-t", "mcu", *asked)
    assert ran.code == 0, ran.out + ran.err
    manifest = edgebuild.manifest("mcu")
    found = manifest["accuracy"]
    assert found["metric"] == "mae"
    assert [score["metric"] for score in found["further"]] == ["mse", "r2"]
    assert found["why"] in ran.out
    assert found["artifact"] <= 1.25 * found["baseline"]
    checks = {check["budget"]["subject"]: check["status"] for check in manifest["verdict"]["checks"]}
    assert checks["accuracy_drop"] == "pass"
    assert manifest["verdict"]["status"] == "pass"
