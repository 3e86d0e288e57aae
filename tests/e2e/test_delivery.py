"""What is left for a target's developer, and what the target's own runtime and compiler say of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from conftest import Edgebuild

# Hides packages from the metadata that tell what is installed, as in an environment without the extras.
_WITHOUT = """
import importlib.metadata as metadata
_version = metadata.version
def version(name):
    if name in ("tflite-micro", "ethos-u-vela"):
        raise metadata.PackageNotFoundError(name)
    return _version(name)
metadata.version = version
"""


def _measured(manifest: Any, subject: str) -> Any:
    return next(item for item in manifest["measurements"] if item["subject"] == subject)


def _statuses(manifest: Any) -> dict[str, str]:
    return {check["budget"]["subject"]: check["status"] for check in manifest["verdict"]["checks"]}


def test_a_microcontroller_gets_a_packed_file_its_arena_and_sources(edgebuild: Edgebuild, networks: Path) -> None:
    arguments = (networks / "keras3.keras", "-d", networks / "images.npz", "-t", "mcu")
    ran = edgebuild(*arguments, "--name", "image net")
    assert ran.code == 0, ran.err
    manifest = edgebuild.manifest("mcu")
    folder = edgebuild.folder / "dist" / "mcu"
    leaner = manifest["leaner"]
    assert leaner["after_bytes"] == (folder / "image net.tflite").stat().st_size < leaner["before_bytes"]
    assert "tflm" in leaner["verified_on"]
    arena = manifest["device"]["arena"]
    assert _measured(manifest, "arena")["value"] == arena["required_bytes"] >= arena["head_bytes"]
    assert _measured(manifest, "accuracy")["kernels"] == "tflm"
    assert _measured(manifest, "flash")["value"] >= leaner["after_bytes"]
    constants = (folder / "firmware" / "image_net_constants.h").read_text()
    (reserved,) = re.findall(r"kArenaBytes = (\d+)", constants)
    assert int(reserved) >= 1.1 * arena["required_bytes"]
    assert {item["path"] for item in manifest["files"]} >= {"firmware/image_net_model.cc", "model_card.md"}
    assert f"{arena['required_bytes']:,} bytes on TensorFlow Lite Micro" in ran.out
    tight = edgebuild(*arguments, "--budget", "arena=100B")
    assert tight.code == 1
    assert _statuses(edgebuild.manifest("mcu"))["arena"] == "fail"


@pytest.mark.slow
def test_another_runtime_is_scored_on_its_kernels_and_its_ram_is_labelled(edgebuild: Edgebuild, networks: Path) -> None:
    board = 'description = "a board"\nextends = "mcu"\n\n[runtime]\nname = "x-cube-ai"\n'
    (edgebuild.folder / "board.toml").write_text(board)
    arguments = (networks / "keras3.keras", "-d", networks / "images.npz", "-t", "board.toml")
    ran = edgebuild(*arguments)
    assert ran.code == 0, ran.err
    manifest = edgebuild.manifest("board")
    arena = _measured(manifest, "arena")
    assert _measured(manifest, "accuracy")["kernels"] == "xnnpack"
    assert manifest["device"]["parity"]["kernels"] == ["xnnpack", "reference"]
    assert not [item for item in manifest["files"] if item["path"].startswith("firmware/")]
    card = (edgebuild.folder / "dist" / "board" / "model_card.md").read_text()
    for text in (ran.out, card, arena["of"], *manifest["notes"][-1:]):
        assert "X-CUBE-AI's own RAM is up to 2.7 times less" in text
    assert "scored on LiteRT's xnnpack kernels, whose outputs are X-CUBE-AI's" in ran.out
    between = arena["value"] // 2
    unknown = edgebuild(*arguments, "--budget", f"arena={between}B")
    assert unknown.code == 5
    assert _statuses(edgebuild.manifest("board"))["arena"] == "inconclusive"


@pytest.mark.slow
def test_ends_are_listed_as_they_stand_in_the_file(edgebuild: Edgebuild, networks: Path) -> None:
    """Fed and read by position as manifest, card and firmware list them, each output is the network's."""
    data, budget = networks / "ends.npz", ("-b", "accuracy_drop=off")
    ran = edgebuild(networks / "many_ended.keras", "-d", data, "-t", "mcu", "-t", "arm64", *budget)
    assert ran.code == 0, ran.err
    x, expected = np.load(data), np.load(networks / "many_ended.npz")
    names = [["zebra", "ape"], ["yaw", "kind", "pitch", "yaw_1"]]
    for target in ("mcu", "arm64"):
        folder, network = edgebuild.folder / "dist" / target, edgebuild.manifest(target)["network"]
        assert [[end["name"] for end in network[ends]] for ends in ("inputs", "outputs")] == names
        interpreter = Interpreter(model_path=str(folder / "many_ended.tflite"))
        interpreter.allocate_tensors()
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        for listed, details in zip([*network["inputs"], *network["outputs"]], [*inputs, *outputs], strict=True):
            assert (listed["index"], listed["shape"]) == (details["index"], details["shape"].tolist())
            scale, zero_point = details["quantization"]
            assert (listed["scale"], listed["zero_point"]) == (pytest.approx(scale), zero_point)
        found = [
            _by_position(interpreter, [x[f"x_eval/{name}"][row : row + 1] for name in names[0]]) for row in range(60)
        ]
        for place, name in enumerate(names[1]):
            signal = expected[f"output{place}"]
            noise = signal - np.concatenate([row[place] for row in found])
            assert 10 * np.log10(np.mean(signal**2) / np.mean(noise**2)) > 25, (target, name)
        rows = re.findall(r"\| (?:in|out)put \d \| `(\w+)`", (folder / "model_card.md").read_text())
        assert rows == [*names[0], *names[1]]
    firmware = edgebuild.folder / "dist" / "mcu" / "firmware"
    constants = (firmware / "many_ended_constants.h").read_text()
    assert re.findall(r'k(?:In|Out)put\dName = "(\w+)"', constants) == [*names[0], *names[1]]
    table = re.findall(r"\| (?:In|Out)put\d \| ([\w\\]+) \|", (firmware / "README.md").read_text())
    assert [name.replace("\\", "") for name in table] == [*names[0], *names[1]]


def _by_position(interpreter: Any, inputs: list[Any]) -> list[Any]:
    """The real outputs of one inference, in the file's order."""
    for details, array in zip(interpreter.get_input_details(), inputs, strict=True):
        scale, zero_point = details["quantization"]
        stored = np.clip(np.round(array / scale) + zero_point, -128, 127) if scale else array
        interpreter.set_tensor(details["index"], stored.astype(details["dtype"]))
    interpreter.invoke()
    found = []
    for details in interpreter.get_output_details():
        scale, zero_point = details["quantization"]
        values = interpreter.get_tensor(details["index"]).astype(np.float32)
        found.append((values - zero_point) * scale if scale else values)
    return found


def test_sources_are_laid_out_as_asked_and_those_of_the_build_before_go(edgebuild: Edgebuild, networks: Path) -> None:
    arguments = (networks / "keras3.keras", "-d", networks / "images.npz", "-t", "mcu", "--set")
    firmware = edgebuild.folder / "dist" / "mcu" / "firmware"
    assert edgebuild(*arguments, "delivery.firmware=arduino").code == 0
    assert (firmware / "library.properties").is_file()
    assert edgebuild(*arguments, "delivery.firmware=esp-idf").code == 0
    assert (firmware / "idf_component.yml").is_file()
    assert not (firmware / "library.properties").exists()
    assert edgebuild(*arguments, "delivery.firmware=off").code == 0
    assert not firmware.exists()


def test_check_finds_sources_that_have_changed(edgebuild: Edgebuild, networks: Path) -> None:
    assert edgebuild(networks / "keras3.keras", "-d", networks / "images.npz", "-t", "mcu").code == 0
    assert edgebuild("check").code == 0
    model = edgebuild.folder / "dist" / "mcu" / "firmware" / "keras3_model.cc"
    model.write_text(model.read_text().replace("0x1c", "0x1d", 1))
    changed = edgebuild("check")
    assert changed.code == 4
    assert "keras3_model.cc is not the file that" in changed.err


@pytest.mark.slow
def test_figures_of_tools_that_are_absent_are_inconclusive_and_the_way_to_them_is_said(
    edgebuild: Edgebuild, networks: Path, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(_WITHOUT)
    targets = ("-t", "mcu", "-t", "ethos-u55-128")
    ran = edgebuild(networks / "keras3.keras", "-d", networks / "images.npz", *targets, PYTHONPATH=str(tmp_path))
    assert ran.code == 5, ran.err
    mcu, npu = (edgebuild.manifest(target) for target in ("mcu", "ethos-u55-128"))
    assert _statuses(mcu)["arena"] == "inconclusive"
    assert _statuses(npu)["npu_sram"] == "inconclusive"
    assert _measured(mcu, "accuracy")["kernels"] == "reference"
    assert "pip install 'edgebuild[micro]'" in ran.out
    assert "pip install 'edgebuild[ethosu]'" in ran.out
    # Later, without the tools too, the gate says the same.
    checked = edgebuild("check")
    assert checked.code == 5
    assert "pip install 'edgebuild[micro]'" in checked.out


def test_phones_get_metadata_and_hear_what_xnnpack_takes(edgebuild: Edgebuild, networks: Path) -> None:
    edgebuild.config('[about]\nauthor = "Ada"\ndescription = "Sees shapes."\nlicense = "MIT"\n')
    ran = edgebuild(networks / "keras3.keras", "-d", networks / "images.npz", "-t", "arm64")
    assert ran.code == 0, ran.err
    manifest = edgebuild.manifest("arm64")
    delegation, parity = manifest["device"]["delegation"], manifest["device"]["parity"]
    assert delegation["mode"] == "measured"
    assert {place["operator"] for place in delegation["places"] if place["is_mapped"]} >= {"CONV_2D"}
    assert parity["kernels"] == ["xnnpack", "reference"]
    assert parity["samples"] == manifest["accuracy"]["samples"]
    shown = edgebuild("inspect", "dist/arm64/keras3.tflite", "--json").json
    assert shown["described"]["author"] == "Ada"
    (image,) = shown["described"]["inputs"]
    assert (image["content"], image["mean"], image["std"]) == ("grayscale", [0.0], [1.0])
    assert shown["signatures"] == ["serving_default"]
    card = (edgebuild.folder / "dist" / "arm64" / "model_card.md").read_text()
    assert "Sees shapes." in card
    assert "MIT" in card


def test_what_accelerators_take_is_said_and_gated(edgebuild: Edgebuild, networks: Path) -> None:
    arguments = (networks / "keras3.keras", "-d", networks / "images.npz", "-t", "edgetpu", "-t", "ethos-u55-128")
    ran = edgebuild(*arguments)
    assert ran.code == 0, ran.err
    tpu, npu = (edgebuild.manifest(target) for target in ("edgetpu", "ethos-u55-128"))
    assert _measured(tpu, "npu_share")["mode"] == "estimated"
    assert "predicted" in ran.out
    assert _measured(npu, "npu_share")["mode"] == "measured"
    shares = [_measured(manifest, "npu_share") for manifest in (tpu, npu)]
    for manifest, share in zip((tpu, npu), shares, strict=True):
        assert share["settings"]["operators"] == len(manifest["network"]["operators"])
        assert f"of the file's {share['settings']['operators']} operators" in ran.out
    assert _measured(npu, "npu_latency")["mode"] == "estimated"
    figures = npu["device"]["ethosu"]["figures"]
    assert _measured(npu, "npu_sram")["value"] == figures["sram_bytes"] > 0
    assert (edgebuild.folder / "dist" / "ethos-u55-128" / "keras3_vela.tflite").is_file()
    operators = (edgebuild.folder / "dist" / "ethos-u55-128" / "firmware" / "keras3_ops.h").read_text()
    assert "AddEthosU" in operators
    # What the Edge TPU cannot tell is refused before anything is built; Vela estimates it.
    refused = edgebuild(*arguments, "--budget", "npu_latency=1ns")
    assert refused.code == 2
    broken = edgebuild(*arguments[:3], "-t", "ethos-u55-128", "--budget", "npu_latency=1ns")
    assert broken.code == 1
    assert _statuses(edgebuild.manifest("ethos-u55-128"))["npu_latency"] == "fail"


def test_a_float_network_is_no_success_on_an_npu(edgebuild: Edgebuild, networks: Path) -> None:
    ran = edgebuild(networks / "keras3.keras", "-d", networks / "images.npz", "-t", "ethos-u55-128", "-q", "float32")
    assert ran.code == 2
    assert "runs no operators in float" in ran.err


def test_what_is_built_is_inspected_compared_and_timed(edgebuild: Edgebuild, networks: Path) -> None:
    targets = ("-t", "arm64", "-t", "mcu")
    assert edgebuild(networks / "keras3.keras", "-d", networks / "images.npz", *targets).code == 0
    inspected = edgebuild("inspect", "dist/mcu/keras3.tflite")
    assert inspected.code == 0
    assert re.search(r"0 +CONV_2D ", inspected.out)
    compared = edgebuild("diff", "dist/arm64", "dist/mcu")
    assert compared.code == 0
    assert re.search(r"QUANTIZE +1 +-> +0", compared.out)
    timed = edgebuild("bench", "dist", "--json", "--quiet", "--set", "bench.runs=20")
    assert timed.code == 0, timed.err
    assert [0 < len(_measured(item, "latency")["samples"]) <= 20 for item in timed.json] == [True, True]
    artifact = edgebuild.folder / "dist" / "mcu" / "keras3.tflite"
    artifact.write_bytes(artifact.read_bytes()[:-4])
    for verb in ("inspect", "bench", "diff"):
        refused = edgebuild(verb, *([artifact, artifact] if verb == "diff" else [artifact]))
        assert refused.code == 4, verb
        assert "keras3.tflite" in refused.err


@pytest.mark.parametrize("verb", ["bench", "diff", "inspect"])
def test_a_file_that_is_not_there_is_named(edgebuild: Edgebuild, verb: str) -> None:
    ran = edgebuild(verb, *(["none.tflite"] * (2 if verb == "diff" else 1)))
    assert ran.code == 4
    assert "none.tflite" in ran.err


def test_the_manifest_lists_every_file_that_was_left(edgebuild: Edgebuild, networks: Path) -> None:
    assert edgebuild(networks / "keras3.keras", "-d", networks / "images.npz", "-t", "mcu").code == 0
    folder = edgebuild.folder / "dist" / "mcu"
    left = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    listed = {item["path"] for item in json.loads((folder / "manifest.json").read_text())["files"]}
    assert left == listed | {"keras3.tflite", "manifest.json"}
