from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import flatbuffers
import pytest
from ai_edge_litert import schema_py_generated as schema
from tflite_networks import Network

from edgebuild.core.model import UNKNOWN_RUNTIME
from edgebuild.errors import StepError
from edgebuild.flatbuffer.reader import read, runtime_versions

BUILTIN, TYPE = schema.BuiltinOperator, schema.TensorType
DAMAGES = 200


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    """An int8 convolution and a softmax that still computes in float."""
    network = Network()
    image = network.tensor("serving_image:0", [1, 4, 4, 1], TYPE.INT8, scale=[0.5], zero_point=[-3])
    weights = network.tensor("w", [2, 3, 3, 1], TYPE.INT8, constant=True, scale=[0.1, 0.2], zero_point=[0, 0])
    middle = network.tensor("net/conv/Relu;net/conv/Conv2D", [1, 4, 4, 2], TYPE.INT8)
    scores = network.tensor("StatefulPartitionedCall:0", [1, 2], TYPE.FLOAT32)
    network.operator(BUILTIN.CONV_2D, [image, weights, -1], [middle], version=3)
    network.operator(BUILTIN.SOFTMAX, [middle], [scores], version=99)
    network.signature("serving_default", {"image": image}, {"scores": scores})
    return network.write(tmp_path / "net.tflite", [image], [scores])


def test_operators_come_with_name_version_types_and_tensor(classifier: Path) -> None:
    conv, softmax = read(classifier).operators
    assert (conv.name, conv.version, conv.dtypes) == ("CONV_2D", 3, ("int8",))
    assert conv.tensor == "net/conv/Relu;net/conv/Conv2D"
    assert (softmax.name, softmax.version, softmax.dtypes) == ("SOFTMAX", 99, ("int8", "float32"))


def test_the_runtime_of_an_operator_is_that_of_its_version(classifier: Path) -> None:
    conv, softmax = read(classifier).operators
    assert conv.runtime == runtime_versions()["CONV_2D"][2] == "1.14.0"
    assert softmax.runtime == UNKNOWN_RUNTIME


def test_inputs_and_outputs_are_called_as_the_signature_calls_them(classifier: Path) -> None:
    spec = read(classifier)
    assert spec.signatures == ("serving_default",)
    (image,), (scores,) = spec.inputs, spec.outputs
    assert (image.name, image.dtype, image.shape, image.index) == ("image", "int8", (1, 4, 4, 1), 0)
    assert (scores.name, scores.dtype, scores.shape, scores.index) == ("scores", "float32", (1, 2), 3)


def test_quantization_is_read_and_is_zero_where_there_is_none(classifier: Path) -> None:
    spec = read(classifier)
    assert (spec.inputs[0].scale, spec.inputs[0].zero_point) == (0.5, -3)
    assert (spec.outputs[0].scale, spec.outputs[0].zero_point) == (0.0, 0)


def test_an_operator_behind_the_conversion_at_an_end_carries_the_name_of_that_end(tmp_path: Path) -> None:
    network = Network()
    image, stored = network.tensor("x", [1, 4]), network.tensor("tfl.quantize", [1, 4], TYPE.INT8)
    inner, out = network.tensor("partitioned:0", [1, 4], TYPE.INT8), network.tensor("y", [1, 4])
    network.operator(BUILTIN.QUANTIZE, [image], [stored])
    network.operator(BUILTIN.SOFTMAX, [stored], [inner])
    network.operator(BUILTIN.DEQUANTIZE, [inner], [out])
    network.signature("serving_default", {"image": image}, {"scores": out})
    spec = read(network.write(tmp_path / "f.tflite", [image], [out]))
    assert [operator.tensor for operator in spec.operators] == ["image", "scores", "scores"]


def test_without_a_signature_tensors_keep_their_own_names(tmp_path: Path) -> None:
    network = Network()
    a, b = network.tensor("a", [1, 2]), network.tensor("b", [1, 2])
    network.operator(BUILTIN.RELU, [a], [b])
    spec = read(network.write(tmp_path / "f.tflite", [a], [b]))
    assert ([t.name for t in spec.inputs], [t.name for t in spec.outputs], spec.signatures) == (["a"], ["b"], ())


def test_an_open_batch_is_minus_one_and_makes_operators_dynamic(tmp_path: Path) -> None:
    network = Network()
    a = network.tensor("a", [1, 8], signature=[-1, 8])
    b = network.tensor("b", [1, 8], signature=[-1, 8])
    c = network.tensor("c", [1, 8])
    network.operator(BUILTIN.RELU, [a], [b])
    network.operator(BUILTIN.RELU, [b], [c])
    spec = read(network.write(tmp_path / "f.tflite", [a], [c]))
    assert (spec.inputs[0].shape, spec.outputs[0].shape) == ((-1, 8), (1, 8))
    assert [operator.dynamic for operator in spec.operators] == [True, False]


@pytest.mark.parametrize(
    ("code", "custom", "name"),
    [
        (BUILTIN.CUSTOM, "edgetpu-custom-op", "CUSTOM:edgetpu-custom-op"),
        (BUILTIN.CUSTOM, "FlexErf", "FLEX:Erf"),
        (BUILTIN.STABLEHLO_ADD, "", "STABLEHLO_ADD"),
        (BUILTIN.ADD, "", "ADD"),
        (9999, "", "UNKNOWN:9999"),
    ],
)
def test_operators_of_every_kind_have_names(tmp_path: Path, code: int, custom: str, name: str) -> None:
    network = Network()
    a, b = network.tensor("a", [1]), network.tensor("b", [1])
    network.operator(code, [a], [b], custom=custom)
    (operator,) = read(network.write(tmp_path / "f.tflite", [a], [b])).operators
    assert operator.name == name


def test_activations_are_the_bytes_alive_at_the_fullest_moment(tmp_path: Path) -> None:
    """The input (100 float32: 400 bytes) feeds two branches that are added; weights do not count.

    RELU  a -> b (400): a is kept for the second branch:   a + b         =   800
    CONV  a -> c (1,200): b is kept for the sum:            a + b + c     = 2,000
    CONV  c -> d (400): a has been read for the last time:  b + c + d     = 2,000
    ADD   b, d -> e (400):                                  b + d + e     = 1,200
    CAST  e -> f (int8, 100):                               e + f         =   500
    """
    network = Network()
    a = network.tensor("a", [1, 100])
    weights = network.tensor("w", [1000, 1000], constant=True)
    b, c, d, e = (network.tensor(name, [1, size]) for name, size in (("b", 100), ("c", 300), ("d", 100), ("e", 100)))
    f = network.tensor("f", [1, 100], TYPE.INT8)
    network.operator(BUILTIN.RELU, [a], [b])
    network.operator(BUILTIN.CONV_2D, [a, weights], [c])
    network.operator(BUILTIN.CONV_2D, [c, weights], [d])
    network.operator(BUILTIN.ADD, [b, d], [e])
    network.operator(BUILTIN.CAST, [e], [f])
    assert read(network.write(tmp_path / "f.tflite", [a], [f])).activations_bytes == 2000


def test_an_output_lives_to_the_end_and_an_unread_input_from_the_start(tmp_path: Path) -> None:
    network = Network()
    a, unread = network.tensor("a", [10]), network.tensor("unread", [1000])
    early, middle, late = (network.tensor(name, [size]) for name, size in (("early", 100), ("mid", 20), ("late", 50)))
    network.operator(BUILTIN.RELU, [a], [early])
    network.operator(BUILTIN.RELU, [a], [middle])
    network.operator(BUILTIN.RELU, [middle], [late])
    last_step = network.write(tmp_path / "f.tflite", [a], [early, late])
    assert read(last_step).activations_bytes == 4 * (100 + 20 + 50)
    first_step = network.write(tmp_path / "f.tflite", [a, unread], [late])
    assert read(first_step).activations_bytes == 4 * (10 + 1000 + 100)


@pytest.mark.parametrize("data", [b"", b"TFL3", b"just some text that is no network\n", b"\0" * 64, b"PK\x03\x04" * 9])
def test_another_kind_of_file_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "notes.tflite"
    path.write_bytes(data)
    with pytest.raises(StepError, match=r"notes\.tflite is not a \.tflite file"):
        read(path)


def test_a_file_that_is_absent_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none.tflite")


def test_a_file_without_a_graph_is_damaged(tmp_path: Path) -> None:
    model = schema.ModelT()
    model.version = 3
    builder = flatbuffers.Builder(64)
    builder.Finish(model.Pack(builder), b"TFL3")
    path = tmp_path / "empty.tflite"
    path.write_bytes(bytes(builder.Output()))
    with pytest.raises(StepError, match=r"empty\.tflite is damaged"):
        read(path)


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(8, len(data))]


def _flipped(data: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.choice([1, 8, 64])):
        damaged[rng.randrange(8, len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def _overwritten(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(8, len(data) - 8)
    return data[:start] + rng.choice([b"\xff" * 8, b"\0" * 8, b"\x7f" * 8]) + data[start + 8 :]


@pytest.mark.parametrize("damage", [_cut, _flipped, _overwritten])
def test_a_damaged_copy_is_read_or_refused_and_nothing_else(
    classifier: Path, damage: Callable[[bytes, random.Random], bytes]
) -> None:
    data, rng = classifier.read_bytes(), random.Random(1)
    _try_damages(classifier, [damage(data, rng) for _ in range(DAMAGES)])


@pytest.mark.parametrize("damage", [_cut, _flipped, _overwritten])
def test_a_damaged_copy_of_a_real_file_is_read_or_refused(
    assets: Path, tmp_path: Path, damage: Callable[[bytes, random.Random], bytes]
) -> None:
    data, rng = (assets / "tflm" / "hello_world_int8.tflite").read_bytes(), random.Random(2)
    _try_damages(tmp_path / "copy.tflite", [damage(data, rng) for _ in range(DAMAGES)])


def _try_damages(path: Path, copies: list[bytes]) -> None:
    refusals = []
    for copy in copies:
        path.write_bytes(copy)
        try:
            read(path)
        except StepError as error:
            refusals.append(error.what)
    assert refusals
    assert set(refusals) == {f"{path.name} is damaged"}


def test_a_real_int8_network_is_read(assets: Path) -> None:
    spec = read(assets / "kws" / "reference_int8.tflite")
    assert spec.inputs[0].shape == (-1, 49, 10, 1)
    assert (spec.inputs[0].dtype, spec.outputs[0].dtype, spec.outputs[0].shape) == ("int8", "int8", (-1, 12))
    names = [operator.name for operator in spec.operators]
    assert (names.count("CONV_2D"), names.count("DEPTHWISE_CONV_2D")) == (5, 4)
    assert {dtype for operator in spec.operators for dtype in operator.dtypes} <= {"int8", "int32"}
    assert all(operator.runtime for operator in spec.operators)
    # The widest layers hold 25 x 5 positions of 64 channels, and one reads what the one before it wrote.
    assert spec.activations_bytes == 2 * 25 * 5 * 64


def test_a_real_float_network_is_read(assets: Path) -> None:
    spec = read(assets / "kws" / "reference_float32.tflite")
    assert {dtype for operator in spec.operators for dtype in operator.dtypes} <= {"float32", "int32"}
    assert (spec.inputs[0].scale, spec.inputs[0].dtype) == (0.0, "float32")


def test_what_the_edge_tpu_compiler_made_is_one_custom_operator(assets: Path) -> None:
    spec = read(assets / "edgetpu" / "mobilenet_v1_0.25_128_quant_edgetpu.tflite")
    assert [operator.name for operator in spec.operators] == ["CUSTOM:edgetpu-custom-op"]


def test_every_real_file_is_read(assets: Path) -> None:
    for path in sorted(assets.rglob("*.tflite")):
        spec = read(path)
        assert spec.operators, path.name
        assert spec.activations_bytes > 0, path.name
        assert not any(operator.name.startswith("UNKNOWN") for operator in spec.operators), path.name
