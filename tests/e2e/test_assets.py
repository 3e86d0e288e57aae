"""Real networks, where they are at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import Edgebuild

# What the plain converter makes of the network, with 200 samples: the bar that must be kept.
PLAIN_BYTES = 48_480


@pytest.mark.slow
def test_keyword_spotting_for_three_targets_keeps_size_and_accuracy(edgebuild: Edgebuild, kws: Path) -> None:
    ran = edgebuild(kws / "saved_model", "--data", kws / "kws.npz", "-t", "arm64", "-t", "edgetpu", "-t", "mcu")

    assert ran.code == 0, ran.err
    assert "warning" not in ran.out + ran.err, "nothing is wrong with these data"
    for target in ("arm64", "edgetpu", "mcu"):
        manifest = edgebuild.manifest(target)
        assert manifest["findings"] == []
        assert manifest["name"] == "kws"
        assert manifest["artifact"]["size_bytes"] <= PLAIN_BYTES
        assert manifest["accuracy"]["samples"] == 1000
        assert manifest["accuracy"]["baseline"] == pytest.approx(0.905, abs=0.002)
        assert manifest["accuracy"]["artifact"] >= 0.91


@pytest.mark.slow
def test_the_streaming_wake_word_network_builds_from_its_h5(edgebuild: Edgebuild, kws: Path) -> None:
    noise = np.random.default_rng(0).standard_normal((50, 30, 1, 40)).astype(np.float32)
    np.savez(edgebuild.folder / "noise.npz", x_calibration=noise)

    ran = edgebuild(kws / "streaming_wakeword.h5", "-d", "noise.npz", "-t", "mcu", "-b", "accuracy_drop=off")

    assert ran.code == 0, ran.err
    assert "the data hold no labels (y_eval): nothing was scored" in ran.out
    manifest = edgebuild.manifest("mcu")
    assert manifest["name"] == "streaming_wakeword"
    assert manifest["accuracy"] is None
    assert manifest["inputs"]["network"]["parameters"] == 47_707
    assert {dtype for operator in manifest["network"]["operators"] for dtype in operator["dtypes"]} == {"int8"}
