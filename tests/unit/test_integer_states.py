"""States of stateful layers in the artifact: kept as integers, and the same as if they were kept in float."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from converting import converted
from tflite_micro.python.tflite_micro import runtime

from edgebuild.core.passes import DType, Quantize, Scheme
from edgebuild.flatbuffer.inspecting import inspect
from edgebuild.flatbuffer.rewriting import states
from edgebuild.passes import quantize
from edgebuild.passes.loading import from_keras_model
from edgebuild.runtimes.places.micro import MicroNetwork
from edgebuild.runtimes.places.runner import LiteRT, Runner

# The converter's calibrator warns of its own interpreter.
pytestmark = pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated:UserWarning")

INT8 = Quantize(scheme=Scheme.INT8, input=DType.INT8, output=DType.INT8, float_fallback=False)
X = np.random.default_rng(0).normal(size=(60, 3, 2)).astype(np.float32)


def _stream(layer: Any) -> Any:
    keras.utils.set_random_seed(0)
    given = keras.layers.Input(batch_shape=(1, 3, 2))
    return keras.Model(given, layer(given))


def _kept_in(path: Path) -> set[str]:
    """The dtypes that variables are read and assigned in."""
    graphs = inspect(path.read_bytes(), "the file").graphs
    found = [(graph, each) for graph in graphs for each in graph.operations if each.name.endswith("_VARIABLE")]
    return {graph.tensors[(*each.outputs, *each.inputs)[-1 if each.inputs[1:] else 0]].dtype for graph, each in found}


def _in_row(path: Path, samples: Any) -> Any:
    """The outputs of samples in a row, nothing reset, in LiteRT and in TensorFlow Lite Micro."""
    litert = Interpreter(str(path))
    litert.allocate_tensors()
    given, made = litert.get_input_details()[0], litert.get_output_details()[0]
    scale, zero = given["quantization"]
    micro = runtime.Interpreter.from_bytes(path.read_bytes(), arena_size=100_000)
    rows = []
    for sample in samples:
        integers = np.clip(np.rint(sample[None] / scale) + zero, -128, 127).astype(np.int8)
        litert.set_tensor(given["index"], integers)
        litert.invoke()
        micro.set_input(integers, 0)
        micro.invoke()
        rows.append((litert.get_tensor(made["index"])[0], micro.get_output(0)[0]))
    return [np.array(each) for each in zip(*rows, strict=True)]


@pytest.mark.parametrize("cell", [pytest.param("LSTM", marks=pytest.mark.slow), "GRU"])
def test_states_are_integers_and_give_what_states_in_float_give(
    cell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = from_keras_model(_stream(getattr(keras.layers, cell)(4, stateful=True)))
    with monkeypatch.context() as patched:
        patched.setattr(quantize, "MENDED", ())
        in_float = converted(network, [X], INT8, tmp_path / "float")
    assert _kept_in(in_float) == {"float32"}

    integers = tmp_path / "integers.tflite"
    integers.write_bytes(states.in_integers(in_float.read_bytes()))

    assert _kept_in(integers) == {"int8"}
    expected, found = _in_row(in_float, X), _in_row(integers, X)
    assert all(len(np.unique(each)) > 10 for each in expected)
    assert all(np.array_equal(*pair) for pair in zip(expected, found, strict=True))
    assert states.in_integers(integers.read_bytes()) == integers.read_bytes()


@pytest.mark.parametrize(
    "network", [lambda path: LiteRT(str(path), "reference", 1), MicroNetwork], ids=["litert", "tflm"]
)
def test_samples_find_no_state_of_the_inferences_that_were_timed(network: Any, tmp_path: Path) -> None:
    model = _stream(keras.layers.GRU(4, stateful=True))
    path = converted(from_keras_model(model), [X], INT8, tmp_path / "net")
    given = Interpreter(str(path)).get_input_details()[0]
    scale, zero = given["quantization"]
    fills = [np.clip(np.rint(sample[None] / scale) + zero, -128, 127).astype(np.int8).tobytes() for sample in X[:6]]
    runner = Runner(network(path))
    runner.block(0.01, 5)

    parts = runner.outputs([[fill] for fill in fills[:3]]) + runner.outputs([[fill] for fill in fills[3:]])

    found = np.array([np.frombuffer(part[0], np.int8) for part in parts]).astype(int)
    runner.block(0.01, 5)
    again = runner.outputs([[fill] for fill in fills])
    assert [part[0] for part in again] == [part[0] for part in parts]
    made = Interpreter(str(path)).get_output_details()[0]
    real = (found - made["quantization"][1]) * made["quantization"][0]
    expected = np.concatenate([np.asarray(model(sample[None])) for sample in X[:6]])
    assert np.abs(real - expected).max() < 0.1


def test_a_state_that_is_read_in_float_stays_in_float(tmp_path: Path) -> None:
    class Summing(keras.layers.Layer):
        """Adds up what it is given, and hands out what it had before."""

        def build(self, shape: Any) -> None:
            self.total = self.add_weight(shape=(1, *shape[1:]), initializer="zeros", trainable=False)

        def call(self, x: Any) -> Any:
            before = keras.ops.convert_to_tensor(self.total) + 0.0
            self.total.assign(0.5 * self.total + keras.ops.tanh(x))
            return before

    settings = Quantize(scheme=Scheme.INT8, input=DType.FLOAT32, output=DType.FLOAT32, float_fallback=True)
    path = converted(from_keras_model(_stream(Summing())), [X], settings, tmp_path / "net")

    assert states.in_integers(path.read_bytes()) == path.read_bytes()
    run = Interpreter(str(path))
    run.allocate_tensors()
    outputs = []
    for sample in X[:5]:
        run.set_tensor(run.get_input_details()[0]["index"], sample[None])
        run.invoke()
        outputs.append(run.get_tensor(run.get_output_details()[0]["index"])[0])
    sums = [np.zeros((3, 2), np.float32)]
    for sample in X[:4]:
        sums.append(0.5 * sums[-1] + np.tanh(sample))
    assert np.abs(np.array(outputs) - np.array(sums)).max() < 0.05
