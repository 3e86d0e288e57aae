from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tf_keras
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from making import cluster_with, prune_with, qat_with
from shrinking import Artifacts, Data, Training, accuracy_of, by_layer, digits, layers, outputs_of, trained_on

from edgebuild.core.passes import DType, Pattern, Scheme
from edgebuild.errors import StepError
from edgebuild.flatbuffer import weights
from edgebuild.passes import qat
from edgebuild.passes.optimization import clustering, sparsity
from edgebuild.passes.optimization.scheme import with_own_layers

# The converter calibrates with an interpreter that TensorFlow wants to do without.
pytestmark = pytest.mark.filterwarnings("ignore:(?s).*tf.lite.Interpreter is deprecated")


@pytest.fixture(scope="module")
def data() -> Data:
    return digits()


@pytest.fixture(scope="module")
def trained(data: Data, shared: Path) -> Any:
    return trained_on(data, shared)


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory, data: Data) -> Artifacts:
    return Artifacts(tmp_path_factory.mktemp("artifacts"), data)


# Pruning


@pytest.mark.parametrize("pattern", [Pattern.BLOCK_1X4, Pattern.BLOCK_4X4, Pattern.TWO_OF_FOUR])
def test_patterns_hold_on_the_artifact(trained: Any, artifacts: Artifacts, pattern: Pattern) -> None:
    pruned = sparsity.prune_now(trained, prune_with(sparsity=0.5, pattern=pattern, smallest=0, last=False))
    stored = by_layer(artifacts(pruned))
    for layer in ("first_wide", "second_wide", "narrow", "hidden"):
        rows = stored[layer].values.reshape(len(stored[layer].values), -1)
        fours = rows.reshape(len(rows), -1, 4) != 0
        if pattern == Pattern.TWO_OF_FOUR:
            assert fours.sum(axis=2).max() <= 2
        else:
            high = 4 if pattern == Pattern.BLOCK_4X4 else 1
            blocks = fours.reshape(-1, high, fours.shape[1], 4).any(axis=(1, 3))
            assert 1 - blocks.mean() == pytest.approx(0.5, abs=0.01)
        assert stored[layer].sparsity >= 0.5 - 0.005
    assert stored["stem"].sparsity < 0.05


# Quantization-aware training


@pytest.mark.slow
def test_artifacts_hold_the_ranges_that_training_learned(trained: Any, data: Data, artifacts: Artifacts) -> None:
    quantized = qat.train(trained, qat_with(), Training(data, 20), data.batches)
    path = artifacts(quantized)
    model: Any = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    scales = {
        tensor.name.decode(): float(tensor.quantization.scale[0])
        for tensor in model.subgraphs[0].tensors
        if tensor.quantization is not None and tensor.quantization.scale is not None
    }
    for layer in ("stem_relu", "depthwise_relu", "first_wide_relu", "second_wide_relu", "narrow_relu", "pool"):
        ends = {v.name.split("/")[-1]: float(v) for v in quantized.get_layer(layer).weights if "output_m" in v.name}
        learned = (max(ends["output_max:0"], 0) - min(ends["output_min:0"], 0)) / 255
        assert any(scale == pytest.approx(learned, rel=1e-5) for name, scale in scales.items() if layer in name), layer
        assert learned != pytest.approx(12 / 255, rel=0.01)  # tfmot's range before it saw anything


def _badly_scaled(model: Any) -> Any:
    """The same function, whose channels between two layers differ in size a thousandfold."""
    scaled = tf_keras.models.clone_model(model)
    scaled.set_weights(model.get_weights())
    factors = 10 ** np.random.default_rng(0).uniform(-1.5, 1.5, 32).astype(np.float32)
    narrow, hidden = scaled.get_layer("narrow"), scaled.get_layer("hidden")
    narrow.set_weights([array * factors for array in narrow.get_weights()])
    kernel, bias = hidden.get_weights()
    hidden.set_weights([kernel / factors[:, np.newaxis], bias])
    return scaled


@pytest.mark.slow
def test_training_gives_back_the_accuracy_that_quantization_took(
    trained: Any, data: Data, artifacts: Artifacts
) -> None:
    hard = _badly_scaled(trained)
    np.testing.assert_allclose(hard(data.x[:20]), trained(data.x[:20]), atol=1e-4)
    float_accuracy = float((hard(data.x[1200:1600]).numpy().argmax(axis=1) == data.y[1200:1600]).mean())
    after_training = accuracy_of(artifacts(hard), data)
    learned = qat.train(hard, qat_with(), Training(data, 300), data.batches)
    aware = accuracy_of(artifacts(learned), data)
    assert after_training < float_accuracy - 0.3
    assert aware > float_accuracy - 0.1


@pytest.mark.slow
def test_zeros_and_clusters_survive_into_the_artifact(trained: Any, data: Data, artifacts: Artifacts) -> None:
    pruned = sparsity.prune_now(trained, prune_with(sparsity=0.6))
    both = clustering.cluster_now(pruned, cluster_with(clusters=16))
    learned = qat.train(both, qat_with(), Training(data, 100), data.batches)
    stored = by_layer(artifacts(learned))
    for layer in ("second_wide", "narrow", "hidden"):
        assert stored[layer].sparsity == pytest.approx(0.6, abs=0.01), layer
        assert 3 < stored[layer].unique <= 16, layer
    # first_wide is too small to be pruned: one kernel without zeros takes them from no other.
    assert stored["first_wide"].sparsity < 0.05
    assert stored["first_wide"].unique <= 16
    assert stored["depthwise"].unique > 50


@pytest.mark.slow
def test_zeros_alone_survive_into_the_artifact(trained: Any, data: Data, artifacts: Artifacts) -> None:
    pruned = sparsity.prune_now(trained, prune_with(sparsity=0.6, pattern=Pattern.TWO_OF_FOUR))
    learned = qat.train(pruned, qat_with(), Training(data, 60), data.batches)
    stored = by_layer(artifacts(learned))
    for layer in ("second_wide", "narrow", "hidden"):
        fours = stored[layer].values.reshape(-1, 4) != 0
        assert fours.sum(axis=1).max() <= 2, layer
        assert stored[layer].unique > 16


@pytest.mark.slow
def test_clusters_survive_quantization_after_training_by_way_of_calibration(
    trained: Any, data: Data, artifacts: Artifacts
) -> None:
    clustered = clustering.cluster_now(trained, cluster_with(clusters=16))
    calibrated = qat.calibrated(clustered, qat_with(), data.batches)
    path = artifacts(calibrated)
    kept = {layer: item.unique for layer, item in by_layer(path).items() if layer != "depthwise"}
    assert max(kept[layer] for layer in clustering.clusters_of(clustered)) <= 16
    assert max(item.unique for layer, item in by_layer(artifacts(clustered)).items() if layer != "depthwise") > 16
    float_answers = np.argmax(clustered(data.x[1200:1600]), axis=1)
    assert (outputs_of(path, data.x[1200:1600]).argmax(axis=1) == float_answers).mean() > 0.97


def test_layers_that_cannot_be_trained_quantized_are_named_and_left_out() -> None:
    given = layers.Input((16, 4))
    x = layers.Conv1D(8, 3, name="conv1d")(given)
    x = layers.Flatten(name="flat")(x)
    x = layers.Dense(4, activation="elu", name="elu")(x)
    model = tf_keras.Model(given, layers.Dense(2, name="answer")(x))
    assert qat.left_out(model, qat_with()) == ("conv1d", "elu_elu")
    assert qat.left_out(model, qat_with(exclude=("answer",)))[-1] == "answer"
    alone = tf_keras.Model(given, layers.Conv1D(8, 3, name="conv1d")(given))
    with pytest.raises(StepError, match="conv1d"):
        qat.calibrated(alone, qat_with(), [[np.zeros((1, 16, 4), np.float32)]])


def test_a_separable_layer_that_is_called_twice_is_left_out_and_the_others_are_trained() -> None:
    given = layers.Input((6, 6, 3))
    twice = layers.SeparableConv2D(3, 3, padding="same", name="twice")
    once = layers.SeparableConv2D(4, 3, name="once")
    model = tf_keras.Model(given, layers.Dense(2, name="end")(once(twice(twice(given)))))
    assert qat.left_out(model, qat_with()) == ("twice",)
    samples = np.zeros((1, 6, 6, 3), np.float32)
    assert qat.calibrated(model, qat_with(), [[samples]])(samples).shape == (1, 4, 4, 2)


class Unregistered(layers.Layer):  # type: ignore[misc]
    """What tfmot cannot build again."""

    def call(self, inputs: Any) -> Any:
        return 2.0 * inputs


def test_a_network_that_tfmot_cannot_build_again_converts_without_it(artifacts: Artifacts) -> None:
    given = layers.Input((8, 8, 1))
    model = tf_keras.Model(given, layers.Dense(4)(layers.Flatten()(Unregistered()(given))))
    with pytest.raises(StepError, match="Leave out qat"):
        qat.calibrated(model, qat_with(), [[np.zeros((1, 8, 8, 1), np.float32)]])
    assert artifacts(model).exists()


def test_activations_of_their_own_layers_compute_the_same() -> None:
    tf_keras.utils.set_random_seed(0)
    given = layers.Input((4, 4, 3))
    shared = layers.Conv2D(3, 1, activation="relu6", name="shared")
    model = tf_keras.Model(given, layers.Dense(2, activation="elu")(shared(shared(given))))
    split = with_own_layers(model)
    x = 9 * np.random.default_rng(0).normal(size=(5, 4, 4, 3)).astype(np.float32)
    np.testing.assert_allclose(split(x), model(x), atol=1e-6)
    assert {layer.activation.__name__ for layer in split.layers if "conv2d" in type(layer).__name__.lower()} == {
        "linear"
    }


# The sparse encoding


def _sparse_network() -> Any:
    tf_keras.utils.set_random_seed(0)
    x = given = layers.Input((8, 8, 1))
    x = layers.Conv2D(64, 3, padding="same", activation="relu")(x)
    x = layers.Conv2D(320, 1, activation="relu")(x)
    x = layers.Conv2D(320, 1, activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return tf_keras.Model(given, layers.Dense(32)(x))


@pytest.fixture(scope="module")
def sparse_sizes(artifacts: Artifacts) -> dict[float, tuple[Path, Path]]:
    model = _sparse_network()
    pairs = {}
    for share in (0.5, 0.8):
        pruned = sparsity.prune_now(model, prune_with(sparsity=share))
        pairs[share] = artifacts(pruned), artifacts(pruned, sparse=True)
    return pairs


def test_a_sparse_file_is_smaller_and_computes_the_same_on_all_kernels(sparse_sizes: Any, data: Data) -> None:
    dense, sparse = sparse_sizes[0.8]
    assert sparse.stat().st_size <= 0.65 * dense.stat().st_size
    for resolver in (
        OpResolverType.BUILTIN,
        OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        OpResolverType.BUILTIN_REF,
    ):
        np.testing.assert_array_equal(
            outputs_of(sparse, data.x[:10], resolver), outputs_of(dense, data.x[:10], resolver)
        )
    pairs = list(zip(weights.read(sparse), weights.read(dense), strict=True))
    for encoded, plain in pairs:
        np.testing.assert_array_equal(encoded.values, plain.values)
        assert encoded.operator == plain.operator
    # XNNPACK refuses networks with a sparse int8 FULLY_CONNECTED.
    assert [encoded.is_sparse for encoded, _ in pairs] == [False, True, True, False]
    # 320 channels in need two bytes an index, unless laid out otherwise.
    assert pairs[2][0].size_bytes < 0.57 * pairs[2][1].size_bytes


@pytest.mark.parametrize(
    "scheme",
    [
        Scheme.INT16X8,
        *(pytest.param(scheme, marks=pytest.mark.slow) for scheme in (Scheme.DYNAMIC, Scheme.FLOAT16, Scheme.FLOAT32)),
    ],
)
def test_sparse_files_of_other_schemes_run_too(artifacts: Artifacts, scheme: Scheme) -> None:
    pruned = sparsity.prune_now(_sparse_network(), prune_with(sparsity=0.8))
    end = DType.INT16 if scheme == Scheme.INT16X8 else DType.FLOAT32
    dense, sparse = (artifacts(pruned, scheme=scheme, input=end, output=end, sparse=asked) for asked in (False, True))
    results = []
    for path in (dense, sparse):
        interpreter = Interpreter(model_path=str(path), num_threads=1)
        interpreter.allocate_tensors()
        entry = interpreter.get_input_details()[0]
        interpreter.set_tensor(entry["index"], np.full(entry["shape"], 1, entry["dtype"]))
        interpreter.invoke()
        results.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    np.testing.assert_array_equal(*results)
    encoded = [item.is_sparse for item in weights.read(sparse)]
    assert any(encoded) == (scheme in (Scheme.FLOAT16, Scheme.FLOAT32))
    for plain, item in zip(weights.read(dense), weights.read(sparse), strict=True):
        np.testing.assert_array_equal(plain.values, item.values)


def test_what_would_not_be_smaller_stays_dense(sparse_sizes: Any) -> None:
    dense, sparse = sparse_sizes[0.5]
    assert not any(encoded.is_sparse for encoded in weights.read(sparse))
    assert sparse.stat().st_size <= 1.01 * dense.stat().st_size
