"""Artifacts in which equal vectors are stored once: smaller, and the same in everything that is read or computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edgebuild.flatbuffer import reader, weights
from edgebuild.flatbuffer.rewriting import tight

NAMES = ("kws/reference_int8.tflite", "edgetpu/mobilenet_v1_0.25_128_quant.tflite", "tflm/trained_lstm_int8.tflite")


def outputs(path: Path, resolver: OpResolverType) -> list[np.ndarray]:
    interpreter = Interpreter(model_path=str(path), experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    rng = np.random.default_rng(0)
    for details in interpreter.get_input_details():
        kind = np.iinfo(details["dtype"]) if np.issubdtype(details["dtype"], np.integer) else None
        shape = details["shape"]
        x = rng.integers(kind.min, kind.max, shape) if kind else rng.normal(size=shape)
        interpreter.set_tensor(details["index"], x.astype(details["dtype"]))
    interpreter.invoke()
    return [interpreter.get_tensor(details["index"]) for details in interpreter.get_output_details()]


@pytest.mark.parametrize("name", NAMES)
def test_a_shared_file_is_the_same_network(assets: Path, tmp_path: Path, name: str) -> None:
    original = assets / name
    if not original.is_file():
        pytest.skip(f"{original} is not there")
    shared = tmp_path / "shared.tflite"
    shared.write_bytes(tight.share(original.read_bytes()))
    assert shared.stat().st_size < original.stat().st_size
    assert reader.read(shared) == reader.read(original)
    for one, other in zip(weights.read(shared), weights.read(original), strict=True):
        np.testing.assert_array_equal(one.values, other.values)
        np.testing.assert_array_equal(one.scale, other.scale)
    for resolver in (OpResolverType.BUILTIN, OpResolverType.BUILTIN_REF):
        for one, other in zip(outputs(shared, resolver), outputs(original, resolver), strict=True):
            np.testing.assert_array_equal(one, other)


def test_sharing_what_is_shared_changes_nothing_and_half_of_a_small_network_was_said_twice(assets: Path) -> None:
    original = (assets / NAMES[0]).read_bytes()
    shared = tight.share(original)
    assert tight.share(shared) == shared
    assert len(shared) < 0.85 * len(original)
