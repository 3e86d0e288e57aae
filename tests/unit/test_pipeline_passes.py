"""What a build does with its passes: which are vetted, which are left out, and on which form of the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from making import network
from pipeline_answers import ENDS, Bench
from pipelines import PLAIN, REFINED, built, installed, kinds, only, planned, said

from edgebuild.actions.networks import Frozen, Loop
from edgebuild.core.losses import Answers, LayerLoss, Signal
from edgebuild.core.passes import Recurrent
from edgebuild.errors import StepError
from edgebuild.execution.fake import Fake
from edgebuild.process import ChildBugError, ChildDiedError

PLAIN_TEXT, REFINED_TEXT, FLOAT_TEXT = "net int8", "net+equalize+calibrate int8", "net float32"


@pytest.fixture(autouse=True)
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch)


def _shipped(bench: Bench, folder: Path, target: str = "mcu") -> str:
    return bench.text((folder / "dist" / target / "kws.tflite").read_bytes())


def _between(bench: Bench, plain_db: float, refined_db: float, of: str = "signal") -> None:
    """How near both conversions are to the float network, on samples of train."""
    for text, db in ((PLAIN_TEXT, plain_db), (REFINED_TEXT, refined_db)):
        bench.losses[FLOAT_TEXT, text] = {of: Signal(sqnr_db=db, cosine=1.0)}


def test_refinements_that_are_right_more_often_stay_however_far_they_are(tmp_path: Path) -> None:
    bench = Bench()
    bench.losses[PLAIN_TEXT, REFINED_TEXT] = {"better": 60, "worse": 2}
    _between(bench, plain_db=40, refined_db=10)
    outcomes, fake = built(tmp_path, bench, planned("mcu", **REFINED))
    assert _shipped(bench, tmp_path) == REFINED_TEXT
    assert not [note for note in only(outcomes).notes if "taken back" in note]
    scored = {asked.title.split(" on ")[0] for asked in fake.asked if asked.kind == "score"}
    assert scored == {f"mcu: score the {name} conversion" for name in ("refined", "plain")}


def test_counts_of_right_predictions_are_said_where_each_sample_has_one(tmp_path: Path) -> None:
    bench = Bench()
    answers = Answers(total=200, changed=9, lost=9, gained=1, classes=(), confusion=())
    bench.losses[PLAIN_TEXT, REFINED_TEXT] = {"better": 1, "worse": 20, "answers": answers}
    outcomes, _ = built(tmp_path, bench, planned("mcu", **REFINED))
    assert _shipped(bench, tmp_path) == PLAIN_TEXT
    assert "of 200 train samples 20 are answered right by the plain conversion alone" in said(only(outcomes), "taken")


@pytest.mark.parametrize(("plain_db", "refined_db", "left"), [(30, 20, PLAIN_TEXT), (20, 30, REFINED_TEXT)])
@pytest.mark.parametrize("of", ["signal", "logits"])
def test_where_counts_tell_nothing_what_is_nearer_to_the_float_network_stays(
    plain_db: float, refined_db: float, left: str, of: str, tmp_path: Path
) -> None:
    bench = Bench()
    _between(bench, plain_db, refined_db, of)
    outcomes, _ = built(tmp_path, bench, planned("mcu", **REFINED))
    assert _shipped(bench, tmp_path) == left
    if left == PLAIN_TEXT:
        word = "logits" if of == "logits" else "outputs"
        assert f"the {word} are nearer to the float network's without them" in said(only(outcomes), "taken back")
        assert "(SQNR 30.0 dB, with them 20.0 dB)" in said(only(outcomes), "taken back")


@pytest.mark.parametrize(
    ("reads_db", "left"), [({PLAIN_TEXT: 30.0, REFINED_TEXT: 20.0}, PLAIN_TEXT), ({}, REFINED_TEXT)]
)
def test_probabilities_on_a_grid_are_vetted_by_what_their_function_reads(
    reads_db: dict[str, float], left: str, tmp_path: Path
) -> None:
    bench = Bench()
    bench.tails = dict.fromkeys((PLAIN_TEXT, REFINED_TEXT, FLOAT_TEXT), ("SOFTMAX",))
    answer = bench.answers()["layer-loss"]

    def lost(job: Any, out: Path) -> Any:
        text = bench.text(Path(job.artifact).read_bytes())
        if text not in reads_db:
            raise StepError("its tensors cannot be kept")
        signal = Signal(sqnr_db=9.0, cosine=1.0)
        bench.layers = (
            LayerLoss(operator="SOFTMAX", position=1, layers=("y",), signal=signal, input_sqnr_db=reads_db[text]),
        )
        return answer(job, out)

    bench.instead["layer-loss"] = lost
    outcomes, _ = built(tmp_path, bench, planned("mcu", **REFINED))
    assert _shipped(bench, tmp_path) == left
    if left == PLAIN_TEXT:
        assert "the logits are nearer" in said(only(outcomes), "taken back")


def test_a_comparison_that_fails_leaves_the_refinements_and_says_so(tmp_path: Path) -> None:
    bench = Bench()
    bench.errors[f"score {PLAIN_TEXT}"] = ChildBugError("no traceback")
    outcomes, _ = built(tmp_path, bench, planned("mcu", **REFINED))
    assert _shipped(bench, tmp_path) == REFINED_TEXT
    assert said(only(outcomes), "not compared with the plain conversion")


def test_one_file_from_both_is_compared_with_nothing(tmp_path: Path) -> None:
    bench = Bench()
    bench.changed = {kind: {"identity_sha256": "net", "instead": {}} for kind in ("equalize", "calibrate")}
    _, fake = built(tmp_path, bench, planned("mcu", **REFINED))
    assert _shipped(bench, tmp_path) == PLAIN_TEXT
    assert not [asked for asked in fake.asked if "train samples" in asked.title]


@pytest.mark.parametrize(
    "splits", [{"learning_has_answers": False}, {"learning_samples": 99}, {"learning_samples": 0, "train_samples": 0}]
)
def test_without_enough_labelled_train_samples_nothing_is_vetted(splits: dict[str, Any], tmp_path: Path) -> None:
    bench = Bench()
    bench.splits = splits
    bench.worse[PLAIN_TEXT, REFINED_TEXT] = 60
    built(tmp_path, bench, planned("mcu", **REFINED))
    assert _shipped(bench, tmp_path) == REFINED_TEXT


def test_a_network_that_fits_only_once_it_is_carried_over_is_built_from_that(tmp_path: Path) -> None:
    bench = Bench()
    bench.errors["quantize given int8"] = StepError("no such operator", "says the converter")
    bench.frozen["file"] = {"text": "given"}
    outcomes, fake = built(tmp_path, bench, planned("mcu", **PLAIN))
    assert _shipped(bench, tmp_path) == PLAIN_TEXT
    asked = kinds(fake)
    assert asked.index("quantize") < asked.index("carry")
    assert only(outcomes).inputs.network_sha256 == "given"


@pytest.mark.parametrize("breaks", ["carry", f"quantize {PLAIN_TEXT}"])
def test_a_network_that_fits_in_no_form_is_refused_with_what_the_given_one_said_before_any_training(
    breaks: str, tmp_path: Path
) -> None:
    bench = Bench()
    bench.frozen["file"] = {"text": "given"}
    bench.errors["quantize given int8"] = StepError("no such operator")
    bench.errors[breaks] = StepError("nor so")
    (failed,), fake = built(tmp_path, bench, planned("mcu"))
    assert failed.error is not None
    assert failed.error.what == "no such operator"
    assert not {"channels", "equalize", "calibrate"} & set(kinds(fake))


@pytest.mark.parametrize(
    ("target", "loops", "what", "remedies"),
    [
        ("mcu", (Loop(layer="gru", steps=1000),), "gru (1,000 steps) would stay a loop", ['recurrent = "unrolled"']),
        ("arm64", (Loop(layer="gru", steps=1000),), "would stay a loop", ["unrolled", "--quantize dynamic"]),
        ("mcu", (Loop(layer="while", steps=0),), "the network computes in a loop: while", [".keras or .h5 file"]),
        ("arm64", (Loop(layer="while", steps=0),), "computes in a loop", [".keras", "--quantize dynamic or float16"]),
    ],
)
def test_a_loop_is_refused_with_what_can_be_done_before_the_converter_sees_it(
    target: str, loops: tuple[Loop, ...], what: str, remedies: list[str], tmp_path: Path
) -> None:
    bench = Bench()
    bench.frozen["file"] = {"loops": loops}
    (failed,), fake = built(tmp_path, bench, planned(target, **PLAIN))
    assert failed.error is not None
    assert what in failed.error.what
    assert all(remedy in failed.error.remedy for remedy in remedies)
    assert ("dynamic" in failed.error.remedy) == (target == "arm64")
    assert "quantize" not in kinds(fake)


def test_the_remedies_for_a_loop_build(tmp_path: Path) -> None:
    def frozen(job: Any) -> dict[str, Any]:
        steps = (Loop(layer="gru", steps=1000),)
        return {"unrolled": steps} if job.recurrent == Recurrent.UNROLLED else {"loops": steps}

    bench = Bench()
    bench.frozen_as = frozen
    unrolled = planned("mcu", over={"passes": {"quantize": {"recurrent": "unrolled"}}}, **PLAIN)
    outcomes, _ = built(tmp_path / "unrolled", bench, unrolled)
    assert "written out step by step, outputs proved equal: gru (1,000)" in said(only(outcomes), "written out")
    dynamic = planned("arm64", over={"passes": {"quantize": {"scheme": "dynamic"}}}, **PLAIN)
    built(tmp_path / "dynamic", bench, dynamic)
    assert _shipped(bench, tmp_path / "dynamic", "arm64") == "net dynamic"


def test_each_target_gets_recurrent_layers_as_its_kernels_take_them(tmp_path: Path) -> None:
    def frozen(job: Any) -> dict[str, Any]:
        steps = (Loop(layer="lstm", steps=8),)
        return {"fused": steps} if job.recurrent == Recurrent.FUSED else {"unrolled": steps}

    bench = Bench()
    bench.frozen_as = frozen
    unrolled = {"passes": {"quantize": {"recurrent": "unrolled"}}}
    plans = [planned("mcu", **PLAIN), planned("arm64", over=unrolled, **PLAIN)]
    (micro, app), fake = built(tmp_path, bench, *plans)
    assert "one operator each" in said(micro.manifest, "recurrent layers")
    assert "written out step by step" in said(app.manifest, "recurrent layers")
    frozen_as = [asked.settings.recurrent for asked in fake.asked if asked.kind == "freeze"]
    assert frozen_as == [Recurrent.FUSED, Recurrent.UNROLLED]


@pytest.mark.parametrize("error", [ChildDiedError("training crashed", "signal 9"), ChildBugError("no traceback")])
def test_a_compression_that_dies_is_left_out_and_the_others_are_done(error: Exception, tmp_path: Path) -> None:
    bench = Bench()
    bench.errors["channels"] = error  # type: ignore[assignment]
    outcomes, _ = built(tmp_path, bench, planned("arm64"), vet=False)
    assert _shipped(bench, tmp_path, "arm64") == "net+prune+equalize+calibrate int8"
    assert "channels left out" in said(only(outcomes), "left out")


def test_a_compression_that_says_what_it_cannot_do_ends_the_build(tmp_path: Path) -> None:
    bench = Bench()
    bench.errors["prune"] = StepError("there is nothing to prune", "no kernels", "Leave it out.")
    (failed,), _ = built(tmp_path, bench, planned("arm64"))
    assert failed.error is not None
    assert (failed.error.what, failed.error.remedy) == ("there is nothing to prune", "Leave it out.")


def test_without_train_data_compressions_are_left_out_and_refinements_done(tmp_path: Path) -> None:
    bench = Bench()
    bench.splits = {"learning_samples": 0, "learning_sha256": "", "learning_has_answers": False}
    outcomes, fake = built(tmp_path, bench, planned("arm64"))
    manifest = only(outcomes)
    assert _shipped(bench, tmp_path, "arm64") == "net+equalize+calibrate int8"
    left = [note for note in manifest.notes if "no train data to recover with" in note]
    assert [note.split()[1] for note in left] == ["channels", "prune"]
    assert manifest.compression is None
    assert "prune" not in kinds(fake)


def test_untrained_compressions_are_done_without_data_to_learn_from(tmp_path: Path) -> None:
    bench = Bench()
    bench.splits = {"learning_samples": 0, "learning_sha256": "", "learning_has_answers": False}
    over = {"passes": {"channels": {"untrained": True}}}
    built(tmp_path, bench, planned("mcu", over=over))
    assert _shipped(bench, tmp_path) == "net+channels+equalize+calibrate int8"


def _passes(fake: Fake) -> list[str]:
    return [kind for kind in kinds(fake) if kind in ("channels", "cluster", "qat", "equalize", "calibrate")]


def test_refinements_that_would_undo_shared_values_are_left_out(tmp_path: Path) -> None:
    bench = Bench()
    over = {"passes": {"channels": "off", "cluster": {}}}
    outcomes, fake = built(tmp_path, bench, planned("mcu", over=over), vet=False)
    assert [kind for kind in _passes(fake) if kind != "qat"] == ["cluster"]
    assert [note.split()[1] for note in only(outcomes).notes if "undo the shared values" in note] == [
        "equalize",
        "calibrate",
    ]


def test_a_refinement_that_fails_by_itself_is_left_out_and_the_next_is_done(tmp_path: Path) -> None:
    bench = Bench()
    bench.errors["equalize"] = StepError("it diverged")
    outcomes, _ = built(tmp_path, bench, planned("mcu", **REFINED), vet=False)
    assert _shipped(bench, tmp_path) == "net+calibrate int8"
    assert said(only(outcomes), "equalize was left out: it diverged")


def test_training_for_int8_leaves_its_own_network_and_no_reference_for_layers(tmp_path: Path) -> None:
    bench = Bench()
    trained = Frozen(network=network(**ENDS), batched=True, identity_sha256="net+qat")
    bench.changed["qat"] = {"frozen": trained}
    over = {"passes": {"channels": "off", "equalize": "off", "calibrate": "off", "qat": {}}}
    outcomes, fake = built(tmp_path, bench, planned("mcu", over=over))
    assert _shipped(bench, tmp_path) == "net+qat int8"
    assert "layer-loss" not in kinds(fake)
    assert only(outcomes).losses.layers is None


def test_channels_are_ranked_by_times_that_are_measured_first(tmp_path: Path) -> None:
    bench = Bench()
    over = {"passes": {"channels": {"cost": "latency"}}}
    _, fake = built(tmp_path, bench, planned("mcu", over=over), vet=False)
    asked = kinds(fake)
    assert asked.index("layers") < asked.index("layer-times") < asked.index("channels")
    (job,) = [item.settings for item in fake.asked if item.kind == "channels"]
    assert job.latencies is not None


def test_layers_that_a_pass_took_apart_are_left_in_float_by_their_new_names(tmp_path: Path) -> None:
    bench = Bench()
    bench.changed["channels"] = {"instead": {"dense": ("dense/a", "dense/b")}}
    over = {"passes": {"quantize": {"float_layers": ["dense"]}}}
    _, fake = built(tmp_path, bench, planned("arm64", over=over), vet=False)
    last = [
        asked.settings.quantize for asked in fake.asked if asked.kind == "quantize" and "compare" not in asked.title
    ]
    assert last[-1].float_layers == ("dense/a", "dense/b")


def test_metadata_or_packing_that_fails_is_left_out_and_said(tmp_path: Path) -> None:
    bench = Bench()
    bench.errors |= {"lean": StepError("outputs differ"), "metadata": ChildDiedError("it crashed", "")}
    micro, app = built(tmp_path, bench, planned("mcu", **PLAIN), planned("arm64", **PLAIN))[0]
    assert "the file was not packed: outputs differ" in said(micro.manifest, "not packed")
    assert micro.manifest.leaner is None
    assert "the metadata that SDKs read were left out: it crashed" in said(app.manifest, "metadata")


def test_packing_is_proved_on_the_kernels_that_run_it(tmp_path: Path) -> None:
    bench = Bench()
    bench.errors["lean reference xnnpack"] = StepError("XNNPACK does not run it")
    outcomes, fake = built(tmp_path, bench, planned("mcu", **PLAIN))
    tried = [asked.settings.kernels for asked in fake.asked if asked.kind == "lean"]
    assert tried == [("reference", "xnnpack"), ("reference",)]
    assert only(outcomes).leaner is not None
    bench.errors |= {"lean reference": StepError("nor do these"), "lean xnnpack": StepError("nor do these")}
    outcomes, fake = built(tmp_path / "tflm", bench, planned("mcu", **PLAIN))
    assert [asked.settings.kernels for asked in fake.asked if asked.kind == "lean"][-1] == ()
    assert only(outcomes).leaner is not None


def test_a_float_network_that_does_not_convert_leaves_out_what_layers_lost(tmp_path: Path) -> None:
    bench = Bench()
    bench.errors["quantize net float32"] = StepError("no float here")
    manifest = only(built(tmp_path, bench, planned("mcu", **PLAIN))[0])
    assert said(manifest, "layers were not compared with the float network's").endswith("no float here")
    assert manifest.losses.layers is None
    assert manifest.losses.output is not None


def test_a_student_takes_the_place_of_a_network_that_does_not_fit(tmp_path: Path) -> None:
    bench = Bench()
    bench.errors[f"quantize {PLAIN_TEXT}"] = StepError("no such operator")
    over = {"passes": {"channels": "off", "equalize": "off", "calibrate": "off", "student": {}}}
    manifest = only(built(tmp_path, bench, planned("mcu", over=over))[0])
    assert _shipped(bench, tmp_path) == "net+student int8"
    assert manifest.compression is None  # there is nothing to compare with
