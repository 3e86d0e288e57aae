"""Budgets, exit codes, and the gating of what is built already."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import Edgebuild


@pytest.fixture
def built(edgebuild: Edgebuild) -> Edgebuild:
    assert edgebuild("--target", "arm64", "--target", "mcu").code == 0
    return edgebuild


def test_a_broken_budget_ends_in_1_says_by_how_much_and_still_leaves_the_artifact(edgebuild: Edgebuild) -> None:
    ran = edgebuild("--target", "arm64", "--budget", "size=20KB")

    size = edgebuild.manifest("arm64")["artifact"]["size_bytes"]
    assert ran.code == 1
    assert "arm64: fail" in ran.out
    assert "at most 20.0 KB" in ran.out
    assert f"broken by {size - 20_000:,} B" in ran.out
    assert (edgebuild.folder / "dist/arm64/digits.tflite").stat().st_size == size


def test_a_warning_does_not_end_a_release(edgebuild: Edgebuild) -> None:
    ran = edgebuild("--target", "arm64", "--budget", "size=20KB,level=warn")

    assert ran.code == 0
    assert "verdict: warn" in ran.out


def test_a_limit_of_an_option_takes_the_place_of_all_that_a_profile_says(edgebuild: Edgebuild) -> None:
    (edgebuild.folder / "lax.toml").write_text(
        'extends = "arm64"\ndescription = "only warns"\n[budgets]\nsize = { limit = "20 KB", level = "warn" }\n'
    )

    lax = edgebuild("--target", "lax.toml")
    strict = edgebuild("--target", "lax.toml", "--budget", "size=20KB")

    assert lax.code == 0
    assert strict.code == 1


def test_a_limit_kept_with_too_little_headroom_is_a_warning(edgebuild: Edgebuild) -> None:
    ran = edgebuild("--target", "arm64", "--budget", "size=26KB,headroom=10%")

    assert ran.code == 0
    assert "less headroom than asked for" in ran.out


def test_every_kind_of_budget_is_judged(edgebuild: Edgebuild) -> None:
    kept = ["size=1MB", "gzip_size=1MiB", "accuracy=50%", "accuracy_drop=50%", "latency=1s", "peak_memory=1GB"]
    broken = ["size=1B", "gzip_size=1B", "accuracy=100%", "accuracy_drop=0%", "latency=1ns", "peak_memory=1B"]

    passing = edgebuild("-t", "arm64", *[word for text in [*kept, "activations=1MB"] for word in ("-b", text)])
    failing = edgebuild("-t", "arm64", *[word for text in [*broken, "activations=1B"] for word in ("-b", text)])

    assert passing.code == 0, passing.out
    assert failing.code == 1
    statuses = {
        check["budget"]["subject"]: check["status"] for check in edgebuild.manifest("arm64")["verdict"]["checks"]
    }
    drop = statuses.pop("accuracy_drop")
    assert set(statuses.values()) == {"fail"}
    assert len(statuses) == 6
    assert drop in ("pass", "fail")


def test_a_latency_limit_for_a_place_that_is_not_there_is_inconclusive(edgebuild: Edgebuild) -> None:
    ran = edgebuild("--target", "arm64", "--budget", "latency=5ms,on=ssh:pi")

    assert ran.code == 5
    assert "no figure for latency on ssh:pi" in ran.out


def test_check_judges_what_is_built_without_tensorflow_or_numpy(built: Edgebuild) -> None:
    ran = built.in_python(
        "import json, sys; from edgebuild.cli import run; code = run(['check']);"
        "print(json.dumps([code, sorted(sys.modules)]))"
    )

    code, modules = json.loads(ran.out.splitlines()[-1])
    assert code == 0
    assert "arm64: pass" in ran.out
    assert "mcu: pass" in ran.out
    assert {"tensorflow", "keras", "numpy", "rich", "sklearn", "psutil"}.isdisjoint(modules)


@pytest.mark.parametrize("place", ["dist", "dist/arm64", "dist/arm64/manifest.json"])
def test_check_takes_a_folder_of_targets_one_target_or_a_manifest(built: Edgebuild, place: str) -> None:
    ran = built("check", place, "--json")

    targets = [item["target"] for item in ran.json]
    assert targets == (["arm64", "mcu"] if place == "dist" else ["arm64"])


def test_check_takes_budgets_from_its_options_and_from_the_configuration(built: Edgebuild) -> None:
    tighter = built("check", "--budget", "size=10KB")
    built.config('[targets.mcu.budgets]\nsize = "10 KB"\n')
    configured = built("check")
    overridden = built("check", "--budget", "size=off")

    assert tighter.code == 1
    assert configured.code == 1
    assert "mcu: fail" in configured.out
    assert "arm64: pass" in configured.out
    assert overridden.code == 0


def test_check_looks_where_the_configuration_builds_and_misses_nothing(built: Edgebuild) -> None:
    (built.folder / "dist").rename(built.folder / "release")
    built.config('[build]\ntargets = ["arm64", "mcu"]\nout = "release"\n')
    complete = built("check")
    shutil.rmtree(built.folder / "release" / "mcu")
    incomplete = built("check")

    assert complete.code == 0, complete.err
    assert incomplete.code == 4
    assert "release/mcu/manifest.json is missing" in incomplete.err
    assert "verdict: failed, no verdict on release/mcu" in incomplete.out


def test_an_artifact_of_an_earlier_network_does_not_pass(edgebuild: Edgebuild, networks: Path) -> None:
    network = edgebuild.folder / "net.keras"
    network.write_bytes((networks / "keras3.keras").read_bytes())
    edgebuild.config(f'[model]\npath = "net.keras"\n[data]\npath = "{networks / "images.npz"}"\n')
    assert edgebuild("-t", "arm64").code == 0
    before = edgebuild("check")
    network.write_bytes((networks / "two_ended.keras").read_bytes())
    after = edgebuild("check")

    assert before.code == 0, before.err
    assert after.code == 4
    assert "is of an earlier build: net.keras has changed since" in after.err


def test_a_changed_artifact_is_not_judged_by_old_figures(built: Edgebuild) -> None:
    artifact = built.folder / "dist/mcu/digits.tflite"
    artifact.write_bytes(artifact.read_bytes()[:-1] + b"!")

    ran = built("check")

    assert ran.code == 4
    assert "is not the file that dist/mcu/manifest.json describes" in ran.err
    assert "arm64: pass" in ran.out
    assert "verdict: failed" in ran.out


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('"schema_version": 1', '"schema_version": 99'),
        lambda text: "{}",
        lambda text: text.replace('"size_bytes": ', '"size_bytes": -'),
    ],
    ids=["cut", "newer", "empty", "negative"],
)
def test_a_damaged_manifest_is_said_and_never_passed(built: Edgebuild, damage: object) -> None:
    path = built.folder / "dist/mcu/manifest.json"
    path.write_text(damage(path.read_text()))  # type: ignore[operator]

    ran = built("check", "dist/mcu")

    assert ran.code == 4
    assert "dist/mcu/manifest.json" in ran.err


def test_a_manifest_cannot_point_outside_its_folder(built: Edgebuild) -> None:
    path = built.folder / "dist/mcu/manifest.json"
    outside = built.folder / "dist/secret.tflite"
    (built.folder / "dist/mcu/digits.tflite").rename(outside)
    path.write_text(path.read_text().replace('"path": "digits.tflite"', '"path": "../secret.tflite"'))

    ran = built("check", "dist/mcu")

    assert ran.code == 4
    assert "dist/mcu/secret.tflite cannot be read" in ran.err


def test_the_plan_is_shown_and_nothing_is_done(edgebuild: Edgebuild, networks: Path) -> None:
    edgebuild.compresses = True
    ran = edgebuild(networks / "keras3.keras", "-d", networks / "images.npz", "-t", "arm64", "--dry-run")
    as_json = edgebuild(networks / "keras3.keras", "-d", networks / "images.npz", "-t", "arm64", "--dry-run", "--json")

    assert ran.code == 0
    assert "quantize to int8, float32 in and out" in ran.out
    assert "prune channels to 70.0 % of the macs" in ran.out
    assert "prune to 75.0 % zeros (unstructured)" in ran.out
    assert "accuracy_drop at most 1.0 points (error; targets/arm64.toml)" in ran.out
    assert [step["kind"] for step in as_json.json[0]["passes"]] == ["channels", "prune", "quantize"]
    assert list(edgebuild.folder.iterdir()) == []


def test_explain_names_the_origin_of_every_value(edgebuild: Edgebuild) -> None:
    edgebuild.config('[data]\nseed = 4\n[budgets]\nsize = "9 KB"\n[bench]\nruns = 7\n')

    ran = edgebuild("--explain", "-t", "raspberry-pi-pico", "--seed", "5", EDGEBUILD_OUT="elsewhere")

    rows = {line.split()[0]: line for line in ran.out.splitlines() if line.startswith("  ")}
    assert rows["data.seed"].split()[1:] == ["5", "options"]
    assert rows["bench.runs"].split()[1:] == ["7", "edgebuild.toml"]
    assert rows["build.out"].split()[1:] == ["elsewhere", "EDGEBUILD_OUT"]
    assert rows["bench.threads"].split()[1:] == ["1", "default"]
    assert rows["budgets.size"].split()[1:] == ["9", "KB", "edgebuild.toml"]
    assert rows["budgets.arena"].endswith("targets/raspberry-pi-pico.toml")
    assert rows["io.input"].endswith("targets/mcu.toml")


def test_colours_only_on_a_terminal_that_wants_them(built: Edgebuild) -> None:
    assert "\x1b[" in built.on_terminal("check").out
    assert "\x1b[" not in built.on_terminal("check", NO_COLOR="1").out
    assert "\x1b[" not in built("check").out


def test_progress_is_shown_on_a_terminal(edgebuild: Edgebuild) -> None:
    ran = edgebuild.on_terminal("--target", "arm64")

    assert ran.code == 0
    assert "train the example" in ran.out
    assert "verdict: " in ran.out


def test_a_failure_gives_the_terminal_its_cursor_back(edgebuild: Edgebuild, networks: Path) -> None:
    ran = edgebuild.on_terminal(networks / "text.h5", "-d", networks / "images.npz", "-t", "arm64")

    assert ran.code == 4
    hidden, shown = "\x1b[?25l", "\x1b[?25h"
    assert hidden in ran.out
    assert ran.out.rindex(shown) > ran.out.rindex(hidden)
    assert ran.out.index("is not an HDF5 file") > ran.out.rindex(shown)
