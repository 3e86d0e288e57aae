"""How much each channel matters: one figure for each channel class, of which only the order and proportion count."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from edgebuild.passes.graph import building
from edgebuild.passes.graph.ir import Graph
from edgebuild.passes.surgery.channels import FIXED, Channels, Role, WeightAxis

Importance = npt.NDArray[np.float64]
"""By channel class; NaN where a criterion says nothing."""

Gradients = Mapping[str, Mapping[str, npt.NDArray[Any]]]
"""For each layer and each of its trainable weights (by the names of `ir.Layer.weights`) the gradient of the loss."""

Batch = tuple[Any, Any]
"""What the network takes (an array, or a list with one for each input), and what the loss takes beside its outputs."""

Loss = Callable[[Any, Any], Any]
"""(y, outputs) -> a scalar tensor."""


def magnitude(graph: Graph, channels: Channels, order: Literal[1, 2]) -> Importance:
    """The sum of |w| or of w² over all filters that produce a class, as a share of the like in its group.

    Li et al., "Pruning filters for efficient ConvNets" (ICLR 2017), section 3.1, rank the filters of one layer by norm.
    Norms of different layers do not compare, as batch norm scales each as it likes. So each is divided by the sum of
    those in its group that are not less: the score of Lee et al., "Layer-adaptive sparsity for the magnitude-based
    pruning" (ICLR 2021), section 3.1, with channels for weights. It rises to 1 for the last channel of a group, so that
    no group is emptied before the others.
    """
    sums = np.zeros(channels.classes)
    for item in _with_role(channels, Role.PRODUCES):
        _add(sums, item, np.abs(graph.layers[item.layer].weights[item.weight].astype(np.float64)) ** order)
    for group in channels.groups:
        rising = sorted(group.classes, key=lambda member: (sums[member], member))
        rest = np.cumsum(sums[rising][::-1])[::-1]
        sums[rising] = np.divide(sums[rising], rest, out=np.zeros(len(rising)), where=rest > 0)
    return sums


def batch_norm_scale(graph: Graph, channels: Channels) -> Importance:
    """The mean of |gamma| over the batch norms of a class; NaN for classes without any.

    Liu et al., "Learning efficient convolutional networks through network slimming" (ICCV 2017), section 3. Gammas of
    different layers compare if they were trained with a penalty on their sum; so they are left as they are.
    """
    sums, norms = np.zeros(channels.classes), np.zeros(channels.classes)
    for item in _with_role(channels, Role.FOLLOWS):
        if item.weight == "gamma" and graph.layers[item.layer].kind.__name__.endswith("BatchNormalization"):
            gamma = np.abs(graph.layers[item.layer].weights["gamma"].astype(np.float64))
            _add(sums, item, gamma)
            _add(norms, item, np.ones_like(gamma))
    result: Importance = np.full(channels.classes, np.nan)
    np.divide(sums, norms, out=result, where=norms > 0)
    return result


def taylor(graph: Graph, channels: Channels, batches: Iterable[Batch], loss: Loss) -> Importance:
    """First-order Taylor importance on data, as `taylor_of`; the network is used as in inference.

    Args:
        graph: the network.
        channels: its trace.
        batches: at least one.
        loss: what is differentiated.

    Raises:
        ValueError: there is no batch.
    """
    return taylor_of(graph, channels, gradients(graph, batches, loss))


def taylor_of(graph: Graph, channels: Channels, found: Iterable[Gradients]) -> Importance:
    """The mean over batches of (sum of gradient x weight)², over those weights that removing a class sets to zero.

    Molchanov et al., "Importance estimation for neural network pruning" (CVPR 2019), section 3.1: for weights that go
    together, the squared first-order change of the loss. Removing a channel is multiplying it by zero wherever it is
    consumed, so those weights stand for it: they count each way out of the channel once, also where several layers
    produce it or scale it.

    Raises:
        ValueError: there are no gradients.
    """
    total, batches = np.zeros(channels.classes), 0
    for of_batch in found:
        change = np.zeros(channels.classes)
        for item in _with_role(channels, Role.CONSUMES):
            gradient = of_batch.get(item.layer, {}).get(item.weight)
            if gradient is not None:
                _add(change, item, gradient * graph.layers[item.layer].weights[item.weight].astype(np.float64))
        total += change**2
        batches += 1
    if not batches:
        raise ValueError("Taylor importance needs a batch of data")
    return total / batches


def gradients(graph: Graph, batches: Iterable[Batch], loss: Loss) -> Iterator[Gradients]:
    """The gradients of the loss for one batch after the other, by layer and weight."""
    model = building.build(graph)
    variables = {
        (name, weight): variable
        for name, layer in graph.layers.items()
        for weight, variable in zip(layer.weights, model.get_layer(name).weights, strict=True)
        if variable.trainable
    }

    @tf.function(autograph=False, reduce_retracing=True)  # type: ignore[untyped-decorator]
    def differentiate(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            value = loss(y, model(x, training=False))
        return tape.gradient(value, list(variables.values()), unconnected_gradients=tf.UnconnectedGradients.ZERO)

    for x, y in batches:
        by_layer: dict[str, dict[str, npt.NDArray[Any]]] = {}
        for (layer, weight), gradient in zip(variables, differentiate(x, y), strict=True):
            by_layer.setdefault(layer, {})[weight] = tf.convert_to_tensor(gradient).numpy()
        yield by_layer


def _with_role(channels: Channels, role: Role) -> Iterator[WeightAxis]:
    return (item for item in channels.weights if item.role == role)


def _add(sums: Importance, item: WeightAxis, values: npt.NDArray[Any]) -> None:
    """Add up the values along all other axes of a weight, and each position's sum to its class."""
    others = tuple(axis for axis in range(values.ndim) if axis != item.axis)
    positions = values.sum(axis=others, dtype=np.float64)
    moving = item.vector != FIXED
    np.add.at(sums, item.vector[moving], positions[moving])
