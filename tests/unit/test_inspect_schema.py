"""The description of the .tflite format held against the accessors that LiteRT's wheel brings."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from ai_edge_litert import schema_py_generated as schema

import edgebuild.flatbuffer.layout as layouts
from edgebuild.flatbuffer.layout import Field, Scalar, TableOf, Text, Union, Vector

LAYOUT = layouts.load(Path(layouts.__file__).parent / "tflite_schema.toml")
TABLES = sorted(
    name.removesuffix("T")
    for name, item in vars(schema).items()
    if name.endswith("T") and inspect.isclass(item) and hasattr(item, "Pack")
)
# The source of each class; inspect.getsource would parse the whole module for each.
_, *_PIECES = re.split(r"^class (\w+)\(object\):$", Path(schema.__file__).read_text(), flags=re.MULTILINE)
CLASSES = dict(zip(_PIECES[::2], _PIECES[1::2], strict=True))
PUT = {
    "Bool": "?",
    "Int8": "b",
    "Uint8": "B",
    "Int32": "i",
    "Uint32": "I",
    "Int64": "q",
    "Uint64": "Q",
    "Float32": "f",
}


class _Recorder:
    """A builder that notes what it is asked to do."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self.calls.append((name, arguments))


def _camel(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def _asked(function: str, *arguments: Any) -> tuple[str, tuple[Any, ...]]:
    recorder = _Recorder()
    getattr(schema, function)(recorder, *arguments)
    return recorder.calls[0]


def test_every_table_has_the_slots_widths_and_defaults_of_the_accessors() -> None:
    for table in TABLES:
        _require_slots(table)


def _require_slots(table: str) -> None:
    fields = LAYOUT.tables[table]
    adders = {
        name.removeprefix(f"{table}Add"): _asked(name, 0)
        for name in vars(schema)
        if name.startswith(f"{table}Add") and hasattr(getattr(schema, table), name.removeprefix(f"{table}Add"))
    }
    _, (slots,) = _asked(f"{table}Start")
    last = max((field.slot + isinstance(field.type, Union) for field in fields), default=-1)
    assert last < slots
    described = {put for field in fields for put in _puts(field)}
    assert described == {(name.lower(), call, slot, default) for name, (call, (slot, _, default)) in adders.items()}


def _puts(field: Field) -> list[tuple[str, str, int, float]]:
    """What the accessors call to write a field: its name, the builder's method, slot and default."""
    name = _camel(field.name).lower()
    if isinstance(field.type, Union):
        return [
            (f"{name}type", "PrependUint8Slot", field.slot, 0),
            (name, "PrependUOffsetTRelativeSlot", field.slot + 1, 0),
        ]
    if isinstance(field.type, Scalar):
        put = next(put for put, form in PUT.items() if form == field.type.format)
        return [(name, f"Prepend{put}Slot", field.slot, field.default)]
    return [(name, "PrependUOffsetTRelativeSlot", field.slot, 0)]


def test_vectors_have_the_elements_of_the_accessors() -> None:
    for table in TABLES:
        _require_elements(table)


def _require_elements(table: str) -> None:
    starters = {
        name.removeprefix(f"{table}Start").removesuffix("Vector").lower(): _asked(name, 1)[1][0]
        for name in vars(schema)
        if name.startswith(f"{table}Start") and name.endswith("Vector")
    }
    vectors = {field.name: field.type.element for field in LAYOUT.tables[table] if isinstance(field.type, Vector)}
    sizes = {_camel(name).lower(): element.size for name, element in vectors.items()}
    # A table whose name begins with this one's has vectors too.
    own = {name: size for name, size in starters.items() if _has(getattr(schema, table), name)}
    assert sizes == own
    source = CLASSES[f"{table}T"]
    for element in vectors.values():
        if isinstance(element, TableOf):
            assert f"List[{element.name}T]" in source
        elif isinstance(element, Scalar):
            assert ("List[float]" if element.format == "f" else "List[") in source
        else:
            assert isinstance(element, Text)


def _has(item: type, name: str) -> bool:
    return name in {attribute.lower() for attribute in vars(item)}


@pytest.mark.parametrize("enum", sorted(LAYOUT.enums))
def test_enums_have_the_values_of_the_accessors(enum: str) -> None:
    known = {name: value for name, value in vars(getattr(schema, enum)).items() if isinstance(value, int)}
    assert {name: number for number, name in enumerate(LAYOUT.enums[enum])} == known


@pytest.mark.parametrize(
    ("table", "field", "union"),
    [
        ("Operator", "builtin_options", "BuiltinOptions"),
        ("Operator", "builtin_options_2", "BuiltinOptions2"),
        ("QuantizationParameters", "details", "QuantizationDetails"),
        ("DimensionMetadata", "array_segments", "SparseIndexVector"),
        ("DimensionMetadata", "array_indices", "SparseIndexVector"),
    ],
)
def test_unions_have_the_tables_of_the_accessors(table: str, field: str, union: str) -> None:
    (kind,) = (each.type for each in LAYOUT.tables[table] if each.name == field)
    assert isinstance(kind, Union)
    known = {name: value for name, value in vars(getattr(schema, union)).items() if isinstance(value, int)}
    assert {"NONE": 0} | {name: number for number, name in enumerate(kind.names, start=1)} == known
