"""Metadata written into an artifact, as TFLite's metadata format wants them.

A flatbuffer of the schema M001 is kept as the metadata entry TFLITE_METADATA, and the files that it names are a ZIP
archive behind the artifact's own flatbuffer (https://ai.google.dev/edge/litert/conversion/tensorflow/metadata). The
packages that write this format bring OpenCV and a sound library, or refuse the protobuf that TensorFlow needs.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgebuild.core.delivery import ENTRY, Content, InputDescription, Metadata, OutputDescription
from edgebuild.emit.metadata.reading import IDENTIFIER, LAYOUT, ROOT
from edgebuild.errors import UsageError
from edgebuild.flatbuffer import layout
from edgebuild.flatbuffer.inspecting import inspect
from edgebuild.flatbuffer.layout import Field, Layout, Scalar, TableOf, Text, Union, Vector
from edgebuild.flatbuffer.rewriting import tight

# Of the schema's versions the oldest that knows all that is written here, without sound and with it.
_PARSER, _SOUND_PARSER = "1.0.0", "1.3.0"
_COLOUR = {Content.RGB: "RGB", Content.GRAYSCALE: "GRAYSCALE"}
_LABELS = "TENSOR_AXIS_LABELS"
# The oldest time that a ZIP archive can name: the same artifact is the same bytes.
_NO_TIME = (1980, 1, 1, 0, 0, 0)
_Values = Mapping[str, Any]
# How the builder calls the formats of numbers.
_NUMBERS = {
    **dict(zip("?bBhHiI", ("Bool", "Int8", "Uint8", "Int16", "Uint16", "Int32", "Uint32"), strict=True)),
    **dict(zip("qQfd", ("Int64", "Uint64", "Float32", "Float64"), strict=True)),
}


def with_metadata(data: bytes, described: Metadata) -> bytes:
    """An artifact that carries its description; it computes what it did, and its signatures are kept.

    Args:
        data: a .tflite file. Metadata and files that it carries already are replaced, other entries kept.
        described: what to write.

    Raises:
        StepError: `data` is no .tflite file or a damaged one.
        UsageError: the description has not one entry for each input and output, or not one label for each class.
    """
    return with_files(with_entry(data, described), label_files(described))


def with_entry(data: bytes, described: Metadata) -> bytes:
    """An artifact with the entry alone; the files that it names are still to be appended. As `with_metadata`."""
    _require_fitting(data, described)
    model: Any = schema.ModelT.InitFromPackedBuf(data, 0)
    model.metadata = model.metadata or []
    entry = next((entry for entry in model.metadata if _name(entry) == ENTRY), None)
    if entry is None:
        entry = schema.MetadataT()
        entry.name, entry.buffer = ENTRY, len(model.buffers)
        model.buffers.append(schema.BufferT())
        model.metadata.append(entry)
    model.buffers[entry.buffer].data = np.frombuffer(packed(described), np.uint8)
    return tight.pack(model)


def with_files(data: bytes, files: Mapping[str, bytes]) -> bytes:
    """An artifact with files appended as a ZIP archive, stored as they are: apps map them into memory."""
    if not files:
        return data
    whole = io.BytesIO(data)
    with zipfile.ZipFile(whole, "a", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, _NO_TIME), content)
    return whole.getvalue()


def packed(described: Metadata) -> bytes:
    """The flatbuffer of the metadata alone."""
    return _write(_model(described), layout.load(LAYOUT), ROOT, IDENTIFIER)


def label_files(described: Metadata) -> dict[str, bytes]:
    """The files of labels by their names, a label a line."""
    return {
        name: "".join(f"{label}\n" for label in output.labels).encode()
        for name, output in zip(_label_names(described), described.outputs, strict=True)
        if output.labels
    }


def _label_names(described: Metadata) -> list[str]:
    one = sum(bool(output.labels) for output in described.outputs) == 1
    return ["labels.txt" if one else f"labels_{number}.txt" for number in range(len(described.outputs))]


def _require_fitting(data: bytes, described: Metadata) -> None:
    graph = inspect(data, described.name).graphs[0]
    if (len(graph.inputs), len(graph.outputs)) != (len(described.inputs), len(described.outputs)):
        raise UsageError(
            f"the metadata of {described.name} do not fit",
            f"They describe {len(described.inputs)} inputs and {len(described.outputs)} outputs, the graph has "
            f"{len(graph.inputs)} and {len(graph.outputs)}.",
        )
    for index, output in zip(graph.outputs, described.outputs, strict=True):
        classes = graph.tensors[index].shape[-1:]
        if output.labels and classes != (len(output.labels),) and classes != (-1,):
            raise UsageError(
                f"the labels of {output.name} do not fit",
                f"There are {len(output.labels)} of them for the shape {list(graph.tensors[index].shape)}.",
            )
        if any("\n" in label or "\r" in label for label in output.labels):
            raise UsageError(f"a label of {output.name} is more than a line", remedy="Give each label one line.")


def _model(described: Metadata) -> _Values:
    names = _label_names(described)
    has_sound = any(each.content == Content.AUDIO for each in described.inputs)
    graph = {
        "input_tensor_metadata": [_input(each) for each in described.inputs],
        "output_tensor_metadata": [_output(each, name) for each, name in zip(described.outputs, names, strict=True)],
    }
    return {
        "name": described.name,
        "description": described.text or None,
        "version": described.version or None,
        "subgraph_metadata": [graph],
        "author": described.author or None,
        "license": described.license or None,
        "min_parser_version": _SOUND_PARSER if has_sound else _PARSER,
    }


def _input(described: InputDescription) -> _Values:
    has_range = described.low and described.high
    return {
        "name": described.name,
        "description": described.text or None,
        "content": _content(described.content, described.sample_rate, described.channels),
        "process_units": [{"options": _normalization(described)}] if described.mean else None,
        "stats": {"max": described.high, "min": described.low} if has_range else None,
    }


def _normalization(described: InputDescription) -> _Chosen:
    return _Chosen("NormalizationOptions", {"mean": described.mean, "std": described.std})


def _content(content: Content, sample_rate: int = 0, channels: int = 0) -> _Values:
    if content == Content.AUDIO:
        sound = {"sample_rate": sample_rate or None, "channels": channels}
        return {"content_properties": _Chosen("AudioProperties", sound)}
    if content in _COLOUR:
        return {"content_properties": _Chosen("ImageProperties", {"color_space": _COLOUR[content]})}
    return {"content_properties": _Chosen("FeatureProperties", {})}


def _output(described: OutputDescription, file: str) -> _Values:
    labels = {"name": file, "description": "The classes, a line each.", "type": _LABELS}
    return {
        "name": described.name,
        "description": described.text or None,
        "content": _content(Content.FEATURES),
        "associated_files": [labels] if described.labels else None,
    }


def _name(entry: Any) -> str:
    raw = entry.name or b""
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)


class _Chosen(NamedTuple):
    """The value of a union: which of its tables, and that table's values."""

    table: str
    values: _Values


def _write(values: _Values, layout: Layout, root: str, identifier: bytes) -> bytes:
    """A flatbuffer of these values: the same bytes for the same values.

    Args:
        values: of the root table by field; a table is a mapping, a vector a sequence, an enum the name of its value, a
            union a Chosen. What is absent or None is left out.
        layout: the schema.
        root: its root table.
        identifier: four bytes that tell the format.

    Raises:
        KeyError: the schema has no such field, value or table.
    """
    builder = flatbuffers.Builder(1024)
    builder.Finish(_Writer(builder, layout).table(root, values), identifier)
    return bytes(builder.Output())


class _Writer:
    """One flatbuffer under construction; children are written before the table that points to them."""

    def __init__(self, builder: Any, layout: Layout) -> None:
        self._builder = builder
        self._layout = layout

    def table(self, name: str, values: _Values) -> int:
        fields = {field.name: field for field in self._layout.tables[name]}
        given = [(fields[key], value) for key, value in values.items() if value is not None]
        ready = [(field, value, self._child(field, value)) for field, value in given]
        self._builder.StartObject(max((field.slot + 2 for field in fields.values()), default=0))
        for field, value, offset in ready:
            if isinstance(field.type, Union):
                self._builder.PrependUint8Slot(field.slot, field.type.names.index(value.table) + 1, 0)
                self._builder.PrependUOffsetTRelativeSlot(field.slot + 1, offset, 0)
            elif isinstance(field.type, Scalar):
                self._scalar(field, field.type, value)
            else:
                self._builder.PrependUOffsetTRelativeSlot(field.slot, offset, 0)
        return int(self._builder.EndObject())

    def _child(self, field: Field, value: Any) -> int:
        """Where the value of a field was written that does not lie in its table; 0 for a number."""
        kind = field.type
        if isinstance(kind, Union):
            return self.table(value.table, value.values)
        return 0 if isinstance(kind, Scalar) else self._offset(kind, value)

    def _offset(self, kind: Text | TableOf | Vector, value: Any) -> int:
        if isinstance(kind, Text):
            return int(self._builder.CreateString(value))
        if isinstance(kind, TableOf):
            return self.table(kind.name, value)
        return self._vector(kind.element, value)

    def _vector(self, element: Scalar | Text | TableOf, values: Sequence[Any]) -> int:
        if isinstance(element, Scalar):
            return int(self._builder.CreateNumpyVector(np.array(values, f"<{element.format}")))
        offsets = [self._offset(element, value) for value in values]
        self._builder.StartVector(element.size, len(offsets), element.size)
        for offset in reversed(offsets):
            self._builder.PrependUOffsetTRelative(offset)
        return int(self._builder.EndVector())

    def _scalar(self, field: Field, kind: Scalar, value: Any) -> None:
        number = kind.names.index(value) if isinstance(value, str) else value
        if number != field.default:
            getattr(self._builder, f"Prepend{_NUMBERS[kind.format]}")(number)
            self._builder.Slot(field.slot)
