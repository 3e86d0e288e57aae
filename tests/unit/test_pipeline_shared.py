"""What targets share: the network and its data, whatever is given of them, and what they are judged by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import strangers
from making import DATA, metric, tensor
from msgspec.structs import replace
from pipeline_answers import Bench
from pipelines import PLAIN, built, installed, kinds, only, planned, said, statuses

from edgebuild.actions.networks import Imported
from edgebuild.core.delivery import Pixels
from edgebuild.core.finding import Code, Finding, Gravity
from edgebuild.core.progress import Silence
from edgebuild.core.settings import INPUT
from edgebuild.errors import StepError, UsageError
from edgebuild.pipeline import sources

UNLABELLED = {"has_answers": False, "learning_has_answers": False}


@pytest.fixture(autouse=True)
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch)


class Heard(Silence):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def noted(self, text: str) -> None:
        self.notes.append(text)


def _finding(code: Code, what: str, level: Gravity = Gravity.WARNING) -> Finding:
    return Finding(code=code, level=level, what=what, why="because", remedy="mend it")


def test_the_example_is_trained_once_and_recorded_by_its_name(tmp_path: Path) -> None:
    example = sources.EXAMPLE
    plans = [planned(target, example, example, **PLAIN) for target in ("arm64", "mcu")]
    outcomes, fake = built(tmp_path, Bench(), *plans)
    assert kinds(fake)[0] == "example"
    assert kinds(fake).count("example") == 1
    for outcome in outcomes:
        assert outcome.manifest is not None
        assert outcome.manifest.inputs.model.kind == "example"
        assert outcome.manifest.inputs.model.sha256
        assert (tmp_path / "dist" / outcome.target / "digits.tflite").is_file()


def test_without_data_samples_are_made_up_and_nothing_is_scored(tmp_path: Path) -> None:
    plan = planned("mcu", fed=None, data={"synthesize": True}, build={"compress": False, "refine": False})
    heard = Heard()
    outcomes, fake = built(tmp_path, Bench(), plan, listener=heard)
    manifest = only(outcomes)
    asked = kinds(fake)
    assert asked.index("carry") < asked.index("synthesize") < asked.index("quantize")
    assert not {"split", "baseline", "score", "tflm-score", "lint"} & set(asked)
    assert manifest.accuracy is None
    assert statuses(manifest)["accuracy_drop"] == "inconclusive"
    assert manifest.lacking["accuracy_drop"] == "no data were given (--data, or [data] path)"
    assert "it was made up" in heard.notes
    assert any(note.startswith("warning: accuracy_drop") and "no data are named" in note for note in heard.notes)
    (job,) = [item.settings for item in fake.asked if item.kind == "synthesize"]
    assert job.samples == plan.synthetic_samples


def test_without_calibration_and_data_a_target_of_floats_is_built_all_the_same(tmp_path: Path) -> None:
    dynamic = {"passes": {"quantize": {"scheme": "dynamic"}}}
    outcomes, fake = built(tmp_path, Bench(), planned(fed=None, over=dynamic, **PLAIN))
    assert "no data were given: nothing was scored" in only(outcomes).notes
    assert not {"split", "synthesize", "layer-loss"} & set(kinds(fake))


def test_data_without_labels_calibrate_and_a_budget_that_was_asked_for_ends_the_build(tmp_path: Path) -> None:
    bench = Bench()
    bench.splits = UNLABELLED
    heard = Heard()
    outcomes, fake = built(tmp_path / "profile", bench, planned(**PLAIN), listener=heard)
    manifest = only(outcomes)
    assert statuses(manifest)["accuracy_drop"] == "inconclusive"
    assert manifest.lacking["accuracy"] == "the data hold no labels (y_eval): nothing was scored"
    assert "baseline" not in kinds(fake)
    assert any("nothing is scored" in note for note in heard.notes)
    with pytest.raises(UsageError, match="the budget on accuracy cannot be judged"):
        built(tmp_path / "asked", bench, planned(budgets={"accuracy": "80 %"}, **PLAIN))


def test_an_autoencoder_without_labels_is_scored_against_its_input_once_an_error_is_named(tmp_path: Path) -> None:
    bench = Bench()
    bench.splits = UNLABELLED
    bench.frozen["file"] = {"network": {"outputs": (tensor("y", (1, 4)),)}}
    heard = Heard()
    built(tmp_path / "unnamed", bench, planned(**PLAIN), listener=heard)
    assert any("an autoencoder is scored with --metric mse" in note for note in heard.notes)
    settled = metric("mse", target=INPUT, lower_is_better=True)
    bench.instead["baseline"] = lambda job, out: _kept(bench, job, out, settled)
    outcomes, fake = built(tmp_path / "named", bench, planned(metric={"name": "mse"}, **PLAIN), listener=heard)
    (job,) = [item.settings for item in fake.asked if item.kind == "baseline"]
    assert job.metric.target == INPUT
    assert only(outcomes).accuracy is not None
    assert any("outputs are compared with the input" in note for note in heard.notes)


def _kept(bench: Bench, job: Any, out: Path, settled: Any) -> Any:
    del bench.instead["baseline"]
    answer = bench.answers()["baseline"](job, out)
    return replace(answer, metric=settled)


def test_labels_of_train_samples_alone_settle_what_training_goes_by(tmp_path: Path) -> None:
    bench = Bench()
    bench.splits = {"has_answers": False, "evaluation_samples": 0, "evaluation_sha256": ""}
    outcomes, fake = built(tmp_path, bench, planned("mcu"))
    manifest = only(outcomes)
    (job,) = [item.settings for item in fake.asked if item.kind == "baseline"]
    assert (Path(job.evaluation).name.endswith("learning"), job.most) == (True, 1000)
    assert manifest.plan.metric.name == "accuracy"
    assert manifest.accuracy is None
    (channels,) = [item.settings for item in fake.asked if item.kind == "channels"]
    assert channels.lesson.metric.name == "accuracy"


def test_a_network_without_an_image_is_not_described_as_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no input of kws is an image") as error:
        built(tmp_path, Bench(), planned(**PLAIN, model={"input_kind": "image"}))
    assert "[1, 4]" in error.value.why


def test_faults_of_the_data_are_said_once_and_those_that_are_ignored_are_not(tmp_path: Path) -> None:
    bench, heard = Bench(), Heard()
    bench.findings = (_finding(Code.LAYOUT, "a fault"), _finding(Code.OUT_OF_RANGE, "another fault"))
    lint = {"lint": {"ignore": [str(Code.OUT_OF_RANGE)]}}
    plans = [planned("arm64", **PLAIN, **lint), planned("mcu", **PLAIN, **lint)]
    outcomes, _ = built(tmp_path, bench, *plans, listener=heard)
    assert [note for note in heard.notes if "fault" in note] == ["warning: a fault"]
    for outcome in outcomes:
        assert outcome.manifest is not None
        assert [finding.code for finding in outcome.manifest.findings] == [Code.LAYOUT]


def test_a_fatal_fault_can_be_allowed_and_labels_out_of_range_matter_only_where_something_learns(
    tmp_path: Path,
) -> None:
    bench = Bench()
    bench.findings = (_finding(Code.LAYOUT, "a fatal fault", Gravity.ERROR),)
    with pytest.raises(UsageError) as error:
        built(tmp_path / "refused", bench, planned(**PLAIN))
    assert f'To build all the same: [lint] allow = ["{Code.LAYOUT}"]' in error.value.remedy
    allowed = planned(lint={"allow": [str(Code.LAYOUT)]}, **PLAIN)
    assert only(built(tmp_path / "allowed", bench, allowed)[0]).findings
    bench.findings = (_finding(Code.OUT_OF_RANGE, "labels out of range", Gravity.ERROR),)
    only(built(tmp_path / "plain", bench, planned(**PLAIN))[0])
    with pytest.raises(UsageError, match="labels out of range"):
        built(tmp_path / "learning", bench, planned())


def test_a_limit_finer_than_a_sample_is_a_finding_of_its_target_alone(tmp_path: Path) -> None:
    heard = Heard()
    fine, coarse = planned("arm64", budgets={"accuracy_drop": "0.1 %"}, **PLAIN), planned("mcu", **PLAIN)
    outcomes, _ = built(tmp_path, Bench(), fine, coarse, listener=heard)
    assert [[found.code for found in item.manifest.findings] for item in outcomes if item.manifest] == [
        [Code.EVALUATION_TOO_SMALL],
        [],
    ]
    assert any("one of its 200 samples is worth 0.5 points" in note for note in heard.notes)


@pytest.mark.parametrize("shared", ["freeze", "split", "baseline", "lint"])
def test_a_step_that_all_targets_share_ends_the_build_when_it_fails(shared: str, tmp_path: Path) -> None:
    bench = Bench()

    def fail(*_: Any) -> Any:
        raise StepError(f"{shared} failed")

    bench.instead[shared] = fail
    with pytest.raises(StepError, match=f"{shared} failed"):
        built(tmp_path, bench, planned("arm64", **PLAIN), planned("mcu", **PLAIN))
    assert not (tmp_path / "dist").exists()


def test_metadata_say_how_images_are_fed_and_what_classes_are_called(tmp_path: Path) -> None:
    bench = Bench()
    bench.splits = {"labels": ("no", "yes", "maybe"), "pixels": (Pixels.BYTES,)}
    _, fake = built(tmp_path, bench, planned(**PLAIN))
    (job,) = [item.settings for item in fake.asked if item.kind == "metadata"]
    assert "maybe" in str(job.described)


def test_a_function_that_has_no_layers_is_built_without_passes_and_with_its_reason(tmp_path: Path) -> None:
    bench = Bench()
    function = replace(DATA, kind="callable", path="mine:model", sha256="")
    answer = bench.answers()["call"]

    def called(job: Any, out: Path) -> Any:
        return replace(answer(job, out), carried=None, failure=("it has no layers", "it is a function", ""))

    bench.instead["call"] = called
    outcomes, _ = built(tmp_path, bench, planned("mcu", function))
    assert "left out: it has no layers: it is a function" in said(only(outcomes), "left out")


def test_what_an_importer_of_another_package_takes_is_imported_once_and_recorded_as_it_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "packages").mkdir()
    strangers.installed(tmp_path / "packages", monkeypatch)
    (tmp_path / "kws.layers").write_text("dense 3")
    source = sources.model(str(tmp_path / "kws.layers"))
    assert (source.kind, bool(source.sha256)) == ("imported", True)
    bench = Bench()

    def imported(job: Any, out: Path) -> Imported:
        (out / "made.keras").write_text(f"from {Path(job.path).read_text()}")
        return Imported(kind="file", path="made.keras")

    bench.instead["import"] = imported
    outcomes, fake = built(tmp_path, bench, planned("arm64", source, **PLAIN), planned("mcu", source))
    assert [outcome.error for outcome in outcomes] == [None, None]
    assert kinds(fake).count("import") == 1
    assert [outcome.manifest.inputs.model for outcome in outcomes if outcome.manifest] == [source, source]
    (given, *_) = [asked.settings for asked in fake.asked if asked.kind == "freeze"]
    assert given.kind == "file"
    (tmp_path / "kws.unknown").write_text("dense 3")
    with pytest.raises(UsageError, match="is no network that can be read"):
        sources.model(str(tmp_path / "kws.unknown"))
