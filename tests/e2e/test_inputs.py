"""Every kind of network and of data, through the whole command."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Edgebuild


def _require_the_network(edgebuild: Edgebuild, name: str, out: str = "dist") -> None:
    manifest = edgebuild.manifest("mcu", out)
    assert manifest["name"] == name
    operators = [operator["name"] for operator in manifest["network"]["operators"]]
    assert [name for name in operators if name != "RESHAPE"] == ["CONV_2D", "FULLY_CONNECTED", "SOFTMAX"]
    (given,), (answer,) = manifest["network"]["inputs"], manifest["network"]["outputs"]
    assert (given["dtype"], given["shape"]) == ("int8", [1, 8, 8, 1])
    assert (answer["dtype"], answer["shape"]) == ("int8", [1, 3])
    assert edgebuild.manifest("arm64", out)["network"]["signatures"] == ["serving_default"]
    assert manifest["accuracy"]["baseline"] > 0.9
    assert edgebuild.manifest("arm64", out)["network"]["inputs"][0]["dtype"] == "float32"


def test_a_file_is_built_for_two_targets(edgebuild: Edgebuild, networks: Path) -> None:
    ran = edgebuild(networks / "keras3.keras", "--data", networks / "images.npz", "-t", "arm64", "-t", "mcu")

    assert ran.code == 0, ran.err
    _require_the_network(edgebuild, "keras3")


@pytest.mark.slow
def test_every_other_kind_of_file_gives_the_same_network(edgebuild: Edgebuild, networks: Path) -> None:
    files = [networks / name for name in ("keras2.h5", "exported", "keras3.h5", "keras2_saved_model")]
    ran = edgebuild("build-all", *files, "--data", networks / "images.npz", "-t", "arm64", "-t", "mcu")

    assert ran.code == 0, ran.err
    for file in files:
        _require_the_network(edgebuild, file.stem, f"dist/{file.stem}")


@pytest.mark.slow
def test_a_function_gives_the_network_and_another_the_data_and_both_are_called_each_time(
    edgebuild: Edgebuild, networks: Path
) -> None:
    (edgebuild.folder / "mine.py").write_text((networks / "mine.py").read_text())

    first = edgebuild("mine:model", "--data", "mine:arrays", "--target", "mcu")
    second = edgebuild("mine:model", "--data", "mine:arrays", "--target", "mcu")

    assert first.code in (0, 1), first.err
    assert edgebuild.manifest("mcu")["name"] == "model"
    assert "no evaluation split was given: 20 samples were drawn from train (seed 0)" in first.err
    steps = [line for line in second.err.splitlines() if line.startswith("- ")]
    done = [line for line in steps if not line.endswith("kept from an earlier build")]
    assert done == ["- call mine:model", "- read the data and divide them"]


def test_a_function_is_called_once_for_all_that_a_build_makes_of_its_network(edgebuild: Edgebuild) -> None:
    """It returns other weights each time: passes, targets and the float network's score must be of one of them."""
    (edgebuild.folder / "mine.py").write_text(_UNLIKE)

    ran = edgebuild("mine:model", "--data", "mine:data", "--target", "arm64", "--target", "mcu", "--no-compress")

    assert ran.code in (0, 1), ran.err
    assert (edgebuild.folder / "calls").read_text() == "called\n"
    for target in ("arm64", "mcu"):
        manifest = edgebuild.manifest(target)
        assert manifest["losses"]["output"]["signal"]["sqnr_db"] > 20
        assert manifest["inputs"]["network_sha256"] == edgebuild.manifest("arm64")["inputs"]["network_sha256"]


_UNLIKE = """
import keras, numpy as np

def model():
    with open("calls", "a") as file:
        file.write("called\\n")
    layers = [keras.layers.Input((6,)), keras.layers.Dense(16, "relu"), keras.layers.Dense(3, "softmax")]
    return keras.Sequential(layers)

def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(160, 6)).astype(np.float32)
    return {"x_train": x[:120], "y_train": np.arange(120) % 3, "x_eval": x[120:], "y_eval": np.arange(40) % 3}
"""


@pytest.mark.slow
def test_data_sets_of_tensorflow_are_read(edgebuild: Edgebuild, networks: Path) -> None:
    (edgebuild.folder / "mine.py").write_text((networks / "mine.py").read_text())

    ran = edgebuild("mine:model", "--data", "mine:datasets", "--target", "mcu", "--budget", "accuracy_drop=off")

    assert ran.code == 0, ran.err
    data = edgebuild.manifest("mcu")["inputs"]["data"]
    assert (data["train_samples"], data["calibration_samples"], data["evaluation_samples"]) == (35, 35, 30)


def test_a_folder_of_pictures_by_class_is_data(edgebuild: Edgebuild, networks: Path) -> None:
    edgebuild.config('[preprocess]\nscale = "1/80"\n')

    ran = edgebuild(networks / "keras3.keras", "--data", networks / "pictures", "--target", "arm64")

    assert ran.code == 0, ran.err
    manifest = edgebuild.manifest("arm64")
    assert manifest["inputs"]["data"]["labels"] == ["third0", "third1", "third2"]
    assert manifest["inputs"]["data"]["evaluation_samples"] == 18
    assert manifest["accuracy"]["baseline"] > 0.9
    assert manifest["plan"]["preprocess"] == {"scale": 0.0125, "mean": 0.0}


@pytest.mark.slow
def test_declared_preprocessing_decides_what_the_network_sees(edgebuild: Edgebuild, networks: Path) -> None:
    edgebuild.config('[preprocess]\nmean = 100.0\n[budgets]\naccuracy_drop = "off"\n')

    edgebuild(networks / "keras3.keras", "--data", networks / "images.npz", "--target", "arm64")

    assert edgebuild.manifest("arm64")["accuracy"]["baseline"] < 0.6


@pytest.mark.slow
def test_a_missing_channel_axis_is_added_and_said(edgebuild: Edgebuild, networks: Path) -> None:
    ran = edgebuild(networks / "keras3.keras", "--data", networks / "flat_images.npz", "--target", "arm64")

    assert ran.code == 0, ran.err
    assert "no channel axis" in ran.err
    assert edgebuild.manifest("arm64")["accuracy"]["artifact"] > 0.9


def test_several_inputs_and_outputs_keep_their_order(edgebuild: Edgebuild, networks: Path) -> None:
    ran = edgebuild(
        networks / "two_ended.keras", "--data", networks / "ends.npz", "-t", "mcu", "-b", "accuracy_drop=20%"
    )

    assert ran.code == 0, ran.err
    network = edgebuild.manifest("mcu")["network"]
    assert [(tensor["name"], tensor["shape"]) for tensor in network["inputs"]] == [("zebra", [1, 4]), ("ape", [1, 2])]
    assert [tensor["shape"] for tensor in network["outputs"]] == [[1, 3], [1, 1]]


@pytest.mark.slow
@pytest.mark.parametrize(("metric", "unit"), [("top-k", "share"), ("auc", "share"), ("mine:share_of_zeros", "number")])
def test_other_metrics_score_the_artifact(edgebuild: Edgebuild, networks: Path, metric: str, unit: str) -> None:
    (edgebuild.folder / "mine.py").write_text((networks / "mine.py").read_text())
    edgebuild.config("[metric]\nk = 2\n")
    network, data = networks / "keras3.keras", networks / "images.npz"

    ran = edgebuild(network, "--data", data, "--target", "arm64", "--metric", metric, "-b", "accuracy_drop=off")

    assert ran.code == 0, ran.err
    accuracy = edgebuild.manifest("arm64")["accuracy"]
    assert accuracy["metric"] == ("top-2" if metric == "top-k" else metric)
    assert accuracy["unit"] == unit
    wanted = 1 / 3 if unit == "number" else 0.97
    assert accuracy["artifact"] == pytest.approx(wanted, abs=0.1)


@pytest.mark.slow
def test_an_error_metric_is_limited_from_above(edgebuild: Edgebuild, networks: Path) -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    x = rng.random((100, 4), np.float32)
    np.savez(edgebuild.folder / "far.npz", x_train=x, x_eval=x, y_eval=np.full((100, 3), 50.0))
    (edgebuild.folder / "mine.py").write_text((networks / "mine.py").read_text())

    ran = edgebuild("mine:model", "-d", "far.npz", "-t", "mcu", "-m", "mae", "-b", "accuracy=1", "-b", "size=9KB")

    assert ran.code == 1, ran.err
    assert "of the float network's" in ran.out
    checks = {check["budget"]["subject"]: check for check in edgebuild.manifest("mcu")["verdict"]["checks"]}
    assert checks["accuracy"]["status"] == "fail"
    assert checks["accuracy"]["value"] == pytest.approx(50, abs=3)
    assert checks["accuracy_drop"]["status"] == "pass"
    assert checks["accuracy_drop"]["budget"]["unit"] == "relative"
    assert checks["size"]["status"] == "pass"


@pytest.mark.slow
def test_a_keras_object_and_arrays_are_taken_by_the_library(edgebuild: Edgebuild, networks: Path) -> None:
    script = f"""
import sys; sys.path.append({str(networks)!r})
import mine, edgebuild
budgets, only = {{"accuracy_drop": "50 %"}}, {{"build": {{"compress": False, "refine": False}}}}
manifest = edgebuild.build(mine.model(), target="mcu", data=mine.arrays(), budgets=budgets, name="n", settings=only)
print(manifest.name, manifest.verdict.status)
"""
    ran = edgebuild.in_python(script)

    assert ran.out.split() == ["n", "pass"], ran.err
    left = sorted(path.name for path in (edgebuild.folder / "dist" / "mcu").iterdir())
    assert left == ["firmware", "manifest.json", "model_card.md", "n.tflite"]


@pytest.mark.slow
def test_code_in_a_file_runs_only_where_it_is_allowed(edgebuild: Edgebuild, networks: Path) -> None:
    arguments = (networks / "code.keras", "--data", networks / "features.npz", "--target", "arm64")

    refused = edgebuild(*arguments)
    allowed = edgebuild(*arguments, "--allow-code", "--budget", "accuracy_drop=20%")

    assert refused.code == 4
    assert "holds Python code: Lambda layer twice" in refused.err
    assert "--allow-code" in refused.err
    assert allowed.code == 0, allowed.err
