"""The programs for apps: run where their toolchain is here, else read for the file's own numbers."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from making import DATA, MODEL, manifest, network, plan, tensor
from tflite_networks import TYPE, Network

from edgebuild.core.delivery import PackedFile
from edgebuild.core.manifest import Artifact, DataRecord, Inputs
from edgebuild.core.metric import Metric
from edgebuild.core.settings import Preprocess
from edgebuild.core.target import Accelerator, Compiler, Interpreter as Name, Kernels, Runtime
from edgebuild.flatbuffer import reader
from edgebuild.report import card
from edgebuild.report.integration import page

LITERT = Runtime(name=Name.LITERT, kernels=Kernels.XNNPACK, version="2.14.0")
LABELS = ("on", 'of "f"', "cost $5\\day")
STAND_IN = Path(__file__).parent / "app_stand_in.h"


def _two_in_two_out(path: Path) -> Path:
    """Pixels of three channels as int8 and a row of floats; scaled pixels as uint8, and the row's absolute values."""
    net = Network()
    pixels = net.tensor("serving_image:0", [1, 2, 2, 3], TYPE.INT8, scale=[0.0125], zero_point=[-7])
    row = net.tensor("class", [1, 3])
    scores = net.tensor("scores", [1, 2, 2, 3], TYPE.UINT8, scale=[0.0125], zero_point=[121])
    sizes = net.tensor("sizes", [1, 3])
    net.operator(schema.BuiltinOperator.QUANTIZE, [pixels], [scores], version=2, options=schema.QuantizeOptionsT())
    net.operator(schema.BuiltinOperator.ABS, [row], [sizes], options=schema.AbsOptionsT())
    return net.write(path, [pixels, row], [scores, sizes])


def _manifest(path: Path, *, labels: tuple[str, ...] = LABELS, **fields: Any) -> Any:
    spec = reader.read(path)
    data = DataRecord(
        source=DATA,
        train_samples=1,
        calibration_samples=1,
        evaluation_samples=1,
        calibration_sha256="",
        evaluation_sha256="",
        labels=labels,
    )
    own = network(
        inputs=tuple(msgspec.structs.replace(end, dtype="float32", scale=0.0) for end in spec.inputs),
        outputs=spec.outputs,
        streams=fields.pop("streams", ()),
    )
    made = plan(
        **{
            "target": "arm64",
            "runtime": LITERT,
            "preprocess": Preprocess(mean=(127.5, 100.0, 0.0), scale=(1 / 127.5, 0.01, 0.003921568859368563)),
            "metric": Metric(name="accuracy", k=5, output=1, lower_is_better=False),
            **fields.pop("planned", {}),
        }
    )
    whole = {
        "target": "arm64",
        "plan": made,
        "network": spec,
        "inputs": Inputs(model=MODEL, network=own, network_sha256="e" * 64, data=data),
        "artifact": Artifact(path=path.name, sha256="ef" * 32, size_bytes=1, size_gzip_bytes=1),
    }
    return manifest(**{**whole, **fields})


def _blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def _stored(values: Any, end: Any) -> Any:
    steps = (values / np.float32(end.scale)).astype(np.float64)
    limits = np.iinfo(end.dtype)
    return np.clip(np.trunc(steps + np.copysign(0.5, steps)) + end.zero_point, limits.min, limits.max).astype(end.dtype)


@pytest.fixture
def samples() -> Any:
    """Pixels, many of them at the middle between two steps, and a row."""
    rng = np.random.default_rng(0)
    pixels = rng.uniform(-40, 300, (1, 2, 2, 3)).astype(np.float32)
    return pixels, rng.normal(size=(1, 3)).astype(np.float32)


def _expected(path: Path, pixels: Any, row: Any) -> list[Any]:
    """What the file gives for samples that are prepared as the build prepares them."""
    given = reader.read(path)
    mean = np.array([127.5, 100.0, 0.0], np.float32)
    factor = np.array([1 / 127.5, 0.01, 0.003921568859368563], np.float32)
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    indices = [found["index"] for found in interpreter.get_input_details()]
    interpreter.set_tensor(indices[0], _stored((pixels - mean) * factor, given.inputs[0]))
    interpreter.set_tensor(indices[1], (row - mean) * factor)
    interpreter.invoke()
    scores, sizes = (interpreter.get_tensor(found["index"]) for found in interpreter.get_output_details())
    end = given.outputs[0]
    return [(scores.astype(np.float32) - end.zero_point) * np.float32(end.scale), sizes]


def test_the_python_program_gives_what_the_file_gives(tmp_path: Path, samples: Any) -> None:
    path = _two_in_two_out(tmp_path / "two ends.tflite")
    (program,) = _blocks(page.of_build(_manifest(path)) or "", "python")
    np.savez(tmp_path / "given.npz", *samples)
    check = (
        'given = np.load("given.npz")\nnp.savez("made.npz", *predict(given["arr_0"], given["arr_1"]))\n'
        "print(LABELS, label([[0.1, 0.7, 0.2]]))\n"
    )
    (tmp_path / "app.py").write_text(program + "\n\n" + check)
    ran = subprocess.run([sys.executable, "app.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    made = np.load(tmp_path / "made.npz")
    for found, expected in zip((made["arr_0"], made["arr_1"]), _expected(path, *samples), strict=True):
        assert np.array_equal(found, expected)
    assert ran.stdout == f"{list(LABELS)} {LABELS[1]}\n"


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++ here to compile the C++ program with")
def test_the_cpp_program_stores_and_reads_what_the_file_holds(tmp_path: Path, samples: Any) -> None:
    path = _two_in_two_out(tmp_path / "ends.tflite")
    made = _manifest(path, network=msgspec.structs.replace(reader.read(path), keeps_state=True))
    (program,) = _blocks(page.of_build(made) or "", "cpp")
    headers = tmp_path / "tensorflow" / "lite" / "c"
    headers.mkdir(parents=True)
    for name in ("c_api.h", "c_api_experimental.h"):
        (headers / name).write_text(STAND_IN.read_text())
    pixels, row = (", ".join(f"{value!r}f" for value in array.ravel().tolist()) for array in samples)
    main = f"""
#include <cstdio>
int main() {{
  EndsModel model;
  float pixels[] = {{{pixels}}}, row[] = {{{row}}}, scores[12], sizes[3];
  if (!model.Predict(pixels, row, scores, sizes)) return 1;
  for (float value : scores) std::printf("%.9g\\n", value);
  for (float value : sizes) std::printf("%.9g\\n", value);
  std::puts(kLabels[1]);
}}
"""
    (tmp_path / "app.cc").write_text(program.replace("KwsModel", "EndsModel") + main)
    compiled = ["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", "-I", str(tmp_path), "app.cc", "-o", "app"]
    ran = subprocess.run(compiled, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    outputs = np.arange(12, dtype=np.uint8) * 20, np.array([1.5, -2.0, 0.25], np.float32)
    for position, values in enumerate(outputs):
        (tmp_path / f"out{position}").write_bytes(values.tobytes())
    ran = subprocess.run(["./app"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    spec = reader.read(path)
    mean = np.array([127.5, 100.0, 0.0], np.float32)
    factor = np.array([1 / 127.5, 0.01, 0.003921568859368563], np.float32)
    stored = np.frombuffer((tmp_path / "in0").read_bytes(), np.int8).reshape(1, 2, 2, 3)
    assert np.array_equal(stored, _stored((samples[0] - mean) * factor, spec.inputs[0]))
    assert (tmp_path / "in1").read_bytes() == ((samples[1] - mean) * factor).tobytes()
    lines = ran.stdout.splitlines()
    assert lines[0] == "reset"
    real = (outputs[0].astype(np.float32) - 121) * np.float32(0.0125)
    assert np.array_equal(np.array(lines[1:13], np.float32), real)
    assert lines[13:] == ["1.5", "-2", "0.25", LABELS[1]]


def test_programs_for_phones_hold_the_files_own_names_shapes_and_numbers(tmp_path: Path) -> None:
    """There is no Kotlin and no Swift here to compile them with: they are read."""
    path = _two_in_two_out(tmp_path / "ends.tflite")
    text = page.of_build(_manifest(path)) or ""
    gradle, kotlin_text = _blocks(text, "kotlin")
    assert 'implementation("com.google.ai.edge.litert:litert:1.4.1")' in gradle
    assert 'noCompress += "tflite"' in gradle
    assert "16 KB pages" in text
    for part in (
        "class KwsModel(context: Context) : AutoCloseable {",
        'context.assets.openFd("ends.tflite")',
        "fun predict(serving_image_0: FloatArray, tensor_class: FloatArray): Pair<FloatArray, FloatArray> {",
        "require(serving_image_0.size == 12)",
        "val mean = floatArrayOf(127.5f, 100.0f, 0.0f)",
        "quantized((serving_image_0[i] - mean[i % 3]) * factor[i % 3], 0.0125000002f, -7, -128, 127)).toByte())",
        "stored1.putFloat((tensor_class[i] - mean[i % 3]) * factor[i % 3])",
        "FloatArray(12) { ((made0.get().toInt() and 0xff) - 121) * 0.0125000002f }",
        'val labels = listOf("on", "of \\"f\\"", "cost \\$5\\\\day")',
        "// serving_image:0: int8 [1, 2, 2, 3], scale 0.0125000002, zero point -7",
    ):
        assert part in kotlin_text
    (pod,), (swift_text,) = _blocks(text, "ruby"), _blocks(text, "swift")
    assert pod == "use_frameworks!\npod 'TensorFlowLiteSwift', '2.17.0'\n"
    for part in (
        "import TensorFlowLite",
        'Bundle.main.path(forResource: "ends", ofType: "tflite")!',
        "func predict(serving_image_0: [Float32], tensor_class: [Float32]) throws -> ([Float32], [Float32]) {",
        "Int8(quantized((serving_image_0[i] - mean0[i % 3]) * factor0[i % 3], 0.0125000002, -7, -128, 127))",
        "Array($0.bindMemory(to: UInt8.self))",
        "Float32(Int($0) - 121) * 0.0125000002",
    ):
        assert part in swift_text
    for program in (kotlin_text, swift_text):
        assert [program.count(opening) for opening in "({["] == [program.count(closing) for closing in ")}]"]
    assert "reset" not in text


def test_state_is_reset_for_independent_inputs_and_kept_for_streams(tmp_path: Path) -> None:
    path = _two_in_two_out(tmp_path / "ends.tflite")
    keeps = msgspec.structs.replace(reader.read(path), keeps_state=True)
    text = page.of_build(_manifest(path, network=keeps)) or ""
    assert "the programs reset it before each independent input" in text
    for part in ("reset_all_variables()", "resetVariableTensors()", "TfLiteInterpreterResetVariableTensors("):
        assert text.count(part) == 1
    (swift_text,) = _blocks(text, "swift")
    inside = swift_text.partition("func predict")[2]
    assert "let interpreter = try Interpreter(modelPath: path)" in inside
    streams = page.of_build(_manifest(path, network=keeps, streams=("lstm",))) or ""
    assert "begin a new stream with a new interpreter" in streams
    assert "reset" not in streams.lower()


def test_a_pod_that_is_older_than_the_file_needs_is_said(tmp_path: Path) -> None:
    path = _two_in_two_out(tmp_path / "ends.tflite")
    spec = reader.read(path)
    newer = tuple(msgspec.structs.replace(each, runtime="2.19.0") for each in spec.operators)
    text = page.of_build(_manifest(path, network=msgspec.structs.replace(spec, operators=newer))) or ""
    assert "**The pod is too old:** the file needs runtime 2.19.0, the newest pod is 2.17.0." in text


def test_what_stands_beside_each_kind_of_artifact(tmp_path: Path) -> None:
    path = _two_in_two_out(tmp_path / "ends.tflite")
    tpu = {"accelerator": Accelerator(compiler=Compiler.EDGETPU), "target": "edgetpu"}
    text = page.of_build(_manifest(path, planned=tpu)) or ""
    assert "`edgetpu_compiler ends.tflite` writes `ends_edgetpu.tflite`" in text
    (program,) = _blocks(text, "python")
    compile(program, "app.py", "exec")
    assert 'model_path="ends_edgetpu.tflite", experimental_delegates=[load_delegate("libedgetpu.so.1")]' in program
    assert "Kotlin" not in text
    micro = {"runtime": Runtime(name=Name.TFLM, kernels=Kernels.REFERENCE)}
    assert page.of_build(_manifest(path, planned=micro)) is None
    sources = (PackedFile(path="firmware/README.md", sha256="", size_bytes=1),)
    assert "`firmware/` has the sources for TensorFlow Lite Micro" in card.of_build(
        _manifest(path, planned=micro, files=sources)
    )
    own = {"runtime": Runtime(name=Name.X_CUBE_AI, kernels=Kernels.XNNPACK)}
    assert "Give `ends.tflite` to the tool of X-CUBE-AI" in card.of_build(_manifest(path, planned=own))
    linked = (PackedFile(path=page.NAME, sha256="", size_bytes=1),)
    assert "[integration.md](integration.md) has programs in Kotlin, Swift, Python and C++" in card.of_build(
        _manifest(path, files=linked)
    )
    odd = msgspec.structs.replace(reader.read(path), outputs=(tensor("words", (1, 2), "string"),))
    assert page.of_build(_manifest(path, network=odd)) is None
