"""What a build lost: in its manifest, in its summary, and in the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import Edgebuild


def _built(edgebuild: Edgebuild, *arguments: object) -> tuple[Any, str]:
    ran = edgebuild(*arguments, "-b", "accuracy_drop=off")
    assert ran.code == 0, ran.err
    return edgebuild.manifest("mcu"), ran.out


def test_a_manifest_tells_what_was_lost(edgebuild: Edgebuild, networks: Path) -> None:
    manifest, shown = _built(edgebuild, networks / "keras3.keras", "-d", networks / "images.npz", "-t", "mcu")

    accuracy, output = manifest["accuracy"], manifest["losses"]["output"]
    answers = output["answers"]
    assert output["samples"] == answers["total"] == accuracy["samples"]
    gained = (answers["gained"] - answers["lost"]) / answers["total"]
    assert accuracy["artifact"] - accuracy["baseline"] == pytest.approx(gained)
    assert sum(item["lost"] for item in answers["classes"]) == answers["lost"]
    assert sum(cell["count"] for cell in answers["confusion"]) == answers["changed"]
    assert len(output["inputs"]) == min(100, answers["changed"])
    assert 5 < output["signal"]["sqnr_db"] < 80
    assert output["confidence"]["bins"] == 15
    assert 0 < output["confidence"]["baseline"] < 1

    layers = manifest["losses"]["layers"]
    assert (layers["split"], layers["kernels"], layers["unmatched"]) == ("calibration", "reference", [])
    operators = [operator["name"] for operator in manifest["network"]["operators"]]
    assert [layer["operator"] for layer in layers["layers"]] == operators
    assert all(layer["layers"] for layer in layers["layers"])
    rows = [line.split()[0] for line in shown.splitlines() if line.startswith("  ")]
    assert rows.index("answers") < rows.index("signal") < rows.index("layers")


def test_what_was_lost_is_measured_once(edgebuild: Edgebuild, networks: Path) -> None:
    arguments = (networks / "keras3.keras", "-d", networks / "images.npz", "-t", "mcu")
    first, _ = _built(edgebuild, *arguments)
    ran = edgebuild(*arguments, "-b", "accuracy_drop=off")

    steps = [line for line in ran.err.splitlines() if "against the float network's" in line]
    assert len(steps) == 2
    assert all("kept from an earlier build" in line for line in steps)
    assert edgebuild.manifest("mcu")["losses"] == first["losses"]


@pytest.mark.slow
def test_layers_are_compared_where_there_are_no_answers(edgebuild: Edgebuild, networks: Path, tmp_path: Path) -> None:
    import numpy as np

    with np.load(networks / "images.npz") as data:
        np.savez(tmp_path / "unanswered.npz", x_calibration=data["x_train"][:50])

    manifest, shown = _built(edgebuild, networks / "keras3.keras", "-d", tmp_path / "unanswered.npz", "-t", "mcu")

    assert manifest["losses"]["output"] is None
    assert len(manifest["losses"]["layers"]["layers"]) == len(manifest["network"]["operators"])
    assert "(32 calibration samples)" in shown


@pytest.mark.slow
def test_nothing_is_quantized_in_a_float_build(edgebuild: Edgebuild, networks: Path) -> None:
    ran = edgebuild(networks / "keras3.keras", "-d", networks / "images.npz", "-t", "arm64", "-q", "float32")

    assert ran.code == 0, ran.err
    losses = edgebuild.manifest("arm64")["losses"]
    assert losses["layers"] is None
    assert losses["output"]["answers"]["changed"] == 0
    assert losses["output"]["signal"]["sqnr_db"] > 80


@pytest.mark.slow
def test_each_end_of_a_network_with_several_is_fed_its_own(edgebuild: Edgebuild, networks: Path) -> None:
    manifest, _ = _built(edgebuild, networks / "two_ended.keras", "-d", networks / "ends.npz", "-t", "mcu")

    layers = manifest["losses"]["layers"]
    assert layers["unmatched"] == []
    assert min(layer["signal"]["cosine"] for layer in layers["layers"]) > 0.9
