"""Builds that are compared with an earlier one: measured in turn, or with the reason why not."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from making import MODEL
from pipeline_answers import Bench
from pipelines import PLAIN, built, installed, only, planned, statuses

from edgebuild.core.budget import Subject
from edgebuild.errors import StepError


@pytest.fixture(autouse=True)
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch)


def _against(baseline: Path | str, **bench: Any) -> dict[str, Any]:
    return {**PLAIN, "bench": {"baseline": str(baseline), **bench}}


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """What an earlier build for arm64 left; its artifact is another one than that of later builds."""
    bench = Bench()
    bench.frozen["file"] = {"identity_sha256": "before"}
    bench.tails["net int8"] = ("RELU",)
    only(built(tmp_path / "before", bench, planned(**PLAIN))[0])
    return tmp_path / "before" / "dist"


def _built(folder: Path, baseline: Path | str, bench: Bench | None = None, **more: Any) -> Any:
    budgets = {"latency": [{"limit": "+5 %", "on": "host"}], "size": "+1 %"}
    outcomes, fake = built(folder / "now", bench or Bench(), planned(budgets=budgets, **_against(baseline, **more)))
    return only(outcomes), [asked for asked in fake.asked if asked.kind == "measure"]


def test_a_baseline_is_measured_in_turn_and_limits_against_it_are_judged_by_the_ratio(
    before: Path, tmp_path: Path
) -> None:
    bench = Bench()
    bench.costs["net int8", "host"] = 1.1e-4  # the earlier one takes 1e-4
    manifest, (measured,) = _built(tmp_path, before, bench)
    assert "in turn with kws.tflite of the baseline" in measured.title
    assert measured.settings.decide_at == (1.05,)
    assert statuses(manifest) == {"latency": "fail", "size": "pass", "accuracy_drop": "pass"}
    changes = {change.subject: change for change in manifest.comparison.changes}
    assert changes[Subject.LATENCY].ratio == pytest.approx(1.1)
    assert changes[Subject.SIZE].baseline > changes[Subject.SIZE].value


@pytest.mark.parametrize(
    ("is_required", "overall"), [(False, "warn"), (True, "inconclusive")], ids=["optional", "required"]
)
def test_a_baseline_that_is_not_there_is_no_failure_unless_it_is_required(
    is_required: bool, overall: str, tmp_path: Path
) -> None:
    missing = tmp_path / "none" / "manifest.json"
    manifest, (measured,) = _built(tmp_path, missing, baseline_required=is_required)
    assert "in turn" not in measured.title
    assert manifest.comparison.lacking
    assert str(manifest.verdict.status) == overall
    assert statuses(manifest)["accuracy_drop"] == "pass"


def test_a_baseline_whose_process_ends_leaves_its_recorded_figures_and_the_reason(before: Path, tmp_path: Path) -> None:
    bench = Bench()
    bench.errors["baseline of measure"] = StepError("the process of the baseline ended")
    manifest, _ = _built(tmp_path, before, bench)
    assert manifest.comparison.lacking == "the process of the baseline ended"
    assert statuses(manifest)["size"] == "pass"
    assert statuses(manifest)["latency"] == "warn"


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda target: (target / "kws.tflite").write_bytes(b"another"), "is not the file that"),
        (lambda target: (target / "manifest.json").write_text("{"), "cannot be read"),
        (lambda target: (target / "kws.tflite").unlink(), "kws.tflite beside"),
        (
            lambda target: (target / "kws.tflite").write_bytes(b"version https://git-lfs.github.com/spec/v1\n"),
            "is a git-lfs pointer",
        ),
    ],
    ids=["another-file", "damaged", "no-file", "pointer"],
)
def test_a_baseline_that_cannot_be_used_is_a_reason_and_nothing_is_measured_in_turn(
    harm: Any, reason: str, before: Path, tmp_path: Path
) -> None:
    harm(before / "arm64")
    manifest, (measured,) = _built(tmp_path, before / "arm64")
    assert reason in manifest.comparison.lacking
    assert "in turn" not in measured.title


def test_a_baseline_of_another_target_or_network_is_refused_with_what_it_is_of(before: Path, tmp_path: Path) -> None:
    outcomes, _ = built(tmp_path / "now", Bench(), planned("mcu", **_against(before)))
    assert only(outcomes).comparison.lacking == "it is of arm64, not of mcu"
    other = planned(**_against(before), of=msgspec.structs.replace(MODEL, path="nets/other.keras"))
    outcomes, _ = built(tmp_path / "now", Bench(), other)
    assert only(outcomes).comparison.lacking == "it is of the network kws, not of other"


def test_a_bare_file_is_a_baseline_with_its_size_and_in_turn(before: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.tflite"
    shutil.copy(before / "arm64" / "kws.tflite", alone)
    manifest, (measured,) = _built(tmp_path, alone)
    assert "in turn with alone.tflite" in measured.title
    compared = {change.subject for change in manifest.comparison.changes}
    assert {Subject.SIZE, Subject.LATENCY} <= compared


def test_a_damaged_file_is_no_baseline(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(b"not a flatbuffer")
    manifest, (measured,) = _built(tmp_path, damaged)
    assert "damaged.tflite" in manifest.comparison.lacking
    assert "in turn" not in measured.title
