"""A .tflite file described whole, without TensorFlow and without trusting a byte of it."""

from __future__ import annotations

import contextlib
import functools
import math
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edgebuild.core.inspection import Graph, Inspection, Operation, Option, Quantization, Signature, Tensor
from edgebuild.core.model import UNKNOWN_RUNTIME
from edgebuild.errors import StepError
from edgebuild.flatbuffer import doubts, layout, requantization, running_costs, sections
from edgebuild.flatbuffer.walking import Blob, DamagedError, Node, Walked, walk

_HERE = Path(__file__).parent
_SCHEMA = _HERE / "tflite_schema.toml"
_RUNTIMES = _HERE / "runtime_versions.toml"
_IDENTIFIER = b"TFL3"
_VERSION = 3
_CUSTOM = "CUSTOM"
# Sizes that are not in the name of a type; what has no size of its own counts as nothing.
_BITS = {"bool": 8, "complex64": 64, "complex128": 128, "float8_e4m3fn": 8, "float8_e5m2": 8, "bfloat16": 16}
_SIZELESS = frozenset({"string", "resource", "variant"})
# No kernel takes more dimensions than 8, and no device more than a terabyte.
_MOST_DIMENSIONS = 32
_MOST_BYTES = 1 << 40
_MOST_MACS = 1 << 60
# A file may point to one vector, text or table from many places; how often its bytes may be named in all.
_MOST_MENTIONS = 4
_TABLE_WEIGHT = 64


def inspect(data: bytes, name: str) -> Inspection:
    """Describe the bytes of a .tflite file; `name` is for errors.

    The work is in proportion to the file, whatever it claims to hold.

    Raises:
        StepError: they are no .tflite file, or a damaged one.
    """
    with _refusing(data, name):
        return _File(data, walk(data, layout.load(_SCHEMA), "Model")).inspection()


def metadata_entry(data: bytes, entry: str, name: str) -> bytes | None:
    """The bytes of a metadata entry, or None where there is none of that name.

    Raises:
        StepError: `data` is no .tflite file, or a damaged one; `name` is for errors.
    """
    with _refusing(data, name):
        file = _File(data, walk(data, layout.load(_SCHEMA), "Model"))
        return file.metadata_entry(entry)


@contextlib.contextmanager
def _refusing(data: bytes, name: str) -> Iterator[None]:
    if len(data) < 8 or data[4:8] != _IDENTIFIER:
        raise StepError(f"{name} is not a .tflite file", f"Its identifier is not {_IDENTIFIER.decode()}.")
    try:
        yield
    except DamagedError as error:
        raise StepError(f"{name} is damaged", str(error)) from None


@functools.cache
def runtime_versions() -> dict[str, list[str]]:
    """For each builtin operator the oldest TensorFlow Lite runtime of each version; "" where none is published."""
    return tomllib.loads(_RUNTIMES.read_text(encoding="utf-8"))


class _File:
    """One file while it is described."""

    def __init__(self, data: bytes, walked: Walked) -> None:
        self._data = data
        self._size_bytes = len(data)
        self._parts = walked.parts
        self._model = walked.root
        self._buffers: Sequence[Node] = self._model["buffers"] or ()
        self._codes: Sequence[Node] = self._model["operator_codes"] or ()
        self._mentions = 0
        self._macs = 0

    def inspection(self) -> Inspection:
        if self._model["version"] != _VERSION:
            raise DamagedError(f"it is of the schema's version {self._model['version']}, not {_VERSION}")
        graphs = tuple(self._graph(node) for node in self._shared(self._model["subgraphs"]))
        if not graphs:
            raise DamagedError("it holds no graph")
        entries = self._shared(self._model["metadata"])
        ends = tuple(self._signature(node, graphs) for node in self._shared(self._model["signature_defs"]))
        described = Inspection(
            size_bytes=self._size_bytes,
            description=_text(self._model["description"]),
            graphs=graphs,
            signatures=tuple(signature.key for signature in ends),
            metadata=tuple(_text(entry["name"]) for entry in entries),
            sections=self._sections(entries),
            ends=ends,
            warnings=tuple(requantization.warnings(graphs)),
        )
        return doubts.doubted(described, self._data)

    def metadata_entry(self, name: str) -> bytes | None:
        for entry in self._shared(self._model["metadata"]):
            blob = self._attached(entry)
            if _text(entry["name"]) == name and blob is not None:
                return self._data[blob.start : blob.start + blob.size]
        return None

    def _shared(self, items: Sequence[Any] | None) -> Sequence[Any]:
        """A vector, its length counted each time that it is read: several tables may point to one."""
        found = items or ()
        self._mention(len(found))
        return found

    def _tables(self, nodes: Sequence[Node] | None) -> Sequence[Node]:
        """A vector of tables that are described at length, each time that they are named."""
        found = self._shared(nodes)
        self._mention(_TABLE_WEIGHT * len(found))
        return found

    def _mention(self, count: int) -> None:
        self._mentions += count
        if self._mentions > _MOST_MENTIONS * self._size_bytes:
            raise DamagedError("it names its parts more often than its bytes allow")

    def _text(self, raw: bytes | None) -> str:
        self._mention(len(raw or b""))
        return _text(raw)

    def _buffer(self, number: int) -> Node:
        if not 0 <= number < len(self._buffers):
            raise DamagedError(f"there is no buffer {number} among {len(self._buffers)}")
        return self._buffers[number]

    def _attached(self, entry: Node) -> Blob | None:
        """What a metadata entry holds; one of a buffer that is not there holds nothing, and runtimes do not look."""
        number = entry["buffer"]
        blob: Blob | None = self._buffers[number]["data"] if 0 <= number < len(self._buffers) else None
        return blob

    def _sections(self, entries: Sequence[Node]) -> dict[str, int]:
        held = map(self._attached, entries)
        places = {blob.start - layout.OFFSET_BYTES for blob in held if isinstance(blob, Blob)}
        outside = {_outside(buffer) for buffer in self._buffers if _is_outside(buffer)}
        return sections.count(self._size_bytes, self._parts, places, outside)

    def _constant_bytes(self, number: int) -> int:
        buffer = self._buffer(number)
        if _is_outside(buffer):
            start, end = _outside(buffer)
            if end > self._size_bytes:
                raise DamagedError(f"buffer {number} reaches from {start} to {end}, beyond the file")
            return end - start
        return buffer["data"].size if buffer["data"] is not None else 0

    def _graph(self, node: Node) -> Graph:
        stored = [self._shape(tensor) for tensor in self._tables(node["tensors"])]
        tensors = [self._tensor(index, tensor, stored[index]) for index, tensor in enumerate(node["tensors"] or ())]
        operations = [self._operation(operator, stored) for operator in self._tables(node["operators"])]
        inputs, outputs = (self._indices(node[field], len(stored)) for field in ("inputs", "outputs"))
        return Graph(
            name=self._text(node["name"]),
            inputs=inputs,
            outputs=outputs,
            tensors=tuple(tensors),
            operations=tuple(operations),
            memory=running_costs.memory(tensors, operations, inputs, outputs),
        )

    def _indices(self, indices: Sequence[int] | None, count: int) -> tuple[int, ...]:
        found = tuple(self._shared(indices))
        for index in found:
            if not -1 <= index < count:
                raise DamagedError(f"there is no tensor {index} among {count}")
        return found

    def _shape(self, tensor: Node) -> tuple[int, ...]:
        """The shape as it is stored, open dimensions as 1."""
        shape = tuple(abs(size) for size in self._shared(tensor["shape"]))
        if len(shape) > _MOST_DIMENSIONS or min(tensor["shape"] or (), default=0) < -1:
            raise DamagedError(f"a tensor has {len(shape)} dimensions, of them {min(tensor['shape'])} the smallest")
        return shape

    def _tensor(self, index: int, node: Node, stored: tuple[int, ...]) -> Tensor:
        dtype = node["type"].lower() if isinstance(node["type"], str) else f"type {node['type']}"
        size_bytes = -(-math.prod(stored) * _bits(dtype) // 8)
        if size_bytes > _MOST_BYTES:
            raise DamagedError(f"tensor {index} takes {size_bytes} bytes")
        open_shape = tuple(self._shared(node["shape_signature"]))
        if len(open_shape) > _MOST_DIMENSIONS:
            raise DamagedError(f"tensor {index} has {len(open_shape)} dimensions")
        return Tensor(
            index=index,
            name=self._text(node["name"]),
            dtype=dtype,
            shape=open_shape or tuple(node["shape"] or ()),
            size_bytes=size_bytes,
            constant_bytes=self._constant_bytes(node["buffer"]),
            buffer=node["buffer"],
            quantization=self._quantization(node["quantization"]),
            is_variable=node["is_variable"],
            is_sparse=node["sparsity"] is not None,
        )

    def _quantization(self, node: Node | None) -> Quantization | None:
        if node is None or not node["scale"]:
            return None
        return Quantization(
            scales=tuple(self._shared(node["scale"])),
            zero_points=tuple(self._shared(node["zero_point"])),
            dimension=node["quantized_dimension"],
        )

    def _operation(self, node: Node, shapes: Sequence[tuple[int, ...]]) -> Operation:
        if node["opcode_index"] >= len(self._codes):
            raise DamagedError(f"there is no operator code {node['opcode_index']} among {len(self._codes)}")
        code = self._codes[node["opcode_index"]]
        self._mention(len(code["custom_code"] or b""))
        name = _operator_name(code)
        inputs, outputs, between = (
            self._indices(node[field], len(shapes)) for field in ("inputs", "outputs", "intermediates")
        )
        chosen = node["builtin_options"] or node["builtin_options_2"]
        custom = node["custom_options"]
        return Operation(
            name=name,
            version=code["version"],
            inputs=inputs,
            outputs=outputs,
            intermediates=between,
            options=self._options(chosen) if chosen is not None else {},
            options_table=chosen.table if chosen is not None else "",
            custom_options_bytes=custom.size if custom is not None else node["large_custom_options_size"],
            runtime=_runtime(name, code["version"]),
            macs=self._operator_macs(name, inputs, outputs, shapes),
        )

    def _options(self, node: Node) -> dict[str, Option]:
        options: dict[str, Option] = {}
        for field, value in node.fields.items():
            if isinstance(value, bytes):
                options[field] = self._text(value)
            elif isinstance(value, tuple) and not isinstance(value, Blob | Node):
                options[field] = tuple(self._shared(value))
            elif value is not None and not isinstance(value, tuple):
                options[field] = value
        return options

    def _operator_macs(
        self, name: str, inputs: Sequence[int], outputs: Sequence[int], shapes: Sequence[tuple[int, ...]]
    ) -> int:
        """Nothing where the shapes are none that the operator takes."""
        read = [shapes[index] if index >= 0 else () for index in inputs]
        written = [shapes[index] for index in outputs if index >= 0]
        try:
            found = running_costs.macs_of_operator(name, read, written)
        except (IndexError, ValueError):
            return 0
        self._macs += found
        if self._macs > _MOST_MACS:
            raise DamagedError(f"a {name} multiplies {found} times")
        return found

    def _signature(self, node: Node, graphs: Sequence[Graph]) -> Signature:
        number = node["subgraph_index"]
        if number >= len(graphs):
            raise DamagedError(f"a signature is of graph {number} among {len(graphs)}")
        count = len(graphs[number].tensors)
        inputs, outputs = (self._named(node[field], count) for field in ("inputs", "outputs"))
        return Signature(key=_text(node["signature_key"]), graph=number, inputs=inputs, outputs=outputs)

    def _named(self, entries: Sequence[Node] | None, count: int) -> dict[str, int]:
        """Tensors by the names that a signature gives them."""
        return {
            self._text(entry["name"]): self._indices((entry["tensor_index"],), count)[0]
            for entry in self._shared(entries)
        }


def _operator_name(code: Node) -> str:
    # Files older than operator 127 keep the code in the byte-wide field.
    number = max(code["builtin_code"], code["deprecated_builtin_code"])
    known = layout.load(_SCHEMA).enums["BuiltinOperator"]
    name = known[number] if 0 <= number < len(known) else f"UNKNOWN:{number}"
    if name != _CUSTOM:
        return name
    custom = _text(code["custom_code"])
    return f"FLEX:{custom.removeprefix('Flex')}" if custom.startswith("Flex") else f"{_CUSTOM}:{custom}"


def _runtime(name: str, version: int) -> str:
    """The oldest runtime that knows a version of an operator."""
    known = runtime_versions().get(name, [])
    if known and version > len(known):
        return UNKNOWN_RUNTIME
    return known[version - 1] if 0 < version <= len(known) else ""


def _is_outside(buffer: Node) -> bool:
    """Whether the bytes are stored behind the flatbuffer, as in files over 2 GB; 1 marks a place not yet filled in."""
    return bool(buffer["offset"] > 1 and buffer["size"] > 1)


def _outside(buffer: Node) -> tuple[int, int]:
    return buffer["offset"], buffer["offset"] + buffer["size"]


def _bits(dtype: str) -> int:
    if dtype in _SIZELESS or dtype.startswith("type "):
        return 0
    return _BITS.get(dtype) or int("".join(filter(str.isdigit, dtype)))


def _text(raw: bytes | None) -> str:
    return raw.decode("utf-8", "replace") if raw else ""
