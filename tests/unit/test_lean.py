"""Lean files: small, laid out as the format asks, and the same network to every kernel."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter as LiteRt

from edgebuild.core.delivery import BiasScales, Keep, Names
from edgebuild.core.target import Interpreter, Kernels
from edgebuild.errors import StepError
from edgebuild.flatbuffer import reader
from edgebuild.flatbuffer.rewriting import tight
from edgebuild.flatbuffer.rewriting.lean import OFFLINE_PLAN, SDK_METADATA, lean
from edgebuild.process import Child, Limits
from edgebuild.runtimes.same_outputs import SameOutputs, SameOutputsJob
from tests.conftest import PATIENCE_S

LIMITS = Limits(time_s=PATIENCE_S, memory_bytes=4 << 30)
ALL = Keep(
    signatures=True,
    metadata=("min_runtime_version", SDK_METADATA, "CONVERSION_METADATA"),
    names=Names.ALL,
    bias_scales=BiasScales.KEPT,
)
RUNTIMES = (
    {"kernels": Kernels.XNNPACK},
    {"kernels": Kernels.BUILTIN},
    {"kernels": Kernels.REFERENCE},
    *([{"runtime": Interpreter.TFLM}] if importlib.util.find_spec("tflite_micro") else []),
)
FILES = (
    "kws/reference_int8.tflite",
    "kws/reference_float32.tflite",
    "tflm/hello_world_int8.tflite",
    "tflm/micro_speech_quantized.tflite",
    "tflm/person_detect.tflite",
    "tflm/trained_lstm_int8.tflite",
    "edgetpu/deeplabv3_mnv2_dm05_pascal_quant.tflite",
    "edgetpu/keras_lstm_mnist_ptq.tflite",
    "edgetpu/mobilenet_v1_0.25_128_quant.tflite",
    "edgetpu/mobilenet_v1_1.0_224_quant_embedding_extractor.tflite",
)
LARGE = tuple(FILES[number] for number in (4, 6, 8, 9))
COMPILED = (
    "tflm/person_detect_vela.tflite",
    "edgetpu/mobilenet_v1_0.25_128_quant_edgetpu.tflite",
    "edgetpu/deeplabv3_mnv2_dm05_pascal_quant_edgetpu.tflite",
    "edgetpu/keras_lstm_mnist_ptq_edgetpu.tflite",
    "edgetpu/mobilenet_v1_1.0_224_quant_embedding_extractor_edgetpu.tflite",
)


def model_of(data: bytes) -> Any:
    return schema.ModelT.InitFromPackedBuf(data, 0)


def payload(data: bytes) -> int:
    return sum(0 if buffer.data is None else len(buffer.data) for buffer in model_of(data).buffers)


def plain(value: Any) -> Any:
    """What an object of the schema's API holds, to be compared."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, list):
        return [plain(item) for item in value]
    return {name: plain(item) for name, item in vars(value).items()} if hasattr(value, "__dict__") else value


def same(folder: Path, one: Path, other: Path, **job: Any) -> SameOutputs:
    """What the child says of two files; one that the runtime refuses is a StepError."""
    asked = SameOutputsJob(artifact=str(one), other=str(other), **job)
    with Child("edgebuild.runtimes.same_outputs", "the comparison", folder / "log") as child:
        return msgspec.json.decode(child.call("same-outputs", asked, LIMITS, lambda _: None), type=SameOutputs)


def same_or_refused(folder: Path, given: Path, made: Path, **job: Any) -> int | None:
    """How many of a few random samples differ; None where the runtime does not run the given file either."""
    try:
        return same(folder, given, made, most_samples=2, **job).differing
    except StepError:
        with pytest.raises(StepError):
            same(folder, given, given, most_samples=2, **job)
        return None


@pytest.fixture
def kws(assets: Path) -> bytes:
    return (assets / FILES[0]).read_bytes()


def test_half_of_a_small_int8_network_is_not_its_weights_and_most_of_that_goes(kws: bytes) -> None:
    made = lean(kws, Keep())
    assert len(kws) > 2.2 * payload(kws)
    assert len(made) <= 1.25 * payload(made)
    assert len(made) < 0.7 * len(tight.share(kws))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in LARGE else ()) for name in FILES]
)
def test_a_lean_file_is_smaller_and_computes_the_same_wherever_the_file_runs(
    assets: Path, tmp_path: Path, name: str
) -> None:
    given, made = assets / name, tmp_path / "lean.tflite"
    made.write_bytes(lean(given.read_bytes(), Keep()))
    assert made.stat().st_size < given.stat().st_size
    compared = [same_or_refused(tmp_path, given, made, **runtime) for runtime in RUNTIMES]
    assert set(compared) in ({0}, {0, None})


@pytest.mark.parametrize("name", COMPILED)
def test_what_a_compiler_wrote_for_its_device_is_left_as_it_is(assets: Path, name: str) -> None:
    data = (assets / name).read_bytes()
    assert lean(data, Keep()) is data


@pytest.mark.parametrize("name", FILES)
def test_operators_shapes_scales_and_constants_stay(assets: Path, name: str) -> None:
    given, made = model_of((assets / name).read_bytes()), model_of(lean((assets / name).read_bytes(), Keep()))
    for one, other in zip(_operations(given), _operations(made), strict=True):
        assert one == other


def _operations(model: Any) -> Iterator[Any]:
    """Each operator as its kernel sees it; of the scales of biases nothing."""
    for graph in model.subgraphs:
        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex]
            tensors = [graph.tensors[index] if index >= 0 else None for index in (*operator.inputs, *operator.outputs)]
            yield (
                (code.builtinCode, code.version, plain(operator.builtinOptions)),
                [tensor and _seen(tensor, model) for tensor in tensors],
            )


def _seen(tensor: Any, model: Any) -> Any:
    scales = tensor.quantization
    is_bias = tensor.type == schema.TensorType.INT32
    return (
        (plain(tensor.shape) or [], tensor.type, tensor.isVariable),
        None if is_bias or scales is None or scales.scale is None else (plain(scales.scale), plain(scales.zeroPoint)),
        plain(model.buffers[tensor.buffer].data),
    )


@pytest.mark.parametrize("name", FILES)
def test_constants_and_numbers_lie_where_kernels_can_read_them_in_place(assets: Path, name: str) -> None:
    data = lean((assets / name).read_bytes(), Keep())
    model = schema.Model.GetRootAs(data, 0)
    whole = np.frombuffer(data, np.uint8)

    def start(array: np.ndarray) -> int:
        return int(array.__array_interface__["data"][0] - whole.__array_interface__["data"][0])

    constants = [model.Buffers(number).DataAsNumpy() for number in range(model.BuffersLength())]
    assert {start(array) % 16 for array in constants if not isinstance(array, int)} == {0}
    graph = model.Subgraphs(0)
    quantizations = [graph.Tensors(number).Quantization() for number in range(graph.TensorsLength())]
    quantized = [found for found in quantizations if found is not None]
    assert quantized
    assert all(start(found.ZeroPointAsNumpy()) % 8 == 0 for found in quantized)
    assert all(start(found.ScaleAsNumpy()) % 4 == 0 for found in quantized)


@pytest.mark.parametrize("name", [*FILES, *COMPILED])
def test_the_tight_layout_holds_what_the_file_holds(assets: Path, name: str) -> None:
    data = (assets / name).read_bytes()
    packed = tight.share(data)
    assert plain(model_of(packed)) == plain(model_of(data))
    assert len(packed) < len(data)
    assert tight.share(packed) == packed


def test_leaning_a_lean_file_changes_nothing(kws: bytes) -> None:
    made = lean(kws, Keep())
    assert lean(made, Keep()) == made


def test_xnnpack_takes_all_layers_unless_biases_have_no_scales(kws: bytes) -> None:
    def delegated(data: bytes) -> int:
        interpreter = LiteRt(model_content=data)
        interpreter.allocate_tensors()
        return [details["op_name"] for details in interpreter._get_ops_details()].count("DELEGATE")

    sizes = {scales: len(lean(kws, Keep(bias_scales=scales))) for scales in BiasScales}
    assert sizes["none"] < sizes["weights"] < sizes["none"] + 200 < sizes["kept"]
    assert delegated(lean(kws, Keep(bias_scales=BiasScales.WEIGHTS))) == delegated(kws) > 0
    assert delegated(lean(kws, Keep(bias_scales=BiasScales.NONE))) < delegated(kws)


@pytest.mark.parametrize("scales", BiasScales)
def test_a_bias_that_kernels_check_keeps_its_scale(assets: Path, scales: BiasScales) -> None:
    """With one scale for all weights LiteRT refuses a layer whose bias has another than input and weights give."""
    data = (assets / "tflm/hello_world_int8.tflite").read_bytes()
    graph = model_of(lean(data, Keep(bias_scales=scales))).subgraphs[0]
    for operator in graph.operators:
        input_scale, weights_scale, bias_scale = (
            float(graph.tensors[index].quantization.scale[0]) for index in operator.inputs
        )
        assert bias_scale == pytest.approx(input_scale * weights_scale)


def test_what_is_wanted_stays(assets: Path) -> None:
    data = (assets / "tflm/trained_lstm_int8.tflite").read_bytes()
    whole, ends = model_of(lean(data, ALL)), model_of(lean(data, Keep(names=Names.ENDS, signatures=True)))
    given = model_of(data)
    assert {tensor.name for tensor in whole.subgraphs[0].tensors} <= {t.name for t in given.subgraphs[0].tensors}
    assert [entry.name for entry in whole.metadata] == [b"min_runtime_version", b"CONVERSION_METADATA"]
    spec, kept = reader.parse(data, "given"), reader.parse(lean(data, Keep(names=Names.ENDS, signatures=True)), "lean")
    assert (kept.inputs, kept.outputs, kept.signatures) == (spec.inputs, spec.outputs, spec.signatures)
    assert len({tensor.name for tensor in ends.subgraphs[0].tensors}) == 3  # and None
    assert ends.metadata is None
    assert reader.parse(lean(data, Keep()), "lean").signatures == ()


def test_a_signature_still_names_its_tensors_after_others_are_gone(kws: bytes) -> None:
    """An unused tensor at the front moves all others."""
    model = model_of(kws)
    graph = model.subgraphs[0]
    unused = schema.TensorT()
    unused.shape, unused.name = np.array([1000], np.int32), b"unused"
    graph.tensors.insert(0, unused)
    graph.inputs, graph.outputs = graph.inputs + 1, graph.outputs + 1
    for operator in graph.operators:
        operator.inputs, operator.outputs = operator.inputs + 1, operator.outputs + 1
    signature = schema.SignatureDefT()
    signature.signatureKey = b"serving_default"
    signature.inputs, signature.outputs = [schema.TensorMapT()], [schema.TensorMapT()]
    signature.inputs[0].name, signature.inputs[0].tensorIndex = b"x", int(graph.inputs[0])
    signature.outputs[0].name, signature.outputs[0].tensorIndex = b"y", int(graph.outputs[0])
    model.signatureDefs = [signature]
    made = lean(tight.pack(model), Keep(signatures=True))
    interpreter = LiteRt(model_content=made)
    runner = interpreter.get_signature_runner()
    (x,) = (details["shape"] for details in runner.get_input_details().values())
    assert (list(x), len(model_of(made).subgraphs[0].tensors)) == ([1, 49, 10, 1], len(graph.tensors) - 1)
    assert runner(x=np.zeros(x, np.int8))["y"].shape == (1, 12)


def test_files_attached_for_sdks_stay_with_their_metadata_and_go_without(assets: Path) -> None:
    name = "edgetpu/mobilenet_v1_0.25_128_quant.tflite"
    data = (assets / name).read_bytes()
    made = lean(data, Keep(metadata=(SDK_METADATA,)))
    with zipfile.ZipFile(io.BytesIO(made)) as kept, zipfile.ZipFile(io.BytesIO(data)) as given:
        assert {entry: kept.read(entry) for entry in kept.namelist()} == {e: given.read(e) for e in given.namelist()}
    assert len(made) < len(data)
    assert lean(data, Keep(metadata=(SDK_METADATA,))) == made
    assert not zipfile.is_zipfile(io.BytesIO(lean(data, Keep())))


def test_an_offline_plan_stays_and_keeps_its_tensors(kws: bytes) -> None:
    """It goes by the numbers of tensors, unused ones too."""
    model = model_of(kws)
    model.subgraphs[0].tensors.append(schema.TensorT())
    entry, buffer = schema.MetadataT(), schema.BufferT()
    buffer.data = np.arange(12, dtype=np.uint8)
    model.buffers.append(buffer)
    entry.name, entry.buffer = OFFLINE_PLAN.encode(), len(model.buffers) - 1
    model.metadata = [entry]
    made = model_of(lean(tight.pack(model), Keep()))
    assert len(made.subgraphs[0].tensors) == len(model.subgraphs[0].tensors)
    assert [entry.name for entry in made.metadata] == [OFFLINE_PLAN.encode()]
    np.testing.assert_array_equal(made.buffers[made.metadata[0].buffer].data, buffer.data)


def test_constants_outside_of_the_flatbuffer_are_left_there(kws: bytes) -> None:
    model = model_of(kws)
    model.buffers[3].offset, model.buffers[3].size = 4096, 16
    data = tight.pack(model)
    assert lean(data, Keep()) is data


def test_a_damaged_file_is_an_error(kws: bytes) -> None:
    for damaged in (kws[:1000], kws[:8] + b"\xff" * 64 + kws[72:], b""):
        with pytest.raises(StepError):
            lean(damaged, Keep())


def test_damage_anywhere_is_an_error_or_leaves_a_file(assets: Path) -> None:
    data = (assets / "tflm/hello_world_int8.tflite").read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = np.frombuffer(data, np.uint8).copy()
        damaged[rng.integers(0, len(data), 4)] = rng.integers(0, 256, 4, np.uint8)
        with contextlib.suppress(StepError):
            reader.parse(lean(damaged.tobytes(), Keep()), "lean")


def test_a_single_other_weight_is_noticed(tmp_path: Path, assets: Path, kws: bytes) -> None:
    model = model_of(kws)
    largest = max((buffer for buffer in model.buffers if buffer.data is not None), key=lambda buffer: len(buffer.data))
    largest.data = largest.data ^ np.uint8(0x40) * (np.arange(len(largest.data)) == 100)
    changed = tmp_path / "changed.tflite"
    changed.write_bytes(tight.pack(model))
    for runtime in RUNTIMES:
        assert same(tmp_path, assets / FILES[0], changed, **runtime).differing > 0


@pytest.mark.parametrize("name", [FILES[0], FILES[3], FILES[5]])
def test_vela_compiles_a_lean_file_to_the_same(assets: Path, tmp_path: Path, name: str) -> None:
    pytest.importorskip("ethosu", reason="pip install 'edgebuild[ethosu]'")
    given = (assets / name).read_bytes()
    compiled = []
    for kind, data in (("given", given), ("lean", lean(given, Keep()))):
        folder = tmp_path / kind
        folder.mkdir()
        (folder / "network.tflite").write_bytes(data)
        vela = [Path(sys.executable).parent / "vela", "network.tflite", "--accelerator-config", "ethos-u55-128"]
        subprocess.run([*vela, "--output-dir", "."], cwd=folder, check=True, capture_output=True, timeout=PATIENCE_S)
        (summary,) = folder.glob("*summary*.csv")
        compiled.append((summary.read_text(), constants(folder / "network_vela.tflite")))
    assert compiled[0] == compiled[1]


def constants(path: Path) -> list[Any]:
    """What the tensors hold: commands for the NPU, and the weights as it reads them."""
    model = model_of(path.read_bytes())
    return [plain(model.buffers[tensor.buffer].data) for tensor in model.subgraphs[0].tensors]


@pytest.mark.slow
@pytest.mark.parametrize("runtime", RUNTIMES, ids=lambda runtime: str(next(iter(runtime.values()))))
def test_keyword_spotting_answers_the_same_on_every_evaluation_sample(
    assets: Path, tmp_path: Path, kws: bytes, runtime: dict[str, Any]
) -> None:
    from edgebuild.core.settings import Preprocess

    given, made, split = assets / FILES[0], tmp_path / "lean.tflite", tmp_path / "evaluation"
    made.write_bytes(lean(kws, Keep()))
    split.mkdir()
    x = np.load(assets / "kws/kws.npz")["x_eval"]
    np.save(split / "x000.npy", x)
    answer = same(
        tmp_path,
        given,
        made,
        samples=str(split),
        spec=reader.read(given),
        preprocess=Preprocess(scale=1.0, mean=0.0),
        most_samples=len(x),
        **runtime,
    )
    assert answer == SameOutputs(samples=1000, differing=0)
