from __future__ import annotations

from typing import Any

from hypothesis import given, strategies as st

from edgebuild.layering import Layer, flatten, overlay

KEYS = st.sampled_from("abc")
TREES = st.recursive(
    st.integers() | st.lists(st.integers(), max_size=2),
    lambda inner: st.dictionaries(KEYS, inner, min_size=1, max_size=3),
    max_leaves=8,
)
TABLES = st.dictionaries(KEYS, TREES, max_size=3)


def test_tables_are_merged_key_by_key() -> None:
    merged = overlay([Layer("low", {"t": {"a": 1, "b": 1}}), Layer("high", {"t": {"b": 2}})])
    assert merged.values == {"t": {"a": 1, "b": 2}}
    assert merged.origins == {"t.a": "low", "t.b": "high"}


def test_arrays_are_replaced_whole() -> None:
    merged = overlay([Layer("low", {"a": [1, 2, 3]}), Layer("high", {"a": [4]})])
    assert merged.values == {"a": [4]}


def test_a_value_replaces_a_table_and_forgets_its_origins() -> None:
    merged = overlay([Layer("low", {"t": {"a": {"b": 1}}}), Layer("high", {"t": "off"})])
    assert merged.values == {"t": "off"}
    assert merged.origins == {"t": "high"}


def test_a_table_replaces_a_value_and_forgets_its_origin() -> None:
    merged = overlay([Layer("low", {"t": "5 KB"}), Layer("high", {"t": {"limit": "6 KB"}})])
    assert merged.values == {"t": {"limit": "6 KB"}}
    assert merged.origins == {"t.limit": "high"}


def test_the_layers_are_not_changed() -> None:
    low: dict[str, Any] = {"t": {"a": 1}}
    overlay([Layer("low", low), Layer("high", {"t": {"a": 2, "b": 3}})])
    assert low == {"t": {"a": 1}}


def test_the_origin_of_a_leaf_without_its_own_is_that_of_the_table_above() -> None:
    merged = overlay([Layer("file", {"budgets": "off"})])
    assert merged.origin_of("budgets.size.limit") == "file"
    assert merged.origin_of("elsewhere") == ""


def test_leaves_are_named_by_dotted_paths_and_an_empty_table_is_one() -> None:
    assert flatten({"a": {"b": 1, "c": {"d": [2]}}, "e": {}, "f": None}) == {
        "a.b": 1,
        "a.c.d": [2],
        "e": {},
        "f": None,
    }


def _last_written(layers: list[dict[str, Any]], path: str) -> int:
    """The last layer that wrote a leaf, or that replaced a table above it."""
    return max(number for number, layer in enumerate(layers) if path in flatten(layer))


@given(st.lists(TABLES, max_size=4))
def test_each_leaf_is_that_of_the_last_layer_that_wrote_it(layers: list[dict[str, Any]]) -> None:
    merged = overlay(Layer(str(number), layer) for number, layer in enumerate(layers))
    leaves = {path: value for path, value in flatten(merged.values).items() if value != {}}
    assert set(leaves) == set(merged.origins)
    for path, value in leaves.items():
        last = _last_written(layers, path)
        assert merged.origins[path] == str(last)
        assert flatten(layers[last])[path] == value


@given(TABLES, TABLES)
def test_the_upper_layer_is_found_whole_in_the_result(low: dict[str, Any], high: dict[str, Any]) -> None:
    merged = flatten(overlay([Layer("low", low), Layer("high", high)]).values)
    assert all(merged[path] == value for path, value in flatten(high).items() if value != {})


@given(TABLES)
def test_one_layer_over_nothing_is_itself(layer: dict[str, Any]) -> None:
    assert overlay([Layer("only", layer)]).values == layer
