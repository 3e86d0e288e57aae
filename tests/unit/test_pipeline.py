"""Whole builds from plans to files, with answers from a table: what is asked in which order, and what comes of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pipeline_answers import Bench
from pipelines import PLAIN, built, installed, kinds, only, planned
from sessions import answering

from edgebuild.core.finding import Code, Finding, Gravity
from edgebuild.core.plan import Source
from edgebuild.core.progress import Silence
from edgebuild.core.verdict import Status
from edgebuild.errors import StepError, UnavailableError, UsageError
from edgebuild.pipeline import build as building

FUNCTION = Source(kind="callable", path="mine:model", sha256="")


@pytest.fixture(autouse=True)
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch)


UNCOMPRESSED = {"build": {"compress": False}}


def test_a_plain_build_goes_from_the_network_to_the_files_in_order_and_is_found_again(tmp_path: Path) -> None:
    bench = Bench()
    outcomes, fake = built(tmp_path, bench, planned(**PLAIN))
    manifest = only(outcomes)
    assert manifest.verdict.status == Status.PASS
    assert manifest.accuracy is not None
    assert (manifest.accuracy.baseline, manifest.accuracy.artifact) == (0.9, 0.9)
    asked = kinds(fake)
    assert asked[:4] == ["freeze", "split", "baseline", "lint"]
    order = [asked.index(kind) for kind in ("quantize", "runs", "metadata", "score", "measure", "delegation")]
    assert order[:3] == sorted(order[:3])
    assert max(order[:3]) < min(order[3:])
    made = tmp_path / "dist" / "arm64"
    assert {path.name for path in made.iterdir()} >= {"kws.tflite", "manifest.json", "model_card.md"}
    assert bench.text((made / "kws.tflite").read_bytes()) == "net int8"
    before = (made / "manifest.json").read_bytes()
    again, unasked = built(tmp_path, bench, planned(**PLAIN))
    assert only(again).artifact == manifest.artifact
    assert unasked.asked == []
    assert (made / "manifest.json").read_bytes() == before


def test_targets_share_what_does_not_depend_on_them_and_one_that_fails_leaves_the_others_alone(tmp_path: Path) -> None:
    bench = Bench()
    bench.errors["tflm-kernels"] = StepError("no target runs it")
    plans = [planned(**PLAIN), planned("mcu", **PLAIN)]
    (good, bad), fake = built(tmp_path, bench, *plans)
    assert good.manifest is not None
    assert bad.manifest is None
    assert bad.error is not None
    assert bad.error.what == "no target runs it"
    assert all(kinds(fake).count(kind) == 1 for kind in ("split", "baseline", "lint", "carry"))
    loaded = [asked for asked in fake.asked if asked.kind == "freeze"]
    assert [asked.settings.kind for asked in loaded] == ["file", "graph"]  # as given, and as passes see it
    assert not (tmp_path / "dist" / "mcu").exists()


def test_targets_that_take_recurrent_layers_otherwise_share_the_passes_of_a_network_without_any(tmp_path: Path) -> None:
    bench = Bench()
    outcomes, fake = built(tmp_path, bench, *(planned(name, **UNCOMPRESSED) for name in ("mcu", "edgetpu", "arm64")))
    assert [outcome.error for outcome in outcomes] == [None, None, None]
    assert {kind: kinds(fake).count(kind) for kind in ("carry", "equalize", "calibrate")} == {
        "carry": 1,
        "equalize": 1,
        "calibrate": 1,
    }


def test_passes_are_done_in_order_each_on_what_the_one_before_left(tmp_path: Path) -> None:
    bench = Bench()
    outcomes, fake = built(tmp_path, bench, planned("mcu"), vet=False)
    manifest = only(outcomes)
    changes = [kind for kind in kinds(fake) if kind in ("channels", "prune", "equalize", "calibrate")]
    assert changes == ["channels", "equalize", "calibrate"]
    shipped = (tmp_path / "dist" / "mcu" / "kws.tflite").read_bytes()
    assert bench.text(shipped) == "net+channels+equalize+calibrate int8"
    assert manifest.compression is not None
    assert any("channels was done" in note for note in manifest.notes)


def test_a_pass_that_breaks_the_build_is_left_out_and_said(tmp_path: Path) -> None:
    bench = Bench()
    bench.errors["quantize net+channels+equalize+calibrate int8"] = StepError("the converter refused it")
    outcomes, _ = built(tmp_path, bench, planned("mcu"), vet=False)
    manifest = only(outcomes)
    assert bench.text((tmp_path / "dist" / "mcu" / "kws.tflite").read_bytes()) == "net+channels+equalize int8"
    assert any("calibrate left out: the converter refused it" in note for note in manifest.notes)


def test_refinements_that_answer_worse_on_train_samples_give_way_to_the_plain_conversion(tmp_path: Path) -> None:
    bench = Bench()
    refined, plain = "net+equalize+calibrate int8", "net int8"
    bench.worse[plain, refined] = 60
    tables = {"build": {"compress": False}}
    outcomes, _ = built(tmp_path / "vetted", bench, planned("mcu", **tables))
    assert any("taken back" in note for note in only(outcomes).notes)
    assert bench.text((tmp_path / "vetted" / "dist" / "mcu" / "kws.tflite").read_bytes()) == plain
    outcomes, _ = built(tmp_path / "not", bench, planned("mcu", **tables), vet=False)
    assert bench.text((tmp_path / "not" / "dist" / "mcu" / "kws.tflite").read_bytes()) == refined


def test_the_ladder_pays_for_the_accuracy_of_its_rungs_and_for_all_of_what_is_left(tmp_path: Path) -> None:
    bench = Bench()
    bench.scores |= {"net int8": 0.5, "net+calibrate int8": 0.6, "net+equalize+calibrate int8": 0.9}
    outcomes, fake = built(tmp_path, bench, planned("arm64", **PLAIN))
    manifest = only(outcomes)
    assert [(rung.accuracy, rung.kept) for rung in manifest.repair] == [(0.5, False), (0.6, False), (0.9, True)]
    assert manifest.verdict.status == Status.PASS
    measured = [asked.title for asked in fake.asked if asked.kind == "measure"]
    assert len(measured) == 2  # as planned, and what is left
    assert kinds(fake).count("score") >= 3
    # Without it the budget is missed.
    missed, _ = built(tmp_path / "without", bench, planned("arm64", **PLAIN), strategy=None)
    assert only(missed).verdict.status == Status.FAIL


def test_where_no_rung_keeps_the_budget_the_best_is_left(tmp_path: Path) -> None:
    bench = Bench()
    bench.scores |= {"net int8": 0.5, "net+calibrate int8": 0.7, "net+equalize+calibrate int8": 0.6}
    plan = planned("edgetpu", **PLAIN)
    bench.errors["qat"] = StepError("it cannot be trained")
    bench.errors["edgetpu-rules"] = StepError("nobody knows")
    only(built(tmp_path, bench, plan)[0])
    assert bench.text((tmp_path / "dist" / "edgetpu" / "kws.tflite").read_bytes()).startswith("net+calibrate int8")


def test_a_device_that_is_not_there_makes_its_budget_inconclusive_and_nothing_else(tmp_path: Path) -> None:
    bench = Bench()
    away = UnavailableError("the board is not there", "nobody answers")
    bench.errors |= {"measure": away, "score-at": away}
    outcomes, _ = built(tmp_path, bench, planned(**PLAIN, budgets={"latency": {"limit": "5 ms", "on": "ssh:pi@board"}}))
    manifest = only(outcomes)
    checks = {check.budget.subject: check.status for check in manifest.verdict.checks}
    assert checks["latency"] == Status.INCONCLUSIVE
    assert checks["accuracy_drop"] == Status.PASS
    assert any("the board is not there" in note for note in manifest.notes)


def test_data_that_make_all_worthless_end_a_build_before_anything_is_converted(tmp_path: Path) -> None:
    bench = Bench()
    bench.findings = (
        Finding(
            code=Code.LAYOUT,
            level=Gravity.ERROR,
            what="labels are wrong",
            why="so they are",
            remedy="mend them",
        ),
    )
    session, fake = answering(tmp_path, bench.answers())
    with pytest.raises(UsageError, match="labels are wrong"):
        building.build([planned(**PLAIN)], tmp_path / "dist", session, Silence(), again=False, vet=True)
    assert "quantize" not in kinds(fake)


def test_a_function_is_called_once_for_all_targets_and_passes(tmp_path: Path) -> None:
    bench = Bench()
    outcomes, fake = built(tmp_path, bench, planned("arm64", FUNCTION), planned("mcu", FUNCTION))
    assert all(outcome.error is None for outcome in outcomes)
    assert kinds(fake).count("call") == 1
    assert "carry" not in kinds(fake)
    again, unasked = built(tmp_path, bench, planned("arm64", FUNCTION), planned("mcu", FUNCTION))
    assert all(outcome.error is None for outcome in again)
    assert kinds(unasked) == ["call"]


def test_a_network_whose_layers_are_not_known_is_built_without_passes(tmp_path: Path) -> None:
    bench = Bench()
    bench.errors["carry"] = StepError("the layers are not known")
    outcomes, _ = built(tmp_path, bench, planned("mcu"))
    assert bench.text((tmp_path / "dist" / "mcu" / "kws.tflite").read_bytes()) == "net int8"
    assert any("left out: the layers are not known" in note for note in only(outcomes).notes)


def test_what_cannot_be_compared_is_a_note(tmp_path: Path) -> None:
    bench = Bench()
    bench.errors |= {"output-loss": StepError("no outputs"), "layer-loss": StepError("no layers")}
    outcomes, _ = built(tmp_path, bench, planned(**PLAIN))
    manifest = only(outcomes)
    assert manifest.losses is None
    assert {"outputs", "layers"} <= {
        word for note in manifest.notes for word in note.split() if "were not compared" in note
    }
