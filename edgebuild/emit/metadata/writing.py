"""Metadata written into an artifact, as TFLite's metadata format wants them.

A flatbuffer of the schema M001 is kept as the metadata entry TFLITE_METADATA, and the files that it names are a ZIP
archive behind the artifact's own flatbuffer (https://ai.google.dev/edge/litert/conversion/tensorflow/metadata). The
packages that write this format bring OpenCV and a sound library, or refuse the protobuf that TensorFlow needs.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgebuild.core.metadata import ENTRY, Content, InputDescription, Metadata, OutputDescription
from edgebuild.emit.metadata.format import IDENTIFIER, LAYOUT, ROOT
from edgebuild.errors import UsageError
from edgebuild.flatbuffer import layout
from edgebuild.flatbuffer.inspecting import inspect
from edgebuild.flatbuffer.rewriting import tight
from edgebuild.flatbuffer.writing import Chosen, Values, write

# Of the schema's versions the oldest that knows all that is written here, without sound and with it.
_PARSER, _SOUND_PARSER = "1.0.0", "1.3.0"
_COLOUR = {Content.RGB: "RGB", Content.GRAYSCALE: "GRAYSCALE"}
_LABELS = "TENSOR_AXIS_LABELS"
# The oldest time that a ZIP archive can name: the same artifact is the same bytes.
_NO_TIME = (1980, 1, 1, 0, 0, 0)


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
    return write(_model(described), layout.load(LAYOUT), ROOT, IDENTIFIER)


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


def _model(described: Metadata) -> Values:
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


def _input(described: InputDescription) -> Values:
    has_range = described.low and described.high
    return {
        "name": described.name,
        "description": described.text or None,
        "content": _content(described.content, described.sample_rate, described.channels),
        "process_units": [{"options": _normalization(described)}] if described.mean else None,
        "stats": {"max": described.high, "min": described.low} if has_range else None,
    }


def _normalization(described: InputDescription) -> Chosen:
    return Chosen("NormalizationOptions", {"mean": described.mean, "std": described.std})


def _content(content: Content, sample_rate: int = 0, channels: int = 0) -> Values:
    if content == Content.AUDIO:
        sound = {"sample_rate": sample_rate or None, "channels": channels}
        return {"content_properties": Chosen("AudioProperties", sound)}
    if content in _COLOUR:
        return {"content_properties": Chosen("ImageProperties", {"color_space": _COLOUR[content]})}
    return {"content_properties": Chosen("FeatureProperties", {})}


def _output(described: OutputDescription, file: str) -> Values:
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
