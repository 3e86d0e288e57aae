from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import tf_keras
from ai_edge_litert import schema_py_generated as schema
from calibration_networks import NETWORKS, made, samples_for
from converting import converted
from making import IDENTITY, INT8

from edgebuild.core.passes import BiasCorrection, Calibrate, DType, Ranges, Rounding
from edgebuild.data.given import Examples
from edgebuild.data.samples import Samples, save
from edgebuild.errors import UsageError
from edgebuild.flatbuffer import reader
from edgebuild.passes import calibrate
from edgebuild.passes.calibration import correcting, drawing, grid, points, ranges, simulation, surveying, walking
from edgebuild.passes.graph import building, folding, running
from edgebuild.passes.graph.ir import Graph
from edgebuild.passes.graph.plain import simplify
from edgebuild.passes.loading import Network, from_keras_model
from edgebuild.readback import layers_of

# The converter calibrates with an interpreter that TensorFlow wants to do without.
pytestmark = pytest.mark.filterwarnings("ignore:(?s).*tf.lite.Interpreter is deprecated")

QUICK = ("residual",)


def _graph(name: str) -> tuple[Any, Graph]:
    model = made(name)
    return model, simplify(building.read(model))


def _split(folder: Path, arrays: list[Any]) -> Samples:
    save(Examples(tuple(arrays)), folder / "split")
    return Samples(folder / "split", IDENTITY)


def _converted(network: Network, arrays: list[Any], folder: Path, ends: DType, **more: Any) -> Path:
    return converted(network, arrays, msgspec.structs.replace(INT8, input=ends, output=ends, **more), folder)


def _grids(artifact: Path) -> set[tuple[float, int]]:
    """Scale and zero point of every tensor that is quantized as a whole."""
    model: Any = schema.ModelT.InitFromPackedBuf(artifact.read_bytes(), 0)
    quantizations = [tensor.quantization for tensor in model.subgraphs[0].tensors]
    whole = [one for one in quantizations if one is not None and one.scale is not None and len(one.scale) == 1]
    return {(float(one.scale[0]), int(one.zeroPoint[0])) for one in whole}


def _operators(artifact: Path) -> list[str]:
    return [operator.name for operator in reader.read(artifact).operators]


def _unlike_all_others(plan: points.Plan, arrays: list[Any]) -> dict[int, grid.Range]:
    """For each point a range that no other has and that the converter would not choose."""
    graph = plan.graph._replace(outputs=plan.points)
    shown = simulation.answers(graph, [arrays])
    return {
        point: grid.nudged(
            float(array.min()) * (1 - 0.004 * number), float(array.max()) * (0.9 - 0.005 * number) + 1e-3
        )
        for number, (point, array) in enumerate(zip(plan.points, shown, strict=True))
    }


# Points and the converter


@pytest.mark.parametrize(
    "name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS if name not in QUICK)]
)
@pytest.mark.parametrize("ends", [DType.INT8, pytest.param(DType.FLOAT32, marks=pytest.mark.slow)])
def test_chosen_ranges_arrive_exactly_and_operators_stay(name: str, ends: DType, tmp_path: Path) -> None:
    model, graph = _graph(name)
    arrays = samples_for(model, 6)
    plan = points.plan(graph)
    chosen = _unlike_all_others(plan, arrays)
    assert chosen
    plain = _converted(from_keras_model(model), arrays, tmp_path / "plain", ends)
    carried = _converted(simulation.network_with_ranges(plan.graph, chosen, graph), arrays, tmp_path / "carried", ends)
    assert _operators(carried) == _operators(plain)
    found = _grids(carried)
    for wanted in chosen.values():
        near = [zero for scale, zero in found if scale == pytest.approx(wanted.scale, rel=3e-7)]
        assert wanted.zero_point in near
    ends_of = [[(t.name, t.shape) for t in (*a.inputs, *a.outputs)] for a in map(reader.read, (plain, carried))]
    assert ends_of[0] == ends_of[1]


@pytest.mark.parametrize("name", NETWORKS)
def test_plans_compute_the_same(name: str) -> None:
    model, graph = _graph(name)
    batches = [samples_for(model, 4)]
    for one, other in zip(
        simulation.answers(graph, batches), simulation.answers(points.plan(graph).graph, batches), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_no_point_comes_between_what_is_fused_or_shares_a_grid() -> None:
    _, graph = _graph("residual")
    plan = points.plan(graph)
    producers = plan.graph.producers()
    kinds = [plan.graph.layers[producers[p].layer].kind.__name__ for p in plan.points if p in producers]
    assert kinds == ["ReLU", "Activation", "BatchNormalization", "ReLU", "GlobalAveragePooling2D", "Dense"]
    assert plan.logits == (plan.points[-1],)  # the dense layer's, apart from its softmax
    _, branched = _graph("branches")
    plan = points.plan(branched)
    made_by = [plan.graph.layers[call.layer] for call in plan.graph.calls if call.outputs[0] in plan.points]
    assert [layer.kind.__name__ for layer in made_by] == ["Conv2D", "Concatenate", "Conv2D", "Dense"]


@pytest.mark.parametrize(("activation", "has_range"), [("relu", True), ("gelu", True), ("elu", False), ("selu", False)])
def test_a_concatenation_has_a_range_where_all_that_it_joins_becomes_int8(activation: str, has_range: bool) -> None:
    given = tf_keras.Input((4,))
    bent = tf_keras.layers.Activation(activation)(tf_keras.layers.Dense(3)(given))
    joined = tf_keras.layers.Concatenate(name="joined")([tf_keras.layers.Reshape((3,))(bent), given])
    graph = building.read(tf_keras.Model(given, tf_keras.layers.Dense(2)(joined)))
    plan = points.plan(graph)
    (call,) = plan.graph.calls_of("joined")
    assert (call.outputs[0] in plan.points) == has_range


@pytest.mark.slow
def test_a_concatenation_of_what_stays_in_float_is_converted_as_without_ranges(tmp_path: Path) -> None:
    given = tf_keras.Input((4,))
    bent = tf_keras.layers.Activation("elu")(tf_keras.layers.Dense(3)(given))
    joined = tf_keras.layers.Concatenate()([bent, tf_keras.layers.Dense(3)(given)])
    model = tf_keras.Model(given, tf_keras.layers.Dense(2)(joined))
    graph, arrays = building.read(model), [np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)]
    plan = points.plan(graph)
    carried = simulation.network_with_ranges(plan.graph, _unlike_all_others(plan, arrays), graph)
    ends = DType.FLOAT32
    made = _converted(carried, arrays, tmp_path / "made", ends, float_fallback=True)
    plain = _converted(from_keras_model(model), arrays, tmp_path / "plain", ends, float_fallback=True)
    assert _operators(made) == _operators(plain)


# Grids


def test_nudged_ranges_hold_zero_and_keep_their_width() -> None:
    for low, high in ((-1.0, 2.0), (0.3, 5.0), (-3.0, -1.0), (-0.001, 7.0)):
        nudged = grid.nudged(low, high)
        assert nudged.high - nudged.low == pytest.approx(max(high, 0) - min(low, 0), rel=1e-6)
        assert (nudged.low / nudged.scale) == pytest.approx(round(nudged.low / nudged.scale), abs=1e-3)
        assert -128 <= nudged.zero_point <= 127
    with pytest.raises(ValueError, match="width"):
        grid.nudged(0.0, 0.0)


def test_rounding_onto_a_grid_is_what_the_node_does() -> None:
    chosen = grid.nudged(-1.3, 2.9)
    values = np.random.default_rng(0).normal(0, 2, 5000).astype(np.float32)
    node = simulation.FakeQuant(chosen.low, chosen.high)(values).numpy()
    steps = np.abs(grid.onto(values, chosen) - node) / chosen.scale
    assert np.mean(steps > 1e-3) < 1e-3  # where a value lies between two steps float32 may fall on either side
    assert steps.max() < 1.01


def test_weights_are_rounded_by_output_channel() -> None:
    _, graph = _graph("transposed")
    for layer in graph.layers.values():
        kernel = layer.weights.get("kernel")
        if kernel is not None:
            axes = (0, 1, 3) if layer.kind.__name__ == "Conv2DTranspose" else (0, 1, 2)
            scale = np.abs(kernel).max(axes, keepdims=True) / 127
            steps = grid.with_weights_onto(layer).weights["kernel"] / scale
            np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)
            assert np.abs(steps - kernel / scale).max() <= 0.501


# Ranges


def _histogram(values: Any, weights: Any = None) -> surveying.Histogram:
    values = np.asarray(values, np.float64)
    low, high = min(values.min(), 0), max(values.max(), 0)
    inside = values[values != 0]
    counts, _ = np.histogram(inside, surveying.BINS, (low, high))
    weighed, _ = np.histogram(inside, surveying.BINS, (low, high), weights=weights)
    return surveying.Histogram(low, high, counts.astype(float), weighed.astype(float), values.size - inside.size)


def test_percentiles_leave_out_their_share_on_each_side() -> None:
    values = np.random.default_rng(0).normal(0, 1, 200_000)
    chosen = ranges.percentile(_histogram(values), 99.9)
    assert np.mean(values > chosen.high) == pytest.approx(0.001, abs=3e-4)
    assert np.mean(values < chosen.low) == pytest.approx(0.001, abs=3e-4)
    sparse = np.where(np.arange(200_000) % 10, 0, np.abs(values))  # zeros count as values that lie within
    assert np.mean(sparse > ranges.percentile(_histogram(sparse), 99.9).high) == pytest.approx(0.001, abs=3e-4)


def test_searched_ranges_cut_outliers_off_and_have_less_error_than_all_values() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0, 1, 100_000), [40.0, -25.0]])
    histogram = _histogram(values)

    def mean_square_error(chosen: grid.Range) -> float:
        return float(np.mean(np.square(grid.onto(values, chosen) - values)))

    widest, narrow = ranges.min_max(histogram), ranges.mse(histogram)
    assert narrow.high < 39
    assert mean_square_error(narrow) < mean_square_error(widest)
    assert ranges.error(histogram, widest, histogram.counts) / values.size == pytest.approx(
        mean_square_error(widest), rel=0.05
    )
    assert ranges.kl(histogram).high < 15


def test_weighted_ranges_keep_the_values_that_matter() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0, 1, 100_000), [30.0]])
    matters = _histogram(values, np.where(values > 20, 1e5, 1e-3))
    does_not = _histogram(values, np.where(values > 20, 1e-6, 1.0))
    assert ranges.weighted(matters).high > 28
    assert ranges.weighted(does_not).high < 10


# Measures, on a network


def test_weights_of_values_are_the_squared_columns_of_the_jacobian(tmp_path: Path) -> None:
    model, graph = _graph("lenet")
    plan = points.plan(graph)
    drawn = drawing.Drawn(plan, _split(tmp_path, samples_for(model, 40)), 0)
    pool = running.Pool()
    probe = surveying.Probe(plan, surveying.survey(plan, drawn, pool).sizes, projections=200, seed=0, pool=pool)
    last_hidden = plan.points[-2]  # what the logits are a known linear function of
    kernel = next(layer for layer in reversed(list(plan.graph.layers.values())) if "kernel" in layer.weights)
    size = float(np.sqrt(np.mean(np.square(_logits(plan, drawn.chosen_by)))))
    total: Any = 0.0
    count = 0
    batch = next(iter(drawn.chosen_by))
    for gradients in probe.gradients(batch)[1]:
        total, count = total + np.square(gradients[last_hidden]), count + 1
    expected = np.square(kernel.weights["kernel"] / size).sum(1)
    np.testing.assert_allclose((total / count).mean(0), expected, rtol=0.35)


def _logits(plan: points.Plan, batches: drawing.Batches) -> Any:
    return simulation.answers(plan.graph._replace(outputs=plan.logits), batches)[0]


def test_costs_tell_clipping_from_rounding(tmp_path: Path) -> None:
    model, graph = _graph("residual")
    plan = points.plan(graph)
    drawn = drawing.Drawn(plan, _split(tmp_path, samples_for(model, 24)), 0)
    pool = running.Pool()
    surveyed = surveying.survey(plan, drawn, pool)
    probe = surveying.Probe(plan, surveyed.sizes, projections=2, seed=0, pool=pool)
    seen = surveying.observe(probe, surveyed.chosen, drawn.weighed, weighed=True)
    point = plan.points[1]
    widest = ranges.min_max(seen[point])
    clipped = grid.nudged(widest.low / 20, widest.high / 20)
    wide, narrow = ranges.costs(seen[point], [widest, clipped])
    assert narrow > 10 * wide


def test_the_walk_sees_the_quantized_network_that_the_simulation_sees(tmp_path: Path) -> None:
    model, graph = _graph("residual")
    plan = points.plan(folding.fold_batch_norm(graph).graph)
    arrays = samples_for(model, 12)
    chosen = _unlike_all_others(plan, arrays)
    seen = {}

    def refine(layer: Any, exact: Any, given: Any) -> Any:
        seen[layer.name] = exact, given
        return layer

    assert walking.refined(plan, chosen, arrays, refine).identity() == plan.graph.identity()
    last = next(call for call in reversed(plan.graph.calls) if call.layer in seen and set(call.inputs) & set(chosen))
    (taken,) = last.inputs
    exact, given = seen[last.layer]
    ending = plan.graph._replace(outputs=(taken,))
    np.testing.assert_allclose(exact, simulation.answers(ending, [arrays])[0], rtol=1e-4, atol=1e-5)
    quantized = simulation.answers(simulation.quantized(ending, chosen), [arrays])[0]
    assert np.abs(given - quantized).max() < 2.01 * chosen[taken].scale  # a tie may be rounded to either side
    assert np.abs(given - quantized).mean() < 0.05 * chosen[taken].scale
    assert np.abs(given - exact).mean() > 0.2 * chosen[taken].scale


def test_memory_bounds_the_samples_of_a_walk() -> None:
    _, graph = _graph("residual")
    largest = 12 * 12 * 8 * 4 * 2 * 3  # the bytes of three twins of 12x12x8: both inputs and the output of the addition
    assert walking.samples_within(graph, 10 * largest) == 10
    assert walking.samples_within(graph, 1) == 1


def test_corrected_biases_bring_the_means_back() -> None:
    model, graph = _graph("lenet")
    layer = next(layer for layer in graph.layers.values() if layer.kind.__name__ == "Conv2D")
    given = samples_for(model, 16)[0]
    shifted = given + 0.3
    (call,) = graph.calls_of(layer.name)
    linear = layer._replace(config={**layer.config, "activation": "linear"})
    (before,) = walking.run(graph, call, linear, [given])
    (made,) = walking.run(graph, call, grid.with_weights_onto(linear), [shifted])
    done = correcting.corrected(layer, before, made)
    assert done.config["activation"] == "relu"
    rounded = grid.with_weights_onto(done._replace(config=linear.config))
    (after,) = walking.run(graph, call, rounded, [shifted])
    np.testing.assert_allclose(before.mean((0, 1, 2)), after.mean((0, 1, 2)), atol=1e-5)
    assert not np.allclose(done.weights["bias"], layer.weights["bias"], atol=1e-2)


def test_fidelity_of_all_samples_and_of_the_typical_one() -> None:
    exact = np.ones((4, 10))
    given = exact + np.array([[0.01], [0.01], [0.01], [1.0]])
    reached = simulation.fidelity([exact], [given])
    assert reached.sqnr_db == pytest.approx(10 * np.log10(4 / 1.0003), abs=1e-6)
    assert reached.typical_db == pytest.approx((40 * 3 + 0) / 4, abs=1e-6)
    assert simulation.fidelity([exact], [exact]).sqnr_db == pytest.approx(200)


# All of it

_PLAIN = Calibrate(ranges=Ranges.BEST, rounding=Rounding.NEAREST, clip=False, bias=BiasCorrection.OFF)


def _calibrated(folder: Path, name: str = "lenet", **asked: Any) -> tuple[Any, calibrate.Calibrated]:
    model, graph = _graph(name)
    samples = _split(folder, samples_for(model, 48))
    settings = msgspec.structs.replace(_PLAIN, **asked)
    return model, calibrate.calibrate(folding.fold_batch_norm(graph).graph, samples, settings, seed=0)


def test_the_best_choice_is_never_worse_than_min_max_where_it_was_judged(tmp_path: Path) -> None:
    _, done = _calibrated(tmp_path)
    (note,) = done.notes
    before, after = (float(word) for word in note.split("SQNR ")[1].split(" dB")[0].split(" -> "))
    assert after >= before
    assert note.startswith("ranges: ")


@pytest.mark.parametrize("kind", [Ranges.MIN_MAX, Ranges.PERCENTILE])
def test_min_max_is_of_all_samples_and_outliers_stay_left_out(kind: Ranges, tmp_path: Path) -> None:
    model, graph = _graph("lenet")
    arrays = samples_for(model, 48)
    held_out = int(np.random.default_rng(0).permutation(48)[0])
    arrays[0][held_out] *= 3
    settings = msgspec.structs.replace(_PLAIN, ranges=kind)
    done = calibrate.calibrate(graph, _split(tmp_path, arrays), settings, seed=0)
    shown = simulation.answers(points.plan(graph).graph._replace(outputs=tuple(done.ranges)), [arrays])
    holds = [
        chosen.low - chosen.scale <= array.min() and array.max() <= chosen.high + chosen.scale
        for chosen, array in zip(done.ranges.values(), shown, strict=True)
    ]
    assert all(holds) if kind == Ranges.MIN_MAX else not all(holds), holds


@pytest.mark.slow
def test_calibration_is_deterministic(tmp_path: Path) -> None:
    results = []
    for word in ("one", "two"):
        (tmp_path / word).mkdir()
        results.append(_calibrated(tmp_path / word, rounding=Rounding.ADAPTIVE, bias=BiasCorrection.EMPIRICAL)[1])
    one, two = results
    assert one.ranges == two.ranges
    assert one.graph.identity() == two.graph.identity()
    assert one.notes == two.notes


@pytest.mark.slow
@pytest.mark.parametrize("name", ["residual", pytest.param("two ends", marks=pytest.mark.slow)])
def test_calibrated_networks_convert_with_their_ranges(name: str, tmp_path: Path) -> None:
    model, done = _calibrated(tmp_path, name, rounding=Rounding.ADAPTIVE, bias=BiasCorrection.EMPIRICAL)
    arrays = samples_for(model, 6)
    plain = _converted(from_keras_model(model), arrays, tmp_path / "plain", DType.INT8)
    artifact = _converted(done.network, arrays, tmp_path / "out", DType.INT8)
    assert _operators(artifact) == _operators(plain)
    found = _grids(artifact)
    for wanted in done.ranges.values():
        assert any(scale == pytest.approx(wanted.scale, rel=3e-7) and z == wanted.zero_point for scale, z in found)


def test_layers_left_to_float_keep_their_weights_and_stay_so_in_the_artifact(tmp_path: Path) -> None:
    model, graph = _graph("lenet")
    names = [layer.name for layer in graph.layers.values() if layer.kind.__name__ in points.KERNELS]
    floating = names[1]
    settings = msgspec.structs.replace(_PLAIN, rounding=Rounding.ADAPTIVE, bias=BiasCorrection.EMPIRICAL)
    arrays = samples_for(model, 24)
    done = calibrate.calibrate(graph, _split(tmp_path, arrays), settings, seed=0, floating=[floating])
    for name, array in graph.layers[floating].weights.items():
        np.testing.assert_array_equal(done.graph.layers[floating].weights[name], array)
    artifact = _converted(done.network, arrays, tmp_path / "out", DType.INT8, float_layers=(floating,))
    kernels = [item for item in reader.read(artifact).operators if item.name in ("CONV_2D", "FULLY_CONNECTED")]
    assert [item.dtypes[0] for item in kernels] == ["float32" if name == floating else "int8" for name in names]


def test_clipping_alone_lowers_weights_that_are_large_and_of_no_use(tmp_path: Path) -> None:
    model, _ = _graph("lenet")
    first = next(layer for layer in model.layers if layer.weights)
    kernel, bias = first.get_weights()
    kernel[:, :, 2] *= 1.4
    first.set_weights([kernel, bias])
    arrays = samples_for(model, 48)
    arrays[0][..., 2] *= 1e-3
    samples = _split(tmp_path, arrays)
    settings = msgspec.structs.replace(_PLAIN, clip=True)
    done = calibrate.calibrate(simplify(building.read(model)), samples, settings, seed=0)
    assert done.notes[1].startswith("largest weights clipped: ")
    clipped = done.graph.layers[first.name].weights["kernel"]
    assert np.abs(clipped).max() < 0.9 * np.abs(kernel).max()
    step = np.abs(clipped).max((0, 1, 2)) / 127
    others = [0, 1]
    assert np.abs(clipped - kernel)[:, :, others].max() <= 0.51 * step.max()


@pytest.mark.slow
def test_of_rounding_and_correction_only_what_helps_is_kept(tmp_path: Path) -> None:
    found = {}
    for word, asked in _PARTS.items():
        (tmp_path / word).mkdir()
        _, done = _calibrated(tmp_path / word, **asked)
        found[word] = float(done.notes[1].split(" -> ")[1].split(" dB")[0])
    assert found["both"] >= max(found["rounded"], found["corrected"]) - 0.1


_PARTS = {
    "both": {"rounding": Rounding.ADAPTIVE, "bias": BiasCorrection.EMPIRICAL},
    "rounded": {"rounding": Rounding.ADAPTIVE},
    "corrected": {"bias": BiasCorrection.EMPIRICAL},
}


def test_calibration_without_samples_is_refused(tmp_path: Path) -> None:
    model, graph = _graph("lenet")
    samples = _split(tmp_path, [array[:0] for array in samples_for(model, 1)])
    with pytest.raises(UsageError, match="needs samples"):
        calibrate.calibrate(graph, samples, _PLAIN, seed=0)


def test_a_fused_activation_that_is_split_off_still_counts_as_its_layer(tmp_path: Path) -> None:
    given = tf_keras.Input((8, 8, 2), name="image")
    curved = tf_keras.layers.Conv2D(4, 3, activation="swish", name="curved")(given)
    model = tf_keras.Model(given, tf_keras.layers.Conv2D(3, 3, name="straight")(curved))
    arrays = samples_for(model, 24)
    graph = building.read(model)
    for floating in ((), ("curved",)):
        folder = tmp_path / f"float {len(floating)}"
        folder.mkdir()
        done = calibrate.calibrate(graph, _split(folder, arrays), _PLAIN, seed=0, floating=floating)
        artifact = _converted(done.network, arrays, folder / "out", DType.INT8, float_layers=floating)
        operators = reader.read(artifact).operators
        own = [item for item in operators if layers_of(item.tensor, [*graph.layers]) == ("curved",)]
        assert [item.name for item in own] == ["CONV_2D", "LOGISTIC", "MUL"]
        assert {item.dtypes[0] for item in own} == {"float32" if floating else "int8"}
        assert done.network.layers == ["curved", "straight"]
