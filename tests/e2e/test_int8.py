"""What is done for the accuracy of int8: equalization, chosen grids, the repair ladder, calibration without data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Edgebuild

PLAIN = ("--set", "passes.equalize=off", "--set", "passes.calibrate=off")


def score(edgebuild: Edgebuild, artifact: Path, data: Path) -> float:
    """The share of right answers of an artifact with float ends or int8 ends, on x_eval."""
    script = f"""
import numpy as np
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter({str(artifact)!r})
interpreter.allocate_tensors()
(given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()
scale, zero = given["quantization"]
data = np.load({str(data)!r})
right = 0
for x, y in zip(data["x_eval"], data["y_eval"]):
    stored = np.clip(np.rint(x / scale) + zero, -128, 127).astype(np.int8) if scale else x
    interpreter.set_tensor(given["index"], stored[None])
    interpreter.invoke()
    right += interpreter.get_tensor(made["index"])[0].argmax() == y
print(right / len(data["y_eval"]))
"""
    ran = edgebuild.in_python(script)
    assert ran.code == 0, ran.err
    return float(ran.out)


def _logits_db(manifest: Any) -> float:
    """The SQNR of what goes into the softmax; what comes out is on a grid that TensorFlow Lite fixes."""
    *_, logits, softmax = manifest["losses"]["layers"]["layers"]
    assert (logits["operator"], softmax["operator"]) == ("FULLY_CONNECTED", "SOFTMAX")
    return float(logits["signal"]["sqnr_db"])


def rungs(manifest: Any) -> list[tuple[str, bool]]:
    return [(rung["name"], rung["kept"]) for rung in manifest["repair"]]


@pytest.fixture(scope="module")
def unreachable(networks: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data without a train split, whose answers no network can know."""
    path = tmp_path_factory.mktemp("unreachable") / "data.npz"
    with np.load(networks / "only_eval.npz") as data:
        answers = np.random.default_rng(0).permutation(data["y_eval"])
        np.savez(path, x_eval=data["x_eval"], y_eval=answers, x_calibration=data["x_calibration"])
    return path


@pytest.mark.slow
def test_channels_far_apart_cost_the_converter_its_accuracy_and_edgebuild_nothing(
    edgebuild: Edgebuild, networks: Path
) -> None:
    """Neither accuracy nor operators, size and signal."""
    # How much a healthy network would gain hangs on its last bits, which each machine trains a little differently.
    arguments = (networks / "spoilt.h5", "-d", networks / "digits.npz", "-t", "mcu", "-t", "arm64")
    assert edgebuild(*arguments).code == 1
    before, plain = (edgebuild.manifest(target) for target in ("mcu", "arm64"))
    edgebuild.refines = True
    ran = edgebuild(*arguments)
    after, refined = (edgebuild.manifest(target) for target in ("mcu", "arm64"))
    assert after["verdict"]["status"] == "pass", ran.out
    assert before["accuracy"]["baseline"] - before["accuracy"]["artifact"] > 0.03
    assert after["accuracy"]["baseline"] - after["accuracy"]["artifact"] <= 0.01
    said = " ".join(after["notes"])
    assert "equalized" in said
    assert "weights rounded adaptively" in said

    names = [[operator["name"] for operator in manifest["network"]["operators"]] for manifest in (plain, refined)]
    assert names[0] == names[1]
    assert refined["artifact"]["size_bytes"] <= 1.02 * plain["artifact"]["size_bytes"]
    assert refined["artifact"]["sha256"] != plain["artifact"]["sha256"]
    assert _logits_db(refined) > _logits_db(plain) + 2


def _outputs(edgebuild: Edgebuild, artifact: Path, x: Any, path: Path) -> Any:
    """What an artifact with float ends makes of samples, [samples, classes]."""
    np.save(path, x)
    script = f"""
import numpy as np
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter({str(artifact)!r})
interpreter.allocate_tensors()
(given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()
made_of = []
for x in np.load({str(path)!r}):
    interpreter.set_tensor(given["index"], x[None])
    interpreter.invoke()
    made_of.append(interpreter.get_tensor(made["index"])[0])
np.save({str(path)!r}, made_of)
"""
    ran = edgebuild.in_python(script)
    assert ran.code == 0, ran.err
    return np.load(path)


@pytest.mark.slow
def test_refinements_that_answer_train_samples_worse_are_taken_back(
    edgebuild: Edgebuild, networks: Path, tmp_path: Path
) -> None:
    build = (networks / "residual.h5", "-t", "arm64", "-b", "accuracy_drop=off")
    with np.load(networks / "images.npz") as data:
        kept = {name: data[name] for name in data if name.endswith("_eval")}
        size = data["x_eval"].shape[1:]
    x = np.random.default_rng(0).random((20_000, *size)).astype(np.float32)
    kept |= {"x_calibration": x[:100]}
    np.savez(tmp_path / "unlabelled.npz", **kept)
    assert edgebuild(*build, "-d", tmp_path / "unlabelled.npz").code == 0
    plain = edgebuild.manifest("arm64")["artifact"]
    made = _outputs(edgebuild, edgebuild.folder / "dist" / "arm64" / plain["path"], x, tmp_path / "x.npy")
    unsure = np.argsort(np.diff(np.sort(made)[:, -2:])[:, 0])[:2_000]  # what any change may turn
    np.savez(tmp_path / "labelled.npz", **kept, x_train=x[unsure], y_train=made[unsure].argmax(1))
    edgebuild.refines = True
    build = (*build, "-d", tmp_path / "labelled.npz")
    ran = edgebuild(*build)
    assert ran.code == 0, ran.err
    manifest = edgebuild.manifest("arm64")
    assert manifest["artifact"]["sha256"] == plain["sha256"]
    assert [step["kind"] for step in manifest["plan"]["passes"]] == ["quantize"]
    assert any("equalize and calibrate taken back: of 2,000 train samples" in note for note in manifest["notes"])
    assert edgebuild(*build, "--set", "build.vet=false").code == 0
    assert edgebuild.manifest("arm64")["artifact"]["sha256"] != plain["sha256"]


@pytest.mark.slow
def test_the_ladder_stops_at_the_first_build_that_keeps_the_budget(edgebuild: Edgebuild, networks: Path) -> None:
    edgebuild.refines = edgebuild.repairs = True
    ran = edgebuild(networks / "spoilt.h5", "-d", networks / "digits.npz", "-t", "mcu", *PLAIN)
    assert ran.code == 0, ran.out
    manifest = edgebuild.manifest("mcu")
    tried = rungs(manifest)
    assert tried[0] == ("as planned", False)
    assert [kept for _, kept in tried[1:]] == [*[False] * (len(tried) - 2), True]
    assert manifest["accuracy"]["artifact"] == manifest["repair"][-1]["accuracy"] > manifest["repair"][0]["accuracy"]
    assert manifest["artifact"]["size_bytes"] == manifest["repair"][-1]["size_bytes"]
    kinds = [step["kind"] for step in manifest["plan"]["passes"]]
    assert kinds[-2:] == ["calibrate", "quantize"]
    assert f"the accuracy budget is kept by {tried[-1][0]}" in ran.out
    assert "as planned" in ran.out


@pytest.mark.slow
def test_the_ladder_says_why_it_ends(edgebuild: Edgebuild, networks: Path, unreachable: Path) -> None:
    edgebuild.refines = edgebuild.repairs = True
    ran = edgebuild(networks / "residual.h5", "-d", unreachable, "-t", "edgetpu", "-b", "accuracy=99%", *PLAIN)
    assert ran.code == 1
    names = [name for name, _ in rungs(edgebuild.manifest("edgetpu"))]
    assert names == ["as planned", "better ranges", "equalization and bias correction", "adaptive rounding"]
    ends = "the ladder ends here: edgetpu runs no operators in float, and none in int16, and there are no train data"
    assert ends in ran.out


@pytest.mark.slow
def test_the_ladder_goes_on_to_float_layers_where_the_target_has_them(
    edgebuild: Edgebuild, networks: Path, unreachable: Path
) -> None:
    edgebuild.refines = edgebuild.repairs = True
    ran = edgebuild(networks / "residual.h5", "-d", unreachable, "-t", "arm64", "-b", "accuracy=99%")
    assert ran.code == 1
    manifest = edgebuild.manifest("arm64")
    floating = [name for name, _ in rungs(manifest) if name.startswith("float for ")]
    assert [name.count(",") + 1 for name in floating] == [1, 2][: len(floating)]
    assert floating
    sizes = {rung["name"]: rung["size_bytes"] for rung in manifest["repair"]}
    assert all(sizes[name] > sizes["as planned"] for name in floating), sizes
    best = max(rung["accuracy"] for rung in manifest["repair"])
    assert manifest["accuracy"]["artifact"] == best


@pytest.mark.slow
def test_a_rung_of_int16_writes_out_what_its_kernels_have_no_operator_for(edgebuild: Edgebuild, networks: Path) -> None:
    edgebuild.repairs = True
    impossible = edgebuild.folder / "impossible.npz"
    with np.load(networks / "flat_images.npz") as data:
        # Without a train split, so that the ladder ends with int16.
        np.savez(
            impossible, x_calibration=data["x_train"][:20], x_eval=data["x_eval"], y_eval=np.roll(data["y_eval"], 1)
        )
    ran = edgebuild(networks / "recurrent.keras", "-d", impossible, "-t", "mcu", "-b", "accuracy=100%", *PLAIN)
    assert ran.code == 1, ran.err
    built = {rung["name"]: rung for rung in edgebuild.manifest("mcu")["repair"]}
    assert built["int16x8"]["accuracy"] > 0.2
    assert built["int16x8"]["size_bytes"] > 1.5 * built["as planned"]["size_bytes"]


@pytest.mark.slow
def test_the_last_rung_trains_where_there_are_train_data(edgebuild: Edgebuild, networks: Path) -> None:
    edgebuild.refines = edgebuild.repairs = True
    # The rungs below the last are the refinements: vetting would leave them out where they do not pay.
    limits = ("-b", "accuracy=100%", "--time", "1m", "--set", "train.epochs=2", "--set", "build.vet=false")
    ran = edgebuild(networks / "digits.h5", "-d", networks / "digits.npz", "-t", "edgetpu", *limits)
    assert ran.code == 1, ran.err
    manifest = edgebuild.manifest("edgetpu")
    assert rungs(manifest) == [("as planned", False), ("quantization-aware training", False)]
    accuracies = [rung["accuracy"] for rung in manifest["repair"]]
    assert manifest["accuracy"]["artifact"] == max(accuracies)
    is_trained = accuracies[1] > accuracies[0]
    assert ("qat" in [step["kind"] for step in manifest["plan"]["passes"]]) == is_trained
    assert "the ladder ends here" in ran.out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("refines", "named", "kernel"),
    [(True, "pointwise", "pointwise"), (False, "pointwise", "pointwise"), (True, "stem_norm", "stem")],
)
def test_layers_that_are_named_stay_in_float(
    refines: bool, named: str, kernel: str, edgebuild: Edgebuild, networks: Path
) -> None:
    edgebuild.refines = refines
    keep = ("--set", f'passes.quantize.float_layers=["{named}"]')
    ran = edgebuild(networks / "residual.h5", "-d", networks / "images.npz", "-t", "arm64", *keep)
    assert ran.code in (0, 1), ran.err
    operators = edgebuild.manifest("arm64")["network"]["operators"]
    kernels = [op for op in operators if op["name"] in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")]
    assert [op["dtypes"][0] for op in kernels if kernel in op["tensor"]] == ["float32"]
    assert {op["dtypes"][0] for op in kernels if kernel not in op["tensor"]} == {"int8"}
    assert refines == any("ranges: " in note for note in edgebuild.manifest("arm64")["notes"])


@pytest.mark.slow
def test_a_float_layer_that_does_not_exist_is_named(edgebuild: Edgebuild, networks: Path) -> None:
    keep = ("--set", 'passes.quantize.float_layers=["pointwize"]')
    ran = edgebuild(networks / "residual.h5", "-d", networks / "images.npz", "-t", "arm64", *keep)
    assert ran.code == 2
    assert 'the layer "pointwize", which the network does not have; did you mean "pointwise"?' in ran.err


@pytest.mark.slow
def test_inputs_made_up_from_batch_norms_calibrate_without_data(edgebuild: Edgebuild, networks: Path) -> None:
    edgebuild.refines = True
    ran = edgebuild(networks / "keras3.keras", "-t", "mcu", "--set", "data.synthesize=true", "-b", "accuracy_drop=off")
    assert ran.code == 0, ran.err
    manifest = edgebuild.manifest("mcu")
    assert manifest["accuracy"] is None
    assert manifest["inputs"]["data"] is None
    assert any("inputs synthesised to fit 1 batch norms, not from real samples" in note for note in manifest["notes"])
    artifact = edgebuild.folder / "dist" / "mcu" / "keras3.tflite"
    assert score(edgebuild, artifact, networks / "images.npz") > 0.9


@pytest.mark.slow
def test_inputs_cannot_be_made_up_without_batch_norms(edgebuild: Edgebuild, networks: Path) -> None:
    ran = edgebuild(networks / "recurrent.h5", "-t", "mcu", "--set", "data.synthesize=true")
    assert ran.code == 4
    assert "no batch norm that knows what is usual" in ran.err
