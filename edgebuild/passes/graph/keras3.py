"""The layers of Keras 3 in the words of tf_keras: their configs, activations and weights."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tf_keras
from tf_keras.src.applications.convnext import LayerScale  # it is nowhere else

from edgebuild.errors import StepError

Config = dict[str, Any]

_REMEDY = "Replace the layer by one that tf_keras has too."
_OF_EVERY_LAYER = frozenset({"name", "trainable"})
# What tf_keras takes without naming it among its parameters.
_UNNAMED = {
    **dict.fromkeys(("GRU", "LSTM", "RNN", "SimpleRNN"), frozenset({"zero_output_for_mask"})),
    **dict.fromkeys(("AdditiveAttention", "Attention"), frozenset({"dropout"})),
    "GlobalAveragePooling1D": frozenset({"keepdims"}),
}
# Its from_config asks for the shapes that it was built for.
_FROM_OPTIONS = frozenset({"MultiHeadAttention"})
_RENAMED = {"LeakyReLU": {"negative_slope": "alpha"}}
# What Keras 3 writes into a config although it changes nothing that a network computes, or is said elsewhere in it.
_NO_MATTER = {
    "": frozenset({"dtype", "seed"}),
    "BatchNormalization": frozenset({"renorm_clipping", "renorm_momentum"}),
    "IntegerLookup": frozenset({"vocabulary_size", "oov_method"}),
    "RandomContrast": frozenset({"value_range"}),
    "Resizing": frozenset({"fill_mode", "fill_value"}),
    "StringLookup": frozenset({"vocabulary_size", "oov_method"}),
    "TextVectorization": frozenset({"vocabulary_size"}),
}
_ACTIVATIONS = frozenset({"activation", "recurrent_activation"})
_ELSEWHERE = {"LayerScale": LayerScale}
# The kinds of objects that stand in configs, each with the namespace that has it in both.
_KINDS = ("layers", "initializers", "regularizers", "constraints")
# The functions that have one name and one meaning in both. "hard_sigmoid" is not among them: in Keras 3 it is
# relu6(x + 3) / 6, in tf_keras clip(0.2 x + 0.5, 0, 1).
_SHARED = frozenset(
    {
        "elu",
        "exponential",
        "gelu",
        "linear",
        "mish",
        "relu",
        "selu",
        "sigmoid",
        "silu",
        "softmax",
        "softplus",
        "softsign",
        "tanh",
    }
)
# The layers whose activation is the last thing they do, so that it can be taken out of them.
_LAST = (
    keras.layers.Activation,
    keras.layers.Conv1D,
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2D,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3D,
    keras.layers.Conv3DTranspose,
    keras.layers.Dense,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.EinsumDense,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
)


def carry_config(layer: keras.layers.Layer, **overrides: Any) -> tf_keras.layers.Layer:
    """The tf_keras layer that computes what a Keras 3 layer does, not built yet and so without its weights.

    Args:
        layer: of Keras 3.
        overrides: entries of its config that are to be others, in the words of Keras 3.

    Raises:
        StepError: tf_keras has no such layer, or it lacks an option that is used; the layer and its class are named.
    """
    given = layer.get_config() | overrides
    name, word = layer.name, type(layer).__name__
    if not type(layer).__module__.startswith("keras."):
        raise refused(name, word, "It is a class of the network's own.")
    kind = _class_of(word)
    if kind is None:
        raise refused(name, word, "tf_keras has no layer of this class.")
    try:
        config = _layer(name, word, given)
        return kind(**config) if word in _FROM_OPTIONS else kind.from_config(config)
    except (ValueError, TypeError, KeyError) as error:
        raise refused(name, word, _cause(error)) from error


def _cause(error: Exception) -> str:
    """What went wrong; Keras puts it behind the configuration of the object that met it."""
    text = str(error).partition("Exception encountered: ")
    return ((text[2] or text[0]).strip().splitlines() or [type(error).__name__])[0]


def refused(name: str, word: str, why: str) -> StepError:
    """The error for a layer or operation that cannot be carried: its name, its class and the reason."""
    return StepError(f"the layer {name} ({word}) cannot be carried over to tf_keras", why, _REMEDY)


def _layer(name: str, word: str, given: Mapping[str, Any]) -> Config:
    """The config of a layer of the class `word`; `name` is that of the layer that it stands in."""
    renamed = _RENAMED.get(word, {})
    known = _OF_EVERY_LAYER | _UNNAMED.get(word, frozenset()) | _parameters(_class_of(word))
    config = {}
    for key, value in given.items():
        if key.endswith("_initializer") and not _is_shared("initializers", value):
            continue  # the weights are there already
        if key in _ACTIVATIONS and isinstance(value, str) and value not in _SHARED:
            raise refused(name, word, f"tf_keras has no activation {value}, or another one of this name.")
        if renamed.get(key, key) in known:
            config[renamed.get(key, key)] = _value(name, word, value)
        elif not _is_idle(word, key, value):
            raise refused(name, word, f"tf_keras does not know its option {key}={value!r}.")
    policy = _value(name, word, given.get("dtype"))
    return config | ({"dtype": policy} if policy is not None else {})


def _class_of(word: str) -> Any:
    return getattr(tf_keras.layers, word, _ELSEWHERE.get(word))


def _parameters(kind: type) -> frozenset[str]:
    return frozenset(_signature(kind)) - {"self", "args", "kwargs"}


def _signature(kind: type) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(kind.__init__).parameters  # type: ignore[misc]


def _is_idle(word: str, key: str, value: Any) -> bool:
    """Whether an option that tf_keras does not know may be left out: it does not matter, or is not used."""
    if key in _NO_MATTER[""] | _NO_MATTER.get(word, frozenset()):
        return True
    if key == "data_format":
        return bool(value == "channels_last")
    defaults = {name: item.default for base in _bases(word) for name, item in _signature(base).items()}
    return value is None or value is False or value == defaults.get(key)


def _bases(word: str) -> list[type]:
    """A class of Keras 3 and those that it is made of, the most general first."""
    return list(reversed(getattr(keras.layers, word, object).__mro__))


def _value(name: str, word: str, value: Any) -> Any:
    """An entry of a config: objects in the form of tf_keras, arrays as lists."""
    if isinstance(value, dict):
        return _object(name, word, value) if "class_name" in value else dict(_entries(name, word, value))
    if isinstance(value, list | tuple):
        return type(value)(_value(name, word, item) for item in value)
    return value.tolist() if hasattr(value, "tolist") else value


def _entries(name: str, word: str, value: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((key, _value(name, word, item)) for key, item in value.items())


def _object(name: str, word: str, value: Mapping[str, Any]) -> Any:
    inner, given = value["class_name"], value.get("config") or {}
    if inner.endswith("DTypePolicy"):
        return _dtype(name, word, inner, given)
    if inner in {"__numpy__", "__tensor__"}:
        return given["value"]
    if inner == "__tuple__":
        return tuple(_value(name, word, item) for item in value["items"])
    for space in _KINDS:
        if _is_shared(space, value):
            kind = getattr(getattr(tf_keras, space), inner)
            config = _layer(name, inner, given) if space == "layers" else _known(kind, given)
            return {"class_name": inner, "config": config}
    raise refused(name, word, f"It uses {inner}, which tf_keras does not have.")


def _is_shared(space: str, value: Any) -> bool:
    """Whether an object in a config is of a class that both have, not one of the network's own."""
    if not isinstance(value, dict):
        return True
    return hasattr(getattr(tf_keras, space), value["class_name"]) and not value.get("registered_name")


def _dtype(name: str, word: str, inner: str, given: Any) -> str:
    if inner != "DTypePolicy":
        raise refused(name, word, f"It computes in {given.get('name', inner)}.")
    return str(given["name"])


def _known(kind: type, given: Mapping[str, Any]) -> Config:
    """The config of an initializer, regularizer or constraint, on which inference does not depend."""
    return {key: item for key, item in given.items() if key in _parameters(kind)}


def foreign_activation(layer: keras.layers.Layer) -> Any:
    """A layer's activation where it must be computed apart from the layer, else None."""
    activation = getattr(layer, "activation", None) if isinstance(layer, _LAST) else None
    return None if activation is None or _is_shared_activation(activation) else activation


def _is_shared_activation(activation: Any) -> bool:
    return activation_name(activation) in _SHARED and activation is keras.activations.get(activation_name(activation))


def activation_name(activation: Any) -> str:
    """A word for an activation, which may be a function of the user's own."""
    return str(getattr(activation, "__name__", "activation")).strip("<>")


def fill_weights(pairs: Iterable[tuple[Any, Any]]) -> None:
    """Give tf_keras layers, the second of each pair, the weights of the Keras 3 layers that they stand for.

    Raises:
        StepError: a layer has other weights in tf_keras.
    """
    for source, target in pairs:
        arrays = _in_order(source, target)
        if [array.shape for array in arrays] != [tuple(variable.shape) for variable in target.weights]:
            shapes = [tuple(variable.shape) for variable in target.weights]
            why = f"Its weights have the shapes {[array.shape for array in arrays]}, in tf_keras {shapes}."
            raise refused(source.name, type(source).__name__, why)
        target.set_weights(arrays)


def _in_order(source: Any, target: Any) -> list[Any]:
    """The arrays of a layer in the order of another one's variables, by the names that they share."""
    arrays = {_tail(variable.path, source.name): np.asarray(variable) for variable in source.weights}
    wanted = [_tail(variable.name.split(":")[0], target.name) for variable in target.weights]
    if set(arrays) == set(wanted) and len(arrays) == len(source.weights) == len(wanted):
        return [arrays[name] for name in wanted]
    return [np.asarray(variable) for variable in source.weights]


def _tail(path: str, name: str) -> str:
    """A variable's name without that of its layer."""
    return path.rpartition(f"{name}/")[2]
