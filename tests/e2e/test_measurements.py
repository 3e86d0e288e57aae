"""Measurements that gate: baselines, places and the history, as a user meets them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Edgebuild, Ran


def _statuses(manifest: Any) -> dict[tuple[str, bool], str]:
    checks = manifest["verdict"]["checks"]
    return {(check["budget"]["subject"], check["budget"]["of_baseline"]): check["status"] for check in checks}


def _build(edgebuild: Edgebuild, networks: Path, network: str, *arguments: object) -> Ran:
    """Build a network under the name of all others here."""
    return edgebuild(networks / network, "-d", networks / "images.npz", "-t", "arm64", "--name", "net", *arguments)


def _git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.com")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


LIMITS = ("-b", "size=+10%", "-b", "latency=+50%", "-b", "accuracy_drop=off")
# Enough to tell forty times the work from once, with as much time as a busy machine needs for that.
COARSELY = ("--time", "300s", "--set", "bench.precision=20 %")


@pytest.mark.slow
def test_a_build_is_gated_by_what_it_lost_against_the_one_before(edgebuild: Edgebuild, networks: Path) -> None:
    assert _build(edgebuild, networks, "keras3.keras", "-o", "old", "-b", "accuracy_drop=off").code == 0
    edgebuild.measures = True
    dearer = _build(edgebuild, networks, "dear.keras", "-o", "new", "--against", "old", *LIMITS, *COARSELY)
    assert dearer.code == 1, dearer.err
    manifest = edgebuild.manifest("arm64", "new")
    assert _statuses(manifest) == {("size", True): "fail", ("latency", True): "fail"}
    changes = {(change["subject"], change.get("at", "")): change for change in manifest["comparison"]["changes"]}
    assert changes["size", ""]["test"] == "exact"
    assert changes["latency", "median"]["interval"][0] > 1.5
    assert "of the baseline" in dearer.out
    again = edgebuild("check", "new")
    assert again.code == 1, "what was compared is kept, and judged again without running anything"
    cheaper = _build(edgebuild, networks, "keras3.keras", "-o", "newer", "--against", "new", *LIMITS, *COARSELY)
    assert cheaper.code == 0, cheaper.err


@pytest.mark.slow
def test_a_git_ref_is_a_baseline_with_the_artifact_that_its_commit_holds(edgebuild: Edgebuild, networks: Path) -> None:
    assert _build(edgebuild, networks, "keras3.keras", "-b", "accuracy_drop=off").code == 0
    _git(edgebuild.folder, "init", "-q")
    _git(edgebuild.folder, "add", "dist")
    _git(edgebuild.folder, "commit", "-q", "-m", "release")
    sha256 = edgebuild.manifest("arm64")["artifact"]["sha256"]
    assert _build(edgebuild, networks, "residual.h5", "--against", "HEAD", *LIMITS).code == 1
    comparison = edgebuild.manifest("arm64")["comparison"]
    assert (comparison["baseline"], comparison["sha256"]) == ("HEAD", sha256)


@pytest.mark.parametrize("baseline", ["damaged", "no-such-ref"])
def test_without_a_usable_baseline_there_is_no_comparison_and_no_failure(
    edgebuild: Edgebuild, networks: Path, baseline: str
) -> None:
    (edgebuild.folder / "damaged" / "arm64").mkdir(parents=True)
    (edgebuild.folder / "damaged" / "arm64" / "manifest.json").write_text('{"schema_version": 1, "name"')
    ran = _build(edgebuild, networks, "keras3.keras", "--against", baseline, *LIMITS)
    assert ran.code == 0, ran.err
    assert _statuses(edgebuild.manifest("arm64")) == {("size", True): "warn", ("latency", True): "warn"}
    assert "no comparison" in ran.out


@pytest.mark.slow
def test_a_built_artifact_is_measured_again_in_turn_with_another(edgebuild: Edgebuild, networks: Path) -> None:
    for network, out in (("keras3.keras", "old"), ("dear.keras", "new")):
        assert _build(edgebuild, networks, network, "-o", out, "-b", "accuracy_drop=off").code == 0
    dearer = edgebuild("bench", "new", "--against", "old", *COARSELY, "--json", "--quiet")
    assert dearer.code == 1, dearer.err
    (item,) = dearer.json
    assert [check["status"] for check in item["verdict"]["checks"]] == ["fail"]
    assert item["verdict"]["checks"][0]["budget"]["origin"], "the limit was assumed, and says so"
    same = edgebuild("bench", "old", "--against", "old", "-b", "latency=+200%", *COARSELY, "--quiet")
    assert same.code == 0, same.out + same.err
    shown = edgebuild("bench", "old/arm64/net.tflite", "--operators", "--set", "bench.time=1s")
    assert shown.code == 0, shown.err
    assert "by kind" in shown.out


def test_a_place_that_is_not_there_is_told_with_the_remedy_and_nothing_else_is_lost(
    edgebuild: Edgebuild, networks: Path
) -> None:
    assert _build(edgebuild, networks, "keras3.keras", "-b", "accuracy_drop=off").code == 0
    # A name that can have no address (RFC 6761, section 6.4).
    ran = edgebuild("bench", "dist", "--on", "host", "--on", "ssh:pi.invalid", "--time", "1s", "--json", "--quiet")
    assert ran.code == 5
    (item,) = ran.json
    assert {found["where"] for found in item["measurements"]} == {"file", "host"}
    assert "latency on ssh:pi.invalid" in item["lacking"]
    wrong = edgebuild("bench", "dist", "--on", "arm64:max")
    assert wrong.code == 2
    assert "SME" in wrong.err


@pytest.mark.slow
def test_the_history_shows_how_figures_moved_from_commit_to_commit(edgebuild: Edgebuild, networks: Path) -> None:
    history = str(edgebuild.folder / "history.sqlite")
    _git(edgebuild.folder, "init", "-q")
    for number, network in enumerate(("keras3.keras", "residual.h5")):
        _git(edgebuild.folder, "commit", "-q", "--allow-empty", "-m", f"release {number}")
        arguments = (networks / network, "-d", networks / "images.npz", "-t", "arm64", "--name", "net")
        assert edgebuild(*arguments, "-b", "accuracy_drop=off", EDGEBUILD_HISTORY=history).code == 0
    shown = edgebuild("history", "net", "--json", EDGEBUILD_HISTORY=history)
    assert shown.code == 0, shown.err
    first, second = shown.json
    assert first["commit"] != second["commit"]
    assert {figure["subject"] for figure in first["figures"]} >= {"size", "accuracy", "latency"}
    table = edgebuild("history", "net", EDGEBUILD_HISTORY=history)
    assert first["commit"][:7] in table.out
    assert edgebuild("history", "nett", EDGEBUILD_HISTORY=history).code == 2


@pytest.fixture
def emulation(shared: Path) -> str:
    """The folder of an emulated arm64, installed as a user would; skipped where it cannot be."""
    folder = Path(os.environ.get("EDGEBUILD_ARM64") or shared / "arm64")
    command = [sys.executable, "-m", "edgebuild", "doctor", "--install", "arm64"]
    ran = subprocess.run(
        command, env={**os.environ, "EDGEBUILD_ARM64": str(folder)}, capture_output=True, text=True, check=False
    )
    if ran.returncode:
        pytest.skip(f"arm64 cannot be emulated here: {ran.stderr.strip()}")
    return str(folder)


@pytest.mark.slow
def test_a_build_is_gated_by_what_an_emulated_core_counts_and_answers(
    edgebuild: Edgebuild, networks: Path, emulation: str
) -> None:
    core = "arm64:cortex-a72"
    arguments = (networks / "keras3.keras", "-d", networks / "images.npz", "-t", "arm64", "-b", "accuracy_drop=off")
    limits = ("-b", "instructions=10M", "-b", f"accuracy=10%,on={core}", "-b", "latency=1ms,on=ssh:pi.invalid")
    ran = edgebuild(*arguments, *limits, EDGEBUILD_ARM64=emulation)
    assert ran.code == 5, "the latency of a device is not had by emulating its core"
    manifest = edgebuild.manifest("arm64")
    statuses = {(check["budget"]["subject"]): check["status"] for check in manifest["verdict"]["checks"]}
    assert statuses == {"instructions": "pass", "accuracy": "pass", "latency": "inconclusive"}
    emulated = {item["subject"]: item for item in manifest["measurements"] if item["where"] == core}
    assert {item["mode"] for item in emulated.values()} == {"emulated"}
    assert emulated["instructions"]["value"] > 1000
    (parity,) = manifest["device"]["places"]
    assert (parity["kernels"], parity["differing_answers"]) == (["xnnpack", core], 0)
    again = ("bench", "dist", "--on", core, "--against", "dist", "--quiet")
    same = edgebuild(*again, "-b", "latency=off", EDGEBUILD_ARM64=emulation)
    assert same.code == 0, same.out + same.err
