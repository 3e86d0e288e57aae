from __future__ import annotations

import gzip
from typing import Any

import msgspec
import pytest
from making import DATA, INT8, MODEL, PRUNE, WARN, artifact, budget, manifest, metric, network, plan

from edgebuild import hashing
from edgebuild.actions.datasets import Splits
from edgebuild.actions.measuring import Timing
from edgebuild.actions.scores import Baseline
from edgebuild.core import place
from edgebuild.core.budget import Subject, Unit
from edgebuild.core.device import DeviceReport
from edgebuild.core.manifest import Inputs, Manifest
from edgebuild.core.measurement import Measurement, Mode
from edgebuild.core.verdict import Status
from edgebuild.pipeline import check, figures, places

BYTES = b"TFL3" * 5000
TIMING = Timing(
    subject=Subject.LATENCY,
    machine="x86_64, Some Processor, 2 cores",
    kernels="reference",
    versions={"ai-edge-litert": "2.3.0"},
    blocks=((0.003, 0.001), (0.002,)),
    processes=(1, 1),
    statistics={"median": 0.002, "p90": 0.003, "p99": 0.003, "min": 0.001, "max": 0.003},
    intervals={"median": (0.001, 0.003)},
    load=(0.01, 0.03),
    first=(0.004, 0.005),
    peak_memory_bytes=(4_000_000, 5_000_000),
    conditions=("others ran on its core",),
)
INPUTS = Inputs(model=MODEL, network=network(), network_sha256="e" * 64, data=None)


def _made(baseline: float | None = 0.92, score: float = 0.91, **plan_fields: Any) -> Manifest:
    made = plan(**plan_fields)
    machine = "x86_64, Some Processor, 2 cores"
    return figures.manifest(
        made,
        BYTES,
        artifact(activations_bytes=640),
        figures.Origin(
            inputs=INPUTS,
            baseline=None if baseline is None else Baseline(score=baseline, samples=1000),
            shrinkage=None,
            findings=(),
            versions={"edgebuild": "0.1.0", "ai-edge-litert": "2.3.0"},
        ),
        figures.Found(
            score=None if baseline is None else figures.Scored(score, 1000, "reference", machine),
            measurements=tuple(places.of_timing(place.HERE, made.bench, TIMING)),
            device=figures.DeviceFigures(DeviceReport(), ()),
            baseline=None,
            turns=(),
            leaner=None,
            losses=None,
            lacking={},
        ),
        ("a note",),
    )


def _figure(made: Manifest, subject: str, unit: Unit | None = None) -> Measurement:
    (found,) = [m for m in made.measurements if m.subject == subject and unit in (None, m.unit)]
    return found


def test_a_manifest_is_the_same_after_writing_and_reading() -> None:
    budgets = (budget("size", 60_000, level=WARN, headroom=0.1), budget("latency", 0.005, on="host", origin="options"))
    for written in (manifest(budgets), _made(), _made(baseline=None)):
        assert msgspec.json.decode(msgspec.json.encode(written), type=Manifest) == written


def test_a_manifest_has_the_keys_that_are_promised() -> None:
    keys = msgspec.to_builtins(manifest())
    promised = "schema_version name target artifact accuracy measurements verdict plan toolchain inputs"
    assert set(promised.split()) <= set(keys)
    assert {"path", "sha256", "size_bytes", "size_gzip_bytes"} == set(keys["artifact"])
    assert {"metric", "baseline", "artifact", "samples"} <= set(keys["accuracy"])
    assert {"status", "checks", "requirements"} == set(keys["verdict"])


def test_passes_keep_their_kind() -> None:
    keys = msgspec.to_builtins(plan(passes=(PRUNE, INT8)))
    assert [step["kind"] for step in keys["passes"]] == ["prune", "quantize"]


def test_every_figure_says_how_and_where_it_was_come_by() -> None:
    made = {(m.subject, m.mode, m.where, m.unit) for m in _made().measurements}
    assert made == {
        (Subject.SIZE, Mode.MEASURED, "file", Unit.BYTES),
        (Subject.GZIP_SIZE, Mode.MEASURED, "file", Unit.BYTES),
        (Subject.ACTIVATIONS, Mode.ESTIMATED, "file", Unit.BYTES),
        (Subject.ACCURACY, Mode.MEASURED, "host", Unit.SHARE),
        (Subject.ACCURACY_DROP, Mode.MEASURED, "host", Unit.SHARE),
        (Subject.LATENCY, Mode.MEASURED, "host", Unit.SECONDS),
        (Subject.FIRST_INFERENCE, Mode.MEASURED, "host", Unit.SECONDS),
        (Subject.LOAD, Mode.MEASURED, "host", Unit.SECONDS),
        (Subject.PEAK_MEMORY, Mode.MEASURED, "host", Unit.BYTES),
    }


def test_sizes_and_digest_are_those_of_the_file() -> None:
    made = _made()
    assert (made.artifact.path, made.artifact.sha256) == ("kws.tflite", hashing.of_bytes(BYTES))
    assert made.artifact.size_bytes == _figure(made, "size").value == len(BYTES)
    assert made.artifact.size_gzip_bytes == _figure(made, "gzip_size").value
    assert made.artifact.size_gzip_bytes == len(gzip.compress(BYTES, 9, mtime=0)) < len(BYTES)


def test_latency_keeps_its_samples_in_order_and_is_their_median() -> None:
    latency = _figure(_made(), "latency")
    assert latency.samples == (0.003, 0.001, 0.002)
    assert latency.value == latency.statistics["median"] == 0.002
    assert (latency.kernels, latency.settings["threads"]) == ("reference", 1)
    assert latency.versions == {"ai-edge-litert": "2.3.0"}
    assert (latency.blocks, latency.settings["processes"]) == ((2, 1), 2)
    assert latency.intervals == {"median": (0.001, 0.003)}
    assert latency.conditions == ("others ran on its core",)


def test_each_process_has_a_load_a_first_inference_and_a_peak_of_which_the_worst_counts() -> None:
    made = _made()
    assert _figure(made, "load").value == pytest.approx(0.02)
    assert _figure(made, "first_inference").samples == (0.004, 0.005)
    assert _figure(made, "peak_memory").value == 5_000_000


def test_counted_instructions_are_emulated_and_have_no_time() -> None:
    counted = msgspec.structs.replace(TIMING, subject=Subject.INSTRUCTIONS, energy_j=1.0)
    (found,) = places.of_timing(place.parse("arm64:cortex-a72"), plan().bench, counted)
    assert (found.subject, found.mode, found.where) == (Subject.INSTRUCTIONS, Mode.EMULATED, "arm64:cortex-a72")
    assert found.unit == Unit.COUNT


def test_a_drop_is_what_was_lost_on_the_way_to_the_artifact() -> None:
    assert _figure(_made(0.92, 0.91), "accuracy_drop").value == pytest.approx(0.01)
    assert _figure(_made(0.92, 0.93), "accuracy_drop").value == pytest.approx(-0.01)


def test_a_larger_error_is_a_drop() -> None:
    made = _made(2.0, 2.5, metric=metric("mae"))
    assert _figure(made, "accuracy_drop", Unit.NUMBER).value == pytest.approx(0.5)
    assert _figure(made, "accuracy_drop", Unit.RELATIVE).value == pytest.approx(0.25)
    assert made.accuracy is not None
    assert made.accuracy.lower_is_better


def test_a_drop_from_zero_has_no_relative_figure() -> None:
    made = _made(0.0, 0.5, metric=metric("mae"))
    assert _figure(made, "accuracy_drop").unit == Unit.NUMBER


def test_without_answers_nothing_is_scored_and_an_accuracy_budget_is_inconclusive() -> None:
    made = _made(baseline=None, budgets=(budget("accuracy", 0.9), budget("size", 10**6)))
    assert made.accuracy is None
    assert [item.status for item in made.verdict.checks] == [Status.INCONCLUSIVE, Status.PASS]
    assert made.verdict.status == Status.INCONCLUSIVE


def test_the_verdict_is_that_of_the_plans_budgets() -> None:
    assert _made(budgets=(budget("size", len(BYTES)),)).verdict.status == Status.PASS
    assert _made(budgets=(budget("size", len(BYTES) - 1),)).verdict.status == Status.FAIL


def test_the_data_are_recorded_with_the_sizes_and_digests_of_their_splits() -> None:
    splits = Splits(
        train_samples=1,
        calibration_samples=2,
        evaluation_samples=3,
        given_samples=6,
        learning_samples=3,
        learning_sha256="l",
        calibration_sha256="c",
        evaluation_sha256="e",
        has_answers=True,
        learning_has_answers=True,
        labels=("no", "yes"),
        notes=(),
    )
    record = figures.data_record(DATA, splits)
    assert (record.train_samples, record.calibration_samples, record.evaluation_samples) == (1, 2, 3)
    assert (record.source, record.calibration_sha256, record.evaluation_sha256) == (DATA, "c", "e")


def _dist(tmp_path: Any, made: Manifest, data: bytes = BYTES) -> Any:
    folder = tmp_path / "dist" / made.target
    folder.mkdir(parents=True)
    (folder / made.artifact.path).write_bytes(data)
    (folder / "manifest.json").write_bytes(msgspec.json.encode(made))
    return tmp_path / "dist"


def test_manifests_are_found_in_a_folder_of_targets_in_one_of_them_and_by_path(tmp_path: Any) -> None:
    dist = _dist(tmp_path, _made())
    file = dist / "mcu" / "manifest.json"
    assert check.find(dist) == check.find(dist / "mcu") == check.find(file) == [file]


@pytest.mark.parametrize("place", ["", "none"])
def test_a_place_without_manifests_is_told(tmp_path: Any, place: str) -> None:
    with pytest.raises(check.UsageError, match="nothing to check at"):
        check.find(tmp_path / place)


def test_checking_judges_by_the_budgets_of_now(tmp_path: Any) -> None:
    paths = check.find(_dist(tmp_path, _made(budgets=(budget("size", 10**6),))))
    (kept,) = check.check(paths, check.Demands(lambda found: found.plan.budgets))
    (broken,) = check.check(paths, check.Demands(lambda _: (budget("size", 10),)))
    assert kept.verdict is not None
    assert broken.verdict is not None
    assert (kept.verdict.status, broken.verdict.status) == (Status.PASS, Status.FAIL)


def test_an_artifact_that_was_changed_is_not_judged(tmp_path: Any) -> None:
    (found,) = check.check(check.find(_dist(tmp_path, _made(), BYTES[:-1] + b"?")), check.Demands(lambda _: ()))
    assert found.verdict is None
    assert "is not the file that" in str(found.error)


def test_a_size_that_was_changed_in_the_manifest_is_found_out(tmp_path: Any) -> None:
    made = _made()
    small = msgspec.structs.replace(
        made,
        measurements=tuple(
            msgspec.structs.replace(m, value=10) if m.subject == Subject.SIZE else m for m in made.measurements
        ),
    )
    (found,) = check.check(check.find(_dist(tmp_path, small)), check.Demands(lambda _: (budget("size", 10),)))
    assert found.verdict is None


def test_a_manifest_of_a_newer_edgebuild_is_told(tmp_path: Any) -> None:
    newer = msgspec.structs.replace(_made(), schema_version=99)
    (found,) = check.check(check.find(_dist(tmp_path, newer)), check.Demands(lambda _: ()))
    assert "was written by a newer edgebuild" in str(found.error)


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff\xfe", b'{"schema_version":1}', b'{"schema_version":"1"}', b"[1]"])
def test_a_manifest_that_cannot_be_read_leaves_the_others_alone(tmp_path: Any, data: bytes) -> None:
    dist = _dist(tmp_path, _made())
    (dist / "arm64").mkdir()
    (dist / "arm64" / "manifest.json").write_bytes(data)
    bad, good = check.check(check.find(dist), check.Demands(lambda _: ()))
    assert "is no manifest that can be read" in str(bad.error)
    assert good.verdict is not None
