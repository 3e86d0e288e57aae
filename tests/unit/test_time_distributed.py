"""TimeDistributed around layers and models: computed with the steps as a batch, taken apart, cut and converted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest
import surgery_proof
import tensorflow as tf
import tf_keras
from converting import converted

from edgebuild.core.passes import DType, Quantize, Scheme
from edgebuild.core.target import Kernels
from edgebuild.passes import carry
from edgebuild.passes.calibration import points, walking
from edgebuild.passes.graph import building, files, proof, running
from edgebuild.passes.loading import from_keras_model
from edgebuild.passes.surgery import tracing
from edgebuild.passes.surgery.cost import Macs, total
from edgebuild.passes.surgery.operators import operators
from edgebuild.runtimes import interpreters
from edgebuild.runtimes.tflm.interpreter import Micro

pytestmark = pytest.mark.filterwarnings("ignore:(?s).*tf.lite.Interpreter is deprecated")

_FRAMES = (5, 8, 8, 2)
_INT8 = Quantize(scheme=Scheme.INT8, input=DType.INT8, output=DType.INT8, float_fallback=False)
_BOTH = pytest.mark.parametrize("made_in", [tf_keras, keras], ids=["tf_keras", "keras 3"])


def _frames(made_in: Any) -> Any:
    """A model for each of five frames, in which a model is wrapped again, and a layer for each step behind it."""
    made_in.utils.set_random_seed(0)
    l = made_in.layers  # noqa: E741
    rows = made_in.Sequential(
        [l.Input((6, 4)), l.Conv1D(3, 2, activation="relu", name="along"), l.Flatten()], name="row"
    )
    given = l.Input(_FRAMES[1:])
    x = l.BatchNormalization(name="norm")(l.Conv2D(4, 3, activation="relu", name="conv")(given))
    x = l.Flatten(name="flat")(l.TimeDistributed(rows, name="rows")(x))
    frame = made_in.Model(given, x, name="frame")
    images = made_in.Input(_FRAMES, name="images")
    x = l.TimeDistributed(l.Dense(6, activation="relu"), name="each")(l.TimeDistributed(frame, name="frames")(images))
    return made_in.Model(images, l.Dense(3, name="end")(l.GlobalAveragePooling1D()(x)))


def _some(count: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=(count, *_FRAMES)).astype(np.float32)


@_BOTH
def test_a_model_for_each_step_is_taken_apart_and_computed_once_for_all_steps(made_in: Any, tmp_path: Path) -> None:
    model, x = _frames(made_in), _some(3)
    network = from_keras_model(model)
    expected = np.asarray(model(x))
    assert proof.difference(expected, network.call(tf.constant(x))[0].numpy()) < 1e-6
    assert network.within["frames"] == ("frames", "conv", "norm", "rows", "along", *network.layers[6:8])
    # Of one sample no slice of a step is left, and nothing has more axes than the input.
    traced = tf.function(network.call).get_concrete_function(tf.TensorSpec([1, *_FRAMES])).graph
    assert {"StridedSlice", "Pack", "Unpack", "While"} & {op.type for op in traced.get_operations()} == set()

    files.save(carry._carried(network, "net", ())[0], tmp_path / "net.npz")
    graph = files.load(tmp_path / "net.npz")
    assert {"conv", "along", "norm", "each", "end"} <= graph.layers.keys()
    assert building.build(graph).output_names == [network.outputs[0]]
    rows = running.rows(graph)
    assert [rows[next(graph.calls_of(name)).outputs[0]] for name in ("conv", "along", "each", "end")] == [5, 30, 1, 1]
    macs = 5 * (6 * 6 * 9 * 2 * 4 + 6 * 5 * 2 * 4 * 3 + 90 * 6) + 6 * 3
    channels = tracing.trace(graph)
    counts = [len(group.classes) for group in channels.groups]
    assert total(operators(graph, channels), Macs(), counts) == macs

    # The channels inside can go, and the rest fits.
    lively = surgery_proof.lively(graph)
    channels = tracing.trace(lively)
    assert {"conv", "along", "each"} <= {name for group in channels.groups for name in group.layers}
    found = surgery_proof.prove(lively, channels, surgery_proof.some(channels), x)
    assert found.consumers < 1e-5
    assert found.effect > 1e-3


def test_more_samples_than_a_batch_are_walked_with_their_steps_together() -> None:
    plan = points.plan(carry._read(_frames(tf_keras)))
    seen: dict[str, int] = {}

    def note(layer: Any, exact: Any, given: Any) -> Any:
        seen[layer.name] = len(exact)
        return layer

    walking.refined(plan, {}, [_some(40)], note)
    assert seen["conv"] == 40 * 5
    assert seen["end"] == 40


@_BOTH
def test_frames_run_on_both_runtimes(made_in: Any, tmp_path: Path) -> None:
    model, samples = _frames(made_in), _some(20)
    path = converted(from_keras_model(model), [samples], _INT8, tmp_path / "out")
    micro, litert = Micro(path), interpreters.load(str(path), "net", Kernels.REFERENCE, 1)
    given, made = micro.spec.inputs[0], micro.spec.outputs[0]
    outputs = []
    for sample in samples:
        stored = interpreters.stored(sample[None], given)
        micro.run([stored])
        litert.set_tensor(given.index, stored)
        litert.invoke()
        steps = micro.output(0).astype(int) - litert.get_tensor(made.index)
        assert np.abs(steps).max() <= 1  # TFLM rounds means in another way
        outputs.append(interpreters.real(micro.output(0), made)[0])
    expected = np.asarray(model(samples))
    noise = np.mean((expected - np.array(outputs)) ** 2)
    assert 10 * np.log10(np.mean(expected**2) / noise) > 20


class _MixesBatch(keras.layers.Layer):  # type: ignore[misc]
    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def call(self, x: Any) -> Any:
        return x - keras.ops.mean(x, axis=0, keepdims=True)


def test_what_looks_at_a_whole_batch_is_computed_step_by_step() -> None:
    given = keras.Input((4, 3))
    model = keras.Model(given, keras.layers.TimeDistributed(_MixesBatch())(given))
    x = np.random.default_rng(0).normal(size=(1, 4, 3)).astype(np.float32)
    (found,) = from_keras_model(model).call(tf.constant(x))
    assert np.array_equal(found, np.asarray(model(x)))
    assert not np.any(found)  # of a single row nothing is left
