from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgebuild.core.target import Kernels
from edgebuild.errors import StepError
from edgebuild.flatbuffer.inspecting import inspect
from edgebuild.flatbuffer.rewriting.timed_parts import folded, prefix
from edgebuild.runtimes.interpreters import fill_randomly, load
from tests.unit.tflite_networks import TYPE, Network

OPERATOR = schema.BuiltinOperator
FEW = 8


def _run(data: bytes, *, keeps_tensors: bool = False) -> Any:
    interpreter = load(data, "a network", Kernels.REFERENCE, threads=1, keeps_tensors=keeps_tensors)
    fill_randomly(interpreter)
    interpreter.invoke()
    return interpreter


@pytest.mark.parametrize(
    "name",
    [
        "kws/reference_int8.tflite",
        "kws/reference_float32.tflite",
        "edgetpu/keras_lstm_mnist_ptq.tflite",
        "edgetpu/mobilenet_v1_0.25_128_quant.tflite",
        "tflm/hello_world_int8.tflite",
        "tflm/micro_speech_quantized.tflite",
        "tflm/trained_lstm_int8.tflite",
    ],
)
def test_a_prefix_computes_what_the_network_has_at_the_cut(name: str, assets: Path) -> None:
    data = (assets / name).read_bytes()
    whole = _run(data, keeps_tensors=True)
    places = {item["name"]: item["index"] for item in whole.get_tensor_details()}
    count = len(inspect(data, name).graphs[0].operations)
    for operators in np.unique(np.linspace(1, count, FEW).round().astype(int)).tolist():
        part = _run(prefix(data, operators))
        for output in part.get_output_details():
            np.testing.assert_array_equal(
                part.get_tensor(output["index"]), whole.get_tensor(places[output["name"]]), f"{operators}"
            )


def test_a_prefix_of_a_network_with_branches_computes_what_it_has_at_the_cut(assets: Path) -> None:
    data = (assets / "edgetpu" / "deeplabv3_mnv2_dm05_pascal_quant.tflite").read_bytes()
    interpreter = load(data, "a network", Kernels.BUILTIN, threads=1, keeps_tensors=True)
    fill_randomly(interpreter)
    interpreter.invoke()
    places = {item["name"]: item["index"] for item in interpreter.get_tensor_details()}
    for operators, outputs in ((9, 2), (10, 1), (62, 2), (72, 1)):
        part = load(prefix(data, operators), "a prefix", Kernels.BUILTIN, threads=1)
        fill_randomly(part)
        part.invoke()
        assert len(part.get_output_details()) == outputs
        for output in part.get_output_details():
            kept = interpreter.get_tensor(places[output["name"]])
            np.testing.assert_array_equal(part.get_tensor(output["index"]), kept)


def test_what_comes_after_the_cut_is_gone_and_what_is_read_there_is_an_output(tmp_path: Path) -> None:
    data = _residual()
    cut = inspect(prefix(data, 2), "the prefix")
    (graph,) = cut.graphs
    assert [operation.name for operation in graph.operations] == ["RELU", "MUL"]
    assert [graph.tensors[index].name for index in graph.outputs] == ["relu", "product"]
    assert {tensor.name for tensor in graph.tensors} == {"x", "relu", "factor", "product"}
    assert cut.size_bytes < len(data) - 1000, "the weights of what is gone are gone too"


def test_a_prefix_of_all_operators_is_the_network_without_what_names_it() -> None:
    data = _residual()
    made = inspect(prefix(data, 4), "the prefix")
    assert made.signatures == ()
    (graph,), (given,) = made.graphs, inspect(data, "the network").graphs
    assert [graph.tensors[index].name for index in graph.outputs] == ["sum", "relu"]
    assert [operation.name for operation in graph.operations] == [operation.name for operation in given.operations]


def _residual() -> bytes:
    """RELU -> MUL -> FULLY_CONNECTED, then ADD with what RELU made; that is an output as well."""
    network = Network()
    x = network.tensor("x", [1, 16])
    relu, product, dense = (network.tensor(name, [1, 16]) for name in ("relu", "product", "dense"))
    factor = network.tensor("factor", [16], constant=True, data=_floats(16))
    weights = network.tensor("weights", [16, 16], constant=True, data=_floats(256))
    total = network.tensor("sum", [1, 16])
    network.operator(OPERATOR.RELU, [x], [relu])
    network.operator(OPERATOR.MUL, [relu, factor], [product], options=schema.MulOptionsT())
    network.operator(OPERATOR.FULLY_CONNECTED, [product, weights, -1], [dense], options=schema.FullyConnectedOptionsT())
    network.operator(OPERATOR.ADD, [dense, relu], [total], options=schema.AddOptionsT())
    network.signature("serving_default", {"x": x}, {"sum": total})
    return network.packed([x], [total, relu])


def _floats(count: int) -> Any:
    return np.random.default_rng(count).random(count, np.float32).view(np.uint8)


def test_what_constants_alone_decide_is_no_output_and_is_not_computed_before_it_is_read() -> None:
    network = Network()
    x, relu, y = (network.tensor(name, [1, 4]) for name in ("x", "relu", "y"))
    half = network.tensor("half", [4], TYPE.FLOAT16, constant=True, data=[0, 60] * 4)
    factor = network.tensor("factor", [4])
    network.operator(OPERATOR.DEQUANTIZE, [half], [factor], version=3)
    network.operator(OPERATOR.RELU, [x], [relu])
    network.operator(OPERATOR.MUL, [relu, factor], [y], options=schema.MulOptionsT())
    data = network.packed([x], [y])
    assert folded(data) == (0,)
    graph = inspect(prefix(data, 2), "the prefix").graphs[0]
    assert [operation.name for operation in graph.operations] == ["RELU"]
    assert [graph.tensors[index].name for index in graph.outputs] == ["relu"]
    whole = _run(prefix(data, 3))
    (end,) = whole.get_output_details()
    given = whole.get_tensor(whole.get_input_details()[0]["index"])
    np.testing.assert_array_equal(whole.get_tensor(end["index"]), given)


def test_graphs_that_are_called_are_kept_and_numbered_anew() -> None:
    data = _branching()
    model: Any = schema.ModelT.InitFromPackedBuf(prefix(data, 2), 0)
    assert [graph.name for graph in model.subgraphs] == [b"main", b"else", b"then"]
    options = model.subgraphs[0].operators[1].builtinOptions
    assert (options.thenSubgraphIndex, options.elseSubgraphIndex) == (2, 1)
    assert len(schema.ModelT.InitFromPackedBuf(prefix(data, 1), 0).subgraphs) == 1


def _branching() -> bytes:
    network = Network()
    x, y, z = (network.tensor(name, [1, 4]) for name in ("x", "y", "z"))
    decision = network.tensor("decision", [1], TYPE.BOOL)
    network.operator(OPERATOR.RELU, [x], [y])
    options = schema.IfOptionsT()
    options.thenSubgraphIndex, options.elseSubgraphIndex = 3, 2
    network.operator(OPERATOR.IF, [decision, y], [z], options=options)
    model: Any = schema.ModelT.InitFromPackedBuf(network.packed([decision, x], [z]), 0)
    model.subgraphs[0].name = b"main"
    for name in (b"unused", b"else", b"then"):
        other = Network()
        a, b = other.tensor("a", [1, 4]), other.tensor("b", [1, 4])
        other.operator(OPERATOR.RELU, [a], [b])
        (graph,) = schema.ModelT.InitFromPackedBuf(other.packed([a], [b]), 0).subgraphs
        graph.name = name
        model.subgraphs.append(graph)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.mark.parametrize("operators", [0, 5])
def test_a_network_has_no_prefix_of_more_operators_than_it_has_nor_of_none(operators: int) -> None:
    with pytest.raises(ValueError, match=f"a prefix of {operators} operators of a graph that has 4"):
        prefix(_residual(), operators)


def test_a_damaged_file_is_refused() -> None:
    with pytest.raises(StepError):
        prefix(_residual()[:400], 1)


def test_a_file_that_keeps_its_constants_elsewhere_is_refused() -> None:
    model: Any = schema.ModelT.InitFromPackedBuf(_residual(), 0)
    model.buffers[1].offset, model.buffers[1].size = 512, 64
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    with pytest.raises(StepError, match=r"cannot be cut\n.*outside of the flatbuffer"):
        prefix(bytes(builder.Output()), 1)
