"""What each byte of a .tflite file is for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from edgebuild.flatbuffer.walking import Part

CONSTANTS, METADATA, PADDING, APPENDED = "constants", "metadata", "padding", "appended"
# How far what is appended may begin behind the last part.
_ALIGNMENT = 16
# By the table that a part belongs to; fields that stand for something else follow.
_TABLES: Mapping[str, str] = {
    "": "model",
    "Model": "model",
    "OperatorCode": "operators",
    "Operator": "operators",
    "SubGraph": "tensors",
    "Tensor": "tensors",
    "VariantSubType": "tensors",
    "QuantizationParameters": "quantization",
    "CustomQuantization": "quantization",
    "BlockwiseQuantization": "quantization",
    "MultiAxisQuantization": "quantization",
    "SparsityParameters": "sparsity",
    "DimensionMetadata": "sparsity",
    "Int32Vector": "sparsity",
    "Uint16Vector": "sparsity",
    "Uint8Vector": "sparsity",
    "Buffer": "buffers",
    "ExternalBuffer": "buffers",
    "ExternalBufferGroup": "buffers",
    "Metadata": METADATA,
    "SignatureDef": "signatures",
    "TensorMap": "signatures",
}
_FIELDS: Mapping[tuple[str, str], str] = {
    ("Tensor", "name"): "names",
    ("SubGraph", "name"): "names",
    ("Model", "description"): "names",
    ("SubGraph", "operators"): "operators",
    ("Model", "operator_codes"): "operators",
    ("Model", "buffers"): "buffers",
    ("Model", "metadata"): METADATA,
    ("Model", "metadata_buffer"): METADATA,
    ("Model", "signature_defs"): "signatures",
    ("Operator", "custom_options"): "custom options",
}
# Tables that hold the options of operators are all the others.
_OPTIONS = "operators"


def count(
    size_bytes: int, parts: Iterable[Part], metadata: Collection[int], outside: Collection[tuple[int, int]]
) -> dict[str, int]:
    """The bytes of a file by section, the largest first; they add up to its size.

    Args:
        size_bytes: of the file.
        parts: of its flatbuffer, in order and without overlaps.
        metadata: the places of the buffers that metadata entries name.
        outside: from where to where the constants lie that are stored behind the flatbuffer.
    """
    found: Counter[str] = Counter()
    end = 0
    for part in sorted([*parts, *(Part(*span, "Buffer", "data") for span in outside)]):
        found[PADDING] += max(0, part.start - end)
        found[_section(part, metadata)] += max(0, part.end - max(end, part.start))
        end = max(end, part.end)
    rest = size_bytes - end
    found[PADDING if rest < _ALIGNMENT else APPENDED] += rest
    return {section: size for section, size in found.most_common() if size}


def _section(part: Part, metadata: Collection[int]) -> str:
    if part.field == "vtable":
        return "vtables"
    if (part.table, part.field) == ("Buffer", "data"):
        return METADATA if part.start in metadata else CONSTANTS
    return _FIELDS.get((part.table, part.field)) or _TABLES.get(part.table, _OPTIONS)
