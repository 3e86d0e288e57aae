"""Layers that step through a sequence, and loops of SavedModels, such that the converter can take them.

Keras traces them as a loop of the graph. The converter cannot quantize one: in int8 and int16x8 it ends its process.
Here the steps are written out one after another instead, which computes the same and keeps nothing from one inference
to the next. An LSTM can also become one operator (UNIDIRECTIONAL_SEQUENCE_LSTM), a twentieth of the size and of any
number of steps.

Both versions of Keras run all such layers through `backend.rnn`, which is the one place where this takes hold.

A recurrent layer that was exported steps through its sequence in a loop that keeps a list of a tensor for each step.
Its shape was written down with an open batch, and TensorFlow's converter refuses such lists, also where all that goes
in has a batch of 1.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from edgebuild.actions.networks import MOST_STEPS, Loop
from edgebuild.core.passes import Recurrent
from edgebuild.passes import calling
from edgebuild.readback import SCOPE, layers_of

# Set while the function is traced that the converter turns into one operator: its loop is never run.
_FUSING: ContextVar[bool] = ContextVar("fusing", default=False)
_WHILE = frozenset({"While", "StatelessWhile"})
_PROTOCOL = "saved_model.pb"
_LISTS = frozenset({"TensorListFromTensor", "TensorListGetItem", "TensorListReserve", "TensorListStack"})


class Loops(NamedTuple):
    """What was met while a network was traced: loops that were written out, became one operator, and stayed."""

    unrolled: list[Loop]
    fused: list[Loop]
    left: list[Loop]


@contextmanager
def traced(model: Any, recurrent: Recurrent) -> Iterator[Loops]:
    """While this lasts, a model of Keras 3 or tf_keras (None: anything else) is traced with its steps written out."""
    found = Loops([], [], [])
    if model is None:
        yield found
        return
    with ExitStack() as stack:
        for layer in model._flatten_layers():
            stack.enter_context(_prepared(layer, found.fused if recurrent == Recurrent.FUSED else None))
        for backend in _backends():
            rnn = functools.partial(_rnn, backend.rnn, found, recurrent)
            stack.enter_context(mock.patch.object(backend, "rnn", rnn))
        yield found


def loops_over_lists(graph: Any, layers: Sequence[str]) -> Iterator[Loop]:
    """The loops of a traced graph that gather what their steps give, as those of Keras do: the converter takes none.

    Loops in functions that it knows as one operator are none of them: of what tf_keras marks so it has the LSTM alone.
    """
    functions = [function for function in graph.library.function if not _is_operator(function)]
    lists = {f.signature.name for f in functions if any(node.op.startswith("TensorList") for node in f.node_def)}
    for node in itertools.chain(graph.node, *(function.node_def for function in functions)):
        if node.op in _WHILE and node.attr["body"].func.name in lists:
            names = layers_of(node.name, layers) or (node.name,)
            yield from (Loop(layer=name, steps=0) for name in names)


def _is_operator(function: Any) -> bool:
    return bool(function.attr["api_implements"].s.startswith(b"lstm")) if "api_implements" in function.attr else False


def stateful(model: Any) -> list[str]:
    """The names of the layers that carry their state over from one call to the next."""
    return [layer.name for layer in _recurrent(model) if getattr(layer, "stateful", False)]


def reset(model: Any) -> None:
    """Give all layers that carry state over the state that they start with."""
    for layer in _recurrent(model):
        if getattr(layer, "stateful", False) and all(state is not None for state in tf.nest.flatten(layer.states)):
            layer.reset_states()


def _recurrent(model: Any) -> list[Any]:
    """Each layer that holds states of its own, those inside wrappers too."""
    layers = model._flatten_layers() if model is not None else ()
    return list({id(layer): layer for layer in layers if hasattr(layer, "states")}.values())


def _backends() -> Iterator[Any]:
    import keras.src.backend
    import tf_keras.src.backend

    yield keras.src.backend
    yield tf_keras.src.backend


def _rnn(
    original: Callable[..., Any], found: Loops, recurrent: Recurrent, step: Any, inputs: Any, *args: Any, **kwargs: Any
) -> Any:
    """`backend.rnn`, with the steps written out where their number is known and small enough."""
    first = tf.nest.flatten(inputs)[0]
    steps = first.shape[0 if kwargs.get("time_major") else 1]
    if steps is None or _FUSING.get():
        return original(step, inputs, *args, **kwargs)
    is_short = recurrent == Recurrent.UNROLLED or steps <= MOST_STEPS
    (found.unrolled if is_short else found.left).append(Loop(layer=_current_layer(), steps=int(steps)))
    return original(step, inputs, *args, **{**kwargs, "unroll": kwargs.get("unroll", False) or is_short})


def _current_layer() -> str:
    """The layer that is being traced, by the scope that `naming.scopes` opens for it."""
    scope: str = tf.get_current_name_scope()
    parts = scope.split("/")
    return "/".join(parts[1:]) if parts[0] == SCOPE and len(parts) > 1 else scope


@contextmanager
def _prepared(layer: Any, fused: list[Loop] | None) -> Iterator[None]:
    """Without what Keras has for GPUs alone, which is traced as functions with loops of their own.

    Where a list is given, layers that can be fused are, and are added to it as they are met.
    """
    with ExitStack() as stack:
        if hasattr(layer, "_maybe_config_dropout_masks"):  # draws random numbers, whose seed would become state
            stack.enter_context(mock.patch.object(layer, "_maybe_config_dropout_masks", return_value=None))
        if type(layer).__name__ == "GRUCell" and calling.is_keras(layer) and not layer.reset_after:
            # In one product tf_keras splits its gates in three, the last of size 0, which nothing quantizes.
            stack.enter_context(mock.patch.object(layer, "implementation", 1))
        if hasattr(layer, "use_cudnn"):
            stack.enter_context(mock.patch.object(layer, "use_cudnn", False))
        if fused is not None and _can_be_fused(layer):
            stack.enter_context(mock.patch.dict(vars(layer), call=_fused(layer, layer.call, fused)))
        elif hasattr(layer, "_could_use_gpu_kernel"):
            stack.enter_context(mock.patch.object(layer, "_could_use_gpu_kernel", False))
        yield


def _can_be_fused(layer: Any) -> bool:
    """Whether the converter's own LSTM computes what this layer does."""
    if (
        type(layer).__name__ != "LSTM"
        or not calling.is_keras(layer)
        or layer.stateful
        or layer.return_state
        or layer.recurrent_dropout
        or layer.compute_dtype != "float32"
    ):
        return False
    names = (getattr(layer.activation, "__name__", ""), getattr(layer.recurrent_activation, "__name__", ""))
    return names == ("tanh", "sigmoid") and bool(layer.use_bias) and not getattr(layer, "time_major", False)


def _fused(layer: Any, original: Callable[..., Any], met: list[Loop]) -> Callable[..., Any]:
    """The call of an LSTM as the one function that the converter knows; with a mask or a state of its own as it was."""
    is_newer = not hasattr(layer, "_could_use_gpu_kernel")

    @functools.wraps(original)
    def call(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        named = {**dict(zip(_arguments(original), args, strict=False)), **kwargs}
        steps = tf.nest.flatten(inputs)[0].shape[1]
        is_plain = named.get("mask") is None and named.get("initial_state") is None and steps is not None
        if is_plain:
            met.append(Loop(layer=_current_layer(), steps=int(steps)))
        token = _FUSING.set(is_plain)
        try:
            with ExitStack() as stack:
                if not is_newer:
                    stack.enter_context(mock.patch.object(layer, "_could_use_gpu_kernel", is_plain))
                elif is_plain:
                    stack.enter_context(mock.patch.object(layer, "inner_loop", functools.partial(_known, layer)))
                return original(inputs, *args, **kwargs)
        finally:
            _FUSING.reset(token)

    return call


def _known(layer: Any, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> Any:
    """The loop of an LSTM of Keras 3 as tf_keras would trace it: the converter knows it by that function's attributes.

    Takes and gives what the layer's `inner_loop` does; both versions have their gates in the same order.
    """
    del mask, training  # there is no mask, and nothing is trained
    from tf_keras.src.layers.rnn.lstm import lstm_with_backend_selection

    cell = layer.cell
    last, every, hidden, carry, _ = lstm_with_backend_selection(
        inputs=sequences,
        init_h=initial_state[0],
        init_c=initial_state[1],
        kernel=tf.convert_to_tensor(cell.kernel),
        recurrent_kernel=tf.convert_to_tensor(cell.recurrent_kernel),
        bias=tf.convert_to_tensor(cell.bias),
        mask=None,
        time_major=False,
        go_backwards=layer.go_backwards,
        sequence_lengths=None,
        zero_output_for_mask=False,
        return_sequences=layer.return_sequences,
    )
    return last, every, [hidden, carry]


def _arguments(call: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(call).parameters)[1:]


@contextmanager
def lists_for_one_sample(folder: Path) -> Iterator[tuple[Path, bool]]:
    """A SavedModel whose lists are of one sample, and whether it is another than the one that is given.

    It lasts as long as the context does; what is loaded from it stays.
    """
    saved = saved_model_pb2.SavedModel.FromString((folder / _PROTOCOL).read_bytes())
    closed = [_closed(nodes) for meta in saved.meta_graphs for nodes in _graphs(meta.graph_def)]
    if not any(closed):
        yield folder, False
        return
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        for part in folder.iterdir():
            if part.name != _PROTOCOL:
                (copy / part.name).symlink_to(part.resolve())
        (copy / _PROTOCOL).write_bytes(saved.SerializeToString(deterministic=True))
        yield copy, True


def _graphs(graph: Any) -> Iterator[Any]:
    yield graph.node
    yield from (function.node_def for function in graph.library.function)


def _closed(nodes: Iterable[Any]) -> bool:
    """Write a batch of 1 into the shapes of lists, in place; whether there were any with an open one."""
    constants = {node.name: node for node in nodes if node.op == "Const"}
    named = {given.partition(":")[0] for node in nodes if node.op in _LISTS for given in node.input}
    found = False
    for name in named & constants.keys():
        tensor = constants[name].attr["value"].tensor
        shape = tf.make_ndarray(tensor)
        if shape.ndim != 1 or len(shape) < 2 or shape[0] != -1 or (shape[1:] < 0).any():
            continue
        tensor.CopyFrom(tf.make_tensor_proto(np.concatenate([[1], shape[1:]]).astype(shape.dtype)))
        found = True
    return found
