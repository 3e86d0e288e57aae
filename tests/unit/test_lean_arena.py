"""Lean arenas: what TFLM records for int8 networks whose operators or tensors have other places than before."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from ai_edge_litert import schema_py_generated as schema

from edgebuild.actions.conversion import ARTIFACT, Leaned, LeanJob
from edgebuild.actions.runtimes import ArenaJob
from edgebuild.core.delivery import BiasScales, Keep
from edgebuild.core.device import Arena
from edgebuild.core.target import Interpreter, Kernels
from edgebuild.errors import StepError
from edgebuild.flatbuffer import memory_plan
from edgebuild.flatbuffer.inspecting import inspect
from edgebuild.flatbuffer.rewriting import tight
from edgebuild.flatbuffer.rewriting.lean import OFFLINE_PLAN, lean
from edgebuild.process import Child, Limits
from edgebuild.runtimes.same_outputs import SameOutputs, SameOutputsJob
from tests.conftest import PATIENCE_S

LIMITS = Limits(time_s=PATIENCE_S, memory_bytes=4 << 30)
RUNTIMES = ({"kernels": Kernels.REFERENCE}, {"kernels": Kernels.XNNPACK}, {"runtime": Interpreter.TFLM})
LOADED = ("hello_world_int8", "micro_speech_quantized", "person_detect", "trained_lstm_int8")
layers = tf_keras.layers


class Files(NamedTuple):
    cell: bytes
    chain: bytes


def convolution(x: Any, channels: int, size: int, strides: int = 1) -> Any:
    return layers.Conv2D(channels, size, strides=strides, padding="same", activation="relu")(x)


def cell() -> Any:
    """As in a searched network: branches that widen and narrow, joined, and more of them behind."""
    image = layers.Input((16, 16, 8), batch_size=1)
    widened = [convolution(image, channels, 1) for channels in (24, 32, 16, 40)]
    joined = layers.Concatenate()([convolution(wide, 4, 3, strides=2) for wide in widened])
    long = convolution(convolution(joined, 32, 1), 8, 3)
    added = layers.Add()([long, convolution(joined, 8, 1)])
    pooled = layers.MaxPooling2D(3, 1, "same")(joined)
    features = layers.GlobalAveragePooling2D()(layers.Concatenate()([added, pooled]))
    return tf_keras.Model(image, layers.Dense(4)(features))


def chain() -> Any:
    """Activations of 3, 2, 2 and 4 KiB one after another, as at the start of MobileNet."""
    image = layers.Input((16, 16, 12), batch_size=1)
    x = convolution(image, 32, 3, strides=2)
    x = layers.DepthwiseConv2D(3, padding="same")(x)
    x = convolution(x, 64, 1)
    x = layers.DepthwiseConv2D(3, strides=2, padding="same")(x)
    return tf_keras.Model(image, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))


def int8(network: Any) -> bytes:
    rng = np.random.default_rng(0)
    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: (
        [rng.standard_normal(network.input_shape).astype(np.float32)] for _ in range(8)
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return bytes(converter.convert())


@pytest.fixture(scope="module")
def files() -> Files:
    import warnings

    tf_keras.utils.set_random_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the converter's own
        return Files(int8(cell()), int8(chain()))


class Measuring:
    """Files in a folder, asked of TFLM and compared in children."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, name: str, data: bytes) -> str:
        (self._folder / name).write_bytes(data)
        return str(self._folder / name)

    def arena(self, data: bytes) -> Arena:
        job = ArenaJob(artifact=self.write("measured.tflite", data))
        with Child("edgebuild.execution.serving", "TFLM", self._folder / "log") as child:
            return msgspec.json.decode(child.call("tflm-arena", job, LIMITS, lambda _: None), type=Arena)

    def are_same(self, one: bytes, other: bytes, **runtime: Any) -> bool:
        paths = {"artifact": self.write("one.tflite", one), "other": self.write("other.tflite", other)}
        job = SameOutputsJob(**paths, **runtime)
        with Child("edgebuild.runtimes.same_outputs", "the comparison", self._folder / "log") as child:
            answer = msgspec.json.decode(child.call("same-outputs", job, LIMITS, lambda _: None), type=SameOutputs)
        return answer == SameOutputs(samples=8, differing=0)

    @property
    def made(self) -> bytes:
        return (self._folder / ARTIFACT).read_bytes()

    def lean(self, data: bytes, **fields: Any) -> Leaned:
        """What the child says of the file that it made of this one."""
        paths = {"artifact": self.write("given.tflite", data), "out": str(self._folder)}
        job = LeanJob(**{**paths, "keep": Keep(), "runtime": Interpreter.TFLM, **fields})
        with Child("edgebuild.execution.serving", "packing", self._folder / "log") as child:
            return msgspec.json.decode(child.call("lean", job, LIMITS, lambda _: None), type=Leaned)


@pytest.fixture
def measuring(tmp_path: Path) -> Measuring:
    pytest.importorskip("tflite_micro", reason="pip install 'edgebuild[micro]'")
    return Measuring(tmp_path)


def test_a_branching_network_in_a_better_order_takes_a_smaller_arena(files: Files, measuring: Measuring) -> None:
    made = memory_plan.arena_order(files.cell)
    before, after = measuring.arena(files.cell), measuring.arena(made)
    assert after.head_bytes < 0.6 * before.head_bytes
    assert after.required_bytes < 0.7 * before.required_bytes
    for runtime in RUNTIMES:
        assert measuring.are_same(files.cell, made, **runtime)


def test_a_plan_takes_a_smaller_arena_than_the_greedy_planner(files: Files, measuring: Measuring) -> None:
    assert memory_plan.arena_order(files.chain) is files.chain
    made = memory_plan.planned(files.chain)
    before, after = measuring.arena(files.chain), measuring.arena(made)
    assert (before.head_bytes, after.head_bytes) == (8 * 1024, 6 * 1024)
    assert after.required_bytes < before.required_bytes
    for runtime in RUNTIMES:
        assert measuring.are_same(files.chain, made, **runtime)


def test_a_lean_file_in_order_with_a_plan_is_all_of_these(files: Files, measuring: Measuring) -> None:
    for given in files:
        made = memory_plan.planned(memory_plan.arena_order(lean(given, Keep())))
        assert len(made) < len(given)
        assert measuring.arena(made).required_bytes < measuring.arena(given).required_bytes
        assert lean(made, Keep()) == made
        assert measuring.are_same(given, made, runtime=Interpreter.TFLM)


def test_the_greedy_planner_s_need_is_known_without_it(files: Files, measuring: Measuring) -> None:
    for data in (*files, memory_plan.arena_order(files.cell)):
        assert memory_plan.head_bytes(inspect(data, "").graphs[0]) == measuring.arena(data).head_bytes


@pytest.mark.parametrize("name", LOADED)
def test_no_real_file_takes_a_larger_arena(assets: Path, measuring: Measuring, name: str) -> None:
    data = (assets / "tflm" / f"{name}.tflite").read_bytes()
    made = memory_plan.planned(memory_plan.arena_order(lean(data, Keep())))
    before, after = measuring.arena(data), measuring.arena(made)
    assert after.required_bytes <= before.required_bytes
    assert after.recorded_bytes <= before.recorded_bytes


def test_operators_stay_where_they_are_beside_state_effects_unknown_ones_and_plans(files: Files) -> None:
    def with_variable(model: Any) -> None:
        model.subgraphs[0].tensors[25].isVariable = True

    def with_custom(model: Any) -> None:
        model.operatorCodes[0].builtinCode = schema.BuiltinOperator.CUSTOM
        model.operatorCodes[0].customCode = b"mine"

    def with_random(model: Any) -> None:
        model.operatorCodes[0].builtinCode = schema.BuiltinOperator.RANDOM_UNIFORM

    def with_two_graphs(model: Any) -> None:
        model.subgraphs.append(model.subgraphs[0])

    def with_plan(model: Any) -> None:
        entry = schema.MetadataT()
        entry.name = OFFLINE_PLAN
        model.metadata = [entry]

    def with_a_type_of_no_size(model: Any) -> None:
        model.subgraphs[0].tensors[25].type = schema.TensorType.RESOURCE

    assert memory_plan.arena_order(files.cell) != files.cell
    for change in (with_variable, with_custom, with_random, with_two_graphs, with_plan, with_a_type_of_no_size):
        model = schema.ModelT.InitFromPackedBuf(files.cell, 0)
        change(model)
        data = tight.pack(model)
        assert memory_plan.arena_order(data) is data


@pytest.mark.parametrize("opened", [1, 3])
def test_dimensions_left_open_count_as_1_for_order_and_plan(files: Files, measuring: Measuring, opened: int) -> None:
    """TFLM allocates shapes; what their signatures leave open says nothing about it."""

    def left_open(data: bytes) -> bytes:
        model = schema.ModelT.InitFromPackedBuf(data, 0)
        for tensor in model.subgraphs[0].tensors:
            if len(tensor.shape) == 4 and model.buffers[tensor.buffer].data is None:
                tensor.shapeSignature = np.array([-1] * opened + list(tensor.shape[opened:]), np.int32)
        return tight.pack(model)

    for data, made in ((files.cell, memory_plan.arena_order), (files.chain, memory_plan.planned)):
        given = left_open(data)
        assert any(-1 in tensor.shape for tensor in inspect(given, "").graphs[0].tensors)
        found = measuring.arena(made(given)).required_bytes
        assert found == measuring.arena(made(data)).required_bytes < measuring.arena(given).required_bytes
        assert measuring.are_same(given, made(given), runtime=Interpreter.TFLM)


@pytest.mark.slow
def test_the_child_hands_out_what_it_has_proved(files: Files, measuring: Measuring) -> None:
    for given, what in zip(files, ((True, False), (False, True)), strict=True):
        made = measuring.lean(given, kernels=(Kernels.REFERENCE, Kernels.XNNPACK))
        assert (made.reordered, made.planned) == what
        assert made.leaner.verified_on == ("litert reference", "litert xnnpack", "tflm")
        assert measuring.arena(measuring.made).required_bytes < measuring.arena(given).required_bytes
        assert (made.leaner.before_bytes, made.leaner.after_bytes) == (len(given), len(measuring.made))
        assert (sum(made.before.values()), sum(made.after.values())) == (len(given), len(measuring.made))
        assert made.leaner.payload_bytes < made.leaner.after_bytes < made.leaner.before_bytes


def test_the_child_leaves_a_file_whose_outputs_would_change(assets: Path, measuring: Measuring) -> None:
    """Without scales of biases XNNPACK leaves layers to kernels that round differently."""
    given = (assets / "kws/reference_int8.tflite").read_bytes()
    keep = Keep(bias_scales=BiasScales.NONE)
    made = measuring.lean(given, kernels=(Kernels.XNNPACK,), keep=keep, runtime=Interpreter.LITERT)
    assert measuring.made == given
    assert made.leaner.after_bytes == made.leaner.before_bytes
    kept = measuring.lean(given, kernels=(Kernels.REFERENCE,), keep=keep, runtime=Interpreter.LITERT)
    assert kept.leaner.after_bytes < kept.leaner.before_bytes
    assert (kept.reordered, kept.planned) == (False, False)


def test_a_damaged_file_is_an_error(files: Files) -> None:
    for ordered in (memory_plan.arena_order, memory_plan.planned):
        with pytest.raises(StepError):
            ordered(files.cell[:500])
