"""The embedded default: what a newcomer's first command does."""

from __future__ import annotations

import hashlib
import json

import pytest
from conftest import QUICK, Edgebuild


def test_with_nothing_named_the_example_is_built_judged_and_left_in_dist(edgebuild: Edgebuild) -> None:
    ran = edgebuild("--target", "arm64")

    assert ran.code == 0, ran.err
    assert "building the example" in ran.err
    assert "arm64: pass" in ran.out
    assert "verdict: pass" in ran.out
    manifest = edgebuild.manifest("arm64")
    artifact = (edgebuild.folder / "dist/arm64/digits.tflite").read_bytes()
    assert manifest["artifact"]["sha256"] == hashlib.sha256(artifact).hexdigest()
    assert manifest["artifact"]["size_bytes"] == len(artifact)
    assert manifest["accuracy"]["artifact"] > 0.95
    assert manifest["accuracy"]["samples"] == 360
    wanted = {"schema_version", "name", "target", "artifact", "accuracy", "measurements", "verdict", "plan"}
    assert wanted | {"toolchain", "inputs"} <= manifest.keys()
    latency = next(m for m in manifest["measurements"] if m["subject"] == "latency")
    assert (latency["mode"], latency["where"], latency["kernels"]) == ("measured", "host", "xnnpack")
    assert len(latency["samples"]) == sum(latency["blocks"]) > 1
    low, high = latency["intervals"]["median"]
    assert low <= latency["value"] <= high
    assert latency["statistics"]["median"] <= latency["statistics"]["p90"]


def test_an_unchanged_rebuild_keeps_everything_and_imports_no_tensorflow_or_numpy(edgebuild: Edgebuild) -> None:
    edgebuild("--target", "arm64")
    first = edgebuild.manifest("arm64")
    ran = edgebuild.in_python(
        "import json, sys; from edgebuild.cli import run;"
        f"code = run(['--target', 'arm64', '--no-compress', '--no-refine', '--no-repair', *{QUICK}]);"
        "print(json.dumps([code, sorted(sys.modules)]))"
    )

    code, modules = json.loads(ran.out.splitlines()[-1])
    assert code == 0
    steps = [line for line in ran.err.splitlines() if line.startswith("- ")]
    assert steps
    assert all(line.endswith(": kept from an earlier build") for line in steps)
    assert {"tensorflow", "keras", "numpy", "rich", "sklearn", "psutil"}.isdisjoint(modules)
    assert edgebuild.manifest("arm64") == first


def test_measure_again_measures_anew_and_keeps_the_new_figures(edgebuild: Edgebuild) -> None:
    edgebuild("--target", "arm64")
    first = edgebuild.manifest("arm64")["measurements"]

    again = edgebuild("--target", "arm64", "--measure-again")

    assert "convert the network as it is, to see whether it fits: kept" in again.err
    assert "- arm64: time inferences on this machine\n" in again.err
    second = edgebuild.manifest("arm64")["measurements"]
    assert second != first
    edgebuild("--target", "arm64")
    assert edgebuild.manifest("arm64")["measurements"] == second


@pytest.mark.slow
def test_two_trainings_with_one_seed_give_the_same_bytes(edgebuild: Edgebuild) -> None:
    edgebuild("--target", "mcu")
    elsewhere = Edgebuild(edgebuild.folder, edgebuild.folder / "another-store")

    elsewhere("--target", "mcu", "--out", "again")

    first = edgebuild.folder / "dist/mcu/digits.tflite"
    assert (edgebuild.folder / "again/mcu/digits.tflite").read_bytes() == first.read_bytes()


@pytest.mark.slow
def test_json_prints_the_manifests_alone(edgebuild: Edgebuild) -> None:
    ran = edgebuild("--target", "arm64", "--target", "mcu", "--json")

    assert [manifest["target"] for manifest in ran.json] == ["arm64", "mcu"]
    assert ran.json[0] == edgebuild.manifest("arm64")


@pytest.mark.slow
def test_targets_with_equal_settings_share_one_conversion(edgebuild: Edgebuild) -> None:
    ran = edgebuild("--target", "raspberry-pi-pico", "--target", "esp32-s3-devkitc", "--seed", "11")

    # Either may come to it first; the other waits for it, or finds it done.
    targets = ("raspberry-pi-pico", "esp32-s3-devkitc")
    (line,) = [line for line in ran.err.splitlines() if "convert the network" in line]
    assert line in [f"- {target}: convert the network as it is, to see whether it fits" for target in targets]
    shipped = [edgebuild.manifest(target)["artifact"] for target in targets]
    assert shipped[0] == shipped[1]


def test_the_library_face_returns_the_manifest(edgebuild: Edgebuild) -> None:
    ran = edgebuild.in_python(
        "import edgebuild; only = {'build': {'compress': False, 'refine': False}};"
        "m = edgebuild.build(target='arm64', budgets={'size': '1 KB'}, settings=only);"
        "print(m.name, m.verdict.status, m.artifact.size_bytes)"
    )

    size = edgebuild.manifest("arm64")["artifact"]["size_bytes"]
    assert ran.out.split() == ["digits", "fail", str(size)]
