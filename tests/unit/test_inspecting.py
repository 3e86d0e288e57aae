from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ai_edge_litert import schema_py_generated as schema
from tflite_networks import Network

from edgebuild.cli import run
from edgebuild.core.inspection import Graph, Inspection, Quantization
from edgebuild.core.model import UNKNOWN_RUNTIME
from edgebuild.errors import StepError
from edgebuild.flatbuffer.inspecting import inspect, metadata_entry

BUILTIN, TYPE = schema.BuiltinOperator, schema.TensorType
# What LiteRT's interpreter reads of a file; in a child, since a file may end its process.
_LITERT = """
import json, sys
from ai_edge_litert.interpreter import Interpreter, OpResolverType
opened = Interpreter(sys.argv[1], experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
print(json.dumps([[op["op_name"], list(map(int, op["inputs"])), list(map(int, op["outputs"]))]
                  for op in opened._get_ops_details()]))
"""


def _convolution() -> Any:
    options = schema.Conv2DOptionsT()
    options.strideW, options.strideH, options.fusedActivationFunction = 2, 1, schema.ActivationFunctionType.RELU6
    return options


def _network() -> Network:
    """A convolution by channels and a sum."""
    network = Network()
    image = network.tensor("image", [1, 4, 4, 1], TYPE.INT8, scale=[0.5], zero_point=[-3])
    weights = network.tensor(
        "w", [2, 2, 2, 1], TYPE.INT8, constant=True, data=[1] * 8, scale=[0.1, 0.2], zero_point=[0, 0]
    )
    middle = network.tensor("middle", [1, 4, 2, 2], TYPE.INT8, scale=[0.5], zero_point=[0])
    total = network.tensor("total", [1, 4, 2, 2], TYPE.INT8, scale=[0.5], zero_point=[0])
    network.operator(BUILTIN.CONV_2D, [image, weights, -1], [middle], version=3, options=_convolution())
    network.operator(BUILTIN.ADD, [middle, middle], [total], version=2, options=schema.AddOptionsT())
    network.signature("serving_default", {"x": image}, {"y": total})
    return network


@pytest.fixture
def sound() -> bytes:
    return _network().packed([0], [3])


def test_options_are_plain_values_by_the_names_of_the_schema(sound: bytes) -> None:
    convolution, add = inspect(sound, "net").graphs[0].operations
    assert convolution.options == {
        "padding": "SAME",
        "stride_w": 2,
        "stride_h": 1,
        "fused_activation_function": "RELU6",
        "dilation_w_factor": 1,
        "dilation_h_factor": 1,
        "quantized_bias_type": "FLOAT32",
    }
    assert (convolution.options_table, add.options_table) == ("Conv2DOptions", "AddOptions")
    assert convolution.inputs == (0, 1, -1)
    # 4 x 2 places of 2 channels, each of 2 x 2 products.
    assert (convolution.macs, add.macs) == (64, 0)


def test_quantization_by_channels_and_what_a_tensor_stores_are_read(sound: bytes) -> None:
    image, weights, *_ = inspect(sound, "net").graphs[0].tensors
    assert image.quantization == Quantization(scales=(0.5,), zero_points=(-3,))
    assert weights.quantization is not None
    assert weights.quantization.scales == pytest.approx((0.1, 0.2))
    assert (weights.constant_bytes, weights.size_bytes, image.constant_bytes, image.size_bytes) == (8, 8, 0, 16)


def test_the_peak_of_activations_says_where_it_is_and_what_is_alive(sound: bytes) -> None:
    memory = inspect(sound, "net").graphs[0].memory
    # Image and middle at the convolution, middle and total at the sum.
    assert (memory.peak_bytes, memory.at, memory.alive, memory.steps_bytes) == (32, 0, (0, 2), (32, 32))


def test_a_sound_file_raises_no_doubts(sound: bytes) -> None:
    assert inspect(sound, "net").doubts == ()


def test_signatures_name_their_tensors_and_the_runtime_is_the_newest_operator_s(sound: bytes) -> None:
    found = inspect(sound, "net")
    assert (found.signatures, found.ends[0].inputs, found.ends[0].outputs) == (("serving_default",), {"x": 0}, {"y": 3})
    assert found.runtime == "1.14.0"
    network = _network()
    network.operator(BUILTIN.RELU, [3], [3], version=99)
    assert inspect(network.packed([0], [3]), "net").runtime == UNKNOWN_RUNTIME


def _doubts(network: Network, inputs: list[int], outputs: list[int]) -> str:
    return "\n".join(inspect(network.packed(inputs, outputs), "net").doubts)


def test_a_tensor_that_is_read_before_it_is_written_is_doubtful() -> None:
    network = Network()
    a, b, c = (network.tensor(name, [1, 4]) for name in "abc")
    network.operator(BUILTIN.RELU, [b], [c])
    network.operator(BUILTIN.RELU, [a], [b])
    assert "RELU (operator 0) reads tensor 1 before anything has written it" in _doubts(network, [a], [c])


def test_an_output_that_nothing_writes_is_doubtful() -> None:
    network = Network()
    a, b = network.tensor("a", [1, 4]), network.tensor("b", [1, 4])
    assert "nothing writes the output, tensor 1" in _doubts(network, [a], [b])


@pytest.mark.parametrize(
    ("fields", "doubt"),
    [
        ({"data": [1] * 7}, "needs 8 bytes of constants and has 7"),
        ({"scale": [0.1], "zero_point": [0, 0]}, "has 1 scales and 2 zero points"),
        ({"scale": [0.1, 0.2, 0.3], "zero_point": [0, 0, 0]}, r"has 3 scales along axis 0 of [2, 2, 2, 1]"),
        ({"scale": [0.1, 0.2], "zero_point": [0, 4]}, "has zero points by channel"),
        ({"scale": [float("nan")], "zero_point": [0]}, "has a scale that is no positive number"),
        ({"scale": [0.1], "zero_point": [300]}, "has a zero point that int8 does not hold"),
    ],
)
def test_constants_and_scales_that_do_not_fit_are_doubtful(fields: dict[str, Any], doubt: str) -> None:
    network = Network()
    image, made = network.tensor("image", [1, 4, 4, 1], TYPE.INT8), network.tensor("made", [1, 4, 2, 2], TYPE.INT8)
    weights = network.tensor("w", [2, 2, 2, 1], TYPE.INT8, constant=True, **{"data": [1] * 8, **fields})
    network.operator(BUILTIN.CONV_2D, [image, weights], [made], version=3, options=_convolution())
    assert f"tensor 2 {doubt}" in _doubts(network, [image], [made])


@pytest.mark.parametrize(
    ("code", "shapes", "made", "doubt"),
    [
        (BUILTIN.CONV_2D, ([1, 4, 4, 3], [2, 2, 2, 2]), [1, 4, 4, 2], "makes"),
        (BUILTIN.CONV_2D, ([1, 4, 4, 3],), [1, 4, 4, 2], "has 1 inputs"),
        (BUILTIN.DEPTHWISE_CONV_2D, ([1, 4, 4, 3], [1, 2, 2, 4]), [1, 4, 4, 4], "makes"),
        (BUILTIN.FULLY_CONNECTED, ([1, 10], [4, 9]), [1, 4], "makes"),
        (BUILTIN.ADD, ([1, 10], [1, 9]), [1, 10], "makes"),
        (BUILTIN.MUL, ([1, 10], [1, 1]), [1, 1], "makes"),
        (BUILTIN.RESHAPE, ([1, 10],), [1, 11], "makes [1, 11] of [1, 10]"),
        (BUILTIN.MAX_POOL_2D, ([1, 4, 4, 3],), [1, 2, 2, 4], "makes"),
        (BUILTIN.SOFTMAX, ([1, 10],), [1, 9], "makes"),
    ],
)
def test_shapes_that_an_operator_cannot_make_are_doubtful(
    code: int, shapes: tuple[list[int], ...], made: list[int], doubt: str
) -> None:
    network = Network()
    inputs = [network.tensor(f"x{number}", shape) for number, shape in enumerate(shapes)]
    output = network.tensor("y", made)
    network.operator(code, inputs, [output])
    assert doubt in _doubts(network, inputs, [output])


def test_a_window_that_leaves_another_number_of_places_is_doubtful() -> None:
    network = Network()
    image, kernel = network.tensor("image", [1, 4, 4, 1]), network.tensor("kernel", [2, 3, 3, 1])
    same, valid, wrong = (network.tensor(name, [1, 4, width, 2]) for name, width in (("s", 2), ("v", 1), ("w", 3)))
    network.operator(BUILTIN.CONV_2D, [image, kernel], [same], options=_convolution())
    options = _convolution()
    options.padding = schema.Padding.VALID
    network.operator(BUILTIN.CONV_2D, [image, kernel], [valid], options=options)
    network.operator(BUILTIN.CONV_2D, [image, kernel], [wrong], options=_convolution())
    told = _doubts(network, [image, kernel], [same, valid, wrong]).splitlines()
    assert told == [
        "CONV_2D (operator 1) makes [1, 4, 1, 2] of [1, 4, 4, 1] with a window of [3, 3]",
        "CONV_2D (operator 2) makes [1, 4, 3, 2] of [1, 4, 4, 1] with a window of [3, 3]",
    ]


def test_the_command_tells_what_mobile_sdks_are_told(assets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(assets / "edgetpu" / "mobilenet_v1_0.25_128_quant.tflite")]) == 0
    shown = capsys.readouterr().out
    assert "described   ImageClassifier: Identify the most prominent object" in shown
    assert "image: rgb, (x - 127.5) / 127.5" in shown
    assert "probability: 1,001 labels" in shown


def test_shapes_that_are_broadcast_raise_no_doubt() -> None:
    network = Network()
    a, b, c = network.tensor("a", [1, 4, 1, 8]), network.tensor("b", [5, 1]), network.tensor("c", [1, 4, 5, 8])
    network.operator(BUILTIN.ADD, [a, b], [c])
    assert _doubts(network, [a, b], [c]) == ""


def test_options_of_another_operator_are_doubtful() -> None:
    network = Network()
    a, b = network.tensor("a", [1, 4]), network.tensor("b", [1, 4])
    network.operator(BUILTIN.SOFTMAX, [a], [b], options=schema.Pool2DOptionsT())
    doubts = _doubts(network, [a], [b])
    assert "has the options of another operator, Pool2DOptions" in doubts
    assert "has the stride_w 0" in doubts


def test_every_byte_of_every_real_file_belongs_to_one_section(assets: Path) -> None:
    for path in sorted(assets.rglob("*.tflite")):
        found = inspect(path.read_bytes(), path.name)
        assert sum(found.sections.values()) == path.stat().st_size, path.name
        assert min(found.sections.values()) > 0


def test_constants_are_counted_as_the_accessors_count_them(assets: Path) -> None:
    data = (assets / "kws" / "reference_int8.tflite").read_bytes()
    model: Any = schema.ModelT.InitFromPackedBuf(data, 0)
    described = {entry.buffer for entry in model.metadata}
    stored = [buffer.data for number, buffer in enumerate(model.buffers) if number not in described]
    # Each vector has its length before it.
    assert inspect(data, "kws").sections["constants"] == sum(4 + len(item) for item in stored if item is not None)


def test_real_files_raise_no_doubts_but_for_the_one_that_litert_refuses(assets: Path) -> None:
    doubtful = {path.name for path in assets.rglob("*.tflite") if inspect(path.read_bytes(), path.name).doubts}
    assert doubtful == {"person_detect.tflite"}


def test_real_files_are_described_as_litert_s_accessors_read_them(assets: Path) -> None:
    for path in sorted(assets.rglob("*.tflite")):
        data = path.read_bytes()
        model: Any = schema.ModelT.InitFromPackedBuf(data, 0)
        for graph, described in zip(model.subgraphs, inspect(data, path.name).graphs, strict=True):
            _require_equal(described, graph, model)


def _require_equal(described: Graph, graph: Any, model: Any) -> None:
    names = {value: name for name, value in vars(BUILTIN).items() if isinstance(value, int)}
    for operation, operator in zip(described.operations, graph.operators, strict=True):
        code = model.operatorCodes[operator.opcodeIndex]
        name = names[max(code.builtinCode, code.deprecatedBuiltinCode)]
        assert operation.name.partition(":")[0] == name
        assert operation.version == code.version
        for field in ("inputs", "outputs"):
            assert list(getattr(operation, field)) == list(getattr(operator, field))
        if operator.builtinOptions is not None and "stride_w" in operation.options:
            assert operation.options["stride_w"] == operator.builtinOptions.strideW
    for tensor, stored in zip(described.tensors, graph.tensors, strict=True):
        shape = stored.shapeSignature if stored.shapeSignature is not None else stored.shape
        assert (tensor.name, list(tensor.shape)) == (stored.name.decode(), [] if shape is None else list(shape))
        assert getattr(TYPE, tensor.dtype.upper()) == stored.type
        scales = stored.quantization.scale if stored.quantization is not None else None
        assert (tensor.quantization.scales if tensor.quantization else ()) == tuple(() if scales is None else scales)


def test_operators_are_those_that_litert_s_interpreter_lists(assets: Path) -> None:
    for path in sorted(assets.rglob("*.tflite")):
        if path.name == "person_detect.tflite":
            continue  # LiteRT refuses it, as its doubts say
        listed = json.loads(
            subprocess.run([sys.executable, "-c", _LITERT, path], capture_output=True, check=True).stdout
        )
        found = inspect(path.read_bytes(), path.name).graphs[0].operations
        assert [[op.name.rpartition(":")[2], _given(op.inputs), list(op.outputs)] for op in found] == [
            [name, _given(inputs), outputs] for name, inputs, outputs in listed
        ], path.name


def _given(inputs: Any) -> list[int]:
    return [index for index in inputs if index >= 0]


def test_an_entry_of_metadata_is_found_by_its_name(assets: Path) -> None:
    data = (assets / "kws" / "reference_int8.tflite").read_bytes()
    assert (metadata_entry(data, "min_runtime_version", "kws") or b"").rstrip(b"\0") == b"1.5.0"
    assert metadata_entry(data, "nothing", "kws") is None


def test_the_command_shows_operators_bytes_and_where_memory_peaks(
    assets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["inspect", str(assets / "kws" / "reference_int8.tflite")]) == 0
    shown = capsys.readouterr().out
    assert "reference_int8.tflite: 53,936 bytes, 13 operators, 2,656,768 MACs" in shown
    assert "16,000 bytes at operator 1, DEPTHWISE_CONV_2D (estimated)" in shown
    assert "TensorFlow Lite 1.14.0 or newer" in shown
    assert "19,804" in shown
    assert shown.count("CONV_2D  ") >= 9


def test_the_command_gives_all_of_it_as_json(assets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(assets / "tflm" / "hello_world_int8.tflite"), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [operation["name"] for operation in shown["graphs"][0]["operations"]] == ["FULLY_CONNECTED"] * 3
    assert shown["graphs"][0]["memory"]["peak_bytes"] == 32


def test_a_file_that_is_none_is_one_message_and_exit_code_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.tflite").write_text("no network at all")
    assert run(["inspect", str(tmp_path / "notes.tflite")]) == 4
    shown = capsys.readouterr()
    assert (shown.out, "notes.tflite is not a .tflite file" in shown.err) == ("", True)
    assert run(["inspect", str(tmp_path / "none.tflite")]) == 4


def test_doubts_are_shown_and_are_an_error_where_strictness_is_asked_for(
    assets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    doubtful = str(assets / "tflm" / "person_detect.tflite")
    assert run(["inspect", doubtful]) == 0
    assert "doubt       tensor 33 is quantized along axis 3 of 1" in capsys.readouterr().out
    assert run(["inspect", doubtful, "--strict"]) == 4
    assert "person_detect.tflite is doubtful" in capsys.readouterr().err


def test_a_name_cannot_command_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = Network()
    a, b = network.tensor("a\x1b[2J", [1]), network.tensor("b\nall is well", [1])
    network.operator(BUILTIN.RELU, [a], [b])
    assert run(["inspect", str(network.write(tmp_path / "f.tflite", [a], [b]))]) == 0
    shown = capsys.readouterr().out
    assert "\x1b[2J" not in shown
    assert "\nall is well" not in shown


def test_a_file_over_another_version_of_the_schema_is_refused(sound: bytes) -> None:
    model: Any = schema.ModelT.InitFromPackedBuf(sound, 0)
    model.version = 2
    with pytest.raises(StepError, match="version 2, not 3"):
        inspect(_packed(model), "net")


def test_constants_behind_the_flatbuffer_are_counted_and_must_be_there(sound: bytes) -> None:
    model: Any = schema.ModelT.InitFromPackedBuf(sound, 0)
    model.buffers[1].data, model.buffers[1].offset, model.buffers[1].size = None, 2048, 8
    data = _packed(model)
    found: Inspection = inspect(data.ljust(2048, b"\0") + b"\1" * 8, "net")
    assert found.graphs[0].tensors[1].constant_bytes == 8
    assert (found.sections["constants"], found.doubts) == (8, ())
    with pytest.raises(StepError, match="beyond the file"):
        inspect(data.ljust(2048, b"\0") + b"\1" * 7, "net")


def _packed(model: Any) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
