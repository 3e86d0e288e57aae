"""Metadata read back from an artifact that carries them, whoever wrote them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgebuild.core.delivery import ENTRY, Content, InputDescription, Metadata, OutputDescription
from edgebuild.errors import StepError
from edgebuild.flatbuffer import layout
from edgebuild.flatbuffer.inspecting import metadata_entry
from edgebuild.flatbuffer.walking import DamagedError, Node, walk

_CONTENTS = {"RGB": Content.RGB, "GRAYSCALE": Content.GRAYSCALE}
# A file of labels is some kilobytes; an archive may claim that it unpacks to anything.
_MOST_LABELS_BYTES = 1 << 22
LAYOUT = Path(__file__).parent / "metadata_schema.toml"
ROOT = "ModelMetadata"
IDENTIFIER = b"M001"


def read(data: bytes, name: str) -> Metadata | None:
    """What an artifact tells of itself, or None where it carries no metadata; `name` is for errors.

    Raises:
        StepError: it is damaged, or its metadata are.
    """
    entry = metadata_entry(data, ENTRY, name)
    if entry is None:
        return None
    try:
        if entry[4:8] != IDENTIFIER:
            raise DamagedError("they are not of the format M001")
        return _metadata(walk(entry, layout.load(LAYOUT), ROOT).root, data)
    except (DamagedError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise StepError(f"the metadata of {name} are damaged", str(error)) from None


def _metadata(node: Node, data: bytes) -> Metadata:
    graphs = node["subgraph_metadata"] or ()
    return Metadata(
        name=_text(node["name"]),
        text=_text(node["description"]),
        version=_text(node["version"]),
        author=_text(node["author"]),
        license=_text(node["license"]),
        inputs=tuple(_input(each) for each in _first(graphs, "input_tensor_metadata")),
        outputs=tuple(_output(each, data) for each in _first(graphs, "output_tensor_metadata")),
    )


def _first(graphs: Sequence[Node], field: str) -> Sequence[Node]:
    return (graphs[0][field] or ()) if graphs else ()


def _input(node: Node) -> InputDescription:
    units = [unit["options"] for unit in node["process_units"] or ()]
    normalization = next((unit for unit in units if unit is not None and unit.table == "NormalizationOptions"), None)
    stats = node["stats"]
    return InputDescription(
        name=_text(node["name"]),
        text=_text(node["description"]),
        content=_content(node),
        mean=_numbers(normalization, "mean"),
        std=_numbers(normalization, "std"),
        low=_numbers(stats, "min"),
        high=_numbers(stats, "max"),
        sample_rate=_of_sound(node, "sample_rate"),
        channels=_of_sound(node, "channels"),
    )


def _properties(node: Node) -> Node | None:
    found: Node | None = node["content"]["content_properties"] if node["content"] is not None else None
    return found


def _of_sound(node: Node, field: str) -> int:
    properties = _properties(node)
    return int(properties[field] or 0) if properties is not None and properties.table == "AudioProperties" else 0


def _content(node: Node) -> Content:
    properties = _properties(node)
    if properties is not None and properties.table == "AudioProperties":
        return Content.AUDIO
    if properties is None or properties.table != "ImageProperties":
        return Content.FEATURES
    return _CONTENTS.get(properties["color_space"], Content.FEATURES)


def _output(node: Node, data: bytes) -> OutputDescription:
    files = [file for file in node["associated_files"] or () if file["type"] == "TENSOR_AXIS_LABELS"]
    labels = _labels(data, _text(files[0]["name"])) if files else ()
    return OutputDescription(name=_text(node["name"]), text=_text(node["description"]), labels=labels)


def _labels(data: bytes, file: str) -> tuple[str, ...]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if file not in archive.namelist():
            return ()
        with archive.open(file) as stream:
            lines = stream.read(_MOST_LABELS_BYTES).decode("utf-8", "replace").split("\n")
    return tuple(line.rstrip("\r") for line in (lines[:-1] if lines[-1] == "" else lines))


def _numbers(node: Node | None, field: str) -> tuple[float, ...]:
    values: Any = node[field] if node is not None else None
    return tuple(values or ())


def _text(raw: bytes | None) -> str:
    return raw.decode("utf-8", "replace") if raw else ""
