"""A Keras 3 model read into a graph of tf_keras layers: the model is built again in tf_keras, call by call.

A functional tf_keras model records every TensorFlow function that is called on its tensors. Keras 3 computes its
operations with such functions where TensorFlow is its backend, so calling an operation's own code leaves exactly what
it does.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tf_keras

from edgebuild.errors import StepError
from edgebuild.passes import naming, time_distributed
from edgebuild.passes.graph import building, keras3
from edgebuild.passes.graph.ir import Graph, distinct, rename
from edgebuild.passes.graph.plain import simplify


def read(model: keras.Model) -> Graph:
    """The graph of a functional or sequential Keras 3 model; the model itself is not changed.

    Models nested in it are taken apart. Operations that are no layers (`x + y`, `keras.ops`), activations that tf_keras
    does not have, Lambda layers and layers without weights that only Keras 3 has become the TensorFlow functions that
    they consist of. Equal outputs are likely then, not certain: prove them (`proof.require_equal`).

    Raises:
        StepError: the model's structure is not known, or something in it has no counterpart in tf_keras; it is named.
    """
    carrier = _Carrier(naming.names(model))
    return carrier.carry(_functional(model))


def _functional(model: Any) -> Any:
    """The functional model that a model is, or consists of."""
    inner = getattr(model, "_functional", None) or model  # the only place where a Sequential keeps it
    if not hasattr(inner, "_nodes_by_depth"):
        raise StepError(
            f"the structure of the model {model.name} is not known",
            "It is a subclassed model (or was never given its input's shape): Keras keeps no graph of it.",
            "Build it with the functional API, or as a Sequential with an Input.",
        )
    return inner


class _Carrier:
    """Builds the tf_keras model. `tensors` holds the tf_keras tensor for each Keras tensor just now."""

    def __init__(self, known: Mapping[int, str]) -> None:
        self._own = known
        self.tensors: dict[int, Any] = {}
        self.layers: dict[int, tuple[Any, Any]] = {}  # each Keras layer, and the tf_keras layer made from it
        self.taken: set[str] = set()
        self.names: dict[str, str] = {}  # for the layers that tf_keras made by itself, what they come from
        self._known: dict[int, Any] = {}  # the tf_keras layers that are settled; kept, for their ids must stay theirs

    def carry(self, model: Any) -> Graph:
        for tensor in model.inputs:
            shape, name = tensor.shape, self._distinct(tensor._keras_history.operation.name)
            self.tensors[id(tensor)] = tf_keras.Input(shape[1:], shape[0], name=name, dtype=tensor.dtype)
        inputs = [self.tensors[id(tensor)] for tensor in model.inputs]
        for tensor in inputs:
            self._settle(tensor._keras_history.layer)
        self.walk(model)
        outputs = [self.tensors[id(tensor)] for tensor in model.outputs]
        built = tf_keras.Model(inputs, outputs, name=model.name)
        keras3.fill_weights(self.layers.values())
        graph = simplify(building.read(built))
        made = dict.fromkeys(call.layer for call in graph.calls if call.layer in self.names)
        return rename(graph, {name: self._distinct(self.names[name]) for name in made})

    def walk(self, model: Any) -> None:
        """Repeat the calls of a model whose inputs have their tensors already."""
        for node in _nodes(model):
            args, kwargs = node.arguments.fill_in(self.tensors)
            results = self._do(node.operation, args, {key: kwargs[key] for key in kwargs if _is_own(key, node)})
            self.tensors.update(zip(map(id, node.outputs), tf.nest.flatten(results), strict=True))

    def _do(self, operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if isinstance(operation, keras.Model):
            return self._inline(operation, args)
        try:
            if not isinstance(operation, keras.layers.Layer):
                return self._traced(operation.name, _trace, operation, *args, **kwargs)
            return self._layer(operation, args, kwargs)
        except StepError:
            raise
        except Exception as error:  # whatever the code of an operation meets where it expects a tensor with values
            why = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
            raise keras3.refused(operation.name, type(operation).__name__, why) from error

    def _inline(self, model: Any, args: tuple[Any, ...]) -> Any:
        inner = _functional(model)
        given = tf.nest.flatten(args[:1])
        if len(given) != len(inner.inputs):
            raise StepError(f"the model {model.name} inside the network is called in a way that cannot be followed")
        self.tensors.update(zip(map(id, inner.inputs), given, strict=True))
        self.walk(inner)
        return [self.tensors[id(tensor)] for tensor in inner.outputs]

    def _layer(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if isinstance(layer, keras.layers.Lambda):
            return self._traced(self._name(layer), layer.function, *args, **kwargs, **layer.arguments)
        if _is_mere_function(layer):
            return self._traced(self._name(layer), _trace, layer, *args, **kwargs)
        foreign = keras3.foreign_activation(layer)
        if isinstance(layer, keras.layers.Activation) and foreign:
            return self._traced(self._name(layer), foreign, *args)
        if time_distributed.is_one(layer) and isinstance(layer.layer, keras.Model):
            return self._steps(layer, *args, **kwargs)
        if id(layer) not in self.layers:
            self.layers[id(layer)] = self._made(layer, foreign is not None)
        results = self.layers[id(layer)][1](*args, **kwargs)
        return results if foreign is None else self._activated(layer, foreign, results)

    def _steps(self, layer: Any, tensor: Any, mask: Any = None) -> Any:
        """What a model makes of the steps of a tensor: they become a batch, of which the model is taken apart."""
        if mask is not None or not time_distributed.can_fold(layer, tensor):
            raise ValueError("It is wrapped around a model, and its steps cannot be computed together.")
        rows = self._traced(f"{self._name(layer)}/rows", time_distributed.rows_of, tensor)
        made = [
            self._traced(self._name(layer), time_distributed.steps_of, item, tensor)
            for item in self._inline(layer.layer, (rows,))
        ]
        return made[0] if len(made) == 1 else made

    def _made(self, layer: Any, is_linear: bool) -> tuple[Any, Any]:
        linear = {"activation": "linear"} if is_linear else {}
        made = keras3.carry_config(layer, name=self._distinct(self._name(layer)), **linear)
        self._settle(made)
        return layer, made

    def _settle(self, layer: Any) -> None:
        self._known[id(layer)] = layer

    def _activated(self, layer: Any, activation: Any, tensor: Any) -> Any:
        """Of a tensor an activation that tf_keras does not know by name; it may be a layer, as PReLU is."""
        if isinstance(activation, keras.layers.Layer):
            return self._do(activation, (tensor,), {})
        return self._traced(f"{self._name(layer)}/{keras3.activation_name(activation)}", activation, tensor)

    def _traced(self, name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What a function makes of tensors; the layers that arise are named after it."""
        results = function(*args, **kwargs)
        self.names.update(dict.fromkeys(self._new(tf.nest.flatten(results)), name))
        return results

    def _new(self, tensors: list[Any]) -> Iterator[str]:
        """The layers that some tensors come from and that were not there before."""
        waiting = list(tensors)
        while waiting:
            layer = waiting.pop()._keras_history.layer
            if id(layer) not in self._known:
                self._settle(layer)
                yield layer.name
                waiting.extend(tf.nest.flatten(layer.inbound_nodes[0].keras_inputs))

    def _name(self, layer: Any) -> str:
        return self._own.get(id(layer), str(layer.name))

    def _distinct(self, name: str) -> str:
        word = distinct(name, self.taken)
        self.taken.add(word)
        return word


def _is_own(key: str, node: Any) -> bool:
    """Whether an argument of a call belongs to the network: Keras writes down what it filled in itself, too.

    Whoever calls the model says whether it is training; a mask that comes with a tensor does so in tf_keras as well.
    """
    if key == "training":
        return False
    masks = [getattr(tensor, "_keras_mask", None) for tensor in node.input_tensors]
    mask = node.arguments.kwargs["mask"] if key == "mask" else key
    return mask is not None and not any(mask is own for own in masks)


def _is_mere_function(layer: Any) -> bool:
    """Whether a layer that tf_keras lacks is but a function of its input: no weights, the same in training."""
    lacking = not hasattr(tf_keras.layers, type(layer).__name__) or not type(layer).__module__.startswith("keras.")
    return lacking and not layer.variables and "training" not in inspect.signature(layer.call).parameters


def _nodes(model: Any) -> Iterator[Any]:
    """The calls of a model in the order in which they can be done, without its inputs."""
    levels = (model._nodes_by_depth[depth] for depth in sorted(model._nodes_by_depth, reverse=True))
    own = {id(tensor) for tensor in model.inputs}
    for node in itertools.chain.from_iterable(levels):
        if not node.is_input and not all(id(tensor) in own for tensor in node.outputs):
            yield node


def _trace(operation: keras.Operation, *args: Any, **kwargs: Any) -> Any:
    """What an operation makes of tf_keras tensors; all else that it is given stays as it is.

    Raises:
        Exception: of any kind, where its code does more with its arguments than hand them to TensorFlow.
    """
    by_hand = _BY_HAND.get(type(operation).__name__)
    if by_hand is not None and type(operation).__module__.startswith("keras."):
        return by_hand(operation, *args, **kwargs)
    return operation.call(*args, **kwargs)


# Operations whose code looks into its tensors, and so cannot be called on those of a model that is being built.


def _maximum(operation: Any, x: Any) -> Any:
    _require(getattr(operation, "initial", None) is None)
    return tf.reduce_max(x, axis=operation.axis, keepdims=operation.keepdims)


def _minimum(operation: Any, x: Any) -> Any:
    _require(getattr(operation, "initial", None) is None)
    return tf.reduce_min(x, axis=operation.axis, keepdims=operation.keepdims)


def _argmax(operation: Any, x: Any) -> Any:
    return _position(tf.argmax, operation, x)


def _argmin(operation: Any, x: Any) -> Any:
    return _position(tf.argmin, operation, x)


def _position(function: Callable[..., Any], operation: Any, x: Any) -> Any:
    _require(operation.axis is not None)
    found = function(x, axis=operation.axis, output_type=tf.int32)
    return tf.expand_dims(found, operation.axis) if operation.keepdims else found


def _swap(operation: Any, x: Any) -> Any:
    order = list(range(len(x.shape)))
    one, other = operation.axis1, operation.axis2
    order[one], order[other] = order[other], order[one]
    return tf.transpose(x, order)


def _move(operation: Any, x: Any) -> Any:
    rank = len(x.shape)
    source, target = ([axis % rank for axis in _listed(axes)] for axes in (operation.source, operation.destination))
    order = [axis for axis in range(rank) if axis not in source]
    for place, axis in sorted(zip(target, source, strict=True)):
        order.insert(place, axis)
    return tf.transpose(x, order)


def _one_hot(operation: Any, x: Any) -> Any:
    _require(not operation.sparse)
    return tf.one_hot(tf.cast(x, tf.int32), operation.num_classes, axis=operation.axis, dtype=operation.dtype)


def _take(operation: Any, x: Any, indices: Any) -> Any:
    places = np.asarray(indices)  # fails where they are a tensor that is not known yet
    _require(operation.axis is not None and (places.min(initial=0) >= 0 or x.shape[operation.axis] is not None))
    counted = np.where(places < 0, places + (x.shape[operation.axis] or 0), places)
    return tf.gather(x, counted.tolist(), axis=operation.axis)


def _negate(_: Any, x: Any) -> Any:
    return tf.logical_not(tf.cast(x, tf.bool))


def _listed(axes: Any) -> list[int]:
    return [axes] if isinstance(axes, int) else list(axes)


def _require(fits: bool) -> None:
    if not fits:
        raise ValueError("An option of it has no counterpart in tf_keras.")


_BY_HAND: dict[str, Callable[..., Any]] = {
    "Amax": _maximum,
    "Amin": _minimum,
    "Argmax": _argmax,
    "Argmin": _argmin,
    "LogicalNot": _negate,
    "Max": _maximum,
    "Min": _minimum,
    "Moveaxis": _move,
    "OneHot": _one_hot,
    "Swapaxes": _swap,
    "Take": _take,
}
