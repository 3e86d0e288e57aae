"""Each scheme of the converter, read back from the artifact."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from conftest import Edgebuild


def weights_of(path: Path) -> dict[str, tuple[str, int]]:
    """The element type and the number of scales of each 4-d constant."""
    interpreter = Interpreter(model_path=str(path))
    found = {}
    for details in interpreter.get_tensor_details():
        if len(details["shape"]) == 4 and details["shape"][0] == 4:
            found[details["name"]] = (
                np.dtype(details["dtype"]).name,
                len(details["quantization_parameters"]["scales"]),
            )
    return found


def _require_scheme(
    edgebuild: Edgebuild, name: str, scheme: str, target: str, weights: tuple[str, int], activations: set[str]
) -> None:
    out = "dist" if name == "keras3" else f"dist/{name}"
    manifest = edgebuild.manifest(target, out)
    assert manifest["plan"]["passes"][0]["scheme"] == scheme
    convolution = next(op for op in manifest["network"]["operators"] if op["name"] == "CONV_2D")
    assert set(convolution["dtypes"]) == activations
    assert weights in weights_of(edgebuild.folder / out / target / f"{name}.tflite").values()
    ends = {"float32"} if target == "arm64" else activations
    assert {tensor["dtype"] for tensor in manifest["network"]["inputs"] + manifest["network"]["outputs"]} == ends


def test_a_scheme_decides_how_the_artifact_stores_and_computes(edgebuild: Edgebuild, networks: Path) -> None:
    ran = edgebuild(networks / "keras3.keras", "-d", networks / "images.npz", "-t", "arm64", "--quantize", "int8")

    assert ran.code == 0, ran.err
    _require_scheme(edgebuild, "keras3", "int8", "arm64", ("int8", 4), {"int8"})


@pytest.mark.slow
def test_every_other_scheme_decides_it_too(edgebuild: Edgebuild, networks: Path) -> None:
    cases = {
        "int16": ("int16x8", "arm64", ("int8", 4), {"int16"}),
        "half": ("float16", "arm64", ("float16", 0), {"float32"}),
        "float": ("float32", "arm64", ("float32", 0), {"float32"}),
        "micro8": ("int8", "mcu", ("int8", 4), {"int8"}),
        "micro16": ("int16x8", "mcu", ("int8", 4), {"int16"}),
    }
    given = f'model = "{networks / "keras3.keras"}"\ndata = "{networks / "images.npz"}"'
    tables = {
        name: f'{given}\ntargets = ["{target}"]\n[build.passes.quantize]\nscheme = "{scheme}"'
        for name, (scheme, target, _, _) in cases.items()
    }
    for name, outcome in edgebuild.each(tables).items():
        assert [each["verdict"]["status"] for each in outcome["manifests"]] == ["pass"], outcome
        _require_scheme(edgebuild, name, *cases[name])


@pytest.mark.slow
def test_dynamic_range_needs_no_data_and_its_accuracy_budget_is_inconclusive(
    edgebuild: Edgebuild, networks: Path
) -> None:
    ran = edgebuild(networks / "keras3.keras", "--target", "arm64", "--quantize", "dynamic")

    assert ran.code == 5, ran.err
    assert "inconclusive" in ran.out
    assert "no figure for accuracy_drop" in ran.out
    assert (edgebuild.folder / "dist/arm64/keras3.tflite").is_file()


@pytest.mark.slow
def test_a_limit_on_a_score_ends_the_build_as_soon_as_a_function_turns_out_to_give_no_labels(
    edgebuild: Edgebuild, networks: Path
) -> None:
    loaded = f"np.load({str(networks / 'digits.npz')!r})['x_train']"
    (edgebuild.folder / "mine.py").write_text(f"import numpy as np\n\n\ndef data():\n    return {{'x': {loaded}}}\n")

    ran = edgebuild(networks / "keras3.keras", "--data", "mine:data", "-t", "arm64", "-t", "mcu", "-b", "accuracy=90%")

    assert ran.code == 2, ran.err
    assert "arm64, mcu: the budget on accuracy cannot be judged" in ran.err
    assert "the data hold no labels (y_eval)" in ran.err
    assert "convert" not in ran.err
    assert not (edgebuild.folder / "dist").exists()


def test_a_scheme_in_float_is_refused_for_a_target_without_float(edgebuild: Edgebuild, networks: Path) -> None:
    ran = edgebuild(networks / "keras3.keras", "--target", "mcu", "--quantize", "float16")

    assert ran.code == 2
    assert "mcu" in ran.err
    assert "float16" in ran.err


@pytest.mark.parametrize("target", [pytest.param("edgetpu", marks=pytest.mark.slow), "mcu"])
def test_an_operator_that_cannot_be_int8_is_named_with_its_layer(
    edgebuild: Edgebuild, networks: Path, target: str
) -> None:
    (edgebuild.folder / "mine.py").write_text((networks / "mine.py").read_text())

    ran = edgebuild("mine:wave", "--data", networks / "features.npz", "--target", target)

    assert ran.code == 4
    assert "SIN computes in float (from wave)" in ran.err
    assert "QUANTIZE" not in ran.err
    assert not (edgebuild.folder / "dist").exists()


@pytest.mark.slow
def test_an_operation_that_tensorflow_lite_lacks_is_named_with_its_layer(edgebuild: Edgebuild, networks: Path) -> None:
    (edgebuild.folder / "mine.py").write_text((networks / "mine.py").read_text())

    ran = edgebuild("mine:inverse", "--data", networks / "features.npz", "--target", "arm64")

    assert ran.code == 4
    assert "tf.Erfinv (from inverse)" in ran.err


@pytest.mark.slow
def test_a_target_that_fails_leaves_the_others_alone(edgebuild: Edgebuild, networks: Path) -> None:
    (edgebuild.folder / "mine.py").write_text((networks / "mine.py").read_text())

    ran = edgebuild("mine:wave", "-d", networks / "features.npz", "-t", "mcu", "-t", "arm64", "-b", "accuracy_drop=20%")

    assert ran.code == 4
    assert "arm64: pass" in ran.out
    assert "verdict: failed, no artifact for mcu" in ran.out
    assert (edgebuild.folder / "dist/arm64/wave.tflite").is_file()


@pytest.mark.slow
def test_an_operator_newer_than_the_declared_runtime_is_refused(edgebuild: Edgebuild, networks: Path) -> None:
    (edgebuild.folder / "ancient.toml").write_text(
        'extends = "arm64"\ndescription = "a phone of 2018"\n[runtime]\nversion = "1.9.0"\n'
    )

    ran = edgebuild(networks / "keras3.keras", "-d", networks / "images.npz", "-t", "ancient.toml")

    assert ran.code == 4
    assert "FULLY_CONNECTED version 4 needs the runtime 1.14.0, the target has 1.9.0 (from answer)" in ran.err, ran.err
    assert "CONV_2D version 3 needs the runtime 1.14.0, the target has 1.9.0 (from relu, norm, stem)" in ran.err, (
        ran.err
    )
    (remedy,) = re.findall(r"--set targets\.ancient\.runtime\.version=[\d.]+\d", ran.err)
    followed = edgebuild(
        networks / "keras3.keras", "-d", networks / "images.npz", "-t", "ancient.toml", *remedy.split(" ")
    )
    assert followed.code == 0, followed.err


@pytest.mark.slow
def test_an_operator_outside_the_profile_is_refused(edgebuild: Edgebuild, networks: Path) -> None:
    (edgebuild.folder / "tiny.toml").write_text(
        'extends = "mcu"\ndescription = "dense only"\n[operators]\n'
        'allowed = ["FULLY_CONNECTED", "RESHAPE", "SOFTMAX"]\n'
    )

    ran = edgebuild(networks / "keras3.keras", "-d", networks / "images.npz", "-t", "tiny.toml")

    assert ran.code == 4
    assert "CONV_2D is not among the operators of tiny (from" in ran.err
