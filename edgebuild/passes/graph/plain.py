"""TensorFlow functions in a graph: their arguments by name, and the layers that do the same, where there are any.

What works on layers (pruning, clustering, quantization-aware training) then finds `x + y` to be an Add.

The only way to read them: tf_keras writes a call into a file as its first argument and keywords for all the others, so
that what was passed by position before (`x[:, -1]`) has a name after the network was saved and loaded again.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras
from tf_keras.src.applications.convnext import LayerScale  # it is nowhere else

from edgebuild.passes.graph.affine import scaling
from edgebuild.passes.graph.ir import Call, Draft, Graph, Layer, Ref, Step, Tensor

Tensors = dict[int, Tensor]
_FUNCTIONS = ("TFOpLambda", "SlicingOpLambda")  # the classes by which tf_keras records functions
_NONE = ((), None)
_AVERAGE = (
    tf_keras.layers.GlobalAveragePooling1D,
    tf_keras.layers.GlobalAveragePooling2D,
    tf_keras.layers.GlobalAveragePooling3D,
)
_MAX = (
    tf_keras.layers.GlobalMaxPooling1D,
    tf_keras.layers.GlobalMaxPooling2D,
    tf_keras.layers.GlobalMaxPooling3D,
)


def simplify(graph: Graph) -> Graph:
    """The graph with layers in place of functions, constants as plain numbers, and casts to the same type left out.

    It computes the same, bit for bit, but for the order in which means are summed.
    """
    graph = _with_known_layers(_with_plain_constants(graph))
    draft = Draft(graph)
    for call in graph.calls:
        symbol = _symbol(graph.layers[call.layer])
        if symbol == "cast" and draft.tensors[call.inputs[0]].dtype == draft.tensors[call.outputs[0]].dtype:
            draft.drop(call)
        elif symbol in _RULES and _is_float(call, draft.tensors):
            args, layer = _RULES[symbol](_Given(call, symbol, draft.tensors))
            if layer is not None:
                made = Layer(call.layer, type(layer), {**layer.get_config(), "name": call.layer}, {})
                draft.replace(call, Step(made, draft.tensors[call.outputs[0]].shape), args=args)
    return draft.graph()


def _with_known_layers(graph: Graph) -> Graph:
    """The scaling by channel of ConvNeXt, a class that no file can be loaded with, as a depthwise convolution."""
    layers = {}
    for name, layer in graph.layers.items():
        is_scaling = layer.kind is LayerScale and all(len(graph.tensors[t].shape) == 4 for t in _outputs(graph, name))
        layers[name] = scaling(layer, layer.weights["gamma"]) if is_scaling else layer
    return graph._replace(layers=layers)


def _outputs(graph: Graph, name: str) -> list[int]:
    return [call.outputs[0] for call in graph.calls_of(name)]


def _symbol(layer: Layer) -> str:
    return str(layer.config["function"]) if layer.kind.__name__ in _FUNCTIONS else ""


def _is_float(call: Call, tensors: Tensors) -> bool:
    return {tensors[tensor].dtype for tensor in (*call.inputs, *call.outputs)} == {"float32"}


def _with_plain_constants(graph: Graph) -> Graph:
    """Constants in calls as numbers and lists, which can be written down, compared and hashed whole."""
    calls = []
    for call in graph.calls:
        args, kwargs = tf.nest.map_structure(_plain, (call.args, dict(call.kwargs)))
        calls.append(call._replace(args=args, kwargs=kwargs) if _symbol(graph.layers[call.layer]) else call)
    return graph._replace(calls=tuple(calls))


def _plain(item: Any) -> Any:
    if isinstance(item, tf.DType):
        return item.name
    if isinstance(item, tf.Tensor | tf.Variable):
        item = item.numpy()
    return item.tolist() if hasattr(item, "tolist") else item


class _Given:
    """A call of a function: its arguments, and the tensors that go in and come out."""

    def __init__(self, call: Call, function: str, tensors: Tensors) -> None:
        self._call = call
        self._arguments = Arguments(function, call.args, call.kwargs)
        self._tensors = tensors

    def get(self, name: str, default: Any = None) -> Any:
        """An argument by its name."""
        return self._arguments.get(name, default)

    def of(self, item: Any) -> Tensor | None:
        """The tensor that an argument is, if it is one."""
        return self._tensors[item.tensor] if isinstance(item, Ref) else None

    @property
    def given(self) -> Tensor:
        """The first tensor that goes in."""
        return self._tensors[self._call.inputs[0]]

    @property
    def made(self) -> Tensor:
        """The tensor that comes out."""
        return self._tensors[self._call.outputs[0]]

    @property
    def first(self) -> tuple[Any, ...]:
        """What a layer of one input is called with."""
        return (Ref(self._call.inputs[0]),)


Rule = Callable[[_Given], tuple[Any, Any]]  # gives what the layer is called with, and the layer, or None


def _always(make: Callable[[], Any]) -> Rule:
    return lambda given: (given.first, make())


def _merge(make: Callable[[], Any]) -> Rule:
    def rule(given: _Given) -> tuple[Any, Any]:
        pair = [given.get("x"), given.get("y")]
        one, other = (given.of(item) for item in pair)
        # Of different ranks the layers line up the first axes, the functions the last ones.
        if one is None or other is None or len(one.shape) != len(other.shape) or len(one.shape) < 2:
            return _NONE
        return (pair,), make()

    return rule


def _concatenate(given: _Given) -> tuple[Any, Any]:
    values, axis = given.get("values"), given.get("axis")
    if len(values) < 2 or not all(isinstance(item, Ref) for item in values) or axis in {0, -len(given.made.shape)}:
        return _NONE
    return (list(values),), tf_keras.layers.Concatenate(axis=axis)


def _leaky_relu(given: _Given) -> tuple[Any, Any]:
    return given.first, tf_keras.layers.LeakyReLU(float(given.get("alpha", 0.2)))


def _softmax(given: _Given) -> tuple[Any, Any]:
    axis = given.get("axis", -1)
    return given.first, tf_keras.layers.Softmax(axis=-1 if axis is None else axis)


def _gelu(given: _Given) -> tuple[Any, Any]:
    return _NONE if given.get("approximate", False) else (given.first, tf_keras.layers.Activation("gelu"))


def _reshape(given: _Given) -> tuple[Any, Any]:
    """Also of the functions that add and remove axes of one."""
    before, after = given.given.shape, given.made.shape
    keeps_batch = bool(after) and after[0] == before[0]
    if not keeps_batch or None in before[1:] or math.prod(after[1:]) != math.prod(before[1:]):  # type: ignore[arg-type]
        return _NONE
    return given.first, tf_keras.layers.Reshape(after[1:])


def _transpose(given: _Given) -> tuple[Any, Any]:
    order = given.get("perm")
    if not order or order[0] != 0:
        return _NONE
    return given.first, tf_keras.layers.Permute(order[1:])


def _pad(given: _Given) -> tuple[Any, Any]:
    amounts, mode = given.get("paddings"), given.get("mode", "CONSTANT")
    value = given.get("constant_values", 0)
    kind = {3: tf_keras.layers.ZeroPadding1D, 4: tf_keras.layers.ZeroPadding2D, 5: tf_keras.layers.ZeroPadding3D}
    rank = len(given.made.shape)
    if rank not in kind or mode.upper() != "CONSTANT" or value or any(amounts[0]) or any(amounts[-1]):
        return _NONE
    inner = tuple(tuple(pair) for pair in amounts[1:-1])
    return given.first, kind[rank](inner[0] if rank == 3 else inner)


def _pool(kinds: tuple[Any, ...]) -> Rule:
    def rule(given: _Given) -> tuple[Any, Any]:
        rank, axes = len(given.given.shape), given.get("axis")
        spatial = [axes] if isinstance(axes, int) else list(axes or [])
        if not 3 <= rank <= 5 or sorted(axis % rank for axis in spatial) != list(range(1, rank - 1)):
            return _NONE
        return given.first, kinds[rank - 3](keepdims=bool(given.get("keepdims", False)))

    return rule


def _named(activation: str) -> Rule:
    return _always(lambda: tf_keras.layers.Activation(activation))


_RULES: dict[str, Rule] = {
    "__operators__.add": _merge(tf_keras.layers.Add),
    "compat.v1.pad": _pad,
    "compat.v1.squeeze": _reshape,
    "compat.v1.transpose": _transpose,
    "concat": _concatenate,
    "expand_dims": _reshape,
    "math.add": _merge(tf_keras.layers.Add),
    "math.exp": _named("exponential"),
    "math.maximum": _merge(tf_keras.layers.Maximum),
    "math.minimum": _merge(tf_keras.layers.Minimum),
    "math.multiply": _merge(tf_keras.layers.Multiply),
    "math.reduce_max": _pool(_MAX),
    "math.reduce_mean": _pool(_AVERAGE),
    "math.sigmoid": _named("sigmoid"),
    "math.softplus": _named("softplus"),
    "math.subtract": _merge(tf_keras.layers.Subtract),
    "math.tanh": _named("tanh"),
    "nn.elu": _named("elu"),
    "nn.gelu": _gelu,
    "nn.leaky_relu": _leaky_relu,
    "nn.relu": _always(tf_keras.layers.ReLU),
    "nn.relu6": _always(lambda: tf_keras.layers.ReLU(6.0)),
    "nn.selu": _named("selu"),
    "nn.silu": _named("swish"),
    "nn.softmax": _softmax,
    "nn.softsign": _named("softsign"),
    "pad": _pad,
    "reshape": _reshape,
    "squeeze": _reshape,
    "transpose": _transpose,
}


class Arguments:
    """The arguments of a call.

    Args:
        function: the public name of a function of TensorFlow: "nn.relu", "__operators__.getitem", "compat.v1.pad".
        args: as they were passed by position.
        kwargs: as they were passed by name.
    """

    def __init__(self, function: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self._signature = _signature(function)
        self._by_name = kwargs
        self._values = self._signature.bind(*args, **kwargs).arguments

    def get(self, name: str, default: Any = None) -> Any:
        """An argument, or the default where it was not passed."""
        return self._values.get(name, default)

    def path(self, name: str) -> tuple[str | int, ...]:
        """Where an argument that was passed stands in its call: ("kwargs", name) or ("args", position)."""
        return ("kwargs", name) if name in self._by_name else ("args", list(self._signature.parameters).index(name))

    @property
    def operands(self) -> list[Any]:
        """All that was passed, in the order of the function's own parameters, but for the name of the operation."""
        return [self._values[name] for name in self._signature.parameters if name in self._values and name != "name"]


@functools.cache
def _signature(name: str) -> inspect.Signature:
    return inspect.signature(functools.reduce(getattr, name.split("."), tf))
