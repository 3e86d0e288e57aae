from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Edgebuild

BUILDS = """
[[build]]
name = "first"
model = "{networks}/keras3.keras"
data = "{networks}/images.npz"
targets = ["arm64", "mcu"]
[build.budgets]
size = "10 B"
accuracy_drop = "off"

[[build]]
name = "second"
model = "{networks}/keras3.h5"
data = "{networks}/images.npz"
targets = ["arm64", "mcu"]
[build.budgets]
accuracy_drop = "off"
"""
BROKEN = """
[[build]]
name = "broken"
model = "broken.keras"
data = "{networks}/images.npz"
targets = ["mcu"]
"""


@pytest.mark.slow
def test_models_for_targets_are_built_and_gated_in_one_go(edgebuild: Edgebuild, networks: Path) -> None:
    edgebuild.config((BUILDS + BROKEN).format(networks=networks))
    (edgebuild.folder / "broken.keras").write_text("no network")
    made = edgebuild("build-all", "--json")
    assert made.code == 4, made.err
    first, second, broken = made.json["builds"]
    assert [manifest["verdict"]["status"] for manifest in first["manifests"]] == ["fail", "fail"]
    assert [manifest["verdict"]["status"] for manifest in second["manifests"]] == ["pass", "pass"]
    assert broken["errors"][0]["error"]["exit_code"] == 4

    edgebuild.config(BUILDS.format(networks=networks))
    again = edgebuild("--quiet")
    assert again.code == 1, again.err
    lines = [line.split() for line in again.out.splitlines() if "bytes" in line]
    assert [(line[0], line[1], line[-1]) for line in lines] == [
        ("first", "arm64", "fail"),
        ("first", "mcu", "fail"),
        ("second", "arm64", "pass"),
        ("second", "mcu", "pass"),
    ]
    assert edgebuild("check").code == 1
    assert edgebuild("check", "dist/second").code == 0
    manifest = edgebuild.folder / "dist" / "second" / "mcu" / "manifest.json"
    assert json.loads(manifest.read_text())["target"] == "mcu"
    manifest.unlink()
    missing = edgebuild("check", "dist")
    assert missing.code == 4
    assert "manifest.json is missing" in missing.err
