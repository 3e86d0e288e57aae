from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from making import cluster_with, prune_with
from shrinking import Data, Training, digits, kernel_of, layers, trained_on, unique_of, zeros_of

from edgebuild.core.passes import Centroids, Norm, Pattern, Schedule
from edgebuild.errors import StepError
from edgebuild.passes.optimization import clustering, sparsity
from edgebuild.passes.optimization.kernels import keep_masks, kernels, masks_of


@pytest.fixture(scope="module")
def data() -> Data:
    return digits()


@pytest.fixture(scope="module")
def trained(data: Data, shared: Path) -> Any:
    return trained_on(data, shared)


# Pruning


def test_each_kernel_gets_the_share_of_zeros_that_was_asked_for(trained: Any) -> None:
    pruned = sparsity.prune_now(trained, prune_with(sparsity=0.7, smallest=0, layers={"narrow": 0.25, "hidden": 0}))
    zeros = zeros_of(pruned)
    assert zeros == pytest.approx(
        {"stem": 0, "first_wide": 0.7, "second_wide": 0.7, "narrow": 0.25, "hidden": 0, "answer": 0.7}, abs=0.005
    )
    assert zeros_of(trained)["first_wide"] == 0  # the model given stays as it was


def test_the_weights_of_least_magnitude_go(trained: Any) -> None:
    pruned = sparsity.prune_now(trained, prune_with(sparsity=0.5))
    before, after = np.abs(kernel_of(trained, "second_wide").numpy()), kernel_of(pruned, "second_wide").numpy()
    assert before[after == 0].max() <= before[after != 0].min()


def test_small_kernels_and_the_ends_of_a_network_are_left_alone_as_settings_say(trained: Any) -> None:
    assert set(sparsity.shares(trained, prune_with())) == {"second_wide", "narrow", "hidden"}
    everything = prune_with(smallest=0, first=True)
    assert set(sparsity.shares(trained, everything)) == {kernel.layer for kernel in kernels(trained)}
    assert "answer" not in sparsity.shares(trained, prune_with(smallest=0, last=False))


@pytest.mark.parametrize("layers", [{"depthwise": 0.5}, {"nowhere": 0.5}, {"hidden": 1.0}, {"hidden": -0.1}])
def test_shares_of_layers_that_cannot_be_pruned_are_refused(trained: Any, layers: dict[str, float]) -> None:
    with pytest.raises(StepError):
        sparsity.prune_now(trained, prune_with(layers=layers))


def test_blocks_are_ranked_by_the_norm_that_was_asked_for() -> None:
    model = tf_keras.Sequential([layers.Input((8,)), layers.Dense(1, use_bias=False, name="dense")])
    even, peak = [0.5, 0.5, 0.5, 0.5], [0.0, 1.4, 0.0, 0.0]  # sums 2 and 1.4, squares 1 and 1.96
    model.get_layer("dense").kernel.assign(np.array([*even, *peak], np.float32)[:, np.newaxis])
    left = {}
    for norm in Norm:
        settings = prune_with(pattern=Pattern.BLOCK_1X4, norm=norm, smallest=0, first=True)
        left[norm] = np.flatnonzero(kernel_of(sparsity.prune_now(model, settings), "dense").numpy()[:, 0]).tolist()
    assert left == {Norm.L1: [0, 1, 2, 3], Norm.L2: [5]}


def _share_in_second_wide(model: Any) -> float:
    return float((kernel_of(model, "second_wide").numpy() == 0).mean())


@pytest.mark.slow
def test_sparsity_rises_by_the_polynomial_and_then_stays(trained: Any, data: Data) -> None:
    training = Training(data, 80, _share_in_second_wide)
    settings = prune_with(sparsity=0.8, initial=0.2, end=0.5, updates=10, power=3)
    pruned = sparsity.prune(trained, settings, training)
    rising, staying = training.seen[:40], training.seen[40:]
    assert rising == sorted(rising)
    assert rising[0] == pytest.approx(0.2, abs=0.005)
    # Half-way (update 5 of 10) by equation 1 of Zhu and Gupta 2017.
    assert rising[19] == pytest.approx(0.8 - 0.6 * 0.5**3, abs=0.005)
    assert staying == pytest.approx([0.8] * 40, abs=0.005)
    assert zeros_of(pruned)["hidden"] == pytest.approx(0.8, abs=0.005)
    assert [layer.name for layer in pruned.layers] == [layer.name for layer in trained.layers]


def test_a_constant_schedule_has_all_zeros_from_the_start(trained: Any, data: Data) -> None:
    training = Training(data, 5, _share_in_second_wide)
    sparsity.prune(trained, prune_with(sparsity=0.6, schedule=Schedule.CONSTANT), training)
    assert training.seen == pytest.approx([0.6] * 5, abs=0.005)


@pytest.mark.slow
def test_training_recovers_what_pruning_lost(trained: Any, data: Data) -> None:
    settings = prune_with(sparsity=0.8, smallest=0)

    def loss(model: Any) -> float:
        answers = model(data.x[1200:], training=False)
        return float(tf.reduce_mean(tf_keras.losses.sparse_categorical_crossentropy(data.y[1200:], answers)))

    pruned = sparsity.prune(trained, settings, Training(data, 200))
    assert zeros_of(pruned)["second_wide"] == pytest.approx(0.8, abs=0.005)
    assert loss(pruned) < 0.5 * loss(sparsity.prune_now(trained, settings))


@pytest.mark.slow
def test_masks_stay_through_a_later_training(trained: Any, data: Data) -> None:
    pruned = sparsity.prune_now(trained, prune_with(sparsity=0.6, smallest=0))
    found = masks_of(pruned)
    assert set(found) == {"first_wide", "second_wide", "narrow", "hidden", "answer"}
    before = kernel_of(pruned, "narrow").numpy()
    Training(data, 10)(pruned, hooks=keep_masks(pruned, found))
    after = kernel_of(pruned, "narrow").numpy()
    assert (after[before == 0] == 0).all()
    assert (after != before)[before != 0].mean() > 0.9
    Training(data, 10)(pruned)
    assert zeros_of(pruned)["narrow"] < 0.1  # the hooks it was, not the training


# Sensitivity


def test_zeros_go_where_they_cost_least() -> None:
    cheap = sparsity.Curve(100, {0.0: 1.0, 0.5: 1.01, 0.9: 1.05})
    dear = sparsity.Curve(100, {0.0: 1.0, 0.5: 3.0, 0.9: 9.0})
    assert sparsity.divide({"cheap": cheap, "dear": dear}, 0.45) == {"cheap": pytest.approx(0.9), "dear": 0}
    divided = sparsity.divide({"cheap": cheap, "dear": dear}, 0.6)
    assert divided == {"cheap": pytest.approx(0.9), "dear": pytest.approx(0.3)}


def test_a_dent_in_a_curve_is_passed_over() -> None:
    dented = sparsity.Curve(10, {0.0: 0.0, 0.3: 5.0, 0.6: 1.0})
    straight = sparsity.Curve(10, {0.0: 0.0, 0.3: 1.0, 0.6: 2.0})
    assert sparsity.divide({"dented": dented, "straight": straight}, 0.3)["dented"] == pytest.approx(0.6)


def test_shares_by_sensitivity_make_the_same_overall_share_at_less_loss(trained: Any, data: Data) -> None:
    settings = prune_with(sparsity=0.6, smallest=0, layers={"answer": 0.5})
    wanted = trained(data.x[:300])

    def loss(model: Any) -> float:
        return float(tf.reduce_mean(tf.square(model(data.x[:300]) - wanted)))

    planned = sparsity.allocate(trained, settings, loss, levels=(0.5, 0.7, 0.9))
    assert planned["answer"] == 0.5
    pruned, uniform = sparsity.prune_now(trained, settings, planned), sparsity.prune_now(trained, settings)
    free = [kernel for kernel in kernels(pruned) if kernel.layer in planned and kernel.layer != "answer"]
    zeros = sum(int((kernel.variable.numpy() == 0).sum()) for kernel in free)
    assert zeros / sum(kernel.variable.shape.num_elements() for kernel in free) == pytest.approx(0.6, abs=0.005)
    assert len({round(planned[kernel.layer], 3) for kernel in free}) > 1
    assert loss(pruned) < loss(uniform)


# Clustering


@pytest.mark.parametrize("centroids", list(Centroids))
def test_kernels_hold_as_many_values_as_were_asked_for(trained: Any, centroids: Centroids) -> None:
    settings = cluster_with(clusters=8, centroids=centroids, smallest=0, layers={"hidden": 5, "narrow": 0})
    clustered = clustering.cluster_now(trained, settings)
    unique = unique_of(clustered)
    assert {name: unique[name] for name in ("stem", "first_wide", "second_wide", "answer")} == dict.fromkeys(
        ("stem", "first_wide", "second_wide", "answer"), 8
    )
    assert unique["hidden"] == 5
    assert unique["narrow"] > 1000
    assert len(np.unique(clustered.get_layer("depthwise").depthwise_kernel.numpy())) > 100
    assert clustering.clusters_of(clustered) == {name: unique[name] for name in unique if name != "narrow"}


def test_weights_become_the_nearest_of_the_best_centroids(trained: Any) -> None:
    clustered = clustering.cluster_now(trained, cluster_with(clusters=16))
    before, after = kernel_of(trained, "hidden").numpy(), kernel_of(clustered, "hidden").numpy()
    values = np.unique(after)
    nearest = values[np.abs(before[..., np.newaxis] - values).argmin(axis=-1)]
    np.testing.assert_allclose(after, nearest)
    for value in values:  # a fixed point of k-means: each is the mean of its weights
        assert value == pytest.approx(before[after == value].mean(), abs=0.01)


@pytest.mark.parametrize("pattern", [Pattern.UNSTRUCTURED, pytest.param(Pattern.TWO_OF_FOUR, marks=pytest.mark.slow)])
def test_clustering_keeps_exactly_the_zeros_that_there_are(trained: Any, data: Data, pattern: Pattern) -> None:
    pruned = sparsity.prune_now(trained, prune_with(sparsity=0.5, pattern=pattern))
    for clustered in (
        clustering.cluster_now(pruned, cluster_with(clusters=8)),
        clustering.cluster(pruned, cluster_with(clusters=8), Training(data, 10)),
    ):
        assert unique_of(clustered)["second_wide"] == 8
        for layer in ("second_wide", "narrow", "hidden"):
            np.testing.assert_array_equal(
                kernel_of(clustered, layer).numpy() == 0, kernel_of(pruned, layer).numpy() == 0
            )


@pytest.mark.slow
def test_trained_centroids_do_better_than_those_of_k_means(trained: Any, data: Data) -> None:
    settings = cluster_with(clusters=3, smallest=0)

    def loss(model: Any) -> float:
        return float(
            tf.reduce_mean(tf_keras.losses.sparse_categorical_crossentropy(data.y[1200:], model(data.x[1200:])))
        )

    clustered = clustering.cluster(trained, settings, Training(data, 150))
    assert max(unique_of(clustered).values()) == 3
    assert loss(clustered) < 0.7 * loss(clustering.cluster_now(trained, settings))


def test_positive_scales_change_nothing_else(trained: Any, data: Data) -> None:
    assert (trained.get_layer("first_wide_bn").gamma.numpy() < 0).any()
    positive = clustering.with_positive_scales(trained)
    for name in ("stem_bn", "first_wide_bn", "second_wide_bn"):
        assert (positive.get_layer(name).gamma.numpy() > 0).all()
    np.testing.assert_allclose(positive(data.x[:50]), trained(data.x[:50]), atol=1e-5)
