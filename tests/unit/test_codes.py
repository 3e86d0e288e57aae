"""Numbers that stand for words and categories: looked up exactly, with operators that every target has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from converting import converted
from making import INT8

from edgebuild.core.target import Kernels
from edgebuild.flatbuffer import reader
from edgebuild.passes.loading import from_keras_model
from edgebuild.runtimes import interpreters
from edgebuild.runtimes.tflm import wheel

# Operators that this may become on the smallest target.
SMALL = {
    "GATHER",
    "RESHAPE",
    "CONCATENATION",
    "FULLY_CONNECTED",
    "CAST",
    "REDUCE_MAX",
    "SUM",
    "QUANTIZE",
    "MEAN",
    "MUL",
}
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:(?s).*tf.lite.Interpreter is deprecated"),
]


def _network(library: Any, encode: Any, numbers: int) -> Any:
    layers = library.layers
    library.utils.set_random_seed(0)
    codes = layers.Input((numbers,), dtype="int32", name="codes")
    values = layers.Input((3,), name="values")
    joined = layers.Concatenate(name="joined")([encode(layers)(codes), values])
    return library.Model([codes, values], layers.Dense(4, name="scores")(joined))


def _outputs(path: Path, codes: Any, values: Any) -> Any:
    spec = reader.read(path)
    interpreter = interpreters.load(str(path), "net", Kernels.REFERENCE, threads=1)
    found = []
    for row in range(len(codes)):
        given: dict[str, Any] = {"codes": codes[row : row + 1], "values": values[row : row + 1]}
        for tensor in spec.inputs:
            name = next(name for name in given if name in tensor.name)
            interpreter.set_tensor(tensor.index, interpreters.stored(given[name], tensor).astype(tensor.dtype))
        interpreter.invoke()
        (end,) = spec.outputs
        found.append(interpreters.real(interpreter.get_tensor(end.index), end))
    return np.concatenate(found)


@pytest.mark.parametrize("library", [keras, pytest.param(tf_keras, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("kind", "numbers"), [("one_hot", 1), ("multi_hot", 3), ("count", 3), ("embedding", 3)])
def test_numbers_are_looked_up_as_they_are(library: Any, kind: str, numbers: int, tmp_path: Path) -> None:
    def encode(layers: Any) -> Any:
        if kind == "embedding":
            return lambda x: layers.Flatten()(layers.Embedding(7, 2, name="table")(x))
        return layers.CategoryEncoding(7, output_mode=kind, name="table")

    network = _network(library, encode, numbers)
    rng = np.random.default_rng(0)
    codes, values = rng.integers(0, 7, (64, numbers)).astype(np.int32), rng.normal(size=(64, 3)).astype(np.float32)
    expected = np.asarray(network([codes, values]))
    wrapped = from_keras_model(network)
    assert np.allclose(wrapped.call(tf.constant(codes), tf.constant(values))[0], expected, atol=1e-6)
    path = converted(wrapped, [codes, values], INT8, tmp_path / "made")
    spec = reader.read(path)
    assert {operator.name for operator in spec.operators} <= SMALL
    assert not any("float32" in operator.dtypes for operator in spec.operators)
    made = _outputs(path, codes, values)
    assert 10 * np.log10(np.sum(expected**2) / np.sum((expected - made) ** 2)) > 30
    if wheel.version():
        from edgebuild.runtimes.tflm.interpreter import Micro

        Micro(path).run_zeros()
