"""A stranger's package outside the repository takes part in a build, without a file of edgebuild being touched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import strangers
from conftest import Edgebuild

PROFILE = """
extends = "arm64"
[accelerator]
compiler = "sxc"
configuration = "sx1-64"
[passes]
channels = "off"
prune = "off"
[passes.coarse]
bits = 5
[budgets]
npu_share = "10 %"
npu_latency = "2 ms"
latency = {limit = "1 s", on = "board:tty0"}
"""


@pytest.mark.slow
def test_a_build_uses_a_pass_a_device_a_compiler_an_importer_a_metric_and_reports_of_a_stranger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = strangers.installed(tmp_path / "site", monkeypatch)
    work = tmp_path / "work"
    work.mkdir()
    edgebuild = Edgebuild(work, tmp_path / "store")
    edgebuild.compresses = edgebuild.refines = True
    (work / "sx.toml").write_text(PROFILE, encoding="utf-8")
    (work / "bright.layers").write_text("8 relu, 2 softmax", encoding="utf-8")
    _write_data(work / "bright.npz")
    asked = ("bright.layers", "-t", "sx.toml", "-d", "bright.npz", "-m", "misses", "-b", "accuracy=off")
    ran = edgebuild(*asked, "-b", "accuracy_drop=off", "--report", "text,lines")
    assert ran.code == 0, ran.out + ran.err

    folder = work / "dist" / "sx"
    manifest = json.loads((folder / "manifest.json").read_bytes())
    coarse = manifest["plan"]["passes"][0]
    assert (coarse["kind"], coarse["plugin"]["package"], coarse["settings"]) == ("plugin", "edge-stranger", {"bits": 5})
    assert any("weights are multiples of 0.03125" in note for note in manifest["notes"])
    assert manifest["inputs"]["model"]["plugin"]["name"] == "layers"
    assert manifest["accuracy"]["metric"] == "misses"
    assert manifest["accuracy"]["artifact"] == round(manifest["accuracy"]["artifact"])
    assert (folder / "bright_sx1.bin").read_bytes()[:4] == b"SX1\0"
    figures = {(item["subject"], item["where"]): item for item in manifest["measurements"]}
    assert figures["npu_latency", "sx1"]["value"] == 1e-3
    assert figures["latency", "board:tty0"]["machine"] == "board at tty0"
    assert (folder / "reports" / "lines.txt").read_text(encoding="utf-8").startswith("sx: pass\n")
    assert "sx" in (folder / "reports" / "summary.txt").read_text(encoding="utf-8")

    # What was built is gated again without the package, but for a report that it writes.
    shutil.rmtree(folder / "reports")
    again = edgebuild("check", "dist", "--report", "lines", "-b", "npu_latency=0.5ms")
    assert again.code == 1, again.err
    assert "npu_latency: fail" in (folder / "reports" / "lines.txt").read_text(encoding="utf-8")
    shutil.rmtree(site)
    assert edgebuild("check", "dist").code == 0
    gone = edgebuild("check", "dist", "--report", "lines")
    assert gone.code == 2
    assert 'no report format is called "lines"' in gone.err


def _write_data(path: Path) -> None:
    """Images of which one half is brighter than the other."""
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    x = rng.uniform(0, 0.3, (200, 8, 8, 1)).astype(np.float32)
    x[y == 1, :, 4:] += 0.6
    x[y == 0, :, :4] += 0.6
    np.savez(path, x_train=x[:120], y_train=y[:120], x_eval=x[120:], y_eval=y[120:])
