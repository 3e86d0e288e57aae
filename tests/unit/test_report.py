from __future__ import annotations

from typing import Any

import msgspec
import pytest
from making import ACCURACY, FIGURES, INT8, PRUNE, WARN, budget, figure, manifest, plan

from edgebuild import config, targets
from edgebuild.core.budget import Subject, Unit
from edgebuild.core.manifest import Footprint, Manifest, Shrinkage
from edgebuild.core.passes import DType
from edgebuild.core.target import Interpreter, Kernels, Runtime
from edgebuild.core.verdict import Requirement, Status, Verdict
from edgebuild.layering import Layer
from edgebuild.report import plans, summary, wording

LITERT = Runtime(name=Interpreter.LITERT, kernels=Kernels.XNNPACK)


def _lines(made: Manifest, **more: Any) -> list[str]:
    return summary.of_build(made, "dist/mcu", **more).splitlines()


def _budget_line(*budgets: Any, **fields: Any) -> str:
    (line,) = [line for line in _lines(manifest(budgets, **fields)) if line.startswith("  budgets")]
    return " ".join(line.split())


def test_the_summary_of_a_build_shows_every_figure_with_how_it_was_come_by() -> None:
    assert _lines(manifest((budget("size", 60_000), budget("accuracy_drop", 0.01))), verbose=True) == [
        "mcu: fail",
        "  artifact   dist/mcu/kws.tflite  (int8, int8 in and out)",
        "  size       48,480 bytes, 31,000 gzipped",
        "  accuracy   91.4 %, float network 92.6 % (1,000 evaluation samples, reference kernels, measured)",
        "  latency    0.215 ms median, 0.25 ms p90 on this host (x86_64, reference kernels, 1 thread, 3 runs, "
        "measured)",
        "  memory     2.10 MB peak on this host (measured), 16.6 KB of activations (estimated)",
        "  budgets    pass         size           48.5 KB     at most 60.0 KB     11.5 KB left",
        "             fail         accuracy_drop  1.2 points  at most 1.0 points  broken by 0.2 points",
        "  note       no calibration split was given: 200 samples were drawn from train (seed 0)",
    ]


def test_what_this_host_takes_is_shown_of_another_device_only_where_it_is_asked_for() -> None:
    lines = _lines(manifest())
    assert not [line for line in lines if "this host (" in line]
    assert "  latency    not measured on the target's device (--on names one); --verbose shows this host's" in lines
    disturbed = manifest(notes=("mcu: host: neighbours: busy", "mcu: ssh:pi: throttling"))
    told = "\n".join(_lines(disturbed))
    assert "ssh:pi: throttling" in told
    assert "neighbours" not in told
    assert "neighbours" in "\n".join(_lines(disturbed, verbose=True))
    generic = manifest(plan=plan(runtime=LITERT))
    assert [line for line in _lines(generic) if line.startswith("  latency    0.215 ms median")]
    board = manifest(plan=plan(runtime=LITERT, board="Raspberry Pi 4 Model B"))
    assert not [line for line in _lines(board) if "this host (" in line]


def test_the_summary_of_a_check_shows_the_artifact_and_every_budget() -> None:
    made = manifest((budget("size", 60_000), budget("accuracy", 0.92)))
    assert summary.of_check(made, made.verdict).splitlines() == [
        "mcu: fail",
        "  artifact   kws.tflite  48.5 KB",
        "  budgets    pass         size      48.5 KB  at most 60.0 KB  11.5 KB left",
        "             fail         accuracy  91.4 %   at least 92.0 %  broken by 0.6 points",
    ]


@pytest.mark.parametrize(
    ("limit", "line"),
    [
        (budget("size", 48_000), "budgets fail size 48.5 KB at most 48.0 KB broken by 480 B"),
        (budget("size", 48_000, level=WARN), "budgets warn size 48.5 KB at most 48.0 KB broken by 480 B"),
        (budget("accuracy", 0.95), "budgets fail accuracy 91.4 % at least 95.0 % broken by 3.6 points"),
        (
            budget("latency", 0.0002, on="host"),
            "budgets fail latency on host 0.215 ms at most 0.2 ms broken by 15 us "
            "(measured, TFLite interpreter on this host)",
        ),
        (
            budget("size", 50_000, headroom=0.1),
            "budgets warn size 48.5 KB at most 50.0 KB 1,520 B left (kept, with less headroom than asked for)",
        ),
        (
            budget("latency", 0.005, on="ssh:pi"),
            "budgets inconclusive latency on ssh:pi no figure at most 5 ms no figure for latency on ssh:pi",
        ),
    ],
    ids=["broken", "warned", "minimum", "time", "headroom", "inconclusive"],
)
def test_a_budget_is_shown_with_what_is_left_or_missing(limit: Any, line: str) -> None:
    assert _budget_line(limit) == line


def test_a_limit_in_kibibytes_is_shown_with_its_figure_in_them() -> None:
    line = _budget_line(budget("size", 60 * 1024, binary=True))
    assert line == "budgets pass size 47.3 KiB at most 60 KiB 12.7 KiB left"
    broken = _budget_line(budget("size", 40 * 1024, binary=True))
    assert broken == "budgets fail size 47.3 KiB at most 40 KiB broken by 7.34 KiB"
    # What is left is never shown as all of the limit.
    assert _budget_line(budget("size", 2**30, binary=True)).endswith("at most 1 GiB 1,073,693,344 bytes left")


def test_a_limit_that_is_just_met_leaves_nothing_and_not_less() -> None:
    drop = figure("accuracy_drop", 0.91 - 0.90, where="host")
    others = tuple(item for item in FIGURES if item.subject != Subject.ACCURACY_DROP)
    line = _budget_line(budget("accuracy_drop", 0.01), measurements=(*others, drop))
    assert line == "budgets pass accuracy_drop 1.0 points at most 1.0 points 0.0 points left"


def test_without_budgets_that_is_said() -> None:
    assert _budget_line() == "budgets none: nothing gates this build"


def test_a_build_that_was_not_scored_shows_no_accuracy() -> None:
    figures = tuple(item for item in FIGURES if not item.subject.startswith("accuracy"))
    lines = _lines(manifest(accuracy=None, measurements=figures))
    assert not any("accuracy" in line for line in lines)


def test_a_score_other_than_accuracy_is_named() -> None:
    made = manifest()
    assert made.accuracy is not None
    named = msgspec.structs.replace(made.accuracy, metric="mae", baseline=0.25, artifact=0.5, unit=Unit.NUMBER)
    (line,) = [line for line in _lines(manifest(accuracy=named)) if line.startswith("  accuracy")]
    assert "mae 0.5, float network 0.25 (" in line


def test_what_was_said_already_is_not_said_again() -> None:
    made = manifest(notes=("one", "two"))
    assert [line.split()[-1] for line in _lines(made, said=["one"]) if line.startswith("  note")] == ["two"]


def test_plain_text_has_no_colour_codes_and_no_trailing_blanks() -> None:
    text = summary.of_build(manifest((budget("size", 1), budget("latency", 1.0, on="host"))), "dist/mcu")
    assert "\x1b" not in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_paint_is_given_the_style_of_every_status_and_changes_nothing_else() -> None:
    made = manifest((budget("size", 1), budget("activations", 10**6)))
    styles: list[str] = []

    def paint(text: str, style: str) -> str:
        styles.append(style)
        return text

    assert summary.of_build(made, "dist/mcu", paint) == summary.of_build(made, "dist/mcu")
    assert {"title", "fail", "pass", "dim"} <= set(styles)


@pytest.mark.parametrize(
    ("statuses", "failed", "text"),
    [
        ([Status.PASS, Status.PASS], [], "verdict: pass"),
        ([Status.PASS, Status.WARN], [], "verdict: warn"),
        ([Status.INCONCLUSIVE, Status.WARN], [], "verdict: inconclusive"),
        ([Status.INCONCLUSIVE, Status.FAIL], [], "verdict: fail"),
        ([Status.PASS], ["mcu", "edgetpu"], "verdict: failed, no artifact for mcu, edgetpu"),
        ([], ["mcu"], "verdict: failed, no artifact for mcu"),
    ],
)
def test_the_last_line_is_the_worst_of_all_targets(statuses: list[Status], failed: list[str], text: str) -> None:
    verdicts = [Verdict(status=status, checks=()) for status in statuses]
    assert summary.closing(verdicts, failed, summary.plain, "no artifact for") == text


def test_the_last_line_says_what_the_verdict_rests_on_and_what_is_not_there() -> None:
    timed = manifest((budget("latency", 1.0, on="host"), budget("size", 60_000))).verdict
    assert (
        summary.closing([timed], [], summary.plain, "")
        == "verdict: pass (latency of the TFLite interpreter on this host)"
    )
    missing = Requirement(what="baseline v9", status=Status.WARN, reason="no comparison: there is no v9")
    without = Verdict(status=Status.WARN, checks=(), requirements=(missing,))
    assert (
        summary.closing([without], [], summary.plain, "")
        == "verdict: warn (baseline v9: no comparison: there is no v9)"
    )


def test_a_plan_shows_each_step_and_each_budget_with_its_origin() -> None:
    shown = plans.of_plan(plan(budgets=(budget("size", 60_000, origin="edgebuild.toml"),), passes=(PRUNE, INT8)))
    assert shown.splitlines() == [
        "mcu: kws.tflite",
        "  network    nets/kws.keras (file, sha256 abababababab...)",
        "  data       kws.npz (file, sha256 cdcdcdcdcdcd...)",
        "  pass       prune to 50.0 % zeros (unstructured)",
        "  pass       quantize to int8, int8 in and out",
        "  measure    accuracy, latency and memory on this host, reference kernels",
        "  budget     size at most 60.0 KB (error; edgebuild.toml)",
    ]


def test_what_compression_did_is_held_against_quantization_alone() -> None:
    before = Footprint(size_bytes=48_480, size_gzip_bytes=31_000, activations_bytes=16_640, macs=2_656_768)
    after = Footprint(size_bytes=24_240, size_gzip_bytes=31_000, activations_bytes=16_700, macs=1_328_384)
    shown = summary.of_build(manifest(compression=Shrinkage(before=before, after=after)), "dist/mcu")
    assert (
        "  compressed flash 0.50 of 48.5 KB, gzip as before, RAM for activations larger than 16.6 KB, "
        "MACs 0.50 of 2,656,768"
    ) in shown.splitlines()


def test_a_plan_without_data_says_so() -> None:
    assert "  data       none" in plans.of_plan(plan(data=None)).splitlines()


def test_explaining_shows_each_setting_with_its_origin_and_then_each_target() -> None:
    configuration = config.load({"data": {"seed": 7}}, {"EDGEBUILD_OUT": "there"}, use_file=False)
    over = [Layer("options", {"budgets": {"size": {"limit": "9 KB"}}})]
    shown = plans.explain(configuration.layered, [targets.load("mcu", ACCURACY, over)])
    rows = {tuple(line.split()) for line in shown.splitlines()}
    assert ("data.seed", "7", "options") in rows
    assert ("build.out", "there", "EDGEBUILD_OUT") in rows
    assert ("bench.runs", "3000", "default") in rows
    assert ("model.path", "-", "default") in rows
    assert ("target", "mcu") in rows
    assert ("budgets.size.limit", "9", "KB", "options") in rows
    assert ("runtime.kernels", "reference", "runtime", "tflm") in rows


def test_profiles_are_listed_a_line_each() -> None:
    listed = plans.of_profiles([targets.load(name, ACCURACY).target for name in ("mcu", "raspberry-pi-pico")])
    assert listed.splitlines() == [
        f"mcu                {targets.load('mcu', ACCURACY).target.description}",
        "raspberry-pi-pico  Raspberry Pi Pico, Arm Cortex-M0+",
    ]


def test_a_profile_is_shown_with_origins_and_sources_and_long_lists_cut_short() -> None:
    shown = plans.of_profile(targets.load("raspberry-pi-pico", ACCURACY))
    assert shown.startswith("raspberry-pi-pico: Raspberry Pi Pico, Arm Cortex-M0+\n\n")
    rows = {tuple(line.split()) for line in shown.splitlines()}
    assert ("memory.ram", "264", "KiB", "targets/raspberry-pi-pico.toml") in rows
    (operators,) = [line for line in shown.splitlines() if line.startswith("  operators.allowed  ")]
    assert " entries: ABS, ADD, " in operators
    assert operators.endswith("targets/mcu.toml")
    assert "\n\nsources\n" in shown
    assert "  budgets.flash: Our choice: half of memory.flash." in shown.splitlines()


@pytest.mark.parametrize(
    ("value", "unit", "subject", "text"),
    [
        (60_000, Unit.BYTES, Subject.SIZE, "60.0 KB"),
        (0.005, Unit.SECONDS, Subject.LATENCY, "5 ms"),
        (0.914, Unit.SHARE, Subject.ACCURACY, "91.4 %"),
        (0.012, Unit.SHARE, Subject.ACCURACY_DROP, "1.2 points"),
        (0.05, Unit.RELATIVE, Subject.ACCURACY_DROP, "5.0 % of the float network's"),
        (1 / 3, Unit.NUMBER, Subject.ACCURACY, "0.333333"),
        (7, Unit.NUMBER, None, "7"),
    ],
)
def test_a_figure_is_written_in_its_unit(value: float, unit: Unit, subject: Subject | None, text: str) -> None:
    assert wording.figure(value, unit, subject) == text


def test_a_limit_on_a_score_is_a_minimum_unless_less_is_better() -> None:
    limit = budget("accuracy", 0.9)
    assert wording.limit(limit, lower_is_better=False) == "at least 90.0 %"
    assert wording.limit(limit, lower_is_better=True) == "at most 90.0 %"
    assert wording.limit(budget("accuracy_drop", 0.01), lower_is_better=False) == "at most 1.0 points"


def test_a_quantization_is_written_with_the_types_at_its_ends() -> None:
    assert wording.ends(INT8) == "int8, int8 in and out"
    mixed = msgspec.structs.replace(INT8, input=DType.UINT8, output=DType.FLOAT32)
    assert wording.step(mixed) == "quantize to int8, uint8 in, float32 out"
