"""States that a quantized network carries over, kept as the integers that it computes them in.

The converter leaves the variables of stateful layers in float32: each integer is dequantized, kept, and quantized again
when it is read. Kept as it is, the same integer takes a quarter of the memory, and no operator computes in float, which
microcontrollers and accelerators ask for. (The converter's own way to do so leaves an invalid program where a state is
an output as well, and crashes on it now and then.)

An LSTM as one operator keeps its state in variables of the file, and both LiteRT and TensorFlow Lite Micro leave there
what the last inference wrote. A network whose layer starts from zero for each input needs them at zero again: two
operators at the end see to it. In integers state - state is zero on the state's own grid; QUANTIZE writes it, for
LiteRT's memory plan takes no arithmetic that writes to a variable. In float it is ZEROS_LIKE.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgebuild.flatbuffer.rewriting import operators, tight, unused

_CODES = schema.BuiltinOperator
_TYPES = schema.TensorType
_DTYPES: dict[int, Any] = {_TYPES.INT8: np.int8, _TYPES.INT16: np.int16}
_CLEARING = frozenset({_CODES.ZEROS_LIKE, _CODES.QUANTIZE})
# The first versions of SUB and QUANTIZE that take tensors of a type.
_VERSIONS = {_TYPES.INT8: (2, 2), _TYPES.INT16: (5, 3)}


class _Access(NamedTuple):
    """An operator that reads or assigns a variable, in its graph, and the tensor that holds the value."""

    graph: Any
    operator: Any
    value: int


class _Variable(NamedTuple):
    """Where a variable is read and assigned, in all graphs of a file."""

    reads: list[_Access]
    assigns: list[_Access]


def in_integers(data: bytes) -> bytes:
    """A file whose states are integers wherever integers are all that is assigned and all that is read of them.

    Args:
        data: a .tflite file; one without such states comes back as it is.

    Raises:
        ValueError: the file is damaged.
    """
    model: Any = schema.ModelT.InitFromPackedBuf(data, 0)
    changed = [_kept_as_integers(model, variable) for variable in _variables(model)]
    if not any(changed):
        return data
    for graph in model.subgraphs:
        _drop_unread(model, graph)
    unused.drop_tensors(model)
    unused.drop_operator_codes(model)
    return tight.pack(model)


def _variables(model: Any) -> list[_Variable]:
    """All variables; the same one may have a handle in several graphs."""
    found: defaultdict[tuple[Any, Any], _Variable] = defaultdict(lambda: _Variable([], []))
    for graph in model.subgraphs:
        handles = {
            int(operator.outputs[0]): (operator.builtinOptions.container, operator.builtinOptions.sharedName)
            for operator in _of_kind(model, graph, _CODES.VAR_HANDLE)
        }
        for operator in _of_kind(model, graph, _CODES.READ_VARIABLE):
            read = _Access(graph, operator, int(operator.outputs[0]))
            found[handles.get(int(operator.inputs[0]), (None, None))].reads.append(read)
        for operator in _of_kind(model, graph, _CODES.ASSIGN_VARIABLE):
            assigned = _Access(graph, operator, int(operator.inputs[1]))
            found[handles.get(int(operator.inputs[0]), (None, None))].assigns.append(assigned)
    found.pop((None, None), None)  # a handle that is handed to a graph: it may be any
    return list(found.values())


def _kept_as_integers(model: Any, variable: _Variable) -> bool:
    """Keep one variable as integers; False where something needs it in float."""
    made = {place: _source(model, access) for place, access in enumerate(variable.assigns)}
    computed = {place: source for place, source in made.items() if source is not None}
    constant = [access for place, access in enumerate(variable.assigns) if place not in computed]
    wanted = {operators.grid_of(variable.assigns[place].graph.tensors[source]) for place, source in computed.items()}
    if len(wanted) != 1 or not all(_is_constant(model, access) for access in constant):
        return False
    if not all(_is_quantized_alone(model, access) for access in variable.reads):
        return False
    like = next(variable.assigns[place].graph.tensors[source] for place, source in computed.items())
    for place, source in computed.items():
        _set_input(variable.assigns[place].operator, 1, source)
    for access in constant:
        _set_input(access.operator, 1, _quantized_constant(model, access, like))
    for access in variable.reads:
        _read_as(model, access, like)
    return True


def _of_kind(model: Any, graph: Any, kind: int) -> Iterator[Any]:
    for operator in graph.operators or ():
        if operators.kind_of(model, operator) == kind:
            yield operator


def _source(model: Any, access: _Access) -> int | None:
    """The integers that are dequantized to be assigned; None where they are none."""
    for operator in _of_kind(model, access.graph, _CODES.DEQUANTIZE):
        source = int(operator.inputs[0])
        tensor = access.graph.tensors[source]
        if access.value in operator.outputs and tensor.type in _DTYPES and operators.grid_of(tensor) is not None:
            return source
    return None


def _is_constant(model: Any, access: _Access) -> bool:
    tensor = access.graph.tensors[access.value]
    content = model.buffers[tensor.buffer].data
    return tensor.type == _TYPES.FLOAT32 and content is not None and len(content) > 0


def _is_quantized_alone(model: Any, access: _Access) -> bool:
    """Whether all that becomes of a value that is read is that it is quantized."""
    readers = [each for each in access.graph.operators if access.value in unused.present(each.inputs)]
    is_end = access.value in unused.present(access.graph.outputs)
    return not is_end and all(operators.kind_of(model, reader) == _CODES.QUANTIZE for reader in readers)


def _quantized_constant(model: Any, access: _Access, like: Any) -> int:
    """A new constant of the graph: what is assigned, as integers on the grid of the state."""
    tensor, grid = access.graph.tensors[access.value], operators.grid_of(like)
    assert grid is not None, "the integers of a state have one scale"
    dtype, scale, zero = grid
    values = np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.float32)
    limits = np.iinfo(_DTYPES[dtype])
    integers = np.clip(np.rint(values / scale) + zero, limits.min, limits.max).astype(_DTYPES[dtype])
    buffer, own = schema.BufferT(), schema.TensorT()
    buffer.data = np.frombuffer(integers.tobytes(), np.uint8)
    model.buffers.append(buffer)
    own.__dict__.update(tensor.__dict__, type=dtype, quantization=like.quantization, buffer=len(model.buffers) - 1)
    own.name = (tensor.name or b"") + b"_quantized"
    access.graph.tensors.append(own)
    return len(access.graph.tensors) - 1


def _read_as(model: Any, access: _Access, like: Any) -> None:
    """Read integers; what quantized them changes their step, or goes where the step is the same."""
    tensor = access.graph.tensors[access.value]
    tensor.type, tensor.quantization = like.type, like.quantization
    for operator in list(_of_kind(model, access.graph, _CODES.QUANTIZE)):
        if access.value not in operator.inputs:
            continue
        made = int(operator.outputs[0])
        if operators.grid_of(access.graph.tensors[made]) == operators.grid_of(like) and made not in unused.present(
            access.graph.outputs
        ):
            for reader in access.graph.operators:
                reader.inputs = np.array([access.value if each == made else each for each in reader.inputs], np.int32)
        else:
            operator.opcodeIndex = operators.place(model, _CODES.QUANTIZE, operators.VERSIONS[like.type])


def _drop_unread(model: Any, graph: Any) -> None:
    """Drop the operators between integers and floats whose results nothing reads any more."""
    read = {index for operator in graph.operators or () for index in unused.present(operator.inputs)}
    read.update(unused.present(graph.outputs))
    between = (_CODES.DEQUANTIZE, _CODES.QUANTIZE)
    graph.operators = [
        operator
        for operator in graph.operators or ()
        if operators.kind_of(model, operator) not in between or int(operator.outputs[0]) in read
    ]


def _set_input(operator: Any, place: int, index: int) -> None:
    inputs = np.array(operator.inputs, np.int32)
    inputs[place] = index
    operator.inputs = inputs


def cleared(data: bytes) -> bytes:
    """A file whose variable tensors are zero after each inference.

    Args:
        data: a .tflite file; one without variable tensors, or whose operators clear them, comes back as it is.

    Raises:
        ValueError: the file is damaged.
    """
    model: Any = schema.ModelT.InitFromPackedBuf(data, 0)
    changed = False
    for graph in model.subgraphs:
        clearing = [each for each in graph.operators or () if operators.kind_of(model, each) in _CLEARING]
        done = {index for each in clearing for index in unused.present(each.outputs)}
        for index, tensor in enumerate(list(graph.tensors)):
            if tensor.isVariable and index not in done:
                _clear(model, graph, index)
                changed = True
    return tight.pack(model) if changed else data


def _clear(model: Any, graph: Any, index: int) -> None:
    state = graph.tensors[index]
    if state.type == _TYPES.FLOAT32:
        graph.operators.append(operators.operator(model, _CODES.ZEROS_LIKE, 1, [index], index))
        return
    subtracting, quantizing = _VERSIONS[state.type]
    zero = copy.copy(state)
    zero.isVariable, zero.name = False, (state.name or b"") + b"_cleared"
    graph.tensors.append(zero)
    made = len(graph.tensors) - 1
    difference = operators.operator(model, _CODES.SUB, subtracting, [index, index], made)
    difference.builtinOptionsType = schema.BuiltinOptions.SubOptions
    difference.builtinOptions = schema.SubOptionsT()
    difference.builtinOptions.potScaleInt16 = False
    graph.operators += [difference, operators.operator(model, _CODES.QUANTIZE, quantizing, [made], index)]
