"""Channels rescaled between layers: exact on every kind of structure, and of use to int8."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest
import surgery_proof
import tensorflow as tf
from surgery_proof import end, graph_of, sample
from tf_keras import layers as kl

from edgebuild.passes.equalization.choice import choose
from edgebuild.passes.equalization.preparing import copies_of, path_of
from edgebuild.passes.equalization.scaling import Scales, Scaling, rescaled
from edgebuild.passes.equalization.statistics import amplitudes, extents, points
from edgebuild.passes.equalization.tracing import trace
from edgebuild.passes.equalize import Equalized, equalize
from edgebuild.passes.graph import building, proof
from edgebuild.passes.graph.folding import fold_batch_norm
from edgebuild.passes.graph.ir import Graph
from edgebuild.passes.graph.proof import difference

Body = Callable[[Any], Any]


def conv(name: str, filters: int = 8, kernel: int = 3, **options: Any) -> Any:
    return kl.Conv2D(filters, kernel, padding="same", name=name, **options)


def start(x: Any, filters: int = 8) -> Any:
    return conv("start", filters, activation="relu")(x)


def outputs(graph: Graph, x: Any = None) -> Any:
    (result,) = proof.outputs_of(building.build(graph), [sample() if x is None else x])
    return result


def free(scaling: Scaling) -> set[int]:
    return set(range(scaling.classes)) - scaling.pinned.keys()


def random_scales(scaling: Scaling, seed: int = 0, decades: float = 1.5) -> Scales:
    scales = 10 ** np.random.default_rng(seed).uniform(-decades, decades, scaling.classes)
    scales[list(scaling.pinned)] = 1
    return scales


def excited(x: Any) -> Any:
    x = conv("wide", 8, activation="relu")(x)
    gate = kl.Reshape((1, 1, 8))(kl.GlobalAveragePooling2D()(x))
    gate = conv("open", 8, 1, activation="sigmoid")(conv("squeeze", 4, 1, activation="relu")(gate))
    return end(kl.Multiply()([x, gate]))


def residual(x: Any) -> Any:
    x = start(x)
    y = conv("two")(conv("one", activation="relu")(x))
    return end(kl.ReLU()(kl.Add()([x, y])))


def branches(x: Any) -> Any:
    x = start(x)
    joined = kl.Concatenate()([x, conv("one", 4, activation="relu")(x)])
    return end(kl.Concatenate()([joined[..., 2:6], conv("two", 4)(joined)]))


def shared(x: Any) -> Any:
    twice = conv("twice", 8, activation="relu")
    return end(twice(twice(start(x))))


# The body of a network, and how many scales it leaves free: all of the channels that lie between two layers.
STRUCTURES: dict[str, tuple[Body, int]] = {
    "ReLU": (lambda x: end(kl.ReLU()(conv("one")(start(x)))), 8 + 8),
    "leaky ReLU": (lambda x: end(kl.LeakyReLU(0.1)(conv("one")(start(x)))), 8 + 8),
    "PReLU along all axes": (lambda x: end(kl.PReLU()(start(x))), 8),
    "PReLU by channel": (lambda x: end(kl.PReLU(shared_axes=[1, 2])(start(x))), 8),
    "no activation": (lambda x: end(conv("one")(start(x))), 16),
    "activation as a layer": (lambda x: end(kl.Activation("relu")(conv("one")(x))), 8),
    "activation as a function": (lambda x: end(tf.nn.leaky_relu(conv("one")(x), 0.3)), 8),
    "maximum with zero": (lambda x: end(tf.maximum(conv("one")(x), 0.0)), 8),
    "multiplication by a number": (lambda x: end(conv("one")(x) * 3.0), 8),
    "depthwise": (lambda x: end(kl.DepthwiseConv2D(3, activation="relu")(start(x))), 8 + 8),
    "depthwise with a multiplier": (lambda x: end(kl.DepthwiseConv2D(3, depth_multiplier=2)(start(x))), 8 + 16),
    "groups": (lambda x: end(conv("one", 12, groups=4)(start(x))), 8 + 12),
    "as many groups as channels": (lambda x: end(conv("one", 16, groups=8)(start(x))), 8 + 16),
    "batch norm behind the activation": (lambda x: end(kl.BatchNormalization()(start(x))), 8 + 8),
    "transposed": (lambda x: end(kl.Conv2DTranspose(5, 3, 2)(start(x))), 8 + 5),
    "separable": (lambda x: end(kl.SeparableConv2D(5, 3)(start(x))), 8 + 5),
    "dense along rows": (lambda x: end(kl.Dense(5, activation="relu")(start(x))), 8 + 5),
    "residual": (residual, 8 + 8),
    "branches": (branches, 8 + 4 + 4),
    "squeeze and excite": (excited, 8 + 4),
    "shared": (shared, 8),
    "pooling": (lambda x: end(kl.AveragePooling2D(2)(kl.MaxPooling2D(2, 1)(start(x)))), 8),
    "global pooling": (lambda x: kl.Dense(2)(kl.GlobalMaxPooling2D()(start(x))), 8),
    "up-sampling": (lambda x: end(kl.UpSampling2D(2, interpolation="bilinear")(start(x))), 8),
    "padding and cropping": (lambda x: end(kl.Cropping2D(1)(kl.ZeroPadding2D(2)(start(x)))), 8),
    "permutation": (lambda x: end(kl.Permute((3, 1, 2))(start(x))), 8),
    "reshape": (lambda x: end(kl.Reshape((36, 8))(start(x))), 8),
    "minimum": (lambda x: end(kl.Minimum()([conv("one")(x), conv("two")(x)])), 8),
}


@pytest.mark.parametrize("kind", STRUCTURES)
def test_a_rescaled_network_computes_the_same(kind: str) -> None:
    body, count = STRUCTURES[kind]
    graph = graph_of(body)
    scaling = trace(graph)
    scaled = rescaled(graph, scaling, random_scales(scaling))
    model = building.build(graph)
    (before,) = proof.outputs_of(model, [sample()])
    for name, layer in scaled.layers.items():
        model.get_layer(name).set_weights(list(layer.weights.values()))
    (after,) = proof.outputs_of(model, [sample()])
    assert len(free(scaling)) == count
    assert difference(before, after) <= 1e-5
    assert scaled.identity() != graph.identity()


PINNED: dict[str, Body] = {
    "sigmoid": lambda x: end(kl.Activation("sigmoid")(conv("one")(x))),
    "swish in the layer": lambda x: end(conv("one", activation="swish")(x)),
    "softmax": lambda x: end(kl.Softmax()(conv("one")(x))),
    "elu": lambda x: end(kl.ELU()(conv("one")(x))),
    "a threshold": lambda x: end(kl.ThresholdedReLU(0.5)(conv("one")(x))),
    "an added number": lambda x: end(conv("one")(x) + 3.0),
    "a reciprocal": lambda x: end(1.0 / (conv("one")(x) + conv("two")(x))),
    "the network's input": lambda x: end(kl.Add()([conv("one", 3)(x), x])),
    "the network's output": conv("one"),
    "a recurrent layer": lambda x: kl.Dense(2)(kl.GRU(3)(kl.Reshape((36, 8))(conv("one")(x)))),
    "normalization": lambda x: end(kl.LayerNormalization()(conv("one")(x))),
    "padding with ones": lambda x: end(tf.pad(conv("one")(x), [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=1.0)),
    "a bias along another axis": lambda x: end(kl.Dense(4)(kl.Permute((1, 3, 2))(conv("one")(x)))),
}


@pytest.mark.parametrize("kind", PINNED)
def test_channels_that_meet_something_else_keep_their_scale(kind: str) -> None:
    scaling = trace(graph_of(PINNED[kind]))
    own = {int(n) for item in scaling.factors if item.layer == "one" for n in item.classes.ravel() if n >= 0}
    assert own
    assert own <= scaling.pinned.keys()


def test_scales_of_pinned_channels_are_refused() -> None:
    graph = graph_of(PINNED["sigmoid"])
    scaling = trace(graph)
    with pytest.raises(ValueError, match="pinned"):
        rescaled(graph, scaling, np.full(scaling.classes, 2.0))


CAPPED: dict[str, Body] = {
    "layer": lambda x: end(kl.ReLU(6.0)(conv("one")(x))),
    "in the layer": lambda x: end(conv("one", activation="relu6")(x)),
    "function": lambda x: end(tf.nn.relu6(conv("one")(x))),
    "clipping": lambda x: end(tf.clip_by_value(conv("one")(x), 0.0, 6.0)),
}


@pytest.mark.parametrize("kind", CAPPED)
def test_a_cap_is_traced_wherever_it_stands(kind: str) -> None:
    scaling = trace(graph_of(CAPPED[kind]))
    ((tensor, value),) = scaling.caps
    assert value == 6
    assert set(scaling.classes_of(tensor).tolist()) == free(scaling)


def spoilt(graph: Graph, seed: int = 0) -> Graph:
    """The same network with channels of very different sizes, where no cap forbids it."""
    graph = fold_batch_norm(graph).graph
    scaling = trace(graph)
    scales = random_scales(scaling, seed)
    for cap in scaling.caps:
        scales[scaling.classes_of(cap.tensor)] = 1
    return rescaled(graph, scaling, scales)


def batches(count: int = 24, scale: float = 1.0) -> list[list[Any]]:
    x = np.random.default_rng(7).normal(size=(count, *surgery_proof.IMAGE)).astype(np.float32) * scale
    return [[x[: count // 2]], [x[count // 2 :]]]


def plain(x: Any) -> Any:
    x = kl.ReLU()(kl.BatchNormalization()(conv("one", 12)(x)))
    x = kl.DepthwiseConv2D(3, padding="same", activation="relu", name="deep")(x)
    y = conv("two", 12, 1, activation="relu")(x)
    return end(kl.GlobalAveragePooling2D(keepdims=True)(kl.Add()([x, y])))


def lost(graph: Graph, exact: Any) -> float:
    """The noise by the signal at the output of the int8 network, in dB of loss (less is better)."""
    import tf_keras

    model = building.build(graph)
    given = tf_keras.Input(batch_shape=(1, *surgery_proof.IMAGE))
    converter = tf.lite.TFLiteConverter.from_keras_model(tf_keras.Model(given, model(given)))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    x = np.concatenate([batch[0] for batch in batches()])
    converter.representative_dataset = lambda: ([item[None]] for item in x)
    runner = tf.lite.Interpreter(model_content=converter.convert())
    runner.allocate_tensors()
    (given,), (made,) = runner.get_input_details(), runner.get_output_details()
    results = []
    for item in x:
        runner.set_tensor(given["index"], item[None])
        runner.invoke()
        results.append(runner.get_tensor(made["index"]))
    return 10 * float(np.log10(((np.concatenate(results) - exact) ** 2).sum() / (exact**2).sum()))


def largest(graph: Graph) -> tuple[Any, Scaling]:
    """The largest activation of each class on the data."""
    scaling = trace(graph)
    return amplitudes(scaling, extents(graph, points(graph, scaling), batches())), scaling


def test_equalization_brings_channels_together_again_and_changes_no_output() -> None:
    graph = spoilt(graph_of(plain))
    x = batches()[0][0]
    before, scaling = largest(graph)
    result = equalize(graph, batches())
    after, _ = largest(result.graph)
    assert difference(outputs(graph, x), outputs(result.graph, x)) < 1e-4
    spread = [np.ptp(np.log10(values[values > 0])) for values in (before, after)]
    assert spread[0] > 2
    assert spread[1] < spread[0] - 0.5
    assert any(note.startswith("equalized: ") and "ranges of activations" in note for note in result.notes)
    assert len(free(scaling)) == 24


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the converter and its interpreter
def test_a_spoilt_network_loses_no_more_in_int8_after_equalization_than_an_unspoilt_one() -> None:
    graph = graph_of(plain)
    bad = spoilt(graph, 3)
    exact = outputs(graph, np.concatenate([batch[0] for batch in batches()]))
    unspoilt = lost(graph, exact)
    assert lost(bad, exact) > unspoilt + 10
    assert lost(equalize(bad, batches()).graph, exact) < unspoilt + 2
    assert lost(equalize(bad, None).graph, exact) < lost(bad, exact) - 10


def test_channels_that_are_all_alike_are_left_alone() -> None:
    graph = graph_of(lambda x: end(conv("one", 4, 1, activation="relu", use_bias=False)(x)))
    kernel = np.repeat(graph.layers["one"].weights["kernel"][..., :1], 4, axis=-1)
    rows = graph.layers["end"].weights["kernel"]
    alike = np.repeat(rows.reshape(-1, 4, 2)[:, :1], 4, axis=1).reshape(rows.shape)
    one, last = (graph.layers[name]._replace(weights={**graph.layers[name].weights, "kernel": array})
                 for name, array in (("one", kernel), ("end", alike)))  # fmt: skip
    graph = graph._replace(layers={**graph.layers, "one": one, "end": last})
    scaling = trace(graph)
    chosen = choose(graph, scaling, extents(graph, points(graph, scaling), batches()), batches())
    assert not chosen.changed
    assert (chosen.scales == 1).all()


def _two_capped_channels(graph: Graph, low: float, high: float) -> Graph:
    """A graph whose layer "one" makes two channels about as large as these."""
    weights = graph.layers["one"].weights
    kernel = np.zeros_like(weights["kernel"])
    kernel[1, 1, 0] = low / 3, high / 3  # the largest of the inputs is about 3
    layer = graph.layers["one"]._replace(weights={"kernel": kernel, "bias": np.zeros_like(weights["bias"])})
    return graph._replace(layers={**graph.layers, "one": layer})


def test_behind_a_relu6_channels_grow_up_to_the_cap_and_one_that_reaches_it_stays() -> None:
    def body(x: Any) -> Any:
        return end(kl.DepthwiseConv2D(3, name="deep")(conv("one", 2, activation="relu6")(x)))

    graph = _two_capped_channels(graph_of(body), 0.1, 60)
    result = equalize(graph, batches())
    kernel = result.graph.layers["one"].weights["kernel"] / (graph.layers["one"].weights["kernel"] + 1e-30)
    factors = kernel[1, 1, 0]
    assert factors[1] == pytest.approx(1)
    assert factors[0] > 10
    after, scaling = largest(result.graph)
    assert after[scaling.classes_of(scaling.caps[0].tensor)] == pytest.approx(6, rel=1e-5)
    assert difference(outputs(graph, batches()[0][0]), outputs(result.graph, batches()[0][0])) < 1e-5
    assert any("ReLU6" in note and "1 channel" in note for note in result.notes)


def _biased(body: Body, bias: float) -> Graph:
    graph = graph_of(body)
    layer = graph.layers["one"]
    moved = {**layer.weights, "bias": layer.weights["bias"] + np.float32(bias)}
    return graph._replace(layers={**graph.layers, "one": layer._replace(weights=moved)})


def valid(x: Any) -> Any:
    x = kl.MaxPooling2D(2)(kl.ReLU()(conv("one", 6)(x)))
    return end(kl.Conv2D(4, 2, name="two")(x))


def test_high_biases_are_absorbed_by_the_next_layer() -> None:
    graph = _biased(valid, 30)
    result = equalize(graph, batches(), scales=False)
    high = {name: found.layers["one"].weights["bias"].max() for name, found in (("old", graph), ("new", result.graph))}
    assert high["old"] > 29
    assert high["new"] < 15
    x = batches()[1][0]
    assert difference(outputs(graph, x), outputs(result.graph, x)) < 1e-5
    assert result.notes == ("equalized: high biases of 6 channels moved into the next layers",)


def test_high_biases_stay_in_front_of_padding() -> None:
    graph = _biased(lambda x: end(conv("two")(conv("one", 6, activation="relu")(x))), 30)
    result = equalize(graph, batches(), scales=False)
    assert result.notes == ()
    assert np.array_equal(result.graph.layers["one"].weights["bias"], graph.layers["one"].weights["bias"])


def test_without_data_high_biases_are_found_by_the_batch_norm() -> None:
    def body(x: Any) -> Any:
        return end(kl.Conv2D(4, 1)(kl.ReLU()(kl.BatchNormalization(name="norm")(conv("one", 6)(x)))))

    graph = graph_of(body)
    weights = {**graph.layers["norm"].weights, "beta": np.full(6, 10, np.float32), "gamma": np.full(6, 0.5, np.float32)}
    graph = graph._replace(layers={**graph.layers, "norm": graph.layers["norm"]._replace(weights=weights)})
    folded = fold_batch_norm(graph).graph
    result = equalize(graph, None, scales=False)
    shift = folded.layers["one"].weights["bias"] - result.graph.layers["one"].weights["bias"]
    assert shift == pytest.approx(10 - 3 * 0.5, rel=1e-5)


def outlier(x: Any) -> Any:
    x = kl.MaxPooling2D(2)(kl.ReLU()(conv("one", 8)(x)))
    return end(kl.ZeroPadding2D(1)(x))


def test_channels_that_stand_out_are_split_and_the_network_computes_the_same() -> None:
    graph = graph_of(outlier)
    layer = graph.layers["one"]
    weights = {name: array * np.where(np.arange(8) == 5, 20, 1).astype(np.float32)
               for name, array in layer.weights.items()}  # fmt: skip
    graph = graph._replace(layers={**graph.layers, "one": layer._replace(weights=weights)})
    result = equalize(graph, batches(), scales=False, split_share=0.3)
    before, after = largest(graph)[0], largest(result.graph)[0]
    assert result.graph.layers["one"].weights["kernel"].shape[-1] == 8 + 3
    assert after.max() == pytest.approx(before.max() / 4, rel=1e-4)
    assert difference(outputs(graph), outputs(result.graph)) < 1e-5
    assert result.notes == ("split channels that stood out: 3 channels more",)


def test_channels_that_are_added_to_others_are_not_split() -> None:
    graph = graph_of(residual)
    known = {call.layer: path_of(graph, call) for call in graph.calls}
    assert known["start"] is None
    assert known["two"] is None
    assert known["one"] is not None
    assert known["one"].consumers == ("two",)


def test_the_largest_channel_is_split_until_none_stands_out() -> None:
    assert copies_of(np.array([1.0, 1, 1, 9]), 10).tolist() == [1, 1, 1, 5]
    assert copies_of(np.array([1.0, 1, 1, 9]), 2).tolist() == [1, 1, 1, 3]
    assert copies_of(np.array([1.0, 1, 1, 1.5]), 4).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("rank", [1, 2])
def test_separable_convolutions_are_taken_apart_so_that_channels_between_them_get_scales(rank: int) -> None:
    shape = (6, 3) if rank == 1 else (6, 6, 3)
    kind = kl.SeparableConv1D if rank == 1 else kl.SeparableConv2D

    def body(x: Any) -> Any:
        return end(kind(6, 3, padding="same", depth_multiplier=2, activation="relu", name="one")(x))

    graph = graph_of(body, shape)
    x = np.random.default_rng(1).normal(size=(16, *shape)).astype(np.float32)
    result = equalize(graph, [[x]])
    assert {"one_depthwise", "one"} <= result.graph.layers.keys()
    assert len(free(trace(result.graph))) == 6 + 6
    assert difference(outputs(graph, x), outputs(result.graph, x)) < 1e-5


def test_nothing_is_done_to_a_network_that_leaves_nothing_free() -> None:
    graph = graph_of(lambda x: kl.Dense(3, activation="softmax")(kl.Flatten()(x)))
    assert equalize(graph, batches()) == Equalized(graph, (), {})


@pytest.mark.slow
def test_equalization_is_deterministic() -> None:
    graph = spoilt(graph_of(plain))
    first, second = (equalize(graph, iter(batches())).graph.identity() for _ in range(2))
    assert first == second


@pytest.mark.parametrize("options", [{}, {"scale": False}, {"center": False}])
def test_batch_norms_that_stay_let_scales_differ_in_front_and_behind(options: dict[str, bool]) -> None:
    graph = graph_of(lambda x: end(conv("two")(kl.BatchNormalization(name="norm", **options)(start(x)))))
    layer, sizes = graph.layers["start"], np.logspace(-1.5, 1.5, 8, dtype=np.float32)
    uneven = layer._replace(weights={name: array * sizes for name, array in layer.weights.items()})
    norm = graph.layers["norm"]
    fitting = {"moving_mean": norm.weights["moving_mean"] * sizes, "moving_variance": sizes**2}
    norm = norm._replace(weights={**norm.weights, **fitting})
    graph = graph._replace(layers={**graph.layers, "start": uneven, "norm": norm})
    result = equalize(graph, batches(), fold=False)
    norms = [item.layers["norm"].weights for item in (graph, result.graph)]
    assert not np.allclose(norms[0]["moving_mean"], norms[1]["moving_mean"])
    assert not np.allclose(norms[0].get("gamma", 1), norms[1]["gamma"])
    x = batches()[1][0]
    assert difference(outputs(graph, x), outputs(result.graph, x)) < 1e-5


def test_it_is_told_which_layers_do_what_a_layer_did() -> None:
    def body(x: Any) -> Any:
        x = kl.BatchNormalization(name="before")(kl.SeparableConv2D(6, 3, name="parted")(start(x)))
        x = kl.BatchNormalization(name="forward")(kl.ReLU()(x))
        return end(kl.SeparableConv2D(4, 3, name="next")(x))

    graph = graph_of(body)
    assert equalize(graph, None).instead == {
        "parted": ("parted_depthwise", "parted"),
        "next": ("next_depthwise", "next"),
        "before": ("parted_depthwise", "parted"),
        "forward": ("next_depthwise", "next"),
    }
    assert equalize(graph, None, fold=False).instead.keys() == {"parted", "next"}
    assert equalize(graph_of(lambda x: end(start(x))), None).instead == {}
