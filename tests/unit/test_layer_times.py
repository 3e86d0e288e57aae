from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgebuild.actions.compression import LayerTimes, LayerTimesJob
from edgebuild.core.layers import LayerKind, LayerShape, Padding
from edgebuild.core.passes import DType
from edgebuild.core.target import Kernels
from edgebuild.errors import StepError
from edgebuild.flatbuffer.reader import read
from edgebuild.flatbuffer.rewriting.timed_parts import artifact_of_layer
from edgebuild.process import Child, Limits
from edgebuild.runtimes.interpreters import load
from tests.conftest import PATIENCE_S

LIMITS = Limits(time_s=PATIENCE_S, memory_bytes=2 * 10**9)
_ITEMS = {schema.TensorType.INT8: np.int8, schema.TensorType.INT32: np.int32, schema.TensorType.FLOAT32: np.float32}


def _conv(**fields: Any) -> LayerShape:
    known = {"height": 7, "width": 6, "in_channels": 8, "out_channels": 12, "kernel": (3, 3)}
    return LayerShape(kind=LayerKind.CONV_2D, **{**known, **fields})


def _depthwise(**fields: Any) -> LayerShape:
    known = {"height": 7, "width": 6, "in_channels": 8, "out_channels": 8, "kernel": (3, 3)}
    return LayerShape(kind=LayerKind.DEPTHWISE_CONV_2D, **{**known, **fields})


def _dense(**fields: Any) -> LayerShape:
    return LayerShape(kind=LayerKind.FULLY_CONNECTED, **{"in_channels": 24, "out_channels": 10, **fields})


LAYERS = [
    _conv(),
    _conv(padding=Padding.SAME),
    _conv(padding=Padding.SAME, strides=(2, 2)),
    _conv(strides=(2, 1), kernel=(2, 3)),
    _conv(kernel=(1, 1), in_channels=32),
    _conv(in_channels=1, out_channels=5, padding=Padding.SAME, strides=(1, 2), kernel=(5, 4)),
    _depthwise(),
    _depthwise(padding=Padding.SAME, strides=(2, 2)),
    _depthwise(padding=Padding.SAME, in_channels=5, out_channels=5),
    _depthwise(in_channels=4, out_channels=12, strides=(1, 2)),
    _dense(),
    _dense(height=3, width=2, in_channels=8),
]


class _File:
    """The tensors of an artifact's only operator, in its order: input, weights, bias, output."""

    def __init__(self, data: bytes) -> None:
        self._model = schema.Model.GetRootAs(data, 0)
        graph = self._model.Subgraphs(0)
        assert graph.OperatorsLength() == 1
        operator = graph.Operators(0)
        self.tensors = [graph.Tensors(index) for index in (*operator.InputsAsNumpy(), *operator.OutputsAsNumpy())]

    def values(self, index: int) -> np.ndarray[Any, Any]:
        tensor = self.tensors[index]
        raw = self._model.Buffers(tensor.Buffer()).DataAsNumpy()
        return np.asarray(raw.view(_ITEMS[tensor.Type()]).reshape(tensor.ShapeAsNumpy()), np.float64)

    def scales(self, index: int) -> np.ndarray[Any, Any]:
        return np.asarray(self.tensors[index].Quantization().ScaleAsNumpy(), np.float64)

    def zero_point(self, index: int) -> int:
        return int(self.tensors[index].Quantization().ZeroPoint(0))


def _padding(size: int, made: int, kernel: int, stride: int) -> tuple[int, int]:
    missing = max(0, (made - 1) * stride + kernel - size)
    return missing // 2, missing - missing // 2


def _computed(layer: LayerShape, x: np.ndarray[Any, Any], weights: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The sums of products by their definition, window position by window position."""
    if layer.kind == LayerKind.FULLY_CONNECTED:
        return np.asarray(x.reshape(-1) @ weights.T)
    (high, wide), (down, right) = layer.output_size, layer.strides
    if layer.padding == Padding.SAME:
        rows = _padding(layer.height, high, layer.kernel[0], down)
        x = np.pad(x, [rows, _padding(layer.width, wide, layer.kernel[1], right), (0, 0)])
    sums = np.zeros((high, wide, layer.out_channels))
    for row in range(layer.kernel[0]):
        for column in range(layer.kernel[1]):
            under = x[row : row + (high - 1) * down + 1 : down, column : column + (wide - 1) * right + 1 : right]
            if layer.kind == LayerKind.CONV_2D:
                sums += under @ weights[:, row, column].T
            else:
                sums += np.repeat(under, layer.out_channels // layer.in_channels, axis=-1) * weights[0, row, column]
    return sums


def _run(data: bytes, x: np.ndarray[Any, Any], kernels: Kernels) -> np.ndarray[Any, Any]:
    interpreter = load(data, "the layer", kernels, threads=1)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x[np.newaxis])
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])


def _input_shape(layer: LayerShape) -> tuple[int, ...]:
    if layer.kind == LayerKind.FULLY_CONNECTED:
        return (layer.height * layer.width * layer.in_channels,)
    return layer.height, layer.width, layer.in_channels


@pytest.mark.parametrize("kernels", Kernels)
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.label)
def test_an_int8_layer_computes_what_the_quantization_formula_says(layer: LayerShape, kernels: Kernels) -> None:
    data = artifact_of_layer(layer, seed=3)
    file = _File(data)
    x = np.random.default_rng(4).integers(-128, 128, _input_shape(layer), np.int8)
    sums = _computed(layer, x.astype(np.float64) - file.zero_point(0), file.values(1)) + file.values(2)
    real = sums * file.scales(0) * file.scales(1) / file.scales(3) + file.zero_point(3)
    got = _run(data, x, kernels)
    assert got.dtype == np.int8
    assert np.abs(got - np.clip(np.round(real), -128, 127)).max() <= 1
    assert got.std() > 15, "outputs that are all alike would prove nothing"


@pytest.mark.parametrize("kernels", Kernels)
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.label)
def test_a_float_layer_computes_the_sums_of_its_products(layer: LayerShape, kernels: Kernels) -> None:
    layer = msgspec.structs.replace(layer, dtype=DType.FLOAT32)
    data = artifact_of_layer(layer)
    file = _File(data)
    x = np.random.default_rng(5).standard_normal(_input_shape(layer), np.float32)
    np.testing.assert_allclose(
        _run(data, x, kernels), _computed(layer, x.astype(np.float64), file.values(1)) + file.values(2), atol=1e-4
    )


@pytest.mark.parametrize(
    ("layer", "operator", "version", "taken", "made"),
    [
        (_conv(padding=Padding.SAME, strides=(2, 2)), "CONV_2D", 3, (1, 7, 6, 8), (1, 4, 3, 12)),
        (_depthwise(), "DEPTHWISE_CONV_2D", 3, (1, 7, 6, 8), (1, 5, 4, 8)),
        (_dense(height=2, width=2), "FULLY_CONNECTED", 4, (1, 96), (1, 10)),
        (_dense(dtype=DType.FLOAT32), "FULLY_CONNECTED", 1, (1, 24), (1, 10)),
    ],
)
def test_the_file_reads_back_as_the_layer(
    layer: LayerShape, operator: str, version: int, taken: tuple[int, ...], made: tuple[int, ...], tmp_path: Path
) -> None:
    path = tmp_path / "layer.tflite"
    path.write_bytes(artifact_of_layer(layer))
    spec = read(path)
    assert [(found.name, found.version, found.dtypes) for found in spec.operators] == [
        (operator, version, (layer.dtype,))
    ]
    assert (spec.inputs[0].shape, spec.outputs[0].shape) == (taken, made)
    assert (spec.inputs[0].scale > 0) == (spec.outputs[0].scale > 0) == (layer.dtype == DType.INT8)


@pytest.mark.parametrize("layer", [_conv(), _depthwise(), _dense()])
def test_int8_weights_have_a_scale_for_each_output_channel_and_a_bias_on_their_product(layer: LayerShape) -> None:
    file = _File(artifact_of_layer(layer))
    assert file.scales(1).shape == (layer.out_channels,)
    assert file.tensors[1].Shape(file.tensors[1].Quantization().QuantizedDimension()) == layer.out_channels
    assert len(set(file.scales(1))) > 1
    np.testing.assert_allclose(file.scales(2), file.scales(0) * file.scales(1), rtol=1e-6)


@pytest.mark.parametrize("layer", [_conv(in_channels=1, out_channels=3), _dense(in_channels=7, out_channels=3)])
def test_constants_are_aligned_as_the_schema_asks_for(layer: LayerShape) -> None:
    data = artifact_of_layer(layer)
    model = schema.Model.GetRootAs(data, 0)
    whole = np.frombuffer(data, np.uint8)
    for index in (1, 2):
        values = model.Buffers(index).DataAsNumpy()
        offset = values.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
        assert offset % 16 == 0


def test_equal_seeds_give_equal_bytes_and_others_do_not() -> None:
    assert artifact_of_layer(_conv(), seed=1) == artifact_of_layer(_conv(), seed=1)
    assert artifact_of_layer(_conv(), seed=1) != artifact_of_layer(_conv(), seed=2)


@pytest.mark.parametrize(
    ("layer", "size", "macs"),
    [
        (_conv(padding=Padding.SAME, strides=(2, 4)), (4, 2), 4 * 2 * 9 * 8 * 12),
        (_conv(kernel=(7, 6)), (1, 1), 7 * 6 * 8 * 12),
        (_depthwise(in_channels=4, out_channels=8, strides=(2, 2)), (3, 2), 3 * 2 * 9 * 8),
        (_dense(height=3, width=2), (1, 1), 6 * 24 * 10),
    ],
)
def test_a_shape_knows_its_output_and_its_macs(layer: LayerShape, size: tuple[int, int], macs: int) -> None:
    assert (layer.output_size, layer.macs) == (size, macs)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: _conv(kernel=(8, 3)), "nothing is left to compute: conv_2d of 7x6x8 to 12 channels, kernel 8x3"),
        (lambda: _conv(out_channels=0), "nothing is left to compute"),
        (lambda: _depthwise(out_channels=12), "as many channels of each"),
        (lambda: _dense(kernel=(3, 3), height=3, width=3), "has no window"),
        (lambda: _conv(dtype=DType.INT16), "not in int16"),
    ],
)
def test_a_layer_that_cannot_be_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def _times(job: LayerTimesJob, tmp_path: Path) -> LayerTimes:
    with Child("edgebuild.execution.serving", "the interpreter", tmp_path / "log") as child:
        return msgspec.json.decode(child.call("layer-times", job, LIMITS, lambda _: None), type=LayerTimes)


@pytest.mark.parametrize("kernels", Kernels)
def test_each_layer_gets_a_time_in_the_order_of_the_job_and_more_work_takes_longer(
    kernels: Kernels, tmp_path: Path
) -> None:
    large = _conv(height=16, width=16, in_channels=128, out_channels=128, kernel=(1, 1))
    small = msgspec.structs.replace(large, in_channels=32, out_channels=32)
    layers = (small, large, _depthwise(), small, _dense(dtype=DType.FLOAT32))
    times = _times(LayerTimesJob(layers=layers, kernels=kernels, layer_s=0.01), tmp_path)
    assert len(times.times_s) == len(layers)
    assert min(times.times_s) > 0
    assert times.times_s[0] == times.times_s[3]
    assert times.times_s[1] > 1.5 * times.times_s[0]
    assert 0 < times.invocation_s < times.times_s[1]


def test_times_are_whole_nanoseconds(tmp_path: Path) -> None:
    times = _times(LayerTimesJob(layers=(_conv(), _depthwise()), kernels=Kernels.XNNPACK, layer_s=0.001), tmp_path)
    assert all(time_s == round(time_s, 9) for time_s in (*times.times_s, times.invocation_s))


def test_a_layer_that_the_interpreter_refuses_is_named(tmp_path: Path) -> None:
    endless = _conv(height=2**31 - 1, width=2**31 - 1, kernel=(1, 1))
    job = LayerTimesJob(layers=(_conv(), endless), kernels=Kernels.XNNPACK, layer_s=0.001)
    with pytest.raises(StepError, match="does not run conv_2d of 2147483647x2147483647x8 to 12 channels"):
        _times(job, tmp_path)
