from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from conftest import Edgebuild

from tests.conftest import PATIENCE_S

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
    edgebuild.store = edgebuild.folder / "store"  # where nothing is but what this test has made
    cut_short = edgebuild.start("build-all")
    assert cut_short.stderr is not None
    for line in cut_short.stderr:
        if line.startswith("- first: ") and "convert" in line:
            break
    cut_short.send_signal(signal.SIGINT)
    _, err = cut_short.communicate(timeout=PATIENCE_S)
    assert (cut_short.returncode, "interrupted" in err, "Traceback" in err) == (130, True, False), err
    assert not list(edgebuild.folder.glob("dist/**/manifest.json"))

    made = edgebuild("build-all", "--json")
    assert made.code == 4, made.err
    assert "- first: load first and fix its shapes: kept from an earlier build" in made.err.splitlines()
    first, second, broken = made.json["builds"]
    assert [manifest["verdict"]["status"] for manifest in first["manifests"]] == ["fail", "fail"]
    assert [manifest["verdict"]["status"] for manifest in second["manifests"]] == ["pass", "pass"]
    assert broken["errors"][0]["error"]["exit_code"] == 4

    edgebuild.config(BUILDS.format(networks=networks))
    again = edgebuild("--quiet", "--verbose")
    assert again.code == 1, again.err
    table = [line.split() for line in again.out.splitlines() if line.split()[:1] in (["first"], ["second"])]
    assert [(line[0], line[1], line[-1]) for line in table if line[1] != "for"] == [
        ("first", "arm64", "fail"),
        ("first", "mcu", "fail"),
        ("second", "arm64", "pass"),
        ("second", "mcu", "pass"),
    ]
    assert [line for line in again.out.splitlines() if line.startswith("second for")] == [
        "second for arm64: pass",
        "second for mcu: pass",
    ]
    assert edgebuild("check").code == 1
    assert edgebuild("check", "dist/second").code == 0
    manifest = edgebuild.folder / "dist" / "second" / "mcu" / "manifest.json"
    assert json.loads(manifest.read_text())["target"] == "mcu"
    manifest.unlink()
    missing = edgebuild("check", "dist")
    assert missing.code == 4
    assert "manifest.json is missing" in missing.err
