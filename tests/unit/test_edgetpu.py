from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgebuild.accelerators.edgetpu import limits
from edgebuild.accelerators.edgetpu.prediction import Part, Reason, parts, predict
from edgebuild.core.device import EdgeTpu, Place
from edgebuild.core.inspection import Graph, Inspection, Memory, Operation, Quantization, Tensor
from edgebuild.core.measurement import Mode
from edgebuild.core.model import UNKNOWN_RUNTIME
from edgebuild.errors import StepError
from edgebuild.flatbuffer.inspecting import inspect
from edgebuild.runtimes import edgetpu

KIB = 1024
PAIRS = [
    "deeplabv3_mnv2_dm05_pascal_quant",
    "keras_lstm_mnist_ptq",
    "mobilenet_v1_0.25_128_quant",
    "mobilenet_v1_1.0_224_quant_embedding_extractor",
]


class _Network:
    """A network under construction; each operator reads tensors that were declared before it."""

    def __init__(self) -> None:
        self._tensors: list[Tensor] = []
        self._operations: list[Operation] = []
        self._values: dict[int, tuple[int, ...]] = {}

    def data(self, *shape: int, dtype: str = "int8", **more: Any) -> int:
        index = len(self._tensors)
        self._tensors.append(
            Tensor(index=index, name=f"t{index}", dtype=dtype, shape=shape, size_bytes=0, buffer=index + 1, **more)
        )
        return index

    def constant(self, *shape: int, dtype: str = "int8", values: Sequence[int] | None = None, **more: Any) -> int:
        index = self.data(*shape, dtype=dtype, constant_bytes=max(1, math.prod(shape)), **more)
        if values is not None:
            self._values[index] = tuple(values)
        return index

    def add(self, name: str, inputs: Sequence[int], *shape: int, dtype: str = "int8", **more: Any) -> int:
        """An operator; returns the tensor it writes."""
        options = more.pop("options", {})
        output = self.data(*shape, dtype=dtype)
        self._operations.append(
            Operation(name=name, version=1, inputs=tuple(inputs), outputs=(output,), options=options, **more)
        )
        return output

    @property
    def graph(self) -> Graph:
        return Graph(name="", inputs=(0,), outputs=(), tensors=tuple(self._tensors), operations=tuple(self._operations))

    def predict(self, *called: Graph, memory_bytes: int | None = None) -> EdgeTpu:
        graphs = (self.graph, *called)
        inspection = Inspection(size_bytes=0, description="", graphs=graphs, signatures=(), metadata=())
        return predict(inspection, self._values, memory_bytes)

    def reason(self) -> str:
        """Why its only operator stays on the CPU; empty where it is mapped."""
        (place,) = self.predict().mapping.places
        assert place.is_mapped == (place.reason == "")
        return place.reason


def _fates(result: EdgeTpu) -> list[tuple[str, int, str]]:
    return [(place.operator, place.count, place.reason) for place in result.mapping.places]


def _conv(network: _Network, source: int, *shape: int) -> int:
    weights, bias = network.constant(4, 3, 3, 2), network.constant(4, dtype="int32")
    return network.add("CONV_2D", [source, weights, bias], *shape)


def _asset(assets: Path, name: str) -> EdgeTpu:
    data = (assets / "edgetpu" / f"{name}.tflite").read_bytes()
    return predict(inspect(data, name), edgetpu.integer_constants(data, name))


@pytest.mark.parametrize("name", PAIRS)
def test_the_operators_that_the_real_compiler_left_are_predicted_to_be_left(assets: Path, name: str) -> None:
    compiled = inspect((assets / "edgetpu" / f"{name}_edgetpu.tflite").read_bytes(), name).graphs[0].operations
    left = sorted(operation.name for operation in compiled if operation.name != "CUSTOM:edgetpu-custom-op")
    predicted = _asset(assets, name).mapping
    assert sorted(place.operator for place in predicted.left for _ in range(place.count)) == left
    assert predicted.partitions == len(compiled) - len(left) == 1


def test_a_prediction_says_that_it_is_one_and_by_which_rules(assets: Path) -> None:
    predicted = _asset(assets, "mobilenet_v1_0.25_128_quant")
    assert predicted.mapping.mode == predicted.cache.mode == Mode.ESTIMATED
    assert predicted.mapping.source == "published limits of the Edge TPU compiler 16.0"
    assert predicted.mapping.share == 1.0
    assert predicted.compiled == ""


def test_reasons_are_given_for_each_operator_left_with_the_tensors_that_tell_its_layer(assets: Path) -> None:
    left = {(place.operator, place.reason): place for place in _asset(assets, PAIRS[0]).mapping.left}
    first = left["RESIZE_BILINEAR", Reason.UNSPECIFIED]
    assert (first.count, first.tensors) == (1, ("ResizeBilinear",))
    assert "precision" in first.detail
    assert left["CONV_2D", Reason.LATER].count == 2
    assert left["ARG_MAX", Reason.UNKNOWN].count == 1


def test_conversions_from_and_to_float_are_left_and_all_between_them_is_mapped() -> None:
    """As in a log of compiler 15.0 (system-software-lab/nrf20, convert/quantize/README.md)."""
    network = _Network()
    inside = network.add("QUANTIZE", [network.data(1, 8, 8, 2, dtype="float32")], 1, 8, 8, 2)
    scores = network.add("SOFTMAX", [network.add("RESHAPE", [_conv(network, inside, 1, 6, 6, 4)], 1, 144)], 1, 144)
    network.add("DEQUANTIZE", [scores], 1, 144, dtype="float32")
    assert _fates(network.predict()) == [
        ("QUANTIZE", 1, Reason.UNSPECIFIED),
        ("CONV_2D", 1, ""),
        ("RESHAPE", 1, ""),
        ("SOFTMAX", 1, ""),
        ("DEQUANTIZE", 1, Reason.TYPE),
    ]


def test_what_comes_after_an_operator_that_stays_is_left_and_a_branch_beside_it_is_mapped() -> None:
    network = _Network()
    trunk = _conv(network, network.data(1, 8, 8, 2), 1, 6, 6, 4)
    stays = network.add("HARD_SWISH", [trunk], 1, 6, 6, 4)
    after = _conv(network, stays, 1, 4, 4, 4)
    beside = network.add("LOGISTIC", [trunk], 1, 6, 6, 4)
    network.add("RELU", [beside], 1, 6, 6, 4)
    network.add("RESHAPE", [after], 1, 64)
    assert _fates(network.predict()) == [
        ("CONV_2D", 1, ""),
        ("HARD_SWISH", 1, Reason.UNKNOWN),
        ("CONV_2D", 1, Reason.LATER),
        ("LOGISTIC", 1, ""),
        ("RELU", 1, ""),
        ("RESHAPE", 1, Reason.LATER),
    ]


def test_operators_of_one_fate_are_counted_together() -> None:
    network = _Network()
    tensor = network.data(1, 8)
    for _ in range(3):
        tensor = network.add("RELU", [tensor], 1, 8)
    (place,) = network.predict().mapping.places
    assert place == Place(operator="RELU", count=3, is_mapped=True, tensors=("t1", "t2", "t3"))


def test_operators_of_a_graph_that_control_flow_calls_stay_on_the_cpu() -> None:
    network, body = _Network(), _Network()
    network.add("WHILE", [network.data(1, 8)], 1, 8)
    body.add("RELU", [body.data(1, 8)], 1, 8)
    assert _fates(network.predict(body.graph)) == [("WHILE", 1, Reason.UNKNOWN), ("RELU", 1, Reason.UNKNOWN)]


def test_the_parts_of_a_graph_take_all_that_is_ready_for_their_place() -> None:
    network = _Network()
    start = network.data(1, 8)
    one = network.add("A", [start], 1, 8)
    two = network.add("B", [one], 1, 8)
    three = network.add("A", [two], 1, 8)
    four = network.add("A", [start], 1, 8)
    network.add("B", [three, four], 1, 8)
    supported = [operation.name == "A" for operation in network.graph.operations]
    assert list(parts(network.graph, supported)) == [
        Part(is_supported=True, operators=(0, 3)),
        Part(is_supported=False, operators=(1,)),
        Part(is_supported=True, operators=(2,)),
        Part(is_supported=False, operators=(4,)),
    ]


def test_operators_that_wait_for_each_other_are_left_out_of_the_parts() -> None:
    loop = Operation(name="A", version=1, inputs=(1,), outputs=(1,))
    assert list(parts(Graph(name="", inputs=(), outputs=(), tensors=(), operations=(loop,)), [True])) == []


@pytest.mark.parametrize("dtype", ["float32", "int16", "int32", "int64"])
def test_an_operator_with_other_data_than_8_bits_is_left(dtype: str) -> None:
    network = _Network()
    network.add("ADD", [network.data(1, 8, dtype=dtype), network.data(1, 8, dtype=dtype)], 1, 8, dtype=dtype)
    assert network.reason() == Reason.TYPE


def test_states_of_16_bits_and_biases_of_32_are_no_foreign_data() -> None:
    network = _Network()
    weights = [network.constant(4, 8) for _ in range(8)]
    biases = [network.constant(4, dtype="int32") for _ in range(4)]
    states = [network.data(1, 4, is_variable=True), network.data(1, 4, dtype="int16", is_variable=True)]
    inputs = [network.data(1, 5, 8), *weights, -1, -1, -1, *biases, -1, -1, *states]
    network.add("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, 1, 5, 4)
    assert network.reason() == ""


def test_float_weights_are_an_unsupported_type() -> None:
    network = _Network()
    network.add("FULLY_CONNECTED", [network.data(1, 8), network.constant(4, 8, dtype="float32")], 1, 4)
    assert network.reason() == Reason.TYPE


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((1, 128, 128, 3), ""),
        ((1, 1, 4, 4, 4), ""),
        ((-1, 8, 8, 3), ""),
        ((3, 128, 128, 1), Reason.RANK),
        ((1, 2, 4, 4, 4), Reason.RANK),
        ((1, -1, 8, 3), Reason.DYNAMIC),
    ],
)
def test_only_the_3_innermost_dimensions_may_be_larger_than_1_and_none_but_the_batch_open(
    shape: tuple[int, ...], reason: str
) -> None:
    network = _Network()
    network.add("RELU", [network.data(*shape)], *shape)
    assert network.reason() == reason


@pytest.mark.parametrize(
    ("runtime", "reason"),
    [("2.5.0", ""), ("", ""), ("1.14.0", ""), ("2.10.0", Reason.VERSION), (UNKNOWN_RUNTIME, Reason.VERSION)],
)
def test_an_operator_version_newer_than_the_compiler_is_left(runtime: str, reason: str) -> None:
    network = _Network()
    network.add("RELU", [network.data(1, 8)], 1, 8, runtime=runtime)
    assert network.reason() == reason


def _broken(name: str, inputs: Sequence[Any], shape: tuple[int, ...], **options: Any) -> bool:
    """Whether an operator breaks a limit of its own. Inputs: shapes of data, or lists of integer constants."""
    network = _Network()
    indices = [
        network.constant(len(given), dtype="int32", values=given) if isinstance(given, list) else network.data(*given)
        for given in inputs
    ]
    network.add(name, indices, *shape, options=options)
    reason = network.reason()
    assert reason in ("", Reason.UNSPECIFIED)
    return reason != ""


IMAGE = (1, 8, 8, 6)


@pytest.mark.parametrize(
    ("name", "inputs", "shape", "options", "broken"),
    [
        ("AVERAGE_POOL_2D", [IMAGE], IMAGE, {"fused_activation_function": "NONE"}, False),
        ("AVERAGE_POOL_2D", [IMAGE], IMAGE, {"fused_activation_function": "RELU"}, True),
        ("MAX_POOL_2D", [IMAGE], IMAGE, {"fused_activation_function": "RELU6"}, True),
        ("CONCATENATION", [IMAGE, IMAGE], (1, 8, 8, 12), {"axis": 3}, False),
        ("CONCATENATION", [IMAGE, IMAGE], (1, 8, 8, 12), {"fused_activation_function": "RELU"}, True),
        ("MEAN", [IMAGE, [1, 2]], (1, 6), {}, False),
        ("MEAN", [IMAGE, [0, 1]], (8, 6), {}, True),
        ("MEAN", [IMAGE, [-4]], (8, 8, 6), {}, True),
        ("MEAN", [IMAGE, [3]], (1, 8, 8), {}, True),
        ("MEAN", [(1, 8, 8, 12), [-1]], (1, 8, 8), {}, False),
        ("MEAN", [IMAGE, (2,)], (1, 6), {}, True),
        ("SUM", [IMAGE, [3]], (1, 8, 8), {}, False),
        ("REDUCE_MAX", [IMAGE, [0]], (8, 8, 6), {}, True),
        ("REDUCE_MIN", [IMAGE, [1]], (1, 8, 6), {}, False),
        ("PACK", [(1, 8), (1, 8)], (1, 2, 8), {"axis": 1}, False),
        ("PACK", [(1, 8), (1, 8)], (2, 1, 8), {"axis": 0}, True),
        ("PACK", [(1, 8), (1, 8)], (2, 1, 8), {"axis": -3}, True),
        ("SPLIT", [[3], IMAGE], (1, 8, 8, 3), {}, False),
        ("SPLIT", [[-4], IMAGE], (1, 8, 8, 3), {}, True),
        ("PAD", [IMAGE, [0, 0, 1, 1, 1, 1, 0, 2]], (1, 10, 10, 8), {}, False),
        ("PAD", [(8, 8, 6), [0, 1, 0, 0, 0, 0]], (9, 8, 6), {}, True),
        ("RESIZE_BILINEAR", [(1, 8, 8, 6), [16, 16]], (1, 16, 16, 6), {}, False),
        ("RESIZE_NEAREST_NEIGHBOR", [(1, 1, 1, 6), [33, 33]], (1, 33, 33, 6), {}, True),
        ("RESIZE_BILINEAR", [(1, 99, 8, 6), [1, 8]], (1, 1, 8, 6), {}, True),
        ("SOFTMAX", [(1, 16_000)], (1, 16_000), {}, False),
        ("SOFTMAX", [(1, 16_001)], (1, 16_001), {}, True),
        ("SOFTMAX", [(1, 4, 10)], (1, 4, 10), {}, True),
        ("STRIDED_SLICE", [IMAGE, [0] * 4, [1, 4, 4, 6], [1]], (1, 4, 4, 6), {"ellipsis_mask": 0}, False),
        ("STRIDED_SLICE", [IMAGE, [0] * 4, [1, 8, 8, 6], [1, 2, 2, 1]], (1, 4, 4, 6), {}, True),
        ("STRIDED_SLICE", [IMAGE, [0] * 4, [1, 8, 8, 6], [1]], (1, 4, 4, 6), {"new_axis_mask": 1}, True),
        ("STRIDED_SLICE", [IMAGE, [0] * 4, [1, 8, 8, 6], [1]], (1, 4, 4, 6), {"ellipsis_mask": 2}, True),
    ],
)
def test_the_limits_of_an_operator_are_kept_to(
    name: str, inputs: Sequence[Any], shape: tuple[int, ...], options: dict[str, Any], broken: bool
) -> None:
    assert _broken(name, inputs, shape, **options) == broken


@pytest.mark.parametrize(("across", "reason"), [(2, ""), (1, Reason.UNSPECIFIED)])
def test_a_convolution_is_dilated_alike_in_both_directions(across: int, reason: str) -> None:
    network = _Network()
    inputs = [network.data(1, 8, 8, 2), network.constant(4, 3, 3, 2), network.constant(4, dtype="int32")]
    dilation = {"dilation_h_factor": 2, "dilation_w_factor": across}
    network.add("CONV_2D", inputs, 1, 4, 4, 4, options=dilation)
    assert network.reason() == reason


@pytest.mark.parametrize("name", ["CONV_2D", "FULLY_CONNECTED", "PRELU"])
def test_weights_that_are_computed_are_left(name: str) -> None:
    network = _Network()
    network.add(name, [network.data(1, 8), network.data(1, 8)], 1, 8)
    assert network.reason() == Reason.UNSPECIFIED


@pytest.mark.parametrize(
    ("shape", "layout", "reason"),
    [
        ((1, 4), "DEFAULT", ""),
        ((3, 4), "DEFAULT", Reason.UNSPECIFIED),
        ((1, 4), "SHUFFLED4x16INT8", Reason.UNSPECIFIED),
    ],
)
def test_a_dense_layer_has_one_row_of_outputs_and_plain_weights(
    shape: tuple[int, ...], layout: str, reason: str
) -> None:
    network = _Network()
    inputs = [network.data(shape[0], 8), network.constant(4, 8)]
    network.add("FULLY_CONNECTED", inputs, *shape, options={"weights_format": layout})
    assert network.reason() == reason


@pytest.mark.parametrize(("alpha", "reason"), [((1, 1, 6), ""), ((8, 8, 6), Reason.UNSPECIFIED)])
def test_prelu_has_one_slope_for_each_channel(alpha: tuple[int, ...], reason: str) -> None:
    network = _Network()
    network.add("PRELU", [network.data(*IMAGE), network.constant(*alpha)], *IMAGE)
    assert network.reason() == reason


@pytest.mark.parametrize(
    ("zeros", "others", "reason"),
    [
        ((-3,), 1, ""),
        ((0,), 1, Reason.UNSPECIFIED),
        ((-3, -2), 1, Reason.UNSPECIFIED),
        (None, 1, Reason.UNSPECIFIED),
        ((-3,), 2, Reason.UNSPECIFIED),
    ],
)
def test_a_constant_is_concatenated_only_as_zeros_beside_one_other(
    zeros: tuple[int, ...] | None, others: int, reason: str
) -> None:
    network = _Network()
    grid = Quantization(scales=(0.5,), zero_points=(-3,))
    padding = network.constant(1, 8, values=zeros, quantization=grid)
    network.add("CONCATENATION", [*(network.data(1, 8) for _ in range(others)), padding], 1, 16)
    assert network.reason() == reason


def test_an_operator_that_writes_nothing_is_judged_all_the_same() -> None:
    network = _Network()
    inputs = (network.data(1, 8), network.constant(4, 8))
    operation = Operation(name="FULLY_CONNECTED", version=1, inputs=inputs, outputs=())
    graph = msgspec.structs.replace(network.graph, operations=(operation,))
    inspection = Inspection(size_bytes=0, description="", graphs=(graph,), signatures=(), metadata=())
    assert predict(inspection, {}).mapping.places == (Place(operator="FULLY_CONNECTED", count=1, is_mapped=True),)


def test_parameters_beyond_the_chips_memory_are_streamed_and_shared_ones_counted_once() -> None:
    network = _Network()
    tensor, weights = network.data(1, 8), network.constant(3000, 3000)
    for _ in range(2):
        tensor = network.add("FULLY_CONNECTED", [tensor, weights], 1, 3000)
    network.add("HARD_SWISH", [tensor], 1, 3000)
    network.add("FULLY_CONNECTED", [tensor + 1, network.constant(5, 5)], 1, 5)
    cache = network.predict().cache
    whole = 3008 * (4 + 3000)  # outputs in sixty-fours, each with a bias
    assert (cache.cached_bytes, cache.streamed_bytes) == (8 * KIB * KIB, whole - 8 * KIB * KIB)
    cache = network.predict(memory_bytes=10_000_000).cache
    assert (cache.cached_bytes, cache.streamed_bytes) == (whole, 0)


@pytest.mark.parametrize("name", PAIRS)
def test_the_parameters_that_the_real_compiler_stored_are_predicted(assets: Path, name: str) -> None:
    """Before, the constants alone: 75 to 96 % of what the compiled files hold, of the LSTM 22 %."""
    cache = _asset(assets, name).cache
    stored, streamed = compiled_parameters((assets / "edgetpu" / f"{name}_edgetpu.tflite").read_bytes())
    assert cache.cached_bytes == pytest.approx(stored, rel=0.03 if "lstm" in name else 0.0002)
    assert cache.streamed_bytes == streamed
    assert cache.cached_between is not None
    assert cache.streamed_between is not None
    assert cache.cached_between[0] < stored < cache.cached_between[1]
    assert cache.streamed_between[0] <= streamed <= cache.streamed_between[1]
    if "lstm" in name:
        # One file does not tell how others are laid out.
        assert cache.cached_between[1] > 1.3 * cache.cached_bytes


def compiled_parameters(data: bytes) -> tuple[int, int]:
    """What a compiled file's executables cache and stream: those of type 1 fill the cache, the others read the rest.

    The schema is libedgetpu's executable.fbs: field 1 of a package holds executables, of which field 6 are parameters
    and field 13 is the type.
    """
    package = data[data.index(b"DWN1") - 4 :]
    start, size = _vector(package, _root(package), 1)
    multi = package[start : start + size]
    start, count = _vector(multi, _root(multi), 0)
    found = {True: 0, False: 0}
    for place in range(start, start + 4 * count, 4):
        text = place + _number(multi, place)
        executable = multi[text + 4 : text + 4 + _number(multi, text)]
        kind = _field(executable, _root(executable), 13)
        caches = bool(kind) and int.from_bytes(executable[kind : kind + 2], "little") == 1
        found[caches] += _vector(executable, _root(executable), 6)[1]
    return found[True], found[False]


def _number(data: bytes, place: int) -> int:
    return int.from_bytes(data[place : place + 4], "little", signed=True)


def _root(data: bytes) -> int:
    return _number(data, 0)


def _field(data: bytes, table: int, number: int) -> int:
    """Where a field lies; 0 for one that is absent."""
    layout = table - _number(data, table)
    if 4 + 2 * number >= int.from_bytes(data[layout : layout + 2], "little"):
        return 0
    offset = int.from_bytes(data[layout + 4 + 2 * number : layout + 6 + 2 * number], "little")
    return table + offset if offset else 0


def _vector(data: bytes, table: int, number: int) -> tuple[int, int]:
    """Where a vector's elements begin, and how many there are."""
    place = _field(data, table, number)
    return (place + _number(data, place) + 4, _number(data, place + _number(data, place))) if place else (0, 0)


def test_constants_that_are_data_are_streamed_and_activations_take_room() -> None:
    network = _Network()
    tensor = network.add("ADD", [network.data(1, 100), network.constant(1, 100)], 1, 100)
    cache = network.predict().cache
    assert (cache.cached_bytes, cache.streamed_bytes) == (0, 128)
    network.add("FULLY_CONNECTED", [tensor, network.constant(64, 100)], 1, 64)
    large = msgspec.structs.replace(network.graph, memory=Memory(peak_bytes=7_000, steps_bytes=(0, 7_000)))
    inspection = Inspection(size_bytes=0, description="", graphs=(large,), signatures=(), metadata=())
    cache = predict(inspection, {}, 10_000).cache
    assert (cache.cached_bytes, cache.streamed_bytes) == (3_000, 128 + 64 * 104 - 3_000)
    assert cache.cached_between == (1_250, 4_750)


def test_tile_is_mapped_and_what_needs_it() -> None:
    network = _Network()
    repeated = network.add("TILE", [network.data(1, 4, 4, 8), network.constant(4, dtype="int32")], 1, 4, 8, 8)
    network.add("MAX_POOL_2D", [repeated], 1, 2, 4, 8)
    assert all(place.is_mapped for place in network.predict().mapping.places)


def test_the_table_asks_only_for_limits_that_are_known_and_says_where_they_are_from() -> None:
    rules = limits.load()
    asked = {limit for row in rules.operators for limit in row.limits}
    assert asked == limits.names()
    names = [name for row in rules.operators for name in row.names]
    assert len(names) == len(set(names))
    assert set(names) <= set(vars(schema.BuiltinOperator))
    assert all(row.limitation for row in rules.operators if row.limits)
    assert {"operators", "tensors", "partition", "interpolation.largest_factor"} <= set(rules.sources)
    assert rules.row("ARG_MAX") is None


def test_integer_constants_are_read_with_their_values_and_uniform_ones_once(assets: Path) -> None:
    data = (assets / "edgetpu" / f"{PAIRS[0]}.tflite").read_bytes()
    graph, values = inspect(data, "").graphs[0], edgetpu.integer_constants(data, "")
    sizes = [values[operation.inputs[1]] for operation in graph.operations if operation.name == "RESIZE_BILINEAR"]
    assert sizes == [(33,), (33,), (513,)]
    reshape = (assets / "edgetpu" / "mobilenet_v1_0.25_128_quant.tflite").read_bytes()
    graph, values = inspect(reshape, "").graphs[0], edgetpu.integer_constants(reshape, "")
    (wanted,) = [values[operation.inputs[1]] for operation in graph.operations if operation.name == "RESHAPE"]
    assert wanted == (1, 1001)
    assert all(tensor.constant_bytes > 0 for tensor in graph.tensors if tensor.index in values)
    assert max(len(found) for found in values.values()) <= 64


@pytest.mark.parametrize("length", [0, 8, 1000, 200_000])
def test_integer_constants_of_a_file_that_is_cut_off_are_an_error(assets: Path, length: int) -> None:
    data = (assets / "edgetpu" / "mobilenet_v1_0.25_128_quant.tflite").read_bytes()
    with pytest.raises(StepError, match=r"net\.tflite is damaged"):
        edgetpu.integer_constants(data[:length], "net.tflite")
