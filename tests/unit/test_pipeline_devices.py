"""What the runtimes and compilers of targets say of a build, and what becomes of it where they are not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import strangers
from pipeline_answers import Bench, mapping
from pipelines import PLAIN, built, installed, kinds, only, planned, said, statuses

from edgebuild.core.budget import Subject
from edgebuild.core.device import Compiled, EdgeTpu, EthosU, NpuFigures, ParameterCache, Place
from edgebuild.core.measurement import Mode
from edgebuild.core.target import Kernels
from edgebuild.errors import StepError, UnavailableError
from edgebuild.process import ChildBugError, ChildDiedError

LEFT = Place(operator="RELU", count=1, is_mapped=False, reason="not supported", tensors=("net/relu/out",))
MAPPED = Place(operator="FULLY_CONNECTED", count=1, is_mapped=True)
ON_CPU = "1 RELU (from relu) on the CPU: not supported"
NO_ELU = StepError("LiteRT does not run it", "Didn't find op for builtin opcode 'ELU' version '1'. Node number 1 (ELU)")


@pytest.fixture(autouse=True)
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch)


def _figures(manifest: Any) -> dict[str, Any]:
    return {str(figure.subject): figure.value for figure in manifest.measurements}


def _with_relu() -> Bench:
    bench = Bench()
    bench.tails["net int8"] = ("RELU",)
    bench.frozen["file"] = {"network": {"layers": ("dense", "relu")}}
    return bench


def test_a_microcontrollers_build_has_arena_flash_and_a_self_test_from_its_own_runtime(tmp_path: Path) -> None:
    bench = Bench()
    bench.firmware = {"model.cc": "sources"}
    outcomes, fake = built(tmp_path, bench, planned("mcu", **PLAIN))
    manifest, asked = only(outcomes), kinds(fake)
    assert _figures(manifest)["arena"] == 2000
    assert _figures(manifest)["flash"] == 1000
    assert set(statuses(manifest).values()) == {"pass"}
    assert {"flash", "arena", "accuracy_drop"} <= set(statuses(manifest))
    assert asked.index("tflm-kernels") < asked.index("tflm-runs") < asked.index("tflm-score") < asked.index("firmware")
    assert "score" not in asked
    (job,) = [item.settings for item in fake.asked if item.kind == "firmware"]
    assert (job.arena_bytes, job.vector.inputs) == (2000, (b"1",))
    assert (tmp_path / "dist" / "mcu" / "firmware" / "model.cc").read_text() == "sources"


def test_without_tflm_reference_kernels_stand_in_and_the_arena_is_inconclusive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(monkeypatch, tflm=None)
    outcomes, fake = built(tmp_path, Bench(), planned("mcu", **PLAIN))
    manifest = only(outcomes)
    assert not [kind for kind in kinds(fake) if kind.startswith("tflm-")]
    assert statuses(manifest)["arena"] == "inconclusive"
    assert manifest.lacking["arena"].startswith("TensorFlow Lite Micro is not installed: pip install")
    assert "scored on LiteRT's reference kernels" in said(manifest, "not installed")
    assert {f.kernels for f in manifest.measurements if f.subject == Subject.ACCURACY} == {"reference"}


def test_a_runtime_that_lacks_a_kernel_ends_the_build_with_the_layer(tmp_path: Path) -> None:
    bench = _with_relu()
    bench.missing = ("RELU",)
    (failed,), fake = built(tmp_path, bench, planned("mcu", **PLAIN))
    assert failed.error is not None
    assert failed.error.what == "TensorFlow Lite Micro has no kernel for RELU (from relu)"
    assert failed.error.remedy == "Replace the layers named, or choose another target."
    assert not {"tflm-score", "measure", "equalize"} & set(kinds(fake))


@pytest.mark.parametrize(("kind", "lost"), [("tflm-arena", "the arena"), ("tflm-sample", "no self-test")])
def test_an_arena_or_a_sample_that_cannot_be_had_is_a_note(kind: str, lost: str, tmp_path: Path) -> None:
    bench = Bench()
    bench.errors[kind] = ChildDiedError("it crashed", "signal 11")
    manifest = only(built(tmp_path, bench, planned("mcu", **PLAIN))[0])
    assert "it crashed: signal 11" in said(manifest, lost)
    assert statuses(manifest)["arena"] == ("inconclusive" if kind == "tflm-arena" else "pass")
    assert (tmp_path / "dist" / "mcu" / "kws.tflite").is_file()


def test_builtin_kernels_stand_in_where_the_reference_kernels_lack_an_operator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(monkeypatch, tflm=None)
    bench = Bench()
    bench.tails["net int8"] = ("ELU",)
    bench.frozen["file"] = {"network": {"layers": ("dense", "elu")}}
    bench.errors["runs reference"] = NO_ELU
    manifest = only(built(tmp_path, bench, planned("mcu", **PLAIN))[0])
    assert manifest.plan.runtime.kernels == Kernels.BUILTIN
    assert "LiteRT's builtin kernels stand in for its reference kernels" in said(manifest, "stand in")
    assert said(manifest, "stand in").endswith("LiteRT's reference kernels have no ELU (from elu)")
    assert {f.kernels for f in manifest.measurements if f.subject == Subject.ACCURACY} == {"builtin"}


def test_where_no_kernels_run_it_the_refusal_names_the_layer_unless_the_runtime_itself_ran_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = _with_relu()
    bench.errors["runs"] = StepError("LiteRT does not run it", "shapes differ\nNode number 1 (RELU) failed to prepare")
    manifest = only(built(tmp_path / "proved", bench, planned("mcu", **PLAIN))[0])
    assert "LiteRT does not run it on this machine" in said(manifest, "nothing was compared")
    installed(monkeypatch, tflm=None)
    (failed,), _ = built(tmp_path / "refused", bench, planned("mcu", **PLAIN))
    assert failed.error is not None
    assert failed.error.what == "the runtime of mcu does not run RELU (from relu)"
    assert (failed.error.why, failed.error.remedy) == ("shapes differ", "Replace the layer named.")


def test_a_refusal_of_the_targets_own_kernels_names_the_layer_only_where_it_is_that_operator(tmp_path: Path) -> None:
    bench = _with_relu()
    refusals = {
        "Node number 2 (RELU) failed to prepare": "the runtime of arm64 does not run RELU (from relu)",
        "Node number 1 (RELU) failed to prepare": "LiteRT does not run it",  # that is the dense layer
        "Node number 9 (RELU) failed to prepare": "LiteRT does not run it",
        "no word of a node": "LiteRT does not run it",
    }
    for why, what in refusals.items():
        bench.errors["runs"] = StepError("LiteRT does not run it", why)
        (failed,), _ = built(tmp_path, bench, planned(**PLAIN))
        assert failed.error is not None
        assert failed.error.what == what


def test_an_artifact_that_does_not_fit_its_target_is_refused_before_it_is_run(tmp_path: Path) -> None:
    bench = Bench()
    bench.tails["net int8"] = ("ELU",)
    bench.frozen["file"] = {"network": {"layers": ("dense", "elu")}}
    (failed,), fake = built(tmp_path, bench, planned("edgetpu", **PLAIN))
    assert failed.error is not None
    assert failed.error.what == "the converted kws does not fit edgetpu"
    assert "ELU is not among the operators of edgetpu (from elu)" in failed.error.why
    assert "runs" not in kinds(fake)


def test_delegation_and_parity_that_cannot_be_had_are_notes(tmp_path: Path) -> None:
    bench = Bench()
    bench.errors |= {"delegation": ChildBugError("no traceback"), "outputs reference": NO_ELU}
    manifest = only(built(tmp_path, bench, planned(**PLAIN))[0])
    assert (manifest.device.delegation, manifest.device.parity) == (None, None)
    assert "a bug in edgebuild, please report it" in said(manifest, "which operators XNNPACK takes could not be read")
    assert said(manifest, "outputs on xnnpack and reference").endswith("LiteRT's reference kernels have no ELU")


CACHE = ParameterCache(mode=Mode.ESTIMATED, cached_bytes=12, streamed_bytes=0)


@pytest.mark.parametrize("is_there", [True, False])
def test_the_edge_tpus_compiler_compiles_and_where_it_is_absent_its_rules_predict(
    is_there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = tmp_path / "edgetpu_compiler"
    compiler.write_text("a compiler")
    installed(monkeypatch, edgetpu=str(compiler) if is_there else None)
    bench = _with_relu()
    name = "kws_edgetpu.tflite" if is_there else ""
    bench.npu = EdgeTpu(mapping=mapping("edgetpu", MAPPED, LEFT), cache=CACHE, compiled=name)
    outcomes, fake = built(tmp_path, bench, planned("edgetpu", **PLAIN))
    manifest = only(outcomes)
    assert ("edgetpu" in kinds(fake), "edgetpu-rules" in kinds(fake)) == (is_there, not is_there)
    assert _figures(manifest)["npu_share"] == 0.5
    assert statuses(manifest)["npu_share"] == "warn"
    assert said(manifest, "on the CPU") == f"edgetpu: {ON_CPU}"
    assert any("is predicted; its compiler is not installed" in note for note in manifest.notes) != is_there
    assert (tmp_path / "dist" / "edgetpu" / "kws_edgetpu.tflite").exists() == is_there
    assert "gives neither time nor memory" in manifest.lacking["npu_latency"]


def test_what_the_edge_tpu_runs_is_inconclusive_where_it_cannot_even_be_predicted(tmp_path: Path) -> None:
    bench = Bench()
    bench.errors["edgetpu-rules"] = StepError("unknown operator")
    manifest = only(built(tmp_path, bench, planned("edgetpu", **PLAIN))[0])
    assert manifest.lacking["npu_share"] == "what the Edge TPU runs could not be predicted: unknown operator"
    assert statuses(manifest)["npu_share"] != "pass"


VELA = NpuFigures(
    system_config="a system",
    memory_mode="Shared_Sram",
    clock_hz=5e8,
    inference_s=2e-5,
    inferences_per_s=5e4,
    sram_bytes=3000,
    **dict.fromkeys(("dram_bytes", "on_chip_flash_bytes", "off_chip_flash_bytes", "macs", "npu_cycles"), 0),
    **dict.fromkeys(("sram_cycles", "dram_cycles", "on_chip_flash_cycles", "off_chip_flash_cycles", "total_cycles"), 0),
)


def test_vela_tells_time_and_memory_and_its_file_is_what_firmware_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(monkeypatch, vela="5.2.0")
    bench = _with_relu()
    bench.npu = EthosU(mapping=mapping("ethos-u55-128", MAPPED, LEFT), compiled="kws_vela.tflite", figures=VELA)
    limits = {"npu_latency": "10 us", "npu_sram": "4 KB"}
    outcomes, fake = built(tmp_path, bench, planned("ethos-u55-128", budgets=limits, **PLAIN))
    manifest = only(outcomes)
    assert {"npu_share": 0.5, "npu_latency": 2e-5, "npu_sram": 3000}.items() <= _figures(manifest).items()
    assert (statuses(manifest)["npu_latency"], statuses(manifest)["npu_sram"]) == ("fail", "pass")
    folder = tmp_path / "dist" / "ethos-u55-128"
    assert (folder / "kws_vela.tflite").read_text() == "compiled"
    asked = {item.kind: item.settings for item in fake.asked}
    assert asked["ethos-u"].accelerator == "ethos-u55-128"
    assert asked["firmware"].artifact.endswith("kws_vela.tflite")


def test_without_vela_its_figures_are_inconclusive_with_what_installs_it(tmp_path: Path) -> None:
    limits = {"npu_latency": "10 us"}
    manifest = only(built(tmp_path, Bench(), planned("ethos-u55-128", budgets=limits, **PLAIN))[0])
    assert statuses(manifest)["npu_latency"] == "inconclusive"
    assert manifest.lacking["npu_latency"] == "Vela is not installed: pip install 'edgebuild[ethosu]'"


def test_a_compiler_that_refuses_an_artifact_ends_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, vela="5.2.0")
    bench = Bench()
    bench.errors["ethos-u"] = StepError("Vela refused it")
    (failed,), _ = built(tmp_path, bench, planned("ethos-u55-128", **PLAIN))
    assert failed.error is not None
    assert failed.error.what == "Vela refused it"


def test_state_is_said_and_a_score_with_it_reset_where_that_differs(tmp_path: Path) -> None:
    bench = Bench()
    bench.keeps_state = True
    manifest = only(built(tmp_path / "equal", bench, planned(**PLAIN))[0])
    assert "reset it before each independent input" in said(manifest, "keeps state")
    assert not [note for note in manifest.notes if "state reset before each sample" in note]
    bench.reset_score = 0.85
    manifest = only(built(tmp_path / "differs", bench, planned(**PLAIN))[0])
    assert manifest.accuracy.artifact == 0.9
    assert said(manifest, "state reset").endswith(
        "is 90.00% as the interpreter runs by itself, 85.00% with the state reset before each sample"
    )
    bench.errors["score reset"] = StepError("it cannot be reset")
    manifest = only(built(tmp_path / "fails", bench, planned(**PLAIN))[0])
    assert said(manifest, "state reset").endswith("it was not scored with its state reset: it cannot be reset")


def test_a_stream_carries_its_state_as_the_network_does(tmp_path: Path) -> None:
    bench = Bench()
    bench.keeps_state = True
    bench.frozen["file"] = {"network": {"streams": ("gru",)}}
    manifest = only(built(tmp_path, bench, planned(**PLAIN))[0])
    assert "streaming model: gru carry state over" in said(manifest, "streaming")
    assert not [note for note in manifest.notes if "reset it before" in note]


@pytest.mark.parametrize(
    ("runtime", "tflm", "scored", "kernels", "least"),
    [
        ("cmsis-nn", "1.2.3", "scored on TensorFlow Lite Micro, whose outputs are CMSIS-NN's", "tflm", None),
        (
            "cmsis-nn",
            None,
            "scored on LiteRT's reference kernels, from which CMSIS-NN at times differs",
            "reference",
            None,
        ),
        ("x-cube-ai", "1.2.3", "scored on LiteRT's xnnpack kernels, whose outputs are X-CUBE-AI's", "xnnpack", 740),
    ],
)
def test_a_runtime_that_is_not_here_is_stood_in_for_and_its_memory_bounded(
    runtime: str,
    tflm: str | None,
    scored: str,
    kernels: str,
    least: int | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed(monkeypatch, tflm=tflm)
    over = {"runtime": {"name": runtime, "code": "50 KB"}}
    outcomes, fake = built(tmp_path, Bench(), planned("mcu", over=over, **PLAIN))
    manifest = only(outcomes)
    assert scored in said(manifest, "scored on")
    assert ("the arena is TensorFlow Lite Micro's" in said(manifest, "scored on")) == (tflm is not None)
    assert {figure.kernels for figure in manifest.measurements if figure.subject == Subject.ACCURACY} == {kernels}
    assert _figures(manifest)["flash"] == 51_000
    arenas = [figure.between for figure in manifest.measurements if figure.subject == Subject.ARENA]
    assert [int(between[0]) for between in arenas if between] == ([least] if least else [])
    assert ("tflm-score" in kinds(fake)) == (kernels == "tflm")
    assert ("parity" in kinds(fake)) == (runtime == "x-cube-ai")


SX = """
extends = "arm64"
[accelerator]
compiler = "sxc"
configuration = "sx1-64"
[budgets]
npu_latency = "1 ms"
"""


def test_a_compiler_of_another_package_is_asked_as_the_built_in_ones_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "packages").mkdir()
    strangers.installed(tmp_path / "packages", monkeypatch)
    profile = tmp_path / "sx.toml"
    profile.write_text(SX)
    bench = _with_relu()
    bench.npu = Compiled(mapping=mapping("sx1-64", MAPPED, LEFT), compiled="net_sx1.bin", inference_s=2e-3)
    outcomes, _ = built(tmp_path, bench, planned(str(profile), **PLAIN))
    manifest = only(outcomes)
    assert {"npu_share": 0.5, "npu_latency": 2e-3}.items() <= _figures(manifest).items()
    assert "npu_sram" not in _figures(manifest)
    assert statuses(manifest)["npu_latency"] == "fail"
    assert said(manifest, "on the CPU") == f"sx: {ON_CPU}"
    assert (tmp_path / "dist" / "sx" / "kws_sx1.bin").read_text() == "compiled"
    bench.errors["compile"] = UnavailableError("sxc is not installed", "no licence.", "Ask its maker.")
    manifest = only(built(tmp_path / "absent", bench, planned(str(profile), **PLAIN))[0])
    assert manifest.lacking["npu_latency"] == "sxc is not installed. no licence. Ask its maker."
    assert statuses(manifest)["npu_latency"] == "inconclusive"
