from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import tf_keras
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from converting import converted
from making import INT8
from tf_keras import layers
from tflite_networks import TYPE, Network

from edgebuild.core.passes import DType
from edgebuild.flatbuffer import reader
from edgebuild.flatbuffer.rewriting import softmaxes
from edgebuild.passes.loading import from_keras_model

# The converter calibrates with an interpreter that TensorFlow wants to do without.
pytestmark = pytest.mark.filterwarnings("ignore:(?s).*tf.lite.Interpreter is deprecated")

Body = Callable[[Any], Any]
BUILTIN = schema.BuiltinOperator
SAMPLES = np.random.default_rng(0).normal(size=(32, 6)).astype(np.float32) * 3


def _softmax(x: Any) -> Any:
    return layers.Dense(4, activation="softmax", name="scores")(x)


def _two_ends(x: Any) -> Any:
    hidden = layers.Dense(8, activation="relu")(x)
    return [layers.Dense(3, activation="sigmoid")(hidden), _softmax(hidden)]


def _used_again(x: Any) -> Any:
    """A softmax that is an output and that a layer takes, too."""
    shares = _softmax(x)
    return [shares, layers.Dense(2)(shares)]


def _made(body: Body, folder: Path, *, float_answers: bool, output: DType = DType.FLOAT32) -> Path:
    """The artifact of a small network in int8."""
    tf_keras.backend.clear_session()
    tf_keras.utils.set_random_seed(0)
    given = tf_keras.Input((6,))
    settings = msgspec.structs.replace(INT8, input=DType.FLOAT32, output=output, float_answers=float_answers)
    return converted(from_keras_model(tf_keras.Model(given, body(given))), [SAMPLES], settings, folder)


def _run(artifact: Path) -> list[Any]:
    """What each output of an artifact is for all samples."""
    interpreter = Interpreter(str(artifact))
    interpreter.allocate_tensors()
    found: list[list[Any]] = [[] for _ in interpreter.get_output_details()]
    for sample in SAMPLES:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], sample[None])
        interpreter.invoke()
        for rows, detail in zip(found, interpreter.get_output_details(), strict=True):
            rows.append(interpreter.get_tensor(detail["index"])[0])
    return [np.stack(rows) for rows in found]


def _operators(artifact: Path) -> list[tuple[str, int, str]]:
    return [(item.name, item.version, item.dtypes[0]) for item in reader.read(artifact).operators]


def test_a_softmax_in_float_is_on_no_grid(tmp_path: Path) -> None:
    usual = _made(_softmax, tmp_path / "usual", float_answers=False)
    better = _made(_softmax, tmp_path / "better", float_answers=True)
    assert [name for name, *_ in _operators(usual)][-2:] == ["SOFTMAX", "DEQUANTIZE"]
    assert _operators(better)[-2:] == [("DEQUANTIZE", 2, "int8"), ("SOFTMAX", 1, "float32")]
    (coarse,), (fine,) = _run(usual), _run(better)
    np.testing.assert_allclose(fine.sum(1), 1, atol=1e-6)
    assert coarse.max() <= 255 / 256 < fine.max()
    assert np.abs(coarse * 256 - np.rint(coarse * 256)).max() < 1e-5
    assert 0 < np.abs(fine - coarse).max() < 1.01 / 256


@pytest.mark.slow
def test_all_answers_of_a_network_leave_in_float_and_its_ends_stay(tmp_path: Path) -> None:
    usual = _made(_two_ends, tmp_path / "usual", float_answers=False)
    better = _made(_two_ends, tmp_path / "better", float_answers=True)
    kinds = {name: dtype for name, _, dtype in _operators(better)}
    assert kinds["SOFTMAX"] == kinds["LOGISTIC"] == "float32"
    assert kinds["FULLY_CONNECTED"] == "int8"
    before, after = reader.read(usual), reader.read(better)
    ends = [[(item.name, item.shape, item.dtype) for item in spec.outputs] for spec in (before, after)]
    assert ends[0] == ends[1]
    for coarse, fine in zip(_run(usual), _run(better), strict=True):
        assert 0 < np.abs(fine - coarse).max() < 1.01 / 256


@pytest.mark.parametrize(
    ("body", "output"),
    [
        (_used_again, DType.FLOAT32),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [(_softmax, DType.INT8), (layers.Dense(4), DType.FLOAT32)]
        ),
    ],
)
def test_what_does_not_end_in_float_alone_stays_as_it_is(body: Body, output: DType, tmp_path: Path) -> None:
    data = _made(body, tmp_path / "net", float_answers=False, output=output).read_bytes()
    assert softmaxes.in_float(data) == data


def test_operators_without_outputs_are_no_obstacle(tmp_path: Path) -> None:
    net = Network()
    grid = {"scale": [1 / 256], "zero_point": [-128]}
    given, handle = net.tensor("x", [1, 4], TYPE.INT8, **grid), net.tensor("state", [1], TYPE.RESOURCE)
    shares, scores = net.tensor("shares", [1, 4], TYPE.INT8, **grid), net.tensor("scores", [1, 4])
    net.operator(BUILTIN.VAR_HANDLE, [], [handle])
    net.operator(BUILTIN.ASSIGN_VARIABLE, [handle, given], [])
    net.operator(BUILTIN.SOFTMAX, [given], [shares], version=2)
    net.operator(BUILTIN.DEQUANTIZE, [shares], [scores], version=2)
    path = tmp_path / "net.tflite"
    path.write_bytes(softmaxes.in_float(net.packed([given], [scores])))
    assert [name for name, *_ in _operators(path)] == ["VAR_HANDLE", "ASSIGN_VARIABLE", "DEQUANTIZE", "SOFTMAX"]
